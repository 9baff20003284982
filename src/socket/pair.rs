//! Two sockets connected to each other, without an address: Unix only.

use std::io;

use super::{RawSocket, Socket, open};
use crate::addr::{HasPeer, Supports, Unix};

impl<K: HasPeer> Socket<Unix, K>
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
    /// use sockeye::socket::{ConnectedUnixDatagram, UnixSeqPacket, UnixStream};
    /// let (_a, _b) = UnixStream::pair()?;
    /// let (_a, _b) = ConnectedUnixDatagram::pair()?;
    /// let (a, b) = UnixSeqPacket::pair()?;
    /// a.send(b"one message")?;
    /// assert_eq!(b.recv(&mut [0; 64])?.map(|message| message.len), Some(11));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = RawSocket::pair(socket2::Domain::UNIX, open::type_of(K::TYPE), None)?;
        open::prepare(&one, K::TYPE)?;
        open::prepare(&other, K::TYPE)?;
        Ok((Self::from_raw(one), Self::from_raw(other)))
    }
}
