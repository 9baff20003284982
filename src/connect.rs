//! Connecting with care: several addresses, one deadline, a report.
//!
//! ```text
//!   name ─► lookup ─► addresses ─► race ──► the first that connects
//!           └───────── one deadline ──────┘   the others are closed
//! ```
//!
//! A name has several addresses, and one of them may be silent. So a second attempt starts 250 ms after
//! the first, with the other version of IP, or as soon as the first has failed; and so on, at most six
//! at once. Whoever connects first is the connection. This is Happy Eyeballs version 2, RFC 8305, less
//! its asking for both versions of IP at once.
//!
//! [`Client`](crate::Client) does this, and has the settings;
//! [`ServerHandle::connect`](crate::ServerHandle::connect) does it beside a server. Here is what they
//! have to tell: the [`Report`] of every attempt, the [`CancelHandle`] to end them, and the [`Backoff`] of
//! who connects again.

mod backoff;
mod cancel;
mod dial;
mod race;
mod report;

pub use backoff::Backoff;
pub use cancel::CancelHandle;
pub(crate) use dial::{Dial, Dialed, Progress, Times};
pub(crate) use race::Pace;
pub(crate) use report::Unconnected;
pub use report::{Attempt, Fate, Report};

use crate::addr::{Endpoint, HostPort, IpVersion, Policy, SocketType};
use crate::error::{Error, ErrorKind};
use crate::lookup::{self, Resolver, SystemResolver};
use crate::poll;
use crate::socket::Options;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

/// A connection, and how it came about.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<S> {
    /// The socket, or what frames go through.
    pub stream: S,
    /// Every address that was tried.
    pub report: Report,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, report: Report) -> Connection<S> {
        Connection { stream, report }
    }
}

/// How to connect.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    pub(crate) options: Options,
    pub(crate) pace: Pace,
    pub(crate) only: IpVersion,
    /// The version that is tried first; with `Any`, the resolver's first.
    pub(crate) first: IpVersion,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) hook: Option<Arc<Hook>>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
}

/// What the program does with a socket before it connects.
pub(crate) type Hook = dyn Fn(BorrowedFd<'_>, SocketAddr) -> io::Result<()> + Send + Sync;

impl Manner {
    /// The addresses of a host and port, by the resolver of this manner.
    pub(crate) fn look_up(
        &self,
        at: &HostPort,
        kind: SocketType,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, Error> {
        let at = match self.only {
            IpVersion::Any => at.clone(),
            only => at
                .clone()
                .with_version(only)
                .map_err(|error| Error::bad_endpoint("connect to", error))?,
        };
        let datagram = kind == SocketType::Datagram;
        match &self.resolver {
            Some(resolver) => lookup::resolve_with(resolver, &at, datagram, Some(deadline)),
            None => lookup::resolve_with(&SystemResolver::shared(), &at, datagram, Some(deadline)),
        }
    }

    fn allows(&self, address: SocketAddr) -> bool {
        self.policy.as_ref().is_none_or(|policy| policy.allows(address.ip()))
    }

    fn prepare(&self, socket: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(socket, to))
    }
}

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manner")
            .field("options", &self.options)
            .field("pace", &self.pace)
            .field("only", &self.only)
            .field("first", &self.first)
            .field("from", &self.from)
            .field("policy", &self.policy)
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

/// The error of what was cancelled before it came to attempts.
pub(crate) fn cancelled(endpoint: &Endpoint) -> Error {
    let source = io::Error::new(io::ErrorKind::Interrupted, "cancelled");
    Error::with_kind(ErrorKind::Cancelled, "connect to", endpoint, source)
}

/// Waits for a dial to be over, or cancelled. All its attempts are polled by the calling thread.
pub(crate) fn drive(mut dial: Dial, cancel: Option<&CancelHandle>) -> io::Result<Dialed> {
    let counter: Vec<BorrowedFd<'_>> =
        cancel.map(CancelHandle::counter).transpose()?.into_iter().collect();
    loop {
        if cancel.is_some_and(CancelHandle::is_cancelled) {
            return Ok(Err(dial.cancel()));
        }
        let now = Instant::now();
        let until = match dial.advance(now) {
            Progress::Wait(until) => until,
            Progress::Over(dialed) => return Ok(dialed),
        };
        let sockets: Vec<BorrowedFd<'_>> = dial.sockets().collect();
        let left = until.saturating_duration_since(now);
        let ready = poll::wait_for_any(&sockets, &counter, Some(left))?;
        dial.settle(ready);
    }
}
