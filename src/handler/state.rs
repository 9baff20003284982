//! The state of a session that does not depend on its protocol.
//!
//! The session decides with it, the [`Context`](super::Context) lends it to callbacks. It is kept
//! small, because an idle connection is little else.

use super::Side;
use super::letter::{Letter, Line};
use super::reason::CloseReason;
use crate::addr::Peer;
use crate::buffer::Out;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far a session has come. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Frames go to the handler.
    Open,
    /// No more frames; output is being sent, then the sending side is closed.
    Finishing,
    /// The sending side is closed; input is thrown away so that the last reply survives.
    Lingering,
    /// Over: the engine takes it apart.
    Ended,
}

/// What a worker lends to its sessions, to each for a turn.
pub(crate) struct Turn {
    pub(crate) now: Instant,
    pub(crate) out: Box<Out>,
    pub(crate) letters: Arc<Mailbox<Letter>>,
    pub(crate) token: u64,
    pub(crate) frames_left: u32,
    /// Counts the frames that codecs skip.
    pub(crate) skipped: Arc<AtomicU64>,
    /// The server is stopping, whether the session was told or not.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Output up to here is whole frames; a panic cuts off the rest.
    pub(crate) whole: usize,
    /// Where the bytes lie that were read, if any: output may be lent from there.
    pub(crate) input: Range<usize>,
}

impl Turn {
    pub(crate) fn new(
        out: Box<Out>,
        letters: Arc<Mailbox<Letter>>,
        skipped: Arc<AtomicU64>,
        now: Instant,
    ) -> Turn {
        let (token, frames_left, whole) = (0, 0, out.mark());
        let stopping = Arc::default();
        Turn { now, out, letters, token, frames_left, skipped, stopping, whole, input: 0..0 }
    }

    /// The turn of the session at `token`, which has `input`.
    #[inline(always)]
    pub(crate) fn begin(&mut self, token: u64, frames: u32, input: &[u8]) {
        self.token = token;
        self.frames_left = frames;
        self.whole = self.out.mark();
        let start = input.as_ptr() as usize;
        self.input = start..start + input.len();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) peer: Peer,
    pub(crate) limits: Arc<Limits>,
    /// The last time that something happened which a limit waits for.
    pub(crate) last: Instant,
    /// The handler's own timer.
    pub(crate) timer: Option<Instant>,
    /// Output that the kernel did not take.
    pub(crate) backlog: Option<Box<Out>>,
    pub(crate) line: Option<Arc<Line>>,
    pub(crate) reason: Option<Box<CloseReason>>,
    /// While open: how long the unfinished frame that was kept will be, zero if unknown. While lingering:
    /// how much is still thrown away. One field, because of those there are as many as idle connections.
    pub(crate) expected: u32,
    pub(crate) phase: Phase,
    pub(crate) side: Side,
    pub(crate) flags: Flags,
}

/// Yes-or-no facts about a session, in one word, so that "nothing special" is one comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The peer is not connected: it is known by its address alone.
    pub(crate) const DATAGRAM: Flags = Flags(1);
    /// `on_open` has returned, so `on_close` is owed.
    pub(crate) const OPENED: Flags = Flags(1 << 1);
    /// The first whole frame has come.
    pub(crate) const SPOKEN: Flags = Flags(1 << 2);
    /// The handler takes no frames.
    pub(crate) const PAUSED: Flags = Flags(1 << 3);
    /// The server is stopping: no more frames.
    pub(crate) const STOPPING: Flags = Flags(1 << 4);
    /// The peer has closed its side.
    pub(crate) const EOF: Flags = Flags(1 << 5);
    /// Our side is to be closed once the output is sent.
    pub(crate) const SHUTDOWN: Flags = Flags(1 << 6);
    /// Our side is closed.
    pub(crate) const SHUT: Flags = Flags(1 << 7);
    /// Unsent output has been above the low mark: `on_drain` is owed.
    pub(crate) const PRESSED: Flags = Flags(1 << 8);
    pub(crate) const PANICKED: Flags = Flags(1 << 9);
    /// End by a reset rather than in an orderly way.
    pub(crate) const RESET: Flags = Flags(1 << 10);
    /// The input that was kept may hold whole frames.
    pub(crate) const PENDING: Flags = Flags(1 << 11);
    /// The input that was kept ends with the end of the stream.
    pub(crate) const LAST: Flags = Flags(1 << 12);
    /// The deadline may have moved earlier since the engine asked for it. Later does not matter.
    pub(crate) const REARM: Flags = Flags(1 << 13);
    /// Remotes exist.
    pub(crate) const REMOTE: Flags = Flags(1 << 14);
    /// The handler itself has sent since the kernel last took all output.
    pub(crate) const ANSWERED: Flags = Flags(1 << 15);

    pub(crate) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    pub(crate) fn clear(&mut self, flag: Flags) {
        self.0 &= !flag.0;
    }

    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flags({:#b})", self.0)
    }
}

impl State {
    pub(crate) fn new(peer: Peer, side: Side, limits: Arc<Limits>, now: Instant) -> State {
        let mut flags = Flags::REARM;
        if peer.transport().is_datagram() {
            flags.set(Flags::DATAGRAM);
        }
        if side == Side::Adopted {
            // We called it: it need not speak first.
            flags.set(Flags::SPOKEN);
        }
        State {
            expected: 0,
            peer,
            limits,
            last: now,
            timer: None,
            backlog: None,
            line: None,
            reason: None,
            phase: Phase::Open,
            side,
            flags,
        }
    }

    /// Open, has spoken, and nothing else is to be said about it: as most sessions are after most
    /// messages. The engine then has nothing to decide.
    pub(crate) fn is_steady(&self) -> bool {
        self.is_plain(STEADY)
    }

    /// As [`State::is_steady`], but for a reply of the handler that is to be sent.
    pub(crate) fn is_answering(&self) -> bool {
        self.is_plain(STEADY.and(Flags::ANSWERED))
    }

    fn is_plain(&self, flags: Flags) -> bool {
        self.phase == Phase::Open
            && self.flags.and(Flags::DATAGRAM) == flags.and(Flags::DATAGRAM)
            && self.backlog.is_none()
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.flags.has(Flags::DATAGRAM)
    }

    /// Whether every write is a message, connected or not: output keeps the edges of frames.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.peer.transport().keeps_messages()
    }

    /// Notes the first whole frame, from which on the idle limit counts.
    pub(crate) fn note_frame(&mut self, now: Instant) {
        if !self.flags.has(Flags::SPOKEN) {
            self.note_first_frame(now);
        }
    }

    #[cold]
    fn note_first_frame(&mut self, now: Instant) {
        self.flags.set(Flags::SPOKEN);
        self.last = now;
        let limits = &self.limits;
        let (idle, first) = (limits.idle_timeout, limits.first_message_timeout);
        if idle.is_some_and(|idle| first.is_none_or(|first| idle < first)) {
            self.flags.set(Flags::REARM);
        }
    }

    /// Unsent bytes, those of this turn in `out` included.
    pub(crate) fn unsent(&self, out: &Out) -> usize {
        out.len() + self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Whether what the handler sends can still reach the peer.
    pub(crate) fn can_send(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has(Flags::SHUTDOWN)
    }

    /// Whether another frame may be handled in this turn.
    pub(crate) fn can_take(&self, turn: &Turn) -> bool {
        self.phase == Phase::Open
            && !self.flags.has(Flags::PAUSED.and(Flags::STOPPING))
            && turn.frames_left > 0
            && (!self.is_held_up() || self.is_datagram())
            && (turn.out.is_empty() || turn.out.len() < self.high_mark())
    }

    /// Whether input waits until the peer has read its replies.
    ///
    /// What remotes sent is no reply and holds nothing up: two relays that stopped reading because of
    /// what goes the other way would wait for each other for ever. Remotes are told when it is full.
    pub(crate) fn is_held_up(&self) -> bool {
        self.backlog.is_some() && self.flags.has(Flags::ANSWERED)
    }

    /// Ends the session in an orderly way: output is sent first.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        if self.phase == Phase::Open {
            self.close_output();
            self.reason.get_or_insert_with(|| Box::new(reason));
        }
    }

    /// Ends the session now; unsent output is lost.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Ended;
        self.reason.get_or_insert_with(|| Box::new(reason));
    }

    /// As [`State::finish`], where the reason is plain: the peer closed, or else the handler finished.
    pub(crate) fn finish_plainly(&mut self) {
        if self.phase == Phase::Open {
            self.close_output();
        }
    }

    /// No more frames in, and none from the handler or its remotes out.
    fn close_output(&mut self) {
        self.phase = Phase::Finishing;
        self.flags.set(Flags::REARM);
        if let Some(line) = &self.line {
            line.shut();
        }
    }

    /// As [`State::end`], and the peer is told by a reset where the transport has one.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        self.flags.set(Flags::RESET);
        self.end(reason);
    }

    /// The part that remotes share; made when the first one is asked for.
    pub(crate) fn line(&mut self, letters: &Arc<Mailbox<Letter>>, token: u64) -> Arc<Line> {
        self.flags.set(Flags::REMOTE);
        let line = self.line.get_or_insert_with(|| {
            let max = self.limits.output_bytes_max;
            Arc::new(Line::new(token, letters.clone(), self.peer.clone(), max))
        });
        line.clone()
    }

    /// The low mark, but never so near to the hard limit that a frame which was refused is asked for
    /// again at once, and refused again.
    pub(crate) fn low_mark(&self) -> usize {
        self.limits.output_low_mark.min(self.limits.output_bytes_max / 2)
    }

    /// The high mark, but never so near to the hard limit that honest pipelining runs into it.
    fn high_mark(&self) -> usize {
        self.limits.output_high_mark.clamp(1, (self.limits.output_bytes_max / 2).max(1))
    }

    /// Whether somebody waits for the output to drain.
    pub(crate) fn owes_drain(&self) -> bool {
        self.flags.has(Flags::PRESSED)
            || self.line.as_ref().is_some_and(|line| line.starved.load(Ordering::SeqCst))
    }
}

const STEADY: Flags = Flags::OPENED.and(Flags::SPOKEN);

/// The shortest time that a timer or a limit can run. A turn does not end within its own instant, so
/// without it a timer of zero, set again when it runs out, would keep the others waiting for ever.
pub(crate) const TICK: Duration = Duration::from_millis(1);
