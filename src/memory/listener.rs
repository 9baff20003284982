//! A listener within the process, and those who dial it.

use super::link::wait_for;
use super::{Stream, pair};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Accepts streams within the process: by itself, or as an endpoint of a
/// [`Server`](crate::server::Server::on).
///
/// When it is dropped, who has not been accepted yet reads the end, and who dials is refused.
///
/// # Examples
///
/// ```
/// use sockeye::memory::Listener;
/// use std::io::{Read, Write};
///
/// let listener = Listener::new(1024);
/// let mut ours = listener.dialer().connect()?;
/// ours.write_all(b"hello")?;
/// let mut hello = [0; 5];
/// listener.accept()?.read_exact(&mut hello)?;
/// assert_eq!(&hello, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Listener {
    backlog: Arc<Backlog>,
}

impl Listener {
    /// A listener whose streams have buffers of `capacity` bytes in each direction (zero counts as
    /// one), and with a backlog of 128.
    pub fn new(capacity: usize) -> Listener {
        let state =
            State { queue: VecDeque::new(), most: BACKLOG, closed: false, watchers: Vec::new() };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Listener { backlog: Arc::new(Backlog { state, changed, capacity }) }
    }

    /// How many connections may wait to be accepted; who dials beyond that waits. Zero counts as one.
    #[must_use]
    pub fn backlog(self, connections: usize) -> Listener {
        self.backlog.lock().most = connections.max(1);
        self
    }

    /// What connects to this listener.
    pub fn dialer(&self) -> Dialer {
        Dialer { backlog: self.backlog.clone() }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn accept(&self) -> io::Result<Stream> {
        self.backlog.attempt(None, State::accept)
    }

    /// Waits for the next connection, but not longer than this. A timeout of zero only looks.
    ///
    /// # Errors
    ///
    /// `TimedOut`.
    pub fn accept_timeout(&self, timeout: Duration) -> io::Result<Stream> {
        self.backlog.attempt(Some(timeout), State::accept)
    }

    /// Whether a connection waits to be accepted.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.backlog.lock().queue.is_empty()
    }

    /// The next connection, if one waits.
    pub(crate) fn accept_now(&self) -> Option<Stream> {
        let mut state = self.backlog.lock();
        let accepted = state.queue.pop_front()?;
        self.backlog.tell(state);
        Some(accepted)
    }

    /// Calls the waker once, when a connection waits: now, if one does. The same waker is kept once.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut state = self.backlog.lock();
        if !state.watchers.iter().any(|other| other.will_wake(waker)) {
            state.watchers.push(waker.clone());
        }
        self.backlog.tell(state);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.backlog.lock();
        state.closed = true;
        // Both are dropped outside of the lock: streams call wakers.
        let left = (std::mem::take(&mut state.queue), std::mem::take(&mut state.watchers));
        self.backlog.tell(state);
        drop(left);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.backlog.lock().queue.len();
        f.debug_struct("Listener").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// Connects to a [`Listener`]. Clones are the same; any thread may dial.
#[derive(Clone)]
pub struct Dialer {
    backlog: Arc<Backlog>,
}

impl Dialer {
    /// Connects. Blocks only while the listener's backlog is full.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` once the listener is gone.
    pub fn connect(&self) -> io::Result<Stream> {
        self.backlog.dial(None)
    }

    /// Connects, or gives up after this time. A timeout of zero only looks.
    ///
    /// # Errors
    ///
    /// As [`connect`](Dialer::connect), and `TimedOut` while the backlog is full.
    pub fn connect_timeout(&self, timeout: Duration) -> io::Result<Stream> {
        self.backlog.dial(Some(timeout))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("refused", &self.backlog.lock().closed).finish()
    }
}

/// Connections that wait to be accepted.
struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

struct State {
    queue: VecDeque<Stream>,
    /// How many may wait.
    most: usize,
    /// The listener is gone.
    closed: bool,
    /// Whom to call once when a connection waits.
    watchers: Vec<Waker>,
}

impl Backlog {
    fn dial(&self, timeout: Option<Duration>) -> io::Result<Stream> {
        self.attempt(timeout, |state| match state.queue.len() {
            _ if state.closed => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            waiting if waiting < state.most => {
                let (ours, theirs) = pair(self.capacity);
                state.queue.push_back(theirs);
                Some(Ok(ours))
            }
            _ => None,
        })
    }

    /// Repeats `act` until it has an answer, or the time is over.
    fn attempt(
        &self,
        timeout: Option<Duration>,
        mut act: impl FnMut(&mut State) -> Option<io::Result<Stream>>,
    ) -> io::Result<Stream> {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(answer) = act(&mut state) {
                self.tell(state);
                return answer;
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            state = wait_for(&self.changed, state, left);
        }
    }

    /// Tells whoever waits that something has changed.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let due =
            if state.queue.is_empty() { Vec::new() } else { std::mem::take(&mut state.watchers) };
        drop(state);
        self.changed.notify_all();
        due.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn accept(&mut self) -> Option<io::Result<Stream>> {
        self.queue.pop_front().map(Ok)
    }
}

/// How many connections may wait, unless it is said otherwise: what systems have as a rule.
const BACKLOG: usize = 128;
