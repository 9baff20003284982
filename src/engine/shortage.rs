//! Shortages: no descriptors, no memory, no threads for another connection.
//!
//! ```text
//!   failed ──► 10 ms ──► failed ──► 20 ms ──► … 100 ms ──► succeeded ──► 1 s without another: over
//!     └ the episode begins, and is counted                                └ the episode ends
//! ```
//!
//! All acceptors of a server share one pace, so that a shortage costs about ten accepts a second,
//! however many loops there are.

use super::accept::back_off;
use super::refuse::OnFull;
use crate::sys;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether there is a shortage, and when to try again.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// An episode has begun and has not ended. Without one, nothing here is locked.
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How long the listeners were left alone last.
    pause: Option<Duration>,
    /// When one of the acceptors may try again.
    next: Option<Instant>,
    /// When an accept succeeded after the last that failed.
    recovered: Option<Instant>,
    /// Given up for a moment to accept a connection that there is no descriptor for.
    reserve: Option<OwnedFd>,
}

impl Shortage {
    /// Only who refuses has use for a descriptor in reserve.
    pub(super) fn new(on_full: &OnFull) -> Shortage {
        let waits = *on_full == OnFull::Wait;
        let reserve = if waits { None } else { sys::io::event_counter().ok() };
        let state = State { reserve, ..State::default() };
        Shortage { on: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Whether to accept now. Who may is the only one until the pause is over.
    pub(super) fn may_try(&self, now: Instant) -> Result<(), Instant> {
        if !self.on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.state();
        match state.next {
            Some(next) if next > now => Err(next),
            Some(_) => {
                state.next = state.pause.map(|pause| now + pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An accept failed for want of something: when to try again, and whether an episode has begun.
    pub(super) fn failed(&self, now: Instant) -> (Instant, bool) {
        let mut state = self.state();
        if state.recovered.is_some_and(|at| now.saturating_duration_since(at) >= CALM) {
            self.end(&mut state);
        }
        let begins = !self.on.swap(true, Ordering::Relaxed);
        let pause = back_off(state.pause);
        let until = now + pause;
        (state.pause, state.next, state.recovered) = (Some(pause), Some(until), None);
        (until, begins)
    }

    /// An accept succeeded, and the connection has all that it needs.
    pub(super) fn succeeded(&self, now: Instant) {
        if self.on.load(Ordering::Relaxed) {
            self.recover(now);
        }
    }

    #[cold]
    fn recover(&self, now: Instant) {
        let mut state = self.state();
        (state.pause, state.next) = (None, None);
        let since = *state.recovered.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.end(&mut state);
        }
    }

    fn end(&self, state: &mut State) {
        (state.pause, state.next, state.recovered) = (None, None, None);
        self.on.store(false, Ordering::Relaxed);
    }

    /// Does something with one descriptor more than there is, which must be closed again after it.
    pub(super) fn with_reserve(&self, act: impl FnOnce()) {
        let mut state = self.state();
        if let Some(reserve) = state.reserve.take() {
            drop(reserve);
            act();
        }
        state.reserve = sys::io::event_counter().ok();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long accepts must have gone well for a shortage to be over: what comes and goes is one episode.
const CALM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: Duration = Duration::from_millis(1);

    #[test]
    fn all_acceptors_together_try_once_a_pause() {
        let (shortage, now) = (Shortage::new(&OnFull::Wait), Instant::now());
        assert_eq!(shortage.may_try(now), Ok(()));
        assert_eq!(shortage.failed(now), (now + 10 * MILLIS, true));
        assert_eq!(shortage.may_try(now + MILLIS), Err(now + 10 * MILLIS));
        let later = now + 10 * MILLIS;
        assert_eq!(shortage.may_try(later), Ok(()));
        assert!(shortage.may_try(later).is_err(), "the other one has its turn");
        assert_eq!(shortage.failed(later), (later + 20 * MILLIS, false));
    }

    #[test]
    fn an_episode_ends_once_all_has_been_well_for_a_second() {
        let (shortage, now) = (Shortage::new(&OnFull::Wait), Instant::now());
        assert!(shortage.failed(now).1);
        shortage.succeeded(now + 20 * MILLIS);
        assert_eq!(shortage.may_try(now + 20 * MILLIS), Ok(()));
        assert!(!shortage.failed(now + 40 * MILLIS).1, "it flickers: the same episode");
        shortage.succeeded(now + 60 * MILLIS);
        assert!(shortage.on.load(Ordering::Relaxed));
        shortage.succeeded(now + 1060 * MILLIS);
        assert!(!shortage.on.load(Ordering::Relaxed));
        assert!(shortage.failed(now + 1080 * MILLIS).1);
        shortage.succeeded(now + 1100 * MILLIS);
        assert_eq!(shortage.failed(now + 9000 * MILLIS), (now + 9010 * MILLIS, true));
    }
}
