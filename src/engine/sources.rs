//! How many connections each source has: see
//! [`Limits::connections_per_source_max`](crate::limits::Limits::connections_per_source_max).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts the connections of each source that has any: never more entries than connections.
#[derive(Debug)]
pub(super) struct Sources {
    most: usize,
    counts: Mutex<HashMap<u128, usize>>,
}

impl Sources {
    /// At most so many for each; zero counts as one.
    pub(super) fn new(most: usize) -> Sources {
        Sources { most: most.max(1), counts: Mutex::default() }
    }

    /// Whether one more may come from there; it is counted then. Who has no address may, always.
    pub(super) fn enter(&self, from: Option<IpAddr>) -> bool {
        let Some(from) = from else { return true };
        let mut counts = self.counts();
        let count = counts.entry(source(from)).or_insert(0);
        let room = *count < self.most;
        *count += usize::from(room);
        room
    }

    /// One from there has left.
    pub(super) fn leave(&self, from: Option<IpAddr>) {
        let Some(from) = from else { return };
        if let Entry::Occupied(mut entry) = self.counts().entry(source(from)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 address in either spelling, or the /64 of an IPv6 address: what one subscriber has.
fn source(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        // No address of a /64 is a mapped one but those of ::/64, whose first is none.
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_source_has_its_own_number() {
        let sources = Sources::new(2);
        assert!(sources.enter(ip("192.0.2.1")) && sources.enter(ip("::ffff:192.0.2.1")));
        assert!(!sources.enter(ip("192.0.2.1")), "a mapped address is the same source");
        assert!(sources.enter(ip("192.0.2.2")));
        assert!(sources.enter(ip("2001:db8::1")) && sources.enter(ip("2001:db8::ffff:0:0:2")));
        assert!(!sources.enter(ip("2001:db8::3")), "a /64 is one source");
        assert!(sources.enter(ip("2001:db8:0:1::1")));
        assert!(sources.enter(ip("::1")));
        assert!((0..9).all(|_| sources.enter(None)), "Unix peers are not counted");
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let sources = Sources::new(1);
        for _ in 0..3 {
            assert!(sources.enter(ip("::1")) && sources.enter(ip("127.0.0.1")));
            assert!(!sources.enter(ip("::1")));
            assert_eq!(sources.counts().len(), 2);
            sources.leave(ip("::1"));
            sources.leave(ip("127.0.0.1"));
            sources.leave(None);
            assert_eq!(sources.counts().len(), 0);
        }
    }
}
