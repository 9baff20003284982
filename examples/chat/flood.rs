//! The flood rule: how many lines one person may send.

use std::time::{Duration, Instant};

/// So many lines at once, and then one every so often; bytes do not count.
///
/// It is a token bucket, kept as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub burst: u32,
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Meter {
    full_at: Instant,
    /// Refused since the last line that passed.
    pub refused: u32,
}

impl Meter {
    pub fn new(now: Instant) -> Meter {
        Meter { full_at: now, refused: 0 }
    }

    /// Whether another line may pass now.
    pub fn pass(&mut self, flood: Flood, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + flood.interval;
        let passes = full_at <= now + flood.interval * flood.burst;
        if passes {
            (self.full_at, self.refused) = (full_at, 0);
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        passes
    }
}
