//! Clients: an endpoint, a deadline, and frames if you want them.
//!
//! ```
//! use sockeye::client::Client;
//! use sockeye::codec::Lines;
//! use sockeye::server::Server;
//! use std::time::Duration;
//!
//! let server = Server::tcp("127.0.0.1:0").codec(Lines::default()).serve(|line, cx| cx.send(line))?;
//!
//! let mut client = Client::to(&server.local_endpoints()[0])
//!     .timeout(Duration::from_secs(5))
//!     .codec(Lines::default())
//!     .connect()?;
//! client.send("hello")?;
//! assert_eq!(client.receive()?, "hello");
//! # server.stop(Duration::from_secs(1));
//! # Ok::<(), sockeye::Error>(())
//! ```

mod call;
mod channel;
mod framed;
mod reconnecting;

pub(crate) use call::Call;
pub use framed::{Framed, FramedReader, FramedWriter, Frames};
pub use reconnecting::Reconnecting;

use crate::addr::{
    Endpoint, IntoEndpoint, IntoHostPort, IpVersion, ParseEndpointError, Policy, UnixAddr,
};
use crate::codec::Codec;
#[cfg(doc)]
use crate::connect::Report;
use crate::connect::{Backoff, CancelHandle, Connection, Pace};
use crate::error::Error;
use crate::lookup::Resolver;
use crate::memory::Dialer;
use crate::observer::{Observer, Watch};
use crate::socket::{AnyStream, ConnectedUdpSocket, Mismatch, Options, TcpStream, UnixStream};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A connection that is yet to be made.
///
/// `S` is the socket that [`connect`](Client::connect) gives; with a [codec](Client::codec) it gives a
/// [`Framed`] instead.
///
/// Over IP, all addresses of a name are tried, as the module [`connect`](crate::connect) says. The
/// settings that are about addresses do nothing on a Unix socket, which has one.
#[must_use = "a client does nothing until it is told to connect"]
pub struct Client<S, C = ()> {
    call: Result<Call, Error>,
    codec: C,
    socket: PhantomData<fn() -> S>,
}

impl Client<TcpStream> {
    /// A TCP client: `"localhost:7000"`, `"mail.example.org:smtp"`, an address of std, or a port of
    /// this machine.
    pub fn tcp(at: impl IntoHostPort) -> Client<TcpStream> {
        Client::parsed(at.into_host_port().map(Endpoint::tcp))
    }
}

impl Client<ConnectedUdpSocket> {
    /// A UDP client with one peer.
    pub fn udp(at: impl IntoHostPort) -> Client<ConnectedUdpSocket> {
        Client::parsed(at.into_host_port().map(Endpoint::udp))
    }
}

impl Client<UnixStream> {
    /// A client for Unix streams at this path.
    pub fn unix(path: impl AsRef<Path>) -> Client<UnixStream> {
        let path = path.as_ref();
        let at = UnixAddr::from_path(path).map(Endpoint::unix);
        Client::new(at.map_err(|error| {
            Error::new("connect to", format_args!("unix://{}", path.display()), error)
        }))
    }
}

impl Client<Endpoint> {
    /// A client for any endpoint: text such as `"udp://localhost:7000"`, or an [`Endpoint`]. With a
    /// [codec](Client::codec) it speaks to all of them; without one it connects streams of any family.
    /// A wildcard, as a server may print it, stands for loopback.
    pub fn to(endpoint: impl IntoEndpoint) -> Client<Endpoint> {
        Client::parsed(endpoint.into_endpoint().map(Endpoint::connectable))
    }
}

impl Client<Dialer> {
    /// A client for a [listener in memory](crate::memory). It wants a [codec](Client::codec); for a
    /// stream as it is, [`Dialer::connect`] is enough.
    pub fn memory(dialer: &Dialer) -> Client<Dialer> {
        let call = Call { dialer: Some(dialer.clone()), ..Call::new(Endpoint::memory()) };
        Client { call: Ok(call), codec: (), socket: PhantomData }
    }
}

impl<S> Client<S> {
    fn parsed(endpoint: Result<Endpoint, ParseEndpointError>) -> Client<S> {
        Client::new(endpoint.map_err(|error| Error::bad_endpoint("connect to", error)))
    }

    fn new(endpoint: Result<Endpoint, Error>) -> Client<S> {
        Client { call: endpoint.map(Call::new), codec: (), socket: PhantomData }
    }

    /// How bytes become frames.
    pub fn codec<C: Codec>(self, codec: C) -> Client<S, C> {
        Client { call: self.call, codec, socket: PhantomData }
    }
}

impl<S, C> Client<S, C> {
    /// How long connecting may take, the lookup and all addresses of a name together, and then each
    /// operation of a [`Framed`] as a whole.
    ///
    /// Without it, connecting may take 10 s, and operations as long as they need.
    pub fn timeout(self, timeout: Duration) -> Client<S, C> {
        self.with(|call| call.timeout = Some(timeout))
    }

    /// What the socket is set to before it connects; see [`Options`] for the defaults. Over TCP
    /// keepalive is on unless the set says otherwise: after 60 s, every 10 s, 6 times.
    ///
    /// ```
    /// use sockeye::client::Client;
    /// use sockeye::socket::{Options, TcpListener};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = Client::tcp(listener.local_addr()?)
    ///     .options(Options::new().receive_buffer(64 * 1024).keepalive(None))
    ///     .connect()?;
    /// assert_eq!(stream.keepalive()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn options(self, options: Options) -> Client<S, C> {
        self.with(|call| call.manner.options = options)
    }

    /// How long an attempt is alone before the next address is tried beside it: 250 ms without this.
    /// Taken to be between 10 ms and 2 s, as RFC 8305 wants.
    pub fn attempt_delay(self, delay: Duration) -> Client<S, C> {
        self.with(|call| call.manner.pace = Pace::staggered(delay))
    }

    /// Tries one address after the other, in the resolver's order. Each may take its share of
    /// the time that is left, 2 s at least as long as there is so much.
    pub fn sequential(self) -> Client<S, C> {
        self.with(|call| call.manner.pace = Pace::Sequential)
    }

    /// Connects by this version of IP only, which then has all the time. A literal of the other version
    /// is an error.
    pub fn only(self, version: IpVersion) -> Client<S, C> {
        self.with(|call| call.manner.only = version)
    }

    /// Tries this version of IP first; the versions then take turns, or with
    /// [`sequential`](Self::sequential) all addresses of the other one come last. Without it the first
    /// address of the resolver decides.
    pub fn prefer(self, version: IpVersion) -> Client<S, C> {
        self.with(|call| call.manner.first = version)
    }

    /// The local address; port 0 lets the kernel choose one. Only addresses of its IP version are
    /// tried: if there is none, or the address is not one of this host, it fails before any packet.
    ///
    /// ```
    /// use sockeye::{Client, socket::TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = Client::tcp(listener.local_addr()?).from(([127, 0, 0, 2], 0)).connect()?;
    /// assert_eq!(stream.local_addr()?.ip().to_string(), "127.0.0.2");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from(self, local: impl Into<SocketAddr>) -> Client<S, C> {
        let local = local.into();
        self.with(|call| call.manner.from = Some(local))
    }

    /// Who looks names up; the [system's](crate::lookup::SystemResolver) without this.
    ///
    /// ```
    /// use sockeye::{Client, lookup::StaticResolver, socket::TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let at = listener.local_addr()?;
    /// let hosts = StaticResolver::new().with("printer", [at.ip()]);
    /// let at = format!("printer:{}", at.port());
    /// Client::tcp(at).resolver(hosts).connect()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resolver(self, resolver: impl Resolver + 'static) -> Client<S, C> {
        self.with(|call| call.manner.resolver = Some(Arc::new(resolver)))
    }

    /// Connects only to addresses that this policy allows. It judges each address of a name, so that a
    /// name is no way around it; a Unix socket is not judged.
    ///
    /// ```
    /// use sockeye::{Client, ErrorKind, addr::Policy, socket::TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let policy = Policy::allow_all().deny("127.0.0.0/8".parse().unwrap());
    /// let error = Client::tcp(listener.local_addr()?).policy(policy).connect().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn policy(self, policy: Policy) -> Client<S, C> {
        self.with(|call| call.manner.policy = Some(Arc::new(policy)))
    }

    /// Calls this on every socket before it is bound and connected, with the address that it is for:
    /// for options that have no method. An error fails the attempt, and the next address is tried.
    ///
    /// ```
    /// use sockeye::{Client, socket::TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = Client::tcp(listener.local_addr()?)
    ///     .before_connect(|socket, _to| socket2::SockRef::from(&socket).set_tos_v4(0x10))
    ///     .connect()?;
    /// assert_eq!(socket2::SockRef::from(&stream).tos_v4()?, 0x10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn before_connect(
        self,
        hook: impl Fn(BorrowedFd<'_>, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
    ) -> Client<S, C> {
        self.with(|call| call.manner.hook = Some(Arc::new(hook)))
    }

    /// Lets another thread end the connecting: see [`CancelHandle`]. A lookup, and the wait for a Unix
    /// socket, then have a thread of their own, which goes on to its deadline when it is left behind.
    pub fn cancel_with(self, cancel: &CancelHandle) -> Client<S, C> {
        let cancel = cancel.clone();
        self.with(|call| call.cancel = Some(cancel))
    }

    /// Tells this how names are looked up and addresses tried: see [`Observer`]. One observer; without it
    /// [`ServerHandle::connect`](crate::server::ServerHandle::connect) tells the server's.
    pub fn observer(self, observer: impl Observer) -> Client<S, C> {
        let watch = Watch::new(Some(Arc::new(observer)));
        self.with(|call| call.watch = watch)
    }

    fn with(mut self, change: impl FnOnce(&mut Call)) -> Client<S, C> {
        if let Ok(call) = &mut self.call {
            change(call);
        }
        self
    }

    /// What to connect and how, for who connects without waiting.
    pub(crate) fn into_parts(self) -> Result<(Call, C), Error> {
        Ok((self.call?, self.codec))
    }
}

impl<S> Client<S>
where
    S: TryFrom<OwnedFd, Error = Mismatch>,
{
    fn open(self) -> Result<Connection<S>, Error> {
        let call = self.call?;
        let (channel, report) = call.open()?;
        Ok(Connection::new(channel.into_typed(&call.endpoint)?, report))
    }
}

impl Client<TcpStream> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, nobody who listens, no answer in time. The error lists
    /// every address with its cause.
    pub fn connect(self) -> Result<TcpStream, Error> {
        Ok(self.open()?.stream)
    }

    /// [`connect`](Self::connect), and what was tried. (In an error, [`Report::of`] has it.)
    ///
    /// ```
    /// use sockeye::{Client, socket::TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let connected = Client::tcp(listener.local_addr()?).connect_with_report()?;
    /// assert_eq!(connected.report.attempts()[0].address(), listener.local_addr()?);
    /// println!("{}", connected.report);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with_report(self) -> Result<Connection<TcpStream>, Error> {
        self.open()
    }
}

impl Client<UnixStream> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad path, no socket there, nobody who listens, no room in its backlog in time.
    pub fn connect(self) -> Result<UnixStream, Error> {
        let call = self.call?;
        call.open()?.0.into_typed(&call.endpoint)
    }
}

impl Client<ConnectedUdpSocket> {
    /// Makes a socket that talks to this peer only. Nothing is sent, so nobody needs to be there.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, no route.
    pub fn connect(self) -> Result<ConnectedUdpSocket, Error> {
        Ok(self.open()?.stream)
    }
}

impl Client<Endpoint> {
    /// Connects a stream, TCP or Unix as the endpoint says. Blocks until the connection is made or the
    /// time is over.
    ///
    /// # Errors
    ///
    /// A bad endpoint, one that is no stream, a name that is not found, nobody who listens, no answer
    /// in time.
    pub fn connect(self) -> Result<AnyStream, Error> {
        Ok(self.connect_with_report()?.stream)
    }

    /// [`connect`](Self::connect), and what was tried: nothing on a Unix socket.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with_report(self) -> Result<Connection<AnyStream>, Error> {
        let call = self.call?;
        let (channel, report) = call.open()?;
        Ok(Connection::new(channel.into_typed(&call.endpoint)?, report))
    }
}

impl<S, C: Codec> Client<S, C> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, nobody who listens, no answer in time.
    pub fn connect(self) -> Result<Framed<C>, Error> {
        Ok(self.connect_with_report()?.stream)
    }

    /// [`connect`](Self::connect), and what was tried: nothing on a Unix socket.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with_report(self) -> Result<Connection<Framed<C>>, Error> {
        let (call, codec) = self.into_parts()?;
        let (framed, report) = call.framed(codec)?;
        Ok(Connection::new(framed, report))
    }

    /// A client that connects again when the connection is lost, with pauses that grow. It connects when
    /// it is first used.
    pub fn reconnecting(self, backoff: Backoff) -> Reconnecting<C> {
        Reconnecting::new(self.call, self.codec, backoff)
    }
}

impl<S, C: fmt::Debug> fmt::Debug for Client<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("call", &self.call).field("codec", &self.codec).finish()
    }
}
