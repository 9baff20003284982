//! How a datagram leaves: to whom, from which address, alone or with others, and whether at all.

use crate::addr::AnyAddr;
use crate::engine::counters::Traffic;
use crate::engine::{Common, Tally};
use crate::sys;
use crate::sys::batch::{Lent, Outbox, Source, send_from_now};
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::time::Instant;

/// The way of one session's datagrams, for one turn.
pub(crate) struct Way<'a> {
    pub(super) socket: BorrowedFd<'a>,
    /// Nobody, outside of the turn of a datagram, if the session is everybody's.
    pub(super) to: Option<&'a AnyAddr>,
    pub(super) source: Option<Source>,
    pub(super) common: &'a Common,
    pub(super) now: Instant,
    /// What leaves with others, and whose it is.
    pub(super) outbox: Option<(&'a RefCell<Outbox>, u64)>,
    /// What may be sent back from where it was received.
    pub(super) lent: Lent<'a>,
    /// It answers a datagram that came alone.
    pub(super) alone: bool,
    /// What the kernel does not take at once is lost: nobody would know later where it was to go.
    pub(super) at_once: bool,
}

impl Way<'_> {
    pub(in crate::engine) fn send(&self, bytes: &[u8], traffic: &mut Traffic) -> io::Result<usize> {
        self.send_by(self.outbox, bytes, traffic)
    }

    /// Sends all that is said in this turn. If nothing else came, it need not wait for others.
    pub(in crate::engine) fn answer(
        &self,
        bytes: &[u8],
        traffic: &mut Traffic,
    ) -> io::Result<usize> {
        let with_others = |(outbox, _): &(&RefCell<Outbox>, u64)| {
            !self.alone || !outbox.borrow().is_empty() // which it must not overtake
        };
        self.send_by(self.outbox.filter(with_others), bytes, traffic)
    }

    fn send_by(
        &self,
        outbox: Option<(&RefCell<Outbox>, u64)>,
        bytes: &[u8],
        traffic: &mut Traffic,
    ) -> io::Result<usize> {
        let tally = &self.common.tally;
        let Some(to) = self.to else {
            Tally::add(&tally.replies_dropped);
            return Ok(bytes.len());
        };
        if !may_send(self.common, to, bytes.len(), self.now) {
            Tally::add(&tally.replies_guarded);
            return Ok(bytes.len());
        }
        let sent = match outbox {
            Some((outbox, owner)) => self.post(&mut outbox.borrow_mut(), owner, bytes, to, traffic),
            None => self.send_now(bytes, to),
        };
        match &sent {
            Ok(_) => traffic.wrote(bytes.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                not_sent(self.common, to, bytes.len());
                if self.at_once {
                    Tally::add(&tally.replies_dropped);
                    return Ok(bytes.len());
                }
            }
            Err(_) => Tally::add(&tally.replies_dropped),
        }
        sent
    }

    /// Puts it with the others. What would not fit has them leave first.
    fn post(
        &self,
        outbox: &mut Outbox,
        owner: u64,
        bytes: &[u8],
        to: &AnyAddr,
        traffic: &mut Traffic,
    ) -> io::Result<usize> {
        if outbox.push(bytes, to, self.source, owner, self.lent)? {
            return Ok(bytes.len());
        }
        send_out(self.socket, outbox, self.lent, &self.common.tally, traffic);
        if !outbox.is_empty() {
            // What is in it goes first, unless it has to go back to its sessions too.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match outbox.takes(bytes.len()) && outbox.push(bytes, to, self.source, owner, self.lent)? {
            true => Ok(bytes.len()),
            false => self.send_now(bytes, to),
        }
    }

    fn send_now(&self, bytes: &[u8], to: &AnyAddr) -> io::Result<usize> {
        let send = || match self.source {
            Some(source) => send_from_now(self.socket, bytes, to, source),
            None => sys::io::send_to_now(self.socket, bytes, to),
        };
        match send() {
            Err(error) if is_stale(&error) => send(),
            sent => sent,
        }
    }
}

/// Sends what waits, as far as the kernel takes it now. What cannot be sent at all is dropped.
pub(super) fn send_out(
    socket: BorrowedFd<'_>,
    outbox: &mut Outbox,
    lent: Lent<'_>,
    tally: &Tally,
    traffic: &mut Traffic,
) {
    let mut told = false;
    while let Err(error) = outbox.send(socket, lent) {
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => break,
            _ if is_stale(&error) && !told => told = true,
            // One datagram that cannot be sent says nothing about the next.
            _ => {
                told = false;
                let lost = outbox.pop(lent).map_or(0, |(_, message)| message.len());
                traffic.did_not_write(lost);
                Tally::add(&tally.replies_dropped);
            }
        }
    }
}

/// What an earlier datagram has met on its way is told to the next that is sent, once.
fn is_stale(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Whether the guard lets so many bytes go there.
fn may_send(common: &Common, to: &AnyAddr, bytes: usize, now: Instant) -> bool {
    with_guard(common, to, |replies, ip| replies.may_send(ip, bytes, now)).unwrap_or(true)
}

/// Tells the guard what did not go after all.
pub(super) fn not_sent(common: &Common, to: &AnyAddr, bytes: usize) {
    with_guard(common, to, |replies, ip| replies.not_sent(ip, bytes));
}

/// Tells the guard what came.
pub(super) fn heard(common: &Common, from: &AnyAddr, bytes: usize, now: Instant) {
    with_guard(common, from, |replies, ip| replies.heard(ip, bytes, now));
}

/// Nobody forges a Unix address.
fn with_guard<T>(
    common: &Common,
    peer: &AnyAddr,
    act: impl FnOnce(&mut crate::limits::Replies, IpAddr) -> T,
) -> Option<T> {
    let (replies, ip) = (common.replies.as_ref()?, peer.ip()?);
    let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
    Some(act(&mut replies, ip))
}
