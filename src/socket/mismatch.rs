//! What a descriptor from elsewhere is, against what it was taken for.

use std::any::TypeId;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Type};

use super::{RawSocket, open};
use crate::addr::{
    Address, AnyAddr, ConnectedDatagram, Family, Kind, SocketType, Supports, UnixAddr,
};

/// A descriptor that is not the socket it was taken for.
///
/// The descriptor is in it, still open: nothing is lost by trying. An `io::Error` (of kind
/// `InvalidInput`) can be made of it by `?`, and holds the descriptor until it is dropped.
///
/// ```
/// use sockeye::addr::Ipv4;
/// use sockeye::socket::{TcpStream, UdpSocket};
/// use std::os::fd::OwnedFd;
///
/// let udp = OwnedFd::from(UdpSocket::bind("[::1]:0")?);
/// let error = TcpStream::<Ipv4>::try_from(udp).unwrap_err();
/// assert_eq!(error.to_string(), "expected an IPv4 stream socket, found an IPv6 datagram socket");
/// let udp: UdpSocket = error.into_fd().try_into()?; // still open
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Mismatch {
    fd: OwnedFd,
    expected: String,
    found: String,
}

impl Mismatch {
    /// The descriptor back, open.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// What was wanted, such as "an IPv4 stream socket".
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What the descriptor is, such as "a Unix stream listener".
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl AsFd for Mismatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl Error for Mismatch {}

impl From<Mismatch> for io::Error {
    fn from(mismatch: Mismatch) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, mismatch)
    }
}

/// Lets a descriptor through as a socket of family `F` and kind `K`, if that is what it is:
/// `SO_DOMAIN`, `SO_TYPE`, `SO_ACCEPTCONN`, and for datagrams `getpeername`.
///
/// A stream need not be connected any more: one that was reset is still a stream.
pub(super) fn check<F: Supports<K>, K: Kind>(fd: OwnedFd) -> Result<RawSocket, Mismatch> {
    let wanted = Wanted::of::<F, K>();
    let raw = RawSocket::from(fd);
    let found = match Found::ask(&raw) {
        Ok(found) if wanted.admits(&found) => return Ok(raw),
        Ok(found) => found.describe(),
        // `ENOTSOCK`, above all; the reason is the kernel's to say.
        Err(error) => format!("no socket ({error})"),
    };
    Err(Mismatch { fd: raw.into(), expected: wanted.describe(), found })
}

/// What the types ask for.
struct Wanted {
    v4: bool,
    v6: bool,
    unix: bool,
    kind: SocketType,
    listens: bool,
    /// For datagrams: whether the peer is settled.
    connected: bool,
}

impl Wanted {
    fn of<F: Supports<K>, K: Kind>() -> Self {
        let connected = TypeId::of::<K>() == TypeId::of::<ConnectedDatagram>();
        Self {
            v4: admits::<F>(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).to_any()),
            v6: admits::<F>(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).to_any()),
            unix: admits::<F>(UnixAddr::unnamed().to_any()),
            kind: K::TYPE,
            listens: K::LISTENS,
            connected,
        }
    }

    fn admits(&self, found: &Found) -> bool {
        let family = (self.v4 && found.domain == Domain::IPV4)
            || (self.v6 && found.domain == Domain::IPV6)
            || (self.unix && found.domain == Domain::UNIX);
        let peer = self.kind != SocketType::Datagram || found.connected == self.connected;
        family && found.kind == open::type_of(self.kind) && found.listens == self.listens && peer
    }

    fn describe(&self) -> String {
        let family = match (self.v4, self.v6, self.unix) {
            (true, false, _) => "an IPv4",
            (false, true, _) => "an IPv6",
            (true, true, false) => "an IP",
            (false, false, true) => "a Unix",
            _ => "an IP or Unix",
        };
        describe(family, name_of(open::type_of(self.kind)), self.listens, self.connected)
    }
}

/// Whether sockets of family `F` have such addresses.
fn admits<F: Family>(address: AnyAddr) -> bool {
    F::Address::from_any(address).is_ok()
}

/// What the kernel says.
struct Found {
    domain: Domain,
    kind: Type,
    listens: bool,
    connected: bool,
}

impl Found {
    fn ask(raw: &RawSocket) -> io::Result<Self> {
        let connected = raw.peer_addr().is_ok();
        let (domain, kind) = (raw.domain()?, raw.r#type()?);
        Ok(Self { domain, kind, listens: raw.is_listener()?, connected })
    }

    fn describe(&self) -> String {
        let family = match self.domain {
            Domain::IPV4 => "an IPv4".to_string(),
            Domain::IPV6 => "an IPv6".to_string(),
            Domain::UNIX => "a Unix".to_string(),
            other => format!("a family {}", i32::from(other)),
        };
        let connected = self.kind == Type::DGRAM && self.connected;
        describe(&family, name_of(self.kind), self.listens, connected)
    }
}

fn name_of(kind: Type) -> &'static str {
    match kind {
        Type::STREAM => "stream",
        Type::DGRAM => "datagram",
        Type::SEQPACKET => "seqpacket",
        _ => "raw",
    }
}

/// "an IPv4 stream socket", "a Unix seqpacket listener", "an IPv6 datagram socket with a peer".
fn describe(family: &str, kind: &str, listens: bool, connected: bool) -> String {
    let noun = if listens { "listener" } else { "socket" };
    let peer = if connected { " with a peer" } else { "" };
    format!("{family} {kind} {noun}{peer}")
}
