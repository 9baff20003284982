//! Host and port: where an IP socket is, before any name is looked up.
//!
//! What may stand in each is in `grammar`; values made here are always well-formed.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

use super::grammar::{
    bad_zone, check_name, check_service, check_zone_name, parse_host, parse_port,
};
use super::{ParseEndpointError, Part, parse};

/// The host of an endpoint.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*`: every address of this machine, of both IP versions. For listening.
    Everywhere,
    /// An IPv4 literal.
    V4(Ipv4Addr),
    /// An IPv6 literal in brackets, and the zone that it is in.
    V6(Ipv6Addr, Option<Zone>),
    /// A name, to be looked up.
    Name(String),
}

/// The zone of an IPv6 address: which interface a link-local address is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
// Not `#[non_exhaustive]`: RFC 4007 knows these two forms.
pub enum Zone {
    /// The index of the interface, not 0: the scope id of [`SocketAddrV6`].
    Index(u32),
    /// The name of the interface, looked up on this machine.
    Name(String),
}

/// The port of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
// Not `#[non_exhaustive]`: a port is a number, and services are how people write it.
pub enum Port {
    /// A port number; 0 lets the kernel choose one, when listening.
    Number(u16),
    /// A service such as `http`, to be looked up in the system's table.
    Service(String),
}

impl Port {
    /// Whether it is the name of a service.
    pub fn is_service(&self) -> bool {
        matches!(self, Port::Service(_))
    }
}

/// Which versions of IP will do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
// Not `#[non_exhaustive]`: there is no third in use.
pub enum IpVersion {
    /// Either, or both where both can be had: `tcp://`, `udp://`.
    #[default]
    Any,
    /// IPv4 only: `tcp4://`, `udp4://`.
    V4,
    /// IPv6 only: `tcp6://`, `udp6://`.
    V6,
}

/// A host and a port: `localhost:http`, `127.0.0.1:7000`, `[fe80::1%eth0]:7000`, `*:7000`.
///
/// Made by parsing, from a socket address, or with [`new`](Self::new); always well-formed. Prints
/// as it parses, but for the [`version`](Self::version), which an endpoint has in its scheme. The
/// flow label of a [`SocketAddrV6`] is no part of it.
///
/// ```
/// use sockeye::HostPort;
/// let at: HostPort = "[::1]:7000".parse()?;
/// assert_eq!(at.to_socket_addr(), Some("[::1]:7000".parse().unwrap()));
/// let error = ":7000".parse::<HostPort>().unwrap_err();
/// assert!(error.to_string().contains("`127.0.0.1:7000`"));
/// # Ok::<(), sockeye::addr::ParseEndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: Host,
    port: Port,
    version: IpVersion,
}

impl HostPort {
    /// `host` and `port` together, for any IP version.
    ///
    /// # Errors
    ///
    /// Refuses names that could not be parsed: host names have labels of 1 to 63 letters, digits,
    /// hyphens and underscores, 253 bytes in all, and do not look like a number; zones are
    /// interface names or not 0; services have a letter first.
    pub fn new(host: Host, port: Port) -> Result<Self, ParseEndpointError> {
        match &host {
            Host::Name(name) => check_name(name)?,
            Host::V6(_, Some(Zone::Name(name))) => check_zone_name(name)?,
            Host::V6(_, Some(Zone::Index(0))) => return Err(bad_zone("0")),
            Host::Everywhere | Host::V4(_) | Host::V6(..) => {}
        }
        if let Port::Service(name) = &port {
            check_service(name)?;
        }
        Ok(HostPort { host, port, version: IpVersion::Any })
    }

    /// The same for one version of IP.
    ///
    /// # Errors
    ///
    /// Refuses a literal of the other version.
    pub fn with_version(mut self, version: IpVersion) -> Result<Self, ParseEndpointError> {
        let expected = match (&self.host, version) {
            (Host::V4(_), IpVersion::V6) => "an IPv6 address or a name",
            (Host::V6(..), IpVersion::V4) => "an IPv4 address or a name",
            _ => {
                self.version = version;
                return Ok(self);
            }
        };
        Err(ParseEndpointError::new(Part::Host, &self.host.to_string(), expected))
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The host name, if the host is one.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            _ => None,
        }
    }

    /// The port.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Which versions of IP will do.
    pub fn version(&self) -> IpVersion {
        self.version
    }

    /// Whether the host is `*`.
    pub fn is_everywhere(&self) -> bool {
        self.host == Host::Everywhere
    }

    /// Whether to listen on one IPv6 socket for both versions: `*`, for any version.
    ///
    /// Such a socket has `IPV6_V6ONLY` off. Any other IPv6 socket is better off with it on, so that
    /// IPv4 can have the port too.
    pub fn is_dual_stack(&self) -> bool {
        self.is_everywhere() && self.version == IpVersion::Any
    }

    /// The socket address, if nothing need be looked up: a literal, without named zone or service.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let Port::Number(port) = self.port else {
            return None;
        };
        let scope_id = match &self.host {
            Host::V4(ip) => return Some(SocketAddr::from((*ip, port))),
            Host::V6(_, None) => 0,
            Host::V6(_, Some(Zone::Index(index))) => *index,
            _ => return None,
        };
        let Host::V6(ip, _) = self.host else {
            return None;
        };
        Some(SocketAddrV6::new(ip, port, 0, scope_id).into())
    }

    /// Where to connect to in order to reach a server that listens here: the wildcards become
    /// loopback, all else stays.
    pub(super) fn connectable(mut self) -> Self {
        self.host = match (self.host, self.version) {
            (Host::Everywhere, IpVersion::V6) => Host::V6(Ipv6Addr::LOCALHOST, None),
            // A dual-stack socket hears IPv4 too, also where IPv6 has no loopback.
            (Host::Everywhere, IpVersion::Any | IpVersion::V4) => Host::V4(Ipv4Addr::LOCALHOST),
            (Host::V4(ip), _) if ip.is_unspecified() => Host::V4(Ipv4Addr::LOCALHOST),
            (Host::V6(ip, _), _) if ip.is_unspecified() => Host::V6(Ipv6Addr::LOCALHOST, None),
            (host, _) => host,
        };
        self
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => v4.into(),
            SocketAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<SocketAddrV4> for HostPort {
    fn from(addr: SocketAddrV4) -> Self {
        let (host, port) = (Host::V4(*addr.ip()), Port::Number(addr.port()));
        HostPort { host, port, version: IpVersion::Any }
    }
}

/// The flow label is left out: it is for the kernel to choose, and no part of where a socket is.
impl From<SocketAddrV6> for HostPort {
    fn from(addr: SocketAddrV6) -> Self {
        let zone = match addr.scope_id() {
            0 => None,
            index => Some(Zone::Index(index)),
        };
        let (host, port) = (Host::V6(*addr.ip(), zone), Port::Number(addr.port()));
        HostPort { host, port, version: IpVersion::Any }
    }
}

impl FromStr for HostPort {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let parts = || {
            let (host, port) = parse::split_host_port(text)?;
            HostPort::new(parse_host(host)?, parse_port(port)?)
        };
        parts().map_err(|error| error.within(text))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Everywhere => f.write_str("*"),
            Host::V4(ip) => write!(f, "{ip}"),
            Host::V6(ip, None) => write!(f, "[{ip}]"),
            Host::V6(ip, Some(zone)) => write!(f, "[{ip}%{zone}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Zone::Index(index) => write!(f, "{index}"),
            Zone::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Number(number) => write!(f, "{number}"),
            Port::Service(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
