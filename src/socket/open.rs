//! Making sockets: what `bind` and `connect` of every kind have in common.
//!
//! Defaults are set here, unless options say otherwise: close-on-exec on every socket, `TCP_NODELAY` on
//! TCP, `SO_REUSEADDR` on TCP listeners, `IPV6_V6ONLY` on what is bound, mode 0600 on socket files.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Type};

use super::{Options, RawSocket, unix_file};
use crate::addr::{Address, AnyAddr, Family, SocketType};
use crate::sys::{address, transfer, udp, wait};

/// A socket for this address: `socket(2)`, close-on-exec, `TCP_NODELAY` if it is TCP, and what the set
/// has for it.
pub(super) fn open(
    address: &AnyAddr,
    kind: SocketType,
    options: &Options,
) -> io::Result<RawSocket> {
    let raw = RawSocket::new(domain_of(address), type_of(kind), None)?;
    let is_ip = address.as_ip().is_some();
    // On the listener too: what it accepts inherits the option, which saves a call per connection.
    if is_ip && kind == SocketType::Stream {
        raw.set_tcp_nodelay(true)?;
    }
    if is_ip && kind == SocketType::Datagram && options.has_notes() {
        let ipv6 = domain_of(address) == Domain::IPV6;
        // Not only when something asks for it: the kernel notes some of it when a datagram is queued.
        udp::note_arrivals(&raw, ipv6)?;
        udp::set_hears_all_groups(&raw, ipv6, false)?;
    }
    options.set(&SockRef::from(&raw), is_ip, kind)?;
    prepare(&raw, kind)?;
    Ok(raw)
}

/// What every socket of this kind has set, wherever it comes from: seqpacket, that an empty message is
/// not taken for the end.
pub(super) fn prepare(raw: &RawSocket, kind: SocketType) -> io::Result<()> {
    match kind {
        SocketType::SeqPacket => transfer::mark_records(raw),
        SocketType::Stream | SocketType::Datagram => Ok(()),
    }
}

/// Has the kernel note beside UDP datagrams what [`Socket::receive`](super::Socket::receive) tells, on a
/// socket from elsewhere.
pub(super) fn note_arrivals(raw: &RawSocket) -> io::Result<()> {
    match raw.domain()? {
        Domain::UNIX => Ok(()),
        domain => udp::note_arrivals(raw, domain == Domain::IPV6),
    }
}

/// A socket bound to this address; the caller listens, if that is its kind.
pub(super) fn bind(
    address: &AnyAddr,
    kind: SocketType,
    options: &Options,
) -> io::Result<RawSocket> {
    let raw = open(address, kind, options)?;
    options.set_for_bind(&raw, address, kind)?;
    if address.as_unix().is_some_and(|unix| unix.as_path().is_some()) {
        unix_file::set_first_mode(&raw, 0o600)?;
    }
    raw.bind(&address::to_sock_addr(address)?)?;
    Ok(raw)
}

/// `connect(2)`, waiting until it is decided or the deadline has passed.
pub(super) fn connect(raw: &RawSocket, to: &AnyAddr, deadline: Option<Instant>) -> io::Result<()> {
    let address = address::to_sock_addr(to)?;
    match to {
        AnyAddr::Unix(_) => connect_unix(raw, &address, deadline),
        AnyAddr::Ip(_) => connect_ip(raw, &address, deadline),
    }
}

fn connect_ip(raw: &RawSocket, to: &SockAddr, deadline: Option<Instant>) -> io::Result<()> {
    let Some(deadline) = deadline else {
        return match raw.connect(to) {
            // The connect goes on without us; to call again would be another one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                wait::until_writable(raw.as_fd(), None)?;
                finish_connect(raw)
            }
            result => result,
        };
    };
    raw.set_nonblocking(true)?;
    if start_connect(raw, to)? {
        wait::until_writable(raw.as_fd(), Some(deadline))?;
        finish_connect(raw)?;
    }
    raw.set_nonblocking(false)
}

/// A Unix connect waits only for room in the listener's backlog. Not blocking, it says `EAGAIN` and
/// gives nothing to poll; so it blocks, under the socket's own send timeout, which Linux heeds here.
/// That wakes as soon as there is room, which sleeping and trying again would not.
fn connect_unix(raw: &RawSocket, to: &SockAddr, deadline: Option<Instant>) -> io::Result<()> {
    let Some(deadline) = deadline else {
        return super::uninterrupted(|| raw.connect(to));
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        raw.set_write_timeout(Some(left.max(SHORTEST)))?;
        match raw.connect(to) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // The kernel's tick is long enough for signals to interrupt even the last, short wait.
            Err(error) if error.kind() == io::ErrorKind::Interrupted && left.is_zero() => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    raw.set_write_timeout(None)
}

/// Begins to connect a socket that does not block; whether it is still in progress.
pub(super) fn start_connect(raw: &RawSocket, to: &SockAddr) -> io::Result<bool> {
    match raw.connect(to) {
        Ok(()) => Ok(false),
        Err(error) if wait::is_in_progress(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// What became of a connect in progress, once the socket is writable.
pub(super) fn finish_connect(raw: &RawSocket) -> io::Result<()> {
    match raw.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// A timeout as the kernel takes it: not zero, which would mean none, also after rounding to µs.
pub(super) fn timeout(timeout: Option<Duration>) -> io::Result<Option<Duration>> {
    match timeout {
        Some(Duration::ZERO) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a timeout of zero; use `None` for none",
        )),
        timeout => Ok(timeout.map(|timeout| timeout.max(SHORTEST))),
    }
}

/// What the kernel said, as an address of family `F`.
pub(super) fn address_of<F: Family>(address: &SockAddr) -> io::Result<F::Address> {
    F::Address::from_any(address::from_sock_addr(address)?).map_err(|other| {
        let text = format!("the socket has an address of another family: {other}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn domain_of(address: &AnyAddr) -> Domain {
    match address {
        AnyAddr::Ip(SocketAddr::V4(_)) => Domain::IPV4,
        AnyAddr::Ip(SocketAddr::V6(_)) => Domain::IPV6,
        AnyAddr::Unix(_) => Domain::UNIX,
    }
}

pub(super) fn type_of(kind: SocketType) -> Type {
    match kind {
        SocketType::Stream => Type::STREAM,
        SocketType::Datagram => Type::DGRAM,
        SocketType::SeqPacket => Type::SEQPACKET,
    }
}

/// The kernel counts timeouts in microseconds, and takes zero for none.
const SHORTEST: Duration = Duration::from_micros(1);
