//! Who is at the other end of a Unix connection.

use super::Socket;
use crate::addr::{Any, Connected, Credentials, Stream, Supports, Unix};
use crate::sys::rights;
use std::io;
use std::os::fd::AsFd;

impl<K: Connected> Socket<Unix, K>
where
    Unix: Supports<K>,
{
    /// Who is at the other end, as the kernel knows: `SO_PEERCRED`. Does not block.
    ///
    /// They are those of the moment of `connect`, or to the client of the moment of `listen`, whatever
    /// has become of the process since, and whatever name the peer has bound.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    ///
    /// ```
    /// use sockeye::socket::UnixStream;
    /// let (one, other) = UnixStream::pair()?;
    /// assert_eq!(one.peer_credentials()?, other.peer_credentials()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        rights::credentials(self.as_fd())
    }
}

impl Socket<Any, Stream> {
    /// Who is at the other end, if it is a Unix connection: as
    /// [`peer_credentials`](Socket::peer_credentials) there.
    ///
    /// # Errors
    ///
    /// It is none (`Unsupported`).
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        rights::credentials(self.as_fd())
    }
}
