//! Connecting in two steps, without waiting: for whoever has several attempts under way.
//!
//! [`begin`] sends the first packet, a poll says when the socket is writable, and [`finish`] says what
//! became of it. A descriptor in between is closed like any other: the kernel forgets the attempt.

use super::{Options, RawSocket, Socket, open};
use crate::addr::{Any, AnyAddr, Kind, SocketType, Supports};
use crate::sys::address;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is done with a socket before it connects.
pub(crate) type Prepare<'a> = dyn Fn(BorrowedFd<'_>) -> io::Result<()> + 'a;

/// A socket that does not block and connects to `to`, and whether it is still at it: then wait until it
/// is writable and [`finish`].
///
/// In this order: `socket(2)`, the options, `prepare`, `bind(2)` if there is a local address,
/// `connect(2)`.
pub(crate) fn begin(
    to: SocketAddr,
    kind: SocketType,
    options: &Options,
    from: Option<SocketAddr>,
    prepare: &Prepare<'_>,
) -> io::Result<(OwnedFd, bool)> {
    let to = AnyAddr::Ip(to);
    let raw = open::open(&to, kind, options)?;
    raw.set_nonblocking(true)?;
    prepare(raw.as_fd())?;
    if let Some(from) = from.map(AnyAddr::Ip) {
        options.set_for_bind(&raw, &from, kind)?;
        raw.bind(&address::to_sock_addr(&from)?)?;
    }
    let in_progress = open::start_connect(&raw, &address::to_sock_addr(&to)?)?;
    Ok((raw.into(), in_progress))
}

/// What became of a connect, once the socket is writable; from then on it blocks.
///
/// # Errors
///
/// Those of `connect(2)`, by `SO_ERROR`. `ConnectionRefused` if both ends are this socket: a connect to
/// a port of this host on which nobody listens may get that very port for its own end, and TCP opens
/// both sides at once.
pub(crate) fn finish(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let local = socket.local_addr()?;
    if local == socket.peer_addr()? && local.as_socket().is_some() {
        let text = "the socket met itself: nobody listens there";
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
    }
    socket.set_nonblocking(false)
}

impl<K: Kind> Socket<Any, K>
where
    Any: Supports<K>,
{
    /// What [`begin`] made, of the kind that it was told.
    pub(crate) fn of_begun(socket: OwnedFd) -> Self {
        Self::from_raw(RawSocket::from(socket))
    }
}
