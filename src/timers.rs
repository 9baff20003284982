//! Deadlines of many sessions, kept lazily.
//!
//! A session has one entry at most that counts. When its deadline moves later, as it does with every
//! message, nothing happens here: the entry fires at the old time, the session looks at its clock
//! and arms again. Only a deadline that moves *earlier* makes a new entry, and the old one is
//! recognised as stale when it fires. So timers cost nothing per message.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A moment that never comes. Moments are nanoseconds since the beginning of whoever counts them: half
/// as large as an [`Instant`], which matters where every session has several.
pub(crate) const NEVER: u64 = u64::MAX;

/// The shortest time that a timer or a limit can run. A turn does not end within its own instant, so
/// without it a timer of zero, set again when it runs out, would keep the others waiting for ever.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// As good as for ever, and short enough for any clock: what longer times count as.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The moment so much later, but no less than a [`TICK`]. What cannot be expressed never comes.
pub(crate) fn later(moment: u64, span: Duration) -> u64 {
    moment.saturating_add(nanos(span.max(TICK)))
}

/// All of the duration's nanoseconds, if there are not too many.
pub(crate) fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos().into())
}

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Timers {
    /// Makes sure that `token` fires at `when` or before. `armed` is the caller's note of the entry
    /// that counts, kept beside the session.
    pub(crate) fn arm(&mut self, armed: &mut Option<Instant>, when: Instant, token: u64) {
        if armed.is_none_or(|earlier| when < earlier) {
            self.heap.push(Reverse((when, token)));
            *armed = Some(when);
        }
    }

    /// When the next entry fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((when, _))| *when)
    }

    /// Takes one entry whose time has come. It counts only if the session's note says the same.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        match self.heap.peek() {
            Some(Reverse((when, _))) if *when <= now => self.heap.pop().map(|Reverse(entry)| entry),
            _ => None,
        }
    }

    /// Throws stale entries away once they outnumber `live` sessions, so that a handler that keeps
    /// moving its timer earlier cannot grow the heap.
    pub(crate) fn compact(&mut self, live: usize, mut counts: impl FnMut(Instant, u64) -> bool) {
        if self.heap.len() > 2 * live + 64 {
            self.heap.retain(|Reverse((when, token))| counts(*when, *token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_later_is_a_tick_later_at_least_and_never_wraps() {
        assert_eq!(later(5, Duration::ZERO), 1_000_005);
        assert_eq!(later(5, Duration::from_nanos(1)), 1_000_005);
        assert_eq!(later(5, Duration::from_nanos(1_000_001)), 1_000_006);
        assert_eq!(later(5, Duration::MAX), NEVER);
        assert_eq!(later(NEVER - 5, Duration::from_secs(1)), NEVER);
    }

    #[test]
    fn a_later_deadline_makes_no_entry_and_an_earlier_one_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        let mut armed = None;
        timers.arm(&mut armed, at(10), 7);
        timers.arm(&mut armed, at(20), 7);
        assert_eq!(timers.heap.len(), 1);
        timers.arm(&mut armed, at(5), 7);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.due(at(4)), None);
        assert_eq!(timers.due(at(10)), Some((at(5), 7)));
        assert_eq!(timers.due(at(10)), Some((at(10), 7)), "the stale one still fires");
        assert_eq!(timers.due(at(10)), None);
    }

    #[test]
    fn a_message_moves_nothing_however_many_sessions_are_idle() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let mut armed = vec![None; 100_000];
        for (armed, token) in armed.iter_mut().zip(0..) {
            timers.arm(armed, start + Duration::from_micros(token), token);
        }
        let next = timers.next();
        for message in 0..1000 {
            timers.arm(&mut armed[500], start + Duration::from_secs(1 + message), 500);
        }
        assert_eq!((timers.heap.len(), timers.next()), (100_000, next));
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut timers = Timers::default();
        let mut armed = None;
        for earlier in 0..10_000 {
            timers.arm(&mut armed, start - Duration::from_millis(earlier), 1);
            timers.compact(1, |when, _| armed == Some(when));
        }
        assert!(timers.heap.len() <= 66 + 1, "{} entries", timers.heap.len());
        assert_eq!(timers.next(), armed);
    }
}
