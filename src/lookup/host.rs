//! Hosts: names to addresses, addresses to names, and what this machine is called.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::error::{LookupError, LookupErrorKind, check_name};
use super::interface::interface_index;
use super::resolver::Resolver;
use super::system::SystemResolver;
use crate::addr::IpVersion;
use crate::sys::netdb::{self, HostEntry, Unanswered};

/// A host: its names and its addresses.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostInfo {
    /// Its canonical name, always a well-formed one; or the literal that was asked for.
    pub name: String,
    /// Its other names, as hosts files and DNS aliases have them. What came back and is no well-formed
    /// host name is left out: it may be of an attacker's making.
    pub aliases: Vec<String>,
    /// Its addresses in order of preference, IPv6 with scope ids; the ports are zero.
    pub addresses: Vec<SocketAddr>,
}

/// What this machine is called: `gethostname(2)`. Asks the kernel alone, never a name server, and does
/// not block.
///
/// # Errors
///
/// The name is not UTF-8.
///
/// ```
/// let name = sockeye::lookup::hostname()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "gethostname")]
pub fn hostname() -> io::Result<String> {
    dns_lookup::get_hostname()
}

/// What this machine is called, with its domain, if somebody knows it.
///
/// The [`hostname`], if there is a dot in it; else the first of the names of that [`host`] that has
/// one; else the host name as it is. **Blocks**, as [`host`] does: a name server that does not answer
/// makes it slow, not fail. [`hostname`] alone never asks.
///
/// # Errors
///
/// Those of [`hostname`].
#[doc(alias = "getfqdn")]
pub fn fqdn() -> io::Result<String> {
    let own = hostname()?;
    if own.contains('.') {
        return Ok(own);
    }
    let known = host(&own).ok();
    let mut names =
        known.into_iter().flat_map(|host| std::iter::once(host.name).chain(host.aliases));
    Ok(names.find(|name| name.contains('.')).unwrap_or(own))
}

/// Everything about a host: canonical name, aliases and addresses of both IP versions.
///
/// Addresses come from `getaddrinfo(3)`, names from `gethostbyname2_r(3)`, for IPv4 and then for IPv6;
/// elsewhere than on Linux there are no aliases, and the name is the one that was asked for. A literal,
/// IPv6 without brackets, is a host of that name and address, and nobody is asked. **Blocks** as long
/// as the resolver likes; who needs no names is faster with [`addresses`].
///
/// ```
/// use sockeye::lookup;
/// let host = lookup::host("localhost")?;
/// assert!(host.addresses.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`BadName`](LookupErrorKind::BadName) for what is no well-formed host name, `127.1` among it;
/// [`NotFound`](LookupErrorKind::NotFound), [`NoData`](LookupErrorKind::NoData),
/// [`TryAgain`](LookupErrorKind::TryAgain), [`Failed`](LookupErrorKind::Failed) as the resolver says;
/// [`Other`](LookupErrorKind::Other).
#[doc(alias = "gethostbyname_ex")]
#[doc(alias = "gethostbyname")]
pub fn host(name: &str) -> Result<HostInfo, LookupError> {
    let addresses = addresses(name)?;
    let mut names = Vec::new();
    // A literal has no name but itself. Versions without an address would cost a query in vain.
    if check_name(name).is_ok() {
        for v6 in [false, true] {
            if addresses.iter().any(|address| address.is_ipv6() == v6) {
                // The addresses are there: the host is known, whatever becomes of its names.
                names.extend(netdb::host_by_name(name, v6).map(well_formed).unwrap_or_default());
            }
        }
    }
    let (name, aliases) = split(names).unwrap_or_else(|| (name.to_owned(), Vec::new()));
    Ok(HostInfo { name, aliases, addresses })
}

/// The addresses of a host, at least one and at most [`ADDRESSES_MAX`](super::ADDRESSES_MAX), in order
/// of preference, without repetition; IPv6 with scope ids. The ports are zero.
///
/// `getaddrinfo(3)`. **Blocks** as long as the resolver likes, but for literals: those of IPv6 stand
/// without brackets, and may have a zone, as in `fe80::1%eth0`. For a deadline ask a
/// [`SystemResolver`].
///
/// ```
/// use sockeye::lookup;
/// assert_eq!(lookup::addresses("::1")?, ["[::1]:0".parse().unwrap()]);
/// # Ok::<(), lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// As [`host`].
#[doc(alias = "getaddrinfo")]
#[doc(alias = "gethostbyname")]
pub fn addresses(name: &str) -> Result<Vec<SocketAddr>, LookupError> {
    match literal(name)? {
        Some(address) => Ok(vec![address]),
        None => SystemResolver::shared().resolve(name, IpVersion::Any, None),
    }
}

/// The host that has this address, by reverse lookup.
///
/// `gethostbyaddr_r(3)`; elsewhere than on Linux `getnameinfo(3)`, without aliases. An IPv4 address that
/// is written as IPv6 is looked up as what it is. **Blocks** as long as the resolver likes.
///
/// The names are what the owner of the address claims: look them up and compare before you trust them.
///
/// ```no_run
/// use sockeye::lookup;
/// let host = lookup::address("127.0.0.1".parse()?)?;
/// assert_eq!(host.name, "localhost");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](LookupErrorKind::NotFound) if nobody has a name for it;
/// [`TryAgain`](LookupErrorKind::TryAgain); [`Failed`](LookupErrorKind::Failed), also if what came back
/// is no host name; [`Other`](LookupErrorKind::Other).
#[doc(alias = "gethostbyaddr")]
#[doc(alias = "getnameinfo")]
pub fn address(ip: IpAddr) -> Result<HostInfo, LookupError> {
    let ip = ip.to_canonical();
    let text = ip.to_string();
    let nameless = || {
        let words = "no name is known for this address";
        LookupError::with_words(LookupErrorKind::NotFound, &text, words)
    };
    let names = match netdb::host_by_address(ip) {
        // musl's way to say that there is none.
        Ok(entry) if entry.name == text.as_bytes() => return Err(nameless()),
        Ok(entry) => well_formed(entry),
        Err(Unanswered::Absent) => {
            let name = dns_lookup::lookup_addr(&ip);
            let name = name.map_err(|error| LookupError::of_gai(&text, error))?;
            well_formed(HostEntry { name: name.into_bytes(), aliases: Vec::new() })
        }
        // An address has no data of another family: it has no name.
        Err(Unanswered::NotFound | Unanswered::NoData) => return Err(nameless()),
        Err(Unanswered::TryAgain) => {
            return Err(LookupError::new(LookupErrorKind::TryAgain, &text));
        }
        Err(Unanswered::NoRecovery) => {
            return Err(LookupError::new(LookupErrorKind::Failed, &text));
        }
        Err(Unanswered::System(error)) => {
            return Err(LookupError::with_source(LookupErrorKind::Other, &text, error));
        }
    };
    match split(names) {
        Some((name, aliases)) => {
            Ok(HostInfo { name, aliases, addresses: vec![SocketAddr::new(ip, 0)] })
        }
        None => {
            let words = "what came back is no host name";
            Err(LookupError::with_words(LookupErrorKind::Failed, &text, words))
        }
    }
}

/// The address that stands there, if it is a literal.
fn literal(text: &str) -> Result<Option<SocketAddr>, LookupError> {
    if text.starts_with('[') {
        let words = "brackets belong to endpoints: here IPv6 addresses stand without";
        return Err(LookupError::with_words(LookupErrorKind::BadName, text, words));
    }
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    match (ip.parse(), zone) {
        (Ok(ip), None) => Ok(Some(SocketAddr::new(ip, 0))),
        (Ok(IpAddr::V6(ip)), Some(zone)) => {
            // As in endpoints, which also know what a zone may look like.
            let zoned: Result<crate::addr::HostPort, _> = format!("[{ip}%{zone}]:0").parse();
            let zoned = zoned.map_err(|error| LookupError::bad_name(text, error))?;
            match zoned.to_socket_addr() {
                Some(address) => Ok(Some(address)),
                None => {
                    let scope_id = interface_index(zone)?;
                    Ok(Some(SocketAddrV6::new(ip, 0, 0, scope_id).into()))
                }
            }
        }
        _ => Ok(None),
    }
}

/// The names of an entry that are host names: letters, digits, hyphens, underscores and dots, no
/// numbers. A hosts file may hold anything, and reverse records are written by strangers.
fn well_formed(entry: HostEntry) -> Vec<String> {
    std::iter::once(entry.name)
        .chain(entry.aliases)
        .filter_map(|name| String::from_utf8(name).ok())
        .filter(|name| check_name(name).is_ok())
        .collect()
}

/// The first is the name, the others are aliases; none stands there twice.
fn split(names: Vec<String>) -> Option<(String, Vec<String>)> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    let mut kept = kept.into_iter();
    let name = kept.next()?;
    Some((name, kept.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_hosts_of_their_own_name() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%7"] {
            let host = host(text).unwrap();
            assert_eq!((host.name.as_str(), host.aliases.len()), (text, 0));
            assert_eq!(host.addresses.len(), 1);
        }
        let scoped = addresses("fe80::1%7").unwrap();
        assert_eq!(scoped, ["[fe80::1%7]:0".parse().unwrap()]);
        for bad in ["fe80::1%", "fe80::1%0", "fe80::1%a/b", "1.2.3.4%7", "[::1]", "::1:", "1.2.3"] {
            let error = host(bad).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad}");
        }
        assert!(host("[::1]").unwrap_err().to_string().contains("without"));
        #[cfg(target_os = "linux")]
        assert_eq!(addresses("fe80::1%lo").unwrap(), ["[fe80::1%1]:0".parse().unwrap()]);
        assert_eq!(addresses("fe80::1%nosuch0").unwrap_err().kind(), LookupErrorKind::NotFound);
    }

    #[test]
    fn only_host_names_are_believed() {
        let bytes = |text: &[u8]| text.to_vec();
        let entry = HostEntry {
            name: bytes(b"a\x1b[31mb"),
            aliases: [&b"\"q\""[..], b"a\nb", b"\xff", b"127.0.0.1", b"ok.example", b"ok.example"]
                .map(bytes)
                .to_vec(),
        };
        let names = split(well_formed(entry)).unwrap();
        assert_eq!(names, ("ok.example".to_owned(), Vec::new()));
        assert_eq!(split(Vec::new()), None);
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(!hostname().unwrap().is_empty());
    }
}
