//! Time: which limits run, and what becomes of a session when one has run out.
//!
//! | state | what runs |
//! |---|---|
//! | open, output waits | write stall |
//! | open, nothing was said yet | first message |
//! | open | idle: both ways, in, out |
//! | open, a frame is unfinished | the frame, beside the others |
//! | open or finishing | life, beside the others |
//! | finishing, output waits | write stall |
//! | lingering | linger |
//!
//! A limit is a moment that the session has noted anyway and a span. None needs anything done when a
//! message comes: deadlines then only move later, as the engine finds out when the old one has come.

#[cfg(test)]
mod tests;

use super::{Call, DEAF, Session};
use crate::handler::{CloseReason, Flags, Idle, Phase, Turn};
use crate::timers::{NEVER, later};
use std::time::{Duration, Instant};

/// A limit that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    FirstMessage,
    Idle(Idle),
    Frame,
    Life,
    WriteStall,
    Linger,
}

impl Session {
    /// Time has passed: sees to the handler's timer and to the limits.
    pub(crate) fn tick(&mut self, turn: &mut Turn) {
        self.state.flags.set(Flags::REARM);
        self.state.flags.clear(Flags::WATCHED);
        if self.state.timer <= turn.at {
            self.state.timer = NEVER;
            self.call(Call::Timer, turn);
        }
        let (when, limit) = self.soonest(turn.at);
        if when > turn.at {
            return;
        }
        let owed = self.owed();
        let state = &mut self.state;
        match limit {
            Limit::FirstMessage => state.finish(CloseReason::FirstMessageTimeout),
            Limit::Frame => state.finish(CloseReason::FrameTimeout),
            Limit::Life if state.phase == Phase::Open => state.finish(CloseReason::LifeTimeout),
            Limit::Life => state.abort(CloseReason::LifeTimeout),
            Limit::WriteStall if state.left == owed => state.abort(CloseReason::WriteStall),
            Limit::WriteStall => state.abort(CloseReason::SlowReader),
            Limit::Linger => state.phase = Phase::Ended,
            Limit::Idle(idle) => {
                if idle != Idle::Write {
                    state.read = turn.at;
                }
                if idle != Idle::Read {
                    state.write = turn.at;
                }
                turn.idle = idle;
                self.call(Call::Idle, turn);
                turn.idle = Idle::Both;
            }
        }
    }

    /// When [`tick`](Session::tick) is due.
    pub(crate) fn deadline(&self, turn: &Turn) -> Option<Instant> {
        let (limit, _) = self.soonest(turn.moment());
        turn.instant(limit.min(self.state.timer))
    }

    /// The deadline, if it may have moved earlier since it was last asked for.
    pub(crate) fn moved_deadline(&mut self, turn: &Turn) -> Option<Instant> {
        if !self.has(Flags::REARM) {
            return None;
        }
        self.state.flags.clear(Flags::REARM);
        self.deadline(turn)
    }

    /// The limit that runs out first, and when. Of two at once the one that stands first.
    fn soonest(&self, at: u64) -> (u64, Limit) {
        let state = &self.state;
        let limits = &*state.limits;
        let mut soonest = (NEVER, Limit::Linger);
        let mut runs = |since: u64, span: Option<Duration>, limit| {
            let when = span.map_or(NEVER, |span| later(since, span));
            if when < soonest.0 {
                soonest = (when, limit);
            }
        };
        if state.phase >= Phase::Lingering {
            runs(state.write, Some(limits.linger_timeout), Limit::Linger);
            return soonest;
        }
        let open = state.phase == Phase::Open;
        match state.backlog {
            Some(_) => runs(state.write, limits.write_stall_timeout, Limit::WriteStall),
            None if !open => runs(state.write, Some(limits.linger_timeout), Limit::Linger),
            None if state.is_datagram() => {
                runs(state.read, limits.peer_idle_timeout, Limit::Idle(Idle::Both));
            }
            None if !self.has(Flags::SPOKEN) => {
                runs(state.read, limits.first_message_timeout, Limit::FirstMessage);
            }
            None => {
                let last = state.read.max(state.write);
                runs(last, limits.idle_timeout, Limit::Idle(Idle::Both));
                if !self.has(DEAF) {
                    runs(state.read, limits.idle_read_timeout, Limit::Idle(Idle::Read));
                }
                if !self.has(Flags::SHUTDOWN) {
                    runs(state.write, limits.idle_write_timeout, Limit::Idle(Idle::Write));
                }
            }
        }
        if state.is_datagram() {
            return soonest;
        }
        if open && !self.kept.is_empty() && self.wants_input() {
            // What was noted wraps around after seven weeks: then a frame has more time, not less.
            let age = (millis(at) as u32).wrapping_sub(self.began);
            let began = millis(at).saturating_sub(age.into()) * MILLI;
            runs(began, limits.frame_timeout, Limit::Frame);
        }
        let life = limits.life_timeout.map(|life| match open {
            true => life,
            // What is being written may take as long as it may stay afterwards.
            false => life.saturating_add(limits.linger_timeout),
        });
        runs(state.opened(), life, Limit::Life);
        soonest
    }

    /// The beginning of a frame was kept, and no more of it is there.
    pub(super) fn begin_frame(&mut self, turn: &Turn) {
        if self.state.limits.frame_timeout.is_none() {
            return;
        }
        self.began = millis(turn.at) as u32;
        if !self.has(Flags::WATCHED) {
            self.state.flags.set(Flags::WATCHED.and(Flags::REARM));
        }
    }

    /// Input is taken again that was not taken for a while: the peer had no chance.
    pub(super) fn hear_again(&mut self, turn: &Turn) {
        if self.has(Flags::SPOKEN) {
            self.state.read = turn.at;
        }
        self.began = millis(turn.at) as u32;
        self.state.flags.set(Flags::REARM);
    }

    /// Output begins to wait: from now on the peer owes.
    pub(super) fn begin_stall(&mut self, turn: &Turn) {
        self.state.write = turn.at;
        self.state.left = self.owed();
        self.state.flags.set(Flags::REARM);
    }

    /// The peer took so much of what waited.
    pub(super) fn pay(&mut self, bytes: usize, at: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.state.left = self.state.left.saturating_sub(bytes);
        if self.state.left == 0 {
            self.state.write = at;
            self.state.left = self.owed();
        }
    }

    /// No output waits any more.
    pub(super) fn end_stall(&mut self, turn: &Turn) {
        (self.state.read, self.state.write) = (turn.at, turn.at);
        self.began = millis(turn.at) as u32;
        self.state.flags.set(Flags::REARM);
    }

    /// How many bytes of waiting output the peer has to take within the write-stall timeout.
    fn owed(&self) -> u32 {
        let bytes = self.state.limits.write_stall_bytes_min.unwrap_or(1).max(1);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Rounded up, so that no limit runs out early.
fn millis(moment: u64) -> u64 {
    moment.div_ceil(MILLI)
}

/// In nanoseconds.
const MILLI: u64 = 1_000_000;
