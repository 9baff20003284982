//! How acceptors pace themselves.

use crate::sys::backlog;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long to leave the listeners alone after a shortage: doubled from 10 to 100 ms.
pub(crate) fn back_off(last: Option<Duration>) -> Duration {
    last.map_or(Duration::from_millis(10), |last| (last * 2).min(Duration::from_millis(100)))
}

/// Says when to go on accepting from a listener that is ready, and when others have their turn.
///
/// An accept in vain costs as much as a good one, so the listener is asked how many wait, and again
/// when those are in. Where it cannot say, it is tried.
pub(crate) struct Accepts {
    /// How many more within this turn.
    left: usize,
    /// How many more are known to wait.
    known: usize,
}

impl Accepts {
    pub(crate) fn new() -> Accepts {
        // A listener that is ready has one at least.
        Accepts { left: ACCEPTS_PER_TURN, known: 1 }
    }

    pub(crate) fn another(&mut self, listener: BorrowedFd<'_>) -> bool {
        if self.known == 0 && self.left > 0 {
            self.known = backlog::waiting(listener).unwrap_or(1);
        }
        if self.known == 0 || self.left == 0 {
            return false;
        }
        self.known -= 1;
        self.left -= 1;
        true
    }
}

/// Connections that one listener accepts before others have their turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_tenth_of_a_second() {
        let mut pause = None;
        let pauses: Vec<u128> = (0..6)
            .map(|_| {
                pause = Some(back_off(pause));
                pause.unwrap().as_millis()
            })
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 100, 100]);
    }
}
