//! Counters: what a server has done, and why its sessions ended.

use crate::addr::Peer;
use crate::handler::CloseReason;
use crate::observer::{Refusal, Watch};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed, fence};
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A snapshot of what a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted, those that were refused then included.
    pub accepted: u64,
    /// Connections that the program made and had the engine adopt.
    pub adopted: u64,
    /// Connections and datagram peers that were refused, by reason.
    pub refused: Refused,
    /// Accepts that failed for want of descriptors or memory, and connections that no thread could be
    /// made for.
    pub accept_failed: u64,
    /// How often such a want began. One that comes and goes is one, until a second without it.
    pub shortages: u64,
    /// Bytes that were read from connections and came in datagrams, dropped ones included. Not those of
    /// connections that were refused, nor those of blocking handlers, who have their sockets to themselves.
    pub bytes_read: u64,
    /// Bytes that the kernel took for connections and in datagrams, with the same left out.
    ///
    /// Both are brought up to date when a session ends and before its worker or thread sleeps, so that a
    /// peer may have an answer for a moment before it is counted. And datagrams that were to leave together
    /// may be counted for a moment and not leave: between two snapshots the number may fall by them.
    pub bytes_written: u64,
    /// Datagram peers that got a session.
    pub datagram_peers: u64,
    /// Datagrams dropped: from peers beyond the table's limit, malformed, or not wanted.
    pub datagrams_dropped: u64,
    /// Datagrams that were to be sent and were not, because a
    /// [`ReplyGuard`](crate::limits::ReplyGuard) did not allow them.
    pub replies_guarded: u64,
    /// Datagrams that were to be sent and were not: the kernel refused them, or a stateless handler had
    /// nobody to send them to.
    pub replies_dropped: u64,
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

// One list of kinds for each, from which everything follows that has a place for each kind.
macro_rules! by_kind {
    (
        $(#[$doc:meta])* $public:ident, $running:ident of $kind:ty:
        $($(#[$field_doc:meta])* $field:ident: $pattern:pat,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $public {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $public {
            /// All of them.
            pub fn total(&self) -> u64 {
                0 $(+ self.$field)*
            }
        }

        #[derive(Debug, Default)]
        struct $running {
            $($field: AtomicU64,)*
        }

        impl $running {
            fn of(&self, kind: &$kind) -> &AtomicU64 {
                match kind {
                    $($pattern => &self.$field,)*
                }
            }

            fn snapshot(&self) -> $public {
                $public { $($field: self.$field.load(Relaxed),)* }
            }
        }
    };
}

by_kind! {
    /// How many sessions ended for which [`CloseReason`].
    #[allow(missing_docs, reason = "each field is the reason of the same name")]
    Closed, Endings of CloseReason:
    finished: CloseReason::Finished,
    peer_closed: CloseReason::PeerClosed,
    transport: CloseReason::Transport(_),
    frame: CloseReason::Frame(_),
    handler: CloseReason::Handler(_),
    panicked: CloseReason::Panicked,
    output_full: CloseReason::OutputFull { .. },
    first_message_timeout: CloseReason::FirstMessageTimeout,
    idle_timeout: CloseReason::IdleTimeout,
    idle_read_timeout: CloseReason::IdleReadTimeout,
    idle_write_timeout: CloseReason::IdleWriteTimeout,
    frame_timeout: CloseReason::FrameTimeout,
    life_timeout: CloseReason::LifeTimeout,
    write_stall: CloseReason::WriteStall,
    slow_reader: CloseReason::SlowReader,
    aborted: CloseReason::Aborted,
    stopped: CloseReason::Stopped,
}

by_kind! {
    /// How many connections and datagram peers were refused, by reason.
    Refused, Refusals of Refusal:
    /// Beyond [`Limits::connections_max`](crate::limits::Limits::connections_max), on a server that does
    /// not let them wait.
    full: Refusal::Full,
    /// Beyond [`Limits::connections_per_source_max`](crate::limits::Limits::connections_per_source_max).
    per_source: Refusal::PerSource,
    /// Not wanted by [`Server::admit`](crate::server::Server::admit), or it panicked; of datagrams too.
    not_admitted: Refusal::NotAdmitted,
    /// No descriptor for them, on a server that does not let them wait.
    no_descriptor: Refusal::NoDescriptor,
    /// No thread for them.
    no_thread: Refusal::NoThread,
    /// The function that makes handlers panicked. Datagram peers too.
    no_handler: Refusal::NoHandler,
}

/// The counters while they run, and who is told. Nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: AtomicU64,
    pub(crate) adopted: AtomicU64,
    refused: Refusals,
    pub(crate) accept_failed: AtomicU64,
    pub(crate) shortages: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    pub(crate) datagram_peers: AtomicU64,
    pub(crate) datagrams_dropped: AtomicU64,
    pub(crate) replies_guarded: AtomicU64,
    pub(crate) replies_dropped: AtomicU64,
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

    /// Counts a refusal, and tells it if it is known who is refused. Who makes a name only for this
    /// need not, unless the watch is set.
    pub(crate) fn refused(&self, peer: Option<&Peer>, why: Refusal) {
        Tally::add(self.refused.of(&why));
        if let Some(peer) = peer {
            self.watch.tell(|observer| observer.refused(peer, why));
        }
    }

    /// Counts what went to and fro since the last time.
    pub(crate) fn carried(&self, traffic: &mut Traffic) {
        for (bytes, all) in
            [(&mut traffic.read, &self.bytes_read), (&mut traffic.written, &self.bytes_written)]
        {
            if *bytes != 0 {
                all.fetch_add(std::mem::take(bytes), Relaxed);
            }
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
            refused: self.refused.snapshot(),
            accept_failed: self.accept_failed.load(Relaxed),
            shortages: self.shortages.load(Relaxed),
            bytes_read: self.bytes_read.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            datagram_peers: self.datagram_peers.load(Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Relaxed),
            replies_guarded: self.replies_guarded.load(Relaxed),
            replies_dropped: self.replies_dropped.load(Relaxed),
            frames_skipped: self.frames_skipped.load(Relaxed),
            panics: self.panics.load(Relaxed) + self.watch.panics(),
            open: self.opened.load(Relaxed).saturating_sub(closed.total()),
            closed,
        }
    }
}

/// What one thread has read and written since it was last [counted](Tally::carried).
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) read: u64,
    written: u64,
}

impl Traffic {
    #[inline(always)]
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.wrapping_add(bytes as u64);
    }

    /// What was to leave with others did not, perhaps after these were counted.
    pub(crate) fn did_not_write(&mut self, bytes: usize) {
        self.written = self.written.wrapping_sub(bytes as u64);
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
