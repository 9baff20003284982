//! Memory for bytes on their way: one read buffer and one output buffer a worker.
//!
//! Both start on a page boundary. A big buffer that starts a few bytes behind one, as the allocator
//! hands them out, can cost more than twice the CPU when the kernel copies into or out of it.
//!
//! The alignment needs no unsafe code: a `Vec` is made one page larger than asked, and the bytes
//! before the first boundary stay unused.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

/// The size of a page, as far as alignment goes.
const PAGE: usize = 4096;

/// Where a worker reads into. Its content is good until the next read.
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    base: usize,
    size: usize,
}

impl Scratch {
    pub(crate) fn new(size: usize) -> Scratch {
        let bytes = vec![0; size + PAGE];
        Scratch { base: page_offset(&bytes), bytes, size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.base..self.base + self.size]
    }

    pub(crate) fn filled(&self, length: usize) -> &[u8] {
        &self.bytes[self.base..self.base + length]
    }
}

/// Encoded output that waits for the kernel: a stream of bytes, or whole datagrams.
///
/// It moves as a whole: while a worker encodes, it is the worker's; what the kernel did not take
/// goes with its buffer to the session, and the worker takes another.
pub(crate) struct Out {
    bytes: Vec<u8>,
    /// Everything before this is alignment or was sent.
    start: usize,
    base: usize,
    /// Datagrams only: where each body lies in `bytes`, the first unsent one at `next`.
    bodies: Vec<Range<u32>>,
    next: usize,
    first_bytes: usize,
    /// Bytes of a stream that stay where they were read: they lie there in the turn's input, and are
    /// sent before those here. The turn sends them, or has them copied by [`Out::keep_loan`].
    loan: Loan,
}

#[derive(Clone, Copy, Default)]
struct Loan {
    start: usize,
    len: usize,
}

impl Out {
    /// A buffer that takes memory at its first use, for `first_bytes` to begin with.
    pub(crate) const fn new(first_bytes: usize) -> Out {
        Out {
            bytes: Vec::new(),
            start: 0,
            base: 0,
            bodies: Vec::new(),
            next: 0,
            first_bytes,
            loan: Loan { start: 0, len: 0 },
        }
    }

    /// How many bytes wait to be sent.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start + self.loan.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.next == self.bodies.len()
    }

    /// The bytes of a stream that wait to be sent, as far as they lie in one piece. `input` is that
    /// of the turn.
    pub(crate) fn unsent<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        let Loan { start, len } = self.loan;
        if len == 0 { &self.bytes[self.start..] } else { &input[start..start + len] }
    }

    /// The kernel took this many bytes of [`Out::unsent`].
    pub(crate) fn sent(&mut self, count: usize) {
        if self.loan.len == 0 {
            debug_assert!(count <= self.len());
            self.start += count;
        } else {
            self.loan.start += count;
            self.loan.len -= count;
        }
    }

    /// Takes bytes as output without copying them, if they lie within `input` and nothing is to be sent
    /// before them. False if not, or if they are too few to be worth it.
    #[inline]
    pub(crate) fn lend(&mut self, bytes: &[u8], input: &Range<usize>) -> bool {
        let start = bytes.as_ptr() as usize;
        let lent = bytes.len() >= LOAN_BYTES_MIN
            && self.is_empty()
            && input.start <= start
            && start + bytes.len() <= input.end;
        if lent {
            self.loan = Loan { start: start - input.start, len: bytes.len() };
        }
        lent
    }

    /// Copies what was lent to a stream if it is little and more is behind it: all leaves with one call.
    pub(crate) fn join(&mut self, input: &[u8]) {
        let little = self.loan.len < JOINED_BYTES_MAX && self.bytes.len() > self.start;
        if little && self.bodies.is_empty() {
            self.keep_loan(false, input);
        }
    }

    /// Copies what was lent and not sent, because the input is about to go.
    #[inline]
    pub(crate) fn keep_loan(&mut self, as_datagram: bool, input: &[u8]) {
        if self.loan.len > 0 {
            let Loan { start, len } = std::mem::take(&mut self.loan);
            self.put_first(&input[start..start + len], as_datagram);
        }
    }

    /// Copies bytes to where they leave before all others. Nothing is lent.
    pub(crate) fn put_first(&mut self, bytes: &[u8], as_datagram: bool) {
        self.begin();
        let behind = self.bytes.split_off(self.start);
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(&behind);
        if as_datagram {
            let (start, len) = (self.start as u32, bytes.len() as u32);
            for body in &mut self.bodies[self.next..] {
                *body = body.start + len..body.end + len;
            }
            self.bodies.insert(self.next, start..start + len);
        }
    }

    /// The first datagram that waits to be sent; `input` is that of the turn.
    pub(crate) fn datagram<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        if self.loan.len > 0 {
            return Some(self.unsent(input));
        }
        let body = self.bodies.get(self.next)?;
        Some(&self.bytes[body.start as usize..body.end as usize])
    }

    /// How many datagrams wait to be sent.
    pub(crate) fn datagrams(&self) -> usize {
        self.bodies.len() - self.next + usize::from(self.loan.len > 0)
    }

    /// What is to be sent next: the first datagram, or as much of a stream as lies in one piece.
    #[inline(always)]
    pub(crate) fn front<'a>(&'a self, as_datagram: bool, input: &'a [u8]) -> &'a [u8] {
        if as_datagram { self.datagram(input).unwrap_or(&[]) } else { self.unsent(input) }
    }

    /// The first waiting datagram was sent, or given up.
    pub(crate) fn datagram_sent(&mut self) {
        if self.loan.len > 0 {
            self.loan = Loan::default();
            return;
        }
        self.start = self.bodies[self.next].end as usize;
        self.next += 1;
        if self.next == self.bodies.len() {
            self.start = self.bytes.len();
        }
    }

    /// Lets `encode` append one frame, and says where it begins, for [`Out::take_back`]. When it
    /// fails, whatever it appended is taken back. A panic inside leaves a half frame: see
    /// [`Out::cut`].
    pub(crate) fn push<E>(
        &mut self,
        as_datagram: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Range<usize>, E>,
    ) -> Result<usize, E> {
        self.begin();
        let mark = self.bytes.len();
        let encoded = encode(&mut self.bytes);
        if self.bytes.len() < mark {
            // What others had said is gone with it, so this is no error but a panic: the session's.
            *self = Out::new(self.first_bytes);
            panic!("a codec may only append to its output");
        }
        match encoded {
            Ok(body) => {
                if as_datagram {
                    // A codec of the user's may return any range; never let it panic a send.
                    let end = body.end.clamp(mark, self.bytes.len());
                    self.bodies.push(body.start.clamp(mark, end) as u32..end as u32);
                }
                Ok(mark)
            }
            Err(error) => {
                self.bytes.truncate(mark);
                Err(error)
            }
        }
    }

    /// Takes the frame back that was pushed at `mark`.
    pub(crate) fn take_back(&mut self, mark: usize, as_datagram: bool) {
        self.bytes.truncate(mark);
        if as_datagram {
            self.bodies.pop();
        }
    }

    /// How far the output reaches now, for [`Out::cut`].
    pub(crate) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Cuts off everything behind `mark`: a frame whose encoding panicked.
    pub(crate) fn cut(&mut self, mark: usize) {
        self.bytes.truncate(mark.max(self.start));
    }

    /// Moves all that `other` holds behind what this holds.
    pub(crate) fn append(&mut self, other: &mut Out) {
        debug_assert!(self.loan.len + other.loan.len == 0);
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.compact();
        let shift = self.bytes.len() as u32;
        let from = other.start;
        self.bytes.extend_from_slice(other.unsent(&[]));
        self.bodies.extend(
            other.bodies[other.next..]
                .iter()
                .map(|body| body.start - from as u32 + shift..body.end - from as u32 + shift),
        );
        other.clear();
    }

    /// Gives the room of what was sent to what comes, once that moves no more than was sent: output
    /// that never runs dry must not keep all that it ever was.
    fn compact(&mut self) {
        let gone = self.start - self.base;
        if gone < self.len().max(PAGE) {
            return;
        }
        self.bytes.drain(self.base..self.start);
        self.start = self.base;
        self.bodies.drain(..self.next);
        self.next = 0;
        for body in &mut self.bodies {
            *body = body.start - gone as u32..body.end - gone as u32;
        }
    }

    /// Forgets all content and keeps the memory, unless it has grown far beyond its use.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_BYTES_MAX {
            *self = Out::new(self.first_bytes);
        }
        self.bytes.truncate(self.base);
        self.start = self.base;
        self.bodies.clear();
        self.next = 0;
        self.loan = Loan::default();
    }

    #[inline]
    fn begin(&mut self) {
        if self.bytes.capacity() == 0 {
            self.align();
        }
    }

    /// On first use, takes memory and starts on a page boundary.
    #[cold]
    fn align(&mut self) {
        self.bytes.reserve_exact(self.first_bytes + PAGE);
        self.base = page_offset(&self.bytes);
        self.bytes.resize(self.base, 0);
        self.start = self.base;
    }
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn page_offset(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(PAGE).min(PAGE)
}

/// Fewer bytes than this are copied: that is nothing.
const LOAN_BYTES_MIN: usize = 32;

/// Copying fewer than this costs less than a second system call.
const JOINED_BYTES_MAX: usize = 4096;

/// A buffer that has grown beyond this is freed rather than kept.
const KEEP_BYTES_MAX: usize = 1024 * 1024;
