//! Datagrams to and from anybody: UDP, and Unix datagrams.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use super::{Options, Received, Socket, open};
use crate::addr::{
    Address, AnyAddr, ConnectedDatagram, Datagram, IntoAddress, Ip, IpFamily, Kind, Supports,
};
use crate::sys::{address, errors, transfer};

impl<F: Supports<Datagram>> Socket<F, Datagram> {
    /// A socket at `address`: `socket(2)`, `bind(2)`. Does not block.
    ///
    /// Port 0 lets the kernel choose one, and [`UnixAddr::unnamed`](crate::addr::UnixAddr::unnamed)
    /// an abstract name (Linux). A Unix path becomes a file, which stays when the socket goes; remove
    /// it before the next bind.
    /// An IPv6 socket never hears IPv4 (`IPV6_V6ONLY`), whatever the system's default: see
    /// [`bind_dual_stack`](Socket::bind_dual_stack). No `SO_REUSEADDR`, with which two UDP sockets
    /// could have one port.
    ///
    /// # Errors
    ///
    /// The address is not one (`InvalidInput`), is in use (`AddrInUse`), is not this host's
    /// (`AddrNotAvailable`), or is not allowed (`PermissionDenied`).
    ///
    /// ```
    /// use sockeye::socket::{UdpSocket, UnixDatagram};
    /// use sockeye::addr::UnixAddr;
    /// let udp = UdpSocket::bind("127.0.0.1:0")?;
    /// let unix = UnixDatagram::bind(UnixAddr::unnamed())?;
    /// assert!(unix.local_addr()?.as_abstract_name().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: IntoAddress<Family = F>>(address: A) -> io::Result<Self> {
        Self::bind_with(address, &Options::new())
    }

    /// [`bind`](Self::bind) with [`Options`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); the kernel refuses an option.
    ///
    /// ```
    /// use sockeye::socket::{Options, UdpSocket};
    /// let socket = UdpSocket::bind_with("127.0.0.1:0", &Options::new().receive_buffer(100_000))?;
    /// assert!(socket.receive_buffer()? >= 100_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_with<A: IntoAddress<Family = F>>(
        address: A,
        options: &Options,
    ) -> io::Result<Self> {
        let address = address.into_address()?.to_any();
        Ok(Self::from_raw(open::bind(&address, Datagram::TYPE, options)?))
    }

    /// Sends one datagram: `sendto(2)`. Blocks while the send buffer (over Unix: the receiver's
    /// queue) is full. An empty datagram is one.
    ///
    /// Returns the length of `datagram`. Over UDP it may still be lost.
    ///
    /// # Errors
    ///
    /// Too long for one datagram (`EMSGSIZE`; over UDP 65,507 bytes fit at most); nobody is there
    /// (`ConnectionRefused`, Unix only); the address is of the other IP family than the socket's, or one of
    /// a broadcast that was not [allowed](Self::set_broadcast) (`PermissionDenied`).
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"", &socket.local_addr()?)?;
    /// assert_eq!(socket.recv_from(&mut [0; 8])?.len, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// There is no `send`: first [`connect`](Self::connect).
    ///
    /// ```compile_fail,E0599
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// socket.send(b"to whom?");
    /// ```
    pub fn send_to(&self, datagram: &[u8], to: &F::Address) -> io::Result<usize> {
        let name = address::to_sock_addr(&to.to_any())?;
        let sent = self.sending_to(|| transfer::send_to(&self.raw, datagram, &name));
        sent.map_err(|error| match to.to_any() {
            AnyAddr::Ip(to) => self.explained(error, &to),
            AnyAddr::Unix(_) => error,
        })
    }

    /// Receives one datagram and who sent it: `recvmsg(2)`. Blocks until there is one.
    ///
    /// A datagram longer than `buf` is cut, and [`Received::truncated`] says so; 65,535 bytes hold
    /// any UDP datagram. An unbound Unix socket sends as the unnamed address: it cannot be answered.
    ///
    /// # Errors
    ///
    /// As `recvmsg(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"seven..", &socket.local_addr()?)?;
    /// let received = socket.recv_from(&mut [0; 5])?;
    /// assert!(received.len == 5 && received.truncated);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<Received<F::Address>> {
        let (length, truncated, from) =
            self.hearing(|| transfer::recv_message_from(&self.raw, buf))?;
        Ok(Received::new(length, buf.len(), truncated, open::address_of::<F>(&from)?))
    }

    /// [`recv_from`](Self::recv_from) into a vector that is made as long as the datagram is. What was in it
    /// is gone; its memory is used again.
    ///
    /// Two system calls: the first asks for the length (`recv(2)` with `MSG_PEEK` and `MSG_TRUNC`). If
    /// another thread takes that datagram in between, the next one may be cut, and says so.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(&[7; 3000], &socket.local_addr()?)?;
    /// let mut datagram = Vec::new();
    /// let received = socket.recv_vec_from(&mut datagram)?;
    /// assert!(datagram == [7; 3000] && !received.truncated);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_vec_from(&self, datagram: &mut Vec<u8>) -> io::Result<Received<F::Address>> {
        self.make_room(datagram)?;
        let received = self.recv_from(datagram)?;
        datagram.truncate(received.len);
        Ok(received)
    }

    /// A refusal, with what may be the way out of it.
    pub(super) fn explained(&self, error: io::Error, to: &SocketAddr) -> io::Error {
        let may_be_broadcast = errors::is_access(&error)
            && to.ip().to_canonical().is_ipv4()
            && self.raw.broadcast().is_ok_and(|allowed| !allowed);
        if !may_be_broadcast {
            return error;
        }
        let text = format!("sending to {to}: {error}; broadcasts need `set_broadcast(true)`");
        io::Error::new(error.kind(), text)
    }

    /// Settles the peer: `connect(2)`. Does not block, and asks nobody: over UDP success says
    /// nothing about the other side.
    ///
    /// From now on the kernel drops what others send; what they sent before can still be received.
    /// Clones are connected too, whatever their type says.
    ///
    /// # Errors
    ///
    /// The address is not one, or has no route; over Unix nobody is there.
    ///
    /// ```
    /// use sockeye::socket::UdpSocket;
    /// let server = UdpSocket::bind("127.0.0.1:0")?;
    /// let client = UdpSocket::bind("127.0.0.1:0")?.connect(server.local_addr()?)?;
    /// client.send(b"hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<A: IntoAddress<Family = F>>(
        self,
        address: A,
    ) -> io::Result<Socket<F, ConnectedDatagram>> {
        open::connect(&self.raw, &address.into_address()?.to_any(), None)?;
        Ok(Socket::from_raw(self.raw))
    }
}

impl<F: IpFamily> Socket<F, Datagram> {
    /// Whether datagrams may go to broadcast addresses: `SO_BROADCAST`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.raw.broadcast()
    }

    /// Allows datagrams to broadcast addresses, 255.255.255.255 and those of networks, or not:
    /// `SO_BROADCAST`. Default: not, so that nobody shouts by mistake; sending there is then
    /// `PermissionDenied`. Receiving needs no leave, but a socket that is bound to the wildcard.
    ///
    /// IPv6 has none: there it holds for the IPv4 addresses of a dual-stack socket. Where all who listen
    /// are programs of yours, multicast bothers nobody else.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::UdpSocket;
    /// use std::net::{Ipv4Addr, SocketAddrV4};
    /// let socket: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    /// let loopback = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), socket.local_addr()?.port());
    /// let error = socket.send_to(b"all", &loopback).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    /// assert!(error.to_string().ends_with("broadcasts need `set_broadcast(true)`"));
    /// socket.set_broadcast(true)?;
    /// socket.send_to(b"all", &loopback)?;
    /// assert_eq!(socket.receive(&mut [0; 8])?.to, Some((*loopback.ip()).into()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "SO_BROADCAST")]
    pub fn set_broadcast(&self, allowed: bool) -> io::Result<()> {
        self.raw.set_broadcast(allowed)
    }
}

impl Socket<Ip, Datagram> {
    /// A socket on this port of every address, IPv4 and IPv6: `[::]` without `IPV6_V6ONLY`.
    ///
    /// The socket is an IPv6 one: IPv4 peers appear, and are sent to, as `::ffff:1.2.3.4`
    /// (`to_canonical` of their IP address gives the plain form).
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); also if the system has no IPv6.
    ///
    /// ```
    /// use sockeye::socket::{ConnectedUdpSocket, UdpSocket};
    /// use std::net::Ipv4Addr;
    /// let server = UdpSocket::bind_dual_stack(0)?;
    /// let port = server.local_addr()?.port();
    /// ConnectedUdpSocket::connect((Ipv4Addr::LOCALHOST, port))?.send(b"hello")?;
    /// let hello = server.recv_from(&mut [0; 64])?;
    /// assert_eq!(hello.from.ip().to_canonical(), Ipv4Addr::LOCALHOST);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_dual_stack(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self::bind_with(address, &Options::new().only_v6(false))
    }
}
