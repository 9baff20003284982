//! Datagrams on a worker: one socket, a session for each peer.
//!
//! ```text
//!   recvmmsg ─► slots ─► datagrams ─► peer's session ─► way ─► outbox ─► sendmmsg
//!                (GRO)                (or one for all)          (GSO)
//! ```

mod peers;
mod stateless;
mod way;

pub(crate) use way::Way;

use super::connection::{Desk, Wire};
use super::worker::{Actor, Worker};
use super::{Common, Listening, Tally};
use crate::addr::{AnyAddr, Peer, Transport};
use crate::handler::Turn;
use crate::poll::{Event, Interest};
use crate::session::Session;
use crate::sys::batch::{Abilities, Inbox, Lent, Outbox, Received, Source};
use peers::{Peers, Shunned};
use stateless::{Stateless, nobody};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use way::{heard, not_sent, send_out};

/// A bound datagram socket.
pub(super) struct DatagramSocket {
    listening: Listening,
    abilities: Option<Abilities>,
    peers: Peers,
    shunned: Shunned,
    /// Instead of peers, if one handler serves them all.
    stateless: Option<Stateless>,
    /// How what has no source of its own leaves.
    route: Arc<Route>,
    /// Peers whose output the kernel refused.
    blocked: BTreeSet<u64>,
    /// Where their next round begins, so that each has its turn.
    first: u64,
    /// When to try again: see [`RETRY`].
    pub(super) armed: Option<Instant>,
    interest: Interest,
    /// Away while its datagrams are handed in.
    boxes: Option<Box<Boxes>>,
    /// The server is stopping: the socket stays only until its peers are gone.
    closing: bool,
}

/// What comes and what leaves in batches.
struct Boxes {
    socket: Arc<OwnedFd>,
    inbox: Inbox,
    /// Not where the kernel refuses datagrams one by one.
    outbox: Option<RefCell<Outbox>>,
}

/// Where datagrams leave.
struct Route {
    socket: Arc<OwnedFd>,
    source: Option<Source>,
}

/// A peer's session. It writes to the socket that it shares.
pub(super) struct DatagramPeer {
    pub(super) socket: u64,
    route: Arc<Route>,
    pub(super) session: Box<Session>,
    pub(super) armed: Option<Instant>,
}

impl DatagramSocket {
    pub(super) fn new(listening: Listening, stateless: bool) -> DatagramSocket {
        let (transport, socket) = (listening.transport, listening.socket.clone());
        let (abilities, inbox, outbox) = if transport == Transport::UnixDatagram {
            (None, Inbox::new(UNIX_INBOX.0, UNIX_INBOX.1, false), None)
        } else {
            let abilities = Abilities::enable(socket.as_fd());
            let with_controls = abilities.destination || abilities.joined;
            let inbox = Inbox::new(UDP_INBOX.0, UDP_INBOX.1, with_controls);
            let outbox = Outbox::new(OUTBOX.0, OUTBOX.1, abilities.segments);
            (Some(abilities), inbox, Some(RefCell::new(outbox)))
        };
        DatagramSocket {
            peers: Peers::new(listening.peers.clone()),
            listening,
            abilities,
            boxes: Some(Box::new(Boxes { socket: socket.clone(), inbox, outbox })),
            shunned: Shunned::new(abilities),
            stateless: stateless.then(Stateless::new),
            route: Arc::new(Route { socket, source: None }),
            blocked: BTreeSet::new(),
            first: 0,
            armed: None,
            interest: Interest::READ,
            closing: false,
        }
    }

    /// Whether no session needs it any more.
    fn is_unused(&self) -> bool {
        let handler = self.stateless.as_ref().is_some_and(Stateless::has_handler);
        self.peers.is_empty() && !handler
    }

    /// Whether the kernel refuses a datagram because of its receiver alone. It then calls the socket
    /// writable all the same, and to wait for that would be to spin.
    fn refuses_one_by_one(&self) -> bool {
        self.listening.transport == Transport::UnixDatagram
    }
}

impl DatagramPeer {
    /// A turn that is for no datagram of the peer's. A session that is everybody's has no peer then.
    pub(super) fn turn(
        &mut self,
        desk: &mut Desk,
        common: &Common,
        token: u64,
        act: impl FnOnce(&mut Session, &mut Turn),
    ) {
        if common.stateless {
            let state = self.session.state();
            state.peer = nobody(state.peer.transport());
        }
        let to = self.session.peer().addr().clone();
        let way = Way {
            socket: self.route.socket.as_fd(),
            to: (!common.stateless).then_some(&to),
            source: self.route.source,
            common,
            now: desk.turn.now(),
            outbox: None,
            alone: false,
            lent: Lent::NOTHING,
            at_once: common.stateless,
        };
        desk.turn(&mut self.session, token, Wire::Datagrams(&way), act);
    }
}

impl Worker {
    #[inline(never)]
    pub(super) fn react_datagrams(&mut self, event: Event) {
        if event.write {
            self.unblock(event.token);
        }
        if event.read && self.receive_datagrams(event.token) && event.shut {
            if let Some(Actor::Datagrams(socket)) = self.actors.get(event.token) {
                // The poll would report it without end.
                let text = "the socket was shut down";
                let error = io::Error::new(io::ErrorKind::InvalidInput, text);
                self.common.broken(&socket.listening, error);
                self.close_datagrams(event.token);
            }
        }
    }

    /// True if nothing is left to be received. An event may have been on its way when the server stopped.
    fn receive_datagrams(&mut self, token: u64) -> bool {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return false };
        let Some(mut boxes) = socket.boxes.take_if(|_| !socket.closing) else { return false };
        let Boxes { socket: shared, inbox, outbox } = &mut *boxes;
        let (mut taken, mut all) = (0, false);
        while taken < DATAGRAMS_PER_TURN {
            match inbox.receive(shared.as_fd()) {
                Ok(count) => {
                    for index in 0..count {
                        taken += self.take_in(token, &inbox.get(index), outbox.as_ref());
                    }
                    let outbox = outbox.as_mut().map(RefCell::get_mut);
                    if let Some(outbox) = outbox.filter(|outbox| !outbox.is_empty()) {
                        self.send_off(token, shared, outbox, inbox.lent());
                    }
                    // There may be more; the poll knows.
                    if count < inbox.slots() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    all = true;
                    break;
                }
                // An error that an earlier reply has met on its way says nothing about this
                // socket; it is reported once and gone.
                Err(_) => taken += 1,
            }
        }
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            socket.boxes = Some(boxes);
        }
        all
    }

    /// Sends the replies to a batch. What the kernel does not take now goes back to its session, the
    /// last first: each is put before those that were said after it.
    #[inline(never)]
    fn send_off(&mut self, token: u64, shared: &OwnedFd, outbox: &mut Outbox, lent: Lent<'_>) {
        let Worker { common, desk, .. } = self;
        send_out(shared.as_fd(), outbox, lent, &common.tally, &mut desk.traffic);
        let stateless = self.common.stateless;
        while let Some((owner, message)) = outbox.pop_last(lent) {
            let Worker { actors, desk, common, .. } = self;
            match actors.get_mut(owner) {
                Some(Actor::Peer(peer)) if !stateless && peer.socket == token => {
                    not_sent(common, peer.session.peer().addr(), message.len());
                    desk.take_back(&mut peer.session, message);
                    self.update(owner);
                }
                // The session is over, or the owner is none.
                _ => {
                    desk.traffic.did_not_write(message.len());
                    Tally::add(&common.tally.replies_dropped);
                }
            }
        }
        outbox.clear();
    }

    /// Hands in what came in one slot. Returns how many datagrams that was.
    fn take_in(
        &mut self,
        token: u64,
        received: &Received<'_>,
        outbox: Option<&RefCell<Outbox>>,
    ) -> usize {
        self.desk.traffic.read += received.length as u64;
        let messages = received.messages();
        let (count, mut dropped) = (messages.len(), 0);
        match &received.from {
            // Else the kernel has cut it. A Unix datagram is as long as its sender's buffer.
            Ok(from) if received.is_whole() => {
                heard(&self.common, from, received.length, self.desk.turn.now());
                if self.common.stateless {
                    dropped = self.take_in_stateless(token, received, from, outbox);
                } else {
                    let mut peer = None;
                    for message in messages {
                        peer = match peer {
                            Some(peer) if self.actors.get(peer).is_some() => Some(peer),
                            _ => self.peer_of(token, from, received.source),
                        };
                        let handled = peer.is_some_and(|peer| {
                            let outbox = outbox.map(|outbox| (outbox, peer));
                            self.hand_in(peer, message, received, from, outbox)
                        });
                        dropped += usize::from(!handled);
                    }
                }
            }
            _ => dropped = count,
        }
        for _ in 0..dropped {
            Tally::add(&self.common.tally.datagrams_dropped);
        }
        count
    }

    /// The session for a peer, new if need be and allowed.
    fn peer_of(&mut self, token: u64, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return None };
        match socket.peers.find(from, source) {
            Some(peer) => Some(peer),
            None => self.admit(token, from, source),
        }
    }

    /// False if the session did not handle it, or is gone. The outbox comes with whose answers it gets.
    pub(super) fn hand_in(
        &mut self,
        token: u64,
        message: &[u8],
        received: &Received<'_>,
        from: &AnyAddr,
        outbox: Option<(&RefCell<Outbox>, u64)>,
    ) -> bool {
        let Worker { actors, desk, common, .. } = self;
        let Some(Actor::Peer(peer)) = actors.get_mut(token) else { return false };
        let way = Way {
            socket: peer.route.socket.as_fd(),
            to: Some(from),
            source: if common.stateless { received.source } else { peer.route.source },
            common,
            now: desk.turn.now(),
            outbox,
            alone: received.alone,
            lent: received.lent(),
            at_once: common.stateless,
        };
        let (handled, steady) =
            desk.feed_message(&mut peer.session, token, Wire::Datagrams(&way), message);
        if !steady {
            self.update(token);
        }
        handled
    }

    /// A session for a peer that was not heard before.
    #[cold]
    fn admit(&mut self, token: u64, from: &AnyAddr, source: Option<Source>) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return None };
        if socket.shunned.has(from, source) {
            return None;
        }
        let peer = Peer::from_addr(socket.listening.transport, from.clone())?;
        if !socket.peers.reserve(self.common.limits.peers_max) {
            return None;
        }
        let tally = &self.common.tally;
        let session = socket.listening.service.session(peer, tally);
        let Some(session) = session else {
            socket.peers.release();
            return None;
        };
        Tally::add(&self.common.tally.datagram_peers);
        self.common.tally.opened();
        let route = match source {
            None => socket.route.clone(),
            _ => Arc::new(Route { socket: socket.listening.socket.clone(), source }),
        };
        let actor = DatagramPeer { socket: token, route, session, armed: None };
        let peer = self.actors.insert(Actor::Peer(actor));
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            socket.peers.insert(from, source, peer);
        }
        self.with_session(peer, Session::open);
        Some(peer)
    }

    /// Notes a peer whose output the kernel refused, after whatever turn that was.
    pub(super) fn note_blocked(&mut self, token: u64, peer: u64) {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return };
        if socket.blocked.insert(peer) {
            self.update_datagrams(token);
        }
    }

    /// The kernel may take datagrams again: each peer that waits has a turn. IP sockets refuse all
    /// or none, so there the first refusal ends the round.
    pub(super) fn unblock(&mut self, token: u64) {
        let Some(Actor::Datagrams(socket)) = self.actors.get(token) else { return };
        for _ in 0..socket.blocked.len() {
            let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return };
            let next = socket.blocked.range(socket.first..).next().or(socket.blocked.first());
            let Some(peer) = next.copied() else { break };
            socket.blocked.remove(&peer);
            socket.first = peer + 1;
            self.with_session(peer, |_, _| {});
            let Some(Actor::Datagrams(socket)) = self.actors.get(token) else { return };
            if socket.blocked.contains(&peer) && !socket.refuses_one_by_one() {
                break;
            }
        }
        self.update_datagrams(token);
    }

    pub(super) fn close_datagrams(&mut self, token: u64) {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return };
        socket.closing = true;
        if socket.is_unused() {
            self.drop_datagrams(token);
        } else {
            self.update_datagrams(token);
        }
    }

    /// The session of one of a socket's peers is over.
    pub(super) fn forget_peer(&mut self, gone: &DatagramPeer) {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(gone.socket) else { return };
        match &mut socket.stateless {
            Some(stateless) => stateless.forget_handler(),
            None => {
                let from = gone.session.peer().addr();
                if let Some(peer) = socket.peers.remove(from, gone.route.source) {
                    socket.blocked.remove(&peer);
                }
            }
        }
        if socket.closing && socket.is_unused() {
            self.drop_datagrams(gone.socket);
        }
    }

    /// Takes it out of the poll too: the program may have the socket as well.
    fn drop_datagrams(&mut self, token: u64) {
        if let Some(Actor::Datagrams(socket)) = self.actors.remove(token) {
            let fd = socket.listening.socket.as_fd();
            let _ = self.poll.change(fd, token, socket.interest, Interest::NONE);
            if let Some(abilities) = socket.abilities {
                abilities.disable(fd);
            }
        }
    }

    fn update_datagrams(&mut self, token: u64) {
        let Worker { actors, poll, timers, desk, .. } = self;
        let Some(Actor::Datagrams(socket)) = actors.get_mut(token) else { return };
        let blocked = !socket.blocked.is_empty();
        let by_time = socket.refuses_one_by_one();
        if blocked && by_time {
            timers.arm(&mut socket.armed, desk.turn.now() + RETRY, token);
        }
        let interest = Interest::new(!socket.closing, blocked && !by_time);
        let fd = socket.listening.socket.as_fd();
        if poll.change(fd, token, socket.interest, interest).is_ok() {
            socket.interest = interest;
        }
    }
}

/// How long to leave Unix peers alone whose queues are full: there is no event when they have read.
const RETRY: Duration = Duration::from_millis(5);

/// Datagrams that one socket takes before others have their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Slots and their bytes: no UDP datagram is longer.
const UDP_INBOX: (usize, usize) = (32, 64 * 1024);

/// Runs of datagrams and the bytes of all together.
const OUTBOX: (usize, usize) = (64, 128 * 1024);

/// A Unix datagram may be as long as its sender's buffer, which is 208 KiB unless it was changed.
const UNIX_INBOX: (usize, usize) = (8, 256 * 1024);
