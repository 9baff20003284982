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
mod memory;
mod plan;
mod post;
mod refuse;
mod shortage;
mod slots;
mod sources;
mod stop;
mod stream;
#[cfg(all(test, loom))]
mod tests;
mod thread;
mod threads;
mod warden;
mod worker;

pub(crate) use counters::Tally;
pub use counters::{Closed, Counters, Refused};
pub use events::Events;
pub(crate) use gate::Gate;
pub use refuse::OnFull;
pub use stop::Report;
pub(crate) use stop::{AtWork, Stop};
pub use threads::Threads;

pub(crate) use plan::{
    Admit, AdmitUnix, Adoption, Common, FirstLoop, Launch, Listening, MakeSession, MemoryListening,
    Plan, Running, Serve, ServeBlocking, Service, Shutter, Socket,
};

use std::fmt;
use std::io;

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

impl Default for AnyEngine {
    /// Threads.
    fn default() -> AnyEngine {
        AnyEngine::Threads(Threads::default())
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
        /// How many workers can share the datagrams of one endpoint.
        fn datagram_workers(&self) -> usize {
            1
        }
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

    fn datagram_workers(&self) -> usize {
        match self {
            AnyEngine::Threads(threads) => threads.datagram_workers(),
            AnyEngine::Events(events) => events.datagram_workers(),
        }
    }

    fn start(self, plan: Plan) -> io::Result<Launch> {
        match self {
            AnyEngine::Threads(threads) => threads.start(plan),
            AnyEngine::Events(events) => events.start(plan),
        }
    }
}
