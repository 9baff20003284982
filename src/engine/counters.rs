//! Counters: what a server has done, and why its sessions ended.

use crate::handler::CloseReason;
use crate::observer::{Door, Watch};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A snapshot of what a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that the program made and had the engine adopt.
    pub adopted: u64,
    /// Connections and datagram peers that were not admitted.
    pub refused: u64,
    /// Accepts that failed for want of descriptors or memory.
    pub accept_failed: u64,
    /// Datagram peers that got a session.
    pub datagram_peers: u64,
    /// Datagrams dropped: from peers beyond the table's limit, malformed, or not wanted.
    pub datagrams_dropped: u64,
    /// Frames that were dropped because they were too long: see
    /// [`Oversize::Skip`](crate::codec::Oversize::Skip).
    pub frames_skipped: u64,
    /// Callbacks that panicked: of sessions, each once, and all others, hooks and observers.
    pub panics: u64,
    /// Sessions and blocking handlers that run now.
    pub open: u64,
    /// Sessions that ended, by reason.
    pub closed: Closed,
}

// One list, from which everything follows that has a place for each reason.
macro_rules! reasons {
    ($($field:ident: $reason:pat,)*) => {
        /// How many sessions ended for which [`CloseReason`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each field is the reason of the same name")]
        pub struct Closed {
            $(pub $field: u64,)*
        }

        impl Closed {
            /// All of them.
            pub fn total(&self) -> u64 {
                0 $(+ self.$field)*
            }
        }

        #[derive(Debug, Default)]
        struct Endings {
            $($field: AtomicU64,)*
        }

        impl Endings {
            fn of(&self, reason: &CloseReason) -> &AtomicU64 {
                match reason {
                    $($reason => &self.$field,)*
                }
            }

            fn snapshot(&self) -> Closed {
                Closed { $($field: self.$field.load(Relaxed),)* }
            }
        }
    };
}

reasons! {
    finished: CloseReason::Finished,
    peer_closed: CloseReason::PeerClosed,
    transport: CloseReason::Transport(_),
    frame: CloseReason::Frame(_),
    handler: CloseReason::Handler(_),
    panicked: CloseReason::Panicked,
    output_full: CloseReason::OutputFull { .. },
    first_message_timeout: CloseReason::FirstMessageTimeout,
    idle_timeout: CloseReason::IdleTimeout,
    write_stall: CloseReason::WriteStall,
    aborted: CloseReason::Aborted,
    stopped: CloseReason::Stopped,
}

/// The counters while they run, and who is told. Nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: AtomicU64,
    pub(crate) adopted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) accept_failed: AtomicU64,
    pub(crate) datagram_peers: AtomicU64,
    pub(crate) datagrams_dropped: AtomicU64,
    /// Shared with those who read: see [`Turn`](crate::handler::Turn).
    pub(crate) frames_skipped: Arc<AtomicU64>,
    /// Sessions whose callbacks panicked; other callbacks are counted by the watch.
    panics: AtomicU64,
    opened: AtomicU64,
    closed: Endings,
    pub(crate) watch: Watch,
    leavers: Leavers,
}

impl Tally {
    pub(crate) fn new(watch: Watch) -> Tally {
        Tally { watch, ..Tally::default() }
    }

    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// A listener could not accept for want of something.
    pub(crate) fn shortage(&self, door: &Door, error: &io::Error) {
        Tally::add(&self.accept_failed);
        if door.shortage() {
            self.watch.tell(|observer| observer.shortage_began(door.endpoint(), error));
        }
    }

    /// A listener has accepted.
    pub(crate) fn accepted(&self, door: &Door) {
        Tally::add(&self.accepted);
        if door.plenty() {
            self.watch.tell(|observer| observer.shortage_ended(door.endpoint()));
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, reason: &CloseReason, panicked: bool) {
        Tally::add(self.closed.of(reason));
        if panicked || matches!(reason, CloseReason::Panicked) {
            self.panics.fetch_add(1, Relaxed);
        }
        self.leavers.left();
    }

    /// Waits until so few sessions are open. False if that takes longer.
    pub(crate) fn wait_until_open(&self, at_most: u64, until: Option<Instant>) -> bool {
        self.leavers.wait(until, || self.snapshot().open <= at_most)
    }

    pub(crate) fn snapshot(&self) -> Counters {
        // Read before what was opened, of which there are never fewer.
        let closed = self.closed.snapshot();
        Counters {
            accepted: self.accepted.load(Relaxed),
            adopted: self.adopted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            accept_failed: self.accept_failed.load(Relaxed),
            datagram_peers: self.datagram_peers.load(Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Relaxed),
            frames_skipped: self.frames_skipped.load(Relaxed),
            panics: self.panics.load(Relaxed) + self.watch.panics(),
            open: self.opened.load(Relaxed).saturating_sub(closed.total()),
            closed,
        }
    }
}

/// Wakes who waits for sessions to leave. Where nobody does, it costs a look.
#[derive(Debug, Default)]
struct Leavers {
    waiting: AtomicUsize,
    lock: Mutex<()>,
    left: Condvar,
}

impl Leavers {
    fn left(&self) {
        // Counted first, then looked; who waits notes it first, then counts.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.left.notify_all();
        }
    }

    fn wait(&self, until: Option<Instant>, is_enough: impl Fn() -> bool) -> bool {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = loop {
            if is_enough() {
                break true;
            }
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break false;
            }
            let waited = self.left.wait_timeout(lock, left);
            lock = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        enough
    }
}
