//! Codecs: where one frame ends and the next begins.
//!
//! A codec knows bytes and nothing else: no socket, no clock, no buffer of its own. It is asked in
//! two steps. [`Codec::find`] says where the first frame of some input lies, [`Codec::view`] shows
//! that frame in the form that handlers take. Two steps, because a single call that both advances
//! and borrows cannot be used in generic code without a copy.
//!
//! ```text
//!   input ──► find ──► Frame { body, used } ──► view(body) ──► handler
//!                 ├──► Need(n) | Nothing: come back with more, starting at the same byte
//!                 └──► Skip { used }: drop that and come back
//! ```
//!
//! | codec | a frame is | longest by default | longer ones |
//! |---|---|---|---|
//! | [`Lines`] | text up to a newline | 8 KiB | [`Oversize`] |
//! | [`Delimited`] | bytes up to a delimiter, or to one of several | must be said | [`Oversize`] |
//! | [`Runs`] | as many whole lines as came together | must be said | an error |
//! | [`LengthDelimited`] | as many bytes as its header says | must be said | [`Oversize`] |
//! | [`Fixed`] | as many bytes as every other | the same | only in datagrams: an error |
//! | [`Bytes`] | whatever one read or one datagram brought | 256 KiB | cut |

mod bytes;
mod delimited;
mod fixed;
mod length;
mod lines;
mod runs;
#[cfg(test)]
mod tests;

pub use bytes::Bytes;
pub use delimited::Delimited;
pub use fixed::Fixed;
pub use length::{LengthDelimited, LengthDelimitedBuilder};
pub use lines::Lines;
pub use runs::Runs;

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// What lies behind the last byte of the input given to [`Codec::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edge {
    /// A stream that goes on: more bytes may come.
    Open,
    /// The end of a stream: no more bytes will come.
    Eof,
    /// The end of a datagram: a message never continues in the next one.
    Message,
}

/// The answer of [`Codec::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// The input starts with a whole frame.
    Frame {
        /// Where its content lies.
        body: Range<usize>,
        /// How many bytes of input it takes up, delimiters and prefixes included.
        used: usize,
    },
    /// No whole frame yet; the frame ends when the input is this many bytes long.
    Need(usize),
    /// No whole frame yet, and no telling how long it will be.
    Nothing,
    /// The input starts with bytes of a frame that is not wanted: they are dropped.
    ///
    /// A frame may be dropped piece by piece, so that none of it need be kept.
    Skip {
        /// How many bytes to drop, at least one.
        used: usize,
        /// The frame starts here: it is counted, in
        /// [`Counters::frames_skipped`](crate::engine::Counters::frames_skipped) or by the client.
        first: bool,
    },
}

/// What becomes of a frame that is longer than its codec's maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversize {
    /// The session ends in an orderly way: replies to earlier frames are sent, then the connection is
    /// closed. It ends with [`FrameError::TooLong`].
    #[default]
    Error,
    /// The frame is dropped as it comes, the next one is taken. Nobody waits for its end: if the stream
    /// ends first, that is no error.
    Skip,
    /// As `Error`, but the connection is cut at once: unsent replies are lost, and a TCP peer sees a
    /// reset. To a client that receives, it is the same as `Error`.
    Close,
}

impl Oversize {
    fn cuts(self, error: &FrameError) -> bool {
        self == Oversize::Close && matches!(error, FrameError::TooLong { .. })
    }
}

/// How bytes are cut into frames and frames are put into bytes.
///
/// One value serves one connection, so `find` may remember how far it has looked. A codec is cloned
/// for every session, and into every [`Remote`](crate::handler::Remote), which encodes on other
/// threads.
///
/// The contract of `find`: after [`Found::Need`] and [`Found::Nothing`] it is called again with the
/// same bytes and possibly more behind them; after [`Found::Frame`] and [`Found::Skip`], with the bytes
/// behind the `used` ones, of which there may be fewer than there were. It must find the same frames
/// however the input was cut (except [`Bytes`], whose frames are the cuts, and [`Runs`], which end at any
/// line). After an error, and before
/// each datagram, it starts afresh: nothing of a datagram is remembered for the next.
///
/// # Examples
///
/// A frame is one byte of length and that many bytes:
///
/// ```
/// use sockeye::codec::{Codec, Edge, Found, FrameError};
/// use std::ops::Range;
///
/// #[derive(Clone, Debug)]
/// struct Short;
///
/// impl Codec for Short {
///     type Frame<'a> = &'a [u8];
///     type Item = [u8];
///     fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
///         let used = match input.first() {
///             None => return Ok(Found::Nothing),
///             Some(&length) => 1 + usize::from(length),
///         };
///         match (input.len() >= used, edge) {
///             (true, _) => Ok(Found::Frame { body: 1..used, used }),
///             (false, Edge::Open) => Ok(Found::Need(used)),
///             (false, _) => Err(FrameError::truncated(input)),
///         }
///     }
///     fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
///         Ok(body)
///     }
///     fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
///         let length = u8::try_from(item.len())
///             .map_err(|_| FrameError::TooLong { length: item.len(), limit: 255 })?;
///         let start = out.len();
///         out.push(length);
///         out.extend_from_slice(item);
///         Ok(start..out.len())
///     }
/// }
///
/// let mut codec = Short;
/// let found = codec.find(b"\x02hi\x01!", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 1..3, used: 3 });
/// # Ok::<(), FrameError>(())
/// ```
pub trait Codec: Clone + Send + Sync + 'static {
    /// What a handler is given: often borrowed from the input, such as `&str`.
    type Frame<'a>;
    /// What is sent, such as `str`.
    type Item: ?Sized;

    /// Finds the first frame of `input`.
    ///
    /// # Errors
    ///
    /// The input breaks the rules of the protocol, for example its maximum. The session then ends.
    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError>;

    /// Shows the body that [`find`](Codec::find) found.
    ///
    /// # Errors
    ///
    /// The body is not what the codec promises, for example not UTF-8. The session then ends.
    fn view<'a>(&self, body: &'a [u8]) -> Result<Self::Frame<'a>, FrameError>;

    /// Appends one frame to `out` and returns which range *of `out`* is sent as a datagram.
    ///
    /// Streams send all that was appended. Datagrams send what `find` needs of it: for [`Lines`] that is
    /// the text alone, since a datagram marks its own end, for codecs with a header it is all.
    ///
    /// # Errors
    ///
    /// The item cannot be sent as a frame, for example a line with a newline in it. What was appended
    /// is then taken back.
    fn encode(&self, item: &Self::Item, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError>;

    /// The bytes of the item, if they go out as they stand: exactly what [`encode`](Codec::encode) would
    /// append, and all of it is what a datagram sends. A frame that a handler sends back is then
    /// sent from where it was read, without a copy. By default nothing is known of the item.
    fn as_is<'a>(&self, item: &'a Self::Item) -> Option<&'a [u8]> {
        let _ = item;
        None
    }

    /// Whether this error of `find` or `view` cuts the connection at once, as [`Oversize::Close`] does.
    /// By default no error does: replies to earlier frames are sent first.
    fn cuts(&self, error: &FrameError) -> bool {
        let _ = error;
        false
    }
}

/// Why bytes are no frame, or why an item cannot become one.
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is longer than the codec's maximum, in bytes.
    TooLong {
        /// How long it is; when its end was not seen, how much of it was seen.
        length: usize,
        /// The maximum.
        limit: usize,
    },
    /// Text is not UTF-8.
    NotUtf8 {
        /// How many bytes of the frame are good before the first bad one.
        valid_up_to: usize,
    },
    /// The stream or datagram ended inside a frame.
    Truncated {
        /// The bytes of the unfinished frame.
        bytes: Vec<u8>,
    },
    /// An item to be sent has the protocol's own delimiter in it.
    Delimiter {
        /// Where in the item.
        at: usize,
    },
    /// Any other breach of a protocol, by codecs outside this crate.
    Protocol(Box<dyn Error + Send + Sync>),
}

impl FrameError {
    /// The input ended inside the frame that `bytes` begins.
    pub fn truncated(bytes: &[u8]) -> FrameError {
        FrameError::Truncated { bytes: bytes.to_vec() }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { length, limit } => {
                write!(f, "frame of {length} bytes or more is over the limit of {limit}")
            }
            FrameError::NotUtf8 { valid_up_to } => {
                write!(f, "frame is not UTF-8 from byte {valid_up_to} on")
            }
            FrameError::Truncated { bytes } => {
                write!(f, "input ended inside a frame, after {} bytes of it", bytes.len())
            }
            FrameError::Delimiter { at } => {
                write!(f, "item has a delimiter in it, at byte {at}")
            }
            FrameError::Protocol(error) => error.fmt(f),
        }
    }
}

impl Error for FrameError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FrameError::Protocol(error) => error.source(),
            _ => None,
        }
    }
}
