//! The state of a session that does not depend on its protocol.
//!
//! The session decides with it, the [`Context`](super::Context) lends it to callbacks. It is kept
//! small, because an idle connection is little else.

use super::letter::{Letter, Line};
use super::reason::CloseReason;
use super::riders::{Riders, UnixSide};
use super::{Idle, Side};
use crate::addr::{Credentials, Peer};
use crate::buffer::Out;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::timers::{NEVER, nanos};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

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
    now: Instant,
    /// [`now`](Turn::now) as a moment.
    moment: u64,
    /// What the moments of this worker's sessions are counted from.
    epoch: Instant,
    /// The moment at which the turn began.
    pub(crate) at: u64,
    /// What `on_idle` is called for, if it is.
    pub(crate) idle: Idle,
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
        let (epoch, idle) = (now, Idle::Both);
        let (stopping, input) = (Arc::default(), 0..0);
        Turn {
            now,
            moment: 0,
            epoch,
            at: 0,
            idle,
            out,
            letters,
            token,
            frames_left,
            skipped,
            stopping,
            whole,
            input,
        }
    }

    /// What time it is for all turns until this is called again.
    #[inline]
    pub(crate) fn it_is(&mut self, now: Instant) {
        self.now = now;
        self.moment = nanos(now.saturating_duration_since(self.epoch));
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// [`now`](Turn::now) as a moment.
    pub(crate) fn moment(&self) -> u64 {
        self.moment
    }

    /// When a moment is, if it ever comes.
    pub(crate) fn instant(&self, moment: u64) -> Option<Instant> {
        let span = Some(moment).filter(|moment| *moment != NEVER)?;
        self.epoch.checked_add(std::time::Duration::from_nanos(span))
    }

    /// The turn of the session at `token`, which has `input`.
    #[inline(always)]
    pub(crate) fn begin(&mut self, token: u64, frames: u32, input: &[u8]) {
        self.token = token;
        self.at = self.moment;
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
    /// When something came last. Before the first message: when the wait for it began. It and those below
    /// are moments of its worker.
    pub(crate) read: u64,
    /// When something was sent last. While output waits: when the peer began to owe
    /// [`left`](State::left). Of a finished session: when it began to linger.
    pub(crate) write: u64,
    /// The handler's own timer.
    pub(crate) timer: u64,
    /// Output that the kernel did not take.
    pub(crate) backlog: Option<Box<Out>>,
    pub(crate) line: Option<Arc<Line>>,
    /// What most sessions have only in the end, behind one pointer.
    rare: Option<Box<Rare>>,
    /// While output waits: how many bytes the peer still has to take before its time starts again. Of
    /// a session that lingers: how many bytes of input may still be thrown away.
    pub(crate) left: u32,
    pub(crate) phase: Phase,
    pub(crate) side: Side,
    pub(crate) flags: Flags,
}

/// See [`State`].
#[derive(Debug, Default)]
struct Rare {
    reason: Option<CloseReason>,
    /// When the session was opened, if its life has a limit.
    opened: u64,
    /// What Unix connections have, if the server asks for it.
    unix: Option<UnixSide>,
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
    /// The engine looks at the session in time for the limit of a frame that begins now.
    pub(crate) const WATCHED: Flags = Flags(1 << 12);
    /// The deadline may have moved earlier since the engine asked for it. Later does not matter.
    pub(crate) const REARM: Flags = Flags(1 << 13);
    /// Remotes exist, or descriptors were sent: output is more than a reply.
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
    pub(crate) fn new(peer: Peer, side: Side, limits: Arc<Limits>) -> State {
        let mut flags = Flags::REARM;
        if peer.transport().is_datagram() {
            flags.set(Flags::DATAGRAM);
        }
        if side == Side::Adopted {
            // We called it: it need not speak first.
            flags.set(Flags::SPOKEN);
        }
        State {
            peer,
            limits,
            read: 0,
            write: 0,
            timer: NEVER,
            backlog: None,
            line: None,
            rare: None,
            left: 0,
            phase: Phase::Open,
            side,
            flags,
        }
    }

    /// Notes who the peer is, and whether descriptors may be passed.
    pub(crate) fn set_unix(&mut self, credentials: Option<Credentials>, descriptors: bool) {
        let unix = Some(UnixSide::new(credentials, descriptors));
        self.rare.get_or_insert_default().unix = unix;
    }

    pub(crate) fn unix(&self) -> Option<&UnixSide> {
        self.rare.as_ref()?.unix.as_ref()
    }

    pub(crate) fn riders(&self) -> Option<&Riders> {
        self.unix()?.riders.as_ref()
    }

    pub(crate) fn riders_mut(&mut self) -> Option<&mut Riders> {
        self.rare.as_mut()?.unix.as_mut()?.riders.as_mut()
    }

    /// Notes that the session begins, at this moment.
    pub(crate) fn begin(&mut self, at: u64) {
        (self.read, self.write) = (at, at);
        if self.limits.life_timeout.is_some() {
            self.rare.get_or_insert_default().opened = at;
        }
    }

    /// When the session was opened, if its life has a limit.
    pub(crate) fn opened(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.opened)
    }

    /// Notes why the session ends; the first cause counts.
    pub(crate) fn note_reason(&mut self, reason: CloseReason) {
        self.rare.get_or_insert_default().reason.get_or_insert(reason);
    }

    pub(crate) fn take_reason(&mut self) -> Option<CloseReason> {
        self.rare.as_mut()?.reason.take()
    }

    /// Why the session ends, if that is settled.
    #[cfg(test)]
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.rare.as_ref()?.reason.as_ref()
    }

    /// Open, has spoken, and nothing else is to be said about it: as most sessions are after most
    /// messages. The engine then has nothing to decide.
    pub(crate) fn is_steady(&self) -> bool {
        self.is_plain(STEADY) || (self.is_plain(STEADY.and(Flags::REMOTE)) && self.is_heard_out())
    }

    /// Nobody waits for what remotes have said to leave, or is owed word of room.
    pub(crate) fn is_heard_out(&self) -> bool {
        self.line.as_ref().is_some_and(|line| {
            line.unsent.load(Ordering::SeqCst) == 0 && !line.starved.load(Ordering::SeqCst)
        })
    }

    /// As [`State::is_steady`], but for a reply of the handler that is to be sent.
    pub(crate) fn is_answering(&self) -> bool {
        self.is_plain(STEADY.and(Flags::ANSWERED))
    }

    fn is_plain(&self, flags: Flags) -> bool {
        self.phase == Phase::Open
            && self.flags.and(APART) == flags.and(APART)
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
    pub(crate) fn note_frame(&mut self, at: u64) {
        if !self.flags.has(Flags::SPOKEN) {
            self.note_first_frame(at);
        }
    }

    #[cold]
    fn note_first_frame(&mut self, at: u64) {
        self.flags.set(Flags::SPOKEN);
        (self.read, self.write) = (at, at);
        let limits = &self.limits;
        let idle = [limits.idle_timeout, limits.idle_read_timeout, limits.idle_write_timeout];
        let (idle, first) = (idle.into_iter().flatten().min(), limits.first_message_timeout);
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
            self.note_reason(reason);
        }
    }

    /// Ends the session now; unsent output is lost.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Ended;
        self.note_reason(reason);
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

/// What says nothing about whether there is something to do.
const APART: Flags = Flags::DATAGRAM.and(Flags::WATCHED);
