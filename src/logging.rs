//! An observer that writes through the crate `log`, with the feature of that name.

use crate::addr::{Endpoint, Peer};
use crate::error::Error;
use crate::handler::CloseReason;
use crate::observer::{Escaped, Observer, Refusal};
use log::Level;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Writes what is observed through the crate [`log`](https://docs.rs/log), with the target `sockeye`.
///
/// | level | what |
/// |---|---|
/// | error | a panic |
/// | warn | descriptors, threads or memory are short; a handler has failed |
/// | info | a peer was refused, sent what is no frame, or does not read; a name was not found |
/// | debug | all else, a reset by the peer among it |
///
/// Whatever may come from a peer is [escaped](Escaped). Of each kind there are at most ten lines a second:
/// what a flood adds is counted and told with the next line of its kind, and when the observer is dropped.
/// Lines that the logger does not want are not counted.
///
/// A logger that blocks, on a full pipe for example, holds up the server.
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::logging::Log;
/// use sockeye::server::Server;
/// # use std::time::Duration;
///
/// let server = Server::tcp("127.0.0.1:0")
///     .observer(Log::default())
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// # server.stop(Duration::from_secs(1));
/// server.join()?;
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Log {
    rates: [Mutex<Rate>; KINDS.len()],
}

/// Each is limited by itself, so that a flood of one does not hide another.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Resolved,
    Attempted,
    Came,
    Refused,
    Closed,
    Failed,
    Stalled,
    Panicked,
    Shortage,
}

const KINDS: [(Kind, Level, &str); 9] = [
    (Kind::Resolved, Level::Debug, "lookups"),
    (Kind::Attempted, Level::Debug, "attempts"),
    (Kind::Came, Level::Debug, "peers"),
    (Kind::Refused, Level::Info, "refusals"),
    (Kind::Closed, Level::Debug, "sessions that ended"),
    (Kind::Failed, Level::Warn, "sessions that failed"),
    (Kind::Stalled, Level::Debug, "stalls"),
    (Kind::Panicked, Level::Error, "panics"),
    (Kind::Shortage, Level::Warn, "shortages"),
];

/// Lines of one kind that are written in a second.
const LINES_MAX: u32 = 10;

#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    written: u32,
    more: u64,
}

impl Rate {
    /// Whether another line may be written now, and how many were not before it.
    fn another(&mut self, now: Instant) -> Option<u64> {
        let fresh = self.since.is_none_or(|since| now - since >= Duration::from_secs(1));
        if fresh {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written == LINES_MAX {
            self.more += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.more))
    }
}

impl Log {
    fn write(&self, kind: Kind, level: Level, line: fmt::Arguments<'_>) {
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        let rate = &self.rates[kind as usize];
        let before = rate.lock().unwrap_or_else(PoisonError::into_inner).another(Instant::now());
        match before {
            None => {}
            Some(0) => log::log!(target: TARGET, level, "{}", Escaped(line)),
            Some(more) => {
                log::log!(target: TARGET, level, "{} ({more} more before)", Escaped(line));
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for ((_, level, what), rate) in KINDS.iter().zip(&mut self.rates) {
            let more = rate.get_mut().unwrap_or_else(PoisonError::into_inner).more;
            if more > 0 {
                log::log!(target: TARGET, *level, "{more} more {what}");
            }
        }
    }
}

const TARGET: &str = "sockeye";

impl Observer for Log {
    fn resolved(
        &self,
        endpoint: &Endpoint,
        found: Result<&[SocketAddr], &Error>,
        lasted: Duration,
    ) {
        match found {
            Ok(found) => self.write(
                Kind::Resolved,
                Level::Debug,
                format_args!("{endpoint}: {} addresses in {lasted:?}", found.len()),
            ),
            Err(error) => self.write(Kind::Resolved, Level::Info, format_args!("{error}")),
        }
    }

    fn attempted(&self, to: SocketAddr, failure: Option<&dyn fmt::Display>, lasted: Duration) {
        let line = |line: fmt::Arguments<'_>| self.write(Kind::Attempted, Level::Debug, line);
        match failure {
            None => line(format_args!("connected to {to} in {lasted:?}")),
            Some(failure) => line(format_args!("{to}: {failure}, after {lasted:?}")),
        }
    }

    fn accepted(&self, peer: &Peer, at: &Endpoint) {
        self.write(Kind::Came, Level::Debug, format_args!("{peer} came in at {at}"));
    }

    fn adopted(&self, peer: &Peer) {
        self.write(Kind::Came, Level::Debug, format_args!("{peer} was adopted"));
    }

    fn refused(&self, peer: &Peer, why: Refusal) {
        self.write(Kind::Refused, Level::Info, format_args!("{peer} was refused: {why}"));
    }

    fn closed(&self, peer: &Peer, reason: &CloseReason, lasted: Duration) {
        let (kind, level) = rank(reason);
        self.write(kind, level, format_args!("{peer}: {reason}, after {lasted:?}"));
    }

    fn stalled(&self, peer: &Peer, unsent: usize) {
        let line = format_args!("{peer} does not read: {unsent} bytes wait");
        self.write(Kind::Stalled, Level::Debug, line);
    }

    fn flowed(&self, peer: &Peer) {
        self.write(Kind::Stalled, Level::Debug, format_args!("{peer} reads again"));
    }

    fn panicked(&self, peer: Option<&Peer>, message: &str) {
        let line = |line: fmt::Arguments<'_>| self.write(Kind::Panicked, Level::Error, line);
        match peer {
            Some(peer) => line(format_args!("panic in a callback for {peer}: {message}")),
            None => line(format_args!("panic in a callback: {message}")),
        }
    }

    fn shortage_began(&self, at: &Endpoint, error: &io::Error) {
        self.write(Kind::Shortage, Level::Warn, format_args!("{at} cannot accept: {error}"));
    }

    fn shortage_ended(&self, at: &Endpoint) {
        self.write(Kind::Shortage, Level::Info, format_args!("{at} accepts again"));
    }
}

fn rank(reason: &CloseReason) -> (Kind, Level) {
    match reason {
        CloseReason::Handler(_) => (Kind::Failed, Level::Warn),
        CloseReason::Frame(_)
        | CloseReason::OutputFull { .. }
        | CloseReason::WriteStall
        | CloseReason::SlowReader => (Kind::Failed, Level::Info),
        // The network does that; and a panic was told when it happened.
        _ => (Kind::Closed, Level::Debug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_is_told_of_as_such_however_it_is_found_out() {
        let full = CloseReason::OutputFull { bytes: 2, limit: 1 };
        for reason in [full, CloseReason::WriteStall, CloseReason::SlowReader] {
            assert_eq!(rank(&reason).1, Level::Info, "{reason}");
        }
        assert_eq!(rank(&CloseReason::Aborted).1, Level::Debug);
    }

    #[test]
    fn ten_lines_a_second_and_the_rest_is_counted() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        for index in 0..10 {
            assert_eq!(rate.another(at(index)), Some(0));
        }
        assert_eq!(rate.another(at(10)), None);
        assert_eq!(rate.another(at(999)), None);
        assert_eq!(rate.another(at(1000)), Some(2));
        assert_eq!(rate.another(at(1001)), Some(0));
    }

    #[test]
    fn every_kind_is_in_its_place() {
        for (index, (kind, _, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }
}
