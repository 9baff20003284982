//! Streams and listeners within the process, for tests: no descriptor, no port, no file.
//!
//! A [`pair`] of [`Stream`]s behaves as two connected sockets do, but its buffers are exactly as large
//! as they are said to be, on every machine. A [`Listener`] is one of a server's endpoints like any
//! other, on every engine; its [`Dialer`]s connect to it.
//!
//! ```
//! use sockeye::client::Client;
//! use sockeye::codec::Lines;
//! use sockeye::handler::Context;
//! use sockeye::memory;
//! use sockeye::server::Server;
//! use std::time::Duration;
//!
//! // The handler under test.
//! let shout = |line: &str, cx: &mut Context<'_, Lines>| cx.send(&line.to_uppercase());
//!
//! let listener = memory::Listener::new(64 * 1024);
//! let dialer = listener.dialer();
//! let server = Server::on(listener).codec(Lines::default()).serve(shout)?;
//!
//! let mut client = Client::memory(&dialer)
//!     .timeout(Duration::from_secs(5))
//!     .codec(Lines::default())
//!     .connect()?;
//! client.send("hello")?;
//! assert_eq!(client.receive()?, "HELLO");
//!
//! server.stop(Duration::from_secs(5));
//! assert_eq!(server.join()?.counters.accepted, 1);
//! # Ok::<(), sockeye::Error>(())
//! ```
//!
//! [`LocalServer`](crate::testing::LocalServer) is the same in one line.

mod link;
mod listener;

pub use listener::{Dialer, Listener};

use crate::poll::Interest;
use link::Link;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Two streams connected to each other, with buffers of `capacity` bytes in each direction. Zero
/// counts as one.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut one, mut other) = sockeye::memory::pair(4);
/// assert_eq!(one.write(b"hello")?, 4);
/// let mut bytes = [0; 8];
/// assert_eq!(other.read(&mut bytes)?, 4);
/// assert_eq!(&bytes[..4], b"hell");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pair(capacity: usize) -> (Stream, Stream) {
    let link = Arc::new(Link::new(capacity.max(1)));
    let end = |side| Stream { end: Arc::new(End { link: link.clone(), side }) };
    (end(0), end(1))
}

/// One end of a stream of bytes within the process.
///
/// It is read and written as a socket is, by `&Stream` too, and blocks unless
/// [`set_nonblocking`](Stream::set_nonblocking) was called. A write takes as many bytes as there is
/// room for, and waits only where there is none. When the last [clone](Stream::try_clone) of an end is
/// dropped, the peer reads what is left and then the end, and its writes fail with `BrokenPipe`.
pub struct Stream {
    end: Arc<End>,
}

impl Stream {
    /// Closes one direction or both. Does not block; clones are affected.
    ///
    /// After `Shutdown::Write` the peer reads what was sent and then the end, and can still answer;
    /// own writes fail with `BrokenPipe`. After `Shutdown::Read` those of the peer do.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.end.link.shutdown(self.end.side, how);
        Ok(())
    }

    /// Cuts the connection, as a TCP reset does: what is on its way is lost, and from then on every
    /// read and write fails with `ConnectionReset`, on both ends. Does not block.
    ///
    /// ```
    /// use std::io::{ErrorKind, Read, Write};
    ///
    /// let (mut one, mut other) = sockeye::memory::pair(16);
    /// one.write_all(b"never read")?;
    /// one.reset();
    /// assert_eq!(other.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reset(&self) {
        self.end.link.reset();
    }

    /// Makes reads and writes return `WouldBlock` instead of waiting, or wait again. Clones share the
    /// setting. Default: they wait.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.end.link.set(self.end.side, |settings| settings.nonblocking = nonblocking);
        Ok(())
    }

    /// Lets no single read wait longer than this, or lets it wait for ever. A read that waited so long
    /// answers `WouldBlock`. Clones share the setting. Default: `None`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the duration is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = checked(timeout)?;
        self.end.link.set(self.end.side, |settings| settings.read_timeout = timeout);
        Ok(())
    }

    /// Lets no single write wait longer than this, or lets it wait for ever: as
    /// [`set_read_timeout`](Stream::set_read_timeout).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the duration is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = checked(timeout)?;
        self.end.link.set(self.end.side, |settings| settings.write_timeout = timeout);
        Ok(())
    }

    /// How many bytes can be read without waiting. Does not block.
    pub fn unread(&self) -> usize {
        self.end.link.unread(self.end.side)
    }

    /// The same end once more: both read the same bytes and share every setting, and the end is closed
    /// when the last of them goes. For reading and writing on two threads.
    ///
    /// # Errors
    ///
    /// None: it is a `Result` as for sockets.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(Stream { end: self.end.clone() })
    }

    /// Reads what there is, and never waits.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.end.link.read(self.end.side, into, false)
    }

    /// Writes as much as there is room for, and never waits.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.end.link.write(self.end.side, bytes, false)
    }

    /// Calls the waker once, when this end is ready for one of these: now, if it is. A call that was
    /// asked for before and has not come is replaced.
    pub(crate) fn watch(&self, interest: Interest, waker: Waker) {
        self.end.link.watch(self.end.side, interest, waker);
    }
}

/// Zero is the end of the stream.
impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.end.link.read(self.end.side, into, true)
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.end.link.write(self.end.side, bytes, true)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("unread", &self.unread()).finish_non_exhaustive()
    }
}

/// What the clones of a stream share.
struct End {
    link: Arc<Link>,
    side: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        self.link.close(self.side);
    }
}

/// As std has it: a timeout of no time would be no timeout to some and "at once" to others.
fn checked(timeout: Option<Duration>) -> io::Result<Option<Duration>> {
    match timeout {
        Some(Duration::ZERO) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout cannot be zero"))
        }
        timeout => Ok(timeout),
    }
}
