//! Whole lines, as many as came together.

use super::{Codec, Edge, Found, FrameError};
use std::ops::Range;

/// As many whole lines as came together, with their ends.
///
/// For who passes lines on and does not look into them: a [`Group`](crate::handler::Group) of listeners, a
/// relay, a log. A run is handled, queued and sent as one frame, which costs about as much as one line
/// does. Where one run ends and the next begins means nothing, but for that it is between two lines.
///
/// - A line ends with one byte, which belongs to it.
/// - No line, its end counted, may be longer than the maximum, nor is any run. The maximum has no default.
///   Longer lines are [`FrameError::TooLong`].
/// - A stream ends behind a line: the beginning of another one is [`FrameError::Truncated`].
/// - A datagram is taken as it is, with an end or without, if it is no longer than the maximum.
/// - What is sent gets an end if it has none.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Codec, Edge, Found, Runs};
///
/// let mut codec = Runs::of(b'\n', 1024);
/// let found = codec.find(b"one\ntwo\nthr", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 0..8, used: 8 });
/// assert_eq!(codec.find(b"thr", Edge::Open)?, Found::Nothing);
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Runs {
    end: u8,
    run_bytes_max: usize,
    /// How much of the input has no end of a line in it.
    scanned: usize,
}

impl Runs {
    /// Runs of at most `run_bytes_max` bytes of lines that end with this byte.
    pub fn of(end: u8, run_bytes_max: usize) -> Runs {
        Runs { end, run_bytes_max, scanned: 0 }
    }

    fn is_run(&self, bytes: &[u8]) -> bool {
        bytes.last() == Some(&self.end)
    }
}

impl Codec for Runs {
    type Frame<'a> = &'a [u8];
    type Item = [u8];

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        let limit = self.run_bytes_max;
        if edge == Edge::Message {
            return match input.len() {
                length if length > limit => Err(FrameError::TooLong { length, limit }),
                length => Ok(Found::Frame { body: 0..length, used: length }),
            };
        }
        let window = input.len().min(limit);
        let start = std::mem::take(&mut self.scanned).min(window);
        if let Some(at) = memchr::memrchr(self.end, &input[start..window]) {
            let used = start + at + 1;
            return Ok(Found::Frame { body: 0..used, used });
        }
        if input.len() > limit {
            let end = memchr::memchr(self.end, &input[window..]);
            let length = end.map_or(input.len(), |at| window + at + 1);
            return Err(FrameError::TooLong { length, limit });
        }
        if edge == Edge::Eof && !input.is_empty() {
            return Err(FrameError::truncated(input));
        }
        self.scanned = window;
        Ok(Found::Nothing)
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let start = out.len();
        out.extend_from_slice(item);
        if !self.is_run(item) {
            out.push(self.end);
        }
        match out.len() - start {
            length if length > self.run_bytes_max => {
                Err(FrameError::TooLong { length, limit: self.run_bytes_max })
            }
            _ => Ok(start..out.len()),
        }
    }

    fn as_is<'a>(&self, item: &'a [u8]) -> Option<&'a [u8]> {
        (self.is_run(item) && item.len() <= self.run_bytes_max).then_some(item)
    }
}
