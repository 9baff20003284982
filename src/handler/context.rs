//! The context of a callback: the session's way to its peer and to its engine.

use super::letter::SendError;
use super::reason::CloseReason;
use super::remote::Remote;
use super::riders::{DESCRIPTORS_MAX, Riders};
use super::state::{Flags, State, Turn};
use crate::addr::{Credentials, Peer};
use crate::codec::Codec;
use crate::descriptors::Descriptors;
use crate::timers::{NEVER, later};
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

/// Which directions have been silent: see [`Context::idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// Both: [`idle_timeout`](crate::limits::Limits::idle_timeout), and
    /// [`peer_idle_timeout`](crate::limits::Limits::peer_idle_timeout) for datagram peers.
    Both,
    /// Nothing came: [`idle_read_timeout`](crate::limits::Limits::idle_read_timeout).
    Read,
    /// Nothing was sent: [`idle_write_timeout`](crate::limits::Limits::idle_write_timeout).
    Write,
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
            Ok(()) | Err(SendError::Closed | SendError::Descriptors) => {}
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
        if self.lend(item, limit) {
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
        if unsent > self.state.limits.low_mark() {
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

    /// Who the peer is, as the kernel knows: over Unix connections of a server that has asked for it by
    /// [`Server::admit_unix`](crate::Server::admit_unix), else `None`.
    pub fn credentials(&self) -> Option<Credentials> {
        self.state.unix()?.credentials
    }

    /// The descriptors that came with this frame, close-on-exec, if the server passes them
    /// ([`Server::descriptors`](crate::Server::descriptors)).
    ///
    /// With seqpacket they are those of the frame's message. A stream does not say on which of its bytes
    /// they rode: they are those that came since the frame before last, or with the same read. What nobody
    /// takes is closed after the turn, or once the frame that had begun with it was handled.
    pub fn take_descriptors(&mut self) -> Descriptors {
        self.state.riders_mut().map(Riders::take).unwrap_or_default()
    }

    /// Sends a frame to the peer, and with its first byte these descriptors, 16 at most, if the server
    /// passes them ([`Server::descriptors`](crate::Server::descriptors)). They stay open until they are
    /// sent. A peer that refuses them ends the session, with [`CloseReason::Transport`].
    ///
    /// # Errors
    ///
    /// As [`try_send`](Context::try_send), and [`SendError::Descriptors`]; [`SendError::Full`] also when
    /// more than 64 descriptors would wait. They are closed then.
    pub fn send_with_descriptors(
        &mut self,
        item: &C::Item,
        descriptors: impl Into<Descriptors>,
    ) -> Result<(), SendError> {
        let descriptors = descriptors.into();
        if descriptors.is_empty() {
            return self.try_send(item);
        }
        match self.state.riders() {
            Some(_) if descriptors.len() > DESCRIPTORS_MAX => return Err(SendError::Descriptors),
            None => return Err(SendError::Descriptors),
            Some(riders) if !riders.has_room(descriptors.len()) => {
                self.state.flags.set(Flags::PRESSED);
                return Err(SendError::Full);
            }
            Some(_) => {}
        }
        let before = self.ahead();
        self.try_send(item)?;
        if self.ahead() == before {
            return Err(SendError::Descriptors);
        }
        if let Some(riders) = self.state.riders_mut() {
            riders.attach(before, descriptors);
            self.state.flags.set(Flags::REMOTE);
        }
        Ok(())
    }

    /// What is to be sent so far: messages where there are messages, else bytes.
    fn ahead(&self) -> usize {
        if !self.state.keeps_messages() {
            return self.state.unsent(&self.turn.out);
        }
        let backlog = self.state.backlog.as_ref().map_or(0, |backlog| backlog.datagrams());
        backlog + self.turn.out.datagrams()
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
        self.turn.now()
    }

    /// Has `on_timer` called once, when this much time has passed. A timer set before is replaced.
    /// The resolution is a millisecond, and so is the least: even a timer of no time leaves others
    /// their turn before it runs out.
    pub fn set_timer(&mut self, after: Duration) {
        // A time that the clock cannot express never comes.
        self.state.timer = later(self.turn.at, after);
        self.state.flags.set(Flags::REARM);
    }

    /// Takes the timer back.
    pub fn clear_timer(&mut self) {
        self.state.timer = NEVER;
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

    /// Ends the session as idle, for the reason that [`idle`](Context::idle) says: what `on_idle` does
    /// by default.
    pub fn close_idle(&mut self) {
        self.state.finish(match self.turn.idle {
            Idle::Both => CloseReason::IdleTimeout,
            Idle::Read => CloseReason::IdleReadTimeout,
            Idle::Write => CloseReason::IdleWriteTimeout,
        });
    }

    /// Which idle limit has run out. For `on_idle`; elsewhere it is that of both directions.
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::handler::{Context, Handler, Idle, Outcome};
    ///
    /// struct Beating;
    ///
    /// impl Handler<Lines> for Beating {
    ///     fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
    ///         cx.send(line);
    ///         Ok(())
    ///     }
    ///     fn on_idle(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
    ///         match cx.idle() {
    ///             Idle::Write => cx.send("are you there?"),
    ///             _ => cx.close_idle(),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn idle(&self) -> Idle {
        self.turn.idle
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
