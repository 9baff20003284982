//! Network interfaces: what `<ifaddrs.h>` and `<net/if.h>` know of them.

use libc::{c_int, c_uint};
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// One of `struct ifaddrs`: an interface, and one address of it, if that is of IP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) is_up: bool,
    pub(crate) is_loopback: bool,
    pub(crate) is_multicast: bool,
}

/// Every interface that has a name of UTF-8, with every address: `getifaddrs(3)`.
pub(crate) fn all() -> io::Result<Vec<Entry>> {
    let mut list = ptr::null_mut();
    // SAFETY: `list` is a place to write to.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut entries = Vec::new();
    let mut at = list;
    // SAFETY: null, or an entry of the list, which lives until it is freed below.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: the name of an entry is a string.
        let Ok(name) = unsafe { CStr::from_ptr(entry.ifa_name) }.to_str() else { continue };
        let has = |flag: c_int| entry.ifa_flags & flag as c_uint != 0;
        entries.push(Entry {
            // IPv4 addresses may have labels, `eth0:1`: they are no interfaces.
            name: name.split(':').next().unwrap_or(name).to_owned(),
            // SAFETY: null, or an address of the size that its family says.
            address: unsafe { ip_address(entry.ifa_addr) },
            is_up: has(libc::IFF_UP),
            is_loopback: has(libc::IFF_LOOPBACK),
            is_multicast: has(libc::IFF_MULTICAST),
        });
    }
    // SAFETY: made by `getifaddrs`, not freed before, and all that is kept of it was copied.
    unsafe { libc::freeifaddrs(list) };
    Ok(entries)
}

/// # Safety
///
/// Null, or an address of the size that its family says.
unsafe fn ip_address(at: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: null, or at least the head of an address.
    let family = unsafe { at.as_ref() }?.sa_family;
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: of this size, by its family.
            let v4 = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, 0).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this size, by its family.
            let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, 0, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// What `if_nametoindex(3)` asks, by an `ioctl` of our own: without a descriptor to ask on, glibc's says
/// `ENOENT`.
#[cfg(target_os = "linux")]
pub(crate) fn index(name: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(any_socket()?, name)?)
}

/// What `if_indextoname(3)` asks, likewise.
#[cfg(target_os = "linux")]
pub(crate) fn name(index: u32) -> io::Result<String> {
    Ok(rustix::net::netdevice::index_to_name(any_socket()?, index)?)
}

#[cfg(target_os = "linux")]
fn any_socket() -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// `if_nametoindex(3)`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a string with its NUL.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// `if_indextoname(3)`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn name(index: u32) -> io::Result<String> {
    let mut name: [libc::c_char; libc::IF_NAMESIZE] = [0; libc::IF_NAMESIZE];
    // SAFETY: a place for a name of the largest size.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: libc has written a string there.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    name.to_str().map(str::to_owned).map_err(io::Error::other)
}

/// Whether an error of these two says that there is no such interface.
pub(crate) fn is_none(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}
