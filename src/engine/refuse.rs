//! Refusing: what becomes of a connection that was accepted and has no place.

use super::Common;
use crate::addr::Peer;
use crate::engine::slots::Slots;
use crate::limits::Limits;
use crate::memory;
use crate::observer::Refusal;
use crate::poll::{Interest, Poll};
use crate::sys;
use crate::timers::LONGEST;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What becomes of connections that a server has no place for: beyond
/// [`Limits::connections_max`], or without a descriptor or a thread for them.
///
/// Those beyond [`Limits::connections_per_source_max`] never wait, because others would wait behind
/// them: with [`Wait`](OnFull::Wait) they are closed at once.
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::limits::Limits;
/// use sockeye::server::{OnFull, Server};
/// # use std::time::Duration;
///
/// let mut limits = Limits::default();
/// limits.connections_max = Some(100);
/// let server = Server::tcp("127.0.0.1:0")
///     .limits(limits)
///     .on_full(OnFull::reply("busy: come back later\n"))
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// # server.stop(Duration::from_secs(1));
/// server.join()?;
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// They wait in the system's backlog until there is a place. Right where places become free soon,
    /// and where clients cannot try elsewhere. The default, in a shortage of descriptors too: most are
    /// short, and who waited is served, while who is refused has to know that it may try again.
    ///
    /// A connection is closed all the same that was accepted before its thread, or the second descriptor
    /// of a blocking handler, could not be had: it cannot go back.
    #[default]
    Wait,
    /// They are accepted and closed at once, so that clients learn it and may try elsewhere. For those
    /// that there is no descriptor for (`EMFILE`, `ENFILE`) the server keeps one in reserve, and refuses
    /// one of them at each try: about ten a second.
    Refuse,
    /// They are accepted, sent these bytes as they are, and closed; on seqpacket it is one message. What
    /// the socket does not take at once (a new one takes many thousand bytes) is left out.
    ///
    /// For at most [`Limits::linger_timeout`] the connection then waits for the client to close, so
    /// that the bytes are not lost to a reset; at most 64 do so at once in each thread that accepts, and
    /// the oldest is closed for one more.
    Reply(Vec<u8>),
}

impl OnFull {
    /// [`OnFull::Reply`] with these bytes.
    pub fn reply(bytes: impl Into<Vec<u8>>) -> OnFull {
        OnFull::Reply(bytes.into())
    }

    /// Whether those who are refused are told something.
    pub(super) fn replies(&self) -> bool {
        matches!(self, OnFull::Reply(_))
    }

    fn say(&self, send: impl FnOnce(&[u8]) -> io::Result<usize>) -> bool {
        match self {
            OnFull::Reply(bytes) => send(bytes).is_ok(),
            OnFull::Wait | OnFull::Refuse => false,
        }
    }
}

impl Common {
    /// Counts and refuses an accepted connection, and closes it, now or when its peer has read why.
    pub(super) fn refuse(
        &self,
        socket: OwnedFd,
        peer: Option<&Peer>,
        why: Refusal,
        leaving: Option<&mut Leaving>,
        now: Instant,
    ) {
        self.tally.refused(peer, why);
        let said = self.gate.on_full.say(|bytes| sys::io::send_now(socket.as_fd(), bytes));
        match leaving {
            Some(leaving) if said => leaving.add(socket, now, &self.limits),
            // There is no descriptor to spare: what has come already is read, so that its rest is
            // no reason for a reset.
            None if said => drop(sys::io::receive_now(socket.as_fd(), &mut [0; 4096])),
            _ => {}
        }
    }

    /// The same in memory, where bytes outlive their stream.
    pub(super) fn refuse_memory(&self, socket: &memory::Stream, why: Refusal) {
        self.tally.refused(Some(&Peer::memory()), why);
        self.gate.on_full.say(|bytes| socket.write_now(bytes));
    }
}

/// Connections that were told why and wait for their peers to close. They are in a poll of their own,
/// which is one descriptor in their acceptor's.
pub(super) struct Leaving {
    poll: Poll,
    sockets: Slots<Refused>,
    /// When each is closed at the latest, in this order; those that are gone already may be in it.
    deadlines: VecDeque<(Instant, u64)>,
}

struct Refused {
    socket: OwnedFd,
    /// How much more it may send.
    bytes_left: usize,
}

impl Leaving {
    /// `None` where nobody is told anything.
    pub(super) fn new(on_full: &OnFull) -> io::Result<Option<Leaving>> {
        match on_full {
            OnFull::Wait | OnFull::Refuse => Ok(None),
            OnFull::Reply(_) => Ok(Some(Leaving {
                poll: Poll::new()?,
                sockets: Slots::new(),
                deadlines: VecDeque::new(),
            })),
        }
    }

    fn add(&mut self, socket: OwnedFd, now: Instant, limits: &Limits) {
        if sys::io::shutdown_write(socket.as_fd()).is_err() {
            return;
        }
        while self.sockets.count() >= LEAVING_MAX {
            let Some((_, token)) = self.deadlines.pop_front() else { break };
            self.sockets.remove(token);
        }
        if self.deadlines.len() >= 2 * LEAVING_MAX {
            self.deadlines.retain(|(_, token)| self.sockets.get(*token).is_some());
        }
        let token = self.sockets.next();
        if self.poll.change(socket.as_fd(), token, Interest::NONE, Interest::READ).is_ok() {
            self.sockets.insert(Refused { socket, bytes_left: limits.linger_bytes_max });
            self.deadlines.push_back((now + limits.linger_timeout.min(LONGEST), token));
        }
    }

    /// Reads what their peers have sent, and closes those that have closed or send too much.
    pub(super) fn look(&mut self) {
        if self.poll.wait(Some(Duration::ZERO)).is_err() {
            return;
        }
        for index in 0..self.poll.ready() {
            let token = self.poll.event(index).token;
            if self.sockets.get_mut(token).is_some_and(|refused| !refused.stays()) {
                self.sockets.remove(token);
            }
        }
    }

    /// Closes those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((deadline, token)) = self.deadlines.front().copied() {
            if deadline > now && self.sockets.get(token).is_some() {
                return;
            }
            self.sockets.remove(token);
            self.deadlines.pop_front();
        }
    }

    /// When to [`expire`](Leaving::expire) at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }
}

impl AsFd for Leaving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Refused {
    fn stays(&mut self) -> bool {
        match sys::io::receive_now(self.socket.as_fd(), &mut [0; 4096]) {
            Ok(length) => {
                self.bytes_left = self.bytes_left.saturating_sub(length);
                length > 0 && self.bytes_left > 0
            }
            Err(error) => super::connection::is_transient(&error),
        }
    }
}

/// How many refused connections one acceptor keeps, so that a flood of them holds no more descriptors.
const LEAVING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, OwnedFd) {
        let (peer, ours) = UnixStream::pair().unwrap();
        (peer, ours.into())
    }

    #[test]
    fn a_flood_holds_no_more_than_its_share() {
        let mut leaving = Leaving::new(&OnFull::reply("busy")).unwrap().unwrap();
        let (limits, now) = (Limits::default(), Instant::now());
        let peers: Vec<UnixStream> = (0..3 * LEAVING_MAX)
            .map(|_| {
                let (peer, ours) = pair();
                leaving.add(ours, now, &limits);
                peer
            })
            .collect();
        assert_eq!((leaving.sockets.count(), leaving.deadlines.len()), (LEAVING_MAX, LEAVING_MAX));
        drop(peers);
        leaving.look();
        leaving.expire(now);
        assert_eq!((leaving.sockets.count(), leaving.next()), (0, None));
    }

    #[test]
    fn a_time_that_no_clock_can_express_is_a_long_one() {
        let mut leaving = Leaving::new(&OnFull::reply("busy")).unwrap().unwrap();
        let limits = Limits { linger_timeout: Duration::MAX, ..Limits::default() };
        let (_peer, ours) = pair();
        leaving.add(ours, Instant::now(), &limits);
        leaving.expire(Instant::now());
        assert_eq!(leaving.sockets.count(), 1);
    }

    #[test]
    fn nobody_stays_for_ever_or_sends_for_ever() {
        use std::io::Write;
        let mut leaving = Leaving::new(&OnFull::reply("busy")).unwrap().unwrap();
        let limits = Limits { linger_bytes_max: 10, ..Limits::default() };
        let now = Instant::now();
        let ((_silent, one), (mut loud, two)) = (pair(), pair());
        leaving.add(one, now, &limits);
        leaving.add(two, now, &limits);
        loud.write_all(&[0; 9]).unwrap();
        leaving.look();
        assert_eq!(leaving.sockets.count(), 2);
        loud.write_all(&[0; 1]).unwrap();
        leaving.look();
        assert_eq!(leaving.sockets.count(), 1);
        leaving.expire(leaving.next().unwrap() - Duration::from_millis(1));
        assert_eq!(leaving.sockets.count(), 1);
        leaving.expire(now + limits.linger_timeout);
        assert_eq!((leaving.sockets.count(), leaving.next()), (0, None));
    }
}
