//! Who the other side is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{AnyAddr, Endpoint, Transport, UnixAddr};

/// The other side of a connection, or the sender of a datagram.
///
/// 40 bytes: every session has one. Prints as an [`Endpoint`]; a Unix client that has not bound its
/// socket, as most have not, prints as `unix://(unnamed)`, and one within the process as
/// `memory://(unnamed)`.
///
/// ```
/// use sockeye::Peer;
/// use std::net::SocketAddr;
/// let peer = Peer::tcp(SocketAddr::from(([192, 0, 2, 1], 4711)));
/// assert_eq!(peer.to_string(), "tcp://192.0.2.1:4711");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    addr: AnyAddr,
    transport: Transport, // agrees with the address: the constructors see to it
}

impl Peer {
    /// A peer over TCP.
    pub fn tcp(addr: impl Into<SocketAddr>) -> Self {
        Peer { addr: AnyAddr::Ip(addr.into()), transport: Transport::Tcp }
    }

    /// A peer over UDP.
    pub fn udp(addr: impl Into<SocketAddr>) -> Self {
        Peer { addr: AnyAddr::Ip(addr.into()), transport: Transport::Udp }
    }

    /// A peer over a Unix stream.
    pub fn unix(addr: UnixAddr) -> Self {
        Peer { addr: AnyAddr::Unix(addr), transport: Transport::Unix }
    }

    /// A peer over Unix datagrams.
    pub fn unix_datagram(addr: UnixAddr) -> Self {
        Peer { addr: AnyAddr::Unix(addr), transport: Transport::UnixDatagram }
    }

    /// A peer over Unix seqpacket.
    pub fn unix_seqpacket(addr: UnixAddr) -> Self {
        Peer { addr: AnyAddr::Unix(addr), transport: Transport::UnixSeqPacket }
    }

    /// A peer within the process. It has no address: what stands for it is an unnamed Unix one.
    pub fn memory() -> Self {
        Peer { addr: AnyAddr::Unix(UnixAddr::unnamed()), transport: Transport::Memory }
    }

    /// An address and how it is spoken to; `None` if it cannot be spoken to so.
    pub fn from_addr(transport: Transport, addr: impl Into<AnyAddr>) -> Option<Self> {
        let addr = addr.into();
        transport.fits(&addr).then_some(Peer { addr, transport })
    }

    /// How it is spoken to.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Its address.
    pub fn addr(&self) -> &AnyAddr {
        &self.addr
    }

    /// Its IP address, if it has one: what limits and logs go by.
    pub fn ip(&self) -> Option<IpAddr> {
        self.addr.ip()
    }
}

impl From<Peer> for Endpoint {
    fn from(peer: Peer) -> Self {
        Endpoint::from_addr(peer.transport, peer.addr).expect("a peer's transport fits its address")
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.addr)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_enough_to_keep_one_per_session() {
        assert!(size_of::<Peer>() <= 40, "{}", size_of::<Peer>());
        assert_eq!(size_of::<UnixAddr>(), 16);
    }

    #[test]
    fn transports_and_addresses_must_agree() {
        let ip = AnyAddr::Ip(SocketAddr::from(([127, 0, 0, 1], 80)));
        let unix = AnyAddr::Unix(UnixAddr::unnamed());
        for transport in Transport::ALL {
            let (fits, misfit) = match transport {
                Transport::Tcp | Transport::Udp => (&ip, &unix),
                _ => (&unix, &ip),
            };
            assert_eq!(Peer::from_addr(transport, misfit.clone()), None);
            assert_eq!(Endpoint::from_addr(transport, misfit.clone()), None);
            let peer = Peer::from_addr(transport, fits.clone()).unwrap();
            if transport != Transport::Memory {
                assert_eq!(Transport::of(transport.socket_type(), fits), Some(transport));
            }
            assert_eq!(peer.to_string(), Endpoint::from(peer).to_string());
        }
        let named = AnyAddr::Unix(UnixAddr::from_path("/run/app").unwrap());
        assert_eq!(Peer::from_addr(Transport::Memory, named), None);
        assert_eq!(Peer::memory().to_string(), "memory://(unnamed)");
    }
}
