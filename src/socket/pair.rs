//! Two sockets connected to each other, without an address: Unix only.

use std::io;

use super::{RawSocket, Socket, open};
use crate::addr::{Connected, ConnectedDatagram, Kind, Supports, Unix};

impl<K: Connected> Socket<Unix, K>
where
    Unix: Supports<K>,
{
    /// Two sockets connected to each other: `socketpair(2)`. Does not block.
    ///
    /// Both are unnamed, blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// Too many open files (`EMFILE`).
    ///
    /// ```
    /// use sockeye::socket::{UnixSeqPacket, UnixStream};
    /// let (_a, _b) = UnixStream::pair()?;
    /// let (a, b) = UnixSeqPacket::pair()?;
    /// a.send(b"one message")?;
    /// assert_eq!(b.recv(&mut [0; 64])?.map(|message| message.len), Some(11));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        pair()
    }
}

impl Socket<Unix, ConnectedDatagram> {
    /// Two sockets connected to each other: `socketpair(2)`. Does not block.
    ///
    /// # Errors
    ///
    /// Too many open files (`EMFILE`).
    ///
    /// ```
    /// let (a, b) = sockeye::socket::ConnectedUnixDatagram::pair()?;
    /// a.send(b"")?;
    /// assert_eq!(b.recv(&mut [0; 64])?.len, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        pair()
    }
}

fn pair<K: Kind>() -> io::Result<(Socket<Unix, K>, Socket<Unix, K>)>
where
    Unix: Supports<K>,
{
    let (one, other) = RawSocket::pair(socket2::Domain::UNIX, open::type_of(K::TYPE), None)?;
    open::prepare(&one, K::TYPE)?;
    open::prepare(&other, K::TYPE)?;
    Ok((Socket::from_raw(one), Socket::from_raw(other)))
}
