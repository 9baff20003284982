//! Listeners: accepting, and leaving it alone for a while.

use super::accept::{Accepted, Accepts};
use super::datagrams::DatagramSocket;
use super::refuse::{Leaving, OnFull};
use super::worker::{Actor, Worker};
use super::{Gate, Listening, MemoryListening};
use crate::mailbox::Bell;
use crate::poll::{Event, Interest, Poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// What a thread that accepts knows of its listeners. All are in its poll, or none: because the gate is
/// closed, or because descriptors are short, or for the pace.
pub(super) struct Doors {
    /// Those in memory are in no poll: they are looked at whenever the thread is awake.
    pub(super) memory: Vec<MemoryListening>,
    pub(super) open: bool,
    /// When to try again, if it is a matter of time.
    again: Option<Instant>,
    /// Connections that are told why they are refused.
    pub(super) leaving: Option<Leaving>,
}

impl Doors {
    pub(super) fn new(memory: Vec<MemoryListening>) -> Doors {
        Doors { memory, open: true, again: None, leaving: None }
    }

    /// Has those told in this poll who are refused, if they are told anything.
    pub(super) fn reply(&mut self, on_full: &OnFull, poll: &Poll) -> io::Result<()> {
        if self.leaving.is_none() {
            self.leaving = Leaving::new(on_full)?;
            if let Some(leaving) = &self.leaving {
                poll.change(leaving.as_fd(), REFUSED, Interest::NONE, Interest::READ)?;
            }
        }
        Ok(())
    }

    /// Whether there is more to them than an open listener in a poll.
    pub(super) fn are_busy(&self) -> bool {
        !self.open || !self.memory.is_empty() || self.leaving.is_some()
    }

    /// When there is something to do, whatever comes.
    pub(super) fn next(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().and_then(Leaving::next);
        [self.again, leaving].into_iter().flatten().min()
    }

    /// Closes them until the gate opens, or `until`. True if they were open.
    pub(super) fn close(&mut self, until: Option<Instant>) -> bool {
        self.again = until;
        std::mem::replace(&mut self.open, false)
    }

    /// Whether they are closed and need not be. A gate that keeps them so rings when there is room.
    pub(super) fn can_reopen(&mut self, gate: &Gate, now: Instant) -> bool {
        if self.open || self.again.is_some_and(|again| again > now) {
            return false;
        }
        // From here on it is a matter of the gate only, and of no time.
        self.again = None;
        gate.has_room()
    }

    /// Has the bell rung for connections in memory, if they may come in.
    pub(super) fn watch_memory(&self, bell: &Arc<Bell>) {
        if self.open && !self.memory.is_empty() {
            let waker = Waker::from(bell.clone());
            self.memory.iter().for_each(|listening| listening.listener.watch(&waker));
        }
    }

    /// Where a connection in memory waits that may come in.
    pub(super) fn waiting_in_memory(&self) -> Option<&MemoryListening> {
        let mut memory = self.memory.iter().filter(|_| self.open);
        memory.find(|listening| listening.listener.has_waiting())
    }

    /// Connections that were refused have something to be seen to.
    pub(super) fn look_after_refused(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            leaving.look();
        }
    }

    /// Closes those that were refused and whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(leaving) = &mut self.leaving {
            leaving.expire(now);
        }
    }
}

impl Worker {
    /// Takes on a bound socket. A stream listener may be taken on by several workers.
    pub(crate) fn serve(&mut self, listening: Listening) -> io::Result<()> {
        let socket = listening.socket.clone();
        if listening.transport.is_datagram() {
            let actor =
                Actor::Datagrams(Box::new(DatagramSocket::new(listening, self.common.stateless)));
            let token = self.actors.insert(actor);
            return self.poll.change(socket.as_fd(), token, Interest::NONE, Interest::READ);
        }
        self.doors.reply(&self.common.gate.on_full, &self.poll)?;
        let token = self.actors.insert(Actor::Listener(Box::new(listening)));
        self.listeners.push(token);
        self.poll.share(socket.as_fd(), token)
    }

    #[inline(never)]
    pub(super) fn accept(&mut self, event: Event) {
        let (token, now) = (event.token, self.desk.turn.now());
        let mut accepts = Accepts::new();
        loop {
            let Worker { actors, common, doors, .. } = self;
            let Some(Actor::Listener(listening)) = actors.get(token) else { return };
            if !accepts.another(listening.socket.as_fd()) {
                return;
            }
            match common.accept(listening, true, doors.leaving.as_mut(), now) {
                Accepted::Guest(socket, peer) => {
                    common.goes_well(now);
                    let (ip, trigger) = (peer.ip(), listening.trigger);
                    let session = listening.service.session_on(socket.as_fd(), peer, &common.tally);
                    match session {
                        Some(session) => self.add_stream(socket, session, trigger, false),
                        None => common.gate.leave_from(ip),
                    }
                }
                Accepted::Settled => {}
                Accepted::Nobody if !event.more => return,
                Accepted::NotNow(until) => return self.close_doors(until),
                broken @ (Accepted::Nobody | Accepted::Broken(_)) => {
                    common.broken(listening, broken.error());
                    return self.drop_listener(token);
                }
            }
        }
    }

    /// Takes the listeners out of the poll, until the gate opens or `until`.
    pub(super) fn close_doors(&mut self, until: Option<Instant>) {
        if self.doors.close(until) {
            for (token, listening) in self.listeners() {
                // One that could not be put there is not there.
                let socket = listening.socket.as_fd();
                let _ = self.poll.change(socket, token, Interest::READ, Interest::NONE);
            }
        }
    }

    /// Puts them back once both are right. If one cannot be, they are left alone for a while: it would be
    /// deaf for ever.
    #[inline(never)]
    pub(super) fn reopen(&mut self) {
        let now = self.desk.turn.now();
        self.doors.expire(now);
        if !self.doors.can_reopen(&self.common.gate, now) {
            return;
        }
        self.doors.open = true;
        let failed = self.listeners().find_map(|(token, listening)| {
            let error = self.poll.share(listening.socket.as_fd(), token).err()?;
            Some(self.common.back_off(&listening.service.door, &error, now))
        });
        if failed.is_some() {
            self.close_doors(failed);
        }
    }

    fn listeners(&self) -> impl Iterator<Item = (u64, &Listening)> {
        self.listeners.iter().filter_map(|token| match self.actors.get(*token) {
            Some(Actor::Listener(listening)) => Some((*token, &**listening)),
            _ => None,
        })
    }

    pub(super) fn drop_listeners(&mut self) {
        self.doors.memory.clear();
        for token in std::mem::take(&mut self.listeners) {
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

/// The token of those who were refused; no slot has it.
pub(super) const REFUSED: u64 = u64::MAX - 1;
