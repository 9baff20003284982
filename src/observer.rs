//! Observers: a program is told what its servers and clients see.
//!
//! [`Counters`](crate::engine::Counters) say how much; an [`Observer`] says what, when it happens: who
//! came, who was refused and why, how a session ended, what panicked. Set it with
//! [`Server::observer`](crate::server::Server::observer) and
//! [`Client::observer`](crate::client::Client::observer). With the feature `log` there is one,
//! `sockeye::logging::Log`, that writes through the crate of that name.
//!
//! Nothing here is called for a message, and without an observer a connection costs one branch more.

mod escaped;
mod listener;
mod watch;

pub use escaped::Escaped;
pub(crate) use listener::{Door, Entry};
pub use listener::{ListenerInfo, ListenerState};
pub(crate) use watch::{Watch, Watched};

use crate::addr::{Endpoint, Peer};
use crate::error::Error;
use crate::handler::CloseReason;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Is told what a server or a client sees. Every method does nothing by default.
///
/// The methods are called on the thread that it happens on, for a server the one that other connections
/// wait for, and from several at once: they must not block. If one panics, that is caught and counted in
/// [`Counters::panics`](crate::engine::Counters::panics).
///
/// Text from a peer may be in what is printed from reasons and errors: print it through [`Escaped`].
///
/// # Examples
///
/// ```
/// use sockeye::addr::Peer;
/// use sockeye::codec::Lines;
/// use sockeye::handler::CloseReason;
/// use sockeye::observer::{Escaped, Observer};
/// use sockeye::server::Server;
/// use std::time::Duration;
///
/// struct Endings;
///
/// impl Observer for Endings {
///     fn closed(&self, peer: &Peer, reason: &CloseReason, lasted: Duration) {
///         println!("{peer}: {} after {lasted:?}", Escaped(reason));
///     }
/// }
///
/// let server = Server::tcp("127.0.0.1:0")
///     .observer(Endings)
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// # server.stop(Duration::from_secs(1));
/// server.join()?;
/// # Ok::<(), sockeye::Error>(())
/// ```
#[allow(unused_variables, reason = "the names of the parameters are for the reader")]
pub trait Observer: Send + Sync + 'static {
    /// A client has looked up a name: the addresses in the order in which they will be tried, or why
    /// there are none. Not called for addresses that are given as such.
    fn resolved(
        &self,
        endpoint: &Endpoint,
        found: Result<&[SocketAddr], &Error>,
        lasted: Duration,
    ) {
    }

    /// A client has tried an address. Called when its connecting is over, once for each address that was
    /// tried, in the order in which the attempts began; `failure` is `None` for the one that won.
    fn attempted(&self, to: SocketAddr, failure: Option<&dyn fmt::Display>, lasted: Duration) {}

    /// A peer has a session, or its blocking handler: its connection came in at `at`, or its first
    /// datagram. [`closed`](Self::closed) follows, once. Where a [stateless](crate::server::Server::stateless)
    /// handler hears all peers, it is told of as one, whose address is unspecified.
    fn accepted(&self, peer: &Peer, at: &Endpoint) {}

    /// The program had the engine adopt a connection. [`closed`](Self::closed) follows, once.
    fn adopted(&self, peer: &Peer) {}

    /// A peer came to nothing.
    fn refused(&self, peer: &Peer, why: Refusal) {}

    /// A session is over, and its handler was told; or a blocking handler has returned.
    fn closed(&self, peer: &Peer, reason: &CloseReason, lasted: Duration) {}

    /// The kernel takes no more of a session's output, because its peer does not read: so many bytes
    /// wait. [`flowed`](Self::flowed) follows, if it reads again before the session ends.
    fn stalled(&self, peer: &Peer, unsent: usize) {}

    /// All output that waited has left.
    fn flowed(&self, peer: &Peer) {}

    /// A callback has panicked: of a session, or another one that has to do with a peer, if there is one.
    fn panicked(&self, peer: Option<&Peer>, message: &str) {}

    /// A listener could not accept for want of descriptors, threads or memory. All listeners of the
    /// server are left alone for a while; what was accepted goes on. Told once until
    /// [`shortage_ended`](Self::shortage_ended), however often it is tried and at whichever listener, as
    /// [`Counters::shortages`](crate::engine::Counters::shortages) counts it.
    fn shortage_began(&self, at: &Endpoint, error: &io::Error) {}

    /// What began at this listener is over: for a second all that were accepted had what they need. Told
    /// when one more comes.
    fn shortage_ended(&self, at: &Endpoint) {}
}

/// Why a peer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The server has as many connections as it may, and does not let further ones wait: see
    /// [`OnFull`](crate::server::OnFull).
    Full,
    /// Its source has as many as it may:
    /// [`Limits::connections_per_source_max`](crate::limits::Limits::connections_per_source_max).
    PerSource,
    /// [`Server::admit`](crate::server::Server::admit) or
    /// [`Server::admit_unix`](crate::server::Server::admit_unix) said no, or panicked.
    NotAdmitted,
    /// No descriptor is left for it, and the server does not let such wait; or it was accepted already:
    /// see [`OnFull::Wait`](crate::server::OnFull::Wait).
    NoDescriptor,
    /// No thread could be made for it.
    NoThread,
    /// Its handler could not be made: the function that makes them panicked.
    NoHandler,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Full => "no place is left",
            Refusal::PerSource => "too many from its source",
            Refusal::NotAdmitted => "not admitted",
            Refusal::NoDescriptor => "no descriptor is left",
            Refusal::NoThread => "no thread could be made",
            Refusal::NoHandler => "no handler could be made",
        })
    }
}
