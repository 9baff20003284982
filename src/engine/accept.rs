//! What a failed accept(2) means.

use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// What to do after accept(2) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterError {
    /// Nobody waits: go back to polling.
    Wait,
    /// That one connection failed, or a signal came: the next may be fine.
    Next,
    /// Descriptors or memory are short: trying again at once would spin.
    BackOff,
    /// The listener itself is broken.
    GiveUp,
}

/// Sorts the errors of accept(2). Linux hands errors of the new connection's network to accept, so
/// what is not known to be about us is about the peer.
pub(crate) fn after(error: &io::Error) -> AfterError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::AGAIN) => AfterError::Wait,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AfterError::BackOff,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT) => {
            AfterError::GiveUp
        }
        _ => AfterError::Next,
    }
}

/// How long to leave the listeners alone after a shortage: doubled from 10 to 100 ms.
pub(crate) fn back_off(last: Option<Duration>) -> Duration {
    last.map_or(Duration::from_millis(10), |last| (last * 2).min(Duration::from_millis(100)))
}

/// Connections that one listener accepts before others have their turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_listener_is_given_up() {
        let after = |errno: Errno| after(&io::Error::from(errno));
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::PERM, Errno::NETDOWN] {
            assert_eq!(after(errno), AfterError::Next, "{errno:?}");
        }
        for errno in [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::NOPROTOOPT, Errno::TIMEDOUT] {
            assert_eq!(after(errno), AfterError::Next, "{errno:?}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(after(errno), AfterError::BackOff, "{errno:?}");
        }
        assert_eq!(after(Errno::AGAIN), AfterError::Wait);
        assert_eq!(after(Errno::INVAL), AfterError::GiveUp);
        assert_eq!(after(Errno::BADF), AfterError::GiveUp);
    }

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
