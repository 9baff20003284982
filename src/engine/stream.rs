//! A stream connection on a worker.

use super::connection::{Desk, Wire, is_transient};
use crate::poll::{Event, Interest, Poll, Trigger};
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
    /// [`Session::sings`], unless it came to that since: to look at each member of a group costs.
    pub(super) sings: bool,
}

impl Stream {
    pub(super) fn new(
        socket: OwnedFd,
        session: Box<Session>,
        trigger: Trigger,
        adopted: bool,
    ) -> Stream {
        let (interest, armed, sings) = (Interest::NONE, None, false);
        Stream { socket, session, interest, armed, adopted, trigger, sings }
    }

    #[inline]
    pub(super) fn react(&mut self, event: Event, desk: &mut Desk, poll: &Poll) {
        let Stream { socket, session, .. } = self;
        let socket = socket.as_fd();
        if event.write && session.wants_output() {
            desk.turn(session, event.token, Wire::Stream(socket), |_, _| {});
        }
        if !event.read || !session.wants_input() {
            return;
        }
        let more = match desk.read(session, event.token, socket, false) {
            Ok(length) => length > 0 && (event.more || length == desk.scratch.size()),
            Err(error) if is_transient(&error) => error.kind() == io::ErrorKind::Interrupted,
            Err(error) => return session.lost(error),
        };
        if more && self.trigger == Trigger::Edge {
            self.look_again(event.token, poll);
        }
    }

    /// The poll reports an edge once, and this read was not the last.
    #[cold]
    fn look_again(&mut self, token: u64, poll: &Poll) {
        if let Err(error) = poll.again(self.socket.as_fd(), token, self.interest) {
            self.session.lost(error);
        }
    }

    /// Waits for input and for nothing else, as after most messages: there is nothing to update.
    pub(super) fn is_steady(&self) -> bool {
        self.interest == Interest::READ && self.session.is_steady()
    }
}
