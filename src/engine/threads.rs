//! The threads engine: a thread for each connection, and one that accepts.
//!
//! ```text
//!   warden ── accepts ──► berth ──► thread: read, hand in, write, again
//!      └───── stops ──────► wakes the thread wherever it waits
//! ```
//!
//! Datagram sockets have no connections: each is served by a [`Worker`] on a thread of its own.

use super::accept::{ACCEPTS_PER_TURN, Accepts, back_off};
use super::events::launch;
use super::slots::Slots;
use super::thread::{Berth, Job, ThreadSession, run_blocking};
use super::worker::{Address, Order, Worker};
use super::{
    Adoption, Common, Launch, Listening, MemoryListening, Plan, Running, Serve, Socket, Tally,
    sealed,
};
use crate::addr::Peer;
use crate::mailbox::Bell;
use crate::poll::{EventWaker, Interest, Poll};
use crate::sys;
use crate::sys::errors::{AfterError, after_accept};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

/// A thread for each connection. The default engine.
///
/// A handler that blocks holds up only its own connection. A connection costs a thread: about 10 KiB
/// of memory while idle, and address space for a stack of 2 MiB (see
/// [`stack_bytes`](Threads::stack_bytes)).
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::engine::Threads;
/// use sockeye::server::Server;
/// use std::time::Duration;
///
/// let server = Server::tcp("127.0.0.1:0")
///     .engine(Threads::at_most(1)) // one connection at a time
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// server.stop(Duration::from_secs(1));
/// server.join()?;
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Threads {
    at_most: Option<usize>,
    stack_bytes: usize,
}

impl Threads {
    /// At most this many connections at once; further ones wait in the system's backlog until one
    /// ends. `at_most(1)` serves them one after the other. Zero counts as one.
    pub fn at_most(connections: usize) -> Threads {
        Threads { at_most: Some(connections.max(1)), ..Threads::default() }
    }

    /// The size of each thread's stack, in bytes.
    #[must_use]
    pub fn stack_bytes(self, stack_bytes: usize) -> Threads {
        Threads { stack_bytes, ..self }
    }
}

impl Default for Threads {
    /// At most 1,024 connections, stacks of 2 MiB.
    fn default() -> Threads {
        Threads { at_most: None, stack_bytes: 2 * 1024 * 1024 }
    }
}

impl sealed::Start for Threads {
    fn connections_max(&self, limit: Option<usize>) -> usize {
        match (self.at_most, limit) {
            (Some(at_most), Some(limit)) => at_most.min(limit),
            (at_most, limit) => at_most.or(limit).unwrap_or(1024),
        }
    }

    fn start(self, plan: Plan) -> io::Result<Launch> {
        let Plan { sockets, memory, common } = plan;
        let waker = Arc::new(EventWaker::new()?);
        let poll = Poll::new()?;
        poll.watch(&waker, u64::MAX)?;
        let bell = Bell::new(Waker::from(waker));
        common.gate.notify(bell.clone());
        let house = Arc::new(House {
            common: common.clone(),
            bell,
            berths: Mutex::new(Slots::new()),
            stack_bytes: self.stack_bytes,
            stopped: sys::io::event_counter()?,
        });
        let (datagrams, listeners): (Vec<_>, Vec<_>) =
            sockets.into_iter().partition(|socket| socket.transport.is_datagram());
        let mut workers = Vec::new();
        for listening in datagrams {
            sys::io::set_nonblocking(listening.socket.as_fd(), true)?;
            let mut worker = Worker::new(common.clone())?;
            worker.serve(listening)?;
            workers.push(worker);
        }
        for (index, listening) in listeners.iter().enumerate() {
            let socket = listening.socket.as_fd();
            sys::io::set_nonblocking(socket, true)?;
            poll.change(socket, index as u64, Interest::NONE, Interest::READ)?;
        }
        let addresses = workers.iter().map(Worker::address).collect();
        let running = Arc::new(ThreadsRunning { house: house.clone(), addresses });
        let (pause, again, accepting) = (None, None, true);
        let warden = Warden { house, poll, listeners, memory, pause, again, accepting };
        for (index, worker) in workers.into_iter().enumerate() {
            let name = format!("sockeye-datagrams-{index}");
            if let Err(error) = launch(worker, &common, name) {
                common.stop.begin(Instant::now(), 0);
                running.stop();
                return Err(error);
            }
        }
        Ok(Launch { running, first: Box::new(|| warden.run()) })
    }
}

struct ThreadsRunning {
    house: Arc<House>,
    addresses: Vec<Address>,
}

impl Running for ThreadsRunning {
    fn adopt(&self, connection: Adoption<'_>) -> io::Result<()> {
        if let Socket::Descriptor(socket) = &connection.socket {
            sys::io::set_nonblocking(socket.as_fd(), false)?;
        }
        let berth = Berth::new(connection.socket, false, &self.house.common.limits);
        let session = (connection.make)(&berth.letters);
        Tally::add(&self.house.common.tally.adopted);
        self.house.lodge(berth, Job::Session(session))
    }

    fn stop(&self) {
        self.house.bell.ring();
        self.addresses.iter().for_each(|address| address.orders.push_beyond(Order::Stop));
    }
}

impl std::fmt::Debug for ThreadsRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

/// What the threads of one server share.
struct House {
    common: Arc<Common>,
    bell: Arc<Bell>,
    /// Every connection, so that it can be woken.
    berths: Mutex<Slots<Arc<Berth>>>,
    stack_bytes: usize,
    /// Counts from zero when the server stops: what quiet threads wait for.
    stopped: OwnedFd,
}

impl House {
    fn berths(&self) -> MutexGuard<'_, Slots<Arc<Berth>>> {
        self.berths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its thread. If it was accepted, its place at the gate is taken already; if
    /// no thread can be made, that is given back and the connection is closed.
    fn lodge(self: &Arc<House>, berth: Berth, job: Job) -> io::Result<()> {
        let berth = Arc::new(berth);
        let token = self.berths().insert(berth.clone());
        let (house, at_work) = (self.clone(), self.common.stop.enter());
        let builder =
            thread::Builder::new().name("sockeye".to_owned()).stack_size(self.stack_bytes);
        let entered = !matches!(job, Job::Session(_));
        let guest = Guest { house: self.clone(), token, entered };
        let spawned = builder.spawn(move || {
            let _at_work = at_work;
            // Dropped before that: whoever joins the server finds its descriptors closed.
            let house = house;
            let mut guest = guest;
            let common = &house.common;
            let session = match job {
                Job::Session(session) => Some(session),
                Job::Accepted(service, peer) => {
                    service.session(peer, Instant::now(), &common.tally)
                }
                Job::Blocking(socket, service, peer) => {
                    if service.admits(&peer, &common.tally) {
                        run_blocking(common, &berth, socket, &service, &peer);
                    }
                    None
                }
            };
            let ended = session.map(|session| {
                let stopped = house.stopped.as_fd();
                ThreadSession::new(common, &berth, stopped, session, token).run()
            });
            // The socket is closed before the handler is told: the peer is not to wait for it.
            guest.check_out();
            let letters = berth.letters.clone();
            drop(berth);
            if let Some(session) = ended {
                let (reason, panicked) = session.conclude(Instant::now());
                common.tally.closed(&reason, panicked);
            }
            letters.close();
        });
        spawned.map(drop)
    }
}

/// A connection's place in the house and at the gate, given back however its thread ends.
struct Guest {
    house: Arc<House>,
    token: u64,
    /// It came through the gate; what is adopted does not.
    entered: bool,
}

impl Guest {
    /// Leaves the berth; the place at the gate is kept until the end.
    fn check_out(&mut self) {
        drop(self.house.berths().remove(self.token));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.check_out();
        if self.entered {
            self.house.common.gate.leave();
        }
        if self.house.common.stop.deadline().is_some() {
            self.house.bell.ring();
        }
    }
}

/// The thread that accepts, and that wakes the others when the server stops.
struct Warden {
    house: Arc<House>,
    poll: Poll,
    listeners: Vec<Listening>,
    /// These are in no poll: they ring the bell.
    memory: Vec<MemoryListening>,
    pause: Option<Duration>,
    again: Option<Instant>,
    accepting: bool,
}

impl Warden {
    fn run(mut self) {
        while !self.house.is_stopping() {
            self.house.bell.doze();
            if self.accepting {
                let waker = Waker::from(self.house.bell.clone());
                self.memory.iter().for_each(|listening| listening.listener.watch(&waker));
            }
            // The stop may have begun before the announcement.
            let timeout = if self.house.is_stopping() || self.can_reopen() {
                Some(Duration::ZERO)
            } else {
                self.again.map(|again| again.saturating_duration_since(Instant::now()))
            };
            let waited = self.poll.wait(timeout);
            self.house.bell.rise();
            if waited.is_err() {
                break;
            }
            for index in 0..self.poll.ready() {
                let token = self.poll.event(index).token;
                if token != u64::MAX {
                    self.accept(token as usize);
                }
            }
            self.accept_memory();
            if self.can_reopen() {
                self.set_accepting(true);
            }
        }
        // The program may have the sockets as well: letting go of them does not end their events.
        self.set_accepting(false);
        self.listeners.clear();
        self.memory.clear();
        self.stop();
    }

    fn accept(&mut self, index: usize) {
        let mut accepts = Accepts::new();
        while accepts.another(self.listeners[index].socket.as_fd()) {
            let listening = &self.listeners[index];
            let common = &self.house.common;
            if !common.gate.try_enter() {
                return self.set_accepting(false);
            }
            match sys::io::accept(listening.socket.as_fd(), false) {
                Ok((socket, from)) => {
                    listening.tune(&socket);
                    if let Err(error) = self.house.receive(socket, from, listening) {
                        Tally::add(&common.tally.accepted);
                        common.tally.shortage(&listening.service.door, &error);
                        return self.back_off();
                    }
                    common.tally.accepted(&listening.service.door);
                    self.pause = None;
                }
                Err(error) => {
                    common.gate.leave();
                    match after_accept(&error) {
                        AfterError::Wait => return,
                        AfterError::Next => {}
                        AfterError::BackOff => {
                            common.tally.shortage(&listening.service.door, &error);
                            return self.back_off();
                        }
                        AfterError::GiveUp => {
                            common.broken(&listening.service.door);
                            let socket = listening.socket.as_fd();
                            let (read, none) = (Interest::READ, Interest::NONE);
                            return drop(self.poll.change(socket, index as u64, read, none));
                        }
                    }
                }
            }
        }
    }

    fn accept_memory(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let next = self.memory.iter().find(|listening| listening.listener.has_waiting());
            let (true, Some(listening)) = (self.accepting, next) else { return };
            let common = &self.house.common;
            if !common.gate.try_enter() {
                return self.set_accepting(false);
            }
            let Some(socket) = listening.listener.accept_now() else { return common.gate.leave() };
            let job = Job::Accepted(listening.service.clone(), Peer::memory());
            let berth = Berth::new(Socket::Memory(socket), false, &common.limits);
            if let Err(error) = self.house.lodge(berth, job) {
                Tally::add(&common.tally.accepted);
                common.tally.shortage(&listening.service.door, &error);
                return self.back_off();
            }
            common.tally.accepted(&listening.service.door);
        }
    }

    fn back_off(&mut self) {
        let pause = back_off(self.pause);
        self.pause = Some(pause);
        self.set_accepting(false);
        self.again = Some(Instant::now() + pause);
    }

    fn can_reopen(&self) -> bool {
        !self.accepting
            && self.again.is_none_or(|again| again <= Instant::now())
            && self.house.common.gate.has_room()
    }

    fn set_accepting(&mut self, accepting: bool) {
        if std::mem::replace(&mut self.accepting, accepting) == accepting {
            return;
        }
        self.again = None;
        let (from, to) = match accepting {
            true => (Interest::NONE, Interest::READ),
            false => (Interest::READ, Interest::NONE),
        };
        for (index, listening) in self.listeners.iter().enumerate() {
            let _ = self.poll.change(listening.socket.as_fd(), index as u64, from, to);
        }
    }

    /// Wakes every thread, also those that come late, until all are gone or patience ends.
    fn stop(mut self) {
        sys::io::signal(&self.house.stopped);
        loop {
            self.house.bell.doze();
            // Read each time: a later stop may have shortened it.
            let Some(deadline) = self.house.common.stop.deadline() else { return };
            let berths = self.house.all_berths();
            if berths.is_empty() {
                return;
            }
            berths.iter().for_each(|berth| berth.stop());
            drop(berths);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.poll.wait(Some(left)).is_err() {
                break;
            }
        }
        for berth in self.house.all_berths() {
            berth.force(&self.house.common.stop);
        }
    }
}

impl House {
    fn is_stopping(&self) -> bool {
        self.common.stop.deadline().is_some()
    }

    fn all_berths(&self) -> Vec<Arc<Berth>> {
        let berths = self.berths();
        berths.tokens().into_iter().filter_map(|token| berths.get(token).cloned()).collect()
    }

    fn receive(
        self: &Arc<House>,
        socket: OwnedFd,
        from: crate::addr::AnyAddr,
        listening: &Listening,
    ) -> io::Result<()> {
        let Some(peer) = Peer::from_addr(listening.transport, from.to_canonical()) else {
            self.common.gate.leave();
            return Ok(());
        };
        let service = listening.service.clone();
        let (job, berth) = match &service.serve {
            Serve::Sessions(_) => (Job::Accepted(service, peer), Ok(socket)),
            // The handler owns its descriptor; the berth needs one to wake it by.
            Serve::Blocking(_) => {
                let second = socket.try_clone();
                (Job::Blocking(socket, service, peer), second)
            }
        };
        let blocking = matches!(job, Job::Blocking(..));
        match berth {
            Ok(socket) => {
                let socket = Socket::Descriptor(socket);
                self.lodge(Berth::new(socket, blocking, &self.common.limits), job)
            }
            Err(error) => {
                self.common.gate.leave();
                Err(error)
            }
        }
    }
}
