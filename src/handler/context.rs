//! The context of a callback: the session's way to its peer and to its engine.

use super::letter::SendError;
use super::reason::CloseReason;
use super::remote::Remote;
use super::state::{Flags, State, TICK, Turn};
use crate::addr::Peer;
use crate::codec::Codec;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Which side of a connection a session is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The server accepted the connection, or heard the datagram peer.
    Accepted,
    /// The program made the connection and had the engine adopt it.
    Adopted,
}

/// What a callback can do. Nothing here blocks.
///
/// Output is collected and leaves with one system call when the callbacks of a turn are through.
pub struct Context<'d, C: Codec> {
    state: &'d mut State,
    codec: &'d C,
    turn: &'d mut Turn,
}

impl<'d, C: Codec> Context<'d, C> {
    pub(crate) fn new(state: &'d mut State, codec: &'d C, turn: &'d mut Turn) -> Context<'d, C> {
        Context { state, codec, turn }
    }

    /// Sends a frame to the peer.
    ///
    /// If it cannot be sent, the session ends and says why in `on_close`: beyond
    /// [`output_bytes_max`](crate::limits::Limits::output_bytes_max) with
    /// [`CloseReason::OutputFull`], when the codec refuses it with [`CloseReason::Frame`]. A handler
    /// that would rather know uses [`try_send`](Context::try_send). After
    /// [`finish`](Context::finish) a frame is dropped.
    pub fn send(&mut self, item: &C::Item) {
        match self.try_send(item) {
            Ok(()) | Err(SendError::Closed) => {}
            Err(SendError::Frame(error)) => self.state.finish(CloseReason::Frame(error)),
            Err(SendError::Full | SendError::TooLarge { .. }) => {
                let limit = self.state.limits.output_bytes_max;
                let bytes = self.state.unsent(&self.turn.out);
                self.state.abort(CloseReason::OutputFull { bytes, limit });
            }
        }
    }

    /// Sends a frame to the peer if it can be sent, and otherwise changes nothing.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] beyond the hard limit (go on in `on_drain`), [`SendError::TooLarge`] when
    /// it never fits, [`SendError::Closed`] after `finish` or `shutdown_write`,
    /// [`SendError::Frame`] when the codec refuses it.
    pub fn try_send(&mut self, item: &C::Item) -> Result<(), SendError> {
        if !self.state.can_send() {
            return Err(SendError::Closed);
        }
        let limit = self.state.limits.output_bytes_max;
        let datagram = self.state.keeps_messages();
        if !datagram && self.lend(item, limit) {
            return Ok(());
        }
        let encode = |bytes: &mut Vec<u8>| self.codec.encode(item, bytes);
        let mark = self.turn.out.push(datagram, encode).map_err(SendError::Frame)?;
        let unsent = self.state.unsent(&self.turn.out);
        if unsent > limit {
            self.state.flags.set(Flags::PRESSED);
            self.turn.out.take_back(mark, datagram);
            let bytes = unsent - self.state.unsent(&self.turn.out);
            return Err(if bytes > limit {
                SendError::TooLarge { bytes, limit }
            } else {
                SendError::Full
            });
        }
        self.turn.whole = self.turn.out.mark();
        self.note_sent(unsent);
        Ok(())
    }

    /// Sends a frame from where it was read, if that can be done: what an echo says.
    #[inline]
    fn lend(&mut self, item: &C::Item, limit: usize) -> bool {
        let Some(bytes) = self.codec.as_is(item) else { return false };
        let lent = self.state.backlog.is_none()
            && bytes.len() <= limit
            && self.turn.out.lend(bytes, &self.turn.input);
        if lent {
            self.note_sent(bytes.len());
        }
        lent
    }

    fn note_sent(&mut self, unsent: usize) {
        if unsent > self.state.low_mark() {
            self.state.flags.set(Flags::PRESSED);
        }
        self.state.flags.set(Flags::ANSWERED);
    }

    /// How many bytes of frames [`send`](Context::send) takes before the hard limit.
    ///
    /// A long reply is paced with it: send while there is room, go on in `on_drain`.
    pub fn room(&self) -> usize {
        self.state.limits.output_bytes_max.saturating_sub(self.state.unsent(&self.turn.out))
    }

    /// How many frames of [`Group`](super::Group)s the session has missed because its peer reads slowly.
    pub fn missed(&self) -> u64 {
        self.state.line.as_ref().map_or(0, |line| line.missed.load(Ordering::Relaxed))
    }

    /// Who the peer is.
    pub fn peer(&self) -> &Peer {
        &self.state.peer
    }

    /// Which side of the connection we are.
    pub fn side(&self) -> Side {
        self.state.side
    }

    /// Whether the server is stopping. True as soon as [`stop`](crate::server::ServerHandle::stop) was
    /// called: also in the middle of a long callback, before `on_stop`.
    pub fn is_stopping(&self) -> bool {
        self.state.flags.has(Flags::STOPPING) || self.turn.stopping.load(Ordering::Relaxed)
    }

    /// The time of this turn. One reading serves a whole turn, so it costs nothing.
    pub fn now(&self) -> Instant {
        self.turn.now
    }

    /// Has `on_timer` called once, when this much time has passed. A timer set before is replaced.
    /// The resolution is a millisecond, and so is the least: even a timer of no time leaves others
    /// their turn before it runs out.
    pub fn set_timer(&mut self, after: Duration) {
        // A time that the clock cannot express never comes.
        self.state.timer = self.turn.now.checked_add(after.max(TICK));
        self.state.flags.set(Flags::REARM);
    }

    /// Takes the timer back.
    pub fn clear_timer(&mut self) {
        self.state.timer = None;
    }

    /// Takes no more frames until [`resume`](Context::resume). The peer is held back by its full
    /// socket buffers; datagrams that come meanwhile are dropped.
    pub fn pause(&mut self) {
        self.state.flags.set(Flags::PAUSED);
    }

    /// Takes frames again.
    pub fn resume(&mut self) {
        self.state.flags.clear(Flags::PAUSED);
    }

    /// Ends the session in an orderly way: takes no more frames, sends what is to be sent, closes
    /// the sending side, lets the peer read the last reply, closes.
    pub fn finish(&mut self) {
        self.state.finish_plainly();
    }

    /// Closes only the sending side, once all is sent (TCP: FIN). Frames go on arriving; the session
    /// ends when the peer closes its side too.
    pub fn shutdown_write(&mut self) {
        self.state.flags.set(Flags::SHUTDOWN);
        if let Some(line) = &self.state.line {
            line.shut();
        }
    }

    /// Ends the session at once. Unsent output is lost, and a TCP peer sees a reset.
    pub fn abort(&mut self) {
        self.state.abort(CloseReason::Aborted);
    }

    /// Ends the session as idle: what `on_idle` does by default.
    pub fn close_idle(&mut self) {
        self.state.finish(CloseReason::IdleTimeout);
    }

    /// A handle to this session for other threads and other sessions.
    ///
    /// On the threads engine a connection waits in a plain blocking read until its first remote is
    /// made; from then on it waits for its mailbox as well.
    pub fn remote(&mut self) -> Remote<C> {
        Remote::new(self.state.line(&self.turn.letters, self.turn.token), self.codec.clone())
    }
}

impl<C: Codec> fmt::Debug for Context<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("peer", &self.state.peer).finish_non_exhaustive()
    }
}
