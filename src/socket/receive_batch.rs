//! Many UDP datagrams received with one system call.
//!
//! A system call costs more than a short datagram: who has many saves most of it. The batch is memory that
//! is taken once and used again. Sending is in `send_batch`.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::arrival::{Notes, address_in};
use super::{Arrival, Socket};
use crate::addr::{Address, Datagrams, IpFamily, Supports};
use crate::sys::messages::{Message, Received};
use crate::sys::udp;

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

/// Many datagrams received with one call, on UDP sockets.
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
}

/// The kernel takes no more with one call (`UIO_MAXIOV`).
pub(super) const DATAGRAMS_MAX: usize = 1024;
/// No UDP datagram is longer, glued or not.
const BYTES_MAX: usize = 65_535;
