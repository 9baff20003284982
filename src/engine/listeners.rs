//! Listeners on a worker: accepting, and leaving it alone for a while.

use super::accept::{Accepts, back_off};
use super::datagrams::DatagramSocket;
use super::worker::{Actor, Worker};
use super::{Listening, MemoryListening};
use crate::addr::Peer;
use crate::poll::{Interest, Poll};
use crate::sys;
use crate::sys::errors::{AfterError, after_accept};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A worker's listeners. All are in the poll, or none: because the gate is closed, or because
/// descriptors are short.
pub(super) struct Doors {
    listeners: Vec<u64>,
    /// Those in memory are in no poll: they are looked at whenever the worker is awake.
    pub(super) memory: Vec<MemoryListening>,
    pub(super) open: bool,
    /// How long the last shortage has kept them closed.
    pause: Option<Duration>,
    /// When to try again after a shortage.
    pub(super) again: Option<Instant>,
}

impl Doors {
    pub(super) fn new() -> Doors {
        Doors { listeners: Vec::new(), memory: Vec::new(), open: true, pause: None, again: None }
    }

    #[cfg(test)]
    pub(super) fn closed_until(again: Instant) -> Doors {
        Doors { open: false, again: Some(again), ..Doors::new() }
    }
}

impl Worker {
    /// Takes on a bound socket. A stream listener may be taken on by several workers.
    pub(crate) fn serve(&mut self, listening: Listening) -> io::Result<()> {
        let socket = listening.socket.clone();
        if listening.transport.is_datagram() {
            let actor = Actor::Datagrams(Box::new(DatagramSocket::new(listening)));
            let token = self.actors.insert(actor);
            return self.poll.change(socket.as_fd(), token, Interest::NONE, Interest::READ);
        }
        let token = self.actors.insert(Actor::Listener(Box::new(listening)));
        self.doors.listeners.push(token);
        self.poll.share(socket.as_fd(), token)
    }

    pub(super) fn accept(&mut self, token: u64) {
        let mut accepts = Accepts::new();
        while let Some(Actor::Listener(listening)) = self.actors.get(token) {
            if !accepts.another(listening.socket.as_fd()) {
                return;
            }
            if !self.common.gate.try_enter() {
                self.close_doors(None);
                return;
            }
            match sys::io::accept(listening.socket.as_fd(), true) {
                Ok((socket, from)) => {
                    self.doors.pause = None;
                    self.common.tally.accepted(&listening.service.door);
                    listening.tune(&socket);
                    let trigger = listening.trigger;
                    let peer = Peer::from_addr(listening.transport, from.to_canonical());
                    let now = self.desk.turn.now;
                    let tally = &self.common.tally;
                    let session = peer.and_then(|peer| listening.service.session(peer, now, tally));
                    match session {
                        Some(session) => self.add_stream(socket, session, trigger, false),
                        None => self.common.gate.leave(),
                    }
                }
                Err(error) => {
                    self.common.gate.leave();
                    match after_accept(&error) {
                        AfterError::Wait => return,
                        AfterError::Next => {}
                        AfterError::BackOff => {
                            self.common.tally.shortage(&listening.service.door, &error);
                            let pause = back_off(self.doors.pause);
                            self.doors.pause = Some(pause);
                            self.close_doors(Some(self.desk.turn.now + pause));
                            return;
                        }
                        AfterError::GiveUp => {
                            self.common.broken(&listening.service.door);
                            return self.drop_listener(token);
                        }
                    }
                }
            }
        }
    }

    /// Takes the listeners out of the poll, until the gate opens or `until`.
    pub(super) fn close_doors(&mut self, until: Option<Instant>) {
        if std::mem::replace(&mut self.doors.open, false) {
            self.each_listener(|poll, listening, token| {
                poll.change(listening.socket.as_fd(), token, Interest::READ, Interest::NONE)
            });
        }
        self.doors.again = until;
    }

    /// Whether the listeners are closed and need not be. If it is the gate that keeps them so, it
    /// rings when there is room.
    pub(super) fn can_reopen(&mut self) -> bool {
        if self.doors.open || self.doors.again.is_some_and(|again| again > self.desk.turn.now) {
            return false;
        }
        // From here on it is a matter of the gate only, and of no time.
        self.doors.again = None;
        self.common.gate.has_room()
    }

    /// Puts them back once both are right.
    pub(super) fn reopen(&mut self) {
        if !self.can_reopen() {
            return;
        }
        self.doors.open = true;
        self.each_listener(|poll, listening, token| poll.share(listening.socket.as_fd(), token));
    }

    fn each_listener(&mut self, act: impl Fn(&Poll, &Listening, u64) -> io::Result<()>) {
        let Worker { doors, actors, poll, .. } = self;
        // A listener whose place in the poll is lost would be deaf for ever; it is let go, so that
        // clients are refused rather than left hanging.
        doors.listeners.retain(|token| match actors.get(*token) {
            Some(Actor::Listener(listening)) if act(poll, listening, *token).is_ok() => true,
            _ => {
                actors.remove(*token);
                false
            }
        });
    }

    pub(super) fn drop_listeners(&mut self) {
        self.doors.memory.clear();
        for token in std::mem::take(&mut self.doors.listeners) {
            self.drop_listener(token);
        }
    }

    /// Takes it out of the poll too: the program or another worker may have the socket as well, so
    /// that letting go of it does not end its events.
    fn drop_listener(&mut self, token: u64) {
        if let Some(Actor::Listener(listening)) = self.actors.remove(token) {
            if self.doors.open {
                let socket = listening.socket.as_fd();
                let _ = self.poll.change(socket, token, Interest::READ, Interest::NONE);
            }
        }
    }
}
