//! A datagram to be sent, with what is to be beside it.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Arrival, Ecn};
use crate::addr::{Address, IpFamily};
use crate::sys::messages::Beside;

/// One datagram, and how it is to be sent: for [`send_datagram`](super::Socket::send_datagram) and
/// [`SendBatch::push_with`](super::SendBatch::push_with).
///
/// What is not said is the kernel's choice, or the socket's setting. `A` is the type of the address that
/// it goes to, or `()` if that can only be the peer.
///
/// ```
/// use sockeye::socket::{Ecn, Outgoing};
/// use std::net::{Ipv4Addr, SocketAddr};
/// let to: SocketAddr = "192.0.2.7:7000".parse()?;
/// let from = Ipv4Addr::new(192, 0, 2, 1);
/// let datagram = Outgoing::new(b"hello", &to).from(from.into()).interface(2).ecn(Ecn::Ect0);
/// # let _ = datagram;
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use = "it is sent by a socket or a batch"]
pub struct Outgoing<'a, A = SocketAddr> {
    pub(super) payload: &'a [u8],
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
    interface: u32,
    ecn: Option<Ecn>,
    address: PhantomData<fn(A)>,
}

impl<'a, A: Address> Outgoing<'a, A>
where
    A::Family: IpFamily,
{
    /// A datagram to this address.
    pub fn new(payload: &'a [u8], to: &A) -> Self {
        Self::to_any(payload, to.to_any().as_ip().copied())
    }

    /// One to where another came from, from the address that was asked.
    ///
    /// If a group or everybody was asked, it comes from the address that this host has on that interface
    /// (IPv4), or from one of the kernel's choice (IPv6).
    pub fn answer(arrival: &Arrival<A>, payload: &'a [u8]) -> Self
    where
        A: Clone,
    {
        let mut datagram = Self::new(payload, &arrival.from);
        datagram.from = arrival.answer_from;
        // An address of a link means nothing without the link. Otherwise the way back is the routes' to
        // choose, and need not be the way that it came.
        if let Some(IpAddr::V6(from)) = arrival.answer_from {
            if from.is_unicast_link_local() {
                datagram.interface = arrival.interface.unwrap_or(0);
            }
        }
        datagram
    }

    /// Has it leave from this address, which must be one of this host's; the port stays the socket's. On a
    /// dual-stack socket IPv4 may be plain or mapped. `IP_PKTINFO`, `IPV6_PKTINFO`.
    pub fn from(mut self, from: IpAddr) -> Self {
        self.from = Some(from.to_canonical());
        self
    }

    /// Has it leave by the interface with this index, whatever the routes say; 0 is the kernel's choice.
    /// [`lookup::interface_index`](crate::lookup::interface_index) has it by name. `IP_PKTINFO`,
    /// `IPV6_PKTINFO`.
    pub fn interface(mut self, index: u32) -> Self {
        self.interface = index;
        self
    }
}

impl<'a> Outgoing<'a, ()> {
    /// A datagram to the peer of a connected socket.
    pub fn to_peer(payload: &'a [u8]) -> Self {
        Self::to_any(payload, None)
    }
}

impl<'a, A> Outgoing<'a, A> {
    fn to_any(payload: &'a [u8], to: Option<SocketAddr>) -> Self {
        Self { payload, to, from: None, interface: 0, ecn: None, address: PhantomData }
    }

    /// Sets its ECN bits. The rest of its TOS byte or traffic class is then 0, whatever the socket's
    /// setting is. `IP_TOS`, `IPV6_TCLASS`.
    pub fn ecn(mut self, ecn: Ecn) -> Self {
        self.ecn = Some(ecn);
        self
    }

    pub(super) fn to(&self) -> Option<&SocketAddr> {
        self.to.as_ref()
    }

    /// What is beside it.
    pub(super) fn beside(&self) -> io::Result<Beside> {
        let mut beside = Beside::new();
        let to_v4 = self.to.map(|to| to.ip().to_canonical().is_ipv4());
        if self.from.is_some() || self.interface != 0 {
            let any: IpAddr = match to_v4 {
                Some(true) => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            let from = self.from.unwrap_or(any);
            if Some(from.is_ipv4()) != to_v4 {
                let text = format!("a datagram cannot go from {from} to the other version of IP");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            beside.source(from, self.interface)?;
        }
        if let Some(ecn) = self.ecn {
            // Of a peer the version is not known here: the kernel passes over what is of the other.
            for ipv6 in [false, true] {
                if to_v4 != Some(ipv6) {
                    beside.traffic_class(ipv6, ecn as u8)?;
                }
            }
        }
        Ok(beside)
    }
}

impl<A> Clone for Outgoing<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Outgoing<'_, A> {}

/// Without the payload, but for its length.
impl<A> fmt::Debug for Outgoing<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.payload.len())
            .field("to", &self.to)
            .field("from", &self.from)
            .field("interface", &self.interface)
            .field("ecn", &self.ecn)
            .finish()
    }
}
