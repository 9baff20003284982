//! Endpoints: a transport and a place, as people write them.

use std::fmt;
use std::str::FromStr;

use super::{AnyAddr, HostPort, IpVersion, ParseEndpointError, Part, Transport, UnixAddr, parse};

/// Where to listen or to connect to, and how: what stands on a command line or in a log.
///
/// ```text
/// tcp://HOST:PORT   tcp4://..   tcp6://..        tcp://*:7000   tcp4://localhost:http
/// udp://HOST:PORT   udp4://..   udp6://..        udp://[fe80::1%eth0]:7000
/// unix://PATH   unix+dgram://PATH   unix+seqpacket://PATH        unix:///run/app   unix://@app
/// ```
///
/// `HOST` is a name, an IPv4 address, an IPv6 address in brackets with its zone behind `%`, or `*`
/// for every address of both versions. `PORT` is a number or the name of a service. `PATH` is
/// percent-encoded, relative to the working directory unless it begins with `/`; `@` in front makes
/// it an abstract name. Nothing is looked up here. Addresses are exact: `127.1` and `010.8.8.8` are
/// errors, not other ways of writing some address.
///
/// What prints parses back to the same endpoint, with three exceptions: an unnamed Unix address,
/// which prints as `unix://(unnamed)`, a listener within the process, which prints as
/// `memory://(unnamed)`, and a path longer than [`UnixAddr::BYTES_MAX`] that the kernel reported. The scope id of a [`SocketAddrV6`](std::net::SocketAddrV6) is kept as the zone;
/// its flow label is dropped when an endpoint is made from it.
///
/// ```
/// use sockeye::{Endpoint, Transport};
/// let endpoint: Endpoint = "tcp://localhost:7000".parse()?;
/// assert_eq!(endpoint.transport(), Transport::Tcp);
/// assert_eq!(endpoint.to_string(), "tcp://localhost:7000");
/// # Ok::<(), sockeye::addr::ParseEndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    transport: Transport,
    place: Place,
}

/// Agrees with the transport: the constructors see to it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Net(HostPort),
    Unix(UnixAddr),
    Memory,
}

impl Endpoint {
    /// TCP at a host and port, or at a socket address.
    ///
    /// ```
    /// use sockeye::Endpoint;
    /// use std::net::SocketAddr;
    /// let endpoint = Endpoint::tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
    /// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:80");
    /// ```
    pub fn tcp(at: impl Into<HostPort>) -> Self {
        Endpoint { transport: Transport::Tcp, place: Place::Net(at.into()) }
    }

    /// UDP at a host and port, or at a socket address.
    pub fn udp(at: impl Into<HostPort>) -> Self {
        Endpoint { transport: Transport::Udp, place: Place::Net(at.into()) }
    }

    /// A Unix stream socket.
    ///
    /// ```
    /// use sockeye::{Endpoint, UnixAddr};
    /// let endpoint = Endpoint::unix(UnixAddr::from_path("/run/my app")?);
    /// assert_eq!(endpoint.to_string(), "unix:///run/my%20app");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unix(addr: UnixAddr) -> Self {
        Endpoint { transport: Transport::Unix, place: Place::Unix(addr) }
    }

    /// A Unix datagram socket.
    pub fn unix_datagram(addr: UnixAddr) -> Self {
        Endpoint { transport: Transport::UnixDatagram, place: Place::Unix(addr) }
    }

    /// A Unix seqpacket socket.
    pub fn unix_seqpacket(addr: UnixAddr) -> Self {
        Endpoint { transport: Transport::UnixSeqPacket, place: Place::Unix(addr) }
    }

    /// A listener within the process. It has no name: only its
    /// [`Dialer`](crate::memory::Dialer)s reach it.
    pub fn memory() -> Self {
        Endpoint { transport: Transport::Memory, place: Place::Memory }
    }

    /// An address and how it is spoken to; `None` if it cannot be spoken to so.
    pub fn from_addr(transport: Transport, addr: impl Into<AnyAddr>) -> Option<Self> {
        let addr = addr.into();
        let place = match &addr {
            _ if !transport.fits(&addr) => return None,
            _ if transport == Transport::Memory => Place::Memory,
            AnyAddr::Ip(ip) => Place::Net(HostPort::from(*ip)),
            AnyAddr::Unix(unix) => Place::Unix(unix.clone()),
        };
        Some(Endpoint { transport, place })
    }

    /// How it is spoken to.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Host and port, if it is TCP or UDP.
    pub fn host_port(&self) -> Option<&HostPort> {
        match &self.place {
            Place::Net(at) => Some(at),
            Place::Unix(_) | Place::Memory => None,
        }
    }

    /// The Unix address, if it is a Unix socket.
    pub fn unix_addr(&self) -> Option<&UnixAddr> {
        match &self.place {
            Place::Net(_) | Place::Memory => None,
            Place::Unix(addr) => Some(addr),
        }
    }

    /// The address, if it has one and nothing need be looked up.
    pub fn to_addr(&self) -> Option<AnyAddr> {
        match &self.place {
            Place::Net(at) => at.to_socket_addr().map(AnyAddr::from),
            Place::Unix(addr) => Some(AnyAddr::from(addr.clone())),
            Place::Memory => None,
        }
    }

    /// Where a client on this machine reaches a server that listens here.
    ///
    /// `0.0.0.0` becomes `127.0.0.1`, `[::]` becomes `[::1]`, and `*` the loopback address of its
    /// version, IPv4 for both. All else stays as it is; so does port 0, which nobody listens on:
    /// ask the listener for its address first.
    ///
    /// ```
    /// let endpoint: sockeye::Endpoint = "tcp://*:7000".parse()?;
    /// assert_eq!(endpoint.connectable().to_string(), "tcp://127.0.0.1:7000");
    /// # Ok::<(), sockeye::addr::ParseEndpointError>(())
    /// ```
    #[must_use]
    pub fn connectable(self) -> Self {
        let place = match self.place {
            Place::Net(at) => Place::Net(at.connectable()),
            place @ (Place::Unix(_) | Place::Memory) => place,
        };
        Endpoint { place, ..self }
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        parse_endpoint(text).map_err(|error| error.within(text))
    }
}

fn parse_endpoint(text: &str) -> Result<Endpoint, ParseEndpointError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(bad_scheme(text));
    };
    let (transport, version) = match scheme.to_ascii_lowercase().as_str() {
        "tcp" => (Transport::Tcp, IpVersion::Any),
        "tcp4" => (Transport::Tcp, IpVersion::V4),
        "tcp6" => (Transport::Tcp, IpVersion::V6),
        "udp" => (Transport::Udp, IpVersion::Any),
        "udp4" => (Transport::Udp, IpVersion::V4),
        "udp6" => (Transport::Udp, IpVersion::V6),
        "unix" => (Transport::Unix, IpVersion::Any),
        "unix+dgram" => (Transport::UnixDatagram, IpVersion::Any),
        "unix+seqpacket" => (Transport::UnixSeqPacket, IpVersion::Any),
        _ => return Err(bad_scheme(scheme)),
    };
    let place = match transport.is_unix() {
        true => Place::Unix(parse_unix(rest)?),
        false => Place::Net(rest.parse::<HostPort>()?.with_version(version)?),
    };
    Ok(Endpoint { transport, place })
}

fn bad_scheme(text: &str) -> ParseEndpointError {
    if text.parse::<HostPort>().is_ok() {
        let expected = format!("a scheme before it, as in tcp://{text}");
        return ParseEndpointError::new(Part::Scheme, text, expected);
    }
    let expected = "tcp://, tcp4://, tcp6://, udp://, udp4://, udp6://, unix://, unix+dgram:// or \
                    unix+seqpacket://";
    ParseEndpointError::new(Part::Scheme, text, expected)
}

fn parse_unix(text: &str) -> Result<UnixAddr, ParseEndpointError> {
    if text == parse::UNNAMED {
        let expected = "a path or `@` and a name: a socket without either cannot be reached";
        return Err(ParseEndpointError::new(Part::Path, text, expected));
    }
    match text.strip_prefix('@') {
        Some(name) => UnixAddr::abstract_from_bytes(&parse::percent_decode(name)?),
        None => UnixAddr::path_from_bytes(&parse::percent_decode(text)?),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.scheme();
        match &self.place {
            Place::Unix(addr) => write!(f, "{scheme}://{addr}"),
            Place::Memory => write!(f, "{scheme}://{}", parse::UNNAMED),
            Place::Net(at) => {
                let version = match at.version() {
                    IpVersion::Any => "",
                    IpVersion::V4 => "4",
                    IpVersion::V6 => "6",
                };
                write!(f, "{scheme}{version}://{at}")
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}
