//! Stopping: when it began, when patience ends, and who is still at work.

use super::counters::Counters;
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What a server did, in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Sessions that ended by themselves after the stop began.
    pub finished: u64,
    /// Sessions that were cut off at the deadline, and blocking handlers that returned because of it.
    pub forced: u64,
    /// Bytes of output that those sessions had still to send: kept by the library because the kernel did
    /// not take them. What the kernel had taken and the peer not read is not known. Nor is what a
    /// blocking handler had in hand.
    pub bytes_lost: u64,
    /// Threads that were still busy with a handler when [`join`](crate::server::ServerHandle::join)
    /// gave up waiting for them.
    pub abandoned: usize,
    /// Everything since the start.
    pub counters: Counters,
}

/// The stop of one server. It begins once; a later one can only shorten the deadline.
#[derive(Default)]
pub(crate) struct Stop {
    inner: Mutex<Inner>,
    changed: Condvar,
    forced: AtomicU64,
    bytes_lost: AtomicU64,
    begun: Arc<AtomicBool>,
    /// What makes it stop of itself, if something does.
    failure: OnceLock<Error>,
    on_failure: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    deadline: Option<Instant>,
    /// Sessions closed when the stop began.
    closed_before: u64,
    threads: usize,
}

impl Stop {
    /// Begins the stop, or shortens its deadline.
    pub(crate) fn begin(&self, deadline: Instant, closed_so_far: u64) {
        let mut inner = self.lock();
        match &mut inner.deadline {
            Some(earlier) => *earlier = deadline.min(*earlier),
            none => {
                *none = Some(deadline);
                inner.closed_before = closed_so_far;
                self.begun.store(true, Ordering::Relaxed);
            }
        }
        self.changed.notify_all();
    }

    /// The deadline, once the stop has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    /// The server cannot go on. The first of several reasons counts.
    pub(crate) fn fail(&self, error: Error) {
        if self.failure.set(error).is_ok() {
            if let Some(stop) = self.on_failure.get() {
                stop();
            }
        }
    }

    /// Why the server stopped of itself, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.get().map(Error::again)
    }

    /// What to do when something fails from now on.
    pub(crate) fn on_failure(&self, stop: impl Fn() + Send + Sync + 'static) {
        // A server starts once.
        let _ = self.on_failure.set(Box::new(stop));
    }

    /// True once it has begun, for who looks often.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.begun.clone()
    }

    /// Whether it has begun and every thread has ended.
    #[cfg(feature = "signal")]
    pub(crate) fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.deadline.is_some() && inner.threads == 0
    }

    /// A session was cut off, with so much unsent.
    pub(crate) fn forced(&self, unsent: u64) {
        self.forced.fetch_add(1, Ordering::Relaxed);
        self.bytes_lost.fetch_add(unsent, Ordering::Relaxed);
    }

    /// A thread of the engine begins; the guard says when it ends, whatever ends it.
    pub(crate) fn enter(self: &Arc<Self>) -> AtWork {
        self.lock().threads += 1;
        AtWork(self.clone())
    }

    /// Waits until every thread of the engine has ended, or a stop has come to nothing. Returns how
    /// many are left.
    pub(crate) fn wait(&self) -> usize {
        let mut inner = self.lock();
        while inner.threads > 0 {
            let patience = match inner.deadline {
                // Before a stop there is nothing to be late for.
                None => Duration::from_secs(3600),
                Some(deadline) => (deadline + GRACE).saturating_duration_since(Instant::now()),
            };
            if patience.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(inner, patience);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.threads
    }

    pub(crate) fn report(&self, counters: Counters, abandoned: usize) -> Report {
        let forced = self.forced.load(Ordering::Relaxed);
        let inner = self.lock();
        let closed = counters.closed.total();
        let finished = match inner.deadline {
            Some(_) => closed.saturating_sub(inner.closed_before).saturating_sub(forced),
            None => 0,
        };
        let bytes_lost = self.bytes_lost.load(Ordering::Relaxed);
        Report { finished, forced, bytes_lost, abandoned, counters }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long after the deadline a thread may take to end what it was cut off from.
const GRACE: Duration = Duration::from_secs(1);

/// A thread is at work until this is dropped.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<Stop>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.changed.notify_all();
    }
}
