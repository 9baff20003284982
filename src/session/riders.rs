//! Descriptors that came with input.

use super::Session;
use crate::addr::Transport;
use crate::descriptors::Descriptors;
use crate::handler::{Flags, Phase};
use std::io;

impl Session {
    /// Whether input is more than the bytes of a stream: messages, or bytes with descriptors.
    #[inline]
    pub(crate) fn reads_more_than_bytes(&self) -> bool {
        // The first question is all that TCP is asked.
        self.state.peer.transport() != Transport::Tcp
            && (self.takes_records() || self.passes_descriptors())
    }

    pub(crate) fn passes_descriptors(&self) -> bool {
        self.state.riders().is_some()
    }

    /// Hands in descriptors that came with the input that is handed in next.
    pub(crate) fn arrive(&mut self, descriptors: Descriptors) -> io::Result<()> {
        if self.state.phase != Phase::Open || descriptors.is_empty() {
            return Ok(());
        }
        if self.state.riders_mut().is_none_or(|riders| riders.arrive(descriptors)) {
            return Ok(());
        }
        let text = "more descriptors came with one frame than may wait";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// At the end of a turn: descriptors that the handler did not take are closed.
    pub(crate) fn part(&mut self, handled: bool) {
        let pending = self.has(Flags::PENDING);
        let unfinished = !self.kept.is_empty();
        if let Some(riders) = self.state.riders_mut() {
            riders.part(handled, pending, unfinished);
        }
    }
}
