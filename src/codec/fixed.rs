//! Frames that all have the same length.

use super::{Codec, Edge, Found, FrameError};
use std::ops::Range;

/// Frames of so many bytes each.
///
/// A stream that ends inside a frame is an error, [`FrameError::Truncated`], and so is a datagram of
/// any other length. Only items of that length can be sent.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Codec, Edge, Fixed, Found};
///
/// let mut codec = Fixed::of(4);
/// assert_eq!(codec.find(b"abcde", Edge::Open)?, Found::Frame { body: 0..4, used: 4 });
/// assert_eq!(codec.find(b"e", Edge::Open)?, Found::Need(4));
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    frame_bytes: usize,
}

impl Fixed {
    /// Frames of `frame_bytes` bytes.
    ///
    /// # Panics
    ///
    /// If that is zero: there would be no end of them.
    pub fn of(frame_bytes: usize) -> Fixed {
        assert!(frame_bytes > 0, "frames of no bytes have no end");
        Fixed { frame_bytes }
    }
}

impl Codec for Fixed {
    type Frame<'a> = &'a [u8];
    type Item = [u8];

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        let used = self.frame_bytes;
        match edge {
            Edge::Message if input.len() > used => {
                Err(FrameError::TooLong { length: input.len(), limit: used })
            }
            _ if input.len() >= used => Ok(Found::Frame { body: 0..used, used }),
            Edge::Open if input.is_empty() => Ok(Found::Nothing),
            Edge::Open => Ok(Found::Need(used)),
            _ => Err(FrameError::truncated(input)),
        }
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        if item.len() != self.frame_bytes {
            let (length, wanted) = (item.len(), self.frame_bytes);
            let error = format!("item of {length} bytes, frames have {wanted}");
            return Err(FrameError::Protocol(error.into()));
        }
        let start = out.len();
        out.extend_from_slice(item);
        Ok(start..out.len())
    }
}
