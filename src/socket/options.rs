//! A set of options, to make sockets with.
//!
//! Some options must be set before `bind` or `connect`, and one set often serves many sockets: so it
//! is a value. What one socket is set to later is in `option`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, SockRef};

use super::option::{self, Keepalive};
use super::{RawSocket, Socket};
use crate::addr::{AnyAddr, Kind, SocketType, Supports, Transport};
use crate::sys::rights;

/// A set of socket options: for [`Server::options`](crate::Server::options),
/// [`Client::options`](crate::Client::options), `bind_with`, `connect_with`, and by hand
/// ([`apply_to`](Self::apply_to)).
///
/// An option that is not in the set stays as sockets of this crate have it, which is as the system
/// has it but for two: nodelay is on, and `reuse_address` is on for IP listeners.
///
/// One set serves sockets of all kinds: what a kind does not have is passed over there. So a server
/// with TCP and Unix endpoints has one set. A value that the kernel refuses is an error, which names
/// the option.
///
/// | option | set on | read it with |
/// |---|---|---|
/// | [`reuse_address`](Self::reuse_address), [`reuse_port`](Self::reuse_port) | bound IP sockets | |
/// | [`only_v6`](Self::only_v6) | bound IPv6 sockets | |
/// | [`send_buffer`](Self::send_buffer), [`receive_buffer`](Self::receive_buffer) | all | [`Socket::send_buffer`], [`Socket::receive_buffer`] |
/// | [`hop_limit`](Self::hop_limit) | IP | [`Socket::hop_limit`] |
/// | [`broadcast`](Self::broadcast) | UDP | [`Socket::broadcast`] |
/// | [`nodelay`](Self::nodelay), [`keepalive`](Self::keepalive), [`linger`](Self::linger), [`user_timeout`](Self::user_timeout) | TCP | [`Socket::nodelay`] and so on |
///
/// ```
/// use sockeye::socket::{Options, TcpListener, TcpStream};
///
/// let options = Options::new().receive_buffer(64 * 1024).nodelay(false);
/// let listener = TcpListener::bind_with("127.0.0.1:0", &options)?;
/// let client = TcpStream::connect_with(listener.local_addr()?, &options)?;
/// let (server, _) = listener.accept()?;
/// assert!(!client.nodelay()? && !server.nodelay()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    reuse_address: Option<bool>,
    reuse_port: Option<bool>,
    only_v6: Option<bool>,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    hop_limit: Option<u8>,
    broadcast: Option<bool>,
    nodelay: Option<bool>,
    keepalive: Option<Option<Keepalive>>,
    linger: Option<Option<Duration>>,
    user_timeout: Option<Option<Duration>>,
    no_descriptors: bool,
    no_notes: bool,
}

impl Options {
    /// An empty set.
    pub fn new() -> Options {
        Options::default()
    }

    /// Whether an address can be bound while connections of its last user are in TIME_WAIT:
    /// `SO_REUSEADDR`. Unset: on for TCP listeners, off for UDP, where two sockets that have it can
    /// bind one port and take each other's datagrams. Those to a multicast group go to all of them:
    /// this is how several programs share a group's port.
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> Options {
        self.reuse_address = Some(reuse);
        self
    }

    /// Lets several sockets of one user bind one port, if all have it: `SO_REUSEPORT`. The kernel
    /// spreads connections, or UDP peers, over them. Unset: off.
    ///
    /// ```
    /// use sockeye::socket::{Options, TcpListener};
    /// let options = Options::new().reuse_port(true);
    /// let one = TcpListener::bind_with("127.0.0.1:0", &options)?;
    /// let other = TcpListener::bind_with(one.local_addr()?, &options)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Options {
        self.reuse_port = Some(reuse);
        self
    }

    /// Whether an IPv6 socket leaves IPv4 alone: `IPV6_V6ONLY`. Unset: yes, but for the endpoint `*`
    /// of a server and for `bind_dual_stack`. Off, a socket bound to `[::]` hears IPv4 as well.
    #[must_use]
    pub fn only_v6(mut self, only_v6: bool) -> Options {
        self.only_v6 = Some(only_v6);
        self
    }

    /// `SO_SNDBUF`, in bytes: see [`Socket::set_send_buffer`].
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Options {
        self.send_buffer = Some(bytes);
        self
    }

    /// `SO_RCVBUF`, in bytes: see [`Socket::set_receive_buffer`].
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Options {
        self.receive_buffer = Some(bytes);
        self
    }

    /// `IP_TTL` or `IPV6_UNICAST_HOPS`: see [`Socket::set_hop_limit`].
    #[must_use]
    pub fn hop_limit(mut self, hops: u8) -> Options {
        self.hop_limit = Some(hops);
        self
    }

    /// `SO_BROADCAST`: see [`Socket::set_broadcast`]. Unset: off.
    #[must_use]
    pub fn broadcast(mut self, allowed: bool) -> Options {
        self.broadcast = Some(allowed);
        self
    }

    /// `TCP_NODELAY`: see [`Socket::set_nodelay`]. Unset: on.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Options {
        self.nodelay = Some(nodelay);
        self
    }

    /// `SO_KEEPALIVE` and its times, `None` for off: see [`Socket::set_keepalive`]. Unset:
    /// [`Keepalive::default`] in [`Server`](crate::Server) and [`Client`](crate::Client), else off.
    #[must_use]
    pub fn keepalive(mut self, keepalive: Option<Keepalive>) -> Options {
        self.keepalive = Some(keepalive);
        self
    }

    /// `SO_LINGER`: see [`Socket::set_linger`]. More than zero is not for servers on an event loop:
    /// closing one connection would hold up all the others.
    #[must_use]
    pub fn linger(mut self, linger: Option<Duration>) -> Options {
        self.linger = Some(linger);
        self
    }

    /// `TCP_USER_TIMEOUT`: see `Socket::set_user_timeout`. Passed over where the system is not Linux.
    #[must_use]
    pub fn user_timeout(mut self, timeout: Option<Duration>) -> Options {
        self.user_timeout = Some(timeout);
        self
    }

    /// Sets on this socket, or listener, what the set holds and the socket has. What is settled by the
    /// bind is passed over: `reuse_address`, `reuse_port`, `only_v6`.
    ///
    /// For sockets that others have made, and for what a Unix listener accepts: over Unix nothing is
    /// inherited.
    ///
    /// # Errors
    ///
    /// The kernel refuses a value: the error names the option. Those before it are set.
    ///
    /// ```
    /// use sockeye::socket::{Options, UnixStream};
    /// let options = Options::new().send_buffer(20_000).nodelay(true); // no nodelay here
    /// let (stream, _other) = UnixStream::pair()?;
    /// options.apply_to(&stream)?;
    /// assert!(stream.send_buffer()? >= 20_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn apply_to<F: Supports<K>, K: Kind>(&self, socket: &Socket<F, K>) -> io::Result<()> {
        let socket = SockRef::from(socket);
        let is_ip = socket.domain()? != Domain::UNIX;
        self.set(&socket, is_ip, K::TYPE)
    }

    /// The keepalive of servers and clients, unless the set has another; and no notes beside datagrams,
    /// which sessions do not read.
    pub(crate) fn with_keepalive(mut self) -> Options {
        self.keepalive.get_or_insert(Some(Keepalive::default()));
        self.no_notes = true;
        self
    }

    /// Whether the kernel is to note beside each datagram what [`Socket::receive`] tells.
    pub(super) fn has_notes(&self) -> bool {
        !self.no_notes
    }

    /// [`only_v6`](Self::only_v6), unless the set says it already.
    pub(crate) fn with_only_v6(mut self, only_v6: bool) -> Options {
        self.only_v6.get_or_insert(only_v6);
        self
    }

    /// With descriptors refused on Unix sockets, where the kernel can.
    pub(crate) fn with_no_descriptors(mut self) -> Options {
        self.no_descriptors = true;
        self
    }

    /// What a connection that a Unix listener has accepted does not have from it; `None` if that is
    /// nothing. Over TCP, Linux has it inherit everything.
    pub(crate) fn for_accepted_unix(&self) -> Option<Options> {
        let Options { send_buffer, receive_buffer, .. } = *self;
        // That descriptors are refused is inherited.
        let options = Options { send_buffer, receive_buffer, ..Options::new() };
        Some(options).filter(|options| *options != Options::new())
    }

    /// What can be set at any time, on a socket of this transport.
    pub(crate) fn set_on(&self, socket: &impl AsFd, transport: Transport) -> io::Result<()> {
        self.set(&SockRef::from(socket), !transport.is_unix(), transport.socket_type())
    }

    /// What can be set at any time.
    pub(super) fn set(
        &self,
        socket: &SockRef<'_>,
        is_ip: bool,
        kind: SocketType,
    ) -> io::Result<()> {
        set("send_buffer", self.send_buffer, |bytes| option::set_send_buffer(socket, bytes))?;
        let receive_buffer = self.receive_buffer;
        set("receive_buffer", receive_buffer, |bytes| option::set_receive_buffer(socket, bytes))?;
        if !is_ip {
            if self.no_descriptors {
                rights::refuse(&**socket);
            }
            return Ok(());
        }
        set("hop_limit", self.hop_limit, |hops| option::set_hop_limit(socket, hops))?;
        if kind != SocketType::Stream {
            return set("broadcast", self.broadcast, |allowed| socket.set_broadcast(allowed));
        }
        set("nodelay", self.nodelay, |nodelay| socket.set_tcp_nodelay(nodelay))?;
        set("keepalive", self.keepalive, |keepalive| option::set_keepalive(socket, keepalive))?;
        set("linger", self.linger, |linger| option::set_linger(socket, linger))?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        set("user_timeout", self.user_timeout, |time| option::set_user_timeout(socket, time))?;
        Ok(())
    }

    /// What must be set before the bind, on IP sockets.
    pub(super) fn set_for_bind(
        &self,
        raw: &RawSocket,
        address: &AnyAddr,
        kind: SocketType,
    ) -> io::Result<()> {
        let Some(ip) = address.as_ip() else { return Ok(()) };
        // A server that restarts must not wait for the connections of its predecessor to leave
        // TIME_WAIT. On datagrams the option would let two sockets have one port: not there.
        let reuse_address = self.reuse_address.or((kind == SocketType::Stream).then_some(true));
        set("reuse_address", reuse_address, |reuse| raw.set_reuse_address(reuse))?;
        set("reuse_port", self.reuse_port, |reuse| raw.set_reuse_port(reuse))?;
        // The system's default (`net.ipv6.bindv6only`) would decide otherwise.
        let only_v6 = ip.is_ipv6().then_some(self.only_v6.unwrap_or(true));
        set("only_v6", only_v6, |only_v6| raw.set_only_v6(only_v6))
    }
}

/// Sets one option, if there is a value, and names it in the error.
fn set<T>(name: &str, value: Option<T>, set: impl FnOnce(T) -> io::Result<()>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    set(value).map_err(|error| io::Error::new(error.kind(), format!("option {name}: {error}")))
}
