//! What is known of each listener, counted when connections come and go and never for a message.

use super::Watched;
use crate::addr::Endpoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// One listener of a server: see [`ServerHandle::listeners`](crate::server::ServerHandle::listeners).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// Where it listens; its [`transport`](Endpoint::transport) says how.
    pub endpoint: Endpoint,
    /// Whether it takes anybody in now.
    pub state: ListenerState,
    /// Sessions and blocking handlers now whose peers came in here: connections, or datagram peers.
    pub open: u64,
    /// All since the start, without those that were refused.
    pub accepted: u64,
    /// Accepts that failed: for want of descriptors, threads or memory, or because the socket is broken.
    pub errors: u64,
}

/// Whether a listener takes anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenerState {
    /// It does.
    Accepting,
    /// Not now: accepting is paused, the server has as many connections as it may, or descriptors,
    /// threads or memory are short. Clients wait in the system's backlog, or are refused: see
    /// [`OnFull`](crate::server::OnFull). Datagram peers are not concerned.
    Paused,
    /// Not any more: the server is stopping, or the socket is broken.
    Closed,
}

/// The door that peers come in by: one for each listener, whoever accepts from it.
#[derive(Debug)]
pub(crate) struct Door {
    endpoint: Endpoint,
    tallied: Arc<Tallied>,
    /// What those share whom nobody looks at.
    seat: Arc<Seat>,
    errors: AtomicU64,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Tallied {
    accepted: AtomicU64,
    left: AtomicU64,
}

impl Door {
    pub(crate) fn new(endpoint: Endpoint) -> Door {
        let tallied: Arc<Tallied> = Arc::default();
        Door {
            endpoint,
            seat: Arc::new(Seat { door: Some(tallied.clone()), watched: None }),
            tallied,
            errors: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Somebody comes in, until the entry is dropped.
    pub(crate) fn enter(&self, watched: Option<Watched>) -> Entry {
        self.tallied.accepted.fetch_add(1, Relaxed);
        Entry(match watched {
            None => self.seat.clone(),
            watched => Arc::new(Seat { door: Some(self.tallied.clone()), watched }),
        })
    }

    /// An accept failed for want of something.
    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Nothing will ever be accepted again.
    pub(crate) fn broken(&self) {
        self.errors.fetch_add(1, Relaxed);
        self.broken.store(true, Relaxed);
    }

    /// A snapshot; whether the server is `stopping`, and whether it lets connections wait.
    pub(crate) fn info(&self, stopping: bool, waiting: bool) -> ListenerInfo {
        let endpoint = self.endpoint.clone();
        // Connections come through the gate, datagram peers have a table.
        let waiting = waiting && !endpoint.transport().is_datagram();
        let state = if stopping || self.broken.load(Relaxed) {
            ListenerState::Closed
        } else if waiting {
            ListenerState::Paused
        } else {
            ListenerState::Accepting
        };
        // Who has left is read first: there are never more of them than came.
        let left = self.tallied.left.load(Relaxed);
        let accepted = self.tallied.accepted.load(Relaxed);
        let open = accepted.saturating_sub(left);
        ListenerInfo { endpoint, state, open, accepted, errors: self.errors.load(Relaxed) }
    }
}

/// Somebody who came in by a door, or was adopted. Dropped when the session is over. As there is one for
/// each idle connection, it is a pointer; with nobody who looks, all of a door have the same.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    door: Option<Arc<Tallied>>,
    watched: Option<Watched>,
}

impl Entry {
    pub(crate) fn adopted(watched: Watched) -> Entry {
        Entry(Arc::new(Seat { door: None, watched: Some(watched) }))
    }

    pub(crate) fn watched(&self) -> Option<&Watched> {
        self.0.watched.as_ref()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(door) = &self.0.door {
            door.left.fetch_add(1, Relaxed);
        }
    }
}
