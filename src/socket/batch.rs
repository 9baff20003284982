//! Many UDP datagrams with one system call, received and sent.
//!
//! A system call costs more than a short datagram: who has many saves most of it. The batches are memory
//! that is taken once and used again.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::arrival::{Notes, address_in};
use super::{Arrival, Outgoing, Socket};
use crate::addr::{Address, ConnectedDatagram, Datagram, Datagrams, IpFamily, Supports};
use crate::sys::messages::{Message, Received, Room, Waiting};
use crate::sys::{errors, udp};

/// Room for datagrams that are received together, by [`receive_batch`](Socket::receive_batch).
///
/// ```
/// use sockeye::socket::{ReceiveBatch, UdpSocket};
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// for text in ["one", "", "three"] {
///     socket.send_to(text.as_bytes(), &socket.local_addr()?)?;
/// }
/// let mut batch = ReceiveBatch::new(32, 1500);
/// assert_eq!(socket.receive_batch(&mut batch)?, 3);
/// for (payload, arrival) in &batch {
///     assert_eq!((payload.len(), arrival.from), (arrival.full_len, socket.local_addr()?));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReceiveBatch<A = SocketAddr> {
    received: Received,
    /// Of the last call, glued ones counted singly.
    count: usize,
    address: PhantomData<fn() -> A>,
}

impl<A> ReceiveBatch<A> {
    /// Room for so many datagrams (1 to 1,024) of so many bytes each (at most 65,535). It takes the memory
    /// now, all of it, and no more later.
    ///
    /// 32 datagrams are enough to spread the cost of a call. 1,500 bytes hold what comes over Ethernet in
    /// one piece. Where the kernel glues datagrams ([`set_gro`](Socket::set_gro)) give 65,535 bytes: what
    /// comes glued, up to 64 datagrams, needs one room together.
    pub fn new(datagrams: usize, bytes_each: usize) -> Self {
        let received = Received::new(datagrams.clamp(1, DATAGRAMS_MAX), bytes_each.min(BYTES_MAX));
        Self { received, count: 0, address: PhantomData }
    }

    /// How many datagrams the last call received.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none: no call yet, or one that failed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<A: Address> ReceiveBatch<A> {
    /// What the last call received, in the order of its coming: the bytes, and what is known of each.
    pub fn iter(&self) -> Batched<'_, A> {
        Batched { batch: self, next: 0, glued: None }
    }
}

impl<'a, A: Address> IntoIterator for &'a ReceiveBatch<A> {
    type Item = (&'a [u8], Arrival<A>);
    type IntoIter = Batched<'a, A>;

    fn into_iter(self) -> Batched<'a, A> {
        self.iter()
    }
}

impl<A> fmt::Debug for ReceiveBatch<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("datagrams", &self.received.slots())
            .field("bytes_each", &self.received.slot_bytes())
            .field("len", &self.count)
            .finish()
    }
}

/// The datagrams of a [`ReceiveBatch`], each with what is known of it.
pub struct Batched<'a, A = SocketAddr> {
    batch: &'a ReceiveBatch<A>,
    /// The next message of the kernel's, of which each is one datagram or several.
    next: usize,
    /// The one that is being taken apart.
    glued: Option<Glued<'a, A>>,
}

struct Glued<'a, A> {
    bytes: &'a [u8],
    length: usize,
    segment: usize,
    start: usize,
    notes: Notes,
    from: A,
}

impl<'a, A: Address> Iterator for Batched<'a, A> {
    type Item = (&'a [u8], Arrival<A>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(glued) = &mut self.glued {
                let end = glued.length.min(glued.start + glued.segment);
                let full_len = end - glued.start;
                // What had no room is missing at the end: of one datagram, or whole ones.
                let there = glued.bytes.len().clamp(glued.start.min(glued.bytes.len()), end);
                let payload = glued.bytes.get(glued.start..there).unwrap_or_default();
                let arrival = glued.notes.with(payload.len(), full_len, glued.from.clone());
                glued.start = end;
                if end == glued.length {
                    self.glued = None;
                }
                return Some((payload, arrival));
            }
            let Message { bytes, length, from, beside } = self.batch.received.get(self.next)?;
            self.next += 1;
            // The kernel names senders of the socket's family, and always one.
            let Some(from) = from.and_then(address_in) else { continue };
            let notes = Notes::read(beside);
            let segment = notes.segment.unwrap_or(length);
            self.glued = Some(Glued { bytes, length, segment, start: 0, notes, from });
        }
    }
}

impl<A> fmt::Debug for Batched<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batched").field("batch", self.batch).finish_non_exhaustive()
    }
}

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
        // What fails fails at the first, so that an error leaves nothing behind.
        for index in 0..messages {
            let part = &payload[index * step..payload.len().min((index + 1) * step)];
            // The last part may be a single datagram.
            let cut = if part.len() > segment { u16::try_from(segment).unwrap_or(0) } else { 0 };
            self.waiting.push(part, cut, datagram.to(), datagram.beside()?, self.pushed)?;
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

/// Many datagrams with one call, on UDP sockets.
impl<F: IpFamily + Supports<K>, K: Datagrams> Socket<F, K> {
    /// Receives one datagram and all others that are there, as far as the batch has room: `recvmmsg(2)`.
    /// Blocks until there is one, and not for the others. What was in the batch is gone.
    ///
    /// Returns how many datagrams there are, at least 1.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive). An error that meets the call later, the next call returns.
    #[doc(alias = "recvmmsg")]
    pub fn receive_batch(&self, batch: &mut ReceiveBatch<F::Address>) -> io::Result<usize> {
        batch.count = 0;
        self.hearing(|| batch.received.receive(self.as_fd()))?;
        batch.count = match self.count_glued(&batch.received) {
            Some(count) => count,
            None => batch.received.count(),
        };
        Ok(batch.count)
    }

    /// How many datagrams there are, if that is not how many messages.
    fn count_glued(&self, received: &Received) -> Option<usize> {
        let mut count = 0;
        for index in 0..received.count() {
            let Message { length, beside, .. } = received.get(index)?;
            let segment = Notes::read(beside).segment.unwrap_or(length);
            count += length.div_ceil(segment.max(1)).max(1);
        }
        Some(count)
    }

    /// Whether the kernel glues datagrams together for this socket: `UDP_GRO`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn gro(&self) -> io::Result<bool> {
        udp::gro(self)
    }

    /// Lets the kernel glue datagrams of one sender and one length together (generic receive offload,
    /// `UDP_GRO`, Linux 5.0), which makes many of them several times cheaper, or not. Default: not. Returns
    /// whether it will: a kernel that cannot does without.
    ///
    /// From then on receive by [`receive_batch`](Self::receive_batch), which takes them apart again:
    /// [`recv_from`](Socket::recv_from) and `recv` would take several for one. Give the batch rooms of
    /// 65,535 bytes.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// use sockeye::socket::{ReceiveBatch, SendBatch, UdpSocket};
    /// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// let _glues = other.set_gro(true)?;
    /// let mut batch = SendBatch::new(1, 65_535);
    /// batch.push_segments(&[7; 3000], 1200, &other.local_addr()?)?;
    /// assert_eq!(one.send_batch(&mut batch)?.datagrams, 3);
    /// let (mut batch, mut lengths) = (ReceiveBatch::new(8, 65_535), Vec::new());
    /// while lengths.len() < 3 {
    ///     other.receive_batch(&mut batch)?;
    ///     lengths.extend(batch.iter().map(|(payload, _)| payload.len()));
    /// }
    /// assert_eq!(lengths, [1200, 1200, 600]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "UDP_GRO")]
    pub fn set_gro(&self, on: bool) -> io::Result<bool> {
        udp::set_gro(self, on)
    }

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

/// The kernel takes no more with one call (`UIO_MAXIOV`).
const DATAGRAMS_MAX: usize = 1024;
/// No UDP datagram is longer, glued or not.
const BYTES_MAX: usize = 65_535;
/// What the kernel cuts at once (`UDP_MAX_SEGMENTS`; newer ones take 128).
const SEGMENTS_MAX: usize = 64;
/// What it takes at once: the longest datagram that IPv4 has.
const SEGMENTED_BYTES_MAX: usize = 65_507;
