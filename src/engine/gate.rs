//! The gate: who may come in, and when.
//!
//! ```text
//!   knock ──► In        accept, and serve it
//!         ──► Full      accept, and refuse it (only if the server refuses rather than lets wait)
//!         ──► Err(..)   leave the listeners alone: until somebody leaves, or until a time
//! ```

use super::accept::Pace;
use super::refuse::OnFull;
use super::shortage::Shortage;
use super::sources::Sources;
use crate::addr::Peer;
use crate::limits::Limits;
use crate::mailbox::Bell;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Counts connections in and out. Whoever finds it closed stops accepting, so that clients wait in
/// the system's backlog, and is rung when somebody leaves.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    /// How many may be inside: as the settings say, and none while accepting is paused.
    places: AtomicUsize,
    settings: Mutex<Settings>,
    /// Somebody was turned away since the last ring.
    awaited: AtomicBool,
    bells: Mutex<Vec<Arc<Bell>>>,
    /// What becomes of those for whom there is no room.
    pub(crate) on_full: OnFull,
    sources: Option<Sources>,
    pace: Option<Pace>,
    pub(crate) shortage: Shortage,
}

#[derive(Debug)]
struct Settings {
    connections_max: usize,
    paused: bool,
}

/// What a connection may do that is about to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    In,
    Full,
}

impl Gate {
    /// A gate with this many places, at which further ones wait.
    pub(crate) fn new(connections_max: usize) -> Gate {
        Gate {
            inside: AtomicUsize::new(0),
            places: AtomicUsize::new(connections_max),
            settings: Mutex::new(Settings { connections_max, paused: false }),
            awaited: AtomicBool::new(false),
            bells: Mutex::new(Vec::new()),
            on_full: OnFull::Wait,
            sources: None,
            pace: None,
            shortage: Shortage::new(&OnFull::Wait),
        }
    }

    /// The same, with what else the limits say, and what becomes of those beyond them.
    pub(crate) fn with(self, limits: &Limits, on_full: OnFull) -> Gate {
        Gate {
            sources: limits.connections_per_source_max.map(Sources::new),
            pace: limits.accepts_per_second_max.map(Pace::new),
            shortage: Shortage::new(&on_full),
            on_full,
            ..self
        }
    }

    /// Has this bell rung whenever there is room after the gate was found closed.
    pub(crate) fn notify(&self, bell: Arc<Bell>) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(bell);
    }

    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Whether nobody can enter now, because all places are taken or accepting is paused.
    pub(crate) fn is_full(&self) -> bool {
        self.inside() >= self.places()
    }

    /// Before an accept. An error means to leave the listeners alone: until that time, or until the
    /// bell rings. Who is in has to [`leave`](Gate::leave).
    pub(crate) fn knock(&self, now: Instant) -> Result<Entry, Option<Instant>> {
        let entry = if self.try_enter() { Entry::In } else { Entry::Full };
        if entry == Entry::Full && self.makes_wait() {
            return Err(None);
        }
        let pace = self.pace.as_ref().map_or(Ok(()), |pace| pace.take(now));
        let may = pace.and_then(|()| self.shortage.may_try(now));
        match may {
            Ok(()) => Ok(entry),
            Err(until) => {
                self.withdraw(entry);
                Err(Some(until))
            }
        }
    }

    /// After a knock, when nobody came.
    pub(crate) fn nobody_came(&self, entry: Entry) {
        if let Some(pace) = &self.pace {
            pace.give_back();
        }
        self.withdraw(entry);
    }

    fn withdraw(&self, entry: Entry) {
        if entry == Entry::In {
            self.leave();
        }
    }

    pub(crate) fn try_enter(&self) -> bool {
        if self.inside.fetch_add(1, Ordering::SeqCst) < self.places() {
            return true;
        }
        // The note comes before stepping back: whoever leaves in between sees it.
        if self.makes_wait() {
            self.awaited.store(true, Ordering::SeqCst);
        }
        self.leave();
        false
    }

    /// Whether those for whom there is no place are left in the backlog.
    fn makes_wait(&self) -> bool {
        self.on_full == OnFull::Wait || self.places() == 0
    }

    /// Whether somebody could be accepted. If not, there is a ring once somebody could.
    pub(crate) fn has_room(&self) -> bool {
        if self.inside() < self.places() || !self.makes_wait() {
            return true;
        }
        // Who left before the note is seen now; who leaves after it sees the note.
        self.awaited.store(true, Ordering::SeqCst);
        self.inside() < self.places() || !self.makes_wait()
    }

    pub(crate) fn leave(&self) {
        let before = self.inside.fetch_sub(1, Ordering::SeqCst);
        let awaited = before <= self.places() && self.awaited.load(Ordering::SeqCst);
        if awaited && self.awaited.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Whether this peer's source may have one more connection; if so, it is counted until
    /// [`leave_from`](Gate::leave_from).
    pub(crate) fn enter_from(&self, peer: &Peer) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.enter(peer.ip()))
    }

    /// Who came from this address leaves.
    pub(crate) fn leave_from(&self, ip: Option<IpAddr>) {
        if let Some(sources) = &self.sources {
            sources.leave(ip);
        }
        self.leave();
    }

    /// How many may be inside from now on; zero counts as one. Nobody is sent away for it.
    pub(crate) fn set_connections_max(&self, connections_max: usize) {
        self.change(|settings| settings.connections_max = connections_max.max(1));
    }

    /// Lets nobody in any more, or again.
    pub(crate) fn pause(&self, paused: bool) {
        self.change(|settings| settings.paused = paused);
    }

    fn change(&self, act: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings();
        act(&mut settings);
        let places = if settings.paused { 0 } else { settings.connections_max };
        self.places.store(places, Ordering::SeqCst);
        drop(settings);
        self.ring();
    }

    fn places(&self) -> usize {
        self.places.load(Ordering::SeqCst)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.iter().for_each(|bell| bell.ring());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_number_sends_nobody_away_and_a_higher_one_lets_in() {
        let gate = Gate::new(2);
        let now = Instant::now();
        assert!(gate.knock(now).is_ok() && gate.knock(now).is_ok());
        gate.set_connections_max(1);
        gate.leave();
        assert_eq!((gate.knock(now), gate.inside()), (Err(None), 1));
        gate.set_connections_max(2);
        assert_eq!(gate.knock(now), Ok(Entry::In));
    }

    #[test]
    fn who_refuses_makes_wait_only_while_it_is_paused() {
        let gate = Gate::new(1).with(&Limits::default(), OnFull::Refuse);
        let now = Instant::now();
        assert_eq!((gate.knock(now), gate.knock(now)), (Ok(Entry::In), Ok(Entry::Full)));
        gate.pause(true);
        gate.set_connections_max(5);
        assert_eq!((gate.knock(now), gate.has_room()), (Err(None), false));
        gate.pause(false);
        assert_eq!((gate.knock(now), gate.inside()), (Ok(Entry::In), 2));
    }

    #[test]
    fn a_pace_holds_up_and_takes_no_place() {
        let limits = Limits { accepts_per_second_max: Some(1), ..Limits::default() };
        let gate = Gate::new(5).with(&limits, OnFull::Wait);
        let now = Instant::now();
        assert_eq!(gate.knock(now), Ok(Entry::In));
        let until = gate.knock(now).unwrap_err().expect("a time");
        assert_eq!((gate.inside(), gate.knock(until)), (1, Ok(Entry::In)));
    }
}
