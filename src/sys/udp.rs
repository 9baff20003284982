//! Options of UDP sockets that neither `socket2` nor `rustix` has.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
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
    const AT: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut counts = [0_u32; AT + 1];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: `counts` has room for `length` bytes, and both outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &mut length,
        )
    };
    match failed {
        0 if length as usize == size_of_val(&counts) => Ok(counts[AT]),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

fn set(socket: impl AsFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option is a `c_int`, of which the kernel reads as many bytes as it is told.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: impl AsFd, level: i32, name: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` has room for `length` bytes, and both outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    if failed == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// The number that most architectures have; elsewhere one that no kernel knows.
const SO_MEMINFO: libc::c_int = if cfg!(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "riscv64"
)) {
    55
} else {
    -1
};
