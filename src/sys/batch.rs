//! Many datagrams with one system call, and what Linux has for UDP beside that: the address that a
//! datagram was sent to (ip(7), ipv6(7)), and many datagrams as one buffer (`UDP_GRO`, `UDP_SEGMENT`,
//! udp(7)).

mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

pub(crate) use inbox::{Inbox, Received};
pub(crate) use outbox::{Lent, Outbox};

use super::address::to_sock_addr;
use super::control::{Attached, IP_SPACE};
use super::option;
use crate::addr::AnyAddr;
use socket2::{MsgHdr, SockRef};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

/// Where an answer leaves from: the address that was asked, and the interface where that is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) ip: IpAddr,
    /// 0 for the kernel's choice.
    pub(crate) interface: u32,
}

impl Source {
    /// For a datagram that came in by this interface, and is to be answered from this address.
    fn of(answer_from: IpAddr, interface: u32) -> Option<Source> {
        match answer_from.to_canonical() {
            // Nobody is a group, and the kernel has not said who we are.
            IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => None,
            IpAddr::V6(ip) if ip.is_multicast() => {
                // The kernel takes the address that this interface has for the receiver.
                Some(Source { ip: Ipv6Addr::UNSPECIFIED.into(), interface })
            }
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                Some(Source { ip: ip.into(), interface })
            }
            ip => Some(Source { ip, interface: 0 }),
        }
    }
}

/// What a server's UDP socket can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// Its own address.
    pub(crate) local: Option<SocketAddr>,
    /// It says where each datagram was sent to.
    pub(crate) destination: bool,
    /// It receives many datagrams as one buffer.
    pub(crate) joined: bool,
    /// It sends one buffer as many datagrams.
    pub(crate) segments: bool,
}

impl Abilities {
    /// Asks the kernel, and has it do what it can. A socket that is bound to one address answers from
    /// there anyway.
    pub(crate) fn enable(socket: BorrowedFd<'_>) -> Abilities {
        let local = SockRef::from(&socket).local_addr().ok().and_then(|local| local.as_socket());
        let destination = match local {
            Some(SocketAddr::V4(local)) if local.ip().is_unspecified() => {
                set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
            }
            Some(SocketAddr::V6(local)) if local.ip().is_unspecified() => {
                // On a dual-stack socket: for IPv4, where the other one does not know which address of
                // ours a group stands for.
                let _ = set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
                set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
            }
            _ => false,
        };
        let joined = set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        let segments = set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0);
        Abilities { local, destination, joined, segments }
    }

    /// Has the socket give one datagram at a time again, for whoever else has it.
    pub(crate) fn disable(self, socket: BorrowedFd<'_>) {
        if self.joined {
            set(socket, libc::SOL_UDP, libc::UDP_GRO, 0);
        }
    }
}

/// False if the kernel does not have that.
fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: libc::c_int) -> bool {
    option::set(socket, level, name, value).is_ok()
}

/// sendmsg(2) of one datagram that leaves from `source`, without waiting.
pub(crate) fn send_from_now(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: &AnyAddr,
    source: Source,
) -> io::Result<usize> {
    let mut attached = Attached::<IP_SPACE>::new();
    attached.source(source.ip, source.interface)?;
    let (to, bytes) = (to_sock_addr(to)?, [IoSlice::new(bytes)]);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&bytes);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    SockRef::from(&socket).sendmsg(&message.with_control(attached.as_bytes()), flags)
}

const PAGE: usize = 4096;
const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
const V4_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
