//! A datagram with all that the kernel knows of its way: where it was sent to, and how it came.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::{Outgoing, Socket, open};
use crate::addr::{Address, ConnectedDatagram, Datagram, Datagrams, IpFamily, Supports};
use crate::sys::control::{Control, Controls, IP_SPACE, Room};
use crate::sys::messages;

/// What is known of a datagram that was received, but its bytes.
///
/// ```
/// use sockeye::socket::UdpSocket;
/// let server = UdpSocket::bind("0.0.0.0:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// let to = (std::net::Ipv4Addr::new(127, 0, 0, 2), server.local_addr()?.port()).into();
/// client.send_to(b"who are you?", &to)?;
///
/// let mut buffer = [0; 1500];
/// let arrival = server.receive(&mut buffer)?;
/// assert_eq!(arrival.to, Some(to.ip()));
/// server.answer(&arrival, b"127.0.0.2")?;
/// assert_eq!(client.recv_from(&mut buffer)?.from, to); // and not 127.0.0.1
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a datagram may have been cut"]
#[non_exhaustive]
pub struct Arrival<A = SocketAddr> {
    /// How many bytes there are. 0 is an empty datagram, which is one like any other.
    pub len: usize,
    /// How long the datagram was, even if there was less room.
    pub full_len: usize,
    /// It was longer than the room for it, and its rest is gone.
    pub truncated: bool,
    /// Who sent it. On a dual-stack socket IPv4 peers are `::ffff:1.2.3.4`.
    pub from: A,
    /// Where it was sent to: an address of this host, a group, or a broadcast address. IPv4 is plain, also
    /// on a dual-stack socket. `None` if the system does not tell: where it is not Linux.
    pub to: Option<IpAddr>,
    /// The address of this host that an answer should leave from, which is `to` if that is one. `None`
    /// leaves it to the kernel: for IPv6 groups, and for what waited on an IPv4 socket before it was made
    /// a [`Socket`] out of a descriptor.
    pub answer_from: Option<IpAddr>,
    /// The index of the interface that it came in by; that of `lo` for what this host sent. `None` as for
    /// `to`, and where `answer_from` is missing.
    pub interface: Option<u32>,
    /// Whether it met congestion on its way. [`Ecn::NotEct`] also if the system does not tell.
    pub ecn: Ecn,
}

/// Explicit congestion notification: the lower two bits of an IP packet's TOS byte or traffic class
/// (RFC 3168, RFC 9331).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(clippy::exhaustive_enums, reason = "two bits have four values")]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotEct = 0,
    /// The sender takes part, and wants to hear of congestion early (L4S).
    Ect1 = 1,
    /// The sender takes part.
    Ect0 = 2,
    /// A router was congested.
    Ce = 3,
}

impl Ecn {
    fn of(traffic_class: u8) -> Ecn {
        match traffic_class & 3 {
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            3 => Ecn::Ce,
            _ => Ecn::NotEct,
        }
    }
}

/// What was beside a datagram.
#[derive(Clone, Copy, Default)]
pub(super) struct Notes {
    to: Option<IpAddr>,
    answer_from: Option<IpAddr>,
    interface: Option<u32>,
    ecn: Ecn,
    /// It is several datagrams of this length.
    pub(super) segment: Option<usize>,
}

impl Notes {
    pub(super) fn read(controls: Controls<'_>) -> Notes {
        let mut notes = Notes::default();
        for control in controls {
            match control {
                // A dual-stack socket says it twice for IPv4: the form of IPv6 does not know from where
                // to answer.
                Control::Destination { to, answer_from, interface }
                    if to.is_ipv4() || notes.to.is_none() =>
                {
                    let nobody = answer_from.is_unspecified() || answer_from.is_multicast();
                    notes.to = Some(to.to_canonical());
                    notes.answer_from = (!nobody).then(|| answer_from.to_canonical());
                    notes.interface = (interface != 0).then_some(interface);
                }
                Control::TrafficClass(class) => notes.ecn = Ecn::of(class),
                Control::SegmentBytes(length) if length > 0 => notes.segment = Some(length),
                _ => {}
            }
        }
        notes
    }

    pub(super) fn with<A>(&self, len: usize, full_len: usize, from: A) -> Arrival<A> {
        let Notes { to, answer_from, interface, ecn, segment: _ } = *self;
        let truncated = len < full_len;
        Arrival { len, full_len, truncated, from, to, answer_from, interface, ecn }
    }
}

/// Datagrams with what is beside them, on UDP sockets.
impl<F: IpFamily + Supports<K>, K: Datagrams> Socket<F, K> {
    /// Receives one datagram and all that is known of it: `recvmsg(2)`. Blocks until there is one.
    ///
    /// What [`recv_from`](Socket::recv_from) does not tell is the address that was asked, which matters
    /// to servers that are bound to the wildcard ([`answer`](Socket::answer)), the interface, and the
    /// ECN bits. It costs a few hundred bytes of stack and the reading of them.
    ///
    /// A datagram longer than `buffer` is cut, and [`Arrival::truncated`] says so.
    ///
    /// An ICMP error that an earlier datagram has met never ends a loop of this on an unconnected socket.
    /// On a connected one it is `ConnectionRefused` and the like, once.
    ///
    /// # Errors
    ///
    /// As `recvmsg(2)`. `InvalidInput` if the kernel has glued datagrams together, because
    /// [`set_gro`](Socket::set_gro) is on: then receive by batches.
    ///
    /// ```
    /// use sockeye::addr::Ipv6;
    /// use sockeye::socket::{Ecn, UdpSocket};
    /// use std::net::Ipv6Addr;
    /// let socket: UdpSocket<Ipv6> = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    /// socket.send_to(b"seven..", &socket.local_addr()?)?;
    /// let arrival = socket.receive(&mut [0; 5])?;
    /// assert_eq!((arrival.len, arrival.full_len, arrival.truncated), (5, 7, true));
    /// assert_eq!((arrival.to, arrival.ecn), (Some(Ipv6Addr::LOCALHOST.into()), Ecn::NotEct));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival<F::Address>> {
        let mut room = Room::<IP_SPACE>::new();
        let message = self.hearing(|| room.receive(&self.raw, buffer, 0))?;
        let notes = Notes::read(room.take());
        if notes.segment.is_some_and(|segment| segment < message.length) {
            let text = "several datagrams in one: a socket with `gro` on receives by batches";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let from = open::address_of::<F>(&message.from)?;
        Ok(notes.with(message.length.min(buffer.len()), message.length, from))
    }
}

impl<F: IpFamily> Socket<F, Datagram> {
    /// Sends a datagram back to where one came from, from the address that was asked: `sendmsg(2)`. Blocks
    /// as [`send_to`](Self::send_to).
    ///
    /// A socket that is bound to the wildcard has many addresses, and a client that hears from another one
    /// than it has asked takes the answer for a stranger's.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); this host has lost the address meanwhile (`EINVAL`,
    /// `NetworkUnreachable`).
    pub fn answer(&self, arrival: &Arrival<F::Address>, payload: &[u8]) -> io::Result<usize> {
        self.send_datagram(&Outgoing::answer(arrival, payload))
    }

    /// Sends one datagram as it says: by which interface, from which address, with which ECN bits.
    /// `sendmsg(2)`. Blocks as [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). `InvalidInput` if the source address is none of this host's, or of
    /// the other IP version than the destination; no such interface (`ENODEV`).
    ///
    /// ```
    /// use sockeye::socket::{Ecn, Outgoing, UdpSocket};
    /// use std::net::Ipv4Addr;
    /// let (one, other) = (UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// let to = other.local_addr()?;
    /// let source = Ipv4Addr::new(127, 0, 0, 3);
    /// one.send_datagram(&Outgoing::new(b"hello", &to).from(source.into()).ecn(Ecn::Ect0))?;
    /// let arrival = other.receive(&mut [0; 64])?;
    /// assert_eq!((arrival.from.ip(), arrival.ecn), (source.into(), Ecn::Ect0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_datagram(&self, datagram: &Outgoing<'_, F::Address>) -> io::Result<usize> {
        let beside = datagram.beside()?;
        let send = || messages::send(self.as_fd(), datagram.payload, datagram.to(), &beside);
        self.sending_to(send).map_err(|error| match datagram.to() {
            Some(to) => self.explained(error, to),
            None => error,
        })
    }
}

impl<F: IpFamily> Socket<F, ConnectedDatagram> {
    /// Sends one datagram to the peer as it says: with which ECN bits. `sendmsg(2)`. Blocks as
    /// [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_datagram(&self, datagram: &Outgoing<'_, ()>) -> io::Result<usize> {
        let beside = datagram.beside()?;
        self.writing(|| messages::send(self.as_fd(), datagram.payload, None, &beside))
    }
}

/// An address of the kernel's, as the socket's family has it.
pub(super) fn address_in<A: Address>(from: SocketAddr) -> Option<A> {
    A::from_any(from.into()).ok()
}
