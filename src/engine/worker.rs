//! A worker: one thread, one poll, many sessions.
//!
//! ```text
//!   loop:  doze ─► wait ─► now ─► orders ─► letters ─► events ─► timers ─► ready
//!                                  │          │          │         │         │
//!                                 adopt,    deliver   accept,    tick      resume
//!                                 stop               read, write
//! ```
//!
//! After each turn of a session `update` asks it what to wait for: interest, deadline, another turn,
//! or its end. Nothing else decides that.

#[cfg(test)]
mod tests;

use super::connection::{Desk, Wire};
use super::datagrams::{DatagramPeer, DatagramSocket};
use super::listeners::{Doors, REFUSED};
use super::memory::MemoryStream;
use super::post::{Chorus, Rounds};
use super::slots::Slots;
use super::stream::Stream;
use super::{Common, Listening, Socket};
use crate::addr::Transport;
use crate::handler::{CloseReason, Letter, Side, Turn};
use crate::mailbox::{Bell, Mailbox};
use crate::poll::{Event, EventWaker, Interest, Poll, Trigger};
use crate::session::{Batch, Session};
use crate::sys;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// What other threads tell a worker to do.
pub(crate) enum Order {
    Adopt(Socket, Box<Session>),
    /// A stream in memory may be ready: the one at this token.
    Look(u64),
    Stop,
}

/// How other threads reach a worker.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) letters: Arc<Mailbox<Letter>>,
    pub(crate) orders: Arc<Mailbox<Order>>,
}

pub(crate) struct Worker {
    pub(super) common: Arc<Common>,
    pub(super) desk: Desk,
    pub(super) actors: Slots<Actor>,
    pub(super) poll: Poll,
    pub(super) timers: crate::timers::Timers,
    /// Sessions that want another turn before the next wait.
    ready: Vec<u64>,
    pub(super) bell: Arc<Bell>,
    pub(super) address: Address,
    pub(super) batch: Batch,
    pub(super) rounds: Rounds,
    pub(super) chorus: Chorus,
    pub(super) doors: Doors,
    pub(super) listeners: Vec<u64>,
    stop_by: Option<Instant>,
}

/// Whoever can have an event.
pub(super) enum Actor {
    // Most are streams, so what is larger is boxed: every slot is as large as the largest.
    Stream(Stream),
    Memory(Box<MemoryStream>),
    Peer(DatagramPeer),
    Listener(Box<Listening>),
    Datagrams(Box<DatagramSocket>),
}

impl Actor {
    fn session(&mut self) -> Option<&mut Session> {
        match self {
            Actor::Stream(stream) => Some(&mut stream.session),
            Actor::Memory(stream) => Some(&mut stream.session),
            Actor::Peer(peer) => Some(&mut peer.session),
            Actor::Listener(_) | Actor::Datagrams(_) => None,
        }
    }

    /// When it is to be looked at, if it ever is.
    fn armed(&mut self) -> Option<&mut Option<Instant>> {
        match self {
            Actor::Stream(stream) => Some(&mut stream.armed),
            Actor::Memory(stream) => Some(&mut stream.armed),
            Actor::Peer(peer) => Some(&mut peer.armed),
            Actor::Datagrams(socket) => Some(&mut socket.armed),
            Actor::Listener(_) => None,
        }
    }
}

impl Worker {
    pub(crate) fn new(common: Arc<Common>) -> io::Result<Worker> {
        let waker = Arc::new(EventWaker::new()?);
        let poll = Poll::new()?.with_alarm()?;
        poll.watch(&waker, WAKE)?;
        let bell = Bell::new(Waker::from(waker));
        common.gate.notify(bell.clone());
        let address = Address {
            letters: Mailbox::new(bell.clone(), common.limits.mailbox_items_max),
            orders: Mailbox::new(bell.clone(), usize::MAX),
        };
        Ok(Worker {
            desk: Desk::new(READ_BYTES, WRITE_BYTES, address.letters.clone(), &common),
            common,
            actors: Slots::new(),
            poll,
            timers: Default::default(),
            ready: Vec::new(),
            bell,
            address,
            batch: VecDeque::new(),
            rounds: Rounds::default(),
            chorus: Chorus::default(),
            doors: Doors::new(Vec::new()),
            listeners: Vec::new(),
            stop_by: None,
        })
    }

    /// Runs until the server has stopped and the last session is over.
    pub(crate) fn run(mut self) {
        self.work();
        self.address.letters.close();
        self.address.orders.close();
    }

    fn work(&mut self) {
        self.open_stateless();
        while self.stop_by.is_none() || self.actors.count() > 0 {
            let timeout = self.timeout();
            if let Err(error) = self.poll.wait(timeout) {
                // Only a broken epoll descriptor gets here, and nothing can be served without it.
                self.force_all(|| CloseReason::Transport(io::Error::from(error.kind())));
                return;
            }
            self.bell.rise();
            self.desk.turn.it_is(Instant::now());
            if self.has_news() || self.stop_by.is_some() {
                self.collect();
            }
            for index in 0..self.poll.ready() {
                self.react(self.poll.event(index));
                if self.address.letters.is_heavy() {
                    self.collect();
                }
            }
            self.expire();
            if !self.ready.is_empty() {
                self.grant_turns();
            }
            // What sessions sent to each other: to look at the sockets first would be in vain.
            if !self.address.letters.is_empty() {
                self.collect();
            }
            if self.doors.are_busy() {
                self.accept_memory();
                self.reopen();
            }
            self.common.tally.carried(&mut self.desk.traffic);
        }
    }

    /// What other threads have sent. The letters are taken before the orders, so that each finds its
    /// session, however new; a stop sees to those that it finds itself.
    fn collect(&mut self) {
        self.address.letters.take(&mut self.batch);
        if !self.address.orders.is_empty() || self.stop_by.is_some() {
            self.obey();
        }
        self.deliver();
    }

    /// How long to sleep. Announces it, unless there is work already.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.bell.doze();
        let (mut news, mut wake) = (self.has_news(), self.timers.next());
        if self.doors.are_busy() || self.stop_by.is_some() {
            self.doors.watch_memory(&self.bell);
            news |= self.doors.can_reopen(&self.common.gate, self.desk.turn.now());
            wake = [wake, self.doors.next(), self.stop_by].into_iter().flatten().min();
        }
        if news {
            self.bell.rise();
            return Some(Duration::ZERO);
        }
        self.poll.time_until(wake?, self.desk.turn.now())
    }

    fn has_news(&self) -> bool {
        !self.address.letters.is_empty() || !self.address.orders.is_empty()
    }

    #[cold]
    fn obey(&mut self) {
        let mut orders = VecDeque::new();
        self.address.orders.take(&mut orders);
        for order in orders {
            match order {
                Order::Adopt(socket, session) if self.stop_by.is_none() => match socket {
                    Socket::Descriptor(socket) => self.adopt_stream(socket, session),
                    Socket::Memory(socket) => self.add_memory(socket, session),
                },
                Order::Adopt(socket, mut session) => {
                    // It never began, so nobody is told that it ends.
                    session.seen(None);
                    session.force(CloseReason::Stopped);
                    drop(socket);
                    self.conclude(session, true);
                }
                Order::Look(token) => self.look(token),
                Order::Stop => self.begin_stop(),
            }
        }
        if self.stop_by.is_some_and(|deadline| deadline <= self.desk.turn.now()) {
            self.force_all(|| CloseReason::Stopped);
        }
    }

    fn react(&mut self, event: Event) {
        let Worker { actors, desk, poll, .. } = self;
        match actors.get_mut(event.token) {
            Some(Actor::Stream(stream)) => {
                stream.react(event, desk, poll);
                if !stream.is_steady() {
                    self.update(event.token);
                }
            }
            Some(Actor::Listener(_)) => self.accept(event),
            Some(Actor::Datagrams(_)) => self.react_datagrams(event),
            None if event.token == REFUSED => self.doors.look_after_refused(),
            // The waker, or what is left of an event whose session is gone.
            Some(Actor::Memory(_) | Actor::Peer(_)) | None => {}
        }
    }

    fn adopt_stream(&mut self, socket: OwnedFd, session: Box<Session>) {
        let trigger = match session.peer().transport() {
            Transport::Tcp => Trigger::Edge,
            // It may bring descriptors, where reads end.
            _ => Trigger::Level,
        };
        self.add_stream(socket, session, trigger, true);
    }

    pub(super) fn add_stream(
        &mut self,
        socket: OwnedFd,
        session: Box<Session>,
        trigger: Trigger,
        adopted: bool,
    ) {
        self.common.tally.opened();
        if session.takes_records() {
            // It cannot fail on a seqpacket socket.
            let _ = sys::io::mark_records(socket.as_fd());
        }
        let stream = Stream::new(socket, session, trigger, adopted);
        let token = self.actors.insert(Actor::Stream(stream));
        let Worker { actors, desk, .. } = self;
        let Some(Actor::Stream(stream)) = actors.get_mut(token) else { return };
        let Stream { socket, session, .. } = &mut *stream;
        desk.turn(session, token, Wire::Stream(socket.as_fd()), |session, turn| {
            if let Some(line) = &session.state().line {
                line.settle_at(token);
            }
            session.open(turn);
        });
        self.update(token);
    }

    /// A turn for the session at `token`, if there still is one.
    pub(super) fn with_session(&mut self, token: u64, act: impl FnOnce(&mut Session, &mut Turn)) {
        let Worker { actors, desk, common, .. } = self;
        match actors.get_mut(token) {
            Some(Actor::Stream(Stream { socket, session, .. })) => {
                desk.turn(session, token, Wire::Stream(socket.as_fd()), act);
            }
            Some(Actor::Memory(stream)) => stream.turn(desk, token, act),
            Some(Actor::Peer(peer)) => peer.turn(desk, common, token, act),
            _ => return,
        }
        self.update(token);
    }

    /// Asks a session after its turn what to wait for.
    pub(super) fn update(&mut self, token: u64) {
        let Worker { common, actors, desk, poll, timers, ready, .. } = self;
        let (session, armed, shared) = match actors.get_mut(token) {
            Some(Actor::Stream(stream)) if stream.session.is_over() => return self.reap(token),
            Some(Actor::Stream(stream)) => {
                let session = &mut stream.session;
                stream.sings = session.sings(common.limits.low_mark());
                let interest = Interest::new(session.wants_input(), session.wants_output());
                if interest != stream.interest {
                    let (socket, before) = (stream.socket.as_fd(), stream.interest);
                    match poll.change_by(stream.trigger, socket, token, before, interest) {
                        Ok(()) => stream.interest = interest,
                        Err(error) => session.lost(error),
                    }
                }
                (session, &mut stream.armed, None)
            }
            Some(Actor::Memory(stream)) => {
                stream.watch();
                (&mut stream.session, &mut stream.armed, None)
            }
            Some(Actor::Peer(peer)) => (&mut peer.session, &mut peer.armed, Some(peer.socket)),
            _ => return,
        };
        if session.is_over() {
            self.reap(token);
            return;
        }
        if session.wants_turn() {
            ready.push(token);
        }
        if let Some(deadline) = session.moved_deadline(&desk.turn) {
            timers.arm(armed, deadline, token);
        }
        if let (Some(socket), true) = (shared, session.wants_output()) {
            self.note_blocked(socket, token);
        }
    }

    fn reap(&mut self, token: u64) {
        match self.actors.remove(token) {
            Some(Actor::Stream(stream)) => {
                if stream.session.wants_reset() {
                    let _ = sys::io::reset_on_close(stream.socket.as_fd());
                }
                // Whoever else has the socket, the program or a child, would keep it in the poll. At
                // an edge that is reported once, to nobody.
                if stream.adopted || stream.trigger == Trigger::Level {
                    let socket = stream.socket.as_fd();
                    let (before, none) = (stream.interest, Interest::NONE);
                    let _ = self.poll.change_by(stream.trigger, socket, token, before, none);
                }
                drop(stream.socket);
                self.conclude(stream.session, false);
            }
            Some(Actor::Memory(stream)) => {
                let session = stream.close();
                self.conclude(session, false);
            }
            Some(Actor::Peer(peer)) => {
                self.forget_peer(&peer);
                self.conclude(peer.session, false);
            }
            _ => {}
        }
    }

    /// The last words with a session, whose socket is closed.
    fn conclude(&mut self, mut session: Box<Session>, unopened: bool) {
        let state = session.state();
        let entered = !state.is_datagram() && state.side == Side::Accepted;
        let ip = session.peer().ip();
        let (reason, panicked) = session.conclude(self.desk.turn.now());
        self.common.tally.carried(&mut self.desk.traffic);
        if !unopened {
            self.common.tally.closed(&reason, panicked);
        }
        if entered {
            self.common.gate.leave_from(ip);
        }
    }

    #[inline(never)]
    fn expire(&mut self) {
        while let Some((when, token)) = self.timers.due(self.desk.turn.now()) {
            let Some(actor) = self.actors.get_mut(token) else { continue };
            match actor.armed() {
                Some(armed) if *armed == Some(when) => *armed = None,
                _ => continue,
            }
            match actor {
                Actor::Datagrams(_) => self.unblock(token),
                _ => self.with_session(token, Session::tick),
            }
        }
        let actors = &mut self.actors;
        self.timers.compact(actors.count(), |when, token| {
            actors.get_mut(token).and_then(Actor::armed).is_some_and(|at| *at == Some(when))
        });
    }

    /// Sessions that stopped for fairness go on, each once.
    fn grant_turns(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        // A session is noted after each of its turns, so one that had several is there as often.
        ready.sort_unstable();
        ready.dedup();
        ready.drain(..).for_each(|token| self.with_session(token, Session::resume));
        // What they want next is noted anew; the memory is kept.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    fn begin_stop(&mut self) {
        // What was sent before the stop is not lost by it.
        self.deliver();
        self.address.letters.take(&mut self.batch);
        self.deliver();
        self.stop_by = self.common.stop.deadline();
        self.drop_listeners();
        for token in self.actors.tokens() {
            self.with_session(token, Session::stop);
            self.close_datagrams(token);
        }
    }

    #[cold]
    fn force_all(&mut self, reason: impl Fn() -> CloseReason) {
        self.drop_listeners();
        for token in self.actors.tokens() {
            self.close_datagrams(token);
            let session = self.actors.get_mut(token).and_then(Actor::session);
            let Some(session) = session else { continue };
            let unsent = session.unsent();
            if session.force(reason()) {
                self.common.stop.forced(unsent);
            }
            self.reap(token);
        }
    }
}

/// The waker's token; no slot has it.
const WAKE: u64 = u64::MAX;

/// What a worker reads at most at once: big reads make bulk transfers cheap, and one buffer serves
/// all connections.
const READ_BYTES: usize = 256 * 1024;

/// What its output buffer holds before it grows.
const WRITE_BYTES: usize = 256 * 1024;
