//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2), and with one message: udp(7)'s
//! UDP_SEGMENT and UDP_GRO.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Room for a number of datagrams, and for the addresses that they came from.
pub struct Batch {
    memory: Vec<u8>,
    /// Bytes of one datagram's part of `memory`.
    each: usize,
    lengths: Vec<usize>,
    addresses: Vec<libc::sockaddr_storage>,
    address_lengths: Vec<libc::socklen_t>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    /// Room for `count` datagrams of at most `each` bytes.
    pub fn new(count: usize, each: usize) -> Batch {
        // SAFETY: all three are plain structs of integers and pointers, for which zero is a value.
        let (address, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Batch {
            memory: vec![0; count * each],
            each,
            lengths: vec![each; count],
            addresses: vec![address; count],
            address_lengths: vec![0; count],
            vectors: vec![vector; count],
            headers: vec![header; count],
        }
    }

    /// How many datagrams there is room for.
    pub fn size(&self) -> usize {
        self.lengths.len()
    }

    /// The datagram at `index`, as long as it was received or set.
    pub fn datagram(&mut self, index: usize) -> &mut [u8] {
        &mut self.memory[index * self.each..][..self.lengths[index]]
    }

    pub fn set_length(&mut self, index: usize, length: usize) {
        self.lengths[index] = length.min(self.each);
    }

    /// Receives what there is, without waiting.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = self.size();
        self.lengths.fill(self.each);
        self.address_lengths.fill(mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t);
        let headers = self.aim(0, count);
        let fd = socket.as_raw_fd();
        // SAFETY: `aim` has pointed each of the `count` headers at room of our own, of the lengths
        // that stand beside the pointers, which nothing else uses until the call is over.
        let received = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(fd, headers, count as u32, libc::MSG_DONTWAIT, timeout)
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for index in 0..received {
            self.lengths[index] = self.headers[index].msg_len as usize;
            self.address_lengths[index] = self.headers[index].msg_hdr.msg_namelen;
        }
        Ok(received)
    }

    /// Sends the datagrams from `first` to before `end`, or as many of them as the kernel takes: to
    /// where they came from, or where the socket is connected to.
    pub fn send(&mut self, socket: BorrowedFd<'_>, first: usize, end: usize) -> io::Result<usize> {
        let headers = self.aim(first, end);
        let fd = socket.as_raw_fd();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: as for receiving; there are `end - first` headers from here on.
        let sent = unsafe { libc::sendmmsg(fd, headers, (end - first) as u32, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Points the headers at the memory, and returns the first of them.
    fn aim(&mut self, first: usize, end: usize) -> *mut libc::mmsghdr {
        for index in first..end {
            let datagram = &mut self.memory[index * self.each..][..self.lengths[index]];
            self.vectors[index] =
                libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() };
        }
        let vectors = self.vectors.as_mut_ptr();
        let addresses = self.addresses.as_mut_ptr();
        for (index, header) in self.headers[first..end].iter_mut().enumerate() {
            let at = first + index;
            let named = self.address_lengths[at] > 0;
            header.msg_hdr.msg_iov = vectors.wrapping_add(at);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_namelen = self.address_lengths[at];
            header.msg_hdr.msg_name = match named {
                true => addresses.wrapping_add(at).cast(),
                false => std::ptr::null_mut(),
            };
        }
        self.headers[first..end].as_mut_ptr()
    }

    /// From here on, datagrams go where the socket is connected to.
    pub fn forget_addresses(&mut self) {
        self.address_lengths.fill(0);
    }
}

/// From here on, what is sent with one call leaves as datagrams of this length, the last one with the
/// rest; and datagrams of one length may come in as one.
pub fn segment(socket: &impl AsFd, length: u16) -> io::Result<()> {
    set(socket, libc::UDP_SEGMENT, i32::from(length))?;
    set(socket, libc::UDP_GRO, 1)
}

fn set(socket: &impl AsFd, option: i32, value: i32) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), mem::size_of_val(&value));
    // SAFETY: the kernel reads as many bytes of `value` as it is told, and it outlives the call.
    let set = unsafe {
        let value = std::ptr::from_ref(&value).cast();
        libc::setsockopt(fd, libc::SOL_UDP, option, value, length as libc::socklen_t)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
