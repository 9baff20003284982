//! The mechanics of one stream connection, the same on every engine: what was read goes to the
//! session, what the session says goes to the socket.

use super::Common;
use crate::buffer::{Out, Scratch};
use crate::handler::{Letter, Turn};
use crate::mailbox::Mailbox;
use crate::memory;
use crate::session::{Session, Spare};
use crate::sys;
use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// What a thread needs to give sessions their turns: one buffer to read into, one to encode into.
pub(crate) struct Desk {
    pub(crate) scratch: Scratch,
    pub(crate) out: Box<Out>,
    pub(crate) spare: Spare,
    pub(crate) letters: Arc<Mailbox<Letter>>,
    pub(crate) now: Instant,
    frames_per_turn: u32,
    skipped: Arc<AtomicU64>,
}

impl Desk {
    pub(crate) fn new(
        read_bytes: usize,
        write_bytes: usize,
        letters: Arc<Mailbox<Letter>>,
        common: &Common,
    ) -> Desk {
        Desk {
            scratch: Scratch::new(read_bytes),
            out: Box::new(Out::new(write_bytes)),
            spare: Spare::new(write_bytes),
            letters,
            now: Instant::now(),
            frames_per_turn: common.limits.frames_per_turn.max(1),
            skipped: common.tally.frames_skipped.clone(),
        }
    }

    /// Takes larger buffers, for a connection that fills those it has. Not within a turn.
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        debug_assert!(self.out.is_empty());
        self.scratch = Scratch::new(bytes);
        *self.out = Out::new(bytes);
        self.spare = Spare::new(bytes);
    }

    /// One turn of the session at `token`: `act`, then all that it said is written.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session,
        token: u64,
        wire: Wire<'_>,
        act: impl FnOnce(&mut Session, &mut Turn<'_>),
    ) {
        let (mut turn, spare, _) = self.split(token, 0);
        act(session, &mut turn);
        settle(session, &mut turn, spare, wire);
    }

    /// Gives the session the first `length` bytes of the scratch buffer.
    #[inline(always)]
    fn feed(&mut self, session: &mut Session, token: u64, wire: Wire<'_>, length: usize) {
        let (mut turn, spare, mut input) = self.split(token, length);
        loop {
            let taken = session.receive(input, &mut turn);
            settle(session, &mut turn, spare, wire);
            input = &input[taken..];
            if input.is_empty() {
                return;
            }
            if !session.can_go_on(&turn) {
                session.keep(input);
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
        if session.takes_records() {
            return self.read_record(session, token, socket, wait);
        }
        let into = self.scratch.as_mut();
        let length = if wait {
            sys::io::receive(socket, into)?
        } else {
            sys::io::receive_now(socket, into)?
        };
        if wait {
            self.now = Instant::now();
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
            self.now = Instant::now();
        }
        match record {
            None => self.end(session, token, wire),
            Some(length) => self.feed_record(session, token, wire, length),
        }
        Ok(record.unwrap_or(0))
    }

    fn feed_record(&mut self, session: &mut Session, token: u64, wire: Wire<'_>, length: usize) {
        let size = self.scratch.size();
        let (mut turn, spare, message) = self.split(token, length.min(size));
        if length > size {
            session.receive_too_long(length, size);
        } else {
            session.receive_record(message, &mut turn);
        }
        settle(session, &mut turn, spare, wire);
    }

    /// Gives the session a datagram. False if it was not handled.
    pub(crate) fn feed_message(
        &mut self,
        session: &mut Session,
        token: u64,
        wire: Wire<'_>,
        message: &[u8],
    ) -> bool {
        let (mut turn, spare, _) = self.split(token, 0);
        let handled = session.receive_message(message, &mut turn);
        settle(session, &mut turn, spare, wire);
        handled
    }

    /// What a turn needs, and the first `length` bytes of what was read.
    #[inline(always)]
    fn split(&mut self, token: u64, length: usize) -> (Turn<'_>, &mut Spare, &[u8]) {
        let input = self.scratch.filled(length);
        let turn = Turn {
            now: self.now,
            input,
            whole: self.out.mark(),
            out: &mut self.out,
            letters: &self.letters,
            token,
            frames_left: self.frames_per_turn,
            skipped: &self.skipped,
        };
        (turn, &mut self.spare, input)
    }
}

/// Where a session's output goes.
#[derive(Clone, Copy)]
pub(crate) enum Wire<'a> {
    /// Its own socket.
    Stream(BorrowedFd<'a>),
    Memory(&'a memory::Stream),
    /// A socket that it shares with others, and its peer's address.
    Shared(BorrowedFd<'a>, &'a crate::addr::AnyAddr),
}

impl Wire<'_> {
    fn send(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Stream(socket) => sys::io::send_now(socket, bytes),
            Wire::Memory(socket) => socket.write_now(bytes),
            Wire::Shared(socket, to) => sys::io::send_to_now(socket, bytes, to),
        }
    }
}

/// Writes what the session has to say, and lets its handler say more while the kernel takes it. A
/// handler that never ends is stopped after a few rounds; `wants_turn` then says that it is not
/// through.
#[inline]
pub(crate) fn settle(
    session: &mut Session,
    turn: &mut Turn<'_>,
    spare: &mut Spare,
    wire: Wire<'_>,
) {
    if turn.out.is_empty() && session.has_nothing_to_say() {
        return;
    }
    for round in 0.. {
        let shut = session.flush(turn, spare, |bytes| wire.send(bytes));
        if shut {
            // It fails only when the connection is gone already, as the next read will say.
            let _ = match wire {
                Wire::Stream(socket) => sys::io::shutdown_write(socket),
                Wire::Memory(socket) => socket.shutdown(Shutdown::Write),
                Wire::Shared(..) => Ok(()),
            };
        }
        if session.is_steady() || round == DRAINS_PER_TURN || !session.drain(turn) {
            return;
        }
    }
}

/// How often a handler may refill its output within one turn.
const DRAINS_PER_TURN: usize = 4;
