//! The gate: how many connections a server serves at once.

use crate::mailbox::Bell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections in and out. Whoever finds it closed stops accepting, so that clients wait in
/// the system's backlog, and is rung when somebody leaves.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    connections_max: usize,
    /// Somebody was turned away since the last ring.
    awaited: AtomicBool,
    bells: Mutex<Vec<Arc<Bell>>>,
}

impl Gate {
    pub(crate) fn new(connections_max: usize) -> Gate {
        Gate {
            inside: AtomicUsize::new(0),
            connections_max,
            awaited: AtomicBool::new(false),
            bells: Mutex::new(Vec::new()),
        }
    }

    /// Has this bell rung whenever there is room after the gate was found closed.
    pub(crate) fn notify(&self, bell: Arc<Bell>) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(bell);
    }

    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Whether nobody can enter now.
    pub(crate) fn is_full(&self) -> bool {
        self.inside() >= self.connections_max
    }

    pub(crate) fn try_enter(&self) -> bool {
        if self.inside.fetch_add(1, Ordering::SeqCst) < self.connections_max {
            return true;
        }
        // The note comes before stepping back: whoever leaves in between sees it.
        self.awaited.store(true, Ordering::SeqCst);
        self.leave();
        false
    }

    /// Whether somebody could enter. If not, there is a ring once somebody could.
    pub(crate) fn has_room(&self) -> bool {
        if self.inside() < self.connections_max {
            return true;
        }
        // Who left before the note is seen now; who leaves after it sees the note.
        self.awaited.store(true, Ordering::SeqCst);
        self.inside() < self.connections_max
    }

    pub(crate) fn leave(&self) {
        let before = self.inside.fetch_sub(1, Ordering::SeqCst);
        let awaited = before <= self.connections_max && self.awaited.load(Ordering::SeqCst);
        if awaited && self.awaited.swap(false, Ordering::SeqCst) {
            let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
            bells.iter().for_each(|bell| bell.ring());
        }
    }
}
