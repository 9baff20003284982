//! Descriptors that ride on the bytes of a Unix socket (`SCM_RIGHTS`), and having the kernel refuse them.
//!
//! `SO_PASSRIGHTS` is from Linux 6.16. Before, what rides on bytes that are read without asking for it is
//! closed by the kernel, and a read ends where it rode.

use std::os::fd::{AsFd, AsRawFd};

/// Has the sending of a descriptor over this socket fail, with `EPERM` at the sender, if the kernel can.
/// What a listener accepts is the same from its first instant.
pub(crate) fn refuse(socket: &impl AsFd) {
    let off: libc::c_int = 0;
    // SAFETY: the option is a `c_int`, of which the kernel reads as many bytes as it is told.
    let _unknown_to_older_kernels = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
}

/// Whether no descriptor ever comes over this socket.
pub(crate) fn are_refused(socket: &impl AsFd) -> bool {
    let mut on: libc::c_int = 1;
    let mut length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` has room for `length` bytes, and both outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw mut on).cast(),
            &mut length,
        )
    };
    failed == 0 && on == 0
}

/// The number that most architectures have; elsewhere one that no kernel knows.
const SO_PASSRIGHTS: libc::c_int = if cfg!(all(
    target_os = "linux",
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)) {
    83
} else {
    -1
};
