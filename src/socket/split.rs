//! A connected socket as two owned halves, one for each direction.
//!
//! `&Socket` reads and writes too; halves are for two threads that own their direction. The socket
//! is closed when both are gone, and the peer learns at once that the writer has finished.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::{Received, Socket};
use crate::addr::{Connected, Kind, SeqPacket, Stream, Supports};

/// The half that reads.
///
/// Dropping it does not tell the peer: what it sends meanwhile waits, unread.
pub struct ReadHalf<F: Supports<K>, K: Connected> {
    socket: Arc<Socket<F, K>>,
}

/// The half that writes.
///
/// Dropping it shuts the write side down: the peer reads what was sent and then the end.
pub struct WriteHalf<F: Supports<K>, K: Connected> {
    socket: Arc<Socket<F, K>>,
    /// False once the halves are together again.
    shut_on_drop: bool,
}

impl<F: Supports<K>, K: Connected> Socket<F, K> {
    /// Splits the socket into a half that reads and one that writes, each for a thread of its own.
    /// Asks nothing of the kernel; both halves share one descriptor.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// use std::io::{Read, Write};
    ///
    /// let (stream, mut other) = UnixStream::pair()?;
    /// let (mut read, mut write) = stream.split();
    /// let writer = std::thread::spawn(move || write.write_all(b"question"));
    /// let mut question = String::new();
    /// other.read_to_string(&mut question)?; // ends: the dropped half shut its side
    /// other.write_all(b"answer")?;
    /// let mut answer = [0; 6];
    /// read.read_exact(&mut answer)?;
    /// # writer.join().expect("the writer does not panic")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn split(self) -> (ReadHalf<F, K>, WriteHalf<F, K>) {
        let socket = Arc::new(self);
        let read = ReadHalf { socket: Arc::clone(&socket) };
        (read, WriteHalf { socket, shut_on_drop: true })
    }
}

impl<F: Supports<K>, K: Connected> ReadHalf<F, K> {
    /// The socket again, nothing shut down.
    ///
    /// # Errors
    ///
    /// The halves are of different sockets; both come back in the error.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// let (one, other) = UnixStream::pair()?;
    /// let (read, write) = one.split();
    /// let (_, foreign) = other.split();
    /// let error = read.reunite(foreign).unwrap_err();
    /// let one = error.read.reunite(write).expect("halves of one socket");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reunite(self, mut write: WriteHalf<F, K>) -> Result<Socket<F, K>, ReuniteError<F, K>> {
        if !Arc::ptr_eq(&self.socket, &write.socket) {
            return Err(ReuniteError { read: self, write });
        }
        write.shut_on_drop = false;
        drop(write);
        Ok(Arc::into_inner(self.socket).expect("two halves hold a socket, and one is gone"))
    }

    /// The address of this end, as [`Socket::local_addr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn local_addr(&self) -> io::Result<F::Address> {
        self.socket.local_addr()
    }

    /// The address of the other end, as [`Socket::peer_addr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn peer_addr(&self) -> io::Result<F::Address> {
        self.socket.peer_addr()
    }
}

impl<F: Supports<K>, K: Connected> WriteHalf<F, K> {
    /// Closes directions of the socket while both halves live on, as [`Socket::shutdown`]: with
    /// `Shutdown::Read` or `Both` a blocked read on the other half returns.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// The address of this end, as [`Socket::local_addr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn local_addr(&self) -> io::Result<F::Address> {
        self.socket.local_addr()
    }

    /// The address of the other end, as [`Socket::peer_addr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn peer_addr(&self) -> io::Result<F::Address> {
        self.socket.peer_addr()
    }
}

impl<F: Supports<K>, K: Connected> Drop for WriteHalf<F, K> {
    fn drop(&mut self) {
        if self.shut_on_drop {
            // It fails only where the connection is gone already, and then there is nothing to tell.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }
}

/// As of the whole socket.
impl<F: Supports<Stream>> Read for ReadHalf<F, Stream> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self.socket).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self.socket).read_vectored(bufs)
    }
}

impl<F: Supports<Stream>> ReadHalf<F, Stream> {
    /// Reads without taking, as [`Socket::peek`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buf)
    }
}

/// As of the whole socket.
impl<F: Supports<Stream>> Write for WriteHalf<F, Stream> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self.socket).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.socket).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: Supports<SeqPacket>> ReadHalf<F, SeqPacket> {
    /// Receives one message, as [`Socket::recv`](Socket::<crate::addr::Unix, SeqPacket>::recv).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Option<Received>> {
        self.socket.recv(buf)
    }
}

impl<F: Supports<SeqPacket>> WriteHalf<F, SeqPacket> {
    /// Sends one message, as [`Socket::send`](Socket::<crate::addr::Unix, SeqPacket>::send).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send(&self, message: &[u8]) -> io::Result<usize> {
        self.socket.send(message)
    }

    /// Sends one message gathered from several pieces.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send_vectored(pieces)
    }
}

impl<F: Supports<K>, K: Connected> AsFd for ReadHalf<F, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<F: Supports<K>, K: Connected> AsFd for WriteHalf<F, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<F: Supports<K>, K: Connected> fmt::Debug for ReadHalf<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(&self.socket).finish()
    }
}

impl<F: Supports<K>, K: Connected> fmt::Debug for WriteHalf<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(&self.socket).finish()
    }
}

/// Two halves that do not belong together, given back.
pub struct ReuniteError<F: Supports<K>, K: Connected> {
    /// The half that was asked.
    pub read: ReadHalf<F, K>,
    /// The half that was offered.
    pub write: WriteHalf<F, K>,
}

impl<F: Supports<K>, K: Kind + Connected> fmt::Debug for ReuniteError<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ReuniteError");
        debug.field("read", &self.read).field("write", &self.write).finish()
    }
}

impl<F: Supports<K>, K: Connected> fmt::Display for ReuniteError<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are of different sockets")
    }
}

impl<F: Supports<K>, K: Connected> Error for ReuniteError<F, K> {}
