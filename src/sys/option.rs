//! Options of sockets as plain bytes: what neither `socket2` nor `rustix` has.

use std::env::consts::{ARCH, OS};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// setsockopt(2).
pub(super) fn write(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (socket, length) = (socket.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    // SAFETY: `value` has `length` bytes, of which the kernel reads no more, and outlives the call.
    let failed = unsafe { libc::setsockopt(socket, level, name, value.as_ptr().cast(), length) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// getsockopt(2). Returns how many bytes it is.
pub(super) fn read(socket: impl AsFd, level: i32, name: i32, into: &mut [u8]) -> io::Result<usize> {
    let (socket, mut length) = (socket.as_fd().as_raw_fd(), into.len() as libc::socklen_t);
    // SAFETY: `into` has room for `length` bytes, and both outlive the call.
    let failed =
        unsafe { libc::getsockopt(socket, level, name, into.as_mut_ptr().cast(), &raw mut length) };
    if failed == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// Sets one that is a number.
pub(super) fn set(socket: impl AsFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    write(socket, level, name, &value.to_ne_bytes())
}

/// One that is a number.
pub(super) fn get(socket: impl AsFd, level: i32, name: i32) -> io::Result<libc::c_int> {
    let mut value = 0_i32.to_ne_bytes();
    read(socket, level, name, &mut value)?;
    Ok(libc::c_int::from_ne_bytes(value))
}

/// The number of an option on most architectures of Linux; elsewhere one that no kernel knows.
pub(super) fn number(number: libc::c_int) -> libc::c_int {
    match (OS, ARCH) {
        ("linux", "x86" | "x86_64" | "arm" | "aarch64" | "riscv64") => number,
        _ => -1,
    }
}
