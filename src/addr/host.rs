//! Host and port: where an IP socket is, before any name is looked up.
//!
//! Strict on purpose. libc reads `127.1` and `0x7f.1` as 127.0.0.1 and `010.8.8.8` as 8.8.8.8,
//! which is how filters are fooled: what looks like a number here is an exact literal or an error,
//! and never reaches libc.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

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

/// A host and a port, such as `localhost:http`, `127.0.0.1:7000`, `[fe80::1%eth0]:7000` or `*:7000`.
///
/// Made by parsing, from a socket address, or with [`new`](Self::new); always well-formed. Prints as
/// it parses, but for the [`version`](Self::version), which an endpoint has in its scheme. The flow
/// label of a [`SocketAddrV6`] is no part of it.
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
        Ok(HostPort {
            host,
            port,
            version: IpVersion::Any,
        })
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
        Err(ParseEndpointError::new(
            Part::Host,
            &self.host.to_string(),
            expected,
        ))
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

    /// Whether to listen on one IPv6 socket for both versions, `IPV6_V6ONLY` off: `*` for any version.
    ///
    /// Any other IPv6 socket is better off with `IPV6_V6ONLY` on, so that IPv4 can have the port too.
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
        HostPort {
            host,
            port,
            version: IpVersion::Any,
        }
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
        HostPort {
            host,
            port,
            version: IpVersion::Any,
        }
    }
}

impl FromStr for HostPort {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let (host, port) = parse::split_host_port(text)?;
        HostPort::new(parse_host(host)?, parse_port(port)?)
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

fn parse_host(text: &str) -> Result<Host, ParseEndpointError> {
    if text == "*" {
        return Ok(Host::Everywhere);
    }
    if let Some(inside) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        let (ip, zone) = match inside.split_once('%') {
            Some((ip, zone)) => (ip, Some(parse_zone(zone)?)),
            None => (inside, None),
        };
        return match ip.parse() {
            Ok(ip) => Ok(Host::V6(ip, zone)),
            Err(_) => Err(ParseEndpointError::new(
                Part::Host,
                text,
                "an IPv6 address in the brackets",
            )),
        };
    }
    match text.parse() {
        Ok(ip) => Ok(Host::V4(ip)),
        Err(_) => Ok(Host::Name(text.to_owned())), // checked by `HostPort::new`
    }
}

fn parse_zone(text: &str) -> Result<Zone, ParseEndpointError> {
    if text.is_empty() || !is_digits(text) {
        return Ok(Zone::Name(text.to_owned())); // checked by `HostPort::new`
    }
    match text.parse() {
        Ok(index) if !text.starts_with('0') => Ok(Zone::Index(index)),
        _ => Err(bad_zone(text)),
    }
}

fn parse_port(text: &str) -> Result<Port, ParseEndpointError> {
    if text.is_empty() || !is_digits(text) {
        return Ok(Port::Service(text.to_owned())); // checked by `HostPort::new`
    }
    match text.parse() {
        Ok(number) if text == "0" || !text.starts_with('0') => Ok(Port::Number(number)),
        Ok(_) => Err(ParseEndpointError::new(
            Part::Port,
            text,
            "no zeros in front",
        )),
        Err(_) => Err(ParseEndpointError::new(
            Part::Port,
            text,
            "a number up to 65535",
        )),
    }
}

fn check_name(name: &str) -> Result<(), ParseEndpointError> {
    let error = |expected: &'static str| Err(ParseEndpointError::new(Part::Host, name, expected));
    if !name.is_ascii() {
        return error("ASCII; other scripts in punycode, as in `xn--bcher-kva.example`");
    }
    // A final dot makes a name absolute: no search domains are tried.
    let relative = name.strip_suffix('.').unwrap_or(name);
    if relative.len() > 253 {
        return error("at most 253 bytes");
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    for label in relative.split('.') {
        if label.is_empty() {
            return error("a name or address, without empty labels");
        }
        if label.len() > 63 {
            return error("labels of at most 63 bytes between the dots");
        }
        if !label.bytes().all(is_allowed) {
            return error("letters, digits, hyphens, underscores and dots");
        }
    }
    let last = relative.rsplit('.').next().unwrap_or(relative);
    if looks_like_a_number(last) {
        return error("four decimal numbers up to 255, as in `127.0.0.1`, or a name");
    }
    Ok(())
}

/// The rule of WHATWG's URL standard, "ends in a number": such a host is an IPv4 address or wrong,
/// never a name, since libc would read a number into it.
fn looks_like_a_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    is_digits(label) || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn check_zone_name(name: &str) -> Result<(), ParseEndpointError> {
    // What Linux allows in the name of an interface (up to 15 bytes), less what would confuse a
    // reader of endpoints. Digits alone would be an index.
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:%[]".contains(&byte);
    let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
    match fits && name.bytes().all(is_allowed) && !is_digits(name) {
        true => Ok(()),
        false => Err(bad_zone(name)),
    }
}

fn bad_zone(text: &str) -> ParseEndpointError {
    let expected = "the name of an interface (1 to 15 bytes) or its number (not 0), as in `%eth0`";
    ParseEndpointError::new(Part::Zone, text, expected)
}

fn check_service(name: &str) -> Result<(), ParseEndpointError> {
    // RFC 6335 has names of up to 15 letters, digits and hyphens; the tables of systems go beyond
    // it in all three. A digit in front is left out: no table has need of it here, and who writes
    // `9pfs` or `80a` is better told than looked up.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    match starts && name.len() <= 63 && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => {
            let expected = "a number from 0 to 65535 or a service such as `http`";
            Err(ParseEndpointError::new(Part::Port, name, expected))
        }
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
