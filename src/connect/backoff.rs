//! How long to wait before connecting again.

use std::time::Duration;

/// Pauses that grow: each is twice the one before, up to a maximum, and shortened at random by up to
/// half. So a server that comes back is not met by all of its clients at once.
///
/// A value without clock: [`pause`](Backoff::pause) is told the random number.
///
/// ```
/// use sockeye::connect::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::between(Duration::from_millis(100), Duration::from_secs(1)).tries(3);
/// assert_eq!(backoff.pause(u64::MAX), Some(Duration::from_millis(100)));
/// assert_eq!(backoff.pause(u64::MAX), Some(Duration::from_millis(200)));
/// assert_eq!(backoff.pause(0), Some(Duration::from_millis(200))); // half of 400
/// assert_eq!(backoff.pause(0), None);
/// backoff.reset();
/// assert!(backoff.pause(0).is_some());
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    tries: Option<u32>,
    paused: u32,
}

impl Backoff {
    /// From `min`, at least a millisecond, to `max`, at most a day; without end.
    pub fn between(min: Duration, max: Duration) -> Backoff {
        let min = min.clamp(Duration::from_millis(1), DAY);
        Backoff { min, max: max.clamp(min, DAY), tries: None, paused: 0 }
    }

    /// Gives up after so many pauses in a row.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Backoff {
        self.tries = Some(tries);
        self
    }

    /// How long to pause now, by a random number of any size; `None` once all tries are used up.
    pub fn pause(&mut self, random: u64) -> Option<Duration> {
        if self.tries.is_some_and(|tries| self.paused >= tries) {
            return None;
        }
        let doubled = 1_u32.checked_shl(self.paused).and_then(|times| self.min.checked_mul(times));
        self.paused = self.paused.saturating_add(1);
        let whole = doubled.map_or(self.max, |pause| pause.min(self.max));
        let share = random as f64 / u64::MAX as f64;
        Some(whole.mul_f64(0.5 + share / 2.0))
    }

    /// It went well: the next pause is the shortest again.
    pub fn reset(&mut self) {
        self.paused = 0;
    }
}

impl Default for Backoff {
    /// From a quarter of a second to half a minute, without end.
    fn default() -> Backoff {
        Backoff::between(Duration::from_millis(250), Duration::from_secs(30))
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_stay_at_the_maximum_however_often() {
        let mut backoff = Backoff::default();
        let longest = (0..100_000).filter_map(|_| backoff.pause(u64::MAX)).max();
        assert_eq!(longest, Some(Duration::from_secs(30)));
        backoff.paused = u32::MAX;
        assert_eq!(backoff.pause(0), Some(Duration::from_secs(15)));
    }

    #[test]
    fn odd_bounds_are_put_right() {
        let mut backoff = Backoff::between(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.pause(u64::MAX), Some(Duration::from_millis(1)));
        let mut backoff = Backoff::between(Duration::MAX, Duration::MAX);
        assert!(backoff.pause(0).is_some());
        assert!(backoff.pause(0).is_some());
        assert_eq!(Backoff::default().tries(0).pause(0), None);
    }

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_its_step(steps in 0..40_u32, random: u64) {
            let (min, max) = (Duration::from_millis(100), Duration::from_secs(60));
            let mut backoff = Backoff::between(min, max);
            for _ in 0..steps {
                backoff.pause(0);
            }
            let whole = min.saturating_mul(1_u32.checked_shl(steps).unwrap_or(u32::MAX)).min(max);
            let pause = backoff.pause(random).unwrap();
            prop_assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
    }
}
