//! Descriptors that ride on the bytes of a Unix socket (`SCM_RIGHTS`), having the kernel refuse them, and
//! who is at the other end.
//!
//! `SO_PASSRIGHTS` is from Linux 6.16. Before, what rides on bytes that are read without asking for it is
//! closed by the kernel, and a read ends where it rode.

use super::control::{Attached, Control, Room, descriptors_space, space};
use super::option;
use crate::addr::Credentials;
use socket2::{SockAddr, SockRef};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors that one message can have: what there is always room for.
pub(crate) const DESCRIPTORS_MAX: usize = 16;

/// Sends bytes with at most [`DESCRIPTORS_MAX`] descriptors: sendmsg(2), without `SIGPIPE`. On a stream
/// they ride on the first byte, so there must be one. `now`: never waits.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    to: Option<&SockAddr>,
    now: bool,
) -> io::Result<usize> {
    let mut attached = Attached::<{ descriptors_space(DESCRIPTORS_MAX) }>::new();
    if !descriptors.is_empty() {
        attached.descriptors(descriptors)?;
    }
    let bytes = [io::IoSlice::new(bytes)];
    let mut message = socket2::MsgHdr::new().with_buffers(&bytes);
    if !descriptors.is_empty() {
        message = message.with_control(attached.as_bytes());
    }
    if let Some(to) = to {
        message = message.with_addr(to);
    }
    let flags = libc::MSG_NOSIGNAL | if now { libc::MSG_DONTWAIT } else { 0 };
    SockRef::from(&socket).sendmsg(&message, flags)
}

/// What came at once.
#[derive(Debug)]
pub(crate) struct Came {
    /// How long the message is, even if the buffer was shorter; on a stream, how many bytes came.
    pub(crate) length: usize,
    pub(crate) from: SockAddr,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The kernel said who sent it: so there is a message, even an empty one.
    pub(crate) is_signed: bool,
}

/// Receives bytes, or a message, with the descriptors that ride on it, close-on-exec: recvmsg(2).
///
/// An error if there are more of them than [`DESCRIPTORS_MAX`], or something had no room: then all are
/// closed, and the bytes are gone.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8], now: bool) -> io::Result<Came> {
    let mut room = Room::<{ CREDENTIALS_SPACE + descriptors_space(DESCRIPTORS_MAX) }>::new();
    let flags = if now { libc::MSG_DONTWAIT } else { 0 };
    let arrival = room.receive(&SockRef::from(&socket), into, flags)?;
    let (mut descriptors, mut is_signed) = (Vec::new(), false);
    for control in room.take() {
        match control {
            Control::Descriptors(more) => descriptors.extend(more),
            Control::Credentials => is_signed = true,
            _ => {}
        }
    }
    if arrival.control_cut || descriptors.len() > DESCRIPTORS_MAX {
        let text =
            format!("more than {DESCRIPTORS_MAX} descriptors came at once, or could not be had");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Came { length: arrival.length, from: arrival.from, descriptors, is_signed })
}

/// Who is at the other end of a Unix connection: `SO_PEERCRED`.
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut who = [0; size_of::<libc::ucred>()];
    option::read(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut who)?;
    let at = |at: usize| <[u8; 4]>::try_from(&who[at..at + 4]).map_or(0, u32::from_ne_bytes);
    let pid = at(offset_of!(libc::ucred, pid));
    let (uid, gid) = (at(offset_of!(libc::ucred, uid)), at(offset_of!(libc::ucred, gid)));
    if (pid, uid, gid) == (0, u32::MAX, u32::MAX) {
        let text = "nobody is known to be at the other end: it is no Unix connection";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(Credentials { uid, gid, pid: Some(pid).filter(|pid| *pid > 0) })
}

const CREDENTIALS_SPACE: usize = space(size_of::<libc::ucred>());

/// Has the sending of a descriptor over this socket fail, with `EPERM` at the sender, if the kernel can.
/// What a listener accepts is the same from its first instant.
pub(crate) fn refuse(socket: &impl AsFd) {
    let _unknown_to_older_kernels =
        option::set(socket, libc::SOL_SOCKET, option::number(SO_PASSRIGHTS), 0);
}

/// Whether no descriptor ever comes over this socket.
pub(crate) fn are_refused(socket: &impl AsFd) -> bool {
    option::get(socket, libc::SOL_SOCKET, option::number(SO_PASSRIGHTS)).is_ok_and(|on| on == 0)
}

const SO_PASSRIGHTS: libc::c_int = 83;
