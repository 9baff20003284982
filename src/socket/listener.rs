//! Listeners: sockets that accept connections.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{Ipv6Addr, SocketAddr};

use super::{Options, RawSocket, Socket, open, uninterrupted};
use crate::addr::{Address, Connected, IntoAddress, Ip, Listening, Stream, Supports};
use crate::sys::transfer;

/// A socket of family `F` that accepts connections of kind `K`.
///
/// ```
/// use sockeye::addr::Ipv6;
/// use sockeye::socket::{TcpListener, TcpStream};
/// use std::net::{Ipv6Addr, SocketAddrV6};
///
/// let listener = TcpListener::<Ipv6>::bind(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0))?;
/// let _client = TcpStream::connect(listener.local_addr()?)?;
/// let (stream, peer): (TcpStream<Ipv6>, SocketAddrV6) = listener.accept()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type Listener<F, K = Stream> = Socket<F, Listening<K>>;

impl<F: Supports<K>, K: Connected> Listener<F, K> {
    /// Listens at `address`: `socket(2)`, `bind(2)`, `listen(2)`. Does not block.
    ///
    /// Port 0 lets the kernel choose one: see [`local_addr`](Self::local_addr). A Unix path becomes a
    /// file of mode 0600, which stays when the listener goes; `UnixListener::bind_file` makes one of another
    /// mode, replaces what a dead server left, and removes its own. Set on IP listeners:
    /// `SO_REUSEADDR`, so that a server can start again while connections of the last one are in
    /// TIME_WAIT; `IPV6_V6ONLY`, whatever the system's default, so that IPv6 is IPv6
    /// ([`bind_dual_stack`](Listener::bind_dual_stack) hears both). The backlog is the longest that
    /// the system allows (Linux: `net.core.somaxconn`, usually 4,096).
    ///
    /// # Errors
    ///
    /// The address is not one (`InvalidInput`), is in use (`AddrInUse`), is not this host's
    /// (`AddrNotAvailable`), or is not allowed (`PermissionDenied`).
    ///
    /// ```
    /// let listener = sockeye::socket::TcpListener::bind("127.0.0.1:0")?;
    /// println!("listening on {}", listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A listener of one family takes no address of another:
    ///
    /// ```compile_fail,E0271
    /// use sockeye::{addr::Ipv6, socket::TcpListener};
    /// use std::net::{Ipv4Addr, SocketAddrV4};
    /// TcpListener::<Ipv6>::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    /// ```
    pub fn bind<A: IntoAddress<Family = F>>(address: A) -> io::Result<Self> {
        Self::bind_with_backlog(address, BACKLOG_MAX)
    }

    /// [`bind`](Self::bind) with a backlog of one's own: how many connections may wait to be
    /// accepted.
    ///
    /// The kernel silently takes its own maximum for a larger one, and lets one more wait than the
    /// number says. What happens beyond differs: over TCP the client's kernel tries again, a Unix
    /// client waits in `connect`.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// ```
    /// let listener = sockeye::socket::TcpListener::bind_with_backlog("127.0.0.1:0", 16)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_with_backlog<A: IntoAddress<Family = F>>(
        address: A,
        backlog: u32,
    ) -> io::Result<Self> {
        let address = address.into_address()?.to_any();
        Self::listen(open::bind(&address, K::TYPE, &Options::new())?, backlog)
    }

    /// [`bind`](Self::bind) with [`Options`]. What is accepted over TCP inherits them; over Unix it
    /// inherits none, and can be given them by [`Options::apply_to`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); the kernel refuses an option.
    ///
    /// ```
    /// use sockeye::socket::{Keepalive, Options, TcpListener};
    /// let options = Options::new().keepalive(Some(Keepalive::default()));
    /// let listener = TcpListener::bind_with("127.0.0.1:0", &options)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_with<A: IntoAddress<Family = F>>(
        address: A,
        options: &Options,
    ) -> io::Result<Self> {
        let address = address.into_address()?.to_any();
        Self::listen(open::bind(&address, K::TYPE, options)?, BACKLOG_MAX)
    }

    fn listen(raw: RawSocket, backlog: u32) -> io::Result<Self> {
        raw.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Self::from_raw(raw))
    }

    /// The next connection and the address it comes from: `accept4(2)`. Blocks until there is one.
    ///
    /// Keep the address. A client may have reset the connection before it was accepted: `accept`
    /// still succeeds, and the socket can no longer say whose it was. The socket blocks, even if the
    /// listener does not, and over TCP has `TCP_NODELAY` on.
    ///
    /// # Errors
    ///
    /// Too many open files (`EMFILE`, `ENFILE`): the connection stays in the backlog, and without a
    /// pause the next call fails as fast. `ConnectionAborted` and the like concern one client: go on.
    ///
    /// ```
    /// use sockeye::socket::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (_stream, peer) = listener.accept()?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A connected socket does not accept:
    ///
    /// ```compile_fail,E0599
    /// let stream = sockeye::socket::TcpStream::connect("127.0.0.1:7000").unwrap();
    /// stream.accept();
    /// ```
    pub fn accept(&self) -> io::Result<(Socket<F, K>, F::Address)> {
        let (raw, from) = uninterrupted(|| transfer::accept(&self.raw))?;
        open::prepare(&raw, K::TYPE)?;
        Ok((Socket::from_raw(raw), open::address_of::<F>(&from)?))
    }

    /// The connections to come, each as [`accept`](Self::accept) gives it. Never ends; an error is an
    /// item, and the next call goes on.
    ///
    /// ```no_run
    /// use std::io::Write;
    /// for accepted in sockeye::socket::TcpListener::bind("127.0.0.1:7000")?.incoming() {
    ///     let (mut stream, peer) = accepted?;
    ///     writeln!(stream, "hello {peer}")?;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, F, K> {
        Incoming { listener: self }
    }
}

impl Listener<Ip, Stream> {
    /// Listens on this port of every address, IPv4 and IPv6: `[::]` without `IPV6_V6ONLY`.
    ///
    /// The socket is an IPv6 one: IPv4 clients appear as `::ffff:1.2.3.4` (`to_canonical` of their IP
    /// address gives the plain form).
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); also if the system has no IPv6, or if the port is taken in either
    /// family.
    ///
    /// ```
    /// use sockeye::socket::{TcpListener, TcpStream};
    /// use std::net::Ipv4Addr;
    /// let listener = TcpListener::bind_dual_stack(0)?;
    /// let port = listener.local_addr()?.port();
    /// let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    /// let (_stream, peer) = listener.accept()?;
    /// assert_eq!(peer.ip().to_canonical(), Ipv4Addr::LOCALHOST);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_dual_stack(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self::bind_with(address, &Options::new().only_v6(false))
    }
}

/// `listen(2)` takes an `int`; the kernel reads anything above its maximum as that maximum.
const BACKLOG_MAX: u32 = i32::MAX as u32;

/// The connections to come: [`Listener::incoming`].
#[must_use = "accepts nothing until it is iterated"]
pub struct Incoming<'a, F: Supports<K>, K: Connected> {
    listener: &'a Listener<F, K>,
}

impl<F: Supports<K>, K: Connected> Iterator for Incoming<'_, F, K> {
    type Item = io::Result<(Socket<F, K>, F::Address)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl<F: Supports<K>, K: Connected> FusedIterator for Incoming<'_, F, K> {}

impl<F: Supports<K>, K: Connected> fmt::Debug for Incoming<'_, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("listener", self.listener).finish()
    }
}
