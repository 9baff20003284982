//! Many datagrams with one system call.

use super::address::{from_sock_addr, to_sock_addr};
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

/// Datagrams that wait to leave together.
pub(crate) struct Outbox {
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    /// Whose they are, for the caller.
    owners: Box<[u64]>,
    /// The next one to be sent, the end, and the end of their bytes.
    next: usize,
    count: usize,
    used: usize,
}

// SAFETY: as for the inbox.
unsafe impl Send for Outbox {}

impl Outbox {
    /// Room for `slots` datagrams with `bytes_max` bytes together.
    pub(crate) fn new(slots: usize, bytes_max: usize) -> Outbox {
        // SAFETY: these are plain numbers and pointers, for which zero is a value.
        let (name, header, vector) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Outbox {
            bytes: vec![0; bytes_max].into(),
            names: vec![name; slots].into(),
            headers: vec![header; slots].into(),
            vectors: vec![vector; slots].into(),
            owners: vec![0; slots].into(),
            next: 0,
            count: 0,
            used: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Whether a datagram of this size has room when nothing else waits.
    pub(crate) fn takes(&self, length: usize) -> bool {
        length <= self.bytes.len()
    }

    /// Adds a datagram. False if there is no room for it now.
    ///
    /// # Errors
    ///
    /// The address is none that a datagram can be sent to.
    pub(crate) fn push(&mut self, bytes: &[u8], to: &AnyAddr, owner: u64) -> io::Result<bool> {
        let end = self.used + bytes.len();
        if self.count == self.headers.len() || end > self.bytes.len() {
            return Ok(false);
        }
        let name = &mut self.names[self.count];
        let name_length = write_name(to, name)?;
        let place = &mut self.bytes[self.used..end];
        place.copy_from_slice(bytes);
        let vector = &mut self.vectors[self.count];
        *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: bytes.len() };
        let header = &mut self.headers[self.count].msg_hdr;
        header.msg_name = std::ptr::from_mut(name).cast();
        header.msg_namelen = name_length;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        self.owners[self.count] = owner;
        self.count += 1;
        self.used = end;
        Ok(true)
    }

    /// Sends what waits, without waiting, as far as the kernel takes it: sendmmsg(2).
    ///
    /// # Errors
    ///
    /// The first datagram that is left cannot be sent, or with `WouldBlock` not now.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while !self.is_empty() {
            let waiting = &mut self.headers[self.next..self.count];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the headers point to names, vectors and bytes of ours, written by `push`.
            let sent = unsafe {
                let count = waiting.len() as libc::c_uint;
                libc::sendmmsg(socket.as_raw_fd(), waiting.as_mut_ptr(), count, flags as _)
            };
            self.next += usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        }
        self.clear();
        Ok(())
    }

    /// Forgets what is left.
    pub(crate) fn clear(&mut self) {
        (self.next, self.count, self.used) = (0, 0, 0);
    }

    /// Takes the first datagram out that is left, with its owner.
    pub(crate) fn pop(&mut self) -> Option<(u64, &[u8])> {
        if self.is_empty() {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let length = self.vectors[index].iov_len;
        let start = self.vectors[..index].iter().map(|vector| vector.iov_len).sum::<usize>();
        Some((self.owners[index], &self.bytes[start..start + length]))
    }
}

/// Writes an address as the kernel wants it, and says how long it is.
fn write_name(to: &AnyAddr, name: &mut libc::sockaddr_storage) -> io::Result<libc::socklen_t> {
    if let AnyAddr::Ip(SocketAddr::V4(to)) = to {
        // SAFETY: a `sockaddr_storage` is large enough and aligned for a `sockaddr_in`, and both are
        // plain numbers.
        let v4 = unsafe { &mut *std::ptr::from_mut(name).cast::<libc::sockaddr_in>() };
        v4.sin_family = libc::AF_INET as libc::sa_family_t;
        v4.sin_port = to.port().to_be();
        v4.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        return Ok(V4_BYTES);
    }
    let to = to_sock_addr(to)?;
    // SAFETY: `to` is stored in a `sockaddr_storage`, all of which is initialised.
    *name = unsafe { *to.as_ptr().cast::<libc::sockaddr_storage>() };
    Ok(to.len())
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
    fn what_waits_leaves_together_and_what_does_not_is_handed_back() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let sockets = [0; 3].map(|_| UdpSocket::bind(at).unwrap());
            let [from, one, other] = &sockets;
            let to = |socket: &UdpSocket| AnyAddr::Ip(socket.local_addr().unwrap());
            let mut outbox = Outbox::new(4, 16);
            for round in 0..3 {
                assert!(outbox.push(b"first", &to(one), 1).unwrap());
                assert!(outbox.push(b"second", &to(other), 2).unwrap());
                assert!(!outbox.push(b"third!", &to(one), 1).unwrap(), "17 bytes");
                assert!(outbox.push(b"", &to(one), 1).unwrap());
                assert!(outbox.push(b"last", &to(one), 3).unwrap());
                assert!(!outbox.push(b"", &to(one), 1).unwrap(), "five");
                outbox.send(from.as_fd()).unwrap();
                assert!(outbox.is_empty(), "round {round}");
                let mut bytes = [0; 16];
                for (socket, text) in [(one, "first"), (other, "second"), (one, ""), (one, "last")]
                {
                    let (length, sender) = socket.recv_from(&mut bytes).unwrap();
                    assert_eq!(
                        (&bytes[..length], sender),
                        (text.as_bytes(), from.local_addr().unwrap())
                    );
                }
            }
            // A broadcast is not allowed unless it was asked for.
            if from.local_addr().unwrap().is_ipv4() {
                let everybody = AnyAddr::Ip("255.255.255.255:9".parse().unwrap());
                outbox.push(b"good", &to(one), 1).unwrap();
                outbox.push(b"bad", &everybody, 2).unwrap();
                outbox.push(b"left", &to(one), 3).unwrap();
                outbox.send(from.as_fd()).unwrap_err();
                assert_eq!(outbox.pop(), Some((2, &b"bad"[..])));
                outbox.send(from.as_fd()).unwrap();
                assert_eq!(outbox.pop(), None);
            }
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
