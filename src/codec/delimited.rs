//! Bytes up to a delimiter.

use super::{Codec, Edge, Found, FrameError, Oversize};
use std::ops::Range;
use std::sync::Arc;

/// Bytes up to a delimiter, or to whichever of several comes first.
///
/// - Of several delimiters the one that *ends* first ends the frame; of those that end at the same
///   byte it is the longest, so that `\r\n` wins over `\n`.
/// - The delimiter is not part of the frame, unless [`keep`](Delimited::keep) is asked for.
/// - The maximum has no default. It does not count the delimiter. See [`Oversize`] for longer frames.
/// - Every frame ends with its delimiter, the last one of a stream or datagram too: without it, it is
///   [`FrameError::Truncated`]. Datagrams are sent with the delimiter, and may hold several frames.
/// - Sending a frame that would arrive as another one is refused.
///
/// No byte is looked for twice, however the input is cut.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Codec, Delimited, Edge, Found};
///
/// let mut codec = Delimited::by_any(["\r\n", "\0"], 1024);
/// let found = codec.find(b"a\0b\r\n", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 0..1, used: 2 });
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Delimited {
    delimiters: Arc<Delimiters>,
    frame_bytes_max: usize,
    keep: bool,
    oversize: Oversize,
    /// How much of the input has no end of a delimiter in it.
    scanned: usize,
    /// The input goes on with a frame that is too long.
    skipping: bool,
}

impl Delimited {
    /// Frames of at most `frame_bytes_max` bytes, each behind it this delimiter.
    ///
    /// # Panics
    ///
    /// If the delimiter is empty.
    pub fn by(delimiter: impl AsRef<[u8]>, frame_bytes_max: usize) -> Delimited {
        Delimited::by_any([delimiter], frame_bytes_max)
    }

    /// Frames of at most `frame_bytes_max` bytes, each behind it one of these delimiters. Frames are
    /// sent with the first.
    ///
    /// # Panics
    ///
    /// If there is no delimiter, or an empty one.
    pub fn by_any<D: AsRef<[u8]>>(
        delimiters: impl IntoIterator<Item = D>,
        frame_bytes_max: usize,
    ) -> Delimited {
        let all = delimiters.into_iter().map(|delimiter| delimiter.as_ref().to_vec()).collect();
        let delimiters = Arc::new(Delimiters::new(all));
        let (keep, oversize) = (false, Oversize::Error);
        Delimited { delimiters, frame_bytes_max, keep, oversize, scanned: 0, skipping: false }
    }

    /// Whether frames are handed out with their delimiter. What is sent then has one too. Off by
    /// default.
    #[must_use]
    pub fn keep(mut self, kept: bool) -> Delimited {
        self.keep = kept;
        self
    }

    /// What becomes of a frame that is too long.
    #[must_use]
    pub fn oversize(mut self, oversize: Oversize) -> Delimited {
        self.oversize = oversize;
        self
    }

    fn too_long(&self, length: usize) -> FrameError {
        FrameError::TooLong { length, limit: self.frame_bytes_max }
    }

    /// Drops what there is of a frame that is too long, but for bytes that may begin its delimiter.
    fn skip(&mut self, input: &[u8], edge: Edge, first: bool) -> Found {
        let end = self.delimiters.first_end(input, self.scanned.min(input.len()));
        self.skipping = end.is_none() && edge == Edge::Open;
        let tail = if self.skipping { input.len().min(self.delimiters.longest() - 1) } else { 0 };
        self.scanned = tail;
        match end.map_or(input.len() - tail, |(_, used)| used) {
            0 => Found::Nothing,
            used => Found::Skip { used, first },
        }
    }
}

impl Codec for Delimited {
    type Frame<'a> = &'a [u8];
    type Item = [u8];

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        if self.skipping {
            return Ok(self.skip(input, edge, false));
        }
        // A delimiter that ends a frame of the longest kind ends within this.
        let enough = self.frame_bytes_max.saturating_add(self.delimiters.longest());
        let window = input.len().min(enough);
        let start = std::mem::take(&mut self.scanned).min(window);
        match self.delimiters.first_end(&input[..window], start) {
            Some((end, used)) if end <= self.frame_bytes_max => {
                Ok(Found::Frame { body: 0..if self.keep { used } else { end }, used })
            }
            Some((_, used)) if self.oversize == Oversize::Skip => {
                Ok(Found::Skip { used, first: true })
            }
            Some((end, _)) => Err(self.too_long(end)),
            None if window == enough && self.oversize == Oversize::Skip => {
                self.scanned = window;
                Ok(self.skip(input, edge, true))
            }
            None if window == enough => {
                let end = self.delimiters.first_end(input, window);
                Err(self.too_long(end.map_or(input.len(), |(end, _)| end)))
            }
            None if edge == Edge::Open => {
                self.scanned = window;
                Ok(Found::Nothing)
            }
            None => Err(FrameError::truncated(input)),
        }
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let start = out.len();
        out.extend_from_slice(item);
        if !self.keep {
            out.extend_from_slice(&self.delimiters.sent);
        }
        // The end may also lie across the item and the delimiter, as in `a` + `aa`.
        let Some((end, used)) = self.delimiters.first_end(&out[start..], 0) else {
            return Err(FrameError::Protocol("item does not end with a delimiter".into()));
        };
        if used < out.len() - start || (!self.keep && end < item.len()) {
            return Err(FrameError::Delimiter { at: end });
        }
        if end > self.frame_bytes_max {
            return Err(self.too_long(end));
        }
        Ok(start..out.len())
    }

    fn cuts(&self, error: &FrameError) -> bool {
        self.oversize.cuts(error)
    }
}

/// What all clones of a codec share.
#[derive(Debug)]
struct Delimiters {
    /// The longest first.
    all: Vec<Vec<u8>>,
    sent: Vec<u8>,
    /// The bytes that they end with.
    last: Vec<u8>,
    /// The only delimiter, if it is one byte, as in most protocols.
    byte: Option<u8>,
}

impl Delimiters {
    fn new(mut all: Vec<Vec<u8>>) -> Delimiters {
        let sent = all.first().expect("there is a delimiter, as the docs ask").clone();
        let last_byte =
            |one: &Vec<u8>| *one.last().expect("no delimiter is empty, as the docs ask");
        let mut last: Vec<u8> = all.iter().map(last_byte).collect();
        last.sort_unstable();
        last.dedup();
        all.sort_by_key(|one| std::cmp::Reverse(one.len()));
        let byte = if let [one] = &all[..] { one.first().filter(|_| one.len() == 1) } else { None };
        Delimiters { byte: byte.copied(), all, sent, last }
    }

    fn longest(&self) -> usize {
        self.all[0].len()
    }

    /// Where the first delimiter that ends behind `from` starts and ends.
    #[inline]
    fn first_end(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        match self.byte {
            Some(byte) => {
                let at = from + memchr::memchr(byte, &bytes[from..])?;
                Some((at, at + 1))
            }
            None => self.first_end_of_many(bytes, from),
        }
    }

    fn first_end_of_many(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let mut at = from;
        loop {
            let rest = &bytes[at..];
            at += 1 + match self.last[..] {
                [a] => memchr::memchr(a, rest),
                [a, b] => memchr::memchr2(a, b, rest),
                _ => rest.iter().position(|byte| self.last.contains(byte)),
            }?;
            if let Some(found) = self.all.iter().find(|one| bytes[..at].ends_with(one)) {
                return Some((at - found.len(), at));
            }
        }
    }
}
