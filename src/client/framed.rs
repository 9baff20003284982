//! A client's connection as frames.

use super::channel::{Channel, Patience};
use crate::addr::Endpoint;
use crate::codec::{Codec, Edge, Found, FrameError};
use crate::error::Error;
use crate::memory;
use std::borrow::ToOwned;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that sends and receives frames. Every call blocks, for as long as
/// [`Client::timeout`](super::Client::timeout) says.
#[derive(Debug)]
pub struct Framed<C: Codec> {
    reader: FramedReader<C>,
    writer: FramedWriter<C>,
}

impl<C: Codec> Framed<C> {
    /// Frames over one end of a [pair in memory](memory::pair). Its calls wait as long as they need,
    /// until [`set_timeout`](Framed::set_timeout) says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::client::Framed;
    /// use sockeye::codec::Lines;
    ///
    /// let (one, other) = sockeye::memory::pair(1024);
    /// let (mut one, mut other) =
    ///     (Framed::over(one, Lines::default()), Framed::over(other, Lines::default()));
    /// one.send("hello")?;
    /// assert_eq!(other.receive()?, "hello");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn over(stream: memory::Stream, codec: C) -> Framed<C> {
        Framed::new(Channel::Memory(stream), Endpoint::memory(), codec, None)
    }

    pub(super) fn new(
        channel: Channel,
        endpoint: Endpoint,
        codec: C,
        timeout: Option<Duration>,
    ) -> Framed<C> {
        let shared = Arc::new(Shared { channel, endpoint });
        let reader = FramedReader {
            shared: shared.clone(),
            codec: codec.clone(),
            patience: Patience::new(timeout),
            buffer: Vec::new(),
            at: 0,
            filled: 0,
            eof: false,
            edge: Edge::Open,
            fresh: false,
            skipped: 0,
        };
        let patience = Patience::new(timeout);
        Framed { reader, writer: FramedWriter { shared, codec, patience, buffer: Vec::new() } }
    }

    /// Sends one frame. Returns when the kernel has taken all of it.
    ///
    /// # Errors
    ///
    /// The codec refuses the item, the connection is lost, or the time is over; after the last two
    /// part of the frame may have been sent: see [`Error::bytes_sent`].
    pub fn send(&mut self, item: &C::Item) -> Result<(), Error> {
        self.writer.send(item)
    }

    /// Waits for the next frame.
    ///
    /// The frame is borrowed from the connection's buffer: let go of it before the next
    /// [`send`](Framed::send) or `receive`, or make it your own (`to_owned`), or [`split`](Framed::split).
    ///
    /// # Errors
    ///
    /// The peer has closed its side ([`Closed`](crate::ErrorKind::Closed)), the connection is lost, what came is no
    /// frame, or the time is over ([`TimedOut`](crate::ErrorKind::TimedOut)); after a timeout nothing is lost, and the
    /// next call goes on where this one was.
    pub fn receive(&mut self) -> Result<C::Frame<'_>, Error> {
        self.reader.receive()
    }

    /// [`receive`](Self::receive) in two steps, for who has to look at the error between them.
    pub(super) fn next(&mut self) -> Result<Range<usize>, Error> {
        self.reader.next()
    }

    pub(super) fn view(&self, body: Range<usize>) -> Result<C::Frame<'_>, Error> {
        self.reader.view(body)
    }

    /// The frames as an iterator of owned values (`String` for [`Lines`](crate::codec::Lines)). It ends
    /// when the peer closes its side, and after the first error.
    pub fn frames(&mut self) -> Frames<'_, C> {
        self.reader.frames()
    }

    /// Ends what is sent (TCP: FIN); what the peer sends can still be received.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn shutdown_write(&mut self) -> Result<(), Error> {
        self.writer.shutdown_write()
    }

    /// Both directions apart, for two threads.
    pub fn split(self) -> (FramedReader<C>, FramedWriter<C>) {
        (self.reader, self.writer)
    }

    /// How long each operation may take from now on; `None` is as long as it needs. It is the time of the
    /// whole operation, however many pieces the frame comes in. With zero whatever would have to read or
    /// write fails at once, even if it would not have to wait.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.reader.set_timeout(timeout);
        self.writer.set_timeout(timeout);
    }

    /// Until when all operations from now on have time, however many they are; `None` for no such end. A
    /// [timeout](Self::set_timeout) holds beside it: whichever ends first. Where it has passed, whatever
    /// would have to read or write fails at once.
    ///
    /// ```no_run
    /// # use sockeye::{client::Client, codec::Lines};
    /// use std::time::{Duration, Instant};
    /// let mut mail = Client::to("tcp://mail.example:smtp").codec(Lines::default()).connect()?;
    /// // The whole conversation, and not each line of it.
    /// mail.set_deadline(Some(Instant::now() + Duration::from_secs(30)));
    /// println!("{}", mail.receive()?);
    /// mail.send("QUIT")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.reader.set_deadline(deadline);
        self.writer.set_deadline(deadline);
    }

    /// As [`FramedReader::frames_skipped`].
    pub fn frames_skipped(&self) -> u64 {
        self.reader.frames_skipped()
    }

    /// What the connection was made to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.reader.shared.endpoint
    }

    /// The descriptor, and the bytes that were received and not yet taken as frames, for whoever goes
    /// on with another protocol. Typed sockets can be made of the descriptor by `TryFrom`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a stream in memory, which has no descriptor.
    pub fn into_parts(self) -> Result<(OwnedFd, Vec<u8>), Error> {
        let Framed { reader, writer } = self;
        drop(writer);
        let FramedReader { shared, buffer, at, filled, .. } = reader;
        let rest = buffer[at..filled].to_vec();
        let Shared { channel, endpoint } =
            Arc::into_inner(shared).expect("the halves were together, so nobody else has it");
        let descriptor = channel.into_descriptor();
        Ok((descriptor.map_err(|error| Error::new("take apart", endpoint, error))?, rest))
    }
}

#[derive(Debug)]
struct Shared {
    channel: Channel,
    endpoint: Endpoint,
}

impl Shared {
    fn failed(&self, operation: &'static str, error: io::Error) -> Error {
        Error::new(operation, &self.endpoint, error)
    }
}

/// The receiving direction of a [`Framed`].
pub struct FramedReader<C: Codec> {
    shared: Arc<Shared>,
    codec: C,
    patience: Patience,
    buffer: Vec<u8>,
    /// Input before this was taken.
    at: usize,
    /// Input reaches up to here; behind it is space.
    filled: usize,
    eof: bool,
    edge: Edge,
    /// A datagram of which no frame was taken yet: it is a frame even if it is empty.
    fresh: bool,
    skipped: u64,
}

impl<C: Codec> FramedReader<C> {
    /// As [`Framed::receive`].
    ///
    /// # Errors
    ///
    /// As [`Framed::receive`].
    pub fn receive(&mut self) -> Result<C::Frame<'_>, Error> {
        let body = self.next()?;
        self.view(body)
    }

    /// Waits for the next frame, and says where it lies.
    fn next(&mut self) -> Result<Range<usize>, Error> {
        self.next_body()?.ok_or_else(|| {
            let end = io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer");
            self.shared.failed(RECEIVE, end)
        })
    }

    fn view(&self, body: Range<usize>) -> Result<C::Frame<'_>, Error> {
        let frame = self.codec.view(&self.buffer[body]);
        frame.map_err(|error| self.shared.failed(RECEIVE, bad_frame(error)))
    }

    /// As [`Framed::frames`].
    pub fn frames(&mut self) -> Frames<'_, C> {
        Frames { reader: Some(self) }
    }

    /// How many frames were dropped because they were too long: see
    /// [`Oversize::Skip`](crate::codec::Oversize::Skip).
    pub fn frames_skipped(&self) -> u64 {
        self.skipped
    }

    /// How long each [`receive`](Self::receive) may take from now on.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.patience.timeout = timeout;
    }

    /// As [`Framed::set_deadline`], of all that is received.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.patience.end = deadline;
    }

    /// Where the next frame lies in the buffer; `None` at the end of the stream.
    fn next_body(&mut self) -> Result<Option<Range<usize>>, Error> {
        self.patience.begin();
        loop {
            let input = &self.buffer[self.at..self.filled];
            let mut need = 0;
            if !input.is_empty() || self.fresh {
                match self.codec.find(input, self.edge) {
                    Ok(Found::Frame { body, used }) => {
                        let within = body.start <= body.end && body.end <= input.len();
                        if !within || used > input.len() || (used == 0 && !self.fresh) {
                            let broken = "the codec found a frame outside of its input";
                            return Err(self.shared.failed(RECEIVE, io::Error::other(broken)));
                        }
                        let body = self.at + body.start..self.at + body.end;
                        self.at += used;
                        self.fresh = false;
                        return Ok(Some(body));
                    }
                    Ok(Found::Skip { used, first }) if (1..=input.len()).contains(&used) => {
                        self.at += used;
                        self.fresh = false;
                        self.skipped += u64::from(first);
                        continue;
                    }
                    Ok(Found::Need(length)) if self.edge == Edge::Open => need = length,
                    Ok(Found::Nothing) if self.edge == Edge::Open => {}
                    Ok(_) => {
                        let error = FrameError::truncated(input);
                        self.drop_input();
                        return Err(self.shared.failed(RECEIVE, bad_frame(error)));
                    }
                    Err(error) => {
                        self.drop_input();
                        return Err(self.shared.failed(RECEIVE, bad_frame(error)));
                    }
                }
            }
            if self.eof {
                return Ok(None);
            }
            self.fill(need)?;
        }
    }

    /// A bad frame cannot be skipped on a stream; of datagrams only the bad one is lost.
    fn drop_input(&mut self) {
        (self.at, self.filled, self.fresh) = (0, 0, false);
        self.eof = !self.shared.channel.is_datagram();
    }

    fn fill(&mut self, need: usize) -> Result<(), Error> {
        let messages = self.shared.channel.keeps_messages();
        self.buffer.copy_within(self.at..self.filled, 0);
        (self.filled, self.at) = (self.filled - self.at, 0);
        // Grown as bytes arrive, not as a peer promises: at most one step ahead of them.
        let room = need.saturating_sub(self.filled).clamp(READ_BYTES, READ_BYTES_MAX);
        let room = if messages { MESSAGE_BYTES_MAX } else { room };
        if self.buffer.len() < self.filled + room {
            self.buffer.resize(self.filled + room, 0);
        }
        let space = &mut self.buffer[self.filled..];
        let read = self.shared.channel.read(space, &mut self.patience);
        let length = read.map_err(|error| self.shared.failed(RECEIVE, error))?;
        self.filled += length.unwrap_or(0);
        match length {
            None => (self.edge, self.eof) = (Edge::Eof, true),
            Some(_) if messages => (self.edge, self.fresh) = (Edge::Message, true),
            Some(_) => {}
        }
        Ok(())
    }
}

impl<C: Codec> fmt::Debug for FramedReader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramedReader")
            .field("endpoint", &self.shared.endpoint)
            .field("buffered", &(self.filled - self.at))
            .finish_non_exhaustive()
    }
}

/// The sending direction of a [`Framed`].
pub struct FramedWriter<C: Codec> {
    shared: Arc<Shared>,
    codec: C,
    patience: Patience,
    buffer: Vec<u8>,
}

impl<C: Codec> FramedWriter<C> {
    /// As [`Framed::send`].
    ///
    /// # Errors
    ///
    /// As [`Framed::send`].
    pub fn send(&mut self, item: &C::Item) -> Result<(), Error> {
        self.buffer.clear();
        let encoded = self.codec.encode(item, &mut self.buffer);
        let body = encoded.map_err(|error| self.shared.failed(SEND, bad_frame(error)))?;
        let bytes = if self.shared.channel.keeps_messages() {
            self.buffer.get(body).unwrap_or_default()
        } else {
            &self.buffer[..]
        };
        self.patience.begin();
        let mut sent = 0;
        loop {
            match self.shared.channel.write(&bytes[sent..], &mut self.patience) {
                Ok(written) => sent += written,
                Err(error) => return Err(self.shared.failed(SEND, error).after(sent)),
            }
            if sent == bytes.len() {
                return Ok(());
            }
        }
    }

    /// As [`Framed::shutdown_write`].
    ///
    /// # Errors
    ///
    /// As [`Framed::shutdown_write`].
    pub fn shutdown_write(&mut self) -> Result<(), Error> {
        let shut = self.shared.channel.shutdown_write();
        shut.map_err(|error| self.shared.failed("shut down", error))
    }

    /// How long each [`send`](Self::send) may take from now on.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.patience.timeout = timeout;
    }

    /// As [`Framed::set_deadline`], of all that is sent.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.patience.end = deadline;
    }
}

impl<C: Codec> fmt::Debug for FramedWriter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramedWriter")
            .field("endpoint", &self.shared.endpoint)
            .finish_non_exhaustive()
    }
}

/// Owned frames, as they come. See [`Framed::frames`].
#[derive(Debug)]
pub struct Frames<'a, C: Codec> {
    /// None after the end.
    reader: Option<&'a mut FramedReader<C>>,
}

impl<C: Codec> Iterator for Frames<'_, C>
where
    C::Item: ToOwned,
    for<'f> C::Frame<'f>: Into<<C::Item as ToOwned>::Owned>,
{
    type Item = Result<<C::Item as ToOwned>::Owned, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken, so that whatever is not a frame is the end.
        let reader = self.reader.take()?;
        let body = match reader.next_body().transpose()? {
            Ok(body) => body,
            Err(error) => return Some(Err(error)),
        };
        let owned = reader.codec.view(&reader.buffer[body]).map(Into::into);
        let owned = owned.map_err(|error| reader.shared.failed(RECEIVE, bad_frame(error)));
        self.reader = owned.is_ok().then_some(reader);
        Some(owned)
    }
}

fn bad_frame(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

const RECEIVE: &str = "receive from";
const SEND: &str = "send to";

/// What is read at least at once.
const READ_BYTES: usize = 8 * 1024;

/// What is read at most at once, however long a frame is said to be.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The longest message that is received; a longer one is an error. UDP has none over 64 KiB, Unix sockets
/// none over 208 KiB, unless the sender's buffer was made larger.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
