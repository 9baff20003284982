//! Datagrams that leave together.

use super::super::address::to_sock_addr;
use super::super::control::{Attached, IP_SPACE};
use super::{Source, V4_BYTES};
use crate::addr::AnyAddr;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Datagrams that wait to leave together: one call for all, and one buffer for those of one length that
/// go to one receiver, which the kernel cuts into datagrams again (`UDP_SEGMENT`).
pub(crate) struct Outbox {
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    headers: Box<[libc::mmsghdr]>,
    /// How long each run is; where it lies is written just before it is sent.
    vectors: Box<[libc::iovec]>,
    controls: Box<[Attached<IP_SPACE>]>,
    runs: Box<[Run]>,
    /// The next one to be sent, the end, and the end of their bytes.
    next: usize,
    count: usize,
    used: usize,
    /// No longer ones are joined. 0 where the kernel cannot cut.
    segment_max: usize,
}

/// The memory of an inbox: what goes back as it came is sent from there.
///
/// It is lent anew to each call that needs it, so the box keeps places and no pointers.
#[derive(Clone, Copy)]
pub(crate) struct Lent<'a> {
    inbox: &'a [u8],
    /// Where datagrams lie one behind the other. Others are copied: many of them make one run.
    start: usize,
    end: usize,
}

impl<'a> Lent<'a> {
    pub(crate) const NOTHING: Lent<'static> = Lent { inbox: &[], start: 0, end: 0 };

    pub(super) fn new(inbox: &'a [u8], slot: Range<usize>) -> Lent<'a> {
        Lent { inbox, start: slot.start, end: slot.end }
    }

    /// Where these bytes lie, if they may stay there.
    fn place(&self, bytes: &[u8]) -> Option<usize> {
        let place = (bytes.as_ptr() as usize).checked_sub(self.inbox.as_ptr() as usize)?;
        let within = self.start <= place && place + bytes.len() <= self.end;
        (within && !bytes.is_empty()).then_some(place)
    }
}

/// Datagrams with one header, one after the other in the bytes.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Whose they are, for the caller.
    owner: u64,
    /// They lie in the inbox.
    lent: bool,
    start: usize,
    /// How long each is; the last may be shorter.
    segment: usize,
    count: usize,
    /// Another one may join.
    open: bool,
    /// How much of what is attached says where they leave from.
    source_bytes: usize,
}

// SAFETY: as for the inbox.
unsafe impl Send for Outbox {}

impl Outbox {
    /// Room for `slots` runs of datagrams with `bytes_max` bytes together. `segments`: whether the
    /// kernel can cut.
    pub(crate) fn new(slots: usize, bytes_max: usize, segments: bool) -> Outbox {
        // SAFETY: these are plain numbers and pointers, for which zero is a value.
        let (name, header, vector) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let mut names: Box<[libc::sockaddr_storage]> = vec![name; slots].into();
        let mut vectors: Box<[libc::iovec]> = vec![vector; slots].into();
        let mut headers: Box<[libc::mmsghdr]> = vec![header; slots].into();
        for ((header, name), vector) in headers.iter_mut().zip(&mut names).zip(&mut vectors) {
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        Outbox {
            bytes: vec![0; bytes_max].into(),
            names,
            headers,
            vectors,
            controls: (0..slots).map(|_| Attached::new()).collect(),
            runs: vec![Run::default(); slots].into(),
            next: 0,
            count: 0,
            used: 0,
            segment_max: if segments { JOINED_BYTES_MAX / 2 } else { 0 },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Whether a datagram of this size has room when nothing else waits.
    pub(crate) fn takes(&self, length: usize) -> bool {
        length <= self.bytes.len()
    }

    /// Adds a datagram. One owner has one receiver and one source as long as the box is not empty.
    /// False if there is no room for it now.
    ///
    /// # Errors
    ///
    /// The address is none that a datagram can be sent to.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        to: &AnyAddr,
        source: Option<Source>,
        owner: u64,
        lent: Lent<'_>,
    ) -> io::Result<bool> {
        let place = lent.place(bytes);
        if place.is_none() && self.used + bytes.len() > self.bytes.len() {
            return Ok(false);
        }
        let joins = !self.is_empty() && self.runs[self.count - 1].owner == owner;
        if joins && self.join(bytes, place)? {
            return Ok(true);
        }
        let index = self.count;
        if index == self.headers.len() {
            return Ok(false);
        }
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = write_name(to, &mut self.names[index])?;
        header.msg_controllen = 0;
        if let Some(source) = source {
            let control = &mut self.controls[index];
            control.clear();
            control.source(source.ip, source.interface)?;
            attach(header, control.as_bytes());
        }
        self.vectors[index].iov_len = bytes.len();
        self.runs[index] = Run {
            owner,
            lent: place.is_some(),
            start: place.unwrap_or(self.used),
            segment: bytes.len(),
            count: 1,
            open: (1..=self.segment_max).contains(&bytes.len()),
            source_bytes: header.msg_controllen as _,
        };
        self.count += 1;
        if place.is_none() {
            self.copy(bytes);
        }
        Ok(true)
    }

    /// There is room.
    fn copy(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        self.bytes[self.used..end].copy_from_slice(bytes);
        self.used = end;
    }

    /// Adds a datagram to the last run, if that can be; `place` is where it lies in the inbox.
    fn join(&mut self, bytes: &[u8], place: Option<usize>) -> io::Result<bool> {
        let index = self.count - 1;
        let (run, vector) = (&mut self.runs[index], &mut self.vectors[index]);
        let length = vector.iov_len + bytes.len();
        let fits = (1..=run.segment).contains(&bytes.len())
            && run.count < JOINED_MAX
            && length <= JOINED_BYTES_MAX;
        let behind = match place {
            Some(place) => run.lent && place == run.start + vector.iov_len,
            None => !run.lent,
        };
        if !run.open || !fits || !behind {
            return Ok(false);
        }
        if run.count == 1 {
            let control = &mut self.controls[index];
            if run.source_bytes == 0 {
                control.clear();
            }
            // No more than `JOINED_BYTES_MAX`.
            control.segment_bytes(run.segment as u16)?;
            attach(&mut self.headers[index].msg_hdr, control.as_bytes());
        }
        vector.iov_len = length;
        run.count += 1;
        run.open = bytes.len() == run.segment;
        if place.is_none() {
            self.copy(bytes);
        }
        Ok(true)
    }

    /// Writes where the runs that wait lie.
    fn aim(&mut self, lent: Lent<'_>) {
        for (run, vector) in
            self.runs.iter().zip(&mut self.vectors).take(self.count).skip(self.next)
        {
            let memory = if run.lent { lent.inbox } else { &*self.bytes };
            // Shorter only if another inbox was lent than before: then nothing is read that is not there.
            let run = memory.get(run.start..run.start + vector.iov_len).unwrap_or_default();
            *vector = libc::iovec { iov_base: run.as_ptr().cast_mut().cast(), iov_len: run.len() };
        }
    }

    /// Sends what waits, without waiting, as far as the kernel takes it: sendmmsg(2), and for a single
    /// run sendmsg(2), which costs less.
    ///
    /// # Errors
    ///
    /// The first datagram that is left cannot be sent, or with `WouldBlock` not now.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, lent: Lent<'_>) -> io::Result<()> {
        while !self.is_empty() {
            self.aim(lent);
            let waiting = &mut self.headers[self.next..self.count];
            // SAFETY: the headers point to names, vectors and control messages of ours, written by
            // `push`, and the vectors to bytes of ours or to those lent, which outlive the call.
            match unsafe { send_runs(socket, waiting) } {
                Ok(sent) => self.next += sent,
                Err(error) if self.runs[self.next].count > 1 && cannot_cut(&error) => {
                    self.send_apart(socket, lent, &error)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(())
    }

    /// Sends the datagrams of the next run one by one. If that helps, such ones are not joined again.
    #[cold]
    fn send_apart(
        &mut self,
        socket: BorrowedFd<'_>,
        lent: Lent<'_>,
        refusal: &io::Error,
    ) -> io::Result<()> {
        let index = self.next;
        let Run { segment, source_bytes, .. } = self.runs[index];
        while self.next == index {
            self.aim(lent);
            let whole = self.vectors[index].iov_len;
            self.vectors[index].iov_len = whole.min(segment);
            let control_bytes = self.headers[index].msg_hdr.msg_controllen;
            self.headers[index].msg_hdr.msg_controllen = source_bytes as _;
            // SAFETY: as in `send`.
            let sent = unsafe { send_runs(socket, &mut self.headers[index..=index]) };
            self.headers[index].msg_hdr.msg_controllen = control_bytes;
            self.vectors[index].iov_len = whole;
            sent?;
            self.segment_max = match refusal.raw_os_error() {
                // The device cannot write their checksums.
                Some(libc::EIO) => 0,
                // Longer than what fits into a packet on the way there, or not known at all.
                _ => self.segment_max.min(segment - 1),
            };
            self.advance();
        }
        Ok(())
    }

    /// Goes past the first datagram that is left.
    fn advance(&mut self) -> Range<usize> {
        let (run, vector) = (&mut self.runs[self.next], &mut self.vectors[self.next]);
        let length = if run.count == 1 { vector.iov_len } else { run.segment };
        let start = run.start;
        run.start += length;
        run.count -= 1;
        vector.iov_len -= length;
        match run.count {
            0 => self.next += 1,
            1 => self.headers[self.next].msg_hdr.msg_controllen = run.source_bytes as _,
            _ => {}
        }
        start..start + length
    }

    /// Forgets what is left.
    #[inline]
    pub(crate) fn clear(&mut self) {
        (self.next, self.count, self.used) = (0, 0, 0);
    }

    /// Takes the last datagram out that is left, with its owner.
    pub(crate) fn pop_last<'a>(&'a mut self, lent: Lent<'a>) -> Option<(u64, &'a [u8])> {
        if self.is_empty() {
            return None;
        }
        let index = self.count - 1;
        let (run, vector) = (&mut self.runs[index], &mut self.vectors[index]);
        run.count -= 1;
        let before = run.segment * run.count;
        let range = run.start + before..run.start + vector.iov_len;
        vector.iov_len = before;
        match run.count {
            0 => self.count -= 1,
            1 => self.headers[index].msg_hdr.msg_controllen = run.source_bytes as _,
            _ => {}
        }
        let memory = if run.lent { lent.inbox } else { &*self.bytes };
        Some((run.owner, memory.get(range).unwrap_or_default()))
    }

    /// Takes the first datagram out that is left, with its owner.
    pub(crate) fn pop<'a>(&'a mut self, lent: Lent<'a>) -> Option<(u64, &'a [u8])> {
        if self.is_empty() {
            return None;
        }
        let Run { owner, lent: is_lent, .. } = self.runs[self.next];
        let range = self.advance();
        let memory = if is_lent { lent.inbox } else { &*self.bytes };
        Some((owner, memory.get(range).unwrap_or_default()))
    }

    #[cfg(test)]
    pub(super) fn headers_for_tests(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }

    #[cfg(test)]
    pub(super) fn calls(&self) -> usize {
        self.count - self.next
    }
}

/// Sends as many of these as the kernel takes, and says how many those are.
///
/// # Safety
///
/// The headers point to as much memory as they say. The kernel only reads it.
unsafe fn send_runs(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (socket, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    if let [only] = headers {
        // SAFETY: as the caller has promised.
        let bytes = unsafe { libc::sendmsg(socket, &only.msg_hdr, flags) };
        return usize::try_from(bytes).map(|_| 1).map_err(|_| io::Error::last_os_error());
    }
    let count = headers.len() as libc::c_uint;
    // SAFETY: as above.
    let sent = unsafe { libc::sendmmsg(socket, headers.as_mut_ptr(), count, flags as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn attach(header: &mut libc::msghdr, control: &[u8]) {
    // The kernel only reads it.
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len() as _;
}

/// Whether a run may have been refused as a run: what `UDP_SEGMENT` meets on old kernels, on devices
/// without checksums, and where a datagram would have to be cut into packets.
fn cannot_cut(error: &io::Error) -> bool {
    let known = [libc::EINVAL, libc::EIO, libc::EMSGSIZE, libc::ENOPROTOOPT, libc::EOPNOTSUPP];
    error.raw_os_error().is_some_and(|errno| known.contains(&errno))
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

/// How many datagrams the kernel cuts one buffer into (`UDP_MAX_SEGMENTS`, 64 until Linux 6.9).
const JOINED_MAX: usize = 64;

/// As long as one datagram may be.
const JOINED_BYTES_MAX: usize = 65_507;
