//! Codecs: where one frame ends and the next begins.
//!
//! A codec knows bytes and nothing else: no socket, no clock, no buffer of its own. It is asked in
//! two steps. [`Codec::find`] says where the first frame of some input lies, [`Codec::view`] shows
//! that frame in the form that handlers take. Two steps, because a single call that both advances
//! and borrows cannot be used in generic code without a copy.
//!
//! ```text
//!   input ──► find ──► Frame { body, used } ──► view(body) ──► handler
//!                 └──► Need(n) | Nothing: come back with more, starting at the same byte
//! ```
//!
//! | codec | a frame is | longest by default |
//! |---|---|---|
//! | [`Lines`] | text up to a newline | 8 KiB |
//! | [`Bytes`] | whatever one read or one datagram brought | 256 KiB |

mod bytes;
mod lines;

pub use bytes::Bytes;
pub use lines::Lines;

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
}

/// How bytes are cut into frames and frames are put into bytes.
///
/// One value serves one connection, so `find` may remember how far it has looked. A codec is cloned
/// for every session, and into every [`Remote`](crate::handler::Remote), which encodes on other
/// threads.
///
/// The contract of `find`: until it answers [`Found::Frame`], it is called again with the same bytes
/// and possibly more behind them; after a frame, with the bytes behind that frame. It must find the
/// same frames however the input was cut (except [`Bytes`], whose frames are the cuts).
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
///         out.push(length);
///         let start = out.len();
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

    /// Appends one frame to `out` and returns the range of its body *in `out`*.
    ///
    /// Streams send all that was appended; datagrams send the body alone, since a datagram marks its
    /// own end.
    ///
    /// # Errors
    ///
    /// The item cannot be sent as a frame, for example a line with a newline in it. What was appended
    /// is then taken back.
    fn encode(&self, item: &Self::Item, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError>;
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
