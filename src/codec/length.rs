//! Frames that begin with their length.

use super::{Codec, Edge, Found, FrameError, Oversize};
use std::ops::Range;

/// Frames with a header that says how long they are.
///
/// [`at_most`](LengthDelimited::at_most) is a length of four bytes, the highest first, and behind it as
/// many bytes, which are the frame. [`builder`](LengthDelimited::builder) describes other headers:
///
/// ```text
///   ├── offset ──┼── width ──┼── value of the length + adjustment ──┤
///   │   bytes    │  length   │   bytes                              │
///   ├──────── strip ─────────┼── the frame: at most the maximum ────┤   strip may also be another
/// ```
///
/// - The maximum has no default. A longer frame is refused or skipped as soon as its header is there,
///   before memory is taken for it. See [`Oversize`].
/// - A length that is less than the header, or less than what is stripped, is an error.
/// - A stream or datagram that ends inside a frame is an error, [`FrameError::Truncated`]. Datagrams are
///   sent with the header, and may hold several frames.
/// - Sending writes zeros where bytes were stripped, and the length where it belongs: if the frame
///   holds its length field (`strip` is at most `offset`), whatever stands there is overwritten.
///
/// # Examples
///
/// ```
/// use sockeye::codec::{Codec, Edge, Found, LengthDelimited};
///
/// // A kind, then the length of all in two bytes, the lowest first. Frames are handed out whole.
/// let layout = LengthDelimited::builder().offset(1).width(2).little_endian().adjustment(-3).strip(0);
/// let mut codec = layout.build(1024)?;
/// let found = codec.find(b"K\x05\x00hi", Edge::Open)?;
/// assert_eq!(found, Found::Frame { body: 0..5, used: 5 });
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
///
/// Typed messages: a codec of your own leaves the framing to this one.
///
/// ```
/// use sockeye::codec::{Codec, Edge, Found, FrameError, LengthDelimited};
/// use std::ops::Range;
///
/// #[derive(Debug, PartialEq)]
/// struct Point { x: i16, y: i16 }
///
/// #[derive(Clone, Debug)]
/// struct Points(LengthDelimited);
///
/// impl Codec for Points {
///     type Frame<'a> = Point;
///     type Item = Point;
///     fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
///         self.0.find(input, edge)
///     }
///     fn view(&self, body: &[u8]) -> Result<Point, FrameError> {
///         let &[a, b, c, d] = body else { return Err(FrameError::Protocol("no point".into())) };
///         Ok(Point { x: i16::from_be_bytes([a, b]), y: i16::from_be_bytes([c, d]) })
///     }
///     fn encode(&self, item: &Point, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
///         self.0.encode(&[item.x.to_be_bytes(), item.y.to_be_bytes()].concat(), out)
///     }
/// }
///
/// let mut out = Vec::new();
/// let points = Points(LengthDelimited::at_most(16));
/// points.encode(&Point { x: 1, y: -1 }, &mut out)?;
/// assert_eq!(out, b"\0\0\0\x04\0\x01\xFF\xFF");
/// assert_eq!(points.view(&out[4..])?, Point { x: 1, y: -1 });
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthDelimited {
    layout: LengthDelimitedBuilder,
    strip: usize,
    frame_bytes_max: usize,
    oversize: Oversize,
    /// How much of a frame that is too long is still to come.
    left: i128,
}

impl LengthDelimited {
    /// Four bytes of length, the highest first, then at most `frame_bytes_max` bytes.
    pub fn at_most(frame_bytes_max: usize) -> LengthDelimited {
        LengthDelimited::builder()
            .build(frame_bytes_max)
            .expect("frames of nothing are always left")
    }

    /// Any other header. It begins as that of [`at_most`](LengthDelimited::at_most).
    pub fn builder() -> LengthDelimitedBuilder {
        LengthDelimitedBuilder { offset: 0, width: 4, little: false, adjustment: 0, strip: None }
    }

    /// What becomes of a frame that is too long.
    #[must_use]
    pub fn oversize(mut self, oversize: Oversize) -> LengthDelimited {
        self.oversize = oversize;
        self
    }

    /// The longest frame, as it is handed out: what was asked for, or less if the field cannot say
    /// as much.
    pub fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// How long the frame that starts here is, header included; `None` if its header is not all here.
    ///
    /// No sum of a `u64`, an `i64` and two `usize` leaves an `i128`, on any platform.
    fn total(&self, input: &[u8]) -> Option<i128> {
        let header = self.layout.header() as usize;
        let field = input.get(self.layout.offset..header)?;
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = match self.layout.little {
            true => field.iter().rev().fold(0, push),
            false => field.iter().fold(0, push),
        };
        Some(header as i128 + i128::from(value) + i128::from(self.layout.adjustment))
    }

    fn skip(&mut self, input: &[u8], edge: Edge, first: bool) -> Found {
        let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.left = if edge == Edge::Open { self.left - used as i128 } else { 0 };
        if used == 0 { Found::Nothing } else { Found::Skip { used, first } }
    }
}

impl Codec for LengthDelimited {
    type Frame<'a> = &'a [u8];
    type Item = [u8];

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        if self.left > 0 {
            return Ok(self.skip(input, edge, false));
        }
        let Some(total) = self.total(input) else {
            return match edge {
                Edge::Open => Ok(Found::Nothing),
                _ => Err(FrameError::truncated(input)),
            };
        };
        let body = total - self.strip as i128;
        if total < self.layout.header() || body < 0 {
            return Err(wrong("a length is less than that of its header"));
        }
        if body > self.frame_bytes_max as i128 {
            if self.oversize == Oversize::Skip {
                self.left = total;
                return Ok(self.skip(input, edge, true));
            }
            let length = usize::try_from(body).unwrap_or(usize::MAX);
            return Err(FrameError::TooLong { length, limit: self.frame_bytes_max });
        }
        let used = usize::try_from(total).expect("the longest frame fits, as `build` has seen to");
        match edge {
            _ if input.len() >= used => Ok(Found::Frame { body: self.strip..used, used }),
            Edge::Open => Ok(Found::Need(used)),
            _ => Err(FrameError::truncated(input)),
        }
    }

    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        if item.len() > self.frame_bytes_max {
            return Err(FrameError::TooLong { length: item.len(), limit: self.frame_bytes_max });
        }
        let LengthDelimitedBuilder { offset, width, little, adjustment, .. } = self.layout;
        let behind = self.strip as i128 + item.len() as i128 - self.layout.header();
        let value = match u64::try_from(behind - i128::from(adjustment)) {
            Ok(value) if behind >= 0 => value,
            _ => return Err(wrong("item is shorter than its header says")),
        };
        let start = out.len();
        out.reserve(self.strip + item.len());
        out.resize(start + self.strip, 0);
        out.extend_from_slice(item);
        let field = &mut out[start + offset..][..width];
        if little {
            field.copy_from_slice(&value.to_le_bytes()[..width]);
        } else {
            field.copy_from_slice(&value.to_be_bytes()[8 - width..]);
        }
        Ok(start..out.len())
    }

    fn cuts(&self, error: &FrameError) -> bool {
        self.oversize.cuts(error)
    }
}

/// A header with a length in it. See the picture at [`LengthDelimited`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LengthDelimitedBuilder {
    offset: usize,
    width: usize,
    little: bool,
    adjustment: i64,
    strip: Option<usize>,
}

impl LengthDelimitedBuilder {
    /// How many bytes stand before the length. Zero by default.
    pub fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// How many bytes the length has, one to eight. Four by default.
    pub fn width(mut self, bytes: usize) -> Self {
        self.width = bytes;
        self
    }

    /// The lowest byte of the length comes first. By default it is the highest.
    pub fn little_endian(mut self) -> Self {
        self.little = true;
        self
    }

    /// What is added to the length for it to count the bytes behind it: for a length that counts its
    /// header too, the size of the header, negative. Zero by default.
    pub fn adjustment(mut self, bytes: i64) -> Self {
        self.adjustment = bytes;
        self
    }

    /// How many bytes at the front are not part of what is handed out. By default all up to the end
    /// of the length.
    pub fn strip(mut self, bytes: usize) -> Self {
        self.strip = Some(bytes);
        self
    }

    /// Frames of at most `frame_bytes_max` bytes, counted without what is stripped.
    ///
    /// # Errors
    ///
    /// The length has no bytes or more than eight, stripping would leave only part of it, or there
    /// is no frame of that size that the field can tell of.
    pub fn build(self, frame_bytes_max: usize) -> Result<LengthDelimited, FrameError> {
        if !(1..=8).contains(&self.width) {
            return Err(wrong("a length has one to eight bytes"));
        }
        let header = self.header();
        let strip = self.strip.map_or(header, |strip| strip as i128);
        if strip > self.offset as i128 && strip < header {
            return Err(wrong("stripping would leave a part of the length"));
        }
        let value_max = i128::from(u64::MAX >> (64 - 8 * self.width));
        let adjusted = header + i128::from(self.adjustment);
        let longest = (adjusted + value_max)
            .min(strip + frame_bytes_max as i128)
            // More than that no slice can hold.
            .min(isize::MAX as i128);
        if longest < header.max(strip).max(adjusted) {
            return Err(wrong("no frame is long enough for its header and short enough"));
        }
        Ok(LengthDelimited {
            layout: self,
            strip: strip as usize,
            frame_bytes_max: (longest - strip) as usize,
            oversize: Oversize::Error,
            left: 0,
        })
    }

    /// How many bytes there are up to the end of the length. Fits a `usize` once built.
    fn header(&self) -> i128 {
        self.offset as i128 + self.width as i128
    }
}

fn wrong(what: &'static str) -> FrameError {
    FrameError::Protocol(what.into())
}
