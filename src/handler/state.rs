//! The state of a session that does not depend on its protocol.
//!
//! The session decides with it, the [`Context`](super::Context) lends it to callbacks. It is kept
//! small, because an idle connection is little else.

use super::Side;
use super::reason::CloseReason;
use super::remote::{Letter, Line};
use crate::addr::Peer;
use crate::buffer::Out;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

/// What a worker lends to a session for one turn.
pub(crate) struct Turn<'w> {
    pub(crate) now: Instant,
    pub(crate) out: &'w mut Box<Out>,
    pub(crate) letters: &'w Arc<Mailbox<Letter>>,
    pub(crate) token: u64,
    pub(crate) frames_left: u32,
    /// Output up to here is whole frames; a panic cuts off the rest.
    pub(crate) whole: usize,
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
    pub(crate) linger_left: u32,
    pub(crate) phase: Phase,
    pub(crate) side: Side,
    pub(crate) datagram: bool,
    /// `on_open` has returned, so `on_close` is owed.
    pub(crate) opened: bool,
    /// The first whole frame has come.
    pub(crate) spoken: bool,
    pub(crate) paused: bool,
    /// The server is stopping: no more frames.
    pub(crate) stopping: bool,
    /// The peer has closed its side.
    pub(crate) eof: bool,
    /// Our side is to be closed once the output is sent.
    pub(crate) shutdown: bool,
    /// Our side is closed.
    pub(crate) shut: bool,
    /// Unsent output has been above the low mark: `on_drain` is owed.
    pub(crate) pressed: bool,
    pub(crate) panicked: bool,
    /// End by a reset rather than in an orderly way.
    pub(crate) reset: bool,
}

impl State {
    pub(crate) fn new(peer: Peer, side: Side, limits: Arc<Limits>, now: Instant) -> State {
        State {
            datagram: peer.transport().is_datagram(),
            linger_left: u32::try_from(limits.linger_bytes_max).unwrap_or(u32::MAX),
            peer,
            limits,
            last: now,
            timer: None,
            backlog: None,
            line: None,
            reason: None,
            phase: Phase::Open,
            side,
            opened: false,
            spoken: false,
            paused: false,
            stopping: false,
            eof: false,
            shutdown: false,
            shut: false,
            pressed: false,
            panicked: false,
            reset: false,
        }
    }

    /// Unsent bytes, those of this turn in `out` included.
    pub(crate) fn unsent(&self, out: &Out) -> usize {
        out.len() + self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Whether what the handler sends can still reach the peer.
    pub(crate) fn can_send(&self) -> bool {
        self.phase == Phase::Open && !self.shutdown
    }

    /// Whether another frame may be handled in this turn.
    pub(crate) fn can_take(&self, turn: &Turn<'_>) -> bool {
        self.phase == Phase::Open
            && !self.paused
            && !self.stopping
            && turn.frames_left > 0
            && (self.datagram || self.backlog.is_none())
            && turn.out.len() < self.limits.output_high_mark
    }

    /// Ends the session in an orderly way: output is sent first.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        if self.phase == Phase::Open {
            self.phase = Phase::Finishing;
            self.reason.get_or_insert_with(|| Box::new(reason));
        }
    }

    /// Ends the session now; unsent output is lost.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Ended;
        self.reason.get_or_insert_with(|| Box::new(reason));
    }

    /// As [`State::end`], and the peer is told by a reset where the transport has one.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        self.reset = true;
        self.end(reason);
    }

    /// The part that remotes share; made when the first one is asked for.
    pub(crate) fn line(&mut self, letters: &Arc<Mailbox<Letter>>, token: u64) -> Arc<Line> {
        let line = self.line.get_or_insert_with(|| {
            let max = self.limits.output_bytes_max;
            Arc::new(Line::new(token, letters.clone(), self.peer.clone(), max))
        });
        line.clone()
    }

    /// Whether somebody waits for the output to drain.
    pub(crate) fn owes_drain(&self) -> bool {
        self.pressed || self.line.as_ref().is_some_and(|line| line.starved.load(Ordering::SeqCst))
    }
}

/// The shortest time that a timer or a limit can run. A turn does not end within its own instant, so
/// without it a timer of zero, set again when it runs out, would keep the others waiting for ever.
pub(crate) const TICK: Duration = Duration::from_millis(1);
