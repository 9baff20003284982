//! Families and kinds of sockets, as types without values.
//!
//! They are only ever type parameters: `Socket<Ipv6, Datagram>` says in its type what the kernel
//! would otherwise say at run time. What the kernel refuses (seqpacket over IP, nodelay on a Unix
//! socket) is a bound that does not hold, and does not compile. Addresses are in `address`.

use std::convert::Infallible;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::sealed::Sealed;
use super::{Address, AnyAddr, SocketType, UnixAddr};

/// An address family: what kind of address a socket has.
///
/// Sealed: [`Ipv4`], [`Ipv6`], [`Ip`], [`Unix`] and [`Any`] are all there are.
///
/// ```
/// use sockeye::addr::{Family, Ipv6};
/// let address: <Ipv6 as Family>::Address = "[::1]:7000".parse()?;
/// assert_eq!(address.port(), 7000);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub trait Family: Sealed + Debug + Sized + 'static {
    /// The addresses of this family.
    type Address: Address<Family = Self>;
}

/// IPv4 (`AF_INET`), with [`SocketAddrV4`] addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ipv4 {}

/// IPv6 (`AF_INET6`), with [`SocketAddrV6`] addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ipv6 {}

/// IPv4 or IPv6, known only at run time, with [`SocketAddr`] addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ip {}

/// Unix sockets (`AF_UNIX`), with [`UnixAddr`] addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unix {}

/// IP or Unix, known only at run time, with [`AnyAddr`] addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Any {}

impl Sealed for Ipv4 {}
impl Sealed for Ipv6 {}
impl Sealed for Ip {}
impl Sealed for Unix {}
impl Sealed for Any {}

impl Family for Ipv4 {
    type Address = SocketAddrV4;
}
impl Family for Ipv6 {
    type Address = SocketAddrV6;
}
impl Family for Ip {
    type Address = SocketAddr;
}
impl Family for Unix {
    type Address = UnixAddr;
}
impl Family for Any {
    type Address = AnyAddr;
}

/// The families of which every socket is an IP socket: [`Ipv4`], [`Ipv6`], [`Ip`].
///
/// Options of TCP, UDP and IP exist on these only.
#[diagnostic::on_unimplemented(
    message = "a socket of family `{Self}` need not be an IP socket",
    label = "this exists on `Ipv4`, `Ipv6` and `Ip` only",
    note = "Unix sockets have no IP, TCP or UDP options",
    note = "a socket of family `Any` may be a Unix socket"
)]
pub trait IpFamily: Family {
    /// An address without a port, such as a multicast group.
    type IpAddress: Into<IpAddr>;
}
impl IpFamily for Ipv4 {
    type IpAddress = Ipv4Addr;
}
impl IpFamily for Ipv6 {
    type IpAddress = Ipv6Addr;
}
impl IpFamily for Ip {
    type IpAddress = IpAddr;
}

/// What a socket does with what is sent through it, as a type.
///
/// Sealed: [`Stream`], [`Datagram`], [`SeqPacket`] and [`ConnectedDatagram`].
pub trait Kind: Sealed + Debug + Sized + 'static {
    /// The type that `socket(2)` is asked for.
    const TYPE: SocketType;
    /// Whether it waits for connections (`SO_ACCEPTCONN`) and moves no data itself.
    const LISTENS: bool = false;
}

/// A connected stream of bytes (`SOCK_STREAM`): TCP, or a Unix stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {}

/// Single messages to and from anybody (`SOCK_DGRAM`): UDP, or Unix datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datagram {}

/// A connection that keeps the edges of messages (`SOCK_SEQPACKET`); Unix only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeqPacket {}

/// Datagrams to and from one peer: a [`Datagram`] socket after `connect(2)`.
///
/// A kind of its own because what may be called differs: it has `send` and no `send_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectedDatagram {}

/// Waits for connections of kind `K` (`listen(2)`), and moves no data itself.
///
/// A socket of this kind is what [`Listener`](crate::socket::Listener) stands for.
#[derive(Debug)]
pub struct Listening<K>(Infallible, PhantomData<K>);

impl Sealed for Stream {}
impl<K: Connected> Sealed for Listening<K> {}
impl Sealed for Datagram {}
impl Sealed for SeqPacket {}
impl Sealed for ConnectedDatagram {}

impl Kind for Stream {
    const TYPE: SocketType = SocketType::Stream;
}
impl Kind for Datagram {
    const TYPE: SocketType = SocketType::Datagram;
}
impl Kind for SeqPacket {
    const TYPE: SocketType = SocketType::SeqPacket;
}
impl Kind for ConnectedDatagram {
    const TYPE: SocketType = SocketType::Datagram;
}

impl<K: Connected> Kind for Listening<K> {
    const TYPE: SocketType = K::TYPE;
    const LISTENS: bool = true;
}

/// The kinds whose sockets move data: all but [`Listening`].
#[diagnostic::on_unimplemented(
    message = "sockets of kind `{Self}` neither send nor receive",
    label = "this exists on sockets that move data only",
    note = "a listener waits for connections: `accept` gives a socket that moves data"
)]
pub trait Transfers: Kind {}
impl Transfers for Stream {}
impl Transfers for Datagram {}
impl Transfers for SeqPacket {}
impl Transfers for ConnectedDatagram {}

/// The kinds whose sockets have one peer: [`Stream`], [`SeqPacket`] and [`ConnectedDatagram`].
#[diagnostic::on_unimplemented(
    message = "sockets of kind `{Self}` have no peer",
    label = "this exists on `Stream`, `SeqPacket` and `ConnectedDatagram` only",
    note = "a datagram socket talks to anybody, until `connect` settles its peer"
)]
pub trait HasPeer: Transfers {}
impl HasPeer for Stream {}
impl HasPeer for SeqPacket {}
impl HasPeer for ConnectedDatagram {}

/// The kinds whose sockets send and receive datagrams: [`Datagram`] and [`ConnectedDatagram`].
#[diagnostic::on_unimplemented(
    message = "sockets of kind `{Self}` have no datagrams",
    label = "this exists on `Datagram` and `ConnectedDatagram` only",
    note = "what is beside a message, and many with one call, is of UDP"
)]
pub trait Datagrams: Transfers {
    /// Whether the peer is settled.
    const CONNECTED: bool;
}
impl Datagrams for Datagram {
    const CONNECTED: bool = false;
}
impl Datagrams for ConnectedDatagram {
    const CONNECTED: bool = true;
}

/// The kinds of TCP, where the family is IP: [`Stream`], and [`Listening`] for streams.
#[diagnostic::on_unimplemented(
    message = "sockets of kind `{Self}` have no options of TCP",
    label = "this exists on streams, and on listeners for streams, only",
    note = "a datagram leaves at once, and has no connection to keep alive or to wait for"
)]
pub trait Streaming: Kind {}
impl Streaming for Stream {}
impl Streaming for Listening<Stream> {}

/// The kinds that listen and accept: [`Stream`] and [`SeqPacket`].
#[diagnostic::on_unimplemented(
    message = "sockets of kind `{Self}` do not listen and accept",
    label = "this exists on `Stream` and `SeqPacket` only",
    note = "a datagram socket is bound, and hears every peer without accepting it"
)]
pub trait Connected: HasPeer {}
impl Connected for Stream {}
impl Connected for SeqPacket {}

/// The families whose sockets come in kind `K`.
///
/// Every family has streams and datagrams; [`SeqPacket`] exists on [`Unix`] (and on [`Any`], which
/// may be Unix: there the kernel has the last word).
///
/// ```compile_fail,E0277
/// use sockeye::addr::{Ipv4, SeqPacket, Supports};
/// fn socket<F: Supports<SeqPacket>>() {}
/// socket::<Ipv4>();
/// ```
#[diagnostic::on_unimplemented(
    message = "there are no `{K}` sockets of family `{Self}`",
    label = "the kernel has no such socket",
    note = "`SeqPacket` exists on Unix sockets only: use family `Unix`",
    note = "where the family is known only at run time, use `Any`"
)]
pub trait Supports<K: Kind>: Family {}
impl<F: Family> Supports<Stream> for F {}
impl<F: Family> Supports<Datagram> for F {}
impl<F: Family> Supports<ConnectedDatagram> for F {}
impl<F: Supports<K>, K: Connected> Supports<Listening<K>> for F {}
impl Supports<SeqPacket> for Unix {}
impl Supports<SeqPacket> for Any {}

/// The families whose sockets are also sockets of the wider family `G`.
///
/// ```
/// use sockeye::addr::{Any, EraseTo, Ip, Ipv6, Unix};
/// fn widens<F: EraseTo<G>, G: sockeye::addr::Family>() {}
/// widens::<Ipv6, Ip>();
/// widens::<Unix, Any>();
/// ```
///
/// ```compile_fail,E0277
/// use sockeye::addr::{EraseTo, Ip, Unix};
/// fn widens<F: EraseTo<G>, G: sockeye::addr::Family>() {}
/// widens::<Unix, Ip>();
/// ```
#[diagnostic::on_unimplemented(
    message = "a socket of family `{Self}` is not always one of family `{G}`",
    label = "the family can only be widened",
    note = "`Ipv4` and `Ipv6` widen to `Ip`; these and `Unix` widen to `Any`"
)]
pub trait EraseTo<G: Family>: Family {}
impl EraseTo<Ip> for Ipv4 {}
impl EraseTo<Ip> for Ipv6 {}
impl EraseTo<Any> for Ipv4 {}
impl EraseTo<Any> for Ipv6 {}
impl EraseTo<Any> for Ip {}
impl EraseTo<Any> for Unix {}
