//! Whole messages between two connected sockets: seqpacket, and datagrams after `connect`.
//!
//! No `Read` and no `Write` here: they would cut and glue messages without a word.

use std::io::{self, IoSlice};

use super::Socket;
use crate::addr::{ConnectedDatagram, Datagrams, Kind, SeqPacket, Supports};
use crate::sys::transfer;

/// One message that was received.
///
/// The bytes are in the caller's buffer. A message that is longer than the buffer is cut by the
/// kernel and its rest is lost, so this says so: a value and not an error, because the length is the
/// sender's choice and must not end a loop of receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a message may have been cut"]
#[non_exhaustive]
pub struct Received<A = ()> {
    /// How many bytes of the buffer hold the message. 0 is an empty message (or, on seqpacket, the
    /// end: the kernel does not tell them apart).
    pub len: usize,
    /// Who sent it; `()` where that can only be the peer.
    pub from: A,
    /// The message was longer than the buffer, and its rest is gone.
    pub truncated: bool,
    /// How long the message was, even if the buffer was shorter. (Where the system is not Linux it does
    /// not tell, and this is `len`.)
    pub full_len: usize,
}

impl<A> Received<A> {
    /// A message of this length, of which as much as has `room` is there.
    pub(super) fn new(full_len: usize, room: usize, truncated: bool, from: A) -> Self {
        Self { len: full_len.min(room), from, truncated, full_len }
    }
}

impl<F: Supports<SeqPacket>> Socket<F, SeqPacket> {
    /// Sends one message, whole or not at all: `send(2)`. Blocks while the peer's queue is full.
    ///
    /// Returns the length of `message`.
    ///
    /// # Errors
    ///
    /// The message exceeds the send buffer (`EMSGSIZE`); the peer has gone (`BrokenPipe`, and no
    /// signal).
    ///
    /// ```
    /// let (one, other) = sockeye::socket::UnixSeqPacket::pair()?;
    /// one.send(b"ab")?;
    /// one.send(b"c")?;
    /// let mut buf = [0; 64];
    /// assert_eq!(other.recv(&mut buf)?.map(|message| message.len), Some(2));
    /// assert_eq!(other.recv(&mut buf)?.map(|message| message.len), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, message: &[u8]) -> io::Result<usize> {
        self.send_message(message)
    }

    /// Sends one message gathered from several pieces: `sendmsg(2)`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); more than 1,024 pieces (`EMSGSIZE`).
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing(|| transfer::send_vectored(&self.raw, pieces))
    }

    /// Receives one message: `recvmsg(2)`. Blocks until there is one. `None` is the end of the
    /// connection; an empty message is a message.
    ///
    /// # Errors
    ///
    /// As `recvmsg(2)`.
    ///
    /// ```
    /// let (one, other) = sockeye::socket::UnixSeqPacket::pair()?;
    /// one.send(b"longer than that")?;
    /// let mut buf = [0; 6];
    /// let received = other.recv(&mut buf)?.expect("a message");
    /// assert!(received.truncated);
    /// assert_eq!(&buf[..received.len], b"longer");
    /// drop(one);
    /// assert!(other.recv(&mut buf)?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Option<Received>> {
        let length = self.reading(|| transfer::recv_record(&self.raw, buf, true))?;
        Ok(length.map(|length| Received::new(length, buf.len(), length > buf.len(), ())))
    }
}

impl<F: Supports<ConnectedDatagram>> Socket<F, ConnectedDatagram> {
    /// Sends one datagram to the peer: `send(2)`. Blocks while the send buffer (over Unix: the
    /// peer's queue) is full. An empty datagram is one.
    ///
    /// Returns the length of `datagram`. Over UDP it may still be lost.
    ///
    /// # Errors
    ///
    /// Too long for one datagram (`EMSGSIZE`; over UDP 65,507 bytes fit at most); an earlier one was refused by
    /// the peer's host (`ConnectionRefused`, once).
    ///
    /// ```
    /// use sockeye::socket::{ConnectedUdpSocket, UdpSocket};
    /// let server = UdpSocket::bind("127.0.0.1:0")?;
    /// let client = ConnectedUdpSocket::connect(server.local_addr()?)?;
    /// client.send(b"ping")?;
    /// let ping = server.recv_from(&mut [0; 64])?;
    /// server.send_to(b"pong", &ping.from)?;
    /// assert_eq!(client.recv(&mut [0; 64])?.len, 4);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// There is no `send_to`: the peer is settled.
    ///
    /// ```compile_fail,E0599
    /// use sockeye::socket::{ConnectedUdpSocket, UdpSocket};
    /// let client = ConnectedUdpSocket::connect("127.0.0.1:7000").unwrap();
    /// client.send_to(b"ping", &"127.0.0.1:7001".parse().unwrap());
    /// ```
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.send_message(datagram)
    }

    /// Sends one datagram gathered from several pieces: `sendmsg(2)`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); more than 1,024 pieces (`EMSGSIZE`).
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing(|| transfer::send_vectored(&self.raw, pieces))
    }

    /// Receives one datagram from the peer: `recvmsg(2)`. Blocks until there is one. The kernel drops
    /// what others send.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, once, if an earlier datagram reached a port without a socket: more may
    /// follow.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Received> {
        let (length, truncated) = self.reading(|| transfer::recv_message(&self.raw, buf))?;
        Ok(Received::new(length, buf.len(), truncated, ()))
    }

    /// [`recv`](Self::recv) into a vector that is made as long as the datagram is. What was in it is gone;
    /// its memory is used again.
    ///
    /// Two system calls: the first asks for the length (`recv(2)` with `MSG_PEEK` and `MSG_TRUNC`). If
    /// another thread takes that datagram in between, the next one may be cut, and says so.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// let (one, other) = sockeye::socket::ConnectedUnixDatagram::pair()?;
    /// let mut datagram = Vec::new();
    /// for length in [10_000, 0, 3] {
    ///     one.send(&vec![b'x'; length])?;
    ///     let received = other.recv_vec(&mut datagram)?;
    ///     assert!(datagram.len() == length && !received.truncated);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_vec(&self, datagram: &mut Vec<u8>) -> io::Result<Received> {
        self.make_room(datagram)?;
        let received = self.recv(datagram)?;
        datagram.truncate(received.len);
        Ok(received)
    }
}

impl<F: Supports<K>, K: Kind> Socket<F, K> {
    fn send_message(&self, message: &[u8]) -> io::Result<usize> {
        self.writing(|| transfer::send(&self.raw, message))
    }
}

impl<F: Supports<K>, K: Datagrams> Socket<F, K> {
    /// Waits for a datagram and makes the vector as long as it is.
    pub(super) fn make_room(&self, datagram: &mut Vec<u8>) -> io::Result<()> {
        let length = self.hearing(|| transfer::next_length(&self.raw))?;
        datagram.resize(length.unwrap_or(DATAGRAM_BYTES_MAX), 0);
        Ok(())
    }
}

/// No UDP datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 65_535;
