//! UDP datagrams with all that is beside them, one or many with a system call.
//!
//! Memory is taken once: [`Received`] and [`Waiting`] are used again for every call. The engines have
//! boxes of their own in `batch`, for sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address::{IpBytes, ip_from_bytes, ip_to_bytes};
use super::control::{Attached, Controls, IP_SPACE, space};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::one_by_one::{Header, receive_many, send_many};
#[cfg(any(target_os = "linux", target_os = "android"))]
use libc::{mmsghdr as Header, recvmmsg as receive_many, sendmmsg as send_many};

/// What is written beside a datagram that goes out.
pub(crate) type Beside = Attached<{ IP_SPACE + space(2) }>;

/// Sends one datagram: sendmsg(2). Without an address, to the peer.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    to: Option<&SocketAddr>,
    beside: &Beside,
) -> io::Result<usize> {
    let mut name = IpBytes::default();
    let name_length = to.map_or(0, |to| ip_to_bytes(to, &mut name));
    let mut vector = vector_of(payload);
    let header = header_of(&mut vector, &name[..name_length], beside.as_bytes());
    // SAFETY: the header says how much memory there is behind each of its pointers, all of it outlives
    // the call, and the kernel only reads it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Datagrams that came in together.
pub(crate) struct Received {
    bytes: Vec<u8>,
    slot_bytes: usize,
    names: Box<[IpBytes]>,
    controls: Box<[[u8; IP_SPACE]]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[Header]>,
    count: usize,
}

// SAFETY: the pointers in `vectors` and `headers` are written before each call and read by nobody after
// it. All they point to is owned by the other fields.
unsafe impl Send for Received {}
// SAFETY: as above; through a shared reference they are not even read.
unsafe impl Sync for Received {}

/// One of them.
pub(crate) struct Message<'a> {
    /// As much of it as had room.
    pub(crate) bytes: &'a [u8],
    /// How long it is.
    pub(crate) length: usize,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) beside: Controls<'a>,
}

impl Received {
    /// Room for `slots` datagrams of `slot_bytes` each. What no datagram ever reached is not resident.
    pub(crate) fn new(slots: usize, slot_bytes: usize) -> Received {
        Received {
            bytes: vec![0; slots * slot_bytes],
            slot_bytes,
            names: vec![IpBytes::default(); slots].into(),
            controls: vec![[0; IP_SPACE]; slots].into(),
            vectors: vec![vector_of(&[]); slots].into(),
            headers: vec![Header { msg_hdr: empty_header(), msg_len: 0 }; slots].into(),
            count: 0,
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Receives one datagram, waiting for it as the socket does, and what else is there, as far as there is
    /// room: recvmmsg(2). What was received before is gone.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        let mut start = self.bytes.as_mut_ptr();
        for (index, header) in self.headers.iter_mut().enumerate() {
            let vector = &mut self.vectors[index];
            *vector = libc::iovec { iov_base: start.cast(), iov_len: self.slot_bytes };
            start = start.wrapping_add(self.slot_bytes);
            let (name, control) = (&mut self.names[index], &mut self.controls[index]);
            let header = &mut header.msg_hdr;
            header.msg_name = name.as_mut_ptr().cast();
            header.msg_namelen = name.len() as _;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len() as _;
        }
        let slots = self.slots() as libc::c_uint;
        let flags = libc::MSG_WAITFORONE | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the headers point to as much memory of ours as they say, written just above, and
        // `&mut self` keeps everybody else from it.
        let count = unsafe {
            let headers = self.headers.as_mut_ptr();
            receive_many(socket.as_raw_fd(), headers, slots, flags as _, std::ptr::null_mut())
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// One of those that the last call received.
    pub(crate) fn get(&self, index: usize) -> Option<Message<'_>> {
        let header = self.headers[..self.count].get(index)?;
        let (length, header) = (header.msg_len as usize, &header.msg_hdr);
        let start = index * self.slot_bytes;
        let name = self.names[index].get(..header.msg_namelen as usize).unwrap_or_default();
        let beside = self.controls[index].get(..header.msg_controllen as _);
        Some(Message {
            bytes: &self.bytes[start..start + length.min(self.slot_bytes)],
            length,
            from: ip_from_bytes(name),
            beside: Controls::of_ip(beside.unwrap_or_default()),
        })
    }
}

/// Datagrams that wait to leave together.
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    bytes_max: usize,
    entries: Vec<Entry>,
    /// The first entry that has not left.
    next: usize,
    vectors: Vec<libc::iovec>,
    headers: Vec<Header>,
    /// Whether datagrams may be left to the kernel to cut. A test has them cut here.
    pub(crate) gso: bool,
}

// SAFETY: as for `Received`.
unsafe impl Send for Waiting {}
// SAFETY: as for `Received`.
unsafe impl Sync for Waiting {}

/// One message to the kernel: a datagram, or several of `segment` bytes.
struct Entry {
    /// What is left of it.
    start: usize,
    end: usize,
    /// 0 for one datagram, however long.
    segment: usize,
    /// The segments are sent as datagrams of their own.
    singly: bool,
    name: IpBytes,
    name_length: usize,
    beside: Beside,
    /// How much of `beside` is for datagrams that the kernel does not cut.
    beside_singly: usize,
    /// Whose it is, for the caller.
    owner: usize,
}

impl Waiting {
    /// Room for `slots` messages with `bytes_max` bytes together.
    pub(crate) fn new(slots: usize, bytes_max: usize) -> Waiting {
        Waiting {
            bytes: Vec::with_capacity(bytes_max),
            bytes_max,
            entries: Vec::with_capacity(slots),
            next: 0,
            vectors: Vec::with_capacity(slots),
            headers: Vec::with_capacity(slots),
            gso: true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.entries.len()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.next
    }

    /// Whether some of what waits is to be cut by the kernel.
    pub(crate) fn has_segments(&self) -> bool {
        self.entries[self.next..].iter().any(|entry| entry.segment > 0 && !entry.singly)
    }

    /// Whether so many messages with so many bytes have room, also if nothing else waited.
    pub(crate) fn room(&self, messages: usize, bytes: usize) -> Room {
        if messages > self.vectors.capacity() || bytes > self.bytes_max {
            return Room::Never;
        }
        let full = self.entries.len() + messages > self.vectors.capacity()
            || self.bytes.len() + bytes > self.bytes_max;
        if full { Room::NotNow } else { Room::Yes }
    }

    /// Adds a message, for which there is room.
    pub(crate) fn push(
        &mut self,
        payload: &[u8],
        segment: u16,
        to: Option<&SocketAddr>,
        mut beside: Beside,
        owner: usize,
    ) -> io::Result<()> {
        let beside_singly = beside.as_bytes().len();
        if segment > 0 {
            beside.segment_bytes(segment)?;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let mut name = IpBytes::default();
        let name_length = to.map_or(0, |to| ip_to_bytes(to, &mut name));
        self.entries.push(Entry {
            start,
            end: self.bytes.len(),
            segment: segment.into(),
            singly: false,
            name,
            name_length,
            beside,
            beside_singly,
            owner,
        });
        Ok(())
    }

    /// Sends as much of what waits as the kernel takes at once: sendmmsg(2). Says how many datagrams these
    /// were.
    ///
    /// # Errors
    ///
    /// The first one that waits could not be sent.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.vectors.clear();
        self.headers.clear();
        for entry in &mut self.entries[self.next..] {
            entry.singly |= entry.segment > 0 && !self.gso;
            let end = if entry.singly { entry.first_end() } else { entry.end };
            self.vectors.push(vector_of(&self.bytes[entry.start..end]));
            if entry.singly && end < entry.end {
                break; // the rest of it is before all others
            }
        }
        for (vector, entry) in self.vectors.iter_mut().zip(&self.entries[self.next..]) {
            let name = &entry.name[..entry.name_length];
            let msg_hdr = header_of(vector, name, entry.beside());
            self.headers.push(Header { msg_hdr, msg_len: 0 });
        }
        let count = self.headers.len() as libc::c_uint;
        // SAFETY: the headers point to names, vectors, bytes and control messages of ours, written just
        // above, and the kernel only reads them.
        let sent = unsafe {
            let headers = self.headers.as_mut_ptr();
            send_many(socket.as_raw_fd(), headers, count, libc::MSG_NOSIGNAL as _)
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok((0..sent).map(|_| self.advance()).sum())
    }

    /// Whether the first one that waits is to be cut by the kernel: from now on it is not.
    pub(crate) fn split(&mut self) -> bool {
        let Some(entry) = self.entries.get_mut(self.next) else { return false };
        let splits = entry.segment > 0 && !entry.singly;
        entry.singly |= splits;
        splits
    }

    /// Gives up the first datagram that waits, and says whose it is.
    pub(crate) fn skip(&mut self) -> usize {
        let owner = self.entries.get(self.next).map_or(0, |entry| entry.owner);
        self.advance();
        owner
    }

    /// Which datagram is the first that waits.
    pub(crate) fn position(&self) -> (usize, usize) {
        (self.next, self.entries.get(self.next).map_or(0, |entry| entry.start))
    }

    /// Forgets what is left.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.next = 0;
    }

    /// The first message that waits is dealt with: how many datagrams it was.
    fn advance(&mut self) -> usize {
        let Some(entry) = self.entries.get_mut(self.next) else { return 0 };
        let mut datagrams = 1;
        if entry.singly {
            entry.start = entry.first_end();
            if entry.start < entry.end {
                return 1;
            }
        } else if entry.segment > 0 {
            datagrams = (entry.end - entry.start).div_ceil(entry.segment);
        }
        self.next += 1;
        if self.is_empty() {
            self.clear();
        }
        datagrams
    }
}

impl Entry {
    fn first_end(&self) -> usize {
        self.end.min(self.start + self.segment)
    }

    /// What is beside it: that the kernel cuts it is the last.
    fn beside(&self) -> &[u8] {
        let all = self.beside.as_bytes();
        if self.singly { &all[..self.beside_singly] } else { all }
    }
}

/// Whether there is room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Yes,
    NotNow,
    Never,
}

pub(super) fn vector_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// For sending: the kernel reads all of it, and writes nothing.
pub(super) fn header_of(vector: &mut libc::iovec, name: &[u8], control: &[u8]) -> libc::msghdr {
    let mut header = empty_header();
    if !name.is_empty() {
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len() as _;
    }
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len() as _;
    }
    header
}

fn empty_header() -> libc::msghdr {
    // SAFETY: these are plain numbers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}
