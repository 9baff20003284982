//! Mailboxes: how other threads reach the one thread that owns a session.
//!
//! ```text
//!   any thread                          the worker
//!   push(item) ─► queue ─► bell ─ ─ ─►  wakes, take()s all at once, delivers
//! ```
//!
//! The bell is rung only for a worker that has announced its sleep, so a busy worker costs its
//! senders no system call. The announcement comes *before* the last look into the queues: an item
//! that misses the look finds the announcement and rings.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

/// Wakes one worker.
pub(crate) struct Bell {
    asleep: AtomicBool,
    waker: Waker,
}

impl Bell {
    pub(crate) fn new(waker: Waker) -> Arc<Bell> {
        Arc::new(Bell { asleep: AtomicBool::new(false), waker })
    }

    /// Announces sleep. The caller must then look into every queue once more, and may block only if
    /// all are empty.
    pub(crate) fn doze(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Takes the announcement back. Who does not see that yet rings for nothing, which is no harm.
    pub(crate) fn rise(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the worker if it has announced its sleep.
    pub(crate) fn ring(&self) {
        // The look alone spares a busy worker's senders a locked write.
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake_by_ref();
        }
    }
}

/// So that others who take a waker can ring it.
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

/// The mailbox is at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A bounded queue to one worker.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    length: AtomicUsize,
    /// Nobody takes from it any more. Changed under the lock of the queue.
    closed: AtomicBool,
    items_max: usize,
    /// Everything in it is for one session, which has a thread of its own.
    private: bool,
    bell: Arc<Bell>,
}

impl<T> Mailbox<T> {
    /// The mailbox of a worker, whose sessions share it.
    pub(crate) fn new(bell: Arc<Bell>, items_max: usize) -> Arc<Mailbox<T>> {
        Mailbox::with(bell, items_max, false)
    }

    /// The mailbox of one session.
    pub(crate) fn private(bell: Arc<Bell>, items_max: usize) -> Arc<Mailbox<T>> {
        Mailbox::with(bell, items_max, true)
    }

    fn with(bell: Arc<Bell>, items_max: usize, private: bool) -> Arc<Mailbox<T>> {
        let queue = Mutex::new(VecDeque::new());
        let (length, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Mailbox { queue, length, closed, items_max, private, bell })
    }

    /// Queues an item and wakes the worker if it sleeps.
    pub(crate) fn push(&self, item: T) -> Result<(), Full> {
        let queue = self.lock();
        if queue.len() >= self.items_max {
            return Err(Full);
        }
        self.insert(queue, item);
        Ok(())
    }

    /// Queues an item even beyond the limit: for what is bounded in another way, such as one pending
    /// wake-up a session.
    pub(crate) fn push_beyond(&self, item: T) {
        self.insert(self.lock(), item);
    }

    /// Has `add` add something to the item that was queued last; if there is none, or `add` says that it
    /// could not, queues a new one even beyond the limit.
    pub(crate) fn add_or_push_beyond(
        &self,
        add: impl FnOnce(&mut T) -> bool,
        new: impl FnOnce() -> T,
    ) {
        let mut queue = self.lock();
        // Whoever queued the last one has rung for it.
        if !queue.back_mut().is_some_and(add) {
            self.insert(queue, new());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::SeqCst) == 0
    }

    /// Whether it is one session's own.
    pub(crate) fn is_private(&self) -> bool {
        self.private
    }

    /// Whether it is at its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= self.items_max
    }

    /// Whether so much waits that a worker had better see to it before it makes more.
    pub(crate) fn is_heavy(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= HEAVY
    }

    /// Moves everything into `batch`, which must be empty.
    pub(crate) fn take(&self, batch: &mut VecDeque<T>) {
        debug_assert!(batch.is_empty());
        if !self.is_empty() {
            let mut queue = self.lock();
            std::mem::swap(&mut *queue, batch);
            self.length.store(0, Ordering::SeqCst);
        }
    }

    /// Throws away what waits and what is still to come: nobody will take it. An item may hold its
    /// own mailbox, and would keep it for ever.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        self.closed.store(true, Ordering::SeqCst);
        let left = std::mem::take(&mut *queue);
        self.length.store(0, Ordering::SeqCst);
        drop(queue);
        drop(left);
    }

    fn insert(&self, mut queue: MutexGuard<'_, VecDeque<T>>, item: T) {
        if self.closed.load(Ordering::SeqCst) {
            // Before the item, which may be a session with code of users.
            return drop(queue);
        }
        queue.push_back(item);
        self.length.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        self.bell.ring();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // No user code runs under this lock, so a poisoned queue is still a whole queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Letters that a worker lets wait while it sees to its sockets.
const HEAVY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;

    struct Count(AtomicUsize, mpsc::SyncSender<()>);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.send(()).expect("the test listens");
        }
    }

    fn mailbox(items_max: usize) -> (Arc<Count>, Arc<Bell>, Arc<Mailbox<u32>>, mpsc::Receiver<()>) {
        let (sender, woken) = mpsc::sync_channel(1024);
        let count = Arc::new(Count(AtomicUsize::new(0), sender));
        let bell = Bell::new(Waker::from(count.clone()));
        let mailbox = Mailbox::new(bell.clone(), items_max);
        (count, bell, mailbox, woken)
    }

    #[test]
    fn only_a_sleeping_worker_is_woken_and_only_once() {
        let (count, bell, mailbox, _woken) = mailbox(10);
        mailbox.push(1).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        bell.doze();
        mailbox.push(2).unwrap();
        mailbox.push(3).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let mut batch = VecDeque::new();
        mailbox.take(&mut batch);
        assert_eq!(batch, [1, 2, 3]);
    }

    #[test]
    fn a_full_mailbox_says_so_and_still_takes_what_may_not_be_lost() {
        let (_, _, mailbox, _woken) = mailbox(2);
        assert_eq!(mailbox.push(1), Ok(()));
        assert_eq!(mailbox.push(2), Ok(()));
        assert_eq!(mailbox.push(3), Err(Full));
        mailbox.push_beyond(4);
        let mut batch = VecDeque::new();
        mailbox.take(&mut batch);
        assert_eq!(batch, [1, 2, 4]);
        assert_eq!(mailbox.push(5), Ok(()));
    }

    #[test]
    fn only_what_was_queued_last_and_still_waits_is_added_to() {
        let (count, bell, mailbox, _woken) = mailbox(1);
        let add_or_push = |item: u32| {
            let add = |last: &mut u32| {
                let is_even = *last % 2 == 0;
                *last += if is_even { item } else { 0 };
                is_even
            };
            mailbox.add_or_push_beyond(add, || item);
        };
        bell.doze();
        [2, 4, 7, 8].into_iter().for_each(add_or_push);
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "the first has rung for all");
        let mut batch = VecDeque::new();
        mailbox.take(&mut batch);
        assert_eq!(batch, [13, 8]);
        batch.clear();
        bell.doze();
        add_or_push(10);
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        mailbox.take(&mut batch);
        assert_eq!(batch, [10], "what was taken is not added to");
        mailbox.close();
        add_or_push(12);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn nothing_is_lost_between_eight_senders_and_a_dozing_worker() {
        const EACH: u32 = 20_000;
        let (_, bell, mailbox, woken) = mailbox(usize::MAX);
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let mailbox = mailbox.clone();
                thread::spawn(move || (0..EACH).for_each(|n| mailbox.push(n).unwrap()))
            })
            .collect();
        let (mut seen, mut batch) = (0, VecDeque::new());
        while seen < 8 * EACH as usize {
            bell.doze();
            if mailbox.is_empty() {
                woken.recv_timeout(std::time::Duration::from_secs(30)).expect("a wake-up was lost");
            }
            bell.rise();
            mailbox.take(&mut batch);
            seen += batch.len();
            batch.clear();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
}
