//! Multicast: one datagram to all who joined a group, on UDP sockets.
//!
//! Who receives binds the group's port and joins the group on an interface; who sends sends to the
//! group, and says by which interface it leaves. Groups are those of the socket's family.

use std::io;
use std::net::IpAddr;

use socket2::{Domain, SockRef};

use super::Socket;
use crate::addr::{Datagram, InterfaceId, IpFamily};
use crate::sys::multicast::{self as sys, Change};
use crate::sys::udp;

/// Multicast, on UDP sockets.
///
/// None of these blocks. What is set here stays when the socket is
/// [connected](Socket::connect). Several programs of one host hear one group if each binds the port with
/// [`reuse_address`](super::Options::reuse_address): then each gets every datagram.
///
/// ```no_run
/// use sockeye::addr::Ipv4;
/// use sockeye::socket::{Options, UdpSocket};
/// use std::net::{Ipv4Addr, SocketAddrV4};
///
/// let group = Ipv4Addr::new(239, 255, 1, 2);
/// let shared = Options::new().reuse_address(true);
/// let socket: UdpSocket<Ipv4> = UdpSocket::bind_with((Ipv4Addr::UNSPECIFIED, 7000), &shared)?;
/// socket.join_multicast(group, "eth0")?;
/// socket.set_multicast_interface("eth0")?;
/// socket.send_to(b"who is there?", &SocketAddrV4::new(group, 7000))?;
/// # Ok::<(), std::io::Error>(())
/// ```
impl<F: IpFamily> Socket<F, Datagram> {
    /// Receives what is sent to this group and comes in by this interface: `MCAST_JOIN_GROUP`. The socket
    /// may join several groups, and one on several interfaces. It leaves them when it is closed.
    ///
    /// It hears no group that it did not join. (Linux by itself gives a socket that is bound to the
    /// wildcard, on its port, all groups that anybody on this host has joined: `IP_MULTICAST_ALL` and, from
    /// 4.20 on, `IPV6_MULTICAST_ALL` are off here.)
    ///
    /// On a dual-stack socket IPv4 groups can be joined too.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the address is no multicast group, or a group that the socket cannot hear;
    /// `NotFound` if there is no such interface; `AddrInUse` if it has joined already. With
    /// [`InterfaceId::Default`], no route to the group (`ENODEV`). Linux lets a socket join 20 IPv4 groups
    /// (`ENOBUFS`; `net.ipv4.igmp_max_memberships`).
    ///
    /// ```
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::UdpSocket;
    /// use std::net::Ipv4Addr;
    /// let socket: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    /// socket.join_multicast(Ipv4Addr::new(239, 255, 1, 2), Ipv4Addr::LOCALHOST)?; // interface lo
    /// let error = socket.join_multicast(Ipv4Addr::new(192, 0, 2, 1), 1).unwrap_err();
    /// assert_eq!(error.to_string(), "192.0.2.1 is no multicast group");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A group of the other family does not compile:
    ///
    /// ```compile_fail,E0308
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::UdpSocket;
    /// use std::net::{Ipv4Addr, Ipv6Addr};
    /// let socket: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    /// socket.join_multicast("ff02::1".parse::<Ipv6Addr>().unwrap(), 1);
    /// ```
    #[doc(alias = "MCAST_JOIN_GROUP")]
    #[doc(alias = "IP_ADD_MEMBERSHIP")]
    #[doc(alias = "IPV6_JOIN_GROUP")]
    pub fn join_multicast(
        &self,
        group: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        // Done when it was bound, unless it was made elsewhere.
        udp::set_hears_all_groups(self, !self.is_v4()?, false)?;
        self.change(Change::Join, group.into(), interface.into())
    }

    /// Leaves a group on the interface that it was joined on: `MCAST_LEAVE_GROUP`.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); `AddrNotAvailable` if it was not joined there.
    ///
    /// ```
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::UdpSocket;
    /// use std::net::Ipv4Addr;
    /// let (group, lo) = (Ipv4Addr::new(239, 255, 1, 2), Ipv4Addr::LOCALHOST);
    /// let socket: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    /// socket.join_multicast(group, lo)?;
    /// socket.leave_multicast(group, lo)?;
    /// let error = socket.leave_multicast(group, lo).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "IP_DROP_MEMBERSHIP")]
    #[doc(alias = "IPV6_LEAVE_GROUP")]
    pub fn leave_multicast(
        &self,
        group: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        self.change(Change::Leave, group.into(), interface.into())
    }

    /// Receives what this one host sends to this group, and nobody else (source-specific multicast, RFC
    /// 4607): `MCAST_JOIN_SOURCE_GROUP`. More sources may be joined for the same group.
    ///
    /// Groups that are meant for it are 232.0.0.0/8 and ff3x::/32; it works for others too, if the network
    /// has IGMPv3 and MLDv2. The source is the address that the packets leave from.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); `InvalidInput` if the source is a group or of the other
    /// version of IP, or if the whole group was joined; `AddrNotAvailable` if this source was joined
    /// already.
    ///
    /// ```
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::UdpSocket;
    /// use std::net::Ipv4Addr;
    /// let (group, source) = (Ipv4Addr::new(232, 1, 2, 3), Ipv4Addr::new(192, 0, 2, 7));
    /// let socket: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    /// socket.join_multicast_source(group, source, "lo")?;
    /// socket.leave_multicast_source(group, source, "lo")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "MCAST_JOIN_SOURCE_GROUP")]
    #[doc(alias = "IP_ADD_SOURCE_MEMBERSHIP")]
    #[doc(alias = "SSM")]
    pub fn join_multicast_source(
        &self,
        group: F::IpAddress,
        source: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        udp::set_hears_all_groups(self, !self.is_v4()?, false)?;
        self.change(Change::JoinSource(source.into()), group.into(), interface.into())
    }

    /// Leaves one source of a group, and with the last the group: `MCAST_LEAVE_SOURCE_GROUP`.
    ///
    /// # Errors
    ///
    /// As [`leave_multicast`](Self::leave_multicast).
    #[doc(alias = "MCAST_LEAVE_SOURCE_GROUP")]
    pub fn leave_multicast_source(
        &self,
        group: F::IpAddress,
        source: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        self.change(Change::LeaveSource(source.into()), group.into(), interface.into())
    }

    /// Hears this one host no more in a group that was [joined](Self::join_multicast) as a whole:
    /// `MCAST_BLOCK_SOURCE`.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); `AddrNotAvailable` or `InvalidInput` if the group was
    /// not joined there.
    #[doc(alias = "MCAST_BLOCK_SOURCE")]
    pub fn block_multicast_source(
        &self,
        group: F::IpAddress,
        source: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        self.change(Change::Block(source.into()), group.into(), interface.into())
    }

    /// Hears again a host that was [blocked](Self::block_multicast_source): `MCAST_UNBLOCK_SOURCE`.
    ///
    /// # Errors
    ///
    /// As there; `AddrNotAvailable` if it was not blocked.
    #[doc(alias = "MCAST_UNBLOCK_SOURCE")]
    pub fn unblock_multicast_source(
        &self,
        group: F::IpAddress,
        source: F::IpAddress,
        interface: impl Into<InterfaceId>,
    ) -> io::Result<()> {
        self.change(Change::Unblock(source.into()), group.into(), interface.into())
    }

    /// Has what is sent to groups leave by this interface: `IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`.
    /// Default: the system's choice, [`InterfaceId::Default`], which knows one interface only: who wants to
    /// reach all networks sends once by each. The scope id of an IPv6 address goes before it.
    ///
    /// It has nothing to do with where groups are joined. On a dual-stack socket it holds for IPv4
    /// groups as well. The kernel does not tell it back in one form, so there is no getter.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such interface.
    ///
    /// ```
    /// use sockeye::addr::{InterfaceId, Ipv6};
    /// use sockeye::socket::UdpSocket;
    /// use std::net::Ipv6Addr;
    /// let socket: UdpSocket<Ipv6> = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    /// for interface in sockeye::lookup::interfaces()? {
    ///     socket.set_multicast_interface(&interface)?;
    /// }
    /// socket.set_multicast_interface(InterfaceId::Default)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "IP_MULTICAST_IF")]
    pub fn set_multicast_interface(&self, interface: impl Into<InterfaceId>) -> io::Result<()> {
        let index = sys::index_of(&interface.into())?;
        if !self.is_v4()? {
            self.raw.set_multicast_if_v6(index)?;
        }
        self.for_v4(sys::set_interface_v4(self, index))
    }

    /// How many hops a packet to a group may take: `IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn multicast_hops(&self) -> io::Result<u8> {
        let hops = if self.is_v4()? {
            self.raw.multicast_ttl_v4()?
        } else {
            self.raw.multicast_hops_v6()?
        };
        u8::try_from(hops).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Lets packets to groups take so many hops: `IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`. Default: 1,
    /// the networks that this host is on; 0 is this host alone. More than 1 wants routers that forward
    /// multicast.
    ///
    /// Other packets have [`hop_limit`](Socket::hop_limit).
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.multicast_hops()?, 1);
    /// socket.set_multicast_hops(4)?;
    /// assert_eq!(socket.multicast_hops()?, 4);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "IP_MULTICAST_TTL")]
    pub fn set_multicast_hops(&self, hops: u8) -> io::Result<()> {
        if !self.is_v4()? {
            self.raw.set_multicast_hops_v6(hops.into())?;
        }
        self.for_v4(self.raw.set_multicast_ttl_v4(hops.into()))
    }

    /// Whether members on this host hear what is sent to groups: `IP_MULTICAST_LOOP`,
    /// `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn multicast_loop(&self) -> io::Result<bool> {
        if self.is_v4()? { self.raw.multicast_loop_v4() } else { self.raw.multicast_loop_v6() }
    }

    /// Has members on this host, the sender's own sockets included, hear what is sent to groups, or not:
    /// `IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`. Default: on. On Linux the sender's setting counts.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.multicast_loop()?);
    /// socket.set_multicast_loop(false)?;
    /// assert!(!socket.multicast_loop()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "IP_MULTICAST_LOOP")]
    pub fn set_multicast_loop(&self, on: bool) -> io::Result<()> {
        if !self.is_v4()? {
            self.raw.set_multicast_loop_v6(on)?;
        }
        self.for_v4(self.raw.set_multicast_loop_v4(on))
    }

    /// Changes what is heard of a group that this socket can hear.
    fn change(&self, change: Change, group: IpAddr, interface: InterfaceId) -> io::Result<()> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !group.is_multicast() {
            return invalid(format!("{group} is no multicast group"));
        }
        match group {
            IpAddr::V6(_) if self.is_v4()? => {
                return invalid(format!("{group} is a group of IPv6, the socket is one of IPv4"));
            }
            // The kernel would take it, and nothing would be heard.
            IpAddr::V4(_) if !self.is_v4()? && self.raw.only_v6()? => {
                return invalid(format!(
                    "{group} is a group of IPv4, the socket is for IPv6 alone"
                ));
            }
            _ => {}
        }
        if let Some(source) = change.source() {
            if source.is_ipv4() != group.is_ipv4() || source.is_multicast() {
                return invalid(format!("{source} is no host that sends to {group}"));
            }
        }
        sys::change(self, change, group, sys::index_of(&interface)?)
    }

    fn is_v4(&self) -> io::Result<bool> {
        Ok(SockRef::from(self).domain()? == Domain::IPV4)
    }

    /// On an IPv6 socket the same option for the IPv4 groups that it may send to; not every system knows
    /// of them there.
    fn for_v4(&self, result: io::Result<()>) -> io::Result<()> {
        if self.is_v4()? { result } else { Ok(()) }
    }
}
