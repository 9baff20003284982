//! Output: from the session to the kernel, as far as it takes it.

use super::{Call, Session};
use crate::buffer::Out;
use crate::descriptors::Descriptors;
use crate::handler::{CloseReason, Flags, Phase, Turn};
use std::io;
use std::sync::atomic::Ordering;

impl Session {
    /// Whether [`flush`](Session::flush) would do nothing, if the worker's buffer is empty too.
    pub(crate) fn has_nothing_to_say(&self) -> bool {
        self.state.phase == Phase::Open
            && self.state.backlog.is_none()
            && !self.has(Flags::SHUTDOWN.and(Flags::PRESSED))
            && (!self.has(Flags::REMOTE) || self.state.is_heard_out())
    }

    /// Writes what there is to say: [`answer`](Session::answer), and if that was not all,
    /// [`flush_any`](Session::flush_any).
    pub(crate) fn flush(
        &mut self,
        turn: &mut Turn,
        input: &[u8],
        spare: &mut Spare,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> bool {
        let mut written = match self.answer(turn, input, &mut write) {
            Answer::Sent => return false,
            Answer::Begun(written) => Some(written),
            Answer::Other => None,
        };
        let mut write =
            |bytes: &[u8], _: Option<&Descriptors>| written.take().unwrap_or_else(|| write(bytes));
        self.flush_any(turn, input, spare, &mut write)
    }

    /// Writes a reply, if that is all that there is to say, as at the end of most turns.
    #[inline(always)]
    pub(crate) fn answer(
        &mut self,
        turn: &mut Turn,
        input: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Answer {
        let messages = self.state.keeps_messages();
        if !self.state.is_answering() || (messages && turn.out.datagrams() != 1) {
            return Answer::Other;
        }
        let whole = turn.out.front(messages, input);
        let asked = whole.len();
        if !messages && asked != turn.out.len() {
            return Answer::Other;
        }
        let written = write(whole);
        if !matches!(written, Ok(count) if messages || count == asked) {
            return Answer::Begun(written);
        }
        turn.out.clear();
        turn.whole = turn.out.mark();
        self.state.flags.clear(Flags::ANSWERED);
        self.state.write = turn.at;
        Answer::Sent
    }

    /// Writes what there is to say, with one call of `write` if the kernel takes it all. What it
    /// does not take stays with the session. Then moves the session on: true if our side of the
    /// connection is to be shut now.
    pub(crate) fn flush_any(
        &mut self,
        turn: &mut Turn,
        input: &[u8],
        spare: &mut Spare,
        write: &mut Write<'_>,
    ) -> bool {
        if turn.out.is_empty() && self.state.backlog.is_none() && self.state.line.is_none() {
            self.state.flags.clear(Flags::ANSWERED);
            return self.all_sent(turn.at);
        }
        let mut backlog = self.state.backlog.take();
        let blocked = backlog.is_some();
        let out = match &mut backlog {
            Some(backlog) => {
                backlog.append(&mut turn.out);
                backlog
            }
            None => &mut turn.out,
        };
        if self.is_over() {
            out.clear();
        }
        out.join(input);
        self.write_out(out, input, turn.at, blocked, write);
        out.keep_loan(self.state.keeps_messages(), input);
        match backlog {
            None if turn.out.is_empty() => turn.out.clear(),
            None => {
                self.begin_stall(turn);
                let backlog = std::mem::replace(&mut turn.out, spare.take());
                if let Some(watched) = self.watched() {
                    watched.stalled(&self.state.peer, backlog.len());
                }
                self.state.backlog = Some(backlog);
            }
            Some(backlog) if backlog.is_empty() => {
                self.end_stall(turn);
                spare.put(backlog);
                // An end that takes the output away is none of it leaving.
                if let (Some(watched), false) = (self.watched(), self.is_over()) {
                    watched.flowed(&self.state.peer);
                }
            }
            still => self.state.backlog = still,
        }
        turn.whole = turn.out.mark();
        if self.state.backlog.is_none() {
            self.state.flags.clear(Flags::ANSWERED);
        }
        if let Some(line) = &self.state.line {
            line.unsent.store(self.state.unsent(&turn.out), Ordering::SeqCst);
        }
        self.state.backlog.is_none() && self.all_sent(turn.at)
    }

    fn write_out(
        &mut self,
        out: &mut Out,
        input: &[u8],
        at: u64,
        blocked: bool,
        write: &mut Write<'_>,
    ) {
        let (messages, connected) = (self.state.keeps_messages(), !self.state.is_datagram());
        while !out.is_empty() {
            let mut piece = out.front(messages, input);
            let mut riders = None;
            if let Some(waiting) = self.state.riders() {
                (piece, riders) = waiting.cut(piece, messages);
            }
            let asked = piece.len();
            let written = write(piece, riders);
            if let (Ok(count), Some(waiting)) = (&written, self.state.riders_mut()) {
                waiting.sent(if messages { 1 } else { *count });
            }
            match written {
                Ok(_) if messages => {
                    out.datagram_sent();
                    self.note_written(asked, blocked, at);
                }
                Ok(count) => {
                    out.sent(count);
                    self.note_written(count, blocked, at);
                    if count < asked {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // One datagram that cannot be sent says nothing about the next.
                Err(_) if !connected => out.datagram_sent(),
                Err(error) => {
                    out.clear();
                    self.lost(error);
                    return;
                }
            }
        }
    }

    fn note_written(&mut self, bytes: usize, blocked: bool, at: u64) {
        match blocked {
            true => self.pay(bytes, at),
            false => self.state.write = at,
        }
    }

    /// Takes a message back that was taken over and could not be sent now. It goes before all others.
    pub(crate) fn take_back(&mut self, message: &[u8], turn: &Turn, spare: &mut Spare) {
        let stalls = self.state.backlog.is_none();
        if stalls {
            self.begin_stall(turn);
        }
        let backlog = self.state.backlog.get_or_insert_with(|| spare.take());
        backlog.put_first(message, true);
        let unsent = backlog.len();
        if let (true, Some(watched)) = (stalls, self.watched()) {
            watched.stalled(&self.state.peer, unsent);
        }
        if let Some(line) = &self.state.line {
            line.unsent.store(self.state.unsent(&turn.out), Ordering::SeqCst);
        }
    }

    /// All output has been sent: closes what was to be closed behind it.
    #[inline]
    fn all_sent(&mut self, at: u64) -> bool {
        let state = &mut self.state;
        let flags = state.flags;
        let over = flags.has(Flags::EOF) && !flags.has(Flags::PENDING);
        let shut_or_none = Flags::SHUT.and(Flags::DATAGRAM);
        match state.phase {
            Phase::Open if flags.has(Flags::SHUTDOWN) && over => {
                state.end(CloseReason::Finished);
            }
            Phase::Open if flags.has(Flags::SHUTDOWN) && !flags.has(shut_or_none) => {
                state.flags.set(Flags::SHUT);
                return true;
            }
            Phase::Finishing if flags.has(Flags::EOF.and(Flags::DATAGRAM)) => {
                state.phase = Phase::Ended
            }
            Phase::Finishing => {
                state.phase = Phase::Lingering;
                state.write = at;
                state.left = u32::try_from(state.limits.linger_bytes_max).unwrap_or(u32::MAX);
                state.flags.set(Flags::REARM);
                state.flags.set(Flags::SHUT);
                return !flags.has(Flags::SHUT);
            }
            _ => {}
        }
        false
    }

    /// Calls `on_drain` if it is owed and there is room. True if it was called.
    pub(crate) fn drain(&mut self, turn: &mut Turn) -> bool {
        let drain = self.can_drain();
        if drain {
            self.state.flags.clear(Flags::PRESSED);
            if let Some(line) = &self.state.line {
                line.starved.store(false, Ordering::SeqCst);
            }
            self.call(Call::Drain, turn);
        }
        drain
    }

    pub(super) fn can_drain(&self) -> bool {
        let unsent = self.state.backlog.as_ref().map_or(0, |backlog| backlog.len());
        self.state.owes_drain()
            && self.state.riders().is_none_or(|riders| riders.have_left())
            && self.state.phase == Phase::Open
            && unsent <= self.state.limits.low_mark()
    }
}

/// Writes bytes, and with the first of them the descriptors, if there are some.
pub(crate) type Write<'a> = dyn FnMut(&[u8], Option<&Descriptors>) -> io::Result<usize> + 'a;

/// What became of a reply.
pub(crate) enum Answer {
    /// All was sent, and there is nothing else to do.
    Sent,
    /// The first write had this result: [`flush_any`](Session::flush_any) goes on from there.
    Begun(io::Result<usize>),
    /// There is more to say than a reply, or none.
    Other,
}

/// Output buffers that nobody uses, for the next session that the kernel refuses.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[allow(clippy::vec_box, reason = "the boxes move between worker and sessions as they are")]
    buffers: Vec<Box<Out>>,
    first_bytes: usize,
}

impl Spare {
    pub(crate) fn new(first_bytes: usize) -> Spare {
        Spare { buffers: Vec::new(), first_bytes }
    }

    pub(crate) fn take(&mut self) -> Box<Out> {
        self.buffers.pop().unwrap_or_else(|| Box::new(Out::new(self.first_bytes)))
    }

    pub(crate) fn put(&mut self, mut buffer: Box<Out>) {
        if self.buffers.len() < SPARE_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// Spare output buffers that a worker keeps.
const SPARE_MAX: usize = 16;
