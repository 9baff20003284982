//! One handler for all that a worker hears on a datagram socket.
//!
//! It is a session like any other, whose peer changes with each datagram. What it says in the turn of a
//! datagram goes back to the sender at once; what it says in any other turn has nowhere to go.

use super::{DatagramPeer, DatagramSocket};
use crate::addr::{AnyAddr, Peer, Transport, UnixAddr};
use crate::engine::worker::{Actor, Worker};
use crate::limits::Limits;
use crate::observer::Refusal;
use crate::session::Session;
use crate::sys::batch::{Outbox, Received, Source};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What a socket without sessions has instead.
pub(super) struct Stateless {
    /// None before the first, and once one has ended.
    handler: Option<u64>,
    /// The last sender.
    last: Option<(AnyAddr, Option<Source>)>,
    /// Counts the changes of sender, for the outbox: who is the same may share a run.
    sender: u64,
}

impl Stateless {
    pub(super) fn new() -> Stateless {
        Stateless { handler: None, last: None, sender: 0 }
    }

    pub(super) fn has_handler(&self) -> bool {
        self.handler.is_some()
    }

    pub(super) fn forget_handler(&mut self) {
        (self.handler, self.last) = (None, None);
    }
}

/// Who the handler's peer is when nobody is.
pub(super) fn nobody(transport: Transport) -> Peer {
    match transport {
        Transport::UnixDatagram => Peer::unix_datagram(UnixAddr::unnamed()),
        _ => Peer::udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
    }
}

impl Worker {
    /// Makes the handlers, so that each may set a timer before it hears anything.
    pub(in crate::engine) fn open_stateless(&mut self) {
        if self.common.stateless {
            for token in self.actors.tokens() {
                self.handler_of(token);
            }
        }
    }

    /// The handler's session, new if there is none or the last one has ended.
    fn handler_of(&mut self, token: u64) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get(token) else { return None };
        let DatagramSocket { listening, route, stateless: Some(stateless), .. } = &**socket else {
            return None;
        };
        if stateless.handler.is_some() {
            return stateless.handler;
        }
        let (route, nobody) = (route.clone(), nobody(listening.transport));
        let tally = &self.common.tally;
        let mut session = listening.service.unasked_session(nobody, tally)?;
        // It is never idle: it is nobody's.
        let limits = Limits { peer_idle_timeout: None, ..(*self.common.limits).clone() };
        session.state().limits = Arc::new(limits);
        self.common.tally.opened();
        let actor = DatagramPeer { socket: token, route, session, armed: None };
        let handler = self.actors.insert(Actor::Peer(actor));
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            if let Some(stateless) = &mut socket.stateless {
                stateless.handler = Some(handler);
            }
        }
        self.with_session(handler, Session::open);
        // It may have ended with its first words.
        self.actors.get(handler).is_some().then_some(handler)
    }

    /// Gives the handler what came from one sender. Returns how many datagrams it did not take.
    #[inline(never)]
    pub(super) fn take_in_stateless(
        &mut self,
        token: u64,
        received: &Received<'_>,
        from: &AnyAddr,
        outbox: Option<&RefCell<Outbox>>,
    ) -> usize {
        let messages = received.messages();
        let count = messages.len();
        let Some(sender) = self.note_sender(token, from, received.source) else { return count };
        let mut dropped = 0;
        for message in messages {
            let handled = self.handler_of(token).is_some_and(|handler| {
                self.hand_in_from(handler, message, received, from, outbox, sender)
            });
            dropped += usize::from(!handled);
        }
        dropped
    }

    /// Whether this sender may be heard; if so, which one it is.
    fn note_sender(&mut self, token: u64, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return None };
        let DatagramSocket { listening, shunned, stateless: Some(stateless), .. } = &mut **socket
        else {
            return None;
        };
        let same = matches!(&stateless.last, Some((last, at)) if last == from && *at == source);
        if same {
            return Some(stateless.sender);
        }
        let peer = Peer::from_addr(listening.transport, from.clone())?;
        if shunned.has(from, source) || !listening.service.admits(&peer, &self.common.tally) {
            return None;
        }
        stateless.last = Some((from.clone(), source));
        stateless.sender += 1;
        Some(stateless.sender)
    }

    fn hand_in_from(
        &mut self,
        handler: u64,
        message: &[u8],
        received: &Received<'_>,
        from: &AnyAddr,
        outbox: Option<&RefCell<Outbox>>,
        sender: u64,
    ) -> bool {
        let Some(Actor::Peer(peer)) = self.actors.get_mut(handler) else { return false };
        let state = peer.session.state();
        if state.peer.addr() != from {
            let Some(sender) = Peer::from_addr(state.peer.transport(), from.clone()) else {
                self.common.tally.refused(None, Refusal::NotAdmitted);
                return false;
            };
            state.peer = sender;
        }
        self.hand_in(handler, message, received, from, outbox.map(|outbox| (outbox, sender)))
    }
}
