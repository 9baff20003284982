//! Waiting for one descriptor, and telling "in progress" from failure.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// `poll` until the descriptor is writable, has failed or was hung up, or `deadline` is past.
///
/// An interrupted wait goes on to the same deadline; none means for ever.
///
/// # Errors
///
/// `TimedOut` at the deadline.
pub(crate) fn until_writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = match deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // A wait too long for the kernel's clock is for ever.
                Timespec::try_from(left).ok()
            }
        };
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a `connect` that failed like this is under way and will be known by a wait.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error())
}
