//! Letters: what reaches a session from elsewhere, and the line that it comes by.

use super::publication::Publication;
use crate::addr::Peer;
use crate::codec::{Codec, FrameError};
use crate::mailbox::{Full, Mailbox};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Why a frame was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// It does not fit now; `on_drain` will be called.
    Full,
    /// It is larger than all the room there ever is.
    TooLarge {
        /// Its size in bytes, encoded.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The session is over, or its sending side is.
    Closed,
    /// It cannot be encoded.
    Frame(FrameError),
    /// Its descriptors cannot be sent: the session passes none, they are more than 16, or the frame is
    /// empty and a stream has no byte for them to ride on.
    Descriptors,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("no room for this frame now"),
            SendError::TooLarge { bytes, limit } => {
                write!(f, "frame of {bytes} bytes can never fit into the limit of {limit}")
            }
            SendError::Closed => f.write_str("session is closed"),
            SendError::Frame(error) => error.fmt(f),
            SendError::Descriptors => f.write_str("these descriptors cannot be sent here"),
        }
    }
}

impl std::error::Error for SendError {}

/// What a session and its remotes share.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where the session lives in its worker; set before the worker looks into its mailbox.
    token: AtomicU64,
    letters: Arc<Mailbox<Letter>>,
    peer: Peer,
    bytes_max: usize,
    /// Bytes in letters that were not delivered yet.
    pub(crate) queued: AtomicUsize,
    /// The session's unsent output as of its last turn.
    pub(crate) unsent: AtomicUsize,
    /// Somebody was told `Full` since the last `on_drain`.
    pub(crate) starved: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// Frames of groups that there was no room for.
    pub(crate) missed: AtomicU64,
    pub(super) waking: AtomicBool,
    pub(super) shutting: AtomicBool,
    pub(super) closing: AtomicBool,
    pub(super) aborting: AtomicBool,
}

/// What lies in the mailbox of a worker.
#[derive(Debug)]
pub(crate) enum Letter {
    To(Arc<Line>, What),
    /// For all members of a group that the worker has.
    All(Publication),
}

/// What one session is told.
#[derive(Debug)]
pub(crate) enum What {
    Send(Frame),
    Wake,
    ShutdownWrite,
    Close,
    Abort,
    /// So many bytes wait for it, and the limit is this.
    Overflow {
        bytes: usize,
        limit: usize,
    },
    /// Look whether there is room again for somebody who was told `Full`.
    Room,
}

impl Letter {
    /// So many of its frames are done with.
    pub(crate) fn done(&self) -> usize {
        match self {
            Letter::To(..) => 0,
            Letter::All(publication) => publication.done,
        }
    }

    pub(crate) fn set_done(&mut self, done: usize) {
        if let Letter::All(publication) = self {
            publication.done = done;
        }
    }
}

impl Line {
    /// The token of a session that no worker has yet.
    pub(crate) const NOWHERE: u64 = u64::MAX;

    pub(crate) fn new(
        token: u64,
        letters: Arc<Mailbox<Letter>>,
        peer: Peer,
        bytes_max: usize,
    ) -> Line {
        Line {
            token: AtomicU64::new(token),
            letters,
            peer,
            bytes_max,
            queued: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            missed: AtomicU64::new(0),
            waking: AtomicBool::new(false),
            shutting: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
        }
    }

    pub(crate) fn token(&self) -> u64 {
        self.token.load(Ordering::Acquire)
    }

    /// The session has moved into this place.
    pub(crate) fn settle_at(&self, token: u64) {
        self.token.store(token, Ordering::Release);
    }

    pub(super) fn room(&self) -> usize {
        let waiting = self.queued.load(Ordering::SeqCst) + self.unsent.load(Ordering::SeqCst);
        self.bytes_max.saturating_sub(waiting)
    }

    pub(super) fn letters(&self) -> &Arc<Mailbox<Letter>> {
        &self.letters
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends the session at once: with `what`, unless an end is on its way already.
    pub(super) fn cut(self: &Arc<Line>, what: What) {
        self.once(&self.aborting, what);
    }

    pub(super) fn send(self: &Arc<Line>, frame: Frame) -> Result<(), SendError> {
        // What comes behind a close that is on its way would be dropped in silence.
        if [&self.closed, &self.shutting, &self.closing]
            .iter()
            .any(|end| end.load(Ordering::Acquire))
        {
            return Err(SendError::Closed);
        }
        let length = frame.bytes.len();
        if length > self.bytes_max {
            return Err(SendError::TooLarge { bytes: length, limit: self.bytes_max });
        }
        let queued = self.queued.fetch_add(length, Ordering::SeqCst);
        let fits = queued + length + self.unsent.load(Ordering::SeqCst) <= self.bytes_max;
        if fits && self.post(What::Send(frame)).is_ok() {
            return Ok(());
        }
        self.queued.fetch_sub(length, Ordering::SeqCst);
        self.starve();
        Err(SendError::Full)
    }

    /// Has `on_drain` called once there is room.
    pub(super) fn starve(self: &Arc<Line>) {
        if !self.starved.swap(true, Ordering::SeqCst) {
            self.post_beyond(What::Room);
        }
    }

    /// Sends a letter of which one at a time is enough.
    pub(super) fn once(self: &Arc<Line>, pending: &AtomicBool, what: What) {
        if !self.closed.load(Ordering::Acquire) && !pending.swap(true, Ordering::SeqCst) {
            self.post_beyond(what);
        }
    }

    /// `on_wake` is about to be called: later wakes are new ones.
    pub(crate) fn woken(&self) {
        // A swap, so that `on_wake` sees what was done before a wake that was merged into this one.
        self.waking.swap(false, Ordering::AcqRel);
    }

    /// The session closed its sending side itself: remotes cannot send either.
    pub(crate) fn shut(&self) {
        self.shutting.store(true, Ordering::SeqCst);
    }

    fn post(self: &Arc<Line>, what: What) -> Result<(), Full> {
        self.letters.push(Letter::To(self.clone(), what))
    }

    fn post_beyond(self: &Arc<Line>, what: What) {
        self.letters.push_beyond(Letter::To(self.clone(), what));
    }
}

/// A frame as it was encoded, shared by all who get it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Arc<Vec<u8>>,
    /// What a datagram sends of it.
    pub(crate) body: Range<usize>,
}

impl Frame {
    /// Encodes a frame, into the memory of the thread's last one if that has been everywhere.
    pub(super) fn encode<C: Codec>(codec: &C, item: &C::Item) -> Result<Frame, FrameError> {
        let mut bytes = LAST.try_with(Cell::take).ok().flatten().unwrap_or_default();
        if Arc::strong_count(&bytes) > 1 {
            // It still waits somewhere; the next one may be as long.
            bytes = Arc::new(Vec::with_capacity(bytes.len()));
        }
        let own = Arc::make_mut(&mut bytes);
        own.clear();
        let body = codec.encode(item, own)?;
        // A codec of the user's may return any range.
        let end = body.end.min(own.len());
        if bytes.capacity() <= KEPT_BYTES_MAX {
            // It fails only while the thread ends.
            let _ = LAST.try_with(|last| last.set(Some(bytes.clone())));
        }
        Ok(Frame { bytes, body: body.start.min(end)..end })
    }
}

thread_local! {
    static LAST: Cell<Option<Arc<Vec<u8>>>> = const { Cell::new(None) };
}

/// What a thread keeps between frames.
const KEPT_BYTES_MAX: usize = 64 * 1024;
