//! Control messages: what rides beside the bytes of a message (cmsg(3)).
//!
//! They are read and written as plain bytes: the kernel does not ask for alignment, so nothing here casts
//! a pointer. The one thing that is unsafe is that a number becomes a descriptor that somebody owns.

use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockAddr, Socket};

use super::address::ip_from_bytes;

/// What came beside a message.
#[derive(Debug)]
pub(crate) enum Control {
    /// Where an IP datagram was sent to, the address of ours to answer from (another one where it was sent
    /// to a group or to everybody), and the index of the interface that it came in by.
    Destination { to: IpAddr, answer_from: IpAddr, interface: u32 },
    /// The TOS byte of IPv4, or the traffic class of IPv6. Its lower two bits are ECN.
    TrafficClass(u8),
    /// The message is several datagrams of this length, of which the last may be shorter.
    SegmentBytes(usize),
    /// What became of a datagram that was sent, in the error queue: an error's number, more of it (what it is
    /// depends on the error), and the host that said so.
    Failed { errno: i32, detail: u32, by: Option<IpAddr> },
    /// Descriptors, close-on-exec.
    Descriptors(Vec<OwnedFd>),
    /// Who sent it, as the kernel knows: asked for so that empty messages have something beside them.
    Credentials,
    /// Something else.
    Other,
}

/// The control messages of one message. Descriptors that are not taken are closed.
#[derive(Debug)]
pub(crate) struct Controls<'a> {
    rest: &'a [u8],
    /// Whether numbers of descriptors in there are ours to own.
    owned: bool,
}

impl<'a> Controls<'a> {
    /// Of a socket over which no descriptors come: on any but Unix.
    pub(crate) fn of_ip(bytes: &'a [u8]) -> Controls<'a> {
        Controls { rest: bytes, owned: false }
    }
}

impl Iterator for Controls<'_> {
    type Item = Control;

    fn next(&mut self) -> Option<Control> {
        let length = usize::from_ne_bytes(field(self.rest, offset_of!(libc::cmsghdr, cmsg_len))?);
        let level = int(self.rest, offset_of!(libc::cmsghdr, cmsg_level))?;
        let kind = int(self.rest, offset_of!(libc::cmsghdr, cmsg_type))?;
        let data = self.rest.get(DATA..length)?;
        self.rest = self.rest.get(space(data.len())..).unwrap_or_default();
        if self.owned && (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            return Some(Control::Descriptors(data.chunks_exact(4).filter_map(own).collect()));
        }
        Some(read(level, kind, data).unwrap_or(Control::Other))
    }
}

impl Drop for Controls<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

fn read(level: i32, kind: i32, data: &[u8]) -> Option<Control> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => Some(Control::Destination {
            to: v4(data, offset_of!(libc::in_pktinfo, ipi_addr))?,
            answer_from: v4(data, offset_of!(libc::in_pktinfo, ipi_spec_dst))?,
            interface: int(data, offset_of!(libc::in_pktinfo, ipi_ifindex))? as u32,
        }),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let bytes: [u8; 16] = field(data, offset_of!(libc::in6_pktinfo, ipi6_addr))?;
            let to = IpAddr::V6(Ipv6Addr::from(bytes));
            let interface = int(data, offset_of!(libc::in6_pktinfo, ipi6_ifindex))? as u32;
            Some(Control::Destination { to, answer_from: to, interface })
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => Some(Control::TrafficClass(*data.first()?)),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            Some(Control::TrafficClass(u8::try_from(int(data, 0)?).ok()?))
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            let by = data.get(size_of::<libc::sock_extended_err>()..).and_then(ip_from_bytes);
            Some(Control::Failed {
                errno: int(data, offset_of!(libc::sock_extended_err, ee_errno))?,
                detail: int(data, offset_of!(libc::sock_extended_err, ee_info))? as u32,
                by: by.map(|by| by.ip()),
            })
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            Some(Control::SegmentBytes(usize::try_from(int(data, 0)?).ok()?))
        }
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => Some(Control::Credentials),
        _ => None,
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    field(bytes, at).map(i32::from_ne_bytes)
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    field::<4>(bytes, at).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A descriptor that the kernel has just made for us.
fn own(number: &[u8]) -> Option<OwnedFd> {
    let number = int(number, 0).filter(|number| *number >= 0)?;
    // SAFETY: the kernel has put it into this process's table with the message, where nothing else knows
    // it, and `Controls` of one message are read once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Room for `N` bytes of control messages that come in. What nobody takes is closed.
#[derive(Debug)]
pub(crate) struct Room<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

/// One message that came in.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// How long it is, even if the buffer was shorter.
    pub(crate) length: usize,
    pub(crate) from: SockAddr,
    /// Some of what came beside it had no room, and is gone.
    pub(crate) control_cut: bool,
}

impl<const N: usize> Room<N> {
    pub(crate) fn new() -> Room<N> {
        Room { bytes: [0; N], filled: 0 }
    }

    /// Receives one message and what is beside it: recvmsg(2). Whatever was here before is gone.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        into: &mut [u8],
        flags: i32,
    ) -> io::Result<Arrival> {
        drop(self.take());
        let mut buffer = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: these are plain numbers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        header.msg_control = self.bytes.as_mut_ptr().cast();
        header.msg_controllen = N as _;
        let flags = flags | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
        // SAFETY: the header says how much memory there is behind each of its pointers, all of it
        // outlives the call, and the kernel says how much of the address it has written.
        let (length, from) = unsafe {
            SockAddr::try_init(|storage, storage_length| {
                header.msg_name = storage.cast();
                header.msg_namelen = *storage_length;
                let length = libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags);
                *storage_length = header.msg_namelen;
                usize::try_from(length).map_err(|_| io::Error::last_os_error())
            })?
        };
        self.filled = header.msg_controllen as usize;
        let control_cut = header.msg_flags & libc::MSG_CTRUNC != 0;
        Ok(Arrival { length, from, control_cut })
    }

    /// Takes the oldest message out of the socket's error queue, without waiting: its address is where the
    /// datagram was sent to that failed.
    pub(crate) fn receive_error(&mut self, socket: &Socket) -> io::Result<Arrival> {
        self.receive(socket, &mut [], libc::MSG_ERRQUEUE)
    }

    /// What came beside the last message, once.
    pub(crate) fn take(&mut self) -> Controls<'_> {
        let filled = std::mem::take(&mut self.filled);
        Controls { rest: &self.bytes[..filled], owned: true }
    }
}

impl<const N: usize> Drop for Room<N> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Up to `N` bytes of control messages that go out.
#[derive(Debug)]
pub(crate) struct Attached<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Attached<N> {
    pub(crate) const fn new() -> Attached<N> {
        Attached { bytes: [0; N], used: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// The address that an IP datagram leaves from, and the interface that it leaves by; 0 for the
    /// kernel's choice.
    pub(crate) fn source(&mut self, from: IpAddr, interface: u32) -> io::Result<()> {
        match from {
            IpAddr::V4(from) => {
                let mut data = [0; size_of::<libc::in_pktinfo>()];
                put(&mut data, offset_of!(libc::in_pktinfo, ipi_ifindex), &interface.to_ne_bytes());
                put(&mut data, offset_of!(libc::in_pktinfo, ipi_spec_dst), &from.octets());
                self.add(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
            }
            IpAddr::V6(from) => {
                let mut data = [0; size_of::<libc::in6_pktinfo>()];
                put(&mut data, offset_of!(libc::in6_pktinfo, ipi6_addr), &from.octets());
                put(
                    &mut data,
                    offset_of!(libc::in6_pktinfo, ipi6_ifindex),
                    &interface.to_ne_bytes(),
                );
                self.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
            }
        }
    }

    /// The TOS byte of an IPv4 datagram, or the traffic class of an IPv6 one.
    pub(crate) fn traffic_class(&mut self, ipv6: bool, class: u8) -> io::Result<()> {
        let data = i32::from(class).to_ne_bytes();
        match ipv6 {
            true => self.add(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &data),
            false => self.add(libc::IPPROTO_IP, libc::IP_TOS, &data),
        }
    }

    /// The bytes are datagrams of this length, the last of which may be shorter.
    pub(crate) fn segment_bytes(&mut self, length: u16) -> io::Result<()> {
        self.add(libc::SOL_UDP, libc::UDP_SEGMENT, &length.to_ne_bytes())
    }

    /// Descriptors, which the kernel duplicates for the receiver.
    pub(crate) fn descriptors(&mut self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let numbers = descriptors.iter().map(|descriptor| descriptor.as_raw_fd().to_ne_bytes());
        let data: Vec<u8> = numbers.flatten().collect();
        self.add(libc::SOL_SOCKET, libc::SCM_RIGHTS, &data)
    }

    fn add(&mut self, level: i32, kind: i32, data: &[u8]) -> io::Result<()> {
        let end = self.used + space(data.len());
        let Some(place) = self.bytes.get_mut(self.used..end) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much beside a message"));
        };
        place.fill(0);
        let length = DATA + data.len();
        put(place, offset_of!(libc::cmsghdr, cmsg_len), &length.to_ne_bytes());
        put(place, offset_of!(libc::cmsghdr, cmsg_level), &level.to_ne_bytes());
        put(place, offset_of!(libc::cmsghdr, cmsg_type), &kind.to_ne_bytes());
        put(place, DATA, data);
        self.used = end;
        Ok(())
    }
}

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// What a control message with so many bytes of data takes.
pub(crate) const fn space(data: usize) -> usize {
    DATA + data.next_multiple_of(size_of::<usize>())
}

/// What `N` descriptors take.
pub(crate) const fn descriptors_space(count: usize) -> usize {
    space(count * size_of::<RawFd>())
}

/// Room for all that an IP datagram can have beside it: an IPv4 one on a dual-stack socket has both forms of
/// its destination.
pub(crate) const IP_SPACE: usize =
    space(size_of::<libc::in6_pktinfo>()) + space(size_of::<libc::in_pktinfo>()) + 3 * space(4);

/// Where the data begins: the header's size is a multiple of the alignment everywhere.
const DATA: usize = size_of::<libc::cmsghdr>().next_multiple_of(size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, MsgHdr, Type};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_come_owned_and_those_left_over_are_closed() {
        let (one, other) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let (lent, end) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let mut attached = Attached::<{ descriptors_space(3) }>::new();
        attached.descriptors(&[lent.as_fd(), lent.as_fd(), lent.as_fd()]).unwrap();
        attached.descriptors(&[lent.as_fd()]).expect_err("no room");
        let send = || {
            let bytes = [io::IoSlice::new(b"x")];
            one.sendmsg(&MsgHdr::new().with_buffers(&bytes).with_control(attached.as_bytes()), 0)
        };
        assert_eq!(send().unwrap() + send().unwrap(), 2);
        drop(lent);

        // Taken; with room for two of the three the last one is never made.
        let mut room = Room::<{ descriptors_space(2) }>::new();
        let arrival = room.receive(&other, &mut [0; 8], 0).unwrap();
        assert!(arrival.length == 1 && arrival.control_cut);
        let mut taken = room.take().collect::<Vec<_>>();
        assert_eq!(taken.len(), 1);
        let Some(Control::Descriptors(descriptors)) = taken.pop() else { panic!("{taken:?}") };
        assert_eq!(descriptors.len(), 2);
        for descriptor in &descriptors {
            let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        assert!(room.take().next().is_none(), "once");
        drop(descriptors);

        // Not taken: they are closed with the room, and the last end of `end` is gone.
        room.receive(&other, &mut [0; 8], 0).unwrap();
        end.set_nonblocking(true).unwrap();
        let mut byte = [MaybeUninit::uninit()];
        assert_eq!(end.recv(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(room);
        assert_eq!(end.recv(&mut byte).unwrap(), 0);
    }

    #[test]
    fn any_bytes_can_be_read() {
        let mut attached = Attached::<IP_SPACE>::new();
        attached.source("127.0.0.3".parse().unwrap(), 7).unwrap();
        attached.traffic_class(true, 3).unwrap();
        attached.segment_bytes(1200).unwrap();
        let bytes = attached.as_bytes();
        let whole: Vec<_> = Controls::of_ip(bytes).collect();
        let expected = ("127.0.0.3".parse::<IpAddr>().unwrap(), 7);
        assert!(matches!(whole[0], Control::Destination { answer_from, interface, .. }
            if (answer_from, interface) == expected));
        assert!(matches!(whole[1], Control::TrafficClass(3)));
        assert!(matches!(whole[2], Control::Other));
        // The kernel may leave the last one's padding out.
        for end in 0..bytes.len() - 6 {
            assert!(Controls::of_ip(&bytes[..end]).count() < 3);
        }
        for byte in 0..=u8::MAX {
            for at in 0..bytes.len() {
                let mut broken = bytes.to_vec();
                broken[at] = byte;
                assert!(Controls::of_ip(&broken).count() <= 3);
            }
        }
    }
}
