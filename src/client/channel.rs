//! The socket of a client, whatever it is, under absolute deadlines.

use crate::addr::{Any, ConnectedDatagram, Endpoint, SeqPacket};
use crate::error::Error;
use crate::memory;
use crate::socket::{AnyStream, Mismatch, Socket};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A connected socket of any family.
#[derive(Debug)]
pub(super) enum Channel {
    Stream(AnyStream),
    Memory(memory::Stream),
    Datagram(Socket<Any, ConnectedDatagram>),
    Record(Socket<Any, SeqPacket>),
}

impl Channel {
    /// The same socket with its type, which the builder knows.
    pub(super) fn into_typed<T>(self, endpoint: &Endpoint) -> Result<T, Error>
    where
        T: TryFrom<OwnedFd, Error = Mismatch>,
    {
        let typed = self.into_descriptor().and_then(|socket| Ok(T::try_from(socket)?));
        typed.map_err(|error| Error::new("connect to", endpoint, error))
    }

    pub(super) fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Channel::Stream(stream) => Ok(stream.into()),
            Channel::Datagram(socket) => Ok(socket.into()),
            Channel::Record(socket) => Ok(socket.into()),
            Channel::Memory(_) => {
                let why = "a stream in memory has no descriptor";
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    /// Whether it has no end, and a bad message says nothing about the next.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self, Channel::Datagram(_))
    }

    /// Whether every read is a whole message.
    pub(super) fn keeps_messages(&self) -> bool {
        !matches!(self, Channel::Stream(_) | Channel::Memory(_))
    }

    /// Reads what there is, or waits for it until the deadline. `None` is the end.
    pub(super) fn read(
        &self,
        into: &mut [u8],
        patience: &mut Patience,
    ) -> io::Result<Option<usize>> {
        loop {
            match self.read_once(into, patience) {
                Err(error) if patience.ended_early(&error) => {}
                read => return read.map_err(timed_out),
            }
        }
    }

    fn read_once(&self, into: &mut [u8], patience: &mut Patience) -> io::Result<Option<usize>> {
        let timeout = patience.left()?;
        match self {
            Channel::Stream(stream) => {
                patience.apply(timeout, |timeout| stream.set_read_timeout(timeout))?;
                (&*stream).read(into).map(|length| Some(length).filter(|length| *length > 0))
            }
            Channel::Memory(stream) => {
                patience.apply(timeout, |timeout| stream.set_read_timeout(timeout))?;
                (&*stream).read(into).map(|length| Some(length).filter(|length| *length > 0))
            }
            Channel::Datagram(socket) => {
                patience.apply(timeout, |timeout| socket.set_read_timeout(timeout))?;
                match socket.recv(into) {
                    Ok(received) if received.truncated => Err(too_long()),
                    received => received.map(|received| Some(received.len)),
                }
            }
            Channel::Record(socket) => {
                patience.apply(timeout, |timeout| socket.set_read_timeout(timeout))?;
                match socket.recv(into) {
                    Ok(Some(received)) if received.truncated => Err(too_long()),
                    received => received.map(|received| received.map(|received| received.len)),
                }
            }
        }
    }

    /// Writes some bytes of a stream, at least one, or one datagram.
    pub(super) fn write(&self, bytes: &[u8], patience: &mut Patience) -> io::Result<usize> {
        loop {
            match self.write_once(bytes, patience) {
                Err(error) if patience.ended_early(&error) => {}
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                written => return written.map_err(timed_out),
            }
        }
    }

    fn write_once(&self, bytes: &[u8], patience: &mut Patience) -> io::Result<usize> {
        let timeout = patience.left()?;
        match self {
            Channel::Stream(stream) => {
                patience.apply(timeout, |timeout| stream.set_write_timeout(timeout))?;
                (&*stream).write(bytes)
            }
            Channel::Memory(stream) => {
                patience.apply(timeout, |timeout| stream.set_write_timeout(timeout))?;
                (&*stream).write(bytes)
            }
            Channel::Datagram(socket) => {
                patience.apply(timeout, |timeout| socket.set_write_timeout(timeout))?;
                socket.send(bytes)
            }
            Channel::Record(socket) => {
                patience.apply(timeout, |timeout| socket.set_write_timeout(timeout))?;
                socket.send(bytes)
            }
        }
    }

    /// Ends what is sent; datagrams have no end.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Channel::Stream(stream) => stream.shutdown(Shutdown::Write),
            Channel::Memory(stream) => stream.shutdown(Shutdown::Write),
            Channel::Record(socket) => socket.shutdown(Shutdown::Write),
            Channel::Datagram(_) => Ok(()),
        }
    }
}

/// The time that one operation has, and what the socket was told of it.
///
/// The deadline is absolute: a peer that sends a byte now and then does not move it. The socket's own
/// timeout is set again only when it would be wrong, so an operation that needs one read costs one
/// system call; with an end for all operations, which is nearer each time, two.
#[derive(Debug, Default)]
pub(super) struct Patience {
    pub(super) timeout: Option<Duration>,
    /// No operation lasts longer than until then, whenever it began.
    pub(super) end: Option<Instant>,
    deadline: Option<Instant>,
    set: Option<Duration>,
}

impl Patience {
    pub(super) fn new(timeout: Option<Duration>) -> Patience {
        Patience { timeout, ..Patience::default() }
    }

    /// An operation begins. Its deadline is fixed when it first has to wait longer than one call.
    pub(super) fn begin(&mut self) {
        self.deadline = None;
    }

    fn left(&mut self) -> io::Result<Option<Duration>> {
        if self.timeout.is_none() && self.end.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        let of_operation = match self.deadline {
            Some(deadline) => Some(deadline.saturating_duration_since(now)),
            None => {
                self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
                self.timeout
            }
        };
        let of_all = self.end.map(|end| end.saturating_duration_since(now));
        match of_operation.into_iter().chain(of_all).min() {
            // To the socket it would be an error, or for ever.
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    /// Whether a socket gave up a little before its time: the kernel counts in ticks, and the first may have
    /// been half over. A socket that does not wait at all is not to be asked over and over.
    fn ended_early(&mut self, error: &io::Error) -> bool {
        let left = if error.kind() == io::ErrorKind::WouldBlock { self.left() } else { Ok(None) };
        matches!(left, Ok(Some(left)) if left <= TICK)
    }

    fn apply(
        &mut self,
        timeout: Option<Duration>,
        set: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if timeout != self.set {
            set(timeout)?;
            self.set = timeout;
        }
        Ok(())
    }
}

/// The longest tick of a kernel: 100 in a second.
const TICK: Duration = Duration::from_millis(10);

/// What is left of such a message would look like a whole one.
fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is longer than the buffer")
}

/// A socket with a timeout says "would block" when the time is over.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{ConnectedUnixDatagram, UnixSeqPacket};

    #[test]
    fn of_a_message_that_is_too_long_nothing_is_taken_for_all() {
        let (ours, theirs) = ConnectedUnixDatagram::pair().unwrap();
        let (record, peer) = UnixSeqPacket::pair().unwrap();
        for message in [&b"12345"[..], b"1234"] {
            theirs.send(message).unwrap();
            peer.send(message).unwrap();
        }
        for channel in [Channel::Datagram(ours.into()), Channel::Record(record.into())] {
            let mut buffer = [0; 4];
            let mut read = || channel.read(&mut buffer, &mut Patience::default());
            assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(read().unwrap(), Some(4), "the next one is whole");
        }
    }
}
