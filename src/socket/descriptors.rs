//! Passing open descriptors over Unix sockets: `SCM_RIGHTS`.
//!
//! Nothing is received unless it is asked for by name: any other call has the kernel close what came.

use super::{Received, Socket, open};
use crate::addr::{
    AnyAddr, ConnectedDatagram, Datagram, HasPeer, SeqPacket, Stream, Supports, Unix, UnixAddr,
};
use crate::sys::{address, rights};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl<K: HasPeer> Socket<Unix, K>
where
    Unix: Supports<K>,
{
    /// Sends bytes, or one message, with duplicates of these descriptors, 16 at most: `sendmsg(2)`. Blocks
    /// as any sending.
    ///
    /// Returns how many bytes were sent. On a stream that may be fewer than were given: the descriptors
    /// went with the first of them, and the rest is sent without.
    ///
    /// # Errors
    ///
    /// More than 16 descriptors, or some without a byte on a stream (`InvalidInput`); the peer does not
    /// take any (`PermissionDenied`, Linux 6.16); too many are on their way already (`ETOOMANYREFS`);
    /// else as without descriptors.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// use std::{fs::File, io::Write, os::fd::AsFd};
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// let null = File::options().write(true).open("/dev/null")?;
    /// one.send_with_descriptors(b"a file", &[null.as_fd()])?;
    ///
    /// let (mut bytes, mut files) = ([0; 64], Vec::new());
    /// assert_eq!(other.recv_with_descriptors(&mut bytes, &mut files)?, 6);
    /// File::from(files.remove(0)).write_all(b"gone")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_with_descriptors(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        check(bytes, descriptors, K::TYPE == crate::addr::SocketType::Stream)?;
        self.writing(|| rights::send(self.as_fd(), bytes, descriptors, None, false))
    }
}

impl Socket<Unix, Stream> {
    /// Reads bytes, and appends the descriptors that ride on them, close-on-exec, to `descriptors`:
    /// `recvmsg(2)`. Blocks as any read; 0 is the end of the stream.
    ///
    /// A read ends behind bytes with descriptors, so those of two sendings never come together. Bytes
    /// before them may come in the same read.
    ///
    /// # Errors
    ///
    /// More than 16 came with one sending, or this process has no room for them (`InvalidData`): all are
    /// closed, and the bytes of this read are lost. Else as a read.
    pub fn recv_with_descriptors(
        &self,
        buf: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        let mut came = self.reading(|| rights::receive(self.as_fd(), buf, false))?;
        descriptors.append(&mut came.descriptors);
        Ok(came.length)
    }
}

impl Socket<Unix, SeqPacket> {
    /// Receives one message, and appends its descriptors, close-on-exec, to `descriptors`: `recvmsg(2)`.
    /// Blocks until there is one; `None` is the end.
    ///
    /// # Errors
    ///
    /// It has more than 16, or this process has no room for them (`InvalidData`): all are closed, and the
    /// message is lost. Else as `recv`.
    pub fn recv_with_descriptors(
        &self,
        buf: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<Received>> {
        let mut came = self.reading(|| rights::receive(self.as_fd(), buf, false))?;
        descriptors.append(&mut came.descriptors);
        let is_message = came.length > 0 || came.is_signed;
        Ok(is_message.then(|| received(came.length, buf, ())))
    }
}

impl Socket<Unix, ConnectedDatagram> {
    /// Receives one datagram, and appends its descriptors, close-on-exec, to `descriptors`: `recvmsg(2)`.
    /// Blocks until there is one.
    ///
    /// # Errors
    ///
    /// It has more than 16, or this process has no room for them (`InvalidData`): all are closed, and the
    /// datagram is lost. Else as `recv`.
    pub fn recv_with_descriptors(
        &self,
        buf: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Received> {
        let mut came = self.reading(|| rights::receive(self.as_fd(), buf, false))?;
        descriptors.append(&mut came.descriptors);
        Ok(received(came.length, buf, ()))
    }
}

impl Socket<Unix, Datagram> {
    /// Sends one datagram with duplicates of these descriptors, 16 at most: `sendmsg(2)`.
    ///
    /// # Errors
    ///
    /// More than 16 descriptors (`InvalidInput`), else as `send_to`.
    pub fn send_to_with_descriptors(
        &self,
        datagram: &[u8],
        descriptors: &[BorrowedFd<'_>],
        to: &UnixAddr,
    ) -> io::Result<usize> {
        check(datagram, descriptors, false)?;
        let to = address::to_sock_addr(&AnyAddr::Unix(to.clone()))?;
        self.writing(|| rights::send(self.as_fd(), datagram, descriptors, Some(&to), false))
    }

    /// Receives one datagram and who sent it, and appends its descriptors, close-on-exec, to
    /// `descriptors`: `recvmsg(2)`. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// It has more than 16, or this process has no room for them (`InvalidData`): all are closed, and the
    /// datagram is lost. Else as `recv_from`.
    pub fn recv_from_with_descriptors(
        &self,
        buf: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Received<UnixAddr>> {
        let mut came = self.reading(|| rights::receive(self.as_fd(), buf, false))?;
        descriptors.append(&mut came.descriptors);
        let from = open::address_of::<Unix>(&came.from)?;
        Ok(received(came.length, buf, from))
    }
}

fn check(bytes: &[u8], descriptors: &[BorrowedFd<'_>], stream: bool) -> io::Result<()> {
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if descriptors.len() > rights::DESCRIPTORS_MAX {
        let (count, max) = (descriptors.len(), rights::DESCRIPTORS_MAX);
        return refused(format!("{count} descriptors with one message: {max} are the most"));
    }
    if stream && bytes.is_empty() && !descriptors.is_empty() {
        return refused("descriptors on a stream ride on a byte, and there is none".to_owned());
    }
    Ok(())
}

fn received<A>(length: usize, buf: &[u8], from: A) -> Received<A> {
    Received::new(length, buf.len(), length > buf.len(), from)
}
