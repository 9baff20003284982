//! Raw bytes, as they come.

use super::{Codec, Edge, Found, FrameError};
use std::ops::Range;

/// Bytes without any framing: a frame is what one read brought, or one datagram.
///
/// On a stream the cuts mean nothing: two messages may arrive in one frame, one message in three.
/// What is guaranteed is that no byte is lost, doubled or moved. Use it for echoes, relays and
/// protocols that parse for themselves.
///
/// A frame is at most 256 KiB by default; a longer read comes as several. Datagrams are never cut.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Bytes, Codec, Edge, Found};
///
/// let mut bytes = Bytes::at_most(4);
/// let found = bytes.find(b"abcdef", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 0..4, used: 4 });
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bytes {
    frame_bytes_max: usize,
}

impl Bytes {
    /// Frames of at most `frame_bytes_max` bytes on streams; zero counts as one.
    pub fn at_most(frame_bytes_max: usize) -> Bytes {
        Bytes { frame_bytes_max: frame_bytes_max.max(1) }
    }
}

impl Default for Bytes {
    /// Frames of at most 256 KiB.
    fn default() -> Bytes {
        Bytes::at_most(256 * 1024)
    }
}

impl Codec for Bytes {
    type Frame<'a> = &'a [u8];
    type Item = [u8];

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        let length = match edge {
            Edge::Message => input.len(),
            _ if input.is_empty() => return Ok(Found::Nothing),
            _ => input.len().min(self.frame_bytes_max),
        };
        Ok(Found::Frame { body: 0..length, used: length })
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let start = out.len();
        out.extend_from_slice(item);
        Ok(start..out.len())
    }

    fn as_is<'a>(&self, item: &'a [u8]) -> Option<&'a [u8]> {
        Some(item)
    }
}
