//! Many UDP datagrams sent with one system call.
//!
//! The batch is memory that is taken once and used again. Receiving is in `receive_batch`.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::receive_batch::DATAGRAMS_MAX;
use super::{Outgoing, Socket};
use crate::addr::{Address, ConnectedDatagram, Datagram, Datagrams, IpFamily, Supports};
use crate::sys::messages::{Room, Waiting};
use crate::sys::{errors, udp};

/// Datagrams that are sent together, by [`send_batch`](Socket::send_batch).
///
/// `A` is the type of the addresses that they go to, or `()` for the peer of a connected socket.
///
/// ```
/// use sockeye::socket::{SendBatch, UdpSocket};
/// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let mut batch = SendBatch::new(32, 32 * 1500);
/// batch.push(b"hello", &other.local_addr()?)?;
/// batch.push_segments(&[7; 3000], 1200, &other.local_addr()?)?; // 1200, 1200 and 600 bytes
/// let sent = one.send_batch(&mut batch)?;
/// assert_eq!((sent.datagrams, sent.errors.len()), (4, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SendBatch<A = SocketAddr> {
    waiting: Waiting,
    /// How many were pushed since it was empty.
    pushed: usize,
    address: PhantomData<fn(A)>,
}

/// What became of a batch.
#[derive(Debug, Default)]
#[must_use = "some datagrams may have failed"]
#[non_exhaustive]
pub struct Sent {
    /// How many datagrams the kernel has taken.
    pub datagrams: usize,
    /// What it has refused: which push it was, counted from 0 since the batch was empty, and why. A push of
    /// several datagrams is here once. Without a failure it takes no memory.
    pub errors: Vec<(usize, io::Error)>,
}

impl<A> SendBatch<A> {
    /// Room for so many pushes (1 to 1,024) with so many bytes together. It takes the memory now, all of
    /// it, and no more later.
    pub fn new(datagrams: usize, bytes: usize) -> Self {
        let waiting = Waiting::new(datagrams.clamp(1, DATAGRAMS_MAX), bytes);
        Self { waiting, pushed: 0, address: PhantomData }
    }

    /// Adds a datagram as it says. False if there is no room for it now: send first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it has no room in an empty batch either, or its addresses are of both versions of
    /// IP.
    pub fn push_with(&mut self, datagram: &Outgoing<'_, A>) -> io::Result<bool> {
        self.push_all(datagram, 0)
    }

    /// Adds datagrams of `segment` bytes each, of which the last may be shorter. See
    /// [`push_segments`](SendBatch::push_segments).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn push_segments_with(
        &mut self,
        datagrams: &Outgoing<'_, A>,
        segment: usize,
    ) -> io::Result<bool> {
        match segment {
            0 => Err(io::Error::new(io::ErrorKind::InvalidInput, "segments of no bytes")),
            _ if datagrams.payload.len() <= segment => self.push_all(datagrams, 0),
            _ => self.push_all(datagrams, segment),
        }
    }

    fn push_all(&mut self, datagram: &Outgoing<'_, A>, segment: usize) -> io::Result<bool> {
        let payload = datagram.payload;
        // As many segments as the kernel takes at once. Those that it could never take it may refuse.
        let fitting = (SEGMENTED_BYTES_MAX / segment.max(1)).clamp(1, SEGMENTS_MAX);
        let step = if segment == 0 { payload.len() } else { fitting * segment };
        let messages = payload.len().div_ceil(step.max(1)).max(1);
        let mut beside = Some(datagram.beside()?);
        match self.waiting.room(messages, payload.len()) {
            Room::Yes => {}
            Room::NotNow => return Ok(false),
            Room::Never => {
                let text = format!("{} bytes are more than the batch has room for", payload.len());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        if self.waiting.is_empty() {
            self.pushed = 0;
        }
        for index in 0..messages {
            let part = &payload[index * step..payload.len().min((index + 1) * step)];
            // The last part may be a single datagram.
            let cut = if part.len() > segment { u16::try_from(segment).unwrap_or(0) } else { 0 };
            let beside = match beside.take() {
                Some(beside) => beside,
                None => datagram.beside()?,
            };
            self.waiting.push(part, cut, datagram.to(), beside, self.pushed)?;
        }
        self.pushed += 1;
        Ok(true)
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Throws away what waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl<A: Address> SendBatch<A>
where
    A::Family: IpFamily,
{
    /// Adds a datagram. False if there is no room for it now: send first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it has no room in an empty batch either.
    pub fn push(&mut self, payload: &[u8], to: &A) -> io::Result<bool> {
        self.push_with(&Outgoing::new(payload, to))
    }

    /// Adds datagrams of `segment` bytes each, of which the last may be shorter: the payload of all of them
    /// as one piece. It is one push.
    ///
    /// They leave by generic segmentation (`UDP_SEGMENT`, Linux 4.18), which costs little more than one
    /// datagram. Where the kernel does not have it, or not on this way, they are sent one by one.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); the segments have no bytes.
    #[doc(alias = "UDP_SEGMENT")]
    #[doc(alias = "GSO")]
    pub fn push_segments(&mut self, payload: &[u8], segment: usize, to: &A) -> io::Result<bool> {
        self.push_segments_with(&Outgoing::new(payload, to), segment)
    }
}

impl SendBatch<()> {
    /// Adds a datagram to the peer. False if there is no room for it now: send first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it has no room in an empty batch either.
    pub fn push_to_peer(&mut self, payload: &[u8]) -> io::Result<bool> {
        self.push_with(&Outgoing::to_peer(payload))
    }
}

impl<A> fmt::Debug for SendBatch<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl<F: IpFamily> Socket<F, Datagram> {
    /// Sends all that waits in a batch, which is then empty: `sendmmsg(2)`. Blocks while the send buffer is
    /// full.
    ///
    /// A datagram that the kernel refuses is in [`Sent::errors`], and the others are sent all the same.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing could be sent now, on a socket that does not block or whose
    /// [`write_timeout`](Self::write_timeout) is over. If something could, what could not stays in the
    /// batch, and that is no error: see [`SendBatch::is_empty`].
    #[doc(alias = "sendmmsg")]
    pub fn send_batch(&self, batch: &mut SendBatch<F::Address>) -> io::Result<Sent> {
        self.send_all(batch)
    }
}

impl<F: IpFamily> Socket<F, ConnectedDatagram> {
    /// Sends all that waits in a batch to the peer: `sendmmsg(2)`. Otherwise as on a socket
    /// [without a peer](Socket::send_batch).
    ///
    /// # Errors
    ///
    /// As there. If an earlier datagram was refused by the peer's host, the next one fails with
    /// `ConnectionRefused`, once, and is not sent: as with [`send`](Self::send).
    ///
    /// ```
    /// use sockeye::socket::{ConnectedUdpSocket, SendBatch, UdpSocket};
    /// let server = UdpSocket::bind("127.0.0.1:0")?;
    /// let client = ConnectedUdpSocket::connect(server.local_addr()?)?;
    /// let mut batch = SendBatch::new(8, 1000);
    /// for text in ["one", "two"] {
    ///     batch.push_to_peer(text.as_bytes())?;
    /// }
    /// assert_eq!(client.send_batch(&mut batch)?.datagrams, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_batch(&self, batch: &mut SendBatch<()>) -> io::Result<Sent> {
        self.send_all(batch)
    }
}

impl<F: IpFamily + Supports<K>, K: Datagrams> Socket<F, K> {
    fn send_all<A>(&self, batch: &mut SendBatch<A>) -> io::Result<Sent> {
        let (waiting, mut sent) = (&mut batch.waiting, Sent::default());
        if waiting.gso && waiting.has_segments() {
            waiting.gso = udp::has_gso(self);
        }
        let mut tried_again = None;
        while !waiting.is_empty() {
            let error = match self.writing(|| waiting.send(self.as_fd())) {
                Ok(datagrams) => {
                    sent.datagrams += datagrams;
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                let nothing = sent.datagrams == 0 && sent.errors.is_empty();
                return if nothing { Err(error) } else { Ok(sent) };
            }
            // What the network says first is of an earlier datagram, unless there is one peer only.
            let position = Some(waiting.position());
            if !K::CONNECTED && errors::is_from_the_network(&error) && tried_again != position {
                tried_again = position;
                continue;
            }
            if errors::is_of_segments(&error) && waiting.split() {
                continue;
            }
            let owner = waiting.skip();
            if sent.errors.last().is_none_or(|(last, _)| *last != owner) {
                sent.errors.push((owner, error));
            }
        }
        Ok(sent)
    }
}

/// What the kernel cuts at once (`UDP_MAX_SEGMENTS`; newer ones take 128).
const SEGMENTS_MAX: usize = 64;
/// What it takes at once: the longest datagram that IPv4 has.
const SEGMENTED_BYTES_MAX: usize = 65_507;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ip;
    use crate::socket::{RawSocket, ReceiveBatch, UdpSocket};
    use socket2::{Domain, Type};

    #[test]
    fn without_gso_segments_are_sent_one_by_one() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (one, other) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
            let (to, mut batch) = (other.local_addr().unwrap(), SendBatch::new(8, 10_000));
            batch.waiting.gso = false;
            for payload in [&b"first"[..], b"", &[7; 2500], b"last"] {
                assert!(batch.push_segments(payload, 1000, &to).unwrap());
            }
            let sent = one.send_batch(&mut batch).unwrap();
            assert!(batch.is_empty());
            assert_eq!((sent.datagrams, sent.errors.len()), (6, 0));
            let mut incoming = ReceiveBatch::new(8, 2000);
            assert_eq!(other.receive_batch(&mut incoming).unwrap(), 6);
            let lengths: Vec<usize> = incoming.iter().map(|(payload, _)| payload.len()).collect();
            assert_eq!(lengths, [5, 0, 1000, 1000, 500, 4]);
        }
    }

    /// Over loopback a UDP socket is never full: a Unix one stands in, whose receiver is.
    #[test]
    fn what_cannot_leave_now_stays_and_leaves_later() {
        let (one, other) = RawSocket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        let one = Socket::<Ip, ConnectedDatagram>::from_raw(one);
        let other = Socket::<Ip, ConnectedDatagram>::from_raw(other);
        let mut batch = SendBatch::new(DATAGRAMS_MAX, 10_000);
        let mut pushed = 0_u16;
        while pushed < 1000 {
            assert!(batch.push_to_peer(&pushed.to_ne_bytes()).unwrap());
            pushed += 1;
        }
        let (mut came, mut partly) = (0_u16, 0);
        while came < pushed {
            let sent = one.send_batch(&mut batch).unwrap();
            partly += u32::from(!batch.is_empty());
            assert!(sent.errors.is_empty() && sent.datagrams > 0);
            if !batch.is_empty() {
                let error = one.send_batch(&mut batch).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            }
            for _ in 0..sent.datagrams {
                let mut number = [0; 2];
                assert_eq!(other.recv(&mut number).unwrap().full_len, 2);
                assert_eq!(u16::from_ne_bytes(number), came);
                came += 1;
            }
        }
        assert!(partly > 0 && batch.is_empty());
    }
}
