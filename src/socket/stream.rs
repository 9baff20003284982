//! Streams of bytes: reading, writing, looking ahead, half-closing.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use super::Socket;
use crate::addr::{Connected, Stream, Supports};
use crate::sys::transfer;

impl<F: Supports<Stream>> Socket<F, Stream> {
    /// Reads without taking: `recv(MSG_PEEK)`. Blocks until there is something.
    ///
    /// Returns how many bytes are in `buf`, 0 at the end of the stream. The next read, or peek, gives
    /// the same bytes again.
    ///
    /// # Errors
    ///
    /// As a read.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// use std::io::{Read, Write};
    /// let (mut one, mut other) = UnixStream::pair()?;
    /// one.write_all(b"abc")?;
    /// let mut buf = [0; 2];
    /// assert_eq!(other.peek(&mut buf)?, 2);
    /// assert_eq!(other.read(&mut [0; 8])?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.reading(|| transfer::peek(&self.raw, buf))
    }
}

impl<F: Supports<K>, K: Connected> Socket<F, K> {
    /// Closes one direction or both: `shutdown(2)`. Does not block; clones are affected.
    ///
    /// After `Shutdown::Write` the peer reads what was sent and then the end, and can still answer.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the peer has reset the connection.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// use std::{io::Read, net::Shutdown};
    /// let (one, mut other) = UnixStream::pair()?;
    /// one.shutdown(Shutdown::Write)?;
    /// assert_eq!(other.read(&mut [0; 8])?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.raw.shutdown(how)
    }
}

/// `recv(2)`; 0 is the end of the stream.
impl<F: Supports<Stream>> Read for &Socket<F, Stream> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reading(|| (&self.raw).read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(PIECES_MAX);
        self.reading(|| (&self.raw).read_vectored(&mut bufs[..count]))
    }
}

/// `recv(2)`; 0 is the end of the stream.
impl<F: Supports<Stream>> Read for Socket<F, Stream> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

/// `send(2)`, unbuffered. To a peer that has gone it answers `BrokenPipe` or `ConnectionReset`, and
/// raises no signal.
impl<F: Supports<Stream>> Write for &Socket<F, Stream> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writing(|| transfer::send(&self.raw, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(PIECES_MAX)];
        self.writing(|| transfer::send_vectored(&self.raw, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `send(2)`, unbuffered. To a peer that has gone it answers `BrokenPipe` or `ConnectionReset`, and
/// raises no signal.
impl<F: Supports<Stream>> Write for Socket<F, Stream> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `IOV_MAX`: the kernel refuses more pieces in one call. A stream just takes fewer bytes then.
const PIECES_MAX: usize = 1024;
