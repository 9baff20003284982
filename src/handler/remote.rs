//! Remotes: speaking to a session from elsewhere.

use super::group::{Frame, Publication};
use crate::addr::Peer;
use crate::codec::{Codec, FrameError};
use crate::mailbox::Mailbox;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A handle to one session that any thread may hold and any thread may use.
///
/// It is a mailbox, not a pointer: nothing here blocks, and the session may be over. Frames are
/// encoded on the caller's thread, wait in the mailbox of the worker that owns the session and are
/// sent in the order of the calls. What waits for one session is bounded, together with its unsent
/// output, by [`Limits::output_bytes_max`](crate::limits::Limits::output_bytes_max).
///
/// When [`send`](Remote::send) says [`SendError::Full`], the session's `on_drain` is called once
/// there is room again; it can [`wake`](Remote::wake) the side that waits. So a relay drops nothing.
///
/// Got by [`Context::remote`](super::Context::remote). A clone speaks to the same session.
pub struct Remote<C: Codec> {
    line: Arc<Line>,
    codec: C,
}

impl<C: Codec> Remote<C> {
    pub(crate) fn new(line: Arc<Line>, codec: C) -> Remote<C> {
        Remote { line, codec }
    }

    /// Queues a frame for the session's peer. Never blocks.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when it does not fit now (keep it until the session's `on_drain`), [`SendError::TooLarge`] when it never will,
    /// [`SendError::Closed`] when the session is over, and the codec's own errors.
    pub fn send(&self, item: &C::Item) -> Result<(), SendError> {
        let mut bytes = Vec::new();
        let body = self.codec.encode(item, &mut bytes).map_err(SendError::Frame)?;
        // A codec of the user's may return any range.
        let end = body.end.min(bytes.len());
        self.line.send(Frame { body: body.start.min(end)..end, bytes: bytes.into() })
    }

    /// Has the session's handler called with `on_wake`, soon and once for any number of calls.
    pub fn wake(&self) {
        self.line.once(&self.line.waking, What::Wake);
    }

    /// Closes the session's sending side once all that was queued is sent; the peer may go on
    /// sending. This is how a relay hands an end of stream on.
    pub fn shutdown_write(&self) {
        self.line.once(&self.line.shutting, What::ShutdownWrite);
    }

    /// Finishes the session: what was queued is sent, then it is closed.
    pub fn close(&self) {
        self.line.once(&self.line.closing, What::Close);
    }

    /// Ends the session at once: unsent output is lost, and a TCP peer sees a reset. This is how a
    /// relay hands a reset on.
    pub fn abort(&self) {
        self.line.cut(What::Abort);
    }

    /// How many bytes of frames fit before [`SendError::Full`]: the hard limit less what waits.
    pub fn room(&self) -> usize {
        self.line.room()
    }

    /// How many frames of [`Group`](super::Group)s the session has missed because its peer reads slowly.
    pub fn missed(&self) -> u64 {
        self.line.missed.load(Ordering::Relaxed)
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.line.closed.load(Ordering::Acquire)
    }

    /// Who the session's peer is.
    pub fn peer(&self) -> &Peer {
        &self.line.peer
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl<C: Codec> Clone for Remote<C> {
    fn clone(&self) -> Remote<C> {
        Remote { line: self.line.clone(), codec: self.codec.clone() }
    }
}

impl<C: Codec> fmt::Debug for Remote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("peer", &self.line.peer)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

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
    waking: AtomicBool,
    shutting: AtomicBool,
    closing: AtomicBool,
    aborting: AtomicBool,
}

/// What lies in the mailbox of a worker.
#[derive(Debug)]
pub(crate) enum Letter {
    To(Arc<Line>, What),
    /// A frame for all members of a group that the worker has.
    All(Box<Publication>),
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

    fn room(&self) -> usize {
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

    fn send(self: &Arc<Line>, frame: Frame) -> Result<(), SendError> {
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
    fn once(self: &Arc<Line>, pending: &AtomicBool, what: What) {
        if !self.closed.load(Ordering::Acquire) && !pending.swap(true, Ordering::SeqCst) {
            self.post_beyond(what);
        }
    }

    /// `on_wake` is about to be called: later wakes are new ones.
    pub(crate) fn woken(&self) {
        self.waking.store(false, Ordering::SeqCst);
    }

    /// The session closed its sending side itself: remotes cannot send either.
    pub(crate) fn shut(&self) {
        self.shutting.store(true, Ordering::SeqCst);
    }

    fn post(self: &Arc<Line>, what: What) -> Result<(), crate::mailbox::Full> {
        self.letters.push(Letter::To(self.clone(), what))
    }

    fn post_beyond(self: &Arc<Line>, what: What) {
        self.letters.push_beyond(Letter::To(self.clone(), what));
    }
}
