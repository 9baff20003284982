//! How many connections wait at a listener.
//!
//! An accept in vain costs as much as a good one, because the kernel makes the new socket first: six
//! times what this question costs.

#[cfg(target_os = "linux")]
use super::option;
#[cfg(target_os = "linux")]
use std::mem::offset_of;
use std::os::fd::BorrowedFd;

/// How many connections a TCP listener has to give: `TCP_INFO`, where `tcpi_unacked` of a listener is
/// the length of its queue. `None` for other listeners.
#[cfg(target_os = "linux")]
pub(crate) fn waiting(listener: BorrowedFd<'_>) -> Option<usize> {
    const AT: usize = offset_of!(libc::tcp_info, tcpi_unacked);
    // It comes as far as there is room.
    let mut info = [0; AT + 4];
    option::read(listener, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).ok()?;
    info.last_chunk().map(|count| u32::from_ne_bytes(*count) as usize)
}

/// Elsewhere nobody says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn waiting(_listener: BorrowedFd<'_>) -> Option<usize> {
    None
}
