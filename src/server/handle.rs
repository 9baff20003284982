//! The handle of a running server.

use super::connector::Connector;
use crate::addr::{Endpoint, Peer, Transport};
use crate::client::Client;
use crate::codec::Codec;
use crate::engine::{Adoption, Common, Counters, Gate, Report, Running, Shutter, Socket};
use crate::error::Error;
use crate::handler::{Handler, Line, Remote, Side};
use crate::memory;
use crate::observer::{Door, Entry, ListenerInfo};
use crate::session::Session;
use crate::socket::{AnyStream, SocketFile};
use crate::timers::LONGEST;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A running server, or one that is about to start. Clones are the same server, and any thread may
/// use them, handlers included.
///
/// Dropping the last handle does not stop the server, as dropping a `JoinHandle` does not end a
/// thread.
#[derive(Clone, Default)]
pub struct ServerHandle {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    started: OnceLock<Started>,
    early: Mutex<Early>,
}

/// What was said before the start.
#[derive(Default)]
pub(super) struct Early {
    /// The deadline of a stop.
    stopped: Option<Instant>,
    pub(super) paused: bool,
    pub(super) connections_max: Option<usize>,
}

struct Started {
    running: Arc<dyn Running>,
    common: Arc<Common>,
    endpoints: Vec<Endpoint>,
    /// One for each endpoint.
    doors: Vec<Arc<Door>>,
    shutters: Vec<Shutter>,
    files: Mutex<Vec<SocketFile>>,
    /// Read by who adopts, written by who stops: a connection is adopted before a stop, which then
    /// ends it, or not at all.
    adopting: RwLock<()>,
    connector: Connector,
}

impl ServerHandle {
    pub(super) fn started(
        &self,
        running: Arc<dyn Running>,
        common: Arc<Common>,
        doors: Vec<Arc<Door>>,
        shutters: Vec<Shutter>,
        files: Vec<SocketFile>,
    ) {
        let endpoints = doors.iter().map(|door| door.endpoint().clone()).collect();
        let early = self.early();
        early.tell(&common.gate);
        let server = Arc::downgrade(&self.inner);
        common.stop.on_failure(move || {
            if let Some(inner) = server.upgrade() {
                ServerHandle { inner }.stop(FAILURE_PATIENCE);
            }
        });
        let (files, adopting) = (Mutex::new(files), RwLock::new(()));
        let connector = Connector::new(common.clone());
        let started =
            Started { running, common, endpoints, doors, shutters, files, adopting, connector };
        // A builder starts once: it is consumed.
        let started = self.inner.started.get_or_init(|| started);
        // It may have failed before it could be told so.
        let failed = started.common.stop.failure().map(|_| Instant::now() + FAILURE_PATIENCE);
        if let Some(deadline) = early.stopped.or(failed) {
            started.stop(deadline);
        }
    }

    pub(super) fn early(&self) -> MutexGuard<'_, Early> {
        self.inner.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate, once there is one.
    pub(super) fn gate(&self) -> Option<&Gate> {
        self.inner.started.get().map(|started| &started.common.gate)
    }

    /// Where the server listens: numeric addresses, with the ports that the system chose for port 0.
    /// In the order of the builder; a name with several addresses has one endpoint each. Empty
    /// before the start.
    pub fn local_endpoints(&self) -> &[Endpoint] {
        self.inner.started.get().map_or(&[], |started| &started.endpoints)
    }

    /// Runs a connection that the program made itself, a socket or a [stream in memory](memory), on
    /// the server's engine, under its limits, with a codec and a handler of its own. Does not block.
    ///
    /// It does not count against the connections that the server accepts at most. Returns a
    /// [`Remote`] to the new session, whose `on_open` is called soon.
    ///
    /// # Errors
    ///
    /// The stream is not connected, the server has not started or is stopping, or the system cannot
    /// make what the engine needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::handler::Context;
    /// use sockeye::server::Server;
    /// use sockeye::socket::UnixStream;
    /// use std::io::{BufRead, BufReader};
    /// # use std::time::Duration;
    ///
    /// let server = Server::new().codec(Lines::default()).serve(|_: &str, _| {})?;
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    /// let remote = server.adopt(ours, Lines::default(), echo)?;
    /// remote.send("from outside")?;
    /// let mut line = String::new();
    /// BufReader::new(&theirs).read_line(&mut line)?;
    /// assert_eq!(line, "from outside\n");
    /// # server.stop(Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt<C: Codec, H: Handler<C>>(
        &self,
        stream: impl IntoAdopted,
        codec: C,
        handler: H,
    ) -> Result<Remote<C>, Error> {
        let adopted = stream.into_adopted();
        let Adopted(socket, peer) =
            adopted.map_err(|error| Error::new("adopt", "a stream", error))?;
        let failed = |error| Error::new("adopt", peer.clone(), error);
        let started = self.inner.started.get().ok_or_else(not_running).map_err(failed)?;
        let _adopting = started.adopting.read().unwrap_or_else(PoisonError::into_inner);
        if started.common.stop.deadline().is_some() {
            return Err(failed(not_running()));
        }
        let mut remote = None;
        let mut parts = Some((codec, handler));
        let limits = started.common.limits.clone();
        let connection = Adoption {
            socket,
            make: &mut |letters| {
                let (codec, handler) = parts.take().expect("an engine makes one session");
                let peer = peer.clone();
                let mut session =
                    Session::new(codec.clone(), handler, peer, Side::Adopted, limits.clone());
                let watched = started.common.tally.watch.over(Instant::now);
                session.seen(watched.map(Entry::adopted));
                let line = session.state().line(letters, Line::NOWHERE);
                remote = Some(Remote::new(line, codec));
                session
            },
        };
        started.running.adopt(connection).map_err(failed)?;
        Ok(remote.expect("an engine makes the session that it adopts"))
    }

    /// Connects, and runs the connection on the server's engine as [`adopt`](Self::adopt) does.
    /// Returns at once: lookups are made on other threads, and one thread of the server drives all of
    /// its connects. So a handler may call it, on an event loop too.
    ///
    /// `told` is called once, with the [`Remote`] of the new session or with what went wrong: on a
    /// thread that others wait for, so it is not to block. It may send, wake a session, or hand the
    /// result on through a channel. When the server stops, what is not connected yet is cancelled
    /// ([`Cancelled`](crate::ErrorKind::Cancelled)).
    ///
    /// TCP and Unix streams; at most 1,024 are under way at once. At most eight threads look up names,
    /// and wait for Unix sockets whose backlog is full: further ones wait for them, each up to its own
    /// deadline.
    ///
    /// # Errors
    ///
    /// What is known at once: a bad endpoint, one that is no stream, too many that are under way, a
    /// server that has not started or is stopping. Then `told` is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::{Client, codec::Lines, handler::Context, server::Server};
    /// use std::sync::mpsc;
    /// # use std::time::Duration;
    ///
    /// let far = Server::tcp("127.0.0.1:0").codec(Lines::default()).serve(|line, cx| cx.send(line))?;
    /// let near = Server::new().codec(Lines::default()).serve(|_: &str, _| {})?;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let replies = sender.clone();
    /// let client = Client::to(&far.local_endpoints()[0]).codec(Lines::default());
    /// let hear = move |line: &str, _: &mut Context<'_, Lines>| {
    ///     let _ = replies.send(line.to_owned());
    /// };
    /// near.connect(client, hear, move |connected| match connected {
    ///     Ok(remote) => remote.send("hello").unwrap(),
    ///     Err(error) => drop(sender.send(error.to_string())),
    /// })?;
    /// assert_eq!(receiver.recv()?, "hello");
    /// # near.stop(Duration::from_secs(1));
    /// # far.stop(Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect<S, C: Codec, H: Handler<C>>(
        &self,
        client: Client<S, C>,
        handler: H,
        told: impl FnOnce(Result<Remote<C>, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let (mut call, codec) = client.into_parts()?;
        let endpoint = call.endpoint.clone();
        let failed = |error| Error::new("connect to", endpoint, error);
        let Some(started) = self.inner.started.get() else { return Err(failed(not_running())) };
        if !call.is_stream() {
            let text = "engines connect streams over TCP and Unix";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        call.watch = call.watch.or(&started.common.tally.watch);
        let server = self.clone();
        let told = move |stream: Result<AnyStream, Error>| {
            told(stream.and_then(|stream| server.adopt(stream, codec, handler)));
        };
        started.connector.connect(call, Box::new(told)).map_err(failed)
    }

    /// What the server has done so far.
    pub fn counters(&self) -> Counters {
        let started = self.inner.started.get();
        started.map_or_else(Counters::default, |started| started.common.tally.snapshot())
    }

    /// Each listener, in the order of [`local_endpoints`](Self::local_endpoints): whether it accepts, and
    /// who came in by it. Empty before the start. Does not block.
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::observer::ListenerState;
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// let server = Server::tcp("127.0.0.1:0").codec(Lines::default()).serve(|line, cx| cx.send(line))?;
    /// let listener = &server.listeners()[0];
    /// assert_eq!((listener.state, listener.open), (ListenerState::Accepting, 0));
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// assert_eq!(server.listeners()[0].state, ListenerState::Closed);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        let Some(started) = self.inner.started.get() else { return Vec::new() };
        let Started { common, doors, .. } = started;
        let stopping = self.is_stopping();
        let waiting = common.gate.is_full() || common.gate.shortage.holds();
        doors.iter().map(|door| door.info(stopping, waiting)).collect()
    }

    /// Waits until at most `count` sessions are open, of connections and of datagram peers, as
    /// [`Counters::open`] counts them: before a stop, for example, so that few have to be cut off. Blocks;
    /// false if that takes longer than `timeout`. Others may come meanwhile. True for a server that has
    /// not started.
    ///
    /// Not to be called from a handler, whose own session is open.
    pub fn wait_until_open(&self, count: u64, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let started = self.inner.started.get();
        started.is_none_or(|started| started.common.tally.wait_until_open(count, until))
    }

    /// Whether it has stopped, and all its threads have ended.
    #[cfg(feature = "signal")]
    pub(super) fn is_over(&self) -> bool {
        self.inner.started.get().is_some_and(|started| started.common.stop.is_over())
    }

    /// Whether [`stop`](Self::stop) was called: for blocking handlers with much to do.
    /// [`Context::is_stopping`](crate::handler::Context::is_stopping) is the same for others.
    pub fn is_stopping(&self) -> bool {
        match self.inner.started.get() {
            Some(started) => started.common.stop.deadline().is_some(),
            None => self.early().stopped.is_some(),
        }
    }

    /// Stops the server: no more connections and no more frames from now on. Clients are refused as soon
    /// as this returns, unless the program made the listener itself, which may be shared: that one is let
    /// go of as soon as its worker is free. Every handler's `on_stop`
    /// is called, which finishes its session by default; what is not over after `patience` is cut off.
    ///
    /// Returns at once and may be called from anywhere, a handler included; [`join`](Self::join)
    /// waits. A second stop can only shorten the patience; one before the start stops the server as
    /// soon as it starts.
    pub fn stop(&self, patience: Duration) {
        let deadline = Instant::now() + patience.min(LONGEST);
        let mut early = self.early();
        match self.inner.started.get() {
            Some(started) => started.stop(deadline),
            None => {
                early.stopped = Some(early.stopped.map_or(deadline, |other| other.min(deadline)));
            }
        }
    }

    /// Waits until the server has stopped and every thread of it has ended. Blocks; returns at once
    /// for a server that was never started.
    ///
    /// A handler that does not return holds its thread up; such threads are left behind a second
    /// after the stop's deadline, and counted as [`abandoned`](Report::abandoned). Not to be called
    /// from a handler: it would wait for itself.
    ///
    /// # Errors
    ///
    /// A listener that will never accept again (`EBADF`, `EINVAL`, `ENOTSOCK`), because something has
    /// closed it or shut it down, or a datagram socket that was shut down: then the server stops of
    /// itself, with a patience of five seconds.
    pub fn join(&self) -> Result<Report, Error> {
        let Some(started) = self.inner.started.get() else { return Ok(Report::default()) };
        let abandoned = started.common.stop.wait();
        if let Some(error) = started.common.stop.failure() {
            return Err(error);
        }
        Ok(started.common.stop.report(started.common.tally.snapshot(), abandoned))
    }
}

/// What [`ServerHandle::adopt`] takes: a connected stream of any family, or a stream in memory. Sealed.
pub trait IntoAdopted: sealed::Sealed {
    #[doc(hidden)]
    fn into_adopted(self) -> io::Result<Adopted>;
}

/// A stream and who is at its other end.
#[derive(Debug)]
pub struct Adopted(Socket, Peer);

impl<S: Into<AnyStream>> IntoAdopted for S {
    fn into_adopted(self) -> io::Result<Adopted> {
        let stream = self.into();
        let address = stream.peer_addr()?;
        let ip = address.as_ip().is_some();
        let transport = if ip { Transport::Tcp } else { Transport::Unix };
        let peer = Peer::from_addr(transport, address).expect("the transport was chosen to fit");
        Ok(Adopted(Socket::Descriptor(stream.into()), peer))
    }
}

impl IntoAdopted for memory::Stream {
    fn into_adopted(self) -> io::Result<Adopted> {
        Ok(Adopted(Socket::Memory(self), Peer::memory()))
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}
    impl<S: Into<AnyStream>> Sealed for S {}
    impl Sealed for memory::Stream {}
}

impl Started {
    fn stop(&self, deadline: Instant) {
        // While the sockets still listen: nobody finds a file of which nobody does.
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.connector.stop();
        let _nobody_adopts = self.adopting.write().unwrap_or_else(PoisonError::into_inner);
        self.common.stop.begin(deadline, self.common.tally.snapshot().closed.total());
        // Now, and not when their workers get to it: one of those may be busy with a handler.
        self.shutters.iter().for_each(Shutter::shut);
        self.running.stop();
    }
}

impl Drop for Started {
    /// Who lets go of every handle lets the server run, and it needs its files.
    fn drop(&mut self) {
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        files.drain(..).for_each(SocketFile::keep);
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("endpoints", &self.local_endpoints())
            .finish_non_exhaustive()
    }
}

/// How long sessions may take to finish when the server stops of itself.
const FAILURE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn not_running() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the server is not running")
}
