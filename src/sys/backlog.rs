//! How many connections wait at a listener.
//!
//! An accept in vain costs as much as a good one, because the kernel makes the new socket first: six
//! times what this question costs.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How many connections a TCP listener has to give: `TCP_INFO`, where `tcpi_unacked` of a listener is
/// the length of its queue. `None` for other listeners.
#[cfg(target_os = "linux")]
pub(crate) fn waiting(listener: BorrowedFd<'_>) -> Option<usize> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `length` bytes, and both outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    // SAFETY: all of it is plain numbers, zero where the kernel wrote nothing.
    let info = unsafe { info.assume_init() };
    (failed == 0).then_some(info.tcpi_unacked as usize)
}

/// Elsewhere nobody says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn waiting(_listener: BorrowedFd<'_>) -> Option<usize> {
    None
}
