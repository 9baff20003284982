//! The end of a session: its reason, its last callback, its drop.

use super::Session;
use crate::handler::{CloseReason, Flags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

impl Session {
    /// The end: tells the handler, once, and drops it. Returns why, and whether the handler panicked
    /// meanwhile.
    pub(crate) fn conclude(mut self: Box<Self>) -> (CloseReason, bool) {
        if let Some(line) = &self.state.line {
            line.closed.store(true, Ordering::Release);
        }
        let reason = match self.state.take_reason() {
            Some(reason) => reason,
            None if self.has(Flags::EOF) => CloseReason::PeerClosed,
            None => CloseReason::Finished,
        };
        let owed = self.has(Flags::OPENED) && !self.has(Flags::PANICKED);
        let farewell = AssertUnwindSafe(|| {
            if owed {
                self.protocol.closed(&reason);
            }
        });
        let mut panicked = catch_unwind(farewell).is_err();
        panicked |= catch_unwind(AssertUnwindSafe(|| drop(self))).is_err();
        (reason, panicked)
    }
}
