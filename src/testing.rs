//! For tests of your own handlers: a server in one line, and a conversation without a server.
//!
//! | | has | for |
//! |---|---|---|
//! | [`Conversation`] | no engine, no thread, no clock: time passes when it is told to | what a handler says, timers, limits, close reasons |
//! | [`LocalServer`] | a real engine, in memory or on loopback | the handler as it will run, clients, several connections |
//!
//! ```
//! use sockeye::codec::Lines;
//! use sockeye::handler::{Context, Handler, Outcome};
//! use sockeye::testing::{Conversation, LocalServer};
//! use std::time::Duration;
//!
//! /// The handler under test: greets, reverses lines, and asks after a minute's silence.
//! struct Reverser;
//!
//! impl Handler<Lines> for Reverser {
//!     fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
//!         cx.send("hello");
//!         cx.set_timer(Duration::from_secs(60));
//!         Ok(())
//!     }
//!     fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
//!         cx.send(&line.chars().rev().collect::<String>());
//!         cx.set_timer(Duration::from_secs(60));
//!         Ok(())
//!     }
//!     fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
//!         cx.send("still there?");
//!         Ok(())
//!     }
//! }
//!
//! // Without a server, and a minute in no time.
//! let mut peer = Conversation::new(Lines::default(), Reverser);
//! assert_eq!(peer.receive()?, Some("hello"));
//! peer.send("stressed")?;
//! assert_eq!(peer.receive()?, Some("desserts"));
//! peer.advance(Duration::from_millis(59_999));
//! assert_eq!(peer.receive()?, None);
//! peer.advance(Duration::from_millis(1));
//! assert_eq!(peer.receive()?, Some("still there?"));
//! assert_eq!(peer.close().to_string(), "closed by the peer");
//!
//! // With one. It is stopped when it is dropped.
//! let server = LocalServer::memory(Lines::default(), || Reverser)?;
//! let mut client = server.client()?;
//! assert_eq!(client.receive()?, "hello");
//! client.send("stressed")?;
//! assert_eq!(client.receive()?, "desserts");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod conversation;
mod heard;

pub use conversation::Conversation;

use crate::addr::Endpoint;
use crate::client::{Client, Framed};
use crate::codec::Codec;
use crate::engine::{Engine, Events, Report};
use crate::error::Error;
use crate::handler::Handler;
use crate::memory::{Dialer, Listener};
use crate::server::{Server, ServerHandle};
use std::fmt;
use std::thread;
use std::time::Duration;

/// A server for one test, reached by nobody else.
///
/// When it is dropped, it is stopped and waited for, five seconds at most; then, if a callback has
/// panicked, it panics, so that the test fails (what was said is on standard error).
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::handler::Context;
/// use sockeye::testing::LocalServer;
///
/// let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
/// let server = LocalServer::tcp(Lines::default(), move || echo)?;
/// let mut client = server.client()?;
/// client.send("hello")?;
/// assert_eq!(client.receive()?, "hello");
/// # Ok::<(), sockeye::Error>(())
/// ```
pub struct LocalServer<C: Codec> {
    server: ServerHandle,
    dialer: Option<Dialer>,
    codec: C,
}

impl<C: Codec> LocalServer<C> {
    /// In memory, on one event loop, with the default limits, and a handler of `make` for each
    /// connection. A stream holds 64 KiB in each direction.
    ///
    /// # Errors
    ///
    /// The system cannot make what the engine needs.
    pub fn memory<H: Handler<C>>(
        codec: C,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Result<LocalServer<C>, Error> {
        LocalServer::start(Server::new().engine(Events::workers(1)).codec(codec), make)
    }

    /// On a free TCP port of loopback; else as [`memory`](LocalServer::memory).
    ///
    /// # Errors
    ///
    /// As [`memory`](LocalServer::memory).
    pub fn tcp<H: Handler<C>>(
        codec: C,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Result<LocalServer<C>, Error> {
        let server = Server::tcp("127.0.0.1:0").engine(Events::workers(1));
        LocalServer::start(server.codec(codec), make)
    }

    /// On a free UDP port of loopback; else as [`memory`](LocalServer::memory).
    ///
    /// # Errors
    ///
    /// As [`memory`](LocalServer::memory).
    pub fn udp<H: Handler<C>>(
        codec: C,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Result<LocalServer<C>, Error> {
        let server = Server::udp("127.0.0.1:0").engine(Events::workers(1));
        LocalServer::start(server.codec(codec), make)
    }

    /// As the builder says: its engine, its limits, its endpoints. In memory, if it has none.
    ///
    /// # Errors
    ///
    /// As [`Server::serve_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::engine::Threads;
    /// use sockeye::handler::Context;
    /// use sockeye::limits::Limits;
    /// use sockeye::server::Server;
    /// use sockeye::testing::LocalServer;
    ///
    /// let server = Server::new().engine(Threads::default()).limits(Limits::strict());
    /// let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    /// let server = LocalServer::start(server.codec(Lines::default()), move || echo)?;
    /// assert_eq!(server.endpoint().to_string(), "memory://(unnamed)");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn start<H: Handler<C>, E: Engine>(
        mut server: Server<C, E>,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Result<LocalServer<C>, Error> {
        let mut dialer = None;
        if server.sources.is_empty() {
            let listener = Listener::new(MEMORY_BYTES);
            dialer = Some(listener.dialer());
            server = server.and(listener);
        }
        let codec = server.codec.clone();
        let server = server.serve_with(move |_| make())?;
        Ok(LocalServer { server, dialer, codec })
    }

    /// A client that is connected to its first endpoint, with the codec of the server. None of its
    /// operations waits longer than five seconds.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub fn client(&self) -> Result<Framed<C>, Error> {
        let codec = self.codec.clone();
        match &self.dialer {
            Some(dialer) => Client::memory(dialer).timeout(PATIENCE).codec(codec).connect(),
            None => Client::to(self.endpoint()).timeout(PATIENCE).codec(codec).connect(),
        }
    }

    /// Where it listens first.
    pub fn endpoint(&self) -> &Endpoint {
        &self.server.local_endpoints()[0]
    }

    /// The server itself, for its counters, or to have it adopt a stream.
    pub fn handle(&self) -> &ServerHandle {
        &self.server
    }

    /// Stops it and waits for it, five seconds at most. Does not panic when a callback has: the
    /// report counts such.
    ///
    /// # Errors
    ///
    /// As [`ServerHandle::join`].
    pub fn stop(mut self) -> Result<Report, Error> {
        let server = std::mem::take(&mut self.server);
        server.stop(PATIENCE);
        server.join()
    }
}

impl<C: Codec> Drop for LocalServer<C> {
    fn drop(&mut self) {
        self.server.stop(PATIENCE);
        let report = self.server.join().unwrap_or_default();
        let panics = report.counters.panics;
        assert!(panics == 0 || thread::panicking(), "{panics} callbacks of a handler panicked");
    }
}

impl<C: Codec> fmt::Debug for LocalServer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalServer").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Longer than anything in a test takes, and short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// About what sockets hold.
const MEMORY_BYTES: usize = 64 * 1024;
