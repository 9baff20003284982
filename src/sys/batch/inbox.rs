//! Datagrams that come together.

use super::super::address::from_sock_addr;
use super::super::control::{Control, Controls, IP_SPACE};
use super::{Lent, NAME_BYTES, PAGE, Source, V4_BYTES};
use crate::addr::AnyAddr;
use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for a number of datagrams, used again for every [`receive`](Inbox::receive). Memory that no
/// datagram ever reached is not resident.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    base: usize,
    slot_bytes: usize,
    names: Box<[libc::sockaddr_storage]>,
    headers: Box<[libc::mmsghdr]>,
    // Only the headers point to them.
    _vectors: Box<[libc::iovec]>,
    /// What came beside each; none where nothing is asked for.
    controls: Box<[[u8; IP_SPACE]]>,
    received: usize,
    /// How many calls in a row have found one and no more.
    alone: u32,
}

/// What came in one slot.
pub(crate) struct Received<'a> {
    /// As much of it as had room.
    pub(crate) bytes: &'a [u8],
    /// How long it was.
    pub(crate) length: usize,
    pub(crate) from: io::Result<AnyAddr>,
    /// Where to answer from, if the socket says so.
    pub(crate) source: Option<Source>,
    /// It is several datagrams of this length, the last of which may be shorter; 0 if it is one.
    segment: usize,
    /// Nothing else came with it.
    pub(crate) alone: bool,
    inbox: &'a [u8],
}

impl<'a> Received<'a> {
    /// Whether the kernel has not cut it.
    pub(crate) fn is_whole(&self) -> bool {
        self.length == self.bytes.len()
    }

    /// What may be sent back from where it is.
    pub(crate) fn lent(&self) -> Lent<'a> {
        if self.segment == 0 || self.segment >= self.bytes.len() {
            return Lent::new(self.inbox, 0..0);
        }
        let start = self.bytes.as_ptr() as usize - self.inbox.as_ptr() as usize;
        Lent::new(self.inbox, start..start + self.bytes.len())
    }

    /// The datagrams that it is.
    pub(crate) fn messages(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (bytes, step) = (self.bytes, self.segment);
        // An empty one is one too.
        let (step, count) = match step == 0 || bytes.len() <= step {
            true => (bytes.len(), 1),
            false => (step, bytes.len().div_ceil(step)),
        };
        (0..count).map(move |index| &bytes[index * step..bytes.len().min((index + 1) * step)])
    }
}

// SAFETY: the pointers in `headers` and `_vectors` point into memory that the other fields own and that
// stays where it is when they move. Nothing else has them.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Room for `slots` datagrams of `slot_bytes` each, which is a multiple of a page, and for what
    /// comes beside them, if anything does.
    pub(crate) fn new(slots: usize, slot_bytes: usize, with_controls: bool) -> Inbox {
        let mut bytes = vec![0; slots * slot_bytes + PAGE];
        let base = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        // SAFETY: these are plain numbers and pointers, for which zero is a value.
        let (name, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut names: Box<[libc::sockaddr_storage]> = vec![name; slots].into();
        let mut headers: Box<[libc::mmsghdr]> = vec![header; slots].into();
        let mut vectors: Box<[libc::iovec]> = (bytes[base..].chunks_exact_mut(slot_bytes))
            .take(slots)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot_bytes })
            .collect();
        for ((header, name), vector) in headers.iter_mut().zip(&mut names).zip(&mut vectors) {
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_BYTES;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let mut controls: Box<[[u8; IP_SPACE]]> =
            vec![[0; IP_SPACE]; if with_controls { slots } else { 0 }].into();
        for (header, control) in headers.iter_mut().zip(&mut controls) {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = IP_SPACE as _;
        }
        let (received, alone) = (0, 0);
        Inbox {
            bytes,
            base,
            slot_bytes,
            names,
            headers,
            _vectors: vectors,
            controls,
            received,
            alone,
        }
    }

    /// For what was lent while its datagrams were handed in.
    pub(crate) fn lent(&self) -> Lent<'_> {
        Lent::new(&self.bytes, 0..0)
    }

    /// How many datagrams there is room for.
    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Receives what is there, as far as there is room, without waiting: recvmmsg(2). Where one at a time
    /// comes it takes one at a time, with recvmsg(2), and looks for more now and then: to look costs as
    /// much as a third of a datagram. What was received before is gone.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing; an error that an earlier datagram has met on its way, once.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let control_bytes = if self.controls.is_empty() { 0 } else { IP_SPACE };
        for header in &mut self.headers[..self.received] {
            // The kernel has written how long the last name was, and what was beside it.
            header.msg_hdr.msg_namelen = NAME_BYTES;
            header.msg_hdr.msg_controllen = control_bytes as _;
        }
        self.received = 0;
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let headers = match self.alone % LOOK_EVERY {
            0 => &mut self.headers[..],
            _ => &mut self.headers[..1],
        };
        // SAFETY: the headers point to as much memory of ours as they say, and no reference to it is
        // alive, since every one that was given out borrows `self`.
        self.received = unsafe { receive_slots(socket, headers, flags) }?;
        self.alone = if self.received == 1 { self.alone.wrapping_add(1) } else { 0 };
        Ok(self.received)
    }

    /// One of those that the last call received.
    pub(crate) fn get(&self, index: usize) -> Received<'_> {
        debug_assert!(index < self.received);
        let header = &self.headers[index];
        let length = header.msg_len as usize;
        let start = self.base + index * self.slot_bytes;
        let bytes = &self.bytes[start..start + length.min(self.slot_bytes)];
        let from = self.name(index, header.msg_hdr.msg_namelen);
        let (source, segment) = match header.msg_hdr.msg_controllen {
            0 => (None, 0),
            filled => self.beside(index, filled as _),
        };
        let alone = self.received == 1 && segment == 0;
        Received { bytes, length, from, source, segment, alone, inbox: &self.bytes }
    }

    /// Where to answer from, and the length of the datagrams that this one is.
    #[inline(never)]
    fn beside(&self, index: usize, filled: usize) -> (Option<Source>, usize) {
        let (mut source, mut segment) = (None::<Source>, 0);
        let Some(control) = self.controls.get(index) else { return (None, 0) };
        for control in Controls::of_ip(&control[..filled.min(IP_SPACE)]) {
            match control {
                // A dual-stack socket says it twice, and knows more as an IPv4 one.
                Control::Destination { answer_from, interface, .. } if source.is_none() => {
                    source = Source::of(answer_from, interface);
                }
                Control::Destination { answer_from, interface, .. } if answer_from.is_ipv4() => {
                    source = Source::of(answer_from, interface);
                }
                Control::SegmentBytes(bytes) => segment = bytes,
                _ => {}
            }
        }
        (source, segment)
    }

    fn name(&self, index: usize, length: libc::socklen_t) -> io::Result<AnyAddr> {
        let name = &self.names[index];
        if name.ss_family == libc::AF_INET as libc::sa_family_t && length >= V4_BYTES {
            // SAFETY: the kernel has written a `sockaddr_in` here, for which a `sockaddr_storage` is
            // large enough and aligned.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            let from = SocketAddrV4::new(ip, u16::from_be(v4.sin_port));
            return Ok(AnyAddr::Ip(SocketAddr::V4(from)));
        }
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: both are the kernel's `sockaddr_storage`.
        unsafe { *storage.view_as::<libc::sockaddr_storage>() = *name };
        // SAFETY: the kernel wrote the name and says how long it is.
        from_sock_addr(&unsafe { SockAddr::new(storage, length) })
    }
}

/// Fills as many of these as there are datagrams, and says how many those are.
///
/// # Safety
///
/// The headers point to as much memory as they say, to which nobody else has a reference.
unsafe fn receive_slots(
    socket: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    flags: libc::c_int,
) -> io::Result<usize> {
    let socket = socket.as_raw_fd();
    if let [only] = headers {
        // SAFETY: as the caller has promised.
        let bytes = unsafe { libc::recvmsg(socket, &mut only.msg_hdr, flags) };
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
        // No datagram is longer.
        only.msg_len = bytes as libc::c_uint;
        return Ok(1);
    }
    let (slots, forever) = (headers.len() as libc::c_uint, std::ptr::null_mut());
    // SAFETY: as above.
    let count = unsafe { libc::recvmmsg(socket, headers.as_mut_ptr(), slots, flags as _, forever) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// As long as one at a time comes, so many calls are for one and the next for all.
pub(super) const LOOK_EVERY: u32 = 8;
