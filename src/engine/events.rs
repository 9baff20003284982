//! The events engine: N workers, each an event loop on a thread of its own.

use super::worker::{Address, Order, Worker};
use super::{Adoption, Common, Launch, Plan, Running, Socket, Tally, sealed};
use crate::sys;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Event loops on readiness, for many connections.
///
/// Each worker is one thread with its own poll (epoll), its own connections and its own buffers.
/// Workers share the listeners, and a connection stays with the worker that accepted it. For a UDP
/// endpoint each has a socket of its own (`SO_REUSEPORT`), and the kernel gives all datagrams of a peer
/// to the same one; a datagram socket that the program made, or a Unix one, stays with one worker. An
/// idle connection owns no buffer.
///
/// Handlers must not block: they would hold up all connections of their worker.
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::engine::Events;
/// use sockeye::server::Server;
/// use std::time::Duration;
///
/// let server = Server::tcp("127.0.0.1:0")
///     .engine(Events::workers(2))
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// server.stop(Duration::from_secs(1));
/// server.join()?;
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    workers: usize,
}

impl Events {
    /// This many event loops; zero counts as one.
    pub fn workers(count: usize) -> Events {
        Events { workers: count.max(1) }
    }
}

impl Default for Events {
    /// As many event loops as the process may use processors.
    fn default() -> Events {
        Events::workers(thread::available_parallelism().map_or(1, |count| count.get()))
    }
}

impl sealed::Start for Events {
    fn connections_max(&self, limit: Option<usize>) -> usize {
        limit.unwrap_or(10_000)
    }

    fn datagram_workers(&self) -> usize {
        self.workers
    }

    fn start(self, plan: Plan) -> io::Result<Launch> {
        let Plan { sockets, memory, common } = plan;
        let mut workers = Vec::new();
        for _ in 0..self.workers {
            workers.push(Worker::new(common.clone())?);
        }
        for (index, listening) in sockets.into_iter().enumerate() {
            if listening.transport.is_datagram() {
                for (more, listening) in listening.apart().into_iter().enumerate() {
                    sys::io::set_nonblocking(listening.socket.as_fd(), true)?;
                    workers[(index + more) % self.workers].serve(listening)?;
                }
                continue;
            }
            sys::io::set_nonblocking(listening.socket.as_fd(), true)?;
            for worker in &mut workers {
                worker.serve(listening.share())?;
            }
        }
        workers.iter_mut().for_each(|worker| worker.doors.memory.clone_from(&memory));
        let addresses = workers.iter().map(|worker| worker.address.clone()).collect();
        let running = Arc::new(EventsRunning { addresses, next: AtomicUsize::new(0), common });
        let mut workers = workers.into_iter();
        let first = workers.next().expect("there is at least one worker");
        for (index, worker) in workers.enumerate() {
            let name = format!("sockeye-events-{}", index + 1);
            if let Err(error) = launch(worker, &running.common, name) {
                running.common.stop.begin(std::time::Instant::now(), 0);
                running.stop();
                return Err(error);
            }
        }
        Ok(Launch { running, first: Box::new(|| first.run()) })
    }
}

/// Gives a worker its thread.
pub(super) fn launch(worker: Worker, common: &Arc<Common>, name: String) -> io::Result<()> {
    let at_work = common.stop.enter();
    thread::Builder::new().name(name).spawn(move || {
        let _at_work = at_work;
        worker.run();
    })?;
    Ok(())
}

struct EventsRunning {
    addresses: Vec<Address>,
    next: AtomicUsize,
    common: Arc<Common>,
}

impl Running for EventsRunning {
    fn adopt(&self, connection: Adoption<'_>) -> io::Result<()> {
        if let Socket::Descriptor(socket) = &connection.socket {
            sys::io::set_nonblocking(socket.as_fd(), true)?;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let address = &self.addresses[turn % self.addresses.len()];
        let session = (connection.make)(&address.letters);
        Tally::add(&self.common.tally.adopted);
        address.orders.push_beyond(Order::Adopt(connection.socket, session));
        Ok(())
    }

    fn stop(&self) {
        self.addresses.iter().for_each(|address| address.orders.push_beyond(Order::Stop));
    }
}

impl std::fmt::Debug for EventsRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("workers", &self.addresses.len()).finish_non_exhaustive()
    }
}
