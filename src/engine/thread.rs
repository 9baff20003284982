//! One connection on a thread of its own.
//!
//! As long as nobody else can reach the session and its peer is talking, its thread waits in a plain
//! blocking read: no poll, no wake-up descriptor, one system call for a message in and one for a
//! message out. A quiet one waits for the stop of the server as well; and once a
//! [`Remote`](crate::handler::Remote) exists, for its mailbox. A stream in memory rings the bell that
//! the mailbox rings, and its thread waits for nothing else.

use super::connection::{Desk, Wire, is_transient};
use super::{Common, Serve, Service, Socket, Tally};
use crate::addr::Peer;
use crate::contain::contain;
use crate::handler::{CloseReason, Letter, Turn};
use crate::limits::Limits;
use crate::mailbox::{Bell, Mailbox};
use crate::memory;
use crate::poll::{Interest, ThreadWaker, wait_for};
use crate::session::{Batch, Session};
use crate::sys;
use crate::timers::LONGEST;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

/// What a thread is to do with its connection.
pub(super) enum Job {
    /// Run a session that exists.
    Session(Box<Session>),
    /// Make a session, if the peer is admitted, and run it.
    Accepted(Service, Peer),
    /// Hand the socket over, if the peer is admitted.
    Blocking(OwnedFd, Service, Peer),
}

/// How others reach a connection's thread.
pub(super) struct Berth {
    socket: Socket,
    waker: Arc<ThreadWaker>,
    bell: Arc<Bell>,
    pub(super) letters: Arc<Mailbox<Letter>>,
    stopping: AtomicBool,
    /// A blocking handler has the socket; nobody sees to its deadline from inside.
    blocking: bool,
    /// That handler was cut off.
    forced: AtomicBool,
}

impl Berth {
    pub(super) fn new(socket: Socket, blocking: bool, limits: &Limits) -> Berth {
        let waker = Arc::new(ThreadWaker::default());
        let bell = Bell::new(Waker::from(waker.clone()));
        let letters = Mailbox::private(bell.clone(), limits.mailbox_items_max);
        let (stopping, forced) = (AtomicBool::new(false), AtomicBool::new(false));
        Berth { socket, waker, bell, letters, stopping, blocking, forced }
    }

    /// A session for the peer that was accepted, if it is admitted.
    pub(super) fn session(
        &self,
        service: &Service,
        peer: Peer,
        tally: &Tally,
    ) -> Option<Box<Session>> {
        match &self.socket {
            Socket::Descriptor(socket) => service.session_on(socket.as_fd(), peer, tally),
            Socket::Memory(_) => service.session(peer, tally),
        }
    }

    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Tells the thread that the server is stopping, or that it is to stop sooner, wherever it waits.
    pub(super) fn stop(&self) {
        let first = !self.stopping.swap(true, Ordering::SeqCst);
        if let (true, Some(socket)) = (first, self.lent()) {
            // There is no other way to end a read that somebody else is in.
            let _ = sys::io::shutdown_read(socket);
        }
        self.bell.ring();
    }

    /// Cuts a blocking handler off; a session sees to its deadline itself.
    pub(super) fn force(&self) {
        if let Some(socket) = self.lent() {
            // Before it wakes the handler.
            self.forced.store(true, Ordering::SeqCst);
            if sys::io::shutdown_both(socket).is_err() {
                self.forced.store(false, Ordering::SeqCst);
            }
        }
    }

    /// The socket, if a blocking handler has it.
    fn lent(&self) -> Option<BorrowedFd<'_>> {
        match &self.socket {
            Socket::Descriptor(socket) if self.blocking => Some(socket.as_fd()),
            _ => None,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// A session, its socket and its thread's buffers.
pub(super) struct ThreadSession<'a> {
    common: &'a Common,
    berth: &'a Berth,
    session: Box<Session>,
    token: u64,
    desk: Desk,
    batch: Batch,
    stop_by: Option<Instant>,
    /// The session's deadline, or an earlier one that it had.
    due: Option<Instant>,
    /// Readable once the server stops; never quieted.
    stopped: BorrowedFd<'a>,
    /// Nothing came for a while: see [`READ_TIMEOUT`].
    quiet: bool,
}

impl<'a> ThreadSession<'a> {
    pub(super) fn new(
        common: &'a Common,
        berth: &'a Berth,
        stopped: BorrowedFd<'a>,
        mut session: Box<Session>,
        token: u64,
    ) -> ThreadSession<'a> {
        if let Some(line) = &session.state().line {
            line.settle_at(token);
        }
        common.tally.opened();
        let letters = berth.letters.clone();
        let mut read_bytes = READ_BYTES_FIRST;
        if let (true, Socket::Descriptor(socket)) = (session.takes_records(), &berth.socket) {
            // It cannot fail on a seqpacket socket.
            let _ = sys::io::mark_records(socket.as_fd());
            read_bytes = RECORD_BYTES_MAX;
        }
        ThreadSession {
            common,
            berth,
            session,
            token,
            desk: Desk::new(read_bytes, WRITE_BYTES, letters, common),
            batch: Batch::new(),
            stop_by: None,
            due: None,
            stopped,
            quiet: false,
        }
    }

    /// Runs the session to its end, which is yet to be concluded.
    pub(super) fn run(mut self) -> Box<Session> {
        match &self.berth.socket {
            Socket::Descriptor(socket) => {
                if let Err(error) = sys::io::set_receive_timeout(socket.as_fd(), Some(READ_TIMEOUT))
                {
                    self.session.lost(error);
                }
            }
            Socket::Memory(_) => self.berth.waker.settle(),
        }
        self.turn(Session::open);
        while !self.session.is_over() {
            if let Err(error) = self.step() {
                self.session.lost(error);
            }
        }
        self.common.tally.carried(&mut self.desk.traffic);
        if self.session.wants_reset() {
            match &self.berth.socket {
                Socket::Descriptor(socket) => drop(sys::io::reset_on_close(socket.as_fd())),
                Socket::Memory(socket) => socket.reset(),
            }
        }
        self.session
    }

    /// Whatever is to be done, then one look at the socket: a wait, if nothing is left to do. So
    /// neither letters nor output without end hold up the others.
    fn step(&mut self) -> io::Result<()> {
        if self.berth.is_stopping() {
            // Read each time: a later stop may have shortened it.
            let before = std::mem::replace(&mut self.stop_by, self.common.stop.deadline());
            if before.is_none() {
                // What was sent before the stop is not lost by it.
                self.deliver();
                self.turn(Session::stop);
                return Ok(());
            }
        }
        if self.stop_by.is_some_and(|deadline| deadline <= self.desk.turn.now()) {
            let unsent = self.session.unsent();
            if self.session.force(CloseReason::Stopped) {
                self.common.stop.forced(unsent);
            }
            return Ok(());
        }
        if !self.berth.letters.is_empty() {
            self.deliver();
        }
        if self.deadline().is_some_and(|deadline| deadline <= self.desk.turn.now()) {
            self.due = None;
            self.turn(Session::tick);
        }
        if self.session.wants_turn() {
            self.turn(Session::resume);
        }
        if self.session.is_over() { Ok(()) } else { self.wait() }
    }

    /// When the session wants to be looked at, or before. As on a worker, a deadline that moves later is
    /// found out when the old one has come.
    fn deadline(&mut self) -> Option<Instant> {
        if let Some(moved) = self.session.moved_deadline(&self.desk.turn) {
            self.due = Some(self.due.map_or(moved, |due| due.min(moved)));
        }
        self.due
    }

    fn wait(&mut self) -> io::Result<()> {
        self.common.tally.carried(&mut self.desk.traffic);
        let now = self.session.wants_turn().then_some(self.desk.turn.now());
        let next = [self.deadline(), self.stop_by, now].into_iter().flatten().min();
        let timeout = next.map(|next| next.saturating_duration_since(self.desk.turn.now()));
        let interest = Interest::new(self.session.wants_input(), self.session.wants_output());
        let socket = match &self.berth.socket {
            Socket::Descriptor(socket) => socket.as_fd(),
            Socket::Memory(socket) => return self.wait_in_memory(socket, interest, timeout),
        };
        let soon = timeout.is_some_and(|timeout| timeout < READ_TIMEOUT);
        let ready = if self.session.has_remotes() {
            self.wait_with_mailbox(socket, interest, timeout)?
        } else if self.stop_by.is_some() {
            // A later stop may shorten the patience; nothing rings for that.
            let slice = timeout.map_or(READ_TIMEOUT, |timeout| timeout.min(READ_TIMEOUT));
            wait_for(socket, interest, None, Some(slice))?.0
        } else if interest == Interest::READ && !soon && !self.quiet {
            self.quiet = self.read(true)?;
            return Ok(());
        } else {
            wait_for(socket, interest, Some(self.stopped), timeout)?.0
        };
        self.desk.turn.it_is(Instant::now());
        if ready.write() {
            self.turn(|_, _| {});
        }
        if ready.read() && self.session.wants_input() {
            self.quiet = self.read(false)?;
        }
        Ok(())
    }

    fn wait_with_mailbox(
        &mut self,
        socket: BorrowedFd<'_>,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<Interest> {
        let Berth { waker, bell, .. } = self.berth;
        let Ok(counter) = waker.counter() else {
            // Descriptors are short, which is no fault of this connection: nothing rings meanwhile.
            let timeout = if self.has_news() {
                Duration::ZERO
            } else {
                LOOK_TIMEOUT.min(timeout.unwrap_or(LOOK_TIMEOUT))
            };
            return Ok(wait_for(socket, interest, None, Some(timeout))?.0);
        };
        bell.doze();
        let timeout = if self.has_news() { Some(Duration::ZERO) } else { timeout };
        let waited = wait_for(socket, interest, Some(counter), timeout);
        bell.rise();
        let (ready, rung) = waited?;
        if rung {
            sys::io::quiet(counter);
        }
        Ok(ready)
    }

    /// Whether the bell was rung for something that is still to be seen to.
    fn has_news(&self) -> bool {
        let stop = self.berth.is_stopping() && self.stop_by != self.common.stop.deadline();
        stop || !self.berth.letters.is_empty()
    }

    fn wait_in_memory(
        &mut self,
        socket: &memory::Stream,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let bell = &self.berth.bell;
        bell.doze();
        if interest != Interest::NONE {
            socket.watch(interest, Waker::from(bell.clone()));
        }
        match timeout {
            _ if self.has_news() => {}
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
        bell.rise();
        self.desk.turn.it_is(Instant::now());
        // It is cheaper to try than to ask what woke us.
        if self.session.wants_output() {
            self.turn(|_, _| {});
        }
        if self.session.wants_input() {
            self.read(false)?;
        }
        Ok(())
    }

    /// Reads once. True if nothing came.
    fn read(&mut self, wait: bool) -> io::Result<bool> {
        let (session, token) = (&mut *self.session, self.token);
        let read = match &self.berth.socket {
            Socket::Descriptor(socket) => self.desk.read(session, token, socket.as_fd(), wait),
            Socket::Memory(socket) => self.desk.read_memory(session, token, socket),
        };
        match read {
            Ok(length) => {
                if length == self.desk.scratch.size() && length < READ_BYTES_MAX {
                    self.desk.enlarge(READ_BYTES_MAX);
                }
                Ok(false)
            }
            Err(error) if is_transient(&error) => {
                self.desk.turn.it_is(Instant::now());
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn deliver(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.berth.letters.take(&mut batch);
        // A connection's mailbox outlives nothing but its connection, so all are for it.
        while !batch.is_empty() {
            self.turn(|session, turn| session.deliver_from(&mut batch, turn));
        }
        self.batch = batch;
    }

    fn turn(&mut self, act: impl FnOnce(&mut Session, &mut Turn)) {
        let wire = match &self.berth.socket {
            Socket::Descriptor(socket) => Wire::Stream(socket.as_fd()),
            Socket::Memory(socket) => Wire::Memory(socket),
        };
        self.desk.turn(&mut self.session, self.token, wire, act);
    }
}

/// Gives a blocking handler its connection, and counts what became of it.
pub(super) fn run_blocking(
    common: &Common,
    berth: &Berth,
    socket: OwnedFd,
    service: &Service,
    peer: &Peer,
) {
    let Serve::Blocking(serve) = &service.serve else { return };
    common.tally.opened();
    let entry = service.enter(peer, &common.tally);
    let outcome = contain(|| serve(socket));
    // Here, because one that never returns is no session that ended.
    if berth.forced.load(Ordering::SeqCst) {
        common.stop.forced(0);
    }
    let reason = match outcome {
        Ok(Ok(())) => CloseReason::Finished,
        Ok(Err(error)) => CloseReason::Handler(error),
        Err(panic) => {
            if let Some(watched) = entry.watched() {
                watched.panicked(peer, &panic);
            }
            CloseReason::Panicked
        }
    };
    if let Some(socket) = berth.lent() {
        linger(socket, &common.limits);
    }
    if let Some(watched) = entry.watched() {
        watched.closed(peer, &reason, Instant::now());
    }
    drop(entry);
    common.tally.closed(&reason, false);
}

/// Lets the peer take the last reply, as sessions do: see [`Limits::linger_bytes_max`].
fn linger(socket: BorrowedFd<'_>, limits: &Limits) {
    let until = Instant::now() + limits.linger_timeout.min(LONGEST);
    let mut left = limits.linger_bytes_max;
    let mut waste = [0; 4096];
    if sys::io::shutdown_write(socket).is_err() {
        return;
    }
    while left > 0 {
        let patience = until.saturating_duration_since(Instant::now());
        if patience.is_zero() || sys::io::set_receive_timeout(socket, Some(patience)).is_err() {
            return;
        }
        match sys::io::receive(socket, &mut waste) {
            Ok(0) | Err(_) => return,
            Ok(length) => left = left.saturating_sub(length),
        }
    }
}

/// What a thread reads at most at once, to begin with: most connections never need more.
const READ_BYTES_FIRST: usize = 8 * 1024;

/// And once a read was full.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A message has to be read at once; this is the longest that the system's usual limits let through.
/// Only what a message fills of it becomes memory.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// What its output buffer holds before it grows.
const WRITE_BYTES: usize = 8 * 1024;

/// How long a plain read waits. The thread of a connection that is quiet for longer waits by poll,
/// which a stop can end; so a stop reaches every thread within this time. (To shut the socket's
/// reading side down would end the read at once, but from then on the kernel answers what the peer
/// sends with a reset, and the last reply is lost.)
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a thread waits at most for which there is no descriptor that could wake it.
const LOOK_TIMEOUT: Duration = Duration::from_millis(10);
