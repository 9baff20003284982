//! A conversation with a handler, without engine, thread and clock.

use super::heard::Heard;
use crate::addr::Peer;
use crate::buffer::Out;
use crate::codec::{Codec, FrameError};
use crate::handler::{CloseReason, Handler, Side, Turn};
use crate::limits::Limits;
use crate::mailbox::{Bell, Mailbox};
use crate::session::{Batch, Session, Spare};
use crate::timers::LONGEST;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The peer of a handler, in the hands of a test: it says something, looks at what came back, and
/// lets time pass.
///
/// The session is the one that servers run, with its limits, back-pressure and close reasons; only
/// the bytes go nowhere and the clock stands still until [`advance`](Conversation::advance). Nothing
/// blocks. Once the session is over, nothing happens any more, whatever is called.
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::handler::{CloseReason, Context};
/// use sockeye::testing::Conversation;
/// use std::time::Duration;
///
/// let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
/// let mut peer = Conversation::new(Lines::default(), echo);
/// peer.send_bytes(b"one\ntw");
/// assert_eq!(peer.take_bytes(), b"one\n");
/// peer.send_bytes(b"o\n");
/// assert_eq!(peer.receive()?, Some("two"));
///
/// // Ten minutes of silence, then the linger time.
/// peer.advance(Duration::from_secs(601));
/// assert!(matches!(peer.close_reason(), Some(CloseReason::IdleTimeout)));
/// # Ok::<(), sockeye::codec::FrameError>(())
/// ```
pub struct Conversation<C: Codec> {
    /// None once it is over.
    session: Option<Box<Session>>,
    reason: Option<CloseReason>,
    /// The peer's own: what it says and hears is encoded as the handler does it.
    codec: C,
    turn: Turn,
    spare: Spare,
    began: Instant,
    /// Said and not taken yet: messages, or pieces of a stream.
    said: VecDeque<Vec<u8>>,
    /// The peer has said its last.
    through: bool,
    heard: Heard,
    /// The frame that was received last.
    frame: Vec<u8>,
}

impl<C: Codec> Conversation<C> {
    /// Over a stream, with the default limits. Calls `on_open`.
    pub fn new<H: Handler<C>>(codec: C, handler: H) -> Conversation<C> {
        Conversation::with(codec, handler, Peer::memory(), Limits::default())
    }

    /// With this peer under these limits. The transport of the peer decides what the conversation is:
    /// [`Peer::udp`] makes it one of datagrams.
    ///
    /// ```
    /// use sockeye::Peer;
    /// use sockeye::codec::Lines;
    /// use sockeye::handler::Context;
    /// use sockeye::limits::Limits;
    /// use sockeye::testing::Conversation;
    /// use std::net::SocketAddr;
    ///
    /// let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    /// let peer = Peer::udp(SocketAddr::from(([192, 0, 2, 1], 4711)));
    /// let mut peer = Conversation::with(Lines::default(), echo, peer, Limits::default());
    /// peer.send_bytes(b"a datagram is a line");
    /// assert_eq!(peer.take_bytes(), b"a datagram is a line");
    /// ```
    pub fn with<H: Handler<C>>(
        codec: C,
        handler: H,
        peer: Peer,
        limits: Limits,
    ) -> Conversation<C> {
        let now = Instant::now();
        let messages = peer.transport().keeps_messages();
        let bell = Bell::new(Waker::noop().clone());
        let letters = Mailbox::new(bell, limits.mailbox_items_max);
        let limits = Arc::new(limits);
        let session = Session::new(codec.clone(), handler, peer, Side::Accepted, limits);
        let mut conversation = Conversation {
            session: Some(session),
            reason: None,
            codec,
            turn: Turn::new(Box::new(Out::new(OUT_BYTES)), letters, Arc::default(), now),
            spare: Spare::new(OUT_BYTES),
            began: now,
            said: VecDeque::new(),
            through: false,
            heard: Heard::new(messages),
            frame: Vec::new(),
        };
        conversation.turn(Session::open);
        conversation.run();
        conversation
    }

    /// The peer sends a frame.
    ///
    /// # Errors
    ///
    /// The codec refuses the item.
    pub fn send(&mut self, item: &C::Item) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        let body = self.codec.encode(item, &mut bytes)?;
        match bytes.get(body) {
            Some(body) if self.heard.messages => self.send_bytes(body),
            _ => self.send_bytes(&bytes),
        }
        Ok(())
    }

    /// The peer sends bytes: some of a stream, wherever a frame ends, or one message. What a paused
    /// handler does not take waits, save datagrams, which are lost.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        // An empty message is one; an empty piece of a stream is nothing.
        if !self.through && (self.heard.messages || !bytes.is_empty()) {
            self.said.push_back(bytes.to_vec());
        }
        self.run();
    }

    /// The peer will send nothing more; it still hears. Datagrams have no end.
    pub fn shutdown_write(&mut self) {
        let datagrams = self.session.as_mut().is_some_and(|session| session.state().is_datagram());
        self.through |= !datagrams;
        self.run();
    }

    /// The peer cuts the connection: the session is lost, as by a TCP reset. Datagrams have none.
    pub fn reset(&mut self) {
        if let Some(session) = &mut self.session {
            if !session.state().is_datagram() {
                session.lost(io::ErrorKind::ConnectionReset.into());
            }
        }
        self.run();
    }

    /// The server is stopping.
    pub fn stop(&mut self) {
        // What was sent before the stop is not lost by it.
        self.run();
        self.turn(Session::stop);
        self.run();
    }

    /// Lets this much time pass. Timers and limits run out each at its own time, in order.
    pub fn advance(&mut self, by: Duration) {
        let until = self.turn.now() + by.min(LONGEST);
        self.run();
        while let Some(due) = self.session.as_ref().and_then(|session| session.deadline(&self.turn))
        {
            if due > until {
                break;
            }
            self.turn.it_is(due.max(self.turn.now()));
            self.turn(Session::tick);
            self.run();
        }
        self.turn.it_is(until);
    }

    /// How much time has passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.turn.now() - self.began
    }

    /// Delivers what [`Remote`](crate::handler::Remote)s of this session have sent. Everything else
    /// that is called here does so too.
    pub fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.step() {
                return;
            }
        }
    }

    /// The next frame that the handler sent; none if it has sent no whole one. It is borrowed, and must
    /// be let go before anything else is done.
    ///
    /// # Errors
    ///
    /// What the handler sent is no frame; it is thrown away.
    pub fn receive(&mut self) -> Result<Option<C::Frame<'_>>, FrameError> {
        self.run();
        let Some(frame) = self.heard.next_frame(&mut self.codec)? else { return Ok(None) };
        self.frame = frame;
        // There is room again.
        self.run();
        self.codec.view(&self.frame).map(Some)
    }

    /// All bytes that the handler sent and nobody took; of messages, those of the next. Empty if there
    /// are none.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.run();
        let bytes = self.heard.next_piece();
        self.run();
        bytes
    }

    /// How many bytes the peer's side holds that nobody took: beyond that the handler's output waits,
    /// as behind a full socket buffer. Default: no bound. A message is taken as a whole where there is
    /// any room.
    pub fn set_window(&mut self, bytes: usize) {
        self.heard.window = bytes;
        self.run();
    }

    /// Whether the handler's side has said its last: the peer would read the end.
    pub fn has_ended(&self) -> bool {
        self.heard.ended
    }

    /// Whether the handler's side has cut the connection: the peer would see a reset.
    pub fn was_reset(&self) -> bool {
        self.heard.reset
    }

    /// Why the session ended; none as long as it goes on. A session that has
    /// [finished](crate::handler::Context::finish) goes on until the peer is through or the linger time
    /// is over.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.as_ref()
    }

    /// Ends the conversation as the peer, and says why the session ended. One that goes on all the same
    /// is cut off as [`Stopped`](CloseReason::Stopped).
    pub fn close(mut self) -> CloseReason {
        self.shutdown_write();
        if let Some(session) = &mut self.session {
            session.force(CloseReason::Stopped);
            self.conclude();
        }
        self.reason.unwrap_or(CloseReason::Finished)
    }

    /// Whatever an engine would do next. False if there is nothing.
    fn step(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        if session.is_over() {
            self.conclude();
            return false;
        }
        if !self.turn.letters.is_empty() {
            let mut batch = Batch::new();
            self.turn.letters.take(&mut batch);
            while !batch.is_empty() {
                self.turn(|session, turn| session.deliver_from(&mut batch, turn));
            }
            return true;
        }
        if session.wants_turn() {
            self.turn(Session::resume);
            return true;
        }
        if session.wants_output() && self.heard.room() > 0 {
            self.turn(|_, _| {});
            return true;
        }
        let (datagrams, records) = (session.state().is_datagram(), session.takes_records());
        if !session.wants_input() && !datagrams {
            return false;
        }
        match self.said.pop_front() {
            Some(message) if datagrams => {
                self.turn(|session, turn| session.receive_message(&message, turn));
            }
            Some(message) if records => {
                self.turn(|session, turn| session.receive_record(&message, turn));
            }
            Some(piece) => self.feed(&piece),
            None if self.through => self.turn(Session::eof),
            None => return false,
        }
        true
    }

    fn feed(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let taken = self.turn(|session, turn| session.receive(piece, turn));
            if taken == 0 {
                // It can go no further for now: an engine would keep the rest with the session too.
                if let Some(session) = &mut self.session {
                    session.keep(piece);
                }
                return;
            }
            piece = &piece[taken..];
        }
    }

    /// One turn of the session: `act`, and then what it said goes out.
    fn turn<T: Default>(&mut self, act: impl FnOnce(&mut Session, &mut Turn) -> T) -> T {
        let Conversation { session, turn, spare, heard, .. } = self;
        let Some(session) = session else { return T::default() };
        turn.begin(0, session.state().limits.frames_per_turn.max(1), &[]);
        let result = act(session, turn);
        for _ in 0..DRAINS_PER_TURN {
            heard.ended |= session.flush(turn, &[], spare, |bytes| heard.take(bytes));
            if !session.drain(turn) {
                break;
            }
        }
        result
    }

    fn conclude(&mut self) {
        let Some(session) = self.session.take() else { return };
        self.heard.reset = session.wants_reset();
        self.heard.ended |= !self.heard.reset;
        let (reason, panicked) = session.conclude(self.turn.now());
        self.reason = Some(if panicked { CloseReason::Panicked } else { reason });
        self.turn.letters.close();
    }
}

impl<C: Codec> fmt::Debug for Conversation<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("elapsed", &self.elapsed())
            .field("unread", &self.heard.unread())
            .field("close_reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// What the output buffer holds before it grows.
const OUT_BYTES: usize = 1024;

/// How often a handler may refill its output within one turn, as in the engines.
const DRAINS_PER_TURN: usize = 4;

/// A handler may find work for itself without end; what is left then waits for the next call.
const TURNS_MAX: usize = 10_000;
