//! Counters: what a server has done, and why its sessions ended.

use crate::handler::CloseReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Callbacks that panicked.
    pub panics: u64,
    /// Sessions and blocking handlers that run now.
    pub open: u64,
    /// Sessions that ended, by reason.
    pub closed: Closed,
}

/// How many sessions ended for which [`CloseReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each field is the reason of the same name")]
pub struct Closed {
    pub finished: u64,
    pub peer_closed: u64,
    pub transport: u64,
    pub frame: u64,
    pub handler: u64,
    pub panicked: u64,
    pub output_full: u64,
    pub first_message_timeout: u64,
    pub idle_timeout: u64,
    pub write_stall: u64,
    pub aborted: u64,
    pub stopped: u64,
}

impl Closed {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.finished
            + self.peer_closed
            + self.transport
            + self.frame
            + self.handler
            + self.panicked
            + self.output_full
            + self.first_message_timeout
            + self.idle_timeout
            + self.write_stall
            + self.aborted
            + self.stopped
    }
}

/// The counters while they run. Nothing is ordered by them.
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
    pub(crate) panics: AtomicU64,
    open: AtomicU64,
    closed: [AtomicU64; REASONS],
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, reason: &CloseReason, panicked: bool) {
        self.open.fetch_sub(1, Relaxed);
        self.closed[index(reason)].fetch_add(1, Relaxed);
        if panicked || matches!(reason, CloseReason::Panicked) {
            self.panics.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let closed = |index: usize| self.closed[index].load(Relaxed);
        Counters {
            accepted: self.accepted.load(Relaxed),
            adopted: self.adopted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            accept_failed: self.accept_failed.load(Relaxed),
            datagram_peers: self.datagram_peers.load(Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Relaxed),
            frames_skipped: self.frames_skipped.load(Relaxed),
            panics: self.panics.load(Relaxed),
            open: self.open.load(Relaxed),
            closed: Closed {
                finished: closed(0),
                peer_closed: closed(1),
                transport: closed(2),
                frame: closed(3),
                handler: closed(4),
                panicked: closed(5),
                output_full: closed(6),
                first_message_timeout: closed(7),
                idle_timeout: closed(8),
                write_stall: closed(9),
                aborted: closed(10),
                stopped: closed(11),
            },
        }
    }
}

fn index(reason: &CloseReason) -> usize {
    match reason {
        CloseReason::Finished => 0,
        CloseReason::PeerClosed => 1,
        CloseReason::Transport(_) => 2,
        CloseReason::Frame(_) => 3,
        CloseReason::Handler(_) => 4,
        CloseReason::Panicked => 5,
        CloseReason::OutputFull { .. } => 6,
        CloseReason::FirstMessageTimeout => 7,
        CloseReason::IdleTimeout => 8,
        CloseReason::WriteStall => 9,
        CloseReason::Aborted => 10,
        CloseReason::Stopped => 11,
    }
}

const REASONS: usize = 12;
