//! Datagrams to and from anybody: UDP, and Unix datagrams.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use super::{Options, Received, Socket, open};
use crate::addr::{Address, ConnectedDatagram, Datagram, IntoAddress, Ip, Kind, Supports};
use crate::sys::{address, transfer};

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
    /// (`ConnectionRefused`, Unix only); the address is of the other IP family than the socket's.
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
        let to = address::to_sock_addr(&to.to_any())?;
        self.writing(|| transfer::send_to(&self.raw, datagram, &to))
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
        let (len, truncated, from) =
            self.reading(|| transfer::recv_message_from(&self.raw, buf))?;
        Ok(Received::new(len, truncated, open::address_of::<F>(&from)?))
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
