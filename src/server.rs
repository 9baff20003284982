//! Servers: endpoints, a codec, a handler, an engine, limits.
//!
//! ```
//! use sockeye::codec::Lines;
//! use sockeye::server::Server;
//! # use std::time::Duration;
//!
//! let server = Server::tcp("127.0.0.1:0")
//!     .codec(Lines::default())
//!     .serve(|line, cx| cx.send(&line.chars().rev().collect::<String>()))?;
//! println!("listening on {}", server.local_endpoints()[0]);
//! # server.stop(Duration::from_secs(1));
//! server.join()?;
//! # Ok::<(), sockeye::Error>(())
//! ```
//!
//! One server listens on as many endpoints as you like, of any kind, and serves all of them with the
//! same handler, datagrams too: see [UDP servers](Server#udp-servers). It runs on threads of its own
//! from [`serve`](Server::serve) on; a [`ServerHandle`]
//! stops it and waits for it.

mod accepting;
mod bind;
mod connector;
mod datagrams;
mod handle;
mod launched;
mod listening;
#[cfg(feature = "signal")]
mod signals;
mod unix;

pub use handle::{IntoAdopted, ServerHandle};
pub use listening::IntoListening;

pub use crate::engine::OnFull;

use crate::addr::{Endpoint, IntoHostPort, Peer};
use crate::codec::Codec;
use crate::engine::{BlockingEngine, Engine, MakeSession, Report, Serve, ServeBlocking, Threads};
use crate::error::Error;
use crate::handler::{Context, Handler, IntoOutcome, Side};
use crate::limits::Limits;
use crate::observer::Observer;
use crate::session::Session;
use crate::socket::{AnyStream, Options};
use accepting::Accepting;
use datagrams::Datagrams;
use launched::{Launched, OnStart};
use listening::Source;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use unix::UnixSettings;

/// A server that has not started yet.
///
/// `C` is the codec, `()` as long as none is chosen; `E` the engine. The builder does nothing until
/// [`serve`](Server::serve), [`serve_with`](Server::serve_with) or
/// [`serve_blocking`](Server::serve_blocking) binds its endpoints, so that is where errors come out.
#[must_use = "a server does nothing until it is told to serve"]
pub struct Server<C = (), E = Threads> {
    pub(crate) sources: Vec<Result<Source, Error>>,
    pub(crate) codec: C,
    engine: E,
    settings: Settings,
}

/// What does not depend on the codec or on the engine.
#[derive(Default)]
struct Settings {
    limits: Limits,
    options: Options,
    accepting: Accepting,
    unix: UnixSettings,
    observer: Option<Arc<dyn Observer>>,
    handle: ServerHandle,
    on_start: Option<Box<OnStart>>,
    datagrams: Datagrams,
}

impl Server {
    /// A server without endpoints: it runs what [`ServerHandle::adopt`] gives it.
    pub fn new() -> Server {
        Server {
            sources: Vec::new(),
            codec: (),
            engine: Threads::default(),
            settings: Settings::default(),
        }
    }

    /// A server on an endpoint such as `"tcp://127.0.0.1:7000"`, on a socket that was made and
    /// configured before, or on a [listener in memory](crate::memory): see [`IntoListening`].
    pub fn on(endpoint: impl IntoListening) -> Server {
        Server::new().and(endpoint)
    }

    /// A TCP server: `"127.0.0.1:7000"`, `"[::1]:7000"`, `"localhost:http"`, `"*:7000"` for all
    /// addresses of both families, an address, or a port alone, which means loopback.
    ///
    /// The sockets have `SO_REUSEADDR`, `TCP_NODELAY`, keepalive (60 s, every 10 s, 6 times) and the
    /// longest backlog that the system allows; [`options`](Server::options) changes all but the last.
    pub fn tcp(at: impl IntoHostPort) -> Server {
        Server::on(Source::new(at.into_host_port().map(Endpoint::tcp)))
    }

    /// A UDP server, with the same addresses as [`tcp`](Server::tcp). Each peer has a session. Strangers
    /// may forge who they are: see [UDP servers](Server#udp-servers).
    pub fn udp(at: impl IntoHostPort) -> Server {
        Server::on(Source::new(at.into_host_port().map(Endpoint::udp)))
    }

    /// A server for Unix streams at this path. The socket file can be used by its owner only (mode
    /// 0600), and is removed when the server stops; see [`socket_files`](Server::socket_files).
    pub fn unix(path: impl AsRef<Path>) -> Server {
        Server::on(Source::unix(path.as_ref()))
    }
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl<C, E: Engine> Server<C, E> {
    /// One more endpoint.
    pub fn and(mut self, endpoint: impl IntoListening) -> Server<C, E> {
        self.sources.push(endpoint.into_listening());
        self
    }

    /// How bytes become frames.
    pub fn codec<D: Codec>(self, codec: D) -> Server<D, E> {
        let Server { sources, engine, settings, .. } = self;
        Server { sources, codec, engine, settings }
    }

    /// What runs the connections; [`Threads`] by default.
    pub fn engine<G: Engine>(self, engine: G) -> Server<C, G> {
        let Server { sources, codec, settings, .. } = self;
        Server { sources, codec, engine, settings }
    }

    /// How much a peer may cost; [`Limits::default`] by default.
    pub fn limits(mut self, limits: Limits) -> Server<C, E> {
        self.settings.limits = limits;
        self
    }

    /// What the sockets are set to before they are bound, and what is accepted after them; see
    /// [`Options`] for the defaults. Over TCP keepalive is on unless the set says otherwise: after
    /// 60 s, every 10 s, 6 times.
    ///
    /// One set for all endpoints: what a kind of socket does not have is passed over there. A value
    /// that the kernel refuses is an error when the server starts. Ready-made sockets have their
    /// options already; what can be set after the bind is, if it is in the set.
    ///
    /// A TCP connection inherits its options from the listener, which costs nothing; a Unix one is
    /// given its buffers, if the set has some. One that cannot have them is served all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// use sockeye::socket::{Keepalive, Options};
    /// use std::time::Duration;
    ///
    /// let idle = Duration::from_secs(20);
    /// let server = Server::tcp("127.0.0.1:0")
    ///     .options(Options::new().keepalive(Some(Keepalive { idle, ..Keepalive::default() })))
    ///     .codec(Lines::default())
    ///     .serve(|line, cx| cx.send(line))?;
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn options(mut self, options: Options) -> Server<C, E> {
        self.settings.options = options;
        self
    }

    /// Tells this what the server sees: see [`Observer`]. One observer; a second one replaces it.
    pub fn observer(mut self, observer: impl Observer) -> Server<C, E> {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// A handle to the server that will start, for handlers that need one.
    pub fn handle(&self) -> ServerHandle {
        self.settings.handle.clone()
    }

    /// Calls this once, on the thread that starts the server, when it listens: with the endpoints that
    /// [`ServerHandle::local_endpoints`] gives.
    pub fn on_start(mut self, tell: impl FnOnce(&[Endpoint]) + Send + 'static) -> Server<C, E> {
        self.settings.on_start = Some(Box::new(tell));
        self
    }

    /// Starts, with a blocking function for each connection: straight-line code with `Read` and
    /// `Write`, on a thread of its own, on connected endpoints only. When the server stops, its reads
    /// end; at the deadline, the connection is cut.
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve), and on endpoints of datagrams or in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::server::Server;
    /// use std::io::{Read, Write};
    /// # use std::time::Duration;
    ///
    /// let server = Server::tcp("127.0.0.1:0").serve_blocking(|mut stream| {
    ///     let mut word = [0; 5];
    ///     stream.read_exact(&mut word)?;
    ///     stream.write_all(&word)?;
    ///     Ok(())
    /// })?;
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn serve_blocking<F, O>(self, serve: F) -> Result<ServerHandle, Error>
    where
        F: Fn(AnyStream) -> O + Send + Sync + 'static,
        O: IntoOutcome,
        E: BlockingEngine,
    {
        self.launch(blocking(serve))?.spawn()
    }

    /// As [`serve_blocking`](Server::serve_blocking), on the calling thread: see [`run`](Server::run).
    ///
    /// # Errors
    ///
    /// As [`serve_blocking`](Server::serve_blocking).
    pub fn run_blocking<F, O>(self, serve: F) -> Result<Report, Error>
    where
        F: Fn(AnyStream) -> O + Send + Sync + 'static,
        O: IntoOutcome,
        E: BlockingEngine,
    {
        self.launch(blocking(serve))?.run()
    }
}

fn blocking<F, O>(serve: F) -> Serve
where
    F: Fn(AnyStream) -> O + Send + Sync + 'static,
    O: IntoOutcome,
{
    let serve: Arc<ServeBlocking> = Arc::new(move |socket| {
        let stream = AnyStream::try_from(socket).map_err(io::Error::from)?;
        serve(stream).into_outcome()
    });
    Serve::Blocking(serve)
}

impl<C: Codec, E: Engine> Server<C, E> {
    /// Starts, with a closure `|frame, cx|` as the handler. Each connection has a clone of it, so
    /// what it captures by value is the connection's own.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, an address in use, too few rights, too many
    /// descriptors: each with the endpoint and, where there is one, a hint at the way out.
    pub fn serve<F, O>(self, handler: F) -> Result<ServerHandle, Error>
    where
        F: for<'f, 'c, 'd> FnMut(C::Frame<'f>, &'c mut Context<'d, C>) -> O
            + Clone
            + Send
            + Sync
            + 'static,
        O: IntoOutcome,
    {
        self.serve_with(move |_| handler.clone())
    }

    /// Starts, with a handler made for each connection by `make`.
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve).
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::handler::{Context, Handler, Outcome};
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// struct Greeter;
    ///
    /// impl Handler<Lines> for Greeter {
    ///     fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
    ///         let greeting = format!("hello, {}", cx.peer());
    ///         cx.send(&greeting);
    ///         Ok(())
    ///     }
    ///     fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
    ///         cx.send(line);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server =
    ///     Server::tcp("127.0.0.1:0").codec(Lines::default()).serve_with(|_peer| Greeter)?;
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn serve_with<H, M>(self, make: M) -> Result<ServerHandle, Error>
    where
        H: Handler<C>,
        M: Fn(&Peer) -> H + Send + Sync + 'static,
    {
        self.launch_with(make)?.spawn()
    }

    /// As [`serve`](Server::serve), but on the calling thread: blocks until the server has stopped,
    /// and returns its report. Use [`on_start`](Server::on_start) to learn the endpoints and
    /// [`handle`](Server::handle) to stop it.
    ///
    /// With [`Events::workers(1)`](crate::engine::Events::workers) the process needs no other thread,
    /// which spares the kernel some locking with every system call: about a tenth of a microsecond a
    /// message.
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve).
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::engine::Events;
    /// use sockeye::server::Server;
    /// use std::time::Duration;
    ///
    /// let server = Server::tcp("127.0.0.1:0").engine(Events::workers(1)).codec(Lines::default());
    /// let handle = server.handle();
    /// let report = server
    ///     .on_start(move |endpoints| {
    ///         println!("listening on {}", endpoints[0]);
    ///         handle.stop(Duration::from_secs(1)); // a real server would go on
    ///     })
    ///     .run(|line, cx| cx.send(line))?;
    /// assert_eq!(report.forced, 0);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn run<F, O>(self, handler: F) -> Result<Report, Error>
    where
        F: for<'f, 'c, 'd> FnMut(C::Frame<'f>, &'c mut Context<'d, C>) -> O
            + Clone
            + Send
            + Sync
            + 'static,
        O: IntoOutcome,
    {
        self.run_with(move |_| handler.clone())
    }

    /// As [`serve_with`](Server::serve_with), on the calling thread: see [`run`](Server::run).
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve).
    pub fn run_with<H, M>(self, make: M) -> Result<Report, Error>
    where
        H: Handler<C>,
        M: Fn(&Peer) -> H + Send + Sync + 'static,
    {
        self.launch_with(make)?.run()
    }

    fn launch_with<H, M>(self, make: M) -> Result<Launched, Error>
    where
        H: Handler<C>,
        M: Fn(&Peer) -> H + Send + Sync + 'static,
    {
        let (codec, limits) = (self.codec.clone(), Arc::new(self.settings.limits.clone()));
        let make: Arc<MakeSession> = Arc::new(move |peer: Peer| {
            let handler = make(&peer);
            let (codec, limits) = (codec.clone(), limits.clone());
            Session::new(codec, handler, peer, Side::Accepted, limits)
        });
        self.launch(Serve::Sessions(make))
    }
}

impl<C: fmt::Debug, E: fmt::Debug> fmt::Debug for Server<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sources", &self.sources)
            .field("codec", &self.codec)
            .field("engine", &self.engine)
            .field("limits", &self.settings.limits)
            .field("options", &self.settings.options)
            .finish_non_exhaustive()
    }
}
