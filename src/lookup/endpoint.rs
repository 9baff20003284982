//! What endpoints need: their host and port, or their service, as addresses of the kernel.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Instant;

use super::error::{LookupError, LookupErrorKind};
use super::interface::interface_index;
use super::resolver::{Resolver, gather};
use super::service::{Protocol, service};
use super::system::SystemResolver;
use crate::addr::{AnyAddr, Endpoint, Host, HostPort, IpVersion, Port, Zone};
use crate::error::Error;

/// The socket addresses of a host and port, at least one, in the resolver's order of preference and
/// without repetition; at most [`ADDRESSES_MAX`](super::ADDRESSES_MAX).
///
/// Asks the system's resolver for names, the table of services for named ports; `datagram` tells the
/// services of UDP from those of TCP. Scope ids of IPv6 addresses are kept. `*` is for listening and
/// gives one wildcard: `[::]`, or `0.0.0.0` for IPv4 only; [`HostPort::is_dual_stack`] says whether
/// its socket is to hear IPv4 too. **Blocks**, unless [`HostPort::to_socket_addr`] has the answer.
///
/// ```
/// let at = "127.0.0.1:7000".parse()?;
/// assert_eq!(sockeye::lookup::resolve(&at, false)?, ["127.0.0.1:7000".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](crate::ErrorKind::NotFound) if there is no such host, service or interface, or the
/// host has no address of the wanted version; [`LookupFailed`](crate::ErrorKind::LookupFailed) if the
/// name server did not answer.
pub fn resolve(at: &HostPort, datagram: bool) -> Result<Vec<SocketAddr>, Error> {
    resolve_with(&SystemResolver::shared(), at, datagram, None)
}

/// As [`resolve`], by another resolver and until a deadline.
///
/// The resolver is asked for names only: never for literals, wildcards, zones or services.
///
/// ```
/// use sockeye::lookup::{self, StaticResolver};
/// let hosts = StaticResolver::new().with("printer", ["192.0.2.7".parse()?]);
/// let found = lookup::resolve_with(&hosts, &"printer:631".parse()?, false, None)?;
/// assert_eq!(found, ["192.0.2.7:631".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`resolve`]; [`TimedOut`](crate::ErrorKind::TimedOut) at the deadline;
/// [`LookupFailed`](crate::ErrorKind::LookupFailed) if too many lookups are under way.
pub fn resolve_with(
    resolver: &dyn Resolver,
    at: &HostPort,
    datagram: bool,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, Error> {
    parts(resolver, at, datagram, deadline).map_err(|error| match datagram {
        true => error.at(Endpoint::udp(at.clone())),
        false => error.at(Endpoint::tcp(at.clone())),
    })
}

/// The addresses of an endpoint: as [`resolve`] has them for TCP and UDP, or its Unix address.
///
/// ```
/// let unix = "unix:///run/app".parse()?;
/// assert_eq!(sockeye::lookup::endpoint(&unix)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`resolve`]; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a listener in
/// memory, which has no address.
pub fn endpoint(endpoint: &Endpoint) -> Result<Vec<AnyAddr>, Error> {
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

fn parts(
    resolver: &dyn Resolver,
    at: &HostPort,
    datagram: bool,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, LookupError> {
    let port = match at.port() {
        Port::Number(number) => *number,
        Port::Service(name) => service(name, protocol(datagram))?.port,
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
        Host::Name(name) => {
            // A resolver may be anybody's: what it promises is made sure of here.
            let mut addrs = gather(resolver.resolve(name, at.version(), deadline)?, at.version());
            addrs.iter_mut().for_each(|addr| addr.set_port(port));
            return match addrs.is_empty() {
                true => Err(LookupError::new(LookupErrorKind::NoData, name)),
                false => Ok(addrs),
            };
        }
    };
    Ok(vec![addr])
}

fn protocol(datagram: bool) -> Protocol {
    match datagram {
        true => Protocol::Udp,
        false => Protocol::Tcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
    fn what_a_resolver_promised_and_did_not_keep_is_made_good() {
        #[derive(Debug)]
        struct Liar(usize);
        impl Resolver for Liar {
            fn resolve(
                &self,
                _: &str,
                _: IpVersion,
                _: Option<Instant>,
            ) -> Result<Vec<SocketAddr>, LookupError> {
                let four = (0..self.0).map(|n| format!("10.0.{}.{}:9", n / 250, n % 250));
                let six = ["[::1]:9", "[::1]:8"].map(str::to_owned);
                Ok(four.chain(six).map(|text| text.parse().unwrap()).collect())
            }
        }
        let ask = |liar, at: &str, version| {
            let at = at.parse::<HostPort>().unwrap().with_version(version).unwrap();
            resolve_with(&liar, &at, false, None)
        };
        let many = ask(Liar(2_000), "a:80", IpVersion::Any).unwrap();
        assert_eq!(many.len(), crate::lookup::ADDRESSES_MAX);
        assert!(many.iter().all(|addr| addr.port() == 80));
        assert_eq!(ask(Liar(2), "a:80", IpVersion::V6).unwrap(), ["[::1]:80".parse().unwrap()]);
        let error = ask(Liar(0), "a:80", IpVersion::V4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
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
