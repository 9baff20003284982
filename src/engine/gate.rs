//! The gate: who may come in, and when.
//!
//! ```text
//!   knock ──► Seated     accept, and serve it
//!         ──► Unseated   accept, sit down: serve it, or refuse it (only if the server refuses)
//!         ──► Err(..)    leave the listeners alone: until somebody leaves, or until a time
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

/// Of whoever is about to accept a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A place is kept.
    Seated,
    /// One of so many is to be taken by [`Gate::sit_down`] when somebody came: a server that refuses must
    /// not keep places for nobody, or another of its acceptors would find it full.
    Unseated(usize),
}

impl Gate {
    /// A gate with this many places, zero counts as one, at which further ones wait.
    pub(crate) fn new(connections_max: usize) -> Gate {
        let connections_max = connections_max.max(1);
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
    /// gate [has room](Gate::has_room).
    pub(crate) fn knock(&self, now: Instant) -> Result<Entry, Option<Instant>> {
        let places = self.places();
        let entry = match self.makes_wait(places) {
            true if !self.enter(places) => return Err(None),
            true => Entry::Seated,
            false => Entry::Unseated(places),
        };
        if let Some(Err(until)) = self.pace.as_ref().map(|pace| pace.take(now)) {
            self.withdraw(entry);
            return Err(Some(until));
        }
        self.shortage.may_try(now).map_err(|until| {
            self.nobody_came(entry);
            Some(until)
        })?;
        Ok(entry)
    }

    /// After a knock, when somebody came: whether there is a place. Who has one has to
    /// [`leave`](Gate::leave).
    pub(crate) fn sit_down(&self, entry: Entry) -> bool {
        match entry {
            Entry::Seated => true,
            Entry::Unseated(places) => self.enter(places),
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
        if entry == Entry::Seated {
            self.leave();
        }
    }

    /// Takes one of so many places, if one is free: nobody is counted who is not in, not for a moment,
    /// or others would find it full.
    fn enter(&self, places: usize) -> bool {
        let more = |inside| (inside < places).then_some(inside + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Whether those for whom there is no place are left in the backlog.
    fn makes_wait(&self, places: usize) -> bool {
        self.on_full == OnFull::Wait || places == 0
    }

    /// Whether somebody could be accepted. If not, there is a ring once somebody could.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = || {
            let places = self.places();
            self.inside() < places || !self.makes_wait(places)
        };
        has_room() || {
            // Who left before the note is seen now; who leaves after it sees the note.
            self.awaited.store(true, Ordering::SeqCst);
            has_room()
        }
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
    use crate::addr::Endpoint;

    /// Somebody comes: whether there is a place.
    fn comes(gate: &Gate, now: Instant) -> Result<bool, Option<Instant>> {
        gate.knock(now).map(|entry| gate.sit_down(entry))
    }

    #[test]
    fn a_lower_number_sends_nobody_away_and_a_higher_one_lets_in() {
        let gate = Gate::new(2);
        let now = Instant::now();
        assert!(gate.knock(now).is_ok() && gate.knock(now).is_ok());
        gate.set_connections_max(1);
        gate.leave();
        assert_eq!((gate.knock(now), gate.inside()), (Err(None), 1));
        gate.set_connections_max(2);
        assert_eq!(gate.knock(now), Ok(Entry::Seated));
    }

    #[test]
    fn who_refuses_makes_wait_only_while_it_is_paused() {
        let gate = Gate::new(1).with(&Limits::default(), OnFull::Refuse);
        let now = Instant::now();
        assert_eq!((comes(&gate, now), comes(&gate, now)), (Ok(true), Ok(false)));
        gate.pause(true);
        gate.set_connections_max(5);
        assert_eq!((comes(&gate, now), gate.has_room()), (Err(None), false));
        gate.pause(false);
        assert_eq!((comes(&gate, now), gate.inside()), (Ok(true), 2));
    }

    #[test]
    fn who_refuses_keeps_no_place_for_nobody() {
        let gate = Gate::new(1).with(&Limits::default(), OnFull::Refuse);
        let now = Instant::now();
        let in_vain = gate.knock(now).expect("open");
        assert_eq!(comes(&gate, now), Ok(true), "another acceptor finds the place free");
        gate.nobody_came(in_vain);
        assert_eq!((gate.inside(), comes(&gate, now)), (1, Ok(false)));
    }

    #[test]
    fn a_pause_refuses_nobody_who_is_being_accepted() {
        let gate = Gate::new(1).with(&Limits::default(), OnFull::Refuse);
        let entry = gate.knock(Instant::now()).expect("open");
        gate.pause(true);
        assert!(gate.sit_down(entry));
    }

    #[test]
    fn a_pace_holds_up_and_takes_no_place() {
        let limits = Limits { accepts_per_second_max: Some(1), ..Limits::default() };
        let gate = Gate::new(5).with(&limits, OnFull::Wait);
        let now = Instant::now();
        assert_eq!(gate.knock(now), Ok(Entry::Seated));
        let until = gate.knock(now).unwrap_err().expect("a time");
        assert_eq!((gate.inside(), gate.knock(until)), (1, Ok(Entry::Seated)));
    }

    #[test]
    fn a_knock_in_vain_costs_nothing_of_the_pace() {
        let limits = Limits { accepts_per_second_max: Some(2), ..Limits::default() };
        let gate = Gate::new(5).with(&limits, OnFull::Wait);
        let (door, now) =
            (Arc::new(crate::observer::Door::new(Endpoint::memory())), Instant::now());
        let pause = gate.shortage.failed(&door, now).until;
        for _ in 0..3 {
            assert_eq!(gate.knock(now), Err(Some(pause)));
        }
        gate.shortage.succeeded(now);
        assert_eq!((gate.knock(now), gate.knock(now)), (Ok(Entry::Seated), Ok(Entry::Seated)));
        assert_eq!(gate.inside(), 2);
    }

    #[test]
    fn no_places_are_one() {
        let gate = Gate::new(0).with(&Limits::default(), OnFull::Refuse);
        let now = Instant::now();
        assert_eq!((comes(&gate, now), comes(&gate, now)), (Ok(true), Ok(false)));
    }
}
