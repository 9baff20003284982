//! Addresses as the kernel writes them: [`AnyAddr`] to and from `sockaddr`.
//!
//! `sockaddr_un` is the awkward one. Its length says where the name ends, and only with it can a
//! path, an abstract name and no name be told apart: a path may or may not be followed by a NUL, an
//! abstract name begins with one and may hold more, an unnamed address ends before the name.

use std::ffi::OsStr;
use std::io;
use std::mem::{self, offset_of};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use socket2::SockAddr;

use crate::addr::{AnyAddr, UnixAddr};

/// The kernel's form of an address.
///
/// The unnamed Unix address comes out as the bare family: to `bind` that means "choose an abstract
/// name" (Linux's autobind), to `connect` and `sendto` it is invalid.
///
/// # Errors
///
/// `InvalidInput` for a path that fills `sun_path` and leaves no room for its NUL: only a peer can
/// have one ([`UnixAddr::from_sun_path`]), and only a program in C can connect to it.
pub(crate) fn to_sock_addr(address: &AnyAddr) -> io::Result<SockAddr> {
    let unix = match address {
        AnyAddr::Ip(ip) => return Ok(SockAddr::from(*ip)),
        AnyAddr::Unix(unix) => unix,
    };
    if let Some(name) = unix.as_abstract_name() {
        let bytes = [&[0], name].concat();
        SockAddr::unix(Path::new(OsStr::from_bytes(&bytes)))
    } else {
        SockAddr::unix(unix.as_path().unwrap_or(Path::new("")))
    }
}

/// The address that the kernel wrote.
///
/// No address at all (length 0) is what `recvfrom` answers for a datagram from an unbound Unix
/// socket, and nothing else: it is the unnamed Unix address.
///
/// # Errors
///
/// `InvalidData` if the family is none of ours, or if the address is shorter than its family's.
pub(crate) fn from_sock_addr(address: &SockAddr) -> io::Result<AnyAddr> {
    let bytes = bytes(address);
    if bytes.is_empty() {
        return Ok(AnyAddr::Unix(UnixAddr::unnamed()));
    }
    if bytes.len() < FAMILY_END {
        return Err(unknown(address));
    }
    if address.is_unix() {
        // `socket2` takes the last byte off for a NUL, without looking: an unterminated path would
        // lose its last letter.
        return UnixAddr::from_sun_path(&bytes[FAMILY_END..]).map(AnyAddr::Unix);
    }
    // `as_socket` looks at the family only; a shorter address would be read as if padded with zeros.
    let long_enough = if address.is_ipv4() { V4_LEN } else { V6_LEN };
    match address.as_socket() {
        Some(ip) if bytes.len() >= long_enough => Ok(AnyAddr::Ip(ip)),
        _ => Err(unknown(address)),
    }
}

/// Writes an IP address as the kernel wants it, and says how long it is.
pub(crate) fn ip_to_bytes(address: &SocketAddr, bytes: &mut IpBytes) -> usize {
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    match address {
        SocketAddr::V4(v4) => {
            let family = libc::AF_INET as libc::sa_family_t;
            put(offset_of!(libc::sockaddr_in, sin_family), &family.to_ne_bytes());
            put(offset_of!(libc::sockaddr_in, sin_port), &v4.port().to_be_bytes());
            put(offset_of!(libc::sockaddr_in, sin_addr), &v4.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let family = libc::AF_INET6 as libc::sa_family_t;
            put(offset_of!(libc::sockaddr_in6, sin6_family), &family.to_ne_bytes());
            put(offset_of!(libc::sockaddr_in6, sin6_port), &v6.port().to_be_bytes());
            put(offset_of!(libc::sockaddr_in6, sin6_flowinfo), &v6.flowinfo().to_ne_bytes());
            put(offset_of!(libc::sockaddr_in6, sin6_addr), &v6.ip().octets());
            put(offset_of!(libc::sockaddr_in6, sin6_scope_id), &v6.scope_id().to_ne_bytes());
            size_of::<libc::sockaddr_in6>()
        }
    }
}

/// The IP address that the kernel wrote; `None` if it is none.
pub(crate) fn ip_from_bytes(bytes: &[u8]) -> Option<SocketAddr> {
    fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
        bytes.get(at..at + N)?.try_into().ok()
    }
    let family = field(bytes, offset_of!(libc::sockaddr_in, sin_family))?;
    match i32::from(libc::sa_family_t::from_ne_bytes(family)) {
        libc::AF_INET => {
            let port = field(bytes, offset_of!(libc::sockaddr_in, sin_port))?;
            let ip: [u8; 4] = field(bytes, offset_of!(libc::sockaddr_in, sin_addr))?;
            Some(SocketAddr::from((ip, u16::from_be_bytes(port))))
        }
        libc::AF_INET6 => {
            let port = field(bytes, offset_of!(libc::sockaddr_in6, sin6_port))?;
            let flow = field(bytes, offset_of!(libc::sockaddr_in6, sin6_flowinfo))?;
            let ip: [u8; 16] = field(bytes, offset_of!(libc::sockaddr_in6, sin6_addr))?;
            let scope = field(bytes, offset_of!(libc::sockaddr_in6, sin6_scope_id))?;
            let (flow, scope) = (u32::from_ne_bytes(flow), u32::from_ne_bytes(scope));
            let port = u16::from_be_bytes(port);
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
        }
        _ => None,
    }
}

/// Room for an IP address with its port.
pub(crate) type IpBytes = [u8; size_of::<libc::sockaddr_in6>()];

/// The bytes of the address, as far as its length says they are valid.
fn bytes(address: &SockAddr) -> &[u8] {
    let len = (address.len() as usize).min(mem::size_of::<socket2::SockAddrStorage>());
    // SAFETY: `as_ptr` points to a `SockAddrStorage` inside `address`, plain bytes that `socket2`
    // zeroes before the kernel writes; `len` does not go beyond it and the borrow keeps it alive.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), len) }
}

fn unknown(address: &SockAddr) -> io::Error {
    let (family, len) = (address.family(), address.len());
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not an IPv4, IPv6 or Unix address: family {family}, {len} bytes"),
    )
}

/// Where `sun_path` begins: after the family (and the length byte, where there is one).
const FAMILY_END: usize = 2;
/// `sizeof(struct sockaddr_in)`, the same everywhere.
const V4_LEN: usize = 16;
/// `sizeof(struct sockaddr_in6)`; 28 on all but Solaris, which appends a field.
const V6_LEN: usize = 28;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    fn there_and_back(address: AnyAddr) {
        let raw = to_sock_addr(&address).unwrap();
        assert_eq!(from_sock_addr(&raw).unwrap(), address);
        let Some(ip) = address.as_ip().copied() else { return };
        // Both ways of writing are one.
        let mut bytes = IpBytes::default();
        let length = ip_to_bytes(&ip, &mut bytes);
        assert_eq!(&bytes[..length], super::bytes(&raw));
        assert_eq!(ip_from_bytes(&bytes), Some(ip));
        assert_eq!(ip_from_bytes(&bytes[..length]), Some(ip));
        assert!((0..length.min(8)).all(|end| ip_from_bytes(&bytes[..end]).is_none()));
    }

    /// An address of `family` with the bytes after it, as a kernel would have written it.
    fn raw(family: u16, rest: &[u8]) -> SockAddr {
        let mut storage = socket2::SockAddrStorage::zeroed();
        let len = FAMILY_END + rest.len();
        // SAFETY: the storage is plain bytes, 128 of them, and zeroed; `u8` has no alignment.
        let place: &mut [u8; 128] = unsafe { storage.view_as() };
        place[..FAMILY_END].copy_from_slice(&family.to_ne_bytes());
        place[FAMILY_END..len].copy_from_slice(rest);
        // SAFETY: `len` bytes were just written, and what reads them here checks the length.
        unsafe { SockAddr::new(storage, len as socket2::socklen_t) }
    }

    const AF_UNIX: u16 = 1;

    #[test]
    fn keeps_ports_scope_and_flow() {
        there_and_back(AnyAddr::Ip(SocketAddr::V4(SocketAddrV4::new(
            Ipv4Addr::new(1, 2, 3, 4),
            5,
        ))));
        let v6 = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 80, 7, 9);
        there_and_back(AnyAddr::Ip(SocketAddr::V6(v6)));
    }

    #[test]
    fn keeps_path_abstract_and_no_name_apart() {
        there_and_back(AnyAddr::Unix(UnixAddr::unnamed()));
        there_and_back(AnyAddr::Unix(UnixAddr::from_path("/tmp/x").unwrap()));
        let name = UnixAddr::from_abstract(b"a\0b\0").unwrap();
        there_and_back(AnyAddr::Unix(name));
    }

    #[test]
    fn a_path_without_room_for_its_nul_is_read_whole_and_not_cut_when_written() {
        let full = "p".repeat(UnixAddr::BYTES_MAX + 1);
        let address = from_sock_addr(&raw(AF_UNIX, full.as_bytes())).unwrap();
        let unix = address.as_unix().unwrap();
        assert_eq!(unix.as_path(), Some(Path::new(&full)));
        let error = to_sock_addr(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn reads_a_path_with_and_without_its_nul() {
        let want = AnyAddr::Unix(UnixAddr::from_path("/p").unwrap());
        for rest in [&b"/p"[..], b"/p\0", b"/p\0rubbish"] {
            assert_eq!(from_sock_addr(&raw(AF_UNIX, rest)).unwrap(), want);
        }
        let full = "q".repeat(UnixAddr::BYTES_MAX);
        there_and_back(AnyAddr::Unix(UnixAddr::from_path(&full).unwrap()));
        let want = AnyAddr::Unix(UnixAddr::from_path(&full).unwrap());
        let got = from_sock_addr(&raw(AF_UNIX, full.as_bytes())).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn the_kernel_tells_of_a_peer_whose_path_has_no_nul() {
        let dir = std::env::temp_dir();
        let start = format!("{}/sockeye-{}-", dir.display(), std::process::id());
        let full = format!("{start:p<108}");
        assert_eq!(full.len(), UnixAddr::BYTES_MAX + 1, "{}: too long", dir.display());
        let new = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let (listener, client) = (new().unwrap(), new().unwrap());
        listener.bind(&SockAddr::unix("").unwrap()).unwrap(); // the kernel chooses a name
        listener.listen(1).unwrap();
        client.bind(&raw(AF_UNIX, full.as_bytes())).unwrap();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        let (_server, from) = listener.accept().unwrap();
        std::fs::remove_file(&full).unwrap();
        let from = from_sock_addr(&from).unwrap();
        assert_eq!(from.as_unix().unwrap().as_path(), Some(Path::new(&full)));
    }

    #[test]
    fn no_address_is_the_unnamed_one() {
        // SAFETY: zeroed storage of which no byte is valid: nothing to match.
        let none = unsafe { SockAddr::new(socket2::SockAddrStorage::zeroed(), 0) };
        let want = AnyAddr::Unix(UnixAddr::unnamed());
        assert_eq!(from_sock_addr(&none).unwrap(), want);
    }

    #[test]
    fn refuses_a_foreign_family_and_a_cut_address() {
        let (netlink, inet) = (16, 2);
        for address in [raw(netlink, &[0; 10]), raw(inet, &[0; 4])] {
            let error = from_sock_addr(&address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{address:?}");
        }
    }
}
