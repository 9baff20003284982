//! What errors of the system mean.

use rustix::io::Errno;
use std::io;

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
/// what is not known to be about us is about the peer: `EOPNOTSUPP` too, because a socket that cannot
/// accept does not get here.
pub(crate) fn after_accept(error: &io::Error) -> AfterError {
    match errno(error) {
        Some(Errno::AGAIN) => AfterError::Wait,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AfterError::BackOff,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT) => AfterError::GiveUp,
        _ => AfterError::Next,
    }
}

/// Descriptors are short, of the process or of the system: one that is given up may be had again.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The machine has no such address, or not even its family.
pub(crate) fn is_missing_here(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// It is of those that an ICMP message becomes: about a datagram that was sent, and not about the call.
pub(crate) fn is_from_the_network(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Some(
            Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::PROTO
                | Errno::ACCESS
                | Errno::MSGSIZE
                | Errno::OPNOTSUPP
        )
    )
}

/// The kernel cannot cut this datagram into segments: no card on its way can, or they are too long for it.
pub(crate) fn is_of_segments(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE | Errno::OPNOTSUPP))
}

/// `EMSGSIZE`.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    errno(error) == Some(Errno::MSGSIZE)
}

/// `EACCES`: by a rule of the routes, or for a broadcast that nobody has allowed.
pub(crate) fn is_access(error: &io::Error) -> bool {
    errno(error) == Some(Errno::ACCESS)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_listener_is_given_up() {
        let after = |errno: Errno| after_accept(&io::Error::from(errno));
        let of_one_connection = [
            Errno::CONNABORTED,
            Errno::INTR,
            Errno::PROTO,
            Errno::PERM,
            Errno::TIMEDOUT,
            // What accept(2) lists as pending errors of the new connection's network.
            Errno::NETDOWN,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::OPNOTSUPP,
        ];
        for errno in of_one_connection {
            assert_eq!(after(errno), AfterError::Next, "{errno:?}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(after(errno), AfterError::BackOff, "{errno:?}");
        }
        assert_eq!(after(Errno::AGAIN), AfterError::Wait);
        for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT] {
            assert_eq!(after(errno), AfterError::GiveUp, "{errno:?}");
        }
    }
}
