//! Sockets whose family and kind are in their type.
//!
//! A socket has two properties that never change, and both are type parameters: its address family
//! `F` (`Ipv4`, `Ipv6`, `Unix`, or `Ip` and `Any` where only the program's input decides) and its kind
//! `K` (`Stream`, `Datagram`, `SeqPacket`, `ConnectedDatagram`, `Listening`). What the kernel would
//! refuse has no type, and what a kind cannot do has no method.
//!
//! | type | made by | does |
//! |---|---|---|
//! | `Socket<F, Stream>` | `connect`, `accept`, `pair` | `Read`, `Write`, peek, shutdown, split |
//! | `Socket<F, SeqPacket>` | `connect`, `accept`, `pair` | send, recv, shutdown, split |
//! | `Socket<F, Datagram>` | `bind` | send_to, recv_from, connect; on UDP receive, answer, batches |
//! | `Socket<F, ConnectedDatagram>` | `connect`, `pair` | send, recv; on UDP batches |
//! | `Listener<F, K>`, short for `Socket<F, Listening<K>>` | `bind` | accept, incoming |
//!
//! The family comes from the address: `TcpListener::bind(SocketAddrV6::..)` is typed, the text
//! `"127.0.0.1:7000"` gives `Ip`. A typed socket becomes an erased one by `into()`.
//!
//! Every call blocks unless [`set_nonblocking`](Socket::set_nonblocking) was called; then it answers
//! `WouldBlock`. A call that a signal interrupts is repeated, so `Interrupted` is never returned; its
//! timeout then counts from the signal, once. Nothing here raises `SIGPIPE`. Every descriptor is
//! close-on-exec from the moment it exists, clones and accepted sockets included.
//!
//! ```
//! use sockeye::socket::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut client = TcpStream::connect(listener.local_addr()?)?;
//! let (mut server, _peer) = listener.accept()?;
//! client.write_all(b"hello")?;
//! let mut hello = [0; 5];
//! server.read_exact(&mut hello)?;
//! assert_eq!(&hello, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Seqpacket over IP is not a type:
//!
//! ```compile_fail,E0277
//! use sockeye::addr::{Ipv4, SeqPacket};
//! use sockeye::socket::Socket;
//! fn takes(_: Socket<Ipv4, SeqPacket>) {}
//! ```
//!
//! # Which call to use for datagrams
//!
//! | you have | receive by | send by |
//! |---|---|---|
//! | one peer | `recv` | `send` |
//! | many peers, one address | [`recv_from`](Socket::recv_from) | [`send_to`](Socket::send_to) |
//! | datagrams of any length, now and then | [`recv_vec_from`](Socket::recv_vec_from), [`recv_vec`](Socket::recv_vec) | |
//! | UDP on the wildcard, or on several interfaces | [`receive`](Socket::receive) | [`answer`](Socket::answer) |
//! | UDP with ECN, or a source address of your choice | [`receive`](Socket::receive) | [`send_datagram`](Socket::send_datagram) |
//! | UDP in quantities | [`receive_batch`](Socket::receive_batch) | [`send_batch`](Socket::send_batch) |
//! | UDP in large quantities to and from few | the same with [`set_gro`](Socket::set_gro) | [`push_segments`](SendBatch::push_segments) |
//!
//! All of them tell when a datagram was cut, and how long it was; an empty datagram is one like any other.
//! What `receive` tells costs other calls next to nothing: the kernel notes it, and nobody reads it. It notes
//! from the bind on, because for IPv4 it does so when a datagram comes, and not when it is read: a switch
//! by the first `receive` would be too late for those that wait. Sockets of servers are without.
//!
//! # Multicast
//!
//! A UDP socket joins groups on an interface that is given by name, index or address
//! ([`join_multicast`](Socket::join_multicast), or one source of a group:
//! [`join_multicast_source`](Socket::join_multicast_source)), hears no others, and sends to them by one
//! ([`set_multicast_interface`](Socket::set_multicast_interface));
//! [`lookup::interfaces`](crate::lookup::interfaces) lists them.
//!
//! # Unix sockets
//!
//! [`bind_file`](Socket::bind_file) makes a socket file of an exact mode, replaces one that a
//! dead server left, and removes its own in the end: see [`SocketFileOptions`].
//! [`peer_credentials`](Socket::peer_credentials) says who is at the other end, and
//! [`send_with_descriptors`](Socket::send_with_descriptors) passes open files. Descriptors
//! and credentials are all that comes beside the bytes of a Unix socket, so they have methods, and control
//! messages (cmsg) as such have none.
//!
//! # Options
//!
//! An option has its methods where the kernel has the option: [`set_keepalive`](Socket::set_keepalive),
//! [`set_linger`](Socket::set_linger) and the like. [`Options`] is a set of them, for a server, a client
//! or many sockets. What has no method here goes through [`socket2::SockRef`], which every socket and
//! listener converts to:
//!
//! ```
//! # use sockeye::socket::{TcpListener, TcpStream};
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let stream = TcpStream::connect(listener.local_addr()?)?;
//! use socket2::SockRef;
//! SockRef::from(&stream).set_tos_v4(0x10)?; // low delay
//! assert_eq!(SockRef::from(&stream).mark()?, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! and what is not there either, by the descriptor. What the kernel knows of a connection is read like
//! this:
//!
//! ```
//! # use sockeye::socket::{TcpListener, TcpStream};
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let stream = TcpStream::connect(listener.local_addr()?)?;
//! use std::{io, mem::size_of, os::fd::{AsFd, AsRawFd}};
//! let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
//! // SAFETY: all fields are integers, for which zero is a value.
//! let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
//! let (fd, into) = (stream.as_fd().as_raw_fd(), (&raw mut info).cast());
//! // SAFETY: `into` has room for `length` bytes, and the kernel writes no more.
//! let got = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, into, &mut length) };
//! if got != 0 {
//!     return Err(io::Error::last_os_error());
//! }
//! println!("round trip {} µs, {} sent again", info.tcpi_rtt, info.tcpi_total_retrans);
//! # assert_eq!(info.tcpi_state, 1); // established
//! # Ok::<(), io::Error>(())
//! ```
//!
//! An option that must be set before the bind and has no place in the set: make the socket with
//! `socket2`, bind it, listen, and take it over by `TryFrom<OwnedFd>`.
//!
//! Not here: names (`lookup` turns them into addresses) and the serving of many connections.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::Socket as RawSocket;

use crate::addr::{
    Any, ConnectedDatagram, Datagram, Datagrams, Ip, Kind, SeqPacket, Stream, Supports, Transfers,
    Unix,
};
use crate::sys::errors;

mod arrival;
pub(crate) mod begin;
mod connect;
mod convert;
mod credentials;
mod datagram;
mod descriptors;
mod erase;
mod listener;
mod message;
mod mismatch;
mod multicast;
mod open;
mod option;
mod options;
mod outgoing;
mod pair;
mod receive_batch;
mod report;
mod send_batch;
mod split;
mod stream;
mod twins;
mod unix_file;

pub use arrival::{Arrival, Ecn};
pub use listener::{Incoming, Listener};
pub use message::Received;
pub use mismatch::Mismatch;
pub use option::Keepalive;
pub use options::Options;
pub use outgoing::Outgoing;
pub use receive_batch::{Batched, ReceiveBatch};
pub use report::ErrorReport;
pub use send_batch::{SendBatch, Sent};
pub use split::{ReadHalf, ReuniteError, WriteHalf};
pub use unix_file::{Existing, SocketFile, SocketFileOptions};

/// A TCP stream; the family is [`Ip`] where no typed address says otherwise.
pub type TcpStream<F = Ip> = Socket<F, Stream>;
/// A TCP listener.
pub type TcpListener<F = Ip> = Listener<F, Stream>;
/// A UDP socket that talks to anybody.
pub type UdpSocket<F = Ip> = Socket<F, Datagram>;
/// A UDP socket that talks to one peer.
pub type ConnectedUdpSocket<F = Ip> = Socket<F, ConnectedDatagram>;
/// A Unix stream.
pub type UnixStream = Socket<Unix, Stream>;
/// A listener for Unix streams.
pub type UnixListener = Listener<Unix, Stream>;
/// A Unix datagram socket that talks to anybody.
pub type UnixDatagram = Socket<Unix, Datagram>;
/// A Unix datagram socket that talks to one peer.
pub type ConnectedUnixDatagram = Socket<Unix, ConnectedDatagram>;
/// A Unix connection that keeps the edges of messages.
pub type UnixSeqPacket = Socket<Unix, SeqPacket>;
/// A listener for Unix connections that keep the edges of messages.
pub type UnixSeqListener = Listener<Unix, SeqPacket>;
/// A stream of a family known at run time: TCP or Unix.
pub type AnyStream = Socket<Any, Stream>;
/// A listener for streams of a family known at run time.
pub type AnyListener = Listener<Any, Stream>;

/// A socket of family `F` and kind `K`.
///
/// What it can do depends on the kind; see the [module](self). It is the size of a descriptor, and
/// closes it when dropped.
pub struct Socket<F: Supports<K>, K: Kind> {
    raw: RawSocket,
    shape: Shape<F, K>,
}

/// Family and kind as a zero-sized field: `Send` and `Sync` whatever they are.
type Shape<F, K> = PhantomData<fn() -> (F, K)>;

impl<F: Supports<K>, K: Kind> Socket<F, K> {
    /// The caller knows that the descriptor is of this family and kind.
    pub(crate) fn from_raw(raw: RawSocket) -> Self {
        Self { raw, shape: PhantomData }
    }

    /// The address of this end: `getsockname(2)`. Does not block.
    ///
    /// A socket bound to port 0 has the port that the kernel chose. A Unix socket that was never
    /// bound, such as that of most clients, is unnamed. A listener says where it listens.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<F::Address> {
        open::address_of::<F>(&self.raw.local_addr()?)
    }

    /// Makes every call return `WouldBlock` instead of waiting, or wait again: `O_NONBLOCK`.
    ///
    /// Clones share the setting, what a listener accepts does not. Sockets are made blocking.
    ///
    /// # Errors
    ///
    /// As `fcntl(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_nonblocking(true)?;
    /// let error = socket.recv_from(&mut [0; 8]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.raw.set_nonblocking(nonblocking)
    }

    /// How long a read may wait, `None` for ever: `SO_RCVTIMEO`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>>
    where
        K: Transfers,
    {
        self.raw.read_timeout()
    }

    /// Lets no single read wait longer than this, or lets it wait for ever: `SO_RCVTIMEO`.
    ///
    /// A read that waited so long answers `WouldBlock`. The timeout is per call, so a peer that sends a
    /// byte at a time never meets it; the kernel rounds it up to its clock tick. Default: `None`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the duration is zero, which to the kernel would mean "for ever".
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_read_timeout(Some(Duration::from_millis(1)))?;
    /// let error = socket.recv_from(&mut [0; 8]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    /// assert!(socket.set_read_timeout(Some(Duration::ZERO)).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>
    where
        K: Transfers,
    {
        self.raw.set_read_timeout(open::timeout(timeout)?)
    }

    /// How long a write may wait, `None` for ever: `SO_SNDTIMEO`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>>
    where
        K: Transfers,
    {
        self.raw.write_timeout()
    }

    /// Lets no single write wait longer than this, or lets it wait for ever: `SO_SNDTIMEO`.
    ///
    /// A write waits where the peer does not read. One that waited so long answers how much was
    /// written, or `WouldBlock` if nothing was. Default: `None`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the duration is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>
    where
        K: Transfers,
    {
        self.raw.set_write_timeout(open::timeout(timeout)?)
    }

    /// Takes the error that waits on the socket, if there is one: `SO_ERROR`. Does not block.
    ///
    /// The kernel keeps what went wrong behind the program's back, such as a reset. Taking it
    /// clears it.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`; the error found is the value.
    ///
    /// ```
    /// let (stream, _other) = sockeye::socket::UnixStream::pair()?;
    /// assert!(stream.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.raw.take_error()
    }

    /// Another descriptor for the same socket: `fcntl(F_DUPFD_CLOEXEC)`.
    ///
    /// Both read the same bytes, or accept the same connections, and share every setting; the socket
    /// is closed when the last goes.
    ///
    /// # Errors
    ///
    /// The process has too many open files (`EMFILE`).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// let (mut one, mut other) = sockeye::socket::UnixStream::pair()?;
    /// one.try_clone()?.write_all(b"x")?;
    /// other.read_exact(&mut [0])?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::from_raw(self.raw.try_clone()?))
    }

    fn peer(&self) -> io::Result<F::Address> {
        open::address_of::<F>(&self.raw.peer_addr()?)
    }

    /// A call that `SO_RCVTIMEO` bounds, whatever signals come.
    fn reading<T>(&self, call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        uninterrupted_within(|| self.raw.read_timeout(), call)
    }

    /// A call that `SO_SNDTIMEO` bounds, whatever signals come.
    fn writing<T>(&self, call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        uninterrupted_within(|| self.raw.write_timeout(), call)
    }

    /// [`reading`](Self::reading) of datagrams. Where anybody may be sent to, an ICMP error is about one of
    /// them and not about this read, which goes on.
    fn hearing<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T>
    where
        K: Datagrams,
    {
        self.reading(|| {
            call().map_err(|error| match !K::CONNECTED && errors::is_from_the_network(&error) {
                true => io::ErrorKind::Interrupted.into(),
                false => error,
            })
        })
    }

    /// [`writing`](Self::writing) to an address. The kernel tells what became of an earlier datagram first,
    /// and once: what it says twice is about this one.
    fn sending_to<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match self.writing(&mut call) {
            Err(error) if errors::is_from_the_network(&error) => self.writing(call),
            result => result,
        }
    }
}

impl<F: Supports<K>, K: Kind> AsFd for Socket<F, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

/// Names both ends, as far as there are any.
impl<F: Supports<K>, K: Kind> fmt::Debug for Socket<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(if K::LISTENS { "Listener" } else { "Socket" });
        if let Ok(local) = self.local_addr() {
            debug.field("local", &local);
        }
        if let Ok(peer) = self.peer() {
            debug.field("peer", &peer);
        }
        debug.field("fd", &self.raw.as_raw_fd()).finish()
    }
}

/// Repeats a call for as long as signals interrupt it.
fn uninterrupted<T>(call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    uninterrupted_within(|| Ok(None), call)
}

/// Repeats a call that signals interrupt, until the socket's own timeout has passed since the first
/// of them: the kernel starts its clock anew at each call, and would never come to the end.
///
/// The timeout is asked for when a signal comes and not before, so that calls cost no more.
fn uninterrupted_within<T>(
    timeout: impl Fn() -> io::Result<Option<Duration>>,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut first: Option<(Instant, Option<Duration>)> = None;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
        match first {
            None => first = Some((Instant::now(), timeout()?)),
            Some((since, Some(timeout))) if since.elapsed() >= timeout => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Some(_) => {}
        }
    }
}
