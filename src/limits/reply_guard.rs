//! How much a UDP server answers a source that may be forged.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Limits for what a UDP server sends to one source, which is an IP address.
///
/// Whoever sends a datagram may write any address into it, so what answers can be made to flood a third
/// party (an amplifier), or to talk with another server for ever (a loop). With a guard neither gets far:
/// see [`Server::reply_guard`](crate::server::Server::reply_guard). What is beyond it is dropped and
/// counted, as [`Counters::replies_guarded`](crate::engine::Counters::replies_guarded).
///
/// It guards the others, not this server: who sends from very many addresses has a fresh allowance with
/// each of them.
///
/// # Examples
///
/// ```
/// use sockeye::limits::ReplyGuard;
///
/// let mut guard = ReplyGuard::default();
/// guard.replies_per_second = 200;
/// assert_eq!((guard.factor, guard.burst), (3, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplyGuard {
    /// A source is sent at most this many times the bytes that came from it (payload, as RFC 9000,
    /// section 8.1, counts them): 3. An empty datagram is not answered. What is not used is kept, up to
    /// 1 MiB.
    pub factor: u32,
    /// Datagrams that a source is sent in a second, in the long run: 50.
    ///
    /// This is what ends a loop: the datagram that goes round is dropped as soon as it goes round faster
    /// than this. A slower one is not found, and harms nobody.
    pub replies_per_second: u32,
    /// Datagrams that a source is sent at once after a pause: 100. At least one.
    pub burst: u32,
    /// Sources that are remembered: 16,384, at about 100 bytes each. The ones that were not heard for
    /// the longest time are forgotten first, and what is sent to them later is dropped.
    pub sources_max: usize,
}

impl Default for ReplyGuard {
    fn default() -> ReplyGuard {
        ReplyGuard { factor: 3, replies_per_second: 50, burst: 100, sources_max: 16 * 1024 }
    }
}

/// The guard at work: what each source has sent, and may be sent.
#[derive(Debug)]
pub(crate) struct Replies {
    guard: ReplyGuard,
    /// Heard since the tables were last turned over, and before that. Together no more than
    /// `sources_max`.
    young: HashMap<IpAddr, Allowance>,
    old: HashMap<IpAddr, Allowance>,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    bytes: u64,
    /// When the next reply would be due if they left evenly. It may leave earlier by a burst.
    due: Instant,
}

impl Replies {
    pub(crate) fn new(guard: ReplyGuard) -> Replies {
        Replies { guard, young: HashMap::new(), old: HashMap::new() }
    }

    /// So many bytes came from there.
    pub(crate) fn heard(&mut self, source: IpAddr, bytes: usize, now: Instant) {
        let source = source.to_canonical();
        let earned = (bytes as u64).saturating_mul(self.guard.factor.into());
        if !self.young.contains_key(&source) {
            if self.young.len() >= (self.guard.sources_max / 2).max(1) {
                self.old = std::mem::take(&mut self.young);
            }
            let known = self.old.remove(&source).unwrap_or(Allowance { bytes: 0, due: now });
            self.young.insert(source, known);
        }
        if let Some(allowance) = self.young.get_mut(&source) {
            allowance.bytes = allowance.bytes.saturating_add(earned).min(BYTES_MAX);
        }
    }

    /// Whether so many bytes may be sent there now; if so, they count as sent.
    pub(crate) fn may_send(&mut self, to: IpAddr, bytes: usize, now: Instant) -> bool {
        let ahead = self.interval().saturating_mul(self.guard.burst.max(1) - 1);
        let interval = self.interval();
        let Some(allowance) = self.allowance(to) else { return false };
        let due = allowance.due.max(now);
        let left = allowance.bytes.checked_sub(bytes as u64);
        match (left, due.checked_add(interval)) {
            (Some(left), Some(next)) if due.saturating_duration_since(now) <= ahead => {
                *allowance = Allowance { bytes: left, due: next };
                // An empty reply costs a request that had something in it.
                bytes > 0 || left > 0
            }
            _ => false,
        }
    }

    /// They were not sent after all.
    pub(crate) fn not_sent(&mut self, to: IpAddr, bytes: usize) {
        let interval = self.interval();
        if let Some(allowance) = self.allowance(to) {
            allowance.bytes = allowance.bytes.saturating_add(bytes as u64).min(BYTES_MAX);
            allowance.due = allowance.due.checked_sub(interval).unwrap_or(allowance.due);
        }
    }

    fn allowance(&mut self, source: IpAddr) -> Option<&mut Allowance> {
        let source = source.to_canonical();
        match self.young.get_mut(&source) {
            None => self.old.get_mut(&source),
            found => found,
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.guard.replies_per_second.max(1)
    }
}

/// What a source may have saved.
const BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn guard(factor: u32, replies_per_second: u32, burst: u32) -> ReplyGuard {
        ReplyGuard { factor, replies_per_second, burst, sources_max: 4 }
    }

    fn other(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn a_source_is_sent_so_many_times_what_came_from_it() {
        let (mut replies, now) = (Replies::new(guard(3, 1000, 1000)), Instant::now());
        assert!(!replies.may_send(ONE, 1, now), "never heard");
        replies.heard(ONE, 0, now);
        assert!(!replies.may_send(ONE, 0, now), "nothing for nothing");
        replies.heard(ONE, 10, now);
        assert!(replies.may_send(ONE, 29, now));
        assert!(!replies.may_send(ONE, 2, now));
        assert!(replies.may_send(ONE, 1, now));
        assert!(!replies.may_send(ONE, 1, now));
        replies.not_sent(ONE, 1);
        assert!(replies.may_send("::ffff:192.0.2.1".parse().unwrap(), 1, now), "the same source");
        replies.heard(ONE, usize::MAX, now);
        assert!(!replies.may_send(ONE, BYTES_MAX as usize + 1, now));
        assert!(replies.may_send(ONE, BYTES_MAX as usize, now));
    }

    #[test]
    fn a_source_has_a_burst_and_then_a_rate() {
        let (mut replies, start) = (Replies::new(guard(3, 10, 5)), Instant::now());
        replies.heard(ONE, 1000, start);
        let sent = |replies: &mut Replies, after| {
            let now = start + Duration::from_millis(after);
            (0..20).filter(|_| replies.may_send(ONE, 1, now)).count()
        };
        assert_eq!(sent(&mut replies, 0), 5);
        assert_eq!(sent(&mut replies, 99), 0);
        assert_eq!(sent(&mut replies, 100), 1);
        replies.not_sent(ONE, 1);
        assert_eq!(sent(&mut replies, 100), 1);
        assert_eq!(sent(&mut replies, 400), 3);
        assert_eq!(sent(&mut replies, 100_000), 5, "a pause earns no more than a burst");
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_go() {
        let (mut replies, now) = (Replies::new(guard(1, 10, 5)), Instant::now());
        for source in 1..=100 {
            replies.heard(other(source), 10, now);
            replies.heard(ONE, 1, now);
            assert!(replies.young.len() + replies.old.len() <= 4);
        }
        assert!(replies.may_send(ONE, 100, now), "heard all the time");
        assert!(replies.may_send(other(100), 1, now));
        assert!(!replies.may_send(other(1), 1, now));
    }
}
