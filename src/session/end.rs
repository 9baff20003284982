//! The end of a session: its reason, its last callback, its drop.

use super::Session;
use crate::contain::contain;
use crate::handler::{CloseReason, Flags};
use crate::observer::Entry;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Session {
    /// The end: tells the handler, once, and drops it. Returns why, and whether the handler panicked.
    pub(crate) fn conclude(mut self: Box<Self>, now: Instant) -> (CloseReason, bool) {
        if let Some(line) = &self.state.line {
            line.closed.store(true, Ordering::Release);
        }
        let reason = match self.state.take_reason() {
            Some(reason) => reason,
            None if self.has(Flags::EOF) => CloseReason::PeerClosed,
            None => CloseReason::Finished,
        };
        let mut panicked = self.has(Flags::PANICKED);
        let owed = self.has(Flags::OPENED) && !panicked;
        // The entry outlives the session: who left is told of, and then counted.
        let entry = self.entry.take();
        let watched = entry.as_ref().and_then(Entry::watched);
        let watched = watched.map(|watched| (watched, self.state.peer.clone()));
        let farewell = contain(|| {
            if owed {
                self.protocol.closed(&reason);
            }
        });
        for panic in [farewell, contain(|| drop(self))].into_iter().filter_map(Result::err) {
            panicked = true;
            if let Some((watched, peer)) = &watched {
                watched.panicked(peer, &panic);
            }
        }
        if let Some((watched, peer)) = &watched {
            watched.closed(peer, &reason, now);
        }
        (reason, panicked)
    }
}
