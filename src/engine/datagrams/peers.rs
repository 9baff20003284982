//! Who is heard on a datagram socket: the table of its peers, and who is never answered.

use crate::addr::AnyAddr;
use crate::sys::batch::{Abilities, Source};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A peer, and the address of ours that it speaks to: where a socket has several, each is another
/// conversation.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    from: AnyAddr,
    source: Option<Source>,
}

/// A key with IPv4 on both sides, in two words: with many peers most of the time goes into finding them.
type Key4 = (u64, u32);

fn key4(from: &AnyAddr, source: Option<Source>) -> Option<Key4> {
    let AnyAddr::Ip(SocketAddr::V4(from)) = from else { return None };
    let from = u64::from(u32::from(*from.ip())) << 16 | u64::from(from.port());
    match source.map(|source| source.ip) {
        None => Some((from, 0)),
        Some(IpAddr::V4(ip)) => Some((from, ip.into())),
        Some(IpAddr::V6(_)) => None,
    }
}

/// The tokens of the peers' sessions. Their number is bounded by `Limits::peers_max`.
pub(super) struct Peers {
    v4: HashMap<Key4, u64>,
    others: HashMap<Key, u64>,
    /// The last that was heard, who mostly is the next one too.
    last_v4: Option<(Key4, u64)>,
    last: Option<(Key, u64)>,
    /// How many the endpoint has, with those of its other workers.
    all: Arc<AtomicUsize>,
}

impl Peers {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Peers {
        Peers { v4: HashMap::new(), others: HashMap::new(), last_v4: None, last: None, all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.others.is_empty()
    }

    /// Takes a place for one more, if there is one.
    pub(super) fn reserve(&self, most: usize) -> bool {
        let more = |count| (count < most).then_some(count + 1);
        self.all.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives it back.
    pub(super) fn release(&self) {
        self.all.fetch_sub(1, Relaxed);
    }

    pub(super) fn find(&mut self, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        let Some(key) = key4(from, source) else { return self.find_other(from, source) };
        match self.last_v4 {
            Some((last, token)) if last == key => Some(token),
            _ => {
                let token = *self.v4.get(&key)?;
                self.last_v4 = Some((key, token));
                Some(token)
            }
        }
    }

    #[inline(never)]
    fn find_other(&mut self, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        match &self.last {
            Some((last, token)) if last.from == *from && last.source == source => {
                return Some(*token);
            }
            _ => {}
        }
        let key = Key { from: from.clone(), source };
        let token = *self.others.get(&key)?;
        self.last = Some((key, token));
        Some(token)
    }

    /// The place was taken before.
    pub(super) fn insert(&mut self, from: &AnyAddr, source: Option<Source>, token: u64) {
        match key4(from, source) {
            Some(key) => self.v4.insert(key, token),
            None => self.others.insert(Key { from: from.clone(), source }, token),
        };
    }

    pub(super) fn remove(&mut self, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        (self.last_v4, self.last) = (None, None);
        let token = match key4(from, source) {
            Some(key) => self.v4.remove(&key),
            None => self.others.remove(&Key { from: from.clone(), source }),
        }?;
        self.release();
        Some(token)
    }
}

/// Whom a socket never answers: a session for one could never speak, or would speak with itself.
pub(super) struct Shunned {
    /// The socket's own address, if it is an IP one.
    own: Option<SocketAddr>,
    /// The last that had our port and was not the address asked, and whether it is this machine's.
    asked: Option<(IpAddr, bool)>,
}

impl Shunned {
    pub(super) fn new(abilities: Option<Abilities>) -> Shunned {
        Shunned { own: abilities.and_then(|abilities| abilities.local), asked: None }
    }

    /// Nobody answers port 0, a group, everybody, or itself.
    pub(super) fn has(&mut self, from: &AnyAddr, source: Option<Source>) -> bool {
        let AnyAddr::Ip(from) = from else { return false };
        let ip = from.ip().to_canonical();
        let nobody = from.port() == 0
            || ip.is_multicast()
            || ip.is_unspecified()
            || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        nobody
            || self.own.is_some_and(|own| own.port() == from.port() && self.is_own(ip, own, source))
    }

    /// Whether the socket is bound to this address, whose port it is known to have.
    fn is_own(&mut self, ip: IpAddr, own: SocketAddr, source: Option<Source>) -> bool {
        if !own.ip().is_unspecified() {
            return own.ip().to_canonical() == ip;
        }
        match self.asked {
            _ if source.is_some_and(|source| source.ip == ip) => true,
            Some((asked, here)) if asked == ip => here,
            _ => {
                // Only an address of this machine can be bound. There are peers that have our port by
                // right (NTP), but few.
                let here = std::net::UdpSocket::bind((ip, 0)).is_ok();
                self.asked = Some((ip, here));
                here
            }
        }
    }
}
