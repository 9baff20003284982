//! A stream connection on a worker.

use super::connection::{Desk, Wire};
use super::worker::is_transient;
use crate::poll::{Event, Interest, Trigger};
use crate::session::Session;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// A stream connection and its session.
pub(super) struct Stream {
    pub(super) socket: OwnedFd,
    pub(super) session: Box<Session>,
    pub(super) interest: Interest,
    pub(super) armed: Option<Instant>,
    /// The program may hold a duplicate of the descriptor, so closing ours does not end its events.
    pub(super) adopted: bool,
    pub(super) trigger: Trigger,
}

impl Stream {
    /// True if the poll has to be asked again: it reports an edge once, and this read was not the last.
    #[inline]
    #[must_use]
    pub(super) fn react(&mut self, event: Event, desk: &mut Desk) -> bool {
        let Stream { socket, session, .. } = self;
        let socket = socket.as_fd();
        if event.write && session.wants_output() {
            desk.turn(session, event.token, Wire::Stream(socket), |_, _| {});
        }
        if !event.read || !session.wants_input() {
            return false;
        }
        let more = match desk.read(session, event.token, socket, false) {
            Ok(length) => length > 0 && (event.more || length == desk.scratch.size()),
            Err(error) if is_transient(&error) => error.kind() == io::ErrorKind::Interrupted,
            Err(error) => {
                session.lost(error);
                false
            }
        };
        more && self.trigger == Trigger::Edge
    }

    /// Waits for input and for nothing else, as after most messages: there is nothing to update.
    pub(super) fn is_steady(&self) -> bool {
        self.interest == Interest::READ && self.session.is_steady()
    }
}
