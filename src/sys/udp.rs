//! Options of UDP sockets that neither `socket2` nor `rustix` has.

use super::option::{self, get, set};
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// Has the kernel note beside each datagram, from now on, where it was sent to and its traffic class. A
/// dual-stack socket has it for both families.
///
/// For IPv4 the kernel finds the address to answer from when a datagram is queued, not when it is
/// received: so this comes before the bind, or the first datagrams lack it.
pub(crate) fn note_arrivals(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    // On an IPv6 socket for the IPv4 peers that it may have.
    set(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    set(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
}

/// Whether datagrams are given to a socket that did not join their group, because another did.
pub(crate) fn set_hears_all_groups(socket: impl AsFd, ipv6: bool, all: bool) -> io::Result<()> {
    if ipv6 {
        // From Linux 4.20. Before, there is no way to keep them away.
        let _ = set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, all.into());
    }
    set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, all.into())
}

/// Has what ICMP says of datagrams that were sent kept in the socket's error queue.
pub(crate) fn set_error_queue(socket: impl AsFd, ipv6: bool, on: bool) -> io::Result<()> {
    if ipv6 {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, on.into())?;
    }
    set(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, on.into())
}

/// Whether [`set_error_queue`] is on.
pub(crate) fn error_queue(socket: impl AsFd) -> io::Result<bool> {
    // An IPv6 socket has both on or both off.
    get(socket, libc::IPPROTO_IP, libc::IP_RECVERR).map(|on| on != 0)
}

/// Lets the kernel glue datagrams of one sender together, if it can; whether it will.
pub(crate) fn set_gro(socket: impl AsFd, on: bool) -> io::Result<bool> {
    match set(socket, libc::SOL_UDP, libc::UDP_GRO, on.into()) {
        Ok(()) => Ok(on),
        // From Linux 5.0.
        Err(error) if is_unknown(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether [`set_gro`] is on.
pub(crate) fn gro(socket: impl AsFd) -> io::Result<bool> {
    match get(socket, libc::SOL_UDP, libc::UDP_GRO) {
        Ok(on) => Ok(on != 0),
        Err(error) if is_unknown(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the kernel cuts one large datagram into many. One that does not know the control message would
/// send the large one as it is.
pub(crate) fn has_gso(socket: impl AsFd) -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| get(socket, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()) // from Linux 4.18
}

/// How many datagrams the kernel has dropped for want of room in the socket's buffer: `SO_MEMINFO`, which
/// costs no datagram anything, where `SO_RXQ_OVFL` adds to each.
pub(crate) fn dropped(socket: impl AsFd) -> io::Result<u32> {
    const AT: usize = 4 * libc::SK_MEMINFO_DROPS as usize;
    let mut counts = [0; AT + 4];
    let length = option::read(socket, libc::SOL_SOCKET, option::number(SO_MEMINFO), &mut counts)?;
    match counts[..length].last_chunk() {
        Some(count) if length == counts.len() => Ok(u32::from_ne_bytes(*count)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

const SO_MEMINFO: libc::c_int = 55;
