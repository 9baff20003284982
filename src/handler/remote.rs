//! Remotes: speaking to a session from elsewhere.

use super::letter::{Frame, Line, SendError, What};
use crate::addr::Peer;
use crate::codec::Codec;
use crate::sync::atomic::Ordering;
use std::fmt;
use std::sync::Arc;

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
        let frame = Frame::encode(&self.codec, item).map_err(SendError::Frame)?;
        self.line.send(frame)
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
        self.line.peer()
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
            .field("peer", self.line.peer())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
