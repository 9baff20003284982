//! Who is at the other end of a Unix connection, as the kernel knows.

use std::fmt;

/// User, group and process at the other end of a Unix connection.
///
/// The kernel notes them when the connection is made, and no peer can choose them: those of whoever called
/// `connect`, and to the client those of whoever called `listen`. A process that has ended since may have
/// left its number to another, so the number is for logs more than for decisions.
///
/// ```
/// use sockeye::socket::UnixStream;
/// let (one, _other) = UnixStream::pair()?;
/// let peer = one.peer_credentials()?;
/// assert_eq!(peer.pid, Some(std::process::id()));
/// println!("connected: {peer}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id; further groups are not told.
    pub gid: u32,
    /// The process; `None` if it is of a process namespace that we cannot see.
    pub pid: Option<u32>,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, gid {}", self.uid, self.gid)?;
        match self.pid {
            Some(pid) => write!(f, ", pid {pid}"),
            None => Ok(()),
        }
    }
}
