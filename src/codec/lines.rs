//! Text lines: the protocol that people can type.

use super::{Codec, Edge, Found, FrameError, Oversize};
use std::ops::Range;

/// UTF-8 text, a line a frame.
///
/// - A line ends with `\n` or `\r\n`; neither is part of the frame. A lone `\r` is an ordinary
///   character, and so is NUL.
/// - A line of more than the maximum (8 KiB by default, its end not counted) is an error, found
///   before more than that was stored, or is dropped, as [`Oversize`] says. A line that is not UTF-8 is
///   an error.
/// - In a datagram the end of the datagram ends the last line too; an empty datagram is an empty line.
/// - A stream that ends inside a line is an error, [`FrameError::Truncated`], because half a command
///   can be another command; [`unterminated`](Lines::unterminated) takes it for a line.
/// - Sending a line that has a newline in it is refused: it would arrive as two.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Codec, Edge, Found, Lines};
///
/// let mut lines = Lines::default();
/// let found = lines.find(b"xin ch\xC3\xA0o\r\nrest", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 0..9, used: 11 });
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lines {
    line_bytes_max: usize,
    /// How much of the input has no newline in it, so that no byte is looked at twice.
    scanned: usize,
    unterminated: bool,
    oversize: Oversize,
    /// The input goes on with a line that is too long.
    skipping: bool,
}

impl Lines {
    /// Lines of at most `line_bytes_max` bytes, their end not counted.
    pub fn at_most(line_bytes_max: usize) -> Lines {
        let oversize = Oversize::Error;
        Lines { line_bytes_max, scanned: 0, unterminated: false, oversize, skipping: false }
    }

    /// Whether the last line of a stream counts even without a newline. Off by default.
    #[must_use]
    pub fn unterminated(mut self, accepted: bool) -> Lines {
        self.unterminated = accepted;
        self
    }

    /// What becomes of a line that is too long.
    #[must_use]
    pub fn oversize(mut self, oversize: Oversize) -> Lines {
        self.oversize = oversize;
        self
    }

    /// The longest line accepted, in bytes, its end not counted.
    pub fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    fn line(&mut self, input: &[u8], end: usize, used: usize) -> Result<Found, FrameError> {
        self.scanned = 0;
        let end = if end > 0 && input[end - 1] == b'\r' { end - 1 } else { end };
        if end <= self.line_bytes_max {
            return Ok(Found::Frame { body: 0..end, used });
        }
        if self.oversize == Oversize::Skip {
            return Ok(Found::Skip { used, first: true });
        }
        Err(FrameError::TooLong { length: end, limit: self.line_bytes_max })
    }

    /// Drops what there is of a line that is too long.
    fn skip(&mut self, input: &[u8], edge: Edge, first: bool) -> Found {
        let start = std::mem::take(&mut self.scanned).min(input.len());
        let newline = memchr::memchr(b'\n', &input[start..]);
        self.skipping = newline.is_none() && edge == Edge::Open;
        match newline.map_or(input.len(), |at| start + at + 1) {
            0 => Found::Nothing,
            used => Found::Skip { used, first },
        }
    }
}

impl Default for Lines {
    /// Lines of at most 8 KiB.
    fn default() -> Lines {
        Lines::at_most(8 * 1024)
    }
}

impl Codec for Lines {
    type Frame<'a> = &'a str;
    type Item = str;

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        if self.skipping {
            return Ok(self.skip(input, edge, false));
        }
        // A line at the limit may still be followed by `\r\n`.
        let window = input.len().min(self.line_bytes_max.saturating_add(2));
        let start = self.scanned.min(window);
        if let Some(at) = memchr::memchr(b'\n', &input[start..window]) {
            return self.line(input, start + at, start + at + 1);
        }
        let content = window - usize::from(input[..window].ends_with(b"\r"));
        if content > self.line_bytes_max {
            if self.oversize == Oversize::Skip {
                self.scanned = window;
                return Ok(self.skip(input, edge, true));
            }
            let length = memchr::memchr(b'\n', input).unwrap_or(input.len());
            return Err(FrameError::TooLong { length, limit: self.line_bytes_max });
        }
        match edge {
            Edge::Open => {
                self.scanned = window;
                Ok(Found::Nothing)
            }
            Edge::Message => self.line(input, input.len(), input.len()),
            Edge::Eof if self.unterminated => self.line(input, input.len(), input.len()),
            Edge::Eof => Err(FrameError::truncated(input)),
        }
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a str, FrameError> {
        std::str::from_utf8(body)
            .map_err(|error| FrameError::NotUtf8 { valid_up_to: error.valid_up_to() })
    }

    fn encode(&self, line: &str, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        if line.len() > self.line_bytes_max {
            return Err(FrameError::TooLong { length: line.len(), limit: self.line_bytes_max });
        }
        if let Some(at) = memchr::memchr(b'\n', line.as_bytes()) {
            return Err(FrameError::Delimiter { at });
        }
        let start = out.len();
        out.reserve(line.len() + 1);
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
        Ok(start..out.len() - 1)
    }

    fn cuts(&self, error: &FrameError) -> bool {
        self.oversize.cuts(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        Lines::at_most(4).find(input, edge)
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(found(b"abcd\n", Edge::Open).unwrap(), Found::Frame { body: 0..4, used: 5 });
        assert_eq!(found(b"abcd\r\n", Edge::Open).unwrap(), Found::Frame { body: 0..4, used: 6 });
        assert_eq!(found(b"abcd\r", Edge::Open).unwrap(), Found::Nothing);
        assert!(matches!(
            found(b"abcde\n", Edge::Open),
            Err(FrameError::TooLong { length: 5, limit: 4 })
        ));
        assert!(matches!(found(b"abcde", Edge::Open), Err(FrameError::TooLong { .. })));
        assert!(matches!(found(b"abcd\r\r\n", Edge::Open), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn lone_carriage_returns_and_nul_are_text() {
        assert_eq!(found(b"a\rb\n", Edge::Open).unwrap(), Found::Frame { body: 0..3, used: 4 });
        assert_eq!(found(b"\0\n", Edge::Open).unwrap(), Found::Frame { body: 0..1, used: 2 });
        assert_eq!(found(b"\r\r\n", Edge::Open).unwrap(), Found::Frame { body: 0..1, used: 3 });
    }

    #[test]
    fn the_end_of_a_message_ends_a_line_and_the_end_of_a_stream_does_not() {
        assert_eq!(found(b"", Edge::Message).unwrap(), Found::Frame { body: 0..0, used: 0 });
        assert_eq!(found(b"ab", Edge::Message).unwrap(), Found::Frame { body: 0..2, used: 2 });
        let Err(FrameError::Truncated { bytes }) = found(b"ab", Edge::Eof) else {
            panic!("half a line passed for a line")
        };
        assert_eq!(bytes, b"ab");
        let mut lines = Lines::default().unterminated(true);
        assert_eq!(lines.find(b"ab", Edge::Eof).unwrap(), Found::Frame { body: 0..2, used: 2 });
    }

    #[test]
    fn a_newline_in_a_line_to_send_is_refused() {
        let mut out = Vec::new();
        let refused = Lines::default().encode("a\nb", &mut out);
        assert!(matches!(refused, Err(FrameError::Delimiter { at: 1 })));
        assert!(out.is_empty());
    }
}
