//! Streams and listeners in memory on a worker.
//!
//! A stream in memory is in no poll. After each turn its session is asked what to wait for, and the
//! stream is told whom to call: a [`Caller`], which orders the worker to look. A listener rings the
//! worker's bell, and is looked at whenever the worker is awake.

use super::accept::{ACCEPTS_PER_TURN, Accepted};
use super::connection::{Desk, Wire, is_transient};
use super::worker::{Actor, Order, Worker};
use crate::handler::Turn;
use crate::mailbox::Mailbox;
use crate::memory;
use crate::poll::Interest;
use crate::session::Session;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Instant;

/// A stream in memory and its session.
pub(super) struct MemoryStream {
    socket: memory::Stream,
    pub(super) session: Box<Session>,
    pub(super) armed: Option<Instant>,
    caller: Arc<Caller>,
}

/// Has a worker look at one of its streams, once at a time.
struct Caller {
    orders: Arc<Mailbox<Order>>,
    token: u64,
    called: AtomicBool,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        if !self.called.swap(true, Ordering::SeqCst) {
            self.orders.push_beyond(Order::Look(self.token));
        }
    }
}

impl MemoryStream {
    pub(super) fn turn(
        &mut self,
        desk: &mut Desk,
        token: u64,
        act: impl FnOnce(&mut Session, &mut Turn),
    ) {
        desk.turn(&mut self.session, token, Wire::Memory(&self.socket), act);
    }

    /// Has the stream call when the session can go on.
    pub(super) fn watch(&self) {
        let session = &self.session;
        let interest = Interest::new(session.wants_input(), session.wants_output());
        if interest != Interest::NONE {
            self.socket.watch(interest, Waker::from(self.caller.clone()));
        }
    }

    /// Closes the stream, and leaves the session to be concluded.
    pub(super) fn close(self) -> Box<Session> {
        if self.session.wants_reset() {
            self.socket.reset();
        }
        self.session
    }

    fn look(&mut self, token: u64, desk: &mut Desk) {
        self.caller.called.store(false, Ordering::SeqCst);
        if self.session.wants_output() {
            self.turn(desk, token, |_, _| {});
        }
        if self.session.wants_input() {
            match desk.read_memory(&mut self.session, token, &self.socket) {
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => self.session.lost(error),
            }
        }
    }
}

impl Worker {
    pub(super) fn add_memory(&mut self, socket: memory::Stream, session: Box<Session>) {
        self.common.tally.opened();
        let (orders, token) = (self.address.orders.clone(), self.actors.next());
        let caller = Arc::new(Caller { orders, token, called: AtomicBool::new(false) });
        let stream = MemoryStream { socket, session, armed: None, caller };
        self.actors.insert(Actor::Memory(Box::new(stream)));
        self.with_session(token, |session, turn| {
            if let Some(line) = &session.state().line {
                line.settle_at(token);
            }
            session.open(turn);
        });
    }

    /// A stream has called.
    pub(super) fn look(&mut self, token: u64) {
        let Worker { actors, desk, .. } = self;
        if let Some(Actor::Memory(stream)) = actors.get_mut(token) {
            stream.look(token, desk);
            self.update(token);
        }
    }

    #[inline(never)]
    pub(super) fn accept_memory(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.doors.waiting_in_memory() else { return };
            let now = self.desk.turn.now();
            match self.common.accept_memory(listening, now) {
                Accepted::Guest(socket, peer) => {
                    self.common.goes_well(now);
                    let ip = peer.ip();
                    match listening.service.session(peer, &self.common.tally) {
                        Some(session) => self.add_memory(socket, session),
                        None => self.common.gate.leave_from(ip),
                    }
                }
                Accepted::NotNow(until) => return self.close_doors(until),
                Accepted::Settled => {}
                Accepted::Nobody | Accepted::Broken(_) => return,
            }
        }
    }
}
