//! Network interfaces: their names, indices and addresses.
//!
//! For choosing where multicast goes, and for the zones of link-local addresses. Asks the kernel alone.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use super::error::{LookupError, LookupErrorKind};
use crate::addr::{Host, HostPort, Port, Zone};
use crate::sys::netdb::interface;

/// A network interface of this machine.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface {
    /// Its name: `lo`, `eth0`.
    pub name: String,
    /// Its index, from 1 on: the scope id of its link-local addresses.
    pub index: u32,
    /// Its IP addresses, IPv6 with scope ids where they are link-local; the ports are zero.
    pub addresses: Vec<SocketAddr>,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether what is sent there comes back to this machine.
    pub is_loopback: bool,
    /// Whether it carries multicast.
    pub is_multicast: bool,
}

/// The interfaces of this machine, those without an address too, in the order of the kernel:
/// `getifaddrs(3)`. Does not block. An interface whose name is not UTF-8 is left out.
///
/// ```
/// use sockeye::lookup;
/// for interface in lookup::interfaces()? {
///     println!("{}  {}  {:?}", interface.index, interface.name, interface.addresses);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of the call: no memory, no descriptor left.
#[doc(alias = "getifaddrs")]
#[doc(alias = "if_nameindex")]
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in interface::all()? {
        let known = interfaces.iter().position(|known| known.name == entry.name);
        let at = known.unwrap_or(interfaces.len());
        if known.is_none() {
            let index = match interface::index(&entry.name) {
                Ok(index) => index,
                // It has gone since.
                Err(error) if interface::is_none(&error) => continue,
                Err(error) => return Err(error),
            };
            interfaces.push(Interface {
                name: entry.name,
                index,
                addresses: Vec::new(),
                is_up: entry.is_up,
                is_loopback: entry.is_loopback,
                is_multicast: entry.is_multicast,
            });
        }
        interfaces[at].addresses.extend(entry.address);
    }
    Ok(interfaces)
}

/// The index of the interface with this name: `if_nametoindex(3)`. Does not block.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// assert_eq!(sockeye::lookup::interface_index("lo")?, 1);
/// # Ok::<(), sockeye::lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](LookupErrorKind::NotFound) if there is none here; [`BadName`](LookupErrorKind::BadName)
/// for what is no name of an interface; [`Other`](LookupErrorKind::Other) if the system could not tell.
#[doc(alias = "if_nametoindex")]
pub fn interface_index(name: &str) -> Result<u32, LookupError> {
    // Some libcs cut what is too long, and would find another interface.
    HostPort::new(
        Host::V6(Ipv6Addr::LOCALHOST, Some(Zone::Name(name.to_owned()))),
        Port::Number(0),
    )
    .map_err(|error| LookupError::bad_name(name, error))?;
    interface::index(name)
        .map_err(|error| unknown(name, error, format!("no interface here is called `{name}`")))
}

/// The name of the interface with this index: `if_indextoname(3)`. Does not block.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// assert_eq!(sockeye::lookup::interface_name(1)?, "lo");
/// # Ok::<(), sockeye::lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](LookupErrorKind::NotFound) if there is none here; [`Other`](LookupErrorKind::Other) if
/// the system could not tell, or the name is not UTF-8.
#[doc(alias = "if_indextoname")]
pub fn interface_name(index: u32) -> Result<String, LookupError> {
    let text = index.to_string();
    interface::name(index)
        .map_err(|error| unknown(&text, error, format!("no interface here has the index {index}")))
}

/// Only "no such device" says that there is none.
fn unknown(asked: &str, error: io::Error, words: String) -> LookupError {
    match interface::is_none(&error) {
        true => LookupError::with_words(LookupErrorKind::NotFound, asked, words),
        false => LookupError::with_source(LookupErrorKind::Other, asked, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_by_name_index_and_address() {
        let all = interfaces().unwrap();
        let lo = all.iter().find(|interface| interface.is_loopback).unwrap();
        assert_eq!(interface_index(&lo.name).unwrap(), lo.index);
        assert_eq!(interface_name(lo.index).unwrap(), lo.name);
        for interface in &all {
            let same = all.iter().filter(|other| other.index == interface.index);
            assert_eq!(same.count(), 1, "{all:?}");
        }
    }

    #[test]
    fn what_is_no_interface_is_told_apart_from_what_is_no_name() {
        for bad in ["", "a/b", "lo\0", "lo0123456789abcdef", "1", ".."] {
            let error = interface_index(bad).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad:?}");
        }
        let error = interface_index("nosuch0").unwrap_err();
        assert_eq!(error.to_string(), "look up nosuch0: no interface here is called `nosuch0`");
        for none in [0, u32::MAX] {
            let error = interface_name(none).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::NotFound, "{none}: {error}");
        }
    }
}
