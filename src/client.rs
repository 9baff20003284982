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

mod channel;
mod framed;

pub use framed::{Framed, FramedReader, FramedWriter, Frames};

use crate::addr::{
    Any, AnyAddr, ConnectedDatagram, Endpoint, IntoEndpoint, IntoHostPort, ParseEndpointError,
    SeqPacket, Transport, UnixAddr,
};
use crate::codec::Codec;
use crate::error::Error;
use crate::lookup;
use crate::memory::Dialer;
use crate::socket::{
    AnyStream, ConnectedUdpSocket, Options, Socket, TcpStream, UnixDatagram, UnixStream,
};
use channel::Channel;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection that is yet to be made.
///
/// `S` is the socket that [`connect`](Client::connect) gives; with a [codec](Client::codec) it gives a
/// [`Framed`] instead.
#[must_use = "a client does nothing until it is told to connect"]
pub struct Client<S, C = ()> {
    endpoint: Result<Endpoint, Error>,
    /// What connects to an endpoint in memory.
    dialer: Option<Dialer>,
    timeout: Option<Duration>,
    options: Options,
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
        Client { dialer: Some(dialer.clone()), ..Client::new(Ok(Endpoint::memory())) }
    }
}

impl<S> Client<S> {
    fn parsed(endpoint: Result<Endpoint, ParseEndpointError>) -> Client<S> {
        Client::new(endpoint.map_err(|error| Error::bad_endpoint("connect to", error)))
    }

    fn new(endpoint: Result<Endpoint, Error>) -> Client<S> {
        Client {
            endpoint,
            dialer: None,
            timeout: None,
            options: Options::new(),
            codec: (),
            socket: PhantomData,
        }
    }

    /// How bytes become frames.
    pub fn codec<C: Codec>(self, codec: C) -> Client<S, C> {
        let Client { endpoint, dialer, timeout, options, .. } = self;
        Client { endpoint, dialer, timeout, options, codec, socket: PhantomData }
    }
}

impl<S, C> Client<S, C> {
    /// How long connecting may take, all addresses of a name together, and then each operation of a
    /// [`Framed`] as a whole. The time of the name lookup counts too, but a lookup that hangs is not
    /// cut short.
    ///
    /// Without it, connecting may take 10 s, and operations as long as they need.
    pub fn timeout(mut self, timeout: Duration) -> Client<S, C> {
        self.timeout = Some(timeout);
        self
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
    pub fn options(mut self, options: Options) -> Client<S, C> {
        self.options = options;
        self
    }

    fn open(self) -> Result<(Channel, Endpoint, C), Error> {
        let Client { endpoint, dialer, timeout, options, codec, .. } = self;
        let endpoint = endpoint?;
        let patience = timeout.unwrap_or(CONNECT_TIMEOUT).min(LONGEST);
        if let Some(dialer) = dialer {
            let dialed = dialer.connect_timeout(patience);
            let failed = |error| Error::new("connect to", &endpoint, error);
            return Ok((Channel::Memory(dialed.map_err(failed)?), endpoint, codec));
        }
        let options = options.with_keepalive();
        let deadline = Instant::now() + patience;
        let addresses = lookup::endpoint(&endpoint)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (index, address) in addresses.iter().enumerate() {
            // Each address has its share of the time that is left, so that a silent one leaves some
            // to the next.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - index) as u32;
            if share.is_zero() {
                last = io::ErrorKind::TimedOut.into();
                break;
            }
            match connect(&endpoint, address, share, &options) {
                Ok(channel) => return Ok((channel, endpoint, codec)),
                Err(error) => last = error,
            }
        }
        Err(Error::new("connect to", &endpoint, last))
    }
}

impl Client<TcpStream> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, nobody who listens, no answer in time.
    pub fn connect(self) -> Result<TcpStream, Error> {
        let (channel, endpoint, ()) = self.open()?;
        channel.into_typed(&endpoint)
    }
}

impl Client<UnixStream> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad path, no socket there, nobody who listens, no room in its backlog in time.
    pub fn connect(self) -> Result<UnixStream, Error> {
        let (channel, endpoint, ()) = self.open()?;
        channel.into_typed(&endpoint)
    }
}

impl Client<ConnectedUdpSocket> {
    /// Makes a socket that talks to this peer only. Nothing is sent, so nobody needs to be there.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, no route.
    pub fn connect(self) -> Result<ConnectedUdpSocket, Error> {
        let (channel, endpoint, ()) = self.open()?;
        channel.into_typed(&endpoint)
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
        let (channel, endpoint, ()) = self.open()?;
        channel.into_typed(&endpoint)
    }
}

impl<S, C: Codec> Client<S, C> {
    /// Connects. Blocks until the connection is made or the time is over.
    ///
    /// # Errors
    ///
    /// A bad endpoint, a name that is not found, nobody who listens, no answer in time.
    pub fn connect(self) -> Result<Framed<C>, Error> {
        let timeout = self.timeout;
        let (channel, endpoint, codec) = self.open()?;
        Ok(Framed::new(channel, endpoint, codec, timeout))
    }
}

fn connect(
    endpoint: &Endpoint,
    to: &AnyAddr,
    share: Duration,
    options: &Options,
) -> io::Result<Channel> {
    let deadline = Some(Instant::now() + share);
    match endpoint.transport() {
        Transport::Tcp | Transport::Unix => {
            Ok(Channel::Stream(AnyStream::connect_until(to, deadline, options)?))
        }
        Transport::Udp => {
            let to = to.clone();
            Ok(Channel::Datagram(Socket::<Any, ConnectedDatagram>::connect_with(to, options)?))
        }
        Transport::UnixSeqPacket => {
            let socket = Socket::<Any, SeqPacket>::connect_until(to, deadline, options)?;
            Ok(Channel::Record(socket))
        }
        Transport::UnixDatagram => {
            let to = to.as_unix().cloned().ok_or(io::ErrorKind::InvalidInput)?;
            // A name of its own, or the server could not answer. The kernel picks one.
            let socket = UnixDatagram::bind_with(UnixAddr::unnamed(), options)?.connect(to)?;
            Ok(Channel::Datagram(socket.into()))
        }
        // It has no address, so the lookup has said so.
        Transport::Memory => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl<S, C: fmt::Debug> fmt::Debug for Client<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("timeout", &self.timeout)
            .field("options", &self.options)
            .field("codec", &self.codec)
            .finish()
    }
}

/// How long connecting may take unless the builder says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than anybody waits, shorter than what the clock can express.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
