//! Transports: family and socket type together, as a value.

use std::fmt;

use super::AnyAddr;

/// The type that `socket(2)` is asked for.
///
/// Not `#[non_exhaustive]`: a further type would be a further [`Kind`](super::Kind), and every
/// match must then decide about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketType {
    /// `SOCK_STREAM`: a connected stream of bytes.
    Stream,
    /// `SOCK_DGRAM`: single messages, each to anybody.
    Datagram,
    /// `SOCK_SEQPACKET`: a connection that keeps the edges of messages.
    SeqPacket,
}

/// How bytes get to the other side.
///
/// Not `#[non_exhaustive]`: these five are all the sockets that the crate makes, and code that
/// picks one must not miss another.
///
/// ```
/// use sockeye::Transport;
/// assert!(Transport::UnixSeqPacket.is_connected());
/// assert_eq!(Transport::UnixSeqPacket.scheme(), "unix+seqpacket");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream over IPv4 or IPv6.
    Tcp,
    /// Datagrams over IPv4 or IPv6.
    Udp,
    /// A stream over a Unix socket.
    Unix,
    /// Datagrams over Unix sockets.
    UnixDatagram,
    /// A connection with messages over a Unix socket.
    UnixSeqPacket,
    /// A stream within the process: see [`memory`](crate::memory).
    Memory,
}

impl Transport {
    /// All of them, for tables and tests.
    pub const ALL: [Transport; 6] = [
        Transport::Tcp,
        Transport::Udp,
        Transport::Unix,
        Transport::UnixDatagram,
        Transport::UnixSeqPacket,
        Transport::Memory,
    ];

    /// The transport of a socket of this type at this address; `None` for seqpacket over IP.
    pub fn of(kind: SocketType, addr: &AnyAddr) -> Option<Transport> {
        match (addr, kind) {
            (AnyAddr::Ip(_), SocketType::Stream) => Some(Transport::Tcp),
            (AnyAddr::Ip(_), SocketType::Datagram) => Some(Transport::Udp),
            (AnyAddr::Ip(_), SocketType::SeqPacket) => None,
            (AnyAddr::Unix(_), SocketType::Stream) => Some(Transport::Unix),
            (AnyAddr::Unix(_), SocketType::Datagram) => Some(Transport::UnixDatagram),
            (AnyAddr::Unix(_), SocketType::SeqPacket) => Some(Transport::UnixSeqPacket),
        }
    }

    /// The type that `socket(2)` is asked for; a stream in memory, which asks nobody, is a stream.
    pub fn socket_type(self) -> SocketType {
        match self {
            Transport::Tcp | Transport::Unix | Transport::Memory => SocketType::Stream,
            Transport::Udp | Transport::UnixDatagram => SocketType::Datagram,
            Transport::UnixSeqPacket => SocketType::SeqPacket,
        }
    }

    /// Whether a server listens and accepts connections, rather than hear everybody on one socket.
    pub fn is_connected(self) -> bool {
        !self.is_datagram()
    }

    /// Whether it carries datagrams, which may be lost (UDP) and have no connection.
    pub fn is_datagram(self) -> bool {
        self.socket_type() == SocketType::Datagram
    }

    /// Whether the edges of messages are kept: everything but streams.
    pub fn keeps_messages(self) -> bool {
        self.socket_type() != SocketType::Stream
    }

    /// Whether it runs over Unix sockets, rather than IP or memory.
    pub fn is_unix(self) -> bool {
        !matches!(self, Transport::Tcp | Transport::Udp | Transport::Memory)
    }

    /// The scheme of its endpoints: `tcp`, `udp`, `unix`, `unix+dgram`, `unix+seqpacket`, `memory`.
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
            Transport::UnixDatagram => "unix+dgram",
            Transport::UnixSeqPacket => "unix+seqpacket",
            Transport::Memory => "memory",
        }
    }

    /// Whether an address of this family can be spoken to this way.
    pub(super) fn fits(self, addr: &AnyAddr) -> bool {
        match self {
            Transport::Memory => addr.as_unix().is_some_and(|unix| unix.is_unnamed()),
            _ => self.is_unix() == addr.as_unix().is_some(),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.scheme())
    }
}
