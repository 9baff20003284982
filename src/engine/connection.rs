//! The mechanics of one stream connection, the same on every engine: what was read goes to the
//! session, what the session says goes to the socket.

use super::Common;
use super::counters::Traffic;
use super::datagrams::Way;
use crate::buffer::{Out, Scratch};
use crate::descriptors::Descriptors;
use crate::handler::{Letter, Turn};
use crate::mailbox::Mailbox;
use crate::memory;
use crate::session::{Answer, Session, Spare};
use crate::sys;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

/// What a thread needs to give sessions their turns: one buffer to read into, one to encode into.
pub(crate) struct Desk {
    pub(crate) scratch: Scratch,
    pub(crate) turn: Turn,
    pub(crate) traffic: Traffic,
    spare: Spare,
    frames_per_turn: u32,
}

impl Desk {
    pub(crate) fn new(
        read_bytes: usize,
        write_bytes: usize,
        letters: Arc<Mailbox<Letter>>,
        common: &Common,
    ) -> Desk {
        let out = Box::new(Out::new(write_bytes));
        let skipped = common.tally.frames_skipped.clone();
        let mut turn = Turn::new(out, letters, skipped, Instant::now());
        turn.stopping = common.stop.flag();
        Desk {
            scratch: Scratch::new(read_bytes),
            turn,
            traffic: Traffic::default(),
            spare: Spare::new(write_bytes),
            frames_per_turn: common.limits.frames_per_turn.max(1),
        }
    }

    /// Takes larger buffers, for a connection that fills those it has. Not within a turn.
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        debug_assert!(self.turn.out.is_empty());
        self.scratch = Scratch::new(bytes);
        *self.turn.out = Out::new(bytes);
        self.spare = Spare::new(bytes);
    }

    /// One turn of the session at `token`: `act`, then all that it said is written.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session,
        token: u64,
        wire: Wire<'_>,
        act: impl FnOnce(&mut Session, &mut Turn),
    ) {
        let Desk { turn, traffic, spare, frames_per_turn, .. } = self;
        turn.begin(token, *frames_per_turn, &[]);
        act(session, turn);
        settle(session, turn, &[], spare, wire, traffic);
        if session.passes_descriptors() {
            session.part(turn.frames_left < *frames_per_turn);
        }
    }

    /// Has a stream's session, which has nothing else to say, say frames that were put together for many.
    /// True if the kernel takes them all: then nothing about the session has to be asked.
    pub(crate) fn sing(
        &mut self,
        session: &mut Session,
        token: u64,
        wire: Wire<'_>,
        song: &Song<'_>,
    ) -> bool {
        let frames = song.frames;
        let written = wire.send(frames, &mut self.traffic);
        if matches!(written, Ok(count) if count == frames.len()) {
            session.sang(song.moment);
            return true;
        }
        let Desk { turn, traffic, spare, frames_per_turn, .. } = self;
        turn.begin(token, *frames_per_turn, &[]);
        session.say_together(frames, turn);
        settle_any(session, turn, &[], spare, wire, traffic, Some(written));
        false
    }

    /// Gives the session the first `length` bytes of the scratch buffer.
    #[inline(always)]
    fn feed(&mut self, session: &mut Session, token: u64, wire: Wire<'_>, length: usize) {
        let Desk { scratch, turn, traffic, spare, frames_per_turn } = self;
        traffic.read += length as u64;
        let input = scratch.filled(length);
        turn.begin(token, *frames_per_turn, input);
        let mut rest = input;
        loop {
            let taken = session.receive(rest, turn);
            settle(session, turn, input, spare, wire, traffic);
            rest = &rest[taken..];
            if rest.is_empty() {
                return;
            }
            if !session.can_go_on(turn) {
                session.keep(rest);
                return;
            }
        }
    }

    /// Reads once from a connection and gives the session what came: bytes, a message, or the end.
    #[inline]
    pub(crate) fn read(
        &mut self,
        session: &mut Session,
        token: u64,
        socket: BorrowedFd<'_>,
        wait: bool,
    ) -> io::Result<usize> {
        let wire = Wire::Stream(socket);
        if session.reads_more_than_bytes() {
            return self.read_more(session, token, socket, wait);
        }
        let into = self.scratch.as_mut();
        let length = if wait {
            sys::io::receive(socket, into)?
        } else {
            sys::io::receive_now(socket, into)?
        };
        if wait {
            self.turn.it_is(Instant::now());
        }
        match length {
            0 => self.end(session, token, wire),
            _ => self.feed(session, token, wire, length),
        }
        Ok(length)
    }

    #[inline(never)]
    fn end(&mut self, session: &mut Session, token: u64, wire: Wire<'_>) {
        self.turn(session, token, wire, Session::eof);
    }

    /// As [`read`](Desk::read), from a stream in memory.
    pub(crate) fn read_memory(
        &mut self,
        session: &mut Session,
        token: u64,
        socket: &memory::Stream,
    ) -> io::Result<usize> {
        let wire = Wire::Memory(socket);
        let length = socket.read_now(self.scratch.as_mut())?;
        match length {
            0 => self.end(session, token, wire),
            _ => self.feed(session, token, wire, length),
        }
        Ok(length)
    }

    #[inline(never)]
    fn read_more(
        &mut self,
        session: &mut Session,
        token: u64,
        socket: BorrowedFd<'_>,
        wait: bool,
    ) -> io::Result<usize> {
        match session.passes_descriptors() {
            true => self.read_with_descriptors(session, token, socket, wait),
            false => self.read_record(session, token, socket, wait),
        }
    }

    fn read_with_descriptors(
        &mut self,
        session: &mut Session,
        token: u64,
        socket: BorrowedFd<'_>,
        wait: bool,
    ) -> io::Result<usize> {
        let wire = Wire::Stream(socket);
        let came = sys::rights::receive(socket, self.scratch.as_mut(), !wait)?;
        if wait {
            self.turn.it_is(Instant::now());
        }
        session.arrive(came.descriptors.into())?;
        match (session.takes_records(), came.length) {
            (true, 0) if !came.is_signed => self.end(session, token, wire),
            (true, length) => self.feed_record(session, token, wire, length),
            (false, 0) => self.end(session, token, wire),
            (false, length) => self.feed(session, token, wire, length),
        }
        session.part(self.turn.frames_left < self.frames_per_turn);
        Ok(came.length)
    }

    fn read_record(
        &mut self,
        session: &mut Session,
        token: u64,
        socket: BorrowedFd<'_>,
        wait: bool,
    ) -> io::Result<usize> {
        let wire = Wire::Stream(socket);
        let record = sys::io::receive_record(socket, self.scratch.as_mut(), wait)?;
        if wait {
            self.turn.it_is(Instant::now());
        }
        match record {
            None => self.end(session, token, wire),
            Some(length) => self.feed_record(session, token, wire, length),
        }
        Ok(record.unwrap_or(0))
    }

    fn feed_record(&mut self, session: &mut Session, token: u64, wire: Wire<'_>, length: usize) {
        let Desk { scratch, turn, traffic, spare, frames_per_turn } = self;
        traffic.read += length as u64;
        let too_long = length > scratch.size();
        let input = if too_long { &[] } else { scratch.filled(length) };
        turn.begin(token, *frames_per_turn, input);
        if too_long {
            session.receive_too_long(length, scratch.size());
        } else {
            session.receive_record(input, turn);
        }
        settle(session, turn, input, spare, wire, traffic);
    }

    /// Gives a message back to its session that could not be sent.
    pub(crate) fn take_back(&mut self, session: &mut Session, message: &[u8]) {
        self.traffic.did_not_write(message.len());
        session.take_back(message, &self.turn, &mut self.spare);
    }

    /// Gives the session a datagram. Says whether it was handled, and whether there is nothing to ask the
    /// session for now.
    pub(crate) fn feed_message(
        &mut self,
        session: &mut Session,
        token: u64,
        wire: Wire<'_>,
        message: &[u8],
    ) -> (bool, bool) {
        let Desk { turn, traffic, spare, frames_per_turn, .. } = self;
        turn.begin(token, *frames_per_turn, message);
        let handled = session.receive_message(message, turn);
        // Who has just answered is steady. To look at it costs as much as the rest of the turn: its flags
        // were written a moment ago, and not as wide as they are read.
        let steady = settle(session, turn, message, spare, wire, traffic) || session.is_steady();
        (handled, steady)
    }
}

/// Frames that were put together for many.
pub(crate) struct Song<'a> {
    pub(crate) frames: &'a [u8],
    /// No letter of anybody else's waits.
    pub(crate) alone: bool,
    /// What any session that [sings](Session::sings) may say at once.
    pub(crate) bytes_max: usize,
    /// When it is said.
    pub(crate) moment: u64,
}

/// Where a session's output goes.
#[derive(Clone, Copy)]
pub(crate) enum Wire<'a> {
    /// Its own socket.
    Stream(BorrowedFd<'a>),
    Memory(&'a memory::Stream),
    /// To its peer, over a socket that it shares with others.
    Datagrams(&'a Way<'a>),
}

impl Wire<'_> {
    #[inline(always)]
    fn send(self, bytes: &[u8], traffic: &mut Traffic) -> io::Result<usize> {
        let sent = match self {
            Wire::Stream(socket) => sys::io::send_now(socket, bytes)?,
            Wire::Memory(socket) => socket.write_now(bytes)?,
            Wire::Datagrams(way) => return way.send(bytes, traffic),
        };
        traffic.wrote(sent);
        Ok(sent)
    }

    /// Sends all that is said in a turn.
    #[inline(always)]
    fn answer(self, bytes: &[u8], traffic: &mut Traffic) -> io::Result<usize> {
        match self {
            Wire::Datagrams(way) => way.answer(bytes, traffic),
            _ => self.send(bytes, traffic),
        }
    }

    fn send_with(
        self,
        bytes: &[u8],
        descriptors: Option<&Descriptors>,
        traffic: &mut Traffic,
    ) -> io::Result<usize> {
        let (Wire::Stream(socket), Some(descriptors)) = (self, descriptors) else {
            return self.send(bytes, traffic);
        };
        let lent: Vec<_> = descriptors.as_slice().iter().map(AsFd::as_fd).collect();
        let sent = sys::rights::send(socket, bytes, &lent, None, true)?;
        traffic.wrote(sent);
        Ok(sent)
    }
}

/// Writes what the session has to say; `input` is what it was given in this turn. True if that was an
/// answer and all of it has left: the session is steady then.
#[inline(always)]
fn settle(
    session: &mut Session,
    turn: &mut Turn,
    input: &[u8],
    spare: &mut Spare,
    wire: Wire<'_>,
    traffic: &mut Traffic,
) -> bool {
    if turn.out.is_empty() && session.has_nothing_to_say() {
        return false;
    }
    let written = match session.answer(turn, input, |bytes| wire.answer(bytes, traffic)) {
        Answer::Sent => return true,
        Answer::Begun(written) => Some(written),
        Answer::Other => None,
    };
    settle_any(session, turn, input, spare, wire, traffic, written);
    false
}

/// Lets the handler say more while the kernel takes it. A handler that never ends is stopped after a
/// few rounds; `wants_turn` then says that it is not through.
#[inline(never)]
fn settle_any(
    session: &mut Session,
    turn: &mut Turn,
    input: &[u8],
    spare: &mut Spare,
    wire: Wire<'_>,
    traffic: &mut Traffic,
    mut written: Option<io::Result<usize>>,
) {
    for round in 0.. {
        let mut write = |bytes: &[u8], descriptors: Option<&Descriptors>| {
            written.take().unwrap_or_else(|| wire.send_with(bytes, descriptors, traffic))
        };
        let shut = session.flush_any(turn, input, spare, &mut write);
        if shut {
            // It fails only when the connection is gone already, as the next read will say.
            let _ = match wire {
                Wire::Stream(socket) => sys::io::shutdown_write(socket),
                Wire::Memory(socket) => socket.shutdown(Shutdown::Write),
                Wire::Datagrams(_) => Ok(()),
            };
        }
        if session.is_steady() || round == DRAINS_PER_TURN || !session.drain(turn) {
            return;
        }
    }
}

/// Whether to try again may help.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How often a handler may refill its output within one turn.
const DRAINS_PER_TURN: usize = 4;
