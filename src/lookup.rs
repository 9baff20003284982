//! From names to addresses, through the system's resolver.
//!
//! Everything here may **block** for as long as the resolver likes, seconds where a name server is
//! down: call it before a loop or on a thread of its own, never in a handler. Literals and numbers
//! never reach the resolver and never block.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use dns_lookup::{AddrFamily, AddrInfo, AddrInfoHints, LookupError, LookupErrorKind, SockType};

use crate::addr::{AnyAddr, Endpoint, Host, HostPort, IpVersion, Port, Zone};
use crate::error::{Error, ErrorKind};
pub(crate) use crate::sys::errors::is_missing_here;

/// At most this many addresses come of one name: more is a mistake or an attack, and every one may
/// cost a caller a connection attempt.
pub const ADDRESSES_MAX: usize = 64;

/// The socket addresses of a host and port, at least one, in the resolver's order of preference and
/// without repetition; at most [`ADDRESSES_MAX`].
///
/// Asks `getaddrinfo(3)` for names and named services; `datagram` tells the services of UDP from
/// those of TCP. Scope ids of IPv6 addresses are kept. `*` is for listening and gives one wildcard:
/// `[::]`, or `0.0.0.0` for IPv4 only; [`HostPort::is_dual_stack`] says whether its socket is to
/// hear IPv4 too. **Blocks**, unless [`HostPort::to_socket_addr`] has the answer.
///
/// ```
/// let at = "127.0.0.1:7000".parse()?;
/// assert_eq!(sockeye::lookup::resolve(&at, false)?, ["127.0.0.1:7000".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no such host, service or interface, or the host has no
/// address of the wanted version; [`ErrorKind::LookupFailed`] if the name server did not answer.
pub fn resolve(at: &HostPort, datagram: bool) -> Result<Vec<SocketAddr>, Error> {
    resolve_parts(at, datagram).map_err(|Failure { kind, source }| {
        let endpoint = if datagram { Endpoint::udp(at.clone()) } else { Endpoint::tcp(at.clone()) };
        match kind {
            Some(kind) => Error::with_kind(kind, "look up", endpoint, source),
            None => Error::new("look up", endpoint, source),
        }
    })
}

/// The addresses of an endpoint: as [`resolve`] has them for TCP and UDP, or its Unix address.
///
/// ```
/// let endpoint = "unix:///run/app".parse()?;
/// assert_eq!(sockeye::lookup::addresses(&endpoint)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`resolve`]; [`ErrorKind::Unsupported`] for a listener in memory, which has no address.
pub fn addresses(endpoint: &Endpoint) -> Result<Vec<AnyAddr>, Error> {
    if let Some(unix) = endpoint.unix_addr() {
        return Ok(vec![AnyAddr::from(unix.clone())]);
    }
    let Some(at) = endpoint.host_port() else {
        let error = io::Error::new(io::ErrorKind::Unsupported, "only its dialer reaches it");
        return Err(Error::new("look up", endpoint, error));
    };
    let addrs = resolve(at, endpoint.transport().is_datagram())?;
    Ok(addrs.into_iter().map(AnyAddr::from).collect())
}

/// A failure before it is known what it is called; no kind: the source tells it.
struct Failure {
    kind: Option<ErrorKind>,
    source: io::Error,
}

impl Failure {
    fn not_found(what: String) -> Self {
        let source = io::Error::new(io::ErrorKind::NotFound, what);
        Failure { kind: Some(ErrorKind::NotFound), source }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let kind = match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData | LookupErrorKind::Service => {
                Some(ErrorKind::NotFound)
            }
            LookupErrorKind::Again | LookupErrorKind::Fail => Some(ErrorKind::LookupFailed),
            LookupErrorKind::Memory => Some(ErrorKind::LimitReached),
            _ => None,
        };
        let mut source = io::Error::from(error);
        if kind == Some(ErrorKind::NotFound) {
            // libc's words under the kind that they stand for, instead of `Other`.
            source = io::Error::new(io::ErrorKind::NotFound, source);
        }
        Failure { kind, source }
    }
}

fn resolve_parts(at: &HostPort, datagram: bool) -> Result<Vec<SocketAddr>, Failure> {
    let port = match at.port() {
        Port::Number(number) => *number,
        Port::Service(name) => service_port(name, datagram)?,
    };
    let addr = match at.host() {
        Host::Everywhere if at.version() == IpVersion::V4 => {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        }
        Host::Everywhere => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        Host::V4(ip) => SocketAddrV4::new(*ip, port).into(),
        Host::V6(ip, zone) => {
            let scope_id = match zone {
                None => 0,
                Some(Zone::Index(index)) => *index,
                Some(Zone::Name(name)) => interface_index(name)?,
            };
            SocketAddrV6::new(*ip, port, 0, scope_id).into()
        }
        Host::Name(name) => return host_addrs(name, port, at.version(), datagram),
    };
    Ok(vec![addr])
}

fn host_addrs(
    name: &str,
    port: u16,
    version: IpVersion,
    datagram: bool,
) -> Result<Vec<SocketAddr>, Failure> {
    let family = match version {
        IpVersion::Any => 0,
        IpVersion::V4 => AddrFamily::Inet.into(),
        IpVersion::V6 => AddrFamily::Inet6.into(),
    };
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for info in getaddrinfo(Some(name), None, family, datagram)? {
        let mut addr = info.sockaddr;
        addr.set_port(port);
        // Quadratic, over at most 64.
        if addrs.len() < ADDRESSES_MAX && !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    match addrs.is_empty() {
        true => Err(Failure::not_found("the host has no IP address".to_owned())),
        false => Ok(addrs),
    }
}

fn service_port(name: &str, datagram: bool) -> Result<u16, Failure> {
    // Any family would do: services belong to transports.
    let infos = getaddrinfo(None, Some(name), AddrFamily::Inet.into(), datagram);
    let protocol = if datagram { "UDP" } else { "TCP" };
    let unknown = || Failure::not_found(format!("no {protocol} service `{name}` is known here"));
    match infos {
        Ok(infos) => infos.first().map(|info| info.sockaddr.port()).ok_or_else(unknown),
        Err(error) => match Failure::from(error) {
            Failure { kind: Some(ErrorKind::NotFound), .. } => Err(unknown()),
            other => Err(other),
        },
    }
}

/// `if_nametoindex(3)`, which resolvers call for the zone of a link-local literal, and only of such
/// a one: hence the address, which is else of no interest.
fn interface_index(name: &str) -> Result<u32, Failure> {
    let literal = format!("fe80::1%{name}");
    let infos = getaddrinfo(Some(&literal), None, AddrFamily::Inet6.into(), false);
    match infos.ok().and_then(|infos| infos.first().map(|info| info.sockaddr)) {
        Some(SocketAddr::V6(addr)) if addr.scope_id() != 0 => Ok(addr.scope_id()),
        _ => Err(Failure::not_found(format!("no interface here is called `{name}`"))),
    }
}

/// No flags: above all not the canonical name, on which `dns_lookup` panics if it is not UTF-8.
/// (`AI_ADDRCONFIG` would hide `::1` on a machine without IPv6 elsewhere.)
fn getaddrinfo(
    host: Option<&str>,
    service: Option<&str>,
    family: i32,
    datagram: bool,
) -> Result<Vec<AddrInfo>, LookupError> {
    let kind = if datagram { SockType::DGram } else { SockType::Stream };
    let hints =
        AddrInfoHints { address: family, socktype: kind.into(), ..AddrInfoHints::default() };
    let infos = dns_lookup::getaddrinfo(host, service, Some(hints))?;
    // An error here is an entry of a family that nobody asked for.
    Ok(infos.filter_map(Result::ok).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, datagram: bool) -> Result<Vec<String>, Error> {
        let addrs = resolve(&text.parse().unwrap(), datagram)?;
        Ok(addrs.iter().map(SocketAddr::to_string).collect())
    }

    #[test]
    fn literals_and_wildcards_come_back_as_they_are() {
        for literal in ["1.2.3.4:5", "[::1]:0", "[fe80::1%7]:80"] {
            assert_eq!(resolved(literal, false).unwrap(), [literal]);
        }
        assert_eq!(resolved("*:80", false).unwrap(), ["[::]:80"]);
        let v4 = "*:80".parse::<HostPort>().unwrap().with_version(IpVersion::V4).unwrap();
        assert_eq!(resolve(&v4, false).unwrap(), ["0.0.0.0:80".parse().unwrap()]);
        assert!(!v4.is_dual_stack());
    }

    #[test]
    fn names_are_looked_up_in_the_wanted_version_without_repetition() {
        let at: HostPort = "localhost:80".parse().unwrap();
        let addrs = resolve(&at, false).unwrap();
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80), "{addrs:?}");
        for (index, addr) in addrs.iter().enumerate() {
            assert!(!addrs[..index].contains(addr), "{addrs:?}");
        }
        let v4 = resolve(&at.with_version(IpVersion::V4).unwrap(), true).unwrap();
        assert_eq!(v4, ["127.0.0.1:80".parse().unwrap()]);
    }

    #[test]
    fn services_are_looked_up_for_literals_too() {
        assert_eq!(resolved("1.2.3.4:http", false).unwrap(), ["1.2.3.4:80"]);
        assert_eq!(resolved("1.2.3.4:domain", true).unwrap(), ["1.2.3.4:53"]);
        let error = resolved("1.2.3.4:no-such-service", true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "look up udp://1.2.3.4:no-such-service: no UDP service `no-such-service` is known here"
        );
    }

    #[test]
    fn zones_are_looked_up_by_name() {
        // The loopback interface is the first of every network namespace on Linux.
        #[cfg(target_os = "linux")]
        for ip in ["fe80::1", "2001:db8::1", "::1"] {
            let addrs = resolved(&format!("[{ip}%lo]:80"), false).unwrap();
            assert_eq!(addrs, [format!("[{ip}%1]:80")]);
        }
        let error = resolved("[fe80::1%nosuch0]:80", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("no interface here is called `nosuch0`"), "{error}");
    }

    #[test]
    fn unknown_hosts_are_an_error_that_names_them() {
        // RFC 6761 keeps it unknown; without a name server nobody can say so, hence two kinds.
        let error = resolved("no-such-host.invalid:80", false).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::LookupFailed), "{error}");
        assert!(
            error.to_string().starts_with("look up tcp://no-such-host.invalid:80: "),
            "{error}"
        );
    }
}
