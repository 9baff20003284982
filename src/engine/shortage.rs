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
use crate::observer::Door;
use crate::sys;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether there is a shortage, and when to try again.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// An episode has begun and has not ended. Without one, nothing here is locked.
    on: AtomicBool,
    /// Those who wait are refused rather than left waiting.
    refuses: bool,
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
    /// Where the episode was noticed.
    door: Option<Arc<Door>>,
    /// Given up for a moment to accept a connection that there is no descriptor for.
    reserve: Option<OwnedFd>,
}

/// What a failed accept means.
#[derive(Debug)]
pub(super) struct Failure {
    /// When to try again.
    pub(super) until: Instant,
    /// An episode has begun.
    pub(super) begins: bool,
    /// The one before it, noticed here, had ended.
    pub(super) ended: Option<Arc<Door>>,
}

impl Shortage {
    /// Only who refuses has use for a descriptor in reserve.
    pub(super) fn new(on_full: &OnFull) -> Shortage {
        let refuses = *on_full != OnFull::Wait;
        let reserve = if refuses { sys::io::event_counter().ok() } else { None };
        let state = State { reserve, ..State::default() };
        Shortage { on: AtomicBool::new(false), refuses, state: Mutex::new(state) }
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

    /// Whether something is short and no accept has succeeded since.
    pub(crate) fn holds(&self) -> bool {
        self.on.load(Ordering::Relaxed) && self.state().recovered.is_none()
    }

    /// An accept failed at this door for want of something.
    pub(super) fn failed(&self, door: &Arc<Door>, now: Instant) -> Failure {
        let mut state = self.state();
        let mut ended = None;
        if state.recovered.is_some_and(|at| now.saturating_duration_since(at) >= CALM) {
            ended = self.end(&mut state);
        }
        let begins = !self.on.swap(true, Ordering::Relaxed);
        let pause = back_off(state.pause);
        let until = now + pause;
        (state.pause, state.next, state.recovered) = (Some(pause), Some(until), None);
        if begins {
            state.door = Some(door.clone());
        }
        Failure { until, begins, ended }
    }

    /// An accept succeeded, and the connection has all that it needs. Returns where the episode was
    /// noticed that has ended with it.
    pub(super) fn succeeded(&self, now: Instant) -> Option<Arc<Door>> {
        if self.on.load(Ordering::Relaxed) { self.recover(now) } else { None }
    }

    #[cold]
    fn recover(&self, now: Instant) -> Option<Arc<Door>> {
        let mut state = self.state();
        (state.pause, state.next) = (None, None);
        let since = *state.recovered.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM { self.end(&mut state) } else { None }
    }

    fn end(&self, state: &mut State) -> Option<Arc<Door>> {
        (state.pause, state.next, state.recovered) = (None, None, None);
        self.on.store(false, Ordering::Relaxed);
        state.door.take()
    }

    /// Does something with one descriptor more than there is, which must be closed again after it: if
    /// those who wait are refused, and there was one to keep.
    pub(super) fn with_reserve(&self, act: impl FnOnce()) {
        if !self.refuses {
            return;
        }
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

    fn door() -> Arc<Door> {
        Arc::new(Door::new(crate::addr::Endpoint::memory()))
    }

    fn failed(shortage: &Shortage, now: Instant) -> (Instant, bool) {
        let Failure { until, begins, .. } = shortage.failed(&door(), now);
        (until, begins)
    }

    #[test]
    fn all_acceptors_together_try_once_a_pause() {
        let (shortage, now) = (Shortage::new(&OnFull::Wait), Instant::now());
        assert_eq!(shortage.may_try(now), Ok(()));
        assert_eq!(failed(&shortage, now), (now + 10 * MILLIS, true));
        assert_eq!(shortage.may_try(now + MILLIS), Err(now + 10 * MILLIS));
        let later = now + 10 * MILLIS;
        assert_eq!(shortage.may_try(later), Ok(()));
        assert!(shortage.may_try(later).is_err(), "the other one has its turn");
        assert_eq!(failed(&shortage, later), (later + 20 * MILLIS, false));
    }

    #[test]
    fn only_who_refuses_has_a_reserve() {
        for (on_full, expected) in [(OnFull::Wait, 0), (OnFull::Refuse, 3)] {
            let (shortage, mut acts) = (Shortage::new(&on_full), 0);
            (0..3).for_each(|_| shortage.with_reserve(|| acts += 1));
            assert_eq!(acts, expected, "{on_full:?}");
        }
    }

    #[test]
    fn an_episode_ends_once_all_has_been_well_for_a_second() {
        let (shortage, now) = (Shortage::new(&OnFull::Wait), Instant::now());
        assert!(failed(&shortage, now).1 && shortage.holds());
        assert!(shortage.succeeded(now + 20 * MILLIS).is_none() && !shortage.holds());
        assert_eq!(shortage.may_try(now + 20 * MILLIS), Ok(()));
        assert!(!failed(&shortage, now + 40 * MILLIS).1, "it flickers: the same episode");
        assert!(shortage.succeeded(now + 60 * MILLIS).is_none());
        assert!(shortage.on.load(Ordering::Relaxed));
        assert!(shortage.succeeded(now + 1060 * MILLIS).is_some());
        assert!(!shortage.on.load(Ordering::Relaxed));
        assert!(failed(&shortage, now + 1080 * MILLIS).1);
        assert!(shortage.succeeded(now + 1100 * MILLIS).is_none());
        let Failure { until, begins, ended } = shortage.failed(&door(), now + 9000 * MILLIS);
        assert_eq!((until, begins, ended.is_some()), (now + 9010 * MILLIS, true, true));
    }
}
