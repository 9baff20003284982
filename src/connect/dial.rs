//! A race with sockets: it begins attempts, asks what became of them, and closes those that lose.
//!
//! It never waits. Whoever drives it polls [`sockets`](Dial::sockets) until the instant that
//! [`advance`](Dial::advance) names, and tells it which are ready. So one thread can drive one race, or
//! all races of a server.

use super::Manner;
use super::race::{End, Pace, Race, Step, interleave};
use super::report::{Attempt, Fate, Report, Unconnected, Why};
use crate::addr::{IpVersion, SocketType};
use crate::socket::begin::{begin, finish};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The attempts on the addresses of one endpoint.
#[derive(Debug)]
pub(crate) struct Dial {
    manner: Manner,
    kind: SocketType,
    addresses: Vec<SocketAddr>,
    race: Race,
    /// Who is under way.
    sockets: Vec<(usize, OwnedFd)>,
    winner: Option<OwnedFd>,
    report: Report,
    began: Instant,
    literal: bool,
}

/// A connected socket that blocks, and how it came about.
pub(crate) type Dialed = Result<(OwnedFd, Report), Unconnected>;

/// How far a dial is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// To be advanced when a socket is ready, and then at the latest.
    Wait(Instant),
    Over(Dialed),
}

/// What a dial is told of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) began: Instant,
    pub(crate) looked_up: Instant,
    pub(crate) deadline: Instant,
}

impl Dial {
    /// `literal` says that the address was given, and no name.
    pub(crate) fn new(
        manner: Manner,
        kind: SocketType,
        addresses: Vec<SocketAddr>,
        literal: bool,
        times: Times,
    ) -> Dial {
        let fits = |address: &SocketAddr| {
            manner.from.is_none_or(|from| from.is_ipv4() == address.is_ipv4())
        };
        let addresses = addresses.into_iter().map(reachable).filter(fits);
        let mut addresses: Vec<SocketAddr> = addresses.collect();
        match manner.first {
            IpVersion::Any => {}
            first => addresses.sort_by_key(|to| to.is_ipv4() != (first == IpVersion::V4)), // stable
        }
        let addresses = match manner.pace {
            Pace::Staggered(_) => interleave(addresses, FIRST_FAMILY_COUNT),
            Pace::Sequential => addresses,
        };
        let race = Race::new(addresses.len(), manner.pace, times.deadline);
        let lookup = match literal {
            true => Duration::ZERO,
            false => times.looked_up.saturating_duration_since(times.began),
        };
        let report = Report { attempts: Vec::new(), lookup, elapsed: Duration::ZERO };
        let (sockets, winner, began) = (Vec::new(), None, times.began);
        Dial { manner, kind, addresses, race, sockets, winner, report, began, literal }
    }

    /// Begins what is to begin, gives up what took too long.
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
        loop {
            match self.race.step(now) {
                Step::Start(attempt) => self.start(attempt),
                Step::GiveUp(attempt) => {
                    self.sockets.retain(|(other, _)| *other != attempt);
                    self.decide(attempt, Fate::Unanswered);
                }
                Step::Wait(until) => return Progress::Wait(until),
                Step::Over(end) => return Progress::Over(self.over(end)),
            }
        }
    }

    /// What to poll for writing, until the next call of another method.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }

    /// Which of the [`sockets`](Dial::sockets) were ready.
    pub(crate) fn settle(&mut self, ready: impl IntoIterator<Item = bool>) {
        let sockets = std::mem::take(&mut self.sockets);
        for ((attempt, socket), ready) in sockets.into_iter().zip(ready) {
            match ready {
                true => self.decided(attempt, socket),
                false => self.sockets.push((attempt, socket)),
            }
        }
    }

    /// Gives up.
    pub(crate) fn cancel(mut self) -> Unconnected {
        self.unconnected(Why::Cancelled)
    }

    fn start(&mut self, attempt: usize) {
        let address = self.addresses[attempt];
        let (began, elapsed) = (self.began.elapsed(), Duration::ZERO);
        self.report.attempts.push(Attempt { address, began, elapsed, fate: Fate::Unanswered });
        if !self.manner.allows(address) {
            self.decide(attempt, Fate::Denied);
            return self.race.failed(attempt);
        }
        let Manner { options, from, .. } = &self.manner;
        let prepare = |socket: BorrowedFd<'_>| self.manner.prepare(socket, address);
        match begin(address, self.kind, options, *from, &prepare) {
            Ok((socket, true)) => self.sockets.push((attempt, socket)),
            Ok((socket, false)) => self.decided(attempt, socket),
            Err(error) => self.failed(attempt, error),
        }
    }

    /// The kernel has decided about an attempt.
    fn decided(&mut self, attempt: usize, socket: OwnedFd) {
        match finish(&socket) {
            Ok(()) if self.race.connected(attempt) => {
                self.winner = Some(socket);
                self.decide(attempt, Fate::Won);
            }
            // Another one was a moment faster.
            Ok(()) => self.decide(attempt, Fate::Unanswered),
            Err(error) => self.failed(attempt, error),
        }
    }

    fn failed(&mut self, attempt: usize, error: std::io::Error) {
        self.decide(attempt, Fate::Failed(error));
        self.race.failed(attempt);
    }

    fn decide(&mut self, attempt: usize, fate: Fate) {
        let since = self.began.elapsed();
        let attempt = &mut self.report.attempts[attempt];
        attempt.elapsed = since.saturating_sub(attempt.began);
        attempt.fate = fate;
    }

    /// Everybody but the winner is closed.
    fn over(&mut self, end: End) -> Dialed {
        let Some(winner) = self.winner.take() else {
            let timed_out = end == End::TimedOut;
            return Err(self.unconnected(match self.manner.from {
                Some(from) if self.addresses.is_empty() => Why::NoAddress(from),
                _ => Why::Attempts { timed_out },
            }));
        };
        self.let_go();
        Ok((winner, self.take_report()))
    }

    fn unconnected(&mut self, why: Why) -> Unconnected {
        self.let_go();
        let began = self.began.elapsed();
        for address in self.addresses.iter().skip(self.report.attempts.len()) {
            let (address, fate) = (*address, Fate::NotTried);
            let elapsed = Duration::ZERO;
            self.report.attempts.push(Attempt { address, began, elapsed, fate });
        }
        Unconnected { report: self.take_report(), why, literal: self.literal }
    }

    fn let_go(&mut self) {
        for (attempt, socket) in std::mem::take(&mut self.sockets) {
            drop(socket);
            self.decide(attempt, Fate::Unanswered);
        }
    }

    fn take_report(&mut self) -> Report {
        let attempts = std::mem::take(&mut self.report.attempts);
        Report { attempts, elapsed: self.began.elapsed(), ..self.report }
    }
}

/// To the kernel, an unspecified address is that of this host: here too, so that a policy and a report
/// are about the address that is connected.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()
        }
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().to_canonical().is_unspecified() {
        address.set_ip(loopback);
    }
    address
}

/// How many addresses of the preferred family are tried before the other has its turn.
const FIRST_FAMILY_COUNT: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::wait_for_any;
    use std::net::TcpListener;

    #[test]
    fn of_two_that_connect_in_one_moment_the_second_is_closed_and_reported() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let now = Instant::now();
        let (later, deadline) = (now + 2 * DELAY, now + 1_000 * DELAY);
        // As if it had begun a while ago: a time since then is not one since the attempt began.
        let times = Times { began: now - 1_000 * DELAY, looked_up: now, deadline };
        let manner = Manner { pace: Pace::staggered(DELAY), ..Manner::default() };
        let mut dial = Dial::new(manner, SocketType::Stream, addresses, true, times);
        assert!(matches!(dial.advance(now), Progress::Wait(_)));
        assert!(matches!(dial.advance(later), Progress::Wait(_)));
        let ready = loop {
            let sockets: Vec<BorrowedFd<'_>> = dial.sockets().collect();
            let ready = wait_for_any(&sockets, &[], None).unwrap();
            if ready == [true; 2] {
                break ready;
            }
        };
        dial.settle(ready);
        assert_eq!(dial.sockets().count(), 0);
        let Progress::Over(Ok((_, report))) = dial.advance(later) else { panic!("nobody won") };
        let [first, second] = report.attempts() else { panic!("{report}") };
        assert!(matches!((first.fate(), second.fate()), (Fate::Won, Fate::Unanswered)), "{report}");
        for attempt in [first, second] {
            let over = attempt.began() + attempt.elapsed();
            assert!(!attempt.elapsed().is_zero() && over <= report.elapsed(), "{report}");
        }
    }

    const DELAY: Duration = Duration::from_millis(10);
}
