//! Cancelling from another thread.

use crate::poll::{self, ThreadWaker};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Wake;
use std::time::Duration;

/// Ends connects that another thread waits for. Clones are the same handle.
///
/// Given to [`Client::cancel_with`](crate::Client::cancel_with), to one client or to many. Once it is
/// cancelled it stays so: what has it connects no more. Connections that are made stay.
///
/// ```
/// use sockeye::connect::CancelHandle;
/// use sockeye::{Client, ErrorKind};
///
/// let cancel = CancelHandle::new();
/// cancel.cancel(); // from any thread, at any time
/// let error = Client::tcp("127.0.0.1:9").cancel_with(&cancel).connect().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelHandle {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    waker: Arc<ThreadWaker>,
}

impl CancelHandle {
    /// A handle that nobody has cancelled.
    pub fn new() -> CancelHandle {
        CancelHandle::default()
    }

    /// Cancels. Returns at once.
    pub fn cancel(&self) {
        // The mark comes first: who misses the wake-up looks for the mark after it has its counter.
        self.inner.cancelled.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst); // pairs with the one in `counter`
        self.inner.waker.wake_by_ref();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::SeqCst)
    }

    /// What a poll has to watch: readable from the cancelling on. To be had before the last look at
    /// [`is_cancelled`](Self::is_cancelled).
    pub(crate) fn counter(&self) -> io::Result<BorrowedFd<'_>> {
        let counter = self.inner.waker.counter();
        fence(Ordering::SeqCst);
        counter
    }

    /// Sleeps, unless it is cancelled. Whether it was.
    pub(crate) fn sleep(&self, time: Duration) -> io::Result<bool> {
        let until = std::time::Instant::now() + time;
        let counter = self.counter()?;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if self.is_cancelled() || left.is_zero() {
                return Ok(self.is_cancelled());
            }
            poll::wait_for_any(&[], &[counter], Some(left))?;
        }
    }
}
