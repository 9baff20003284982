//! Publications: what the members of a group are told, as it lies in the mailbox of a worker.

use super::letter::{Frame, Line};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What becomes of a member that does not take a frame because it reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSlow {
    /// It misses the frame, keeps its place, and `on_drain` is called when it has caught up;
    /// [`Context::missed`](super::Context::missed) says how much it lacks. For what is soon out of
    /// date, such as prices.
    Drop,
    /// Its session ends at once, with
    /// [`CloseReason::OutputFull`](super::CloseReason::OutputFull). For what must be whole or not at
    /// all, such as a chat.
    Close,
}

/// Frames for those members that one worker has, in the order in which they were sent.
///
/// What is said to the same members while a publication still waits is added to it: a handler that passes
/// on all lines of a read costs its worker one letter, not one for each line.
#[derive(Debug)]
pub(crate) struct Publication {
    first: Frame,
    more: Option<Box<More>>,
    /// So many of its frames are done with, where a session takes its letters itself.
    pub(crate) done: usize,
    members: Arc<Members>,
    except: Option<Arc<Line>>,
    /// Counts as waiting as long as this lives.
    charge: usize,
}

/// The frames behind the first one.
#[derive(Debug)]
struct More {
    bytes: Vec<u8>,
    /// Where each of them ends, and its body within it.
    frames: Vec<(usize, Range<usize>)>,
}

impl More {
    /// Room for as many frames as a read of short lines brings: to grow step by step costs more.
    fn new() -> Box<More> {
        Box::new(More { bytes: Vec::with_capacity(1024), frames: Vec::with_capacity(16) })
    }
}

/// The members of a group that one worker has, as they were when a frame was sent to them.
#[derive(Debug)]
pub(super) struct Members {
    lines: Vec<Arc<Line>>,
    pub(super) ledger: Arc<Ledger>,
    /// Those of the lines, side by side: a worker that writes to all members need not look at each line.
    tokens: OnceLock<Box<[u64]>>,
}

/// The sessions that a publication is for.
pub(crate) struct Receivers<'a> {
    tokens: Cow<'a, [u64]>,
    except: Option<u64>,
}

/// What a group has under way to one worker, and what becomes of who does not take it.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) on_slow: OnSlow,
    /// What all members of the group have missed.
    pub(super) missed: Arc<AtomicU64>,
    /// Bytes that wait for the worker.
    pub(super) waiting: AtomicUsize,
}

impl Publication {
    pub(super) fn new(
        first: Frame,
        members: Arc<Members>,
        except: Option<Arc<Line>>,
        charge: usize,
    ) -> Publication {
        members.ledger.waiting.fetch_add(charge, Ordering::SeqCst);
        Publication { first, more: None, done: 0, members, except, charge }
    }

    /// Adds a frame, if it is for the same members and this does not grow too large by it.
    pub(super) fn add(
        &mut self,
        frame: &Frame,
        members: &Arc<Members>,
        except: Option<&Arc<Line>>,
        charge: usize,
    ) -> bool {
        let Frame { bytes, body } = frame;
        let waits = self.more.as_ref().map_or(0, |more| more.bytes.len());
        if !self.is_for(members, except) || waits + bytes.len() > ADDED_BYTES_MAX {
            return false;
        }
        let more = self.more.get_or_insert_with(More::new);
        more.bytes.extend_from_slice(bytes);
        more.frames.push((more.bytes.len(), body.clone()));
        members.ledger.waiting.fetch_add(charge, Ordering::SeqCst);
        self.charge += charge;
        true
    }

    fn is_for(&self, members: &Arc<Members>, except: Option<&Arc<Line>>) -> bool {
        Arc::ptr_eq(&self.members, members)
            && self.except.as_ref().map(Arc::as_ptr) == except.map(Arc::as_ptr)
    }

    /// One of its frames: its bytes, and which of them are its body.
    pub(crate) fn frame(&self, number: usize) -> Option<(&[u8], Range<usize>)> {
        if number == 0 {
            return Some((&self.first.bytes, self.first.body.clone()));
        }
        let more = self.more.as_ref()?;
        let (end, body) = more.frames.get(number - 1)?;
        let start = number.checked_sub(2).map_or(0, |before| more.frames[before].0);
        Some((&more.bytes[start..*end], body.clone()))
    }

    /// The bytes of all its frames, in two pieces.
    pub(crate) fn bytes(&self) -> [&[u8]; 2] {
        [&self.first.bytes, self.more.as_ref().map_or(&[], |more| &more.bytes)]
    }

    /// The sessions it is for, by their tokens.
    pub(crate) fn receivers(&self) -> Receivers<'_> {
        let except = self.except.as_ref().map(|line| line.token());
        Receivers { tokens: self.members.tokens(), except }
    }

    /// At most how many [`receivers`](Publication::receivers) there are.
    pub(crate) fn receivers_max(&self) -> usize {
        self.members.lines.len()
    }

    /// Whether the other one has the same receivers.
    pub(crate) fn goes_with(&self, other: &Publication) -> bool {
        self.is_for(&other.members, other.except.as_ref())
    }

    /// This member cannot take it. True if its session ends by that.
    pub(crate) fn misses(&self, line: &Line) -> bool {
        match self.members.ledger.on_slow {
            OnSlow::Drop => {
                self.members.ledger.miss(line);
                false
            }
            OnSlow::Close => true,
        }
    }
}

impl Receivers<'_> {
    /// Their tokens, from the first member to the last, or from the last to the first.
    pub(crate) fn iter(&self, backwards: bool) -> impl Iterator<Item = u64> {
        let (mut tokens, except) = (self.tokens.iter(), self.except);
        std::iter::from_fn(move || if backwards { tokens.next_back() } else { tokens.next() })
            .copied()
            .filter(move |token| Some(*token) != except)
    }
}

impl Members {
    pub(super) fn none(ledger: Ledger) -> Members {
        Members { lines: Vec::new(), ledger: Arc::new(ledger), tokens: OnceLock::new() }
    }

    pub(super) fn lines(&self) -> &[Arc<Line>] {
        &self.lines
    }

    pub(super) fn push(&mut self, line: Arc<Line>) {
        self.tokens.take();
        self.lines.push(line);
    }

    pub(super) fn remove(&mut self, line: &Arc<Line>) {
        self.tokens.take();
        if let Some(at) = self.lines.iter().position(|member| Arc::ptr_eq(member, line)) {
            self.lines.swap_remove(at);
        }
    }

    fn tokens(&self) -> Cow<'_, [u64]> {
        if let Some(tokens) = self.tokens.get() {
            return Cow::Borrowed(tokens);
        }
        let tokens: Box<[u64]> = self.lines.iter().map(|line| line.token()).collect();
        match tokens.contains(&Line::NOWHERE) {
            // It will have its place soon.
            true => Cow::Owned(tokens.into_vec()),
            false => Cow::Borrowed(self.tokens.get_or_init(|| tokens)),
        }
    }
}

impl Clone for Members {
    fn clone(&self) -> Members {
        // It is about to be changed.
        let (lines, ledger) = (self.lines.clone(), self.ledger.clone());
        Members { lines, ledger, tokens: OnceLock::new() }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.members.ledger.waiting.fetch_sub(self.charge, Ordering::SeqCst);
    }
}

impl Ledger {
    pub(super) fn miss(&self, line: &Line) {
        line.missed.fetch_add(1, Ordering::Relaxed);
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is added to a publication at most, and the longest frame that is rather copied than shared.
const ADDED_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_gone_through_in_both_ways_but_for_the_one_left_out() {
        let all = |tokens: &'static [u64], except, backwards| {
            let receivers = Receivers { tokens: Cow::Borrowed(tokens), except };
            receivers.iter(backwards).collect::<Vec<_>>()
        };
        assert_eq!(all(&[4, 2, 9], None, false), [4, 2, 9]);
        assert_eq!(all(&[4, 2, 9], None, true), [9, 2, 4]);
        assert_eq!(all(&[4, 2, 9], Some(9), false), [4, 2]);
        assert_eq!(all(&[4, 2, 9], Some(9), true), [2, 4]);
        assert_eq!(all(&[], None, true), []);
    }
}
