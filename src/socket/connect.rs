//! Connecting, for the kinds that have a peer.

use std::io;
use std::time::{Duration, Instant};

use super::{Options, Socket, open};
use crate::addr::{Address, Connected, HasPeer, IntoAddress, Supports};

impl<F: Supports<K>, K: HasPeer> Socket<F, K> {
    /// Connects to `address`: `socket(2)`, `connect(2)`. Blocks until the peer has answered or the
    /// kernel gives up, which over TCP takes some two minutes; on datagrams it does not block and asks
    /// nobody.
    ///
    /// The kernel chooses this end's IP address and port. A Unix socket stays unnamed: on datagrams it
    /// cannot be answered then, so bind a [`UnixDatagram`](super::UnixDatagram) and connect that.
    ///
    /// `TCP_NODELAY` is on: what is written leaves at once, and whoever wants fuller packets writes
    /// larger pieces.
    ///
    /// A TCP connect to this host, to a port of the ephemeral range on which nobody listens, can on
    /// rare occasions meet itself: both ends are then this socket. A [`Client`](crate::Client) refuses
    /// that.
    ///
    /// # Errors
    ///
    /// The address is not one (`InvalidInput`); nobody listens (`ConnectionRefused`, and `NotFound`
    /// for a Unix path), but over UDP that is found out later; the host cannot be reached; too many
    /// open files (`EMFILE`).
    ///
    /// ```
    /// use sockeye::addr::Ipv4;
    /// use sockeye::socket::{ConnectedUdpSocket, TcpListener, TcpStream, UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    /// let stream: TcpStream<Ipv4> = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///
    /// let server = UdpSocket::bind("127.0.0.1:0")?;
    /// let client = ConnectedUdpSocket::connect(server.local_addr()?)?;
    /// client.send(b"hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<A: IntoAddress<Family = F>>(address: A) -> io::Result<Self> {
        Self::connect_with(address, &Options::new())
    }

    /// [`connect`](Self::connect) with [`Options`], set before it connects.
    ///
    /// A [`Client`](crate::Client) has a deadline as well.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); the kernel refuses an option.
    ///
    /// ```
    /// use sockeye::socket::{Options, TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let options = Options::new().nodelay(false);
    /// let stream = TcpStream::connect_with(listener.local_addr()?, &options)?;
    /// assert!(!stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_with<A: IntoAddress<Family = F>>(
        address: A,
        options: &Options,
    ) -> io::Result<Self> {
        Self::connect_until(&address.into_address()?, None, options)
    }

    /// [`connect_with`](Self::connect_with) a deadline.
    pub(crate) fn connect_until(
        address: &F::Address,
        deadline: Option<Instant>,
        options: &Options,
    ) -> io::Result<Self> {
        let address = address.to_any();
        let raw = open::open(&address, K::TYPE, options)?;
        open::connect(&raw, &address, deadline)?;
        Ok(Self::from_raw(raw))
    }

    /// The address of the other end: `getpeername(2)`. Does not block.
    ///
    /// Unix clients are mostly unnamed. A server has the address from
    /// [`accept`](super::Listener::accept) and should keep that one: see the errors.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the peer has reset the connection.
    pub fn peer_addr(&self) -> io::Result<F::Address> {
        self.peer()
    }
}

impl<F: Supports<K>, K: Connected> Socket<F, K> {
    /// [`connect`](Self::connect) that gives up after `timeout`.
    ///
    /// The deadline is absolute: signals do not put it off. A Unix connect waits where the listener's
    /// backlog is full.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); `TimedOut`; `InvalidInput` if the timeout is zero.
    ///
    /// ```
    /// use sockeye::socket::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// TcpStream::connect_timeout(listener.local_addr()?, Duration::from_secs(5))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_timeout<A: IntoAddress<Family = F>>(
        address: A,
        timeout: Duration,
    ) -> io::Result<Self> {
        open::timeout(Some(timeout))?;
        // A deadline beyond the clock's end is none.
        let deadline = Instant::now().checked_add(timeout);
        Self::connect_until(&address.into_address()?, deadline, &Options::new())
    }
}
