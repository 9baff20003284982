//! What the two ends of a memory stream share: two lanes of bytes under one lock.
//!
//! Nothing of others runs under the lock: wakers are called and dropped outside of it.

use crate::poll::Interest;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// See the module. Sides are 0 and 1.
pub(super) struct Link {
    state: Mutex<State>,
    /// Whatever anybody may wait for has changed.
    changed: Condvar,
}

struct State {
    /// By the side that writes into it.
    lanes: [Lane; 2],
    settings: [Settings; 2],
    /// Whom to call once when a side is ready for something.
    watches: [Option<(Interest, Waker)>; 2],
    reset: bool,
    /// How many threads wait for a change.
    waiting: usize,
}

struct Lane {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Its writer is through.
    ended: bool,
    /// Its reader takes no more.
    deaf: bool,
}

/// What the owner of an end has said about it.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) nonblocking: bool,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
}

impl Link {
    pub(super) fn new(capacity: usize) -> Link {
        let lane = || Lane { bytes: VecDeque::new(), capacity, ended: false, deaf: false };
        let state = State {
            lanes: [lane(), lane()],
            settings: Default::default(),
            watches: [None, None],
            reset: false,
            waiting: 0,
        };
        Link { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn read(&self, side: usize, into: &mut [u8], wait: bool) -> io::Result<usize> {
        let timeout = |settings: &Settings| settings.read_timeout;
        self.attempt(side, wait, timeout, |state| state.take(side, into))
    }

    pub(super) fn write(&self, side: usize, bytes: &[u8], wait: bool) -> io::Result<usize> {
        let timeout = |settings: &Settings| settings.write_timeout;
        self.attempt(side, wait, timeout, |state| state.put(side, bytes))
    }

    /// Repeats `act` until it has an answer, or may wait no longer.
    fn attempt(
        &self,
        side: usize,
        wait: bool,
        timeout: impl Fn(&Settings) -> Option<Duration>,
        mut act: impl FnMut(&mut State) -> Option<io::Result<usize>>,
    ) -> io::Result<usize> {
        let mut state = self.lock();
        let mut began = None;
        loop {
            if let Some(answer) = act(&mut state) {
                self.tell(state);
                return answer;
            }
            let settings = &state.settings[side];
            if !wait || settings.nonblocking {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let left = timeout(settings).map(|timeout| {
                let began = *began.get_or_insert_with(Instant::now);
                timeout.saturating_sub(began.elapsed())
            });
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.waiting += 1;
            state = wait_for(&self.changed, state, left);
            state.waiting -= 1;
        }
    }

    pub(super) fn set(&self, side: usize, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings[side]);
    }

    pub(super) fn unread(&self, side: usize) -> usize {
        self.lock().lanes[1 - side].bytes.len()
    }

    pub(super) fn watch(&self, side: usize, interest: Interest, waker: Waker) {
        let mut state = self.lock();
        let before = state.watches[side].replace((interest, waker));
        self.tell(state);
        drop(before);
    }

    pub(super) fn shutdown(&self, side: usize, how: Shutdown) {
        let mut state = self.lock();
        state.lanes[side].ended |= how != Shutdown::Read;
        state.lanes[1 - side].deaf |= how != Shutdown::Write;
        self.tell(state);
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.reset = true;
        state.lanes.iter_mut().for_each(|lane| lane.bytes = VecDeque::new());
        self.tell(state);
    }

    /// The end is gone: nobody reads or writes there, or waits to.
    pub(super) fn close(&self, side: usize) {
        let mut state = self.lock();
        state.lanes[side].ended = true;
        let lane = &mut state.lanes[1 - side];
        lane.deaf = true;
        lane.bytes = VecDeque::new();
        let watch = state.watches[side].take();
        self.tell(state);
        drop(watch);
    }

    /// Tells whoever waits that something has changed.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let due = [state.due(0), state.due(1)];
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.changed.notify_all();
        }
        due.into_iter().flatten().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a read of `side` answers; `None` if it would block.
    fn take(&mut self, side: usize, into: &mut [u8]) -> Option<io::Result<usize>> {
        if self.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = &mut self.lanes[1 - side];
        if lane.bytes.is_empty() && !into.is_empty() {
            return (lane.ended || lane.deaf).then_some(Ok(0));
        }
        // The bytes lie in one piece or in two, and a read takes of one.
        let first = lane.bytes.read(into);
        Some(first.and_then(|first| Ok(first + lane.bytes.read(&mut into[first..])?)))
    }

    /// What a write of `side` answers; `None` if it would block.
    fn put(&mut self, side: usize, bytes: &[u8]) -> Option<io::Result<usize>> {
        let lane = &mut self.lanes[side];
        if self.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if lane.ended || lane.deaf {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(lane.room());
        if count == 0 && !bytes.is_empty() {
            return None;
        }
        lane.bytes.extend(&bytes[..count]);
        Some(Ok(count))
    }

    /// Takes the waker of `side`, if it is to be called now.
    fn due(&mut self, side: usize) -> Option<Waker> {
        let (interest, _) = self.watches[side].as_ref()?;
        let (input, output) = (&self.lanes[1 - side], &self.lanes[side]);
        let read = !input.bytes.is_empty() || input.ended || input.deaf;
        let write = output.room() > 0 || output.ended || output.deaf;
        let ready = self.reset || (interest.read() && read) || (interest.write() && write);
        if ready { self.watches[side].take().map(|(_, waker)| waker) } else { None }
    }
}

impl Lane {
    fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }
}

/// Waits for a change, or until the time is over; `None` waits for ever.
pub(super) fn wait_for<'a, T>(
    changed: &Condvar,
    state: MutexGuard<'a, T>,
    left: Option<Duration>,
) -> MutexGuard<'a, T> {
    // No user code runs under these locks, so a poisoned state is still a whole one.
    match left {
        Some(left) => changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
    }
}
