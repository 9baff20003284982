//! Datagrams on a worker: one socket, a session for each peer.

use super::connection::{Desk, Wire};
use super::worker::{Actor, Worker};
use super::{Listening, Tally};
use crate::addr::{AnyAddr, Peer, Transport};
use crate::handler::Turn;
use crate::poll::{Event, Interest};
use crate::session::Session;
use crate::sys::batch::{Inbox, Outbox, Received};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bound datagram socket.
pub(super) struct DatagramSocket {
    listening: Listening,
    /// Where the peers' sessions are. Its size is bounded by `Limits::peers_max`.
    peers: HashMap<AnyAddr, u64>,
    /// Peers whose output the kernel refused.
    blocked: BTreeSet<u64>,
    /// Where their next round begins, so that each has its turn.
    first: u64,
    /// When to try again: see [`RETRY`].
    pub(super) armed: Option<Instant>,
    interest: Interest,
    /// Away while its datagrams are handed in.
    boxes: Option<Box<Boxes>>,
    /// The last peer that was heard, who mostly is the next one too.
    last: Option<(AnyAddr, u64)>,
    /// The server is stopping: the socket stays only until its peers are gone.
    closing: bool,
}

/// What comes and what leaves in batches.
struct Boxes {
    inbox: Inbox,
    /// Not where the kernel refuses datagrams one by one.
    outbox: Option<RefCell<Outbox>>,
}

/// A peer's session. It writes to the socket that it shares.
pub(super) struct DatagramPeer {
    pub(super) socket: u64,
    shared: Arc<OwnedFd>,
    pub(super) session: Box<Session>,
    pub(super) armed: Option<Instant>,
}

impl DatagramSocket {
    pub(super) fn new(listening: Listening) -> DatagramSocket {
        let boxes = match listening.transport {
            Transport::UnixDatagram => {
                Boxes { inbox: Inbox::new(UNIX_INBOX.0, UNIX_INBOX.1), outbox: None }
            }
            _ => Boxes {
                inbox: Inbox::new(UDP_INBOX.0, UDP_INBOX.1),
                outbox: Some(RefCell::new(Outbox::new(OUTBOX.0, OUTBOX.1))),
            },
        };
        DatagramSocket {
            listening,
            boxes: Some(Box::new(boxes)),
            last: None,
            peers: HashMap::new(),
            blocked: BTreeSet::new(),
            first: 0,
            armed: None,
            interest: Interest::READ,
            closing: false,
        }
    }

    /// Whether the kernel refuses a datagram because of its receiver alone. It then calls the socket
    /// writable all the same, and to wait for that would be to spin.
    fn refuses_one_by_one(&self) -> bool {
        self.listening.transport == Transport::UnixDatagram
    }
}

impl DatagramPeer {
    pub(super) fn turn(
        &mut self,
        desk: &mut Desk,
        token: u64,
        act: impl FnOnce(&mut Session, &mut Turn),
    ) {
        let to = self.session.peer().addr().clone();
        desk.turn(&mut self.session, token, Wire::Shared(self.shared.as_fd(), &to), act);
    }
}

impl Worker {
    pub(super) fn react_datagrams(&mut self, event: Event) {
        if event.write {
            self.unblock(event.token);
        }
        if event.read && self.is_open(event.token) {
            self.receive_datagrams(event.token);
        }
        self.update_datagrams(event.token);
    }

    /// An event may have been on its way when the server stopped.
    fn is_open(&self, token: u64) -> bool {
        matches!(self.actors.get(token), Some(Actor::Datagrams(socket)) if !socket.closing)
    }

    fn receive_datagrams(&mut self, token: u64) {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return };
        let shared = socket.listening.socket.clone();
        let Some(mut boxes) = socket.boxes.take() else { return };
        let Boxes { inbox, outbox } = &mut *boxes;
        for _ in 0..DATAGRAMS_PER_TURN / inbox.slots() {
            match inbox.receive(shared.as_fd()) {
                Ok(count) => {
                    for index in 0..count {
                        self.take_in(token, &shared, &inbox.get(index), outbox.as_ref());
                    }
                    if let Some(outbox) = outbox {
                        self.send_off(&shared, outbox.get_mut());
                    }
                    // There may be more; the poll knows.
                    if count < inbox.slots() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An error that an earlier reply has met on its way says nothing about this
                // socket; it is reported once and gone.
                Err(_) => {}
            }
        }
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            socket.boxes = Some(boxes);
        }
    }

    /// Sends the replies to a batch. What the kernel does not take now goes back to its session.
    fn send_off(&mut self, shared: &OwnedFd, outbox: &mut Outbox) {
        while let Err(error) = outbox.send(shared.as_fd()) {
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => break,
                // One datagram that cannot be sent says nothing about the next.
                _ => drop(outbox.pop()),
            }
        }
        while let Some((token, message)) = outbox.pop() {
            let Worker { actors, desk, .. } = self;
            if let Some(Actor::Peer(peer)) = actors.get_mut(token) {
                desk.take_back(&mut peer.session, message);
                self.update(token);
            }
        }
        outbox.clear();
    }

    fn take_in(
        &mut self,
        token: u64,
        shared: &Arc<OwnedFd>,
        datagram: &Received<'_>,
        outbox: Option<&RefCell<Outbox>>,
    ) {
        let handled = match &datagram.from {
            // Else the kernel has cut it. A Unix datagram is as long as its sender's buffer.
            Ok(from) if datagram.length == datagram.bytes.len() => self
                .peer_of(token, shared, from)
                .is_some_and(|peer| self.hand_in(peer, datagram.bytes, outbox)),
            _ => false,
        };
        if !handled {
            Tally::add(&self.common.tally.datagrams_dropped);
        }
    }

    /// The session for a peer, new if need be and allowed.
    fn peer_of(&mut self, token: u64, shared: &Arc<OwnedFd>, from: &AnyAddr) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return None };
        match &socket.last {
            Some((last, peer)) if last == from => return Some(*peer),
            _ => {}
        }
        let peer = match socket.peers.get(from) {
            Some(peer) => *peer,
            None => self.admit(token, from, shared.clone())?,
        };
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            socket.last = Some((from.clone(), peer));
        }
        Some(peer)
    }

    /// False if the session did not handle it, or is gone.
    fn hand_in(&mut self, token: u64, message: &[u8], outbox: Option<&RefCell<Outbox>>) -> bool {
        let Worker { actors, desk, .. } = self;
        let Some(Actor::Peer(peer)) = actors.get_mut(token) else { return false };
        let to = peer.session.peer().addr().clone();
        let wire = match outbox {
            Some(outbox) => Wire::Outbox(peer.shared.as_fd(), &to, outbox, token),
            None => Wire::Shared(peer.shared.as_fd(), &to),
        };
        let handled = desk.feed_message(&mut peer.session, token, wire, message);
        if !peer.session.is_steady() {
            self.update(token);
        }
        handled
    }

    /// A session for a peer that was not heard before.
    fn admit(&mut self, token: u64, from: &AnyAddr, shared: Arc<OwnedFd>) -> Option<u64> {
        let Some(Actor::Datagrams(socket)) = self.actors.get(token) else { return None };
        if socket.peers.len() >= self.common.limits.peers_max || !can_be_answered(from) {
            return None;
        }
        let peer = Peer::from_addr(socket.listening.transport, from.clone())?;
        let tally = &self.common.tally;
        let session = socket.listening.service.session(peer, tally)?;
        Tally::add(&self.common.tally.datagram_peers);
        self.common.tally.opened();
        let actor = DatagramPeer { socket: token, shared, session, armed: None };
        let peer = self.actors.insert(Actor::Peer(actor));
        if let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) {
            socket.peers.insert(from.clone(), peer);
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
        if socket.peers.is_empty() {
            self.drop_datagrams(token);
        } else {
            self.update_datagrams(token);
        }
    }

    /// The session of one of a socket's peers is over.
    pub(super) fn forget_peer(&mut self, token: u64, session: &Session) {
        let Some(Actor::Datagrams(socket)) = self.actors.get_mut(token) else { return };
        if let Some(peer) = socket.peers.remove(session.peer().addr()) {
            socket.blocked.remove(&peer);
            socket.last = None;
        }
        if socket.closing && socket.peers.is_empty() {
            self.drop_datagrams(token);
        }
    }

    /// Takes it out of the poll too: the program may have the socket as well.
    fn drop_datagrams(&mut self, token: u64) {
        if let Some(Actor::Datagrams(socket)) = self.actors.remove(token) {
            let fd = socket.listening.socket.as_fd();
            let _ = self.poll.change(fd, token, socket.interest, Interest::NONE);
        }
    }

    fn update_datagrams(&mut self, token: u64) {
        let Worker { actors, poll, timers, desk, .. } = self;
        let Some(Actor::Datagrams(socket)) = actors.get_mut(token) else { return };
        let blocked = !socket.blocked.is_empty();
        let by_time = socket.refuses_one_by_one();
        if blocked && by_time {
            timers.arm(&mut socket.armed, desk.turn.now + RETRY, token);
        }
        let interest = Interest { read: !socket.closing, write: blocked && !by_time };
        let fd = socket.listening.socket.as_fd();
        if poll.change(fd, token, socket.interest, interest).is_ok() {
            socket.interest = interest;
        }
    }
}

/// Nobody answers port 0 or a sender without a name; a session for one could never speak.
fn can_be_answered(from: &AnyAddr) -> bool {
    match from {
        AnyAddr::Ip(from) => from.port() != 0 && !from.ip().is_multicast(),
        AnyAddr::Unix(_) => true,
    }
}

/// How long to leave Unix peers alone whose queues are full: there is no event when they have read.
const RETRY: Duration = Duration::from_millis(5);

/// Datagrams that one socket takes before others have their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Slots and their bytes: no UDP datagram is longer.
const UDP_INBOX: (usize, usize) = (32, 64 * 1024);

/// Slots and the bytes of all together. What does not fit is sent by itself.
const OUTBOX: (usize, usize) = (64, 128 * 1024);

/// A Unix datagram may be as long as its sender's buffer, which is 208 KiB unless it was changed.
const UNIX_INBOX: (usize, usize) = (8, 256 * 1024);
