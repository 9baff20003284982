//! The race: which attempt starts when, and how it ends. Happy Eyeballs version 2, RFC 8305.
//!
//! ```text
//!   in:  now, failed(attempt), connected(attempt)
//!   out: start this attempt, give that one up, wait until then, over
//! ```
//!
//! It knows numbers and instants: no address, no descriptor and no clock. Whoever drives it asks
//! [`step`](Race::step) until it says wait or over, then waits for its sockets until that instant.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How attempts follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The next one starts after this delay, or as soon as one fails.
    Staggered(Duration),
    /// The next one starts when the one before has failed or used its share of the time.
    Sequential,
}

impl Pace {
    /// Staggered, with a delay between 10 ms and 2 s: RFC 8305, section 8.
    pub(crate) fn staggered(delay: Duration) -> Pace {
        Pace::Staggered(delay.clamp(DELAY_MIN, DELAY_MAX))
    }

    /// How many attempts may be under way at once.
    fn seats(self) -> usize {
        match self {
            Pace::Staggered(_) => ATTEMPTS_MAX,
            Pace::Sequential => 1,
        }
    }

    fn delay(self) -> Duration {
        match self {
            Pace::Staggered(delay) => delay,
            Pace::Sequential => Duration::ZERO,
        }
    }
}

impl Default for Pace {
    /// 250 ms, as RFC 8305 recommends.
    fn default() -> Pace {
        Pace::Staggered(DELAY)
    }
}

/// Attempts, by their numbers in the order in which they start.
#[derive(Debug)]
pub(crate) struct Race {
    count: usize,
    pace: Pace,
    deadline: Instant,
    /// The first that has not started.
    next: usize,
    /// Not before then; `None` is at once.
    next_at: Option<Instant>,
    /// Who is under way, and how long each may be.
    running: Vec<(usize, Instant)>,
    end: Option<End>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Start(usize),
    /// Close it: its share of the time is used up.
    GiveUp(usize),
    /// Nothing, until then or until an attempt is decided.
    Wait(Instant),
    /// Close all but the winner.
    Over(End),
}

/// How a race ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Won(usize),
    /// Every attempt has failed.
    Failed,
    /// The deadline passed.
    TimedOut,
}

impl Race {
    pub(crate) fn new(count: usize, pace: Pace, deadline: Instant) -> Race {
        let (running, end) = (Vec::new(), None);
        Race { count, pace, deadline, next: 0, next_at: None, running, end }
    }

    /// What is to be done now. To be asked again until it is to wait, or over.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        if let Some(end) = self.end {
            return Step::Over(end);
        }
        if now >= self.deadline {
            return self.over(End::TimedOut);
        }
        if let Some(at) = self.running.iter().position(|(_, until)| *until <= now) {
            let (attempt, _) = self.running.remove(at);
            self.next_at = None;
            return Step::GiveUp(attempt);
        }
        let wanted = self.next < self.count && self.running.len() < self.pace.seats();
        let next_at = self.next_at.filter(|_| wanted);
        if wanted && next_at.is_none_or(|at| at <= now) {
            let attempt = self.next;
            self.running.push((attempt, now + self.share(now)));
            self.next_at = Some(now + self.pace.delay());
            self.next += 1;
            return Step::Start(attempt);
        }
        if self.running.is_empty() && next_at.is_none() {
            return self.over(End::Failed);
        }
        let ends = self.running.iter().map(|(_, until)| *until);
        Step::Wait(ends.chain(next_at).fold(self.deadline, Instant::min))
    }

    /// An attempt has failed: the next one starts at once.
    pub(crate) fn failed(&mut self, attempt: usize) {
        let before = self.running.len();
        self.running.retain(|(running, _)| *running != attempt);
        if self.running.len() < before {
            self.next_at = None;
        }
    }

    /// An attempt has connected. Whether it has won: it has not if it is too late.
    pub(crate) fn connected(&mut self, attempt: usize) -> bool {
        let runs = self.running.iter().any(|(running, _)| *running == attempt);
        if runs {
            self.over(End::Won(attempt));
        }
        runs
    }

    /// How long the next attempt may take: all the time that is left, or its fair share if others
    /// wait for its seat; but no less than [`SHARE_MIN`], as long as there is so much.
    fn share(&self, now: Instant) -> Duration {
        let left = self.deadline.saturating_duration_since(now);
        let (waiting, seats) = (self.count - self.next, self.pace.seats());
        if waiting <= seats {
            return left;
        }
        left.mul_f64(seats as f64 / waiting as f64).max(SHARE_MIN).min(left)
    }

    fn over(&mut self, end: End) -> Step {
        self.end = Some(end);
        self.running.clear();
        Step::Over(end)
    }
}

/// The order of the attempts: RFC 8305, section 4. The families take turns, after `first` addresses of
/// the family that the resolver prefers; within each the resolver's order is kept.
pub(crate) fn interleave(addresses: Vec<SocketAddr>, first: usize) -> Vec<SocketAddr> {
    let Some(preferred) = addresses.first().map(SocketAddr::is_ipv4) else { return addresses };
    let count = addresses.len();
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == preferred);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut order: Vec<SocketAddr> = preferred.by_ref().take(first.max(1)).collect();
    while order.len() < count {
        order.extend(others.next());
        order.extend(preferred.next());
    }
    order
}

/// RFC 8305, section 8, has the delay and its bounds.
const DELAY: Duration = Duration::from_millis(250);
const DELAY_MIN: Duration = Duration::from_millis(10);
const DELAY_MAX: Duration = Duration::from_secs(2);

/// Attempts under way at once: a name with many addresses is not to become a flood.
pub(crate) const ATTEMPTS_MAX: usize = 6;

/// A share of the time that still leaves a SYN room to be lost and sent again, after 1 s.
const SHARE_MIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
