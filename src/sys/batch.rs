//! Many datagrams with one system call.

use super::address::from_sock_addr;
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
    received: usize,
}

/// One of them.
pub(crate) struct Received<'a> {
    /// As much of it as had room.
    pub(crate) bytes: &'a [u8],
    /// How long it was.
    pub(crate) length: usize,
    pub(crate) from: io::Result<AnyAddr>,
}

// SAFETY: the pointers in `headers` and `_vectors` point into memory that the other fields own and that
// stays where it is when they move. Nothing else has them.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Room for `slots` datagrams of `slot_bytes` each, which is a multiple of a page.
    pub(crate) fn new(slots: usize, slot_bytes: usize) -> Inbox {
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
        Inbox { bytes, base, slot_bytes, names, headers, _vectors: vectors, received: 0 }
    }

    /// How many datagrams there is room for.
    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Receives what is there, as far as there is room, without waiting: recvmmsg(2). What was received
    /// before is gone.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing; an error that an earlier datagram has met on its way, once.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers[..self.received] {
            // The kernel has written the length of the last name.
            header.msg_hdr.msg_namelen = NAME_BYTES;
        }
        self.received = 0;
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let slots = self.slots() as libc::c_uint;
        // SAFETY: the headers point to as much memory of ours as they say, and no reference to it is
        // alive, since every one that was given out borrows `self`.
        let count = unsafe {
            let (headers, forever) = (self.headers.as_mut_ptr(), std::ptr::null_mut());
            libc::recvmmsg(socket.as_raw_fd(), headers, slots, flags as _, forever)
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// One of those that the last call received.
    pub(crate) fn get(&self, index: usize) -> Received<'_> {
        debug_assert!(index < self.received);
        let header = &self.headers[index];
        let length = header.msg_len as usize;
        let start = self.base + index * self.slot_bytes;
        let bytes = &self.bytes[start..start + length.min(self.slot_bytes)];
        Received { bytes, length, from: self.name(index, header.msg_hdr.msg_namelen) }
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

const PAGE: usize = 4096;
const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
const V4_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_batch_has_every_datagram_with_its_sender() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (to, from) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
            let mut inbox = Inbox::new(4, PAGE);
            assert_eq!(inbox.receive(to.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let sent = ["one", "", "three", "four", "five"];
            for text in sent {
                from.send_to(text.as_bytes(), to.local_addr().unwrap()).unwrap();
            }
            let mut got = Vec::new();
            for count in [4, 1] {
                assert_eq!(inbox.receive(to.as_fd()).unwrap(), count);
                for datagram in (0..count).map(|index| inbox.get(index)) {
                    assert_eq!(datagram.from.unwrap(), AnyAddr::Ip(from.local_addr().unwrap()));
                    assert_eq!(datagram.length, datagram.bytes.len());
                    got.push(String::from_utf8(datagram.bytes.to_vec()).unwrap());
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_and_says_so() {
        let (to, from) = UnixDatagram::pair().unwrap();
        let mut inbox = Inbox::new(2, PAGE);
        from.send(&[7; PAGE + 1]).unwrap();
        from.send(&[8; PAGE]).unwrap();
        assert_eq!(inbox.receive(to.as_fd()).unwrap(), 2);
        let (long, whole) = (inbox.get(0), inbox.get(1));
        assert_eq!((long.length, long.bytes), (PAGE + 1, &[7; PAGE][..]));
        assert_eq!((whole.length, whole.bytes), (PAGE, &[8; PAGE][..]));
        // The sender has no name.
        assert!(matches!(whole.from.unwrap(), AnyAddr::Unix(unix) if unix.as_path().is_none()));
    }
}
