//! Accepting, the same for every acceptor: one connection, and the pace.

use super::refuse::Leaving;
use super::{Common, Listening, MemoryListening, Tally};
use crate::addr::Peer;
use crate::error::Error;
use crate::memory;
use crate::observer::{Door, Refusal};
use crate::sys::errors::{AfterError, after_accept, is_out_of_descriptors};
use crate::sys::{self, backlog};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What came of one accept.
pub(super) enum Accepted<S> {
    /// A connection that has its place, and that of its source: whoever ends it gives both back. Whoever
    /// has all for it that it needs tells the gate that there is no shortage.
    Guest(S, Peer),
    /// One that is settled already.
    Settled,
    /// Nobody waits.
    Nobody,
    /// The listeners are to be left alone: until then, or until the gate rings.
    NotNow(Option<Instant>),
    /// The listener will never accept again.
    Broken(io::Error),
}

impl<S> Accepted<S> {
    /// Why a listener is not to be polled any more. One that has hung up and only says that nobody waits,
    /// as Unix ones do, would be polled without end.
    pub(super) fn error(self) -> io::Error {
        match self {
            Accepted::Broken(error) => error,
            _ => io::Error::new(io::ErrorKind::InvalidInput, "the listener was shut down"),
        }
    }
}

impl Common {
    /// Accepts one connection, if one may come in.
    pub(super) fn accept(
        &self,
        listening: &Listening,
        nonblocking: bool,
        leaving: Option<&mut Leaving>,
        now: Instant,
    ) -> Accepted<OwnedFd> {
        let entry = match self.gate.knock(now) {
            Ok(entry) => entry,
            Err(until) => return Accepted::NotNow(until),
        };
        let (socket, from) = match sys::io::accept(listening.socket.as_fd(), nonblocking) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.gate.nobody_came(entry);
                return self.not_accepted(error, listening, now);
            }
        };
        Tally::add(&self.tally.accepted);
        let peer = Peer::from_addr(listening.transport, from.to_canonical());
        if !self.gate.sit_down(entry) {
            self.goes_well(now);
            self.refuse(socket, peer.as_ref(), Refusal::Full, leaving, now);
            return Accepted::Settled;
        }
        let Some(peer) = peer else {
            self.gate.leave();
            return Accepted::Settled;
        };
        if !self.gate.enter_from(&peer) {
            self.gate.leave();
            self.goes_well(now);
            self.refuse(socket, Some(&peer), Refusal::PerSource, leaving, now);
            return Accepted::Settled;
        }
        listening.tune(&socket);
        Accepted::Guest(socket, peer)
    }

    fn not_accepted<S>(
        &self,
        error: io::Error,
        listening: &Listening,
        now: Instant,
    ) -> Accepted<S> {
        match after_accept(&error) {
            AfterError::Wait => Accepted::Nobody,
            AfterError::Next => Accepted::Settled,
            AfterError::GiveUp => Accepted::Broken(error),
            AfterError::BackOff => {
                let until = self.back_off(&listening.service.door, &error, now);
                if is_out_of_descriptors(&error) {
                    self.shed(listening, now);
                }
                Accepted::NotNow(Some(until))
            }
        }
    }

    /// Something is short. Says until when to leave the listeners alone. All that is to be told about
    /// an episode is told from here and from [`goes_well`](Common::goes_well).
    pub(super) fn back_off(&self, door: &Arc<Door>, error: &io::Error, now: Instant) -> Instant {
        door.failed();
        Tally::add(&self.tally.accept_failed);
        let failure = self.gate.shortage.failed(door, now);
        if let Some(door) = failure.ended {
            self.shortage_ended(&door);
        }
        if failure.begins {
            Tally::add(&self.tally.shortages);
            self.tally.watch.tell(|observer| observer.shortage_began(door.endpoint(), error));
        }
        failure.until
    }

    /// A connection was accepted and has all that it needs.
    pub(super) fn goes_well(&self, now: Instant) {
        if let Some(door) = self.gate.shortage.succeeded(now) {
            self.shortage_ended(&door);
        }
    }

    #[cold]
    fn shortage_ended(&self, door: &Door) {
        self.tally.watch.tell(|observer| observer.shortage_ended(door.endpoint()));
    }

    /// A listener will never accept again, or a datagram socket receive, so the server cannot go on; unless
    /// that is how its acceptor learns of a stop, which shuts the listeners.
    pub(super) fn broken(&self, listening: &Listening, error: io::Error) {
        if self.stop.deadline().is_none() {
            listening.service.door.broken();
            let datagrams = listening.transport.is_datagram();
            let operation = if datagrams { "receive on" } else { "accept on" };
            self.stop.fail(Error::new(operation, &listening.endpoint, error));
        }
    }

    /// Refuses one of those who wait, with the descriptor in reserve, if the server refuses. As far as
    /// it goes: another thread may take that descriptor first.
    fn shed(&self, listening: &Listening, now: Instant) {
        self.gate.shortage.with_reserve(|| {
            if let Ok((socket, from)) = sys::io::accept(listening.socket.as_fd(), true) {
                Tally::add(&self.tally.accepted);
                let peer = Peer::from_addr(listening.transport, from.to_canonical());
                self.refuse(socket, peer.as_ref(), Refusal::NoDescriptor, None, now);
            }
        });
    }

    /// Accepts one connection in memory, if one may come in. Another acceptor may have been faster.
    pub(super) fn accept_memory(
        &self,
        listening: &MemoryListening,
        now: Instant,
    ) -> Accepted<memory::Stream> {
        let entry = match self.gate.knock(now) {
            Ok(entry) => entry,
            Err(until) => return Accepted::NotNow(until),
        };
        let Some(socket) = listening.listener.accept_now() else {
            self.gate.nobody_came(entry);
            return Accepted::Nobody;
        };
        Tally::add(&self.tally.accepted);
        if !self.gate.sit_down(entry) {
            self.goes_well(now);
            self.refuse_memory(&socket, Refusal::Full);
            return Accepted::Settled;
        }
        Accepted::Guest(socket, Peer::memory())
    }
}

/// How fast connections are accepted: see
/// [`Limits::accepts_per_second_max`](crate::limits::Limits::accepts_per_second_max).
///
/// A bucket of tokens, as many as are given out in a second, kept as the time at which it is full again.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    full_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Pace {
        Pace { interval: SECOND / per_second.max(1), full_at: Mutex::new(None) }
    }

    /// Takes a token, or says when there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut full_at = self.full_at();
        let before = full_at.map_or(now, |at| at.max(now));
        let after = before + self.interval;
        match after.saturating_duration_since(now + SECOND) {
            Duration::ZERO => {
                *full_at = Some(after);
                Ok(())
            }
            wait => Err(now + wait),
        }
    }

    pub(super) fn give_back(&self) {
        let mut full_at = self.full_at();
        *full_at = full_at.and_then(|at| at.checked_sub(self.interval));
    }

    fn full_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// How long to leave the listeners alone after a shortage: doubled from 10 to 80 ms, so that who waits is
/// served within a tenth of a second, wake-up and all.
pub(crate) fn back_off(last: Option<Duration>) -> Duration {
    last.map_or(Duration::from_millis(10), |last| (last * 2).min(Duration::from_millis(80)))
}

/// Says when to go on accepting from a listener that is ready, and when others have their turn.
///
/// An accept in vain costs as much as a good one, so the listener is asked how many wait, and again
/// when those are in. Where it cannot say, it is tried.
pub(crate) struct Accepts {
    /// How many more within this turn.
    left: usize,
    /// How many more are known to wait.
    known: usize,
}

impl Accepts {
    pub(crate) fn new() -> Accepts {
        // A listener that is ready has one at least.
        Accepts { left: ACCEPTS_PER_TURN, known: 1 }
    }

    pub(crate) fn another(&mut self, listener: BorrowedFd<'_>) -> bool {
        if self.known == 0 && self.left > 0 {
            self.known = backlog::waiting(listener).unwrap_or(1);
        }
        if self.known == 0 || self.left == 0 {
            return false;
        }
        self.known -= 1;
        self.left -= 1;
        true
    }
}

/// Connections that one listener accepts before others have their turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_allows_a_second_at_once_and_then_one_after_the_other() {
        let (pace, now) = (Pace::new(4), Instant::now());
        let quarter = SECOND / 4;
        assert!((0..4).all(|_| pace.take(now).is_ok()));
        assert_eq!(pace.take(now), Err(now + quarter));
        pace.give_back();
        assert_eq!(pace.take(now), Ok(()));
        assert_eq!(pace.take(now + quarter), Ok(()));
        assert_eq!(pace.take(now + quarter), Err(now + 2 * quarter));
        let later = now + 9 * SECOND;
        assert!((0..4).all(|_| pace.take(later).is_ok()) && pace.take(later).is_err());
    }

    #[test]
    fn the_pause_grows_and_stays_below_a_tenth_of_a_second() {
        let mut pause = None;
        let pauses: Vec<u128> = (0..6)
            .map(|_| {
                pause = Some(back_off(pause));
                pause.unwrap().as_millis()
            })
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 80, 80]);
    }
}
