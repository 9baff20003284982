//! Sessions: all decisions about one conversation, with no descriptor and no clock.
//!
//! An engine reads bytes and hands them in; it writes what the session has to say and tells how that
//! went. Every verb may call the handler.
//!
//! ```text
//!              verbs in                        decisions                     verbs out
//!   open, receive(bytes), eof, resume ──►  ┌──────────────┐  ──►  flush(write): bytes or datagrams
//!   receive_message(datagram)              │ Session      │  ──►  wants_input, wants_output
//!   deliver(letter), tick, stop       ──►  │  state       │  ──►  deadline
//!   flush: the kernel took n bytes    ──►  │  protocol ───┼──► codec, handler
//!   lost(error)                            └──────────────┘  ──►  wants_shutdown, is_over, conclude
//! ```
//!
//! [`State`] is the same for every protocol; [`Protocol`] hides codec and handler behind one virtual
//! call a verb, none a frame. Both are one allocation.

mod end;
mod flush;
mod post;
mod protocol;
mod riders;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use flush::{Answer, Spare};
pub(crate) use protocol::Protocol;

use crate::addr::{Peer, Transport};
use crate::codec::{Codec, Edge, FrameError};
use crate::contain::{Panic, contain};
use crate::handler::{CloseReason, Flags, Handler, Letter, Phase, Side, State, Turn};
use crate::limits::Limits;
use crate::observer::{Entry, Watched};
use protocol::{Call, Progress, Speech};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One conversation. See the module.
pub(crate) struct Session<P: ?Sized = dyn Protocol> {
    state: State,
    /// Input that was read and not handled: an unfinished frame, or whole ones behind `pending`.
    kept: Vec<u8>,
    /// How long the unfinished frame in `kept` will be, zero if unknown.
    need: u32,
    /// When the unfinished frame in `kept` began, in milliseconds that wrap around; what is in there
    /// otherwise does not count.
    began: u32,
    /// The listener that it came in by, and who looks.
    entry: Option<Entry>,
    protocol: P,
}

impl Session {
    pub(crate) fn new<C: Codec, H: Handler<C>>(
        codec: C,
        handler: H,
        peer: Peer,
        side: Side,
        limits: Arc<Limits>,
    ) -> Box<Session> {
        Box::new(Session {
            state: State::new(peer, side, limits),
            kept: Vec::new(),
            need: 0,
            began: 0,
            entry: None,
            protocol: Speech { codec, handler },
        })
    }

    /// Where the peer came in, and who looks.
    pub(crate) fn seen(&mut self, entry: Option<Entry>) {
        self.entry = entry;
    }

    fn watched(&self) -> Option<&Watched> {
        self.entry.as_ref()?.watched()
    }

    pub(crate) fn open(&mut self, turn: &mut Turn) {
        self.state.begin(turn.at);
        if let (Side::Adopted, Some(watched)) = (self.state.side, self.watched()) {
            watched.adopted(&self.state.peer);
        }
        self.call(Call::Open, turn);
        if !self.has(Flags::PANICKED) {
            self.state.flags.set(Flags::OPENED);
        }
    }

    /// Hands in bytes of a stream. Returns how many were taken; the rest is to be handed in again
    /// once the output is flushed, or kept.
    #[inline(always)]
    pub(crate) fn receive(&mut self, bytes: &[u8], turn: &mut Turn) -> usize {
        if self.state.phase != Phase::Open {
            return self.discard(bytes);
        }
        if self.has(Flags::SPOKEN) {
            self.state.read = turn.at;
        }
        let at = match self.kept.is_empty() {
            true => 0,
            false => self.receive_behind_kept(bytes, turn),
        };
        if !self.kept.is_empty() {
            return at;
        }
        let progress = self.frames(&bytes[at..], Edge::Open, turn);
        let at = at + progress.used;
        if progress.hungry && at < bytes.len() {
            self.kept.extend_from_slice(&bytes[at..]);
            self.begin_frame(turn);
            return bytes.len();
        }
        at
    }

    /// What comes in after the last frame counts only as long as the peer may be reading.
    #[cold]
    fn discard(&mut self, bytes: &[u8]) -> usize {
        if self.state.phase == Phase::Lingering {
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.state.left = self.state.left.saturating_sub(count);
        }
        bytes.len()
    }

    /// Finishes what was kept. Returns how many bytes that took; if something is kept still, no more are
    /// to be given.
    #[inline(never)]
    fn receive_behind_kept(&mut self, bytes: &[u8], turn: &mut Turn) -> usize {
        let mut at: usize = 0;
        // An unfinished frame is given as much as finishes it, and not much more.
        while !self.kept.is_empty() {
            let old = self.kept.len();
            let need = self.need as usize;
            let step = if need > old { need - old } else { old.max(STEP) };
            let end = bytes.len().min(at.saturating_add(step));
            self.kept.extend_from_slice(&bytes[at..end]);
            let progress = self.frames_of_kept(Edge::Open, turn);
            if progress.used >= old {
                at += progress.used - old;
                self.kept = Vec::new();
                continue;
            }
            if !progress.hungry {
                self.kept.truncate(old);
            }
            // A codec that looks ahead may end a frame before the end of what was kept.
            self.kept.drain(..progress.used);
            if !progress.hungry {
                return at;
            }
            if progress.used > 0 {
                self.begin_frame(turn);
            }
            at = end;
            if at == bytes.len() {
                return at;
            }
        }
        at
    }

    /// Keeps bytes that [`receive`](Session::receive) did not take, for
    /// [`resume`](Session::resume).
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        if self.state.phase == Phase::Open {
            self.kept.extend_from_slice(rest);
            self.state.flags.set(Flags::PENDING);
        }
    }

    /// Whether [`resume`](Session::resume) has something to do now.
    pub(crate) fn wants_turn(&self) -> bool {
        let input = self.has(Flags::PENDING)
            && !self.has(Flags::PAUSED.and(Flags::STOPPING))
            && !self.state.is_held_up();
        self.state.phase == Phase::Open && (input || self.can_drain())
    }

    /// Works off input that was kept.
    pub(crate) fn resume(&mut self, turn: &mut Turn) {
        if !self.has(Flags::PENDING) {
            return;
        }
        let edge = match self.takes_records() {
            true => Edge::Message,
            false if self.has(Flags::EOF) => Edge::Eof,
            false => Edge::Open,
        };
        let progress = self.frames_of_kept(edge, turn);
        self.kept.drain(..progress.used);
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        if progress.hungry {
            self.state.flags.clear(Flags::PENDING.and(Flags::WATCHED));
            self.begin_frame(turn);
            if self.has(Flags::EOF) {
                self.call(Call::Eof, turn);
            }
        }
    }

    /// Hands in one datagram. False if it was dropped, as a whole or from a bad frame on.
    pub(crate) fn receive_message(&mut self, message: &[u8], turn: &mut Turn) -> bool {
        // One that asks and does not read is not silent, and stalls all the same.
        self.state.read = turn.at;
        self.frames(message, Edge::Message, turn).hungry
    }

    /// Hands in one message of a connection.
    pub(crate) fn receive_record(&mut self, message: &[u8], turn: &mut Turn) {
        if self.state.phase != Phase::Open {
            self.receive(message, turn);
            return;
        }
        if self.has(Flags::SPOKEN) {
            self.state.read = turn.at;
        }
        let progress = self.frames(message, Edge::Message, turn);
        if !progress.hungry && progress.used < message.len() {
            self.keep(&message[progress.used..]);
        }
    }

    /// A message was longer than the engine can read at once.
    pub(crate) fn receive_too_long(&mut self, length: usize, limit: usize) {
        self.state.finish(CloseReason::Frame(FrameError::TooLong { length, limit }));
    }

    /// Whether input comes as the messages of a connection.
    pub(crate) fn takes_records(&self) -> bool {
        self.state.peer.transport() == Transport::UnixSeqPacket
    }

    /// Whether [`receive`](Session::receive) would take more within this turn.
    pub(crate) fn can_go_on(&self, turn: &Turn) -> bool {
        self.state.phase != Phase::Open || self.state.can_take(turn)
    }

    /// The peer has closed its side.
    pub(crate) fn eof(&mut self, turn: &mut Turn) {
        if self.state.phase != Phase::Open {
            // It was not the peer that ended the session.
            self.state.note_reason(CloseReason::Finished);
        }
        self.state.flags.set(Flags::EOF);
        match self.state.phase {
            Phase::Open if self.kept.is_empty() => self.call(Call::Eof, turn),
            Phase::Open => {
                self.state.flags.set(Flags::PENDING);
                self.resume(turn);
            }
            Phase::Finishing => {}
            Phase::Lingering | Phase::Ended => self.state.phase = Phase::Ended,
        }
    }

    /// The server is stopping. The handler is told the first time.
    pub(crate) fn stop(&mut self, turn: &mut Turn) {
        if !self.has(Flags::STOPPING) {
            self.state.flags.set(Flags::STOPPING);
            self.call(Call::Stop, turn);
        }
    }

    /// Whether there is nothing to ask: see [`State::is_steady`].
    pub(crate) fn is_steady(&self) -> bool {
        self.state.is_steady()
    }

    fn has(&self, flag: Flags) -> bool {
        self.state.flags.has(flag)
    }

    /// The network failed.
    pub(crate) fn lost(&mut self, error: io::Error) {
        if self.state.phase == Phase::Lingering {
            // All was said: it was not the network that ended the session.
            self.state.note_reason(CloseReason::Finished);
        }
        self.state.end(CloseReason::Transport(error));
    }

    /// The engine gives the session up. True if that cuts it off: one that has said everything and
    /// only lingers is not.
    pub(crate) fn force(&mut self, reason: CloseReason) -> bool {
        let unfinished = self.state.phase < Phase::Lingering;
        if unfinished {
            self.state.abort(reason);
        } else {
            self.state.phase = Phase::Ended;
        }
        unfinished
    }

    /// Bytes that the kernel has not taken, and those that remotes have sent and that are on their way.
    pub(crate) fn unsent(&self) -> u64 {
        let queued = self.state.line.as_ref().map_or(0, |line| line.queued.load(Ordering::SeqCst));
        let kept = self.state.backlog.as_ref().map_or(0, |backlog| backlog.len());
        (queued + kept) as u64
    }

    /// Whether the engine should read.
    pub(crate) fn wants_input(&self) -> bool {
        match self.state.phase {
            Phase::Open => !self.has(DEAF) && !self.state.is_held_up(),
            Phase::Lingering => !self.has(Flags::EOF) && self.state.left > 0,
            Phase::Finishing | Phase::Ended => false,
        }
    }

    /// Whether the engine should wait until the kernel takes more.
    pub(crate) fn wants_output(&self) -> bool {
        self.state.backlog.is_some() && self.state.phase < Phase::Ended
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.phase == Phase::Ended
    }

    /// Whether to end by a reset.
    pub(crate) fn wants_reset(&self) -> bool {
        self.has(Flags::RESET)
    }

    /// Whether other threads can reach the session.
    pub(crate) fn has_remotes(&self) -> bool {
        self.state.line.is_some()
    }

    pub(crate) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.state.peer
    }

    fn call(&mut self, call: Call, turn: &mut Turn) {
        if self.state.phase != Phase::Open || self.has(Flags::PANICKED) {
            return;
        }
        let paused = self.has(Flags::PAUSED);
        let Session { state, protocol, .. } = self;
        if let Err(panic) = contain(|| protocol.call(call, state, turn)) {
            self.panicked(turn, &panic);
        }
        if paused && !self.has(Flags::PAUSED) {
            self.hear_again(turn);
        }
    }

    #[inline(always)]
    fn frames(&mut self, input: &[u8], edge: Edge, turn: &mut Turn) -> Progress {
        let Session { state, protocol, .. } = self;
        let run = AssertUnwindSafe(|| protocol.frames(input, edge, state, turn));
        let progress = catch_unwind(run).unwrap_or_else(|payload| {
            self.panicked(turn, &Panic::of(payload));
            Progress { used: input.len(), hungry: true, need: 0 }
        });
        self.need = u32::try_from(progress.need).unwrap_or(u32::MAX);
        progress
    }

    fn frames_of_kept(&mut self, edge: Edge, turn: &mut Turn) -> Progress {
        let kept = std::mem::take(&mut self.kept);
        let progress = self.frames(&kept, edge, turn);
        self.kept = kept;
        progress
    }

    /// The handler has panicked: whole replies are still sent, the half one is cut off.
    #[cold]
    fn panicked(&mut self, turn: &mut Turn, panic: &Panic) {
        if let Some(watched) = self.watched() {
            watched.panicked(&self.state.peer, panic);
        }
        self.state.flags.set(Flags::PANICKED);
        turn.out.cut(turn.whole);
        self.state.finish(CloseReason::Panicked);
        // It may have finished first, and panicked then.
        self.state.note_reason(CloseReason::Panicked);
    }
}

/// Letters taken from a mailbox at once.
pub(crate) type Batch = VecDeque<Letter>;

/// Whoever has one of these takes no input.
const DEAF: Flags = Flags::EOF.and(Flags::STOPPING).and(Flags::PAUSED).and(Flags::PENDING);

/// How much of a read an unfinished frame of unknown length is given at first.
const STEP: usize = 512;
