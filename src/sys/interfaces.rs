//! The network interfaces of this host, and which of them is meant.

use crate::addr::Interface;
use rustix::net::sockopt;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::ptr;

/// An interface, with all that `getifaddrs(3)` says of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) addresses: Vec<IpAddr>,
    flags: u32,
}

impl Entry {
    pub(crate) fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    pub(crate) fn is_running(&self) -> bool {
        self.flags & libc::IFF_RUNNING as u32 != 0
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    pub(crate) fn is_multicast(&self) -> bool {
        self.flags & libc::IFF_MULTICAST as u32 != 0
    }
}

/// All interfaces, with and without addresses: `getifaddrs(3)`, `if_nametoindex(3)`.
pub(crate) fn interfaces() -> io::Result<Vec<Entry>> {
    let mut first = ptr::null_mut();
    // SAFETY: `first` is a place to write to.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(first);
    let (mut found, mut at) = (Vec::<Entry>::new(), list.0);
    // SAFETY: null, or an entry of the list, which lives as long as `list`.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: the name of an entry is a string with its NUL, and lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        // SAFETY: the address of an entry is null, or of the size that its family has.
        let address = unsafe { ip(entry.ifa_addr) };
        let text = name.to_string_lossy();
        if let Some(known) = found.iter_mut().find(|known| known.name == text) {
            known.addresses.extend(address);
            continue;
        }
        // SAFETY: a string with its NUL.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        // Zero if it went away meanwhile, or if the name is an alias of old (`eth0:1`).
        if index != 0 {
            let (name, addresses) = (text.into_owned(), address.into_iter().collect());
            found.push(Entry { name, index, addresses, flags: entry.ifa_flags });
        }
    }
    Ok(found)
}

/// The index of an interface, 0 for the system's choice.
pub(crate) fn index_of(interface: &Interface) -> io::Result<u32> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let matches = |entry: &Entry| match interface {
        Interface::Name(name) => entry.name == *name,
        Interface::Address(address) => entry.addresses.contains(address),
        Interface::Index(index) => entry.index == *index,
        Interface::Default => false,
    };
    match interface {
        Interface::Default => return Ok(0),
        Interface::Index(0) => {
            return invalid("no interface has index 0; say `Interface::Default`".to_owned());
        }
        Interface::Address(address) if address.is_unspecified() => {
            return invalid(format!("no interface has {address}; say `Interface::Default`"));
        }
        _ => {}
    }
    let mut found = interfaces()?;
    found.retain(matches);
    match &found[..] {
        [one] => Ok(one.index),
        [] => {
            let text = match interface {
                Interface::Index(index) => format!("no interface has index {index}"),
                Interface::Address(address) => format!("no interface has the address {address}"),
                _ => format!("no interface is called `{interface}`"),
            };
            Err(io::Error::new(io::ErrorKind::NotFound, text))
        }
        [one, other, ..] => {
            invalid(format!("{interface} is of more than one: {}, {}", one.name, other.name))
        }
    }
}

/// `IP_MULTICAST_IF` by index, 0 for the system's choice: `socket2` has it by address alone, and two
/// interfaces may have the same one, or none.
pub(crate) fn set_multicast_interface_v4(socket: impl AsFd, index: u32) -> io::Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    Ok(sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &any, index)?)
}

/// What `getifaddrs(3)` allocated.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list is of `getifaddrs`, and nothing borrows from it any more.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// # Safety
///
/// Null, or a socket address of the size that its family has.
unsafe fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by this function's contract null or an address, which has a family.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: by this function's contract as large as the family says.
            let v4 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}
