//! How acceptors pace themselves.

use std::time::Duration;

/// How long to leave the listeners alone after a shortage: doubled from 10 to 100 ms.
pub(crate) fn back_off(last: Option<Duration>) -> Duration {
    last.map_or(Duration::from_millis(10), |last| (last * 2).min(Duration::from_millis(100)))
}

/// Connections that one listener accepts before others have their turn. The poll says again if more
/// wait; with a larger number more accepts are made in vain, and one of those costs as much as a good
/// one.
pub(crate) const ACCEPTS_PER_TURN: usize = 4;

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
