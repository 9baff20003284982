//! The threads engine: a thread for each connection, and one that accepts.
//!
//! ```text
//!   warden ── accepts ──► berth ──► thread: read, hand in, write, again
//!      └───── stops ──────► wakes the thread wherever it waits
//! ```
//!
//! Datagram sockets have no connections: each is served by a [`Worker`] on a thread of its own.

use super::events::launch;
use super::slots::Slots;
use super::thread::{Berth, Job, ThreadSession, run_blocking};
use super::warden::Warden;
use super::worker::{Address, Order, Worker};
use super::{Adoption, Common, Launch, Plan, Running, Socket, Tally, sealed};
use crate::mailbox::Bell;
use crate::poll::{EventWaker, Poll};
use crate::sys;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Instant;

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
    /// ends, or are refused: see [`Server::on_full`](crate::server::Server::on_full). `at_most(1)` serves
    /// them one after the other. Zero counts as one.
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
        let house = Arc::new(House::new(common.clone(), bell, self.stack_bytes)?);
        let (datagrams, listeners): (Vec<_>, Vec<_>) =
            sockets.into_iter().partition(|socket| socket.transport.is_datagram());
        let mut workers = Vec::new();
        for listening in datagrams {
            sys::io::set_nonblocking(listening.socket.as_fd(), true)?;
            let mut worker = Worker::new(common.clone())?;
            worker.serve(listening)?;
            workers.push(worker);
        }
        let addresses = workers.iter().map(|worker| worker.address.clone()).collect();
        let running = Arc::new(ThreadsRunning { house: house.clone(), addresses });
        let warden = Warden::new(house, poll, listeners, memory)?;
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
        let adopted = &self.house.common.tally.adopted;
        // Counted first, so that no more have ended than began.
        Tally::add(adopted);
        self.house.lodge(berth, Job::Session(session)).map_err(|unlodged| {
            adopted.fetch_sub(1, Ordering::Relaxed);
            unlodged.error
        })
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
pub(super) struct House {
    pub(super) common: Arc<Common>,
    pub(super) bell: Arc<Bell>,
    /// Every connection, so that it can be woken.
    berths: Mutex<Slots<Arc<Berth>>>,
    stack_bytes: usize,
    /// Counts from zero when the server stops: what quiet threads wait for.
    pub(super) stopped: OwnedFd,
}

impl House {
    pub(super) fn new(
        common: Arc<Common>,
        bell: Arc<Bell>,
        stack_bytes: usize,
    ) -> io::Result<House> {
        let (berths, stopped) = (Mutex::new(Slots::new()), sys::io::event_counter()?);
        Ok(House { common, bell, berths, stack_bytes, stopped })
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.common.stop.deadline().is_some()
    }

    pub(super) fn all_berths(&self) -> Vec<Arc<Berth>> {
        let berths = self.berths();
        berths.tokens().into_iter().filter_map(|token| berths.get(token).cloned()).collect()
    }

    fn berths(&self) -> MutexGuard<'_, Slots<Arc<Berth>>> {
        self.berths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its thread. If it was accepted, its place at the gate is taken already; if
    /// no thread can be made, that is given back, and so is the socket.
    pub(super) fn lodge(self: &Arc<House>, berth: Berth, job: Job) -> Result<(), Unlodged> {
        let berth = Arc::new(berth);
        // Kept only for who is to be told: the thread closes the socket by dropping its berth.
        let kept = self.common.gate.on_full.replies().then(|| berth.clone());
        let token = self.berths().insert(berth.clone());
        let (house, at_work) = (self.clone(), self.common.stop.enter());
        let builder =
            thread::Builder::new().name("sockeye".to_owned()).stack_size(self.stack_bytes);
        let entered = match &job {
            Job::Session(_) => None,
            Job::Accepted(_, peer) | Job::Blocking(_, _, peer) => Some(peer.ip()),
        };
        let guest = Guest { house: self.clone(), token, entered };
        let spawned = builder.spawn(move || {
            let _at_work = at_work;
            // Dropped before that: whoever joins the server finds its descriptors closed.
            let house = house;
            let mut guest = guest;
            let common = &house.common;
            let session = match job {
                Job::Session(session) => Some(session),
                Job::Accepted(service, peer) => berth.session(&service, peer, &common.tally),
                Job::Blocking(socket, service, peer) => {
                    if service.lends(socket.as_fd(), &peer, &common.tally) {
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
        match spawned {
            Ok(_) => Ok(()),
            Err(error) => {
                let berth = kept.and_then(Arc::into_inner);
                Err(Unlodged { error, socket: berth.map(Berth::into_socket) })
            }
        }
    }
}

/// A connection that no thread could be made for.
pub(super) struct Unlodged {
    pub(super) error: io::Error,
    /// Its socket, if its peer is to be told.
    pub(super) socket: Option<Socket>,
}

/// A connection's place in the house and at the gate, given back however its thread ends.
struct Guest {
    house: Arc<House>,
    token: u64,
    /// It came through the gate, from this address; what is adopted does not.
    entered: Option<Option<IpAddr>>,
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
        if let Some(ip) = self.entered {
            self.house.common.gate.leave_from(ip);
        }
        if self.house.is_stopping() {
            self.house.bell.ring();
        }
    }
}
