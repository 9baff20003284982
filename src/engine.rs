//! Engines: the loops that move bytes between sockets and sessions.
//!
//! An engine makes no decisions about a protocol: it reads, hands in, writes what there is to say,
//! and asks what to wait for. The same handler runs on every engine; which one is a matter of load:
//!
//! | engine | a connection is | for | limit by default |
//! |---|---|---|---|
//! | [`Threads`] (default) | a thread in a blocking read | handlers that block; up to about a thousand connections | 1,024 |
//! | [`Events`] | a slot in one of N event loops | many connections, small memory | 10,000 |
//!
//! [`AnyEngine`] is chosen at run time, for programs with an `--engine` option.

mod accept;
mod connection;
mod counters;
mod datagrams;
mod events;
mod gate;
mod listeners;
mod slots;
mod stop;
mod thread;
mod threads;
mod worker;

pub(crate) use counters::Tally;
pub use counters::{Closed, Counters};
pub use events::Events;
pub(crate) use gate::Gate;
pub use stop::Report;
pub(crate) use stop::{AtWork, Stop};
pub use threads::Threads;

use crate::addr::{Endpoint, Peer, Transport};
use crate::handler::{Letter, Outcome};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::session::Session;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// How a server runs its connections: [`Threads`], [`Events`] or [`AnyEngine`].
pub trait Engine: sealed::Start + fmt::Debug + Send + 'static {}

/// An engine whose handlers may block, so that it can serve
/// [`serve_blocking`](crate::server::Server::serve_blocking): [`Threads`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run blocking handlers",
    label = "an event loop would stand still while one of them blocks",
    note = "use `.engine(Threads::default())`, or a handler with `.serve(..)`"
)]
pub trait BlockingEngine: Engine {}

impl Engine for Threads {}
impl Engine for Events {}
impl Engine for AnyEngine {}
impl BlockingEngine for Threads {}

/// An engine chosen at run time. It serves everything but blocking handlers.
///
/// # Examples
///
/// ```
/// use sockeye::engine::AnyEngine;
///
/// let engine: AnyEngine = "events".parse()?;
/// assert_eq!(engine.workers(2).to_string(), "events");
/// # Ok::<(), sockeye::engine::UnknownEngine>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyEngine {
    /// A thread a connection.
    Threads(Threads),
    /// Event loops.
    Events(Events),
}

impl AnyEngine {
    /// Sets the number of event loops; the threads engine has no use for it.
    #[must_use]
    pub fn workers(self, count: usize) -> AnyEngine {
        match self {
            AnyEngine::Events(_) => AnyEngine::Events(Events::workers(count)),
            threads => threads,
        }
    }

    /// All engines of this build, for tests and usage texts.
    pub fn all() -> Vec<AnyEngine> {
        vec![AnyEngine::Threads(Threads::default()), AnyEngine::Events(Events::default())]
    }
}

impl fmt::Display for AnyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnyEngine::Threads(_) => "threads",
            AnyEngine::Events(_) => "events",
        })
    }
}

impl std::str::FromStr for AnyEngine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<AnyEngine, UnknownEngine> {
        AnyEngine::all()
            .into_iter()
            .find(|engine| engine.to_string() == name)
            .ok_or_else(|| UnknownEngine { name: name.chars().take(40).collect() })
    }
}

/// There is no engine of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEngine {
    name: String,
}

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no engine is called {:?}: there are threads and events", self.name)
    }
}

impl std::error::Error for UnknownEngine {}

pub(crate) mod sealed {
    use super::{Launch, Plan};
    use std::io;

    /// What an engine must be able to do.
    pub trait Start {
        /// Connections served at once, given what the limits say.
        fn connections_max(&self, limit: Option<usize>) -> usize;
        /// Starts its threads, all but the first, which the caller gives a thread or runs itself.
        fn start(self, plan: Plan) -> io::Result<Launch>;
    }
}

impl sealed::Start for AnyEngine {
    fn connections_max(&self, limit: Option<usize>) -> usize {
        match self {
            AnyEngine::Threads(threads) => threads.connections_max(limit),
            AnyEngine::Events(events) => events.connections_max(limit),
        }
    }

    fn start(self, plan: Plan) -> io::Result<Launch> {
        match self {
            AnyEngine::Threads(threads) => threads.start(plan),
            AnyEngine::Events(events) => events.start(plan),
        }
    }
}

/// What a server hands to its engine.
pub struct Plan {
    pub(crate) sockets: Vec<Listening>,
    pub(crate) common: Arc<Common>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// A bound socket, and what is served on it.
pub(crate) struct Listening {
    pub(crate) socket: Arc<OwnedFd>,
    pub(crate) transport: Transport,
    pub(crate) endpoint: Endpoint,
    pub(crate) service: Service,
}

impl Listening {
    /// The same socket, for another worker.
    pub(crate) fn share(&self) -> Listening {
        Listening {
            socket: self.socket.clone(),
            transport: self.transport,
            endpoint: self.endpoint.clone(),
            service: self.service.clone(),
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listening({})", self.endpoint)
    }
}

/// What becomes of a connection or a datagram peer.
#[derive(Clone)]
pub(crate) struct Service {
    /// Asked before anything is made for a peer.
    pub(crate) admit: Option<Arc<Admit>>,
    pub(crate) serve: Serve,
}

#[derive(Clone)]
pub(crate) enum Serve {
    /// A session for each.
    Sessions(Arc<MakeSession>),
    /// A function that has the connected socket to itself, on a thread of its own.
    Blocking(Arc<ServeBlocking>),
}

pub(crate) type Admit = dyn Fn(&Peer) -> bool + Send + Sync;
pub(crate) type MakeSession = dyn Fn(&Peer, Instant) -> Box<Session> + Send + Sync;
pub(crate) type ServeBlocking = dyn Fn(OwnedFd) -> Outcome + Send + Sync;

impl Service {
    /// Whether this peer may come in. Counts those who may not; a hook that panics admits nobody.
    pub(crate) fn admits(&self, peer: &Peer, tally: &Tally) -> bool {
        let Some(admit) = &self.admit else { return true };
        let admitted = catch_unwind(AssertUnwindSafe(|| admit(peer))).unwrap_or_else(|_| {
            Tally::add(&tally.panics);
            false
        });
        if !admitted {
            Tally::add(&tally.refused);
        }
        admitted
    }

    /// A session for this peer, if it is admitted and its handler can be made.
    pub(crate) fn session(&self, peer: &Peer, now: Instant, tally: &Tally) -> Option<Box<Session>> {
        let Serve::Sessions(make) = &self.serve else { return None };
        if !self.admits(peer, tally) {
            return None;
        }
        let made = catch_unwind(AssertUnwindSafe(|| make(peer, now)));
        if made.is_err() {
            Tally::add(&tally.panics);
        }
        made.ok()
    }
}

/// What all threads of a server share.
pub(crate) struct Common {
    pub(crate) limits: Arc<Limits>,
    pub(crate) tally: Tally,
    pub(crate) gate: Gate,
    pub(crate) stop: Arc<Stop>,
}

/// An engine that was started, and its first loop.
///
/// A program that has nothing else to do runs that loop on its main thread: a process with a single
/// thread spares the kernel some locking with every system call.
pub struct Launch {
    pub(crate) running: Arc<dyn Running>,
    pub(crate) first: FirstLoop,
}

/// Runs until the server has stopped.
pub(crate) type FirstLoop = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("running", &self.running).finish_non_exhaustive()
    }
}

/// A running engine.
pub trait Running: Send + Sync + fmt::Debug {
    /// Runs a connection that the engine did not accept. `make` is given the mailbox of the worker
    /// that will own it.
    fn adopt(&self, connection: Adoption<'_>) -> io::Result<()>;
    /// Tells every thread that [`Stop`] has begun.
    fn stop(&self);
}

/// A connected stream socket, and how its session is made once its worker is known.
pub struct Adoption<'a> {
    pub(crate) socket: OwnedFd,
    pub(crate) make: &'a mut (dyn FnMut(&Arc<Mailbox<Letter>>) -> Box<Session> + 'a),
}

impl fmt::Debug for Adoption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").field("socket", &self.socket).finish_non_exhaustive()
    }
}
