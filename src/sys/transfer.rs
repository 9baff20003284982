//! Accepting, sending without `SIGPIPE`, and receiving that knows what was cut off.
//!
//! One system call each, on a socket in whatever mode it is in. None of these retries: the callers
//! know whether an interrupted call may be repeated.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{MaybeUninitSlice, SockAddr, Socket};

/// `accept4(SOCK_CLOEXEC)`, with `SOCK_NONBLOCK` if asked for.
pub(crate) fn accept(socket: &Socket, nonblocking: bool) -> io::Result<(Socket, SockAddr)> {
    socket.accept4(if nonblocking { CLOEXEC | NONBLOCK } else { CLOEXEC })
}

/// `send(MSG_NOSIGNAL)`.
pub(crate) fn send(socket: &Socket, buf: &[u8]) -> io::Result<usize> {
    socket.send_with_flags(buf, NOSIGNAL)
}

/// `sendmsg(MSG_NOSIGNAL)`: the buffers one after the other, as one message where there are messages.
pub(crate) fn send_vectored(socket: &Socket, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.send_vectored_with_flags(bufs, NOSIGNAL)
}

/// `sendto(MSG_NOSIGNAL)`.
pub(crate) fn send_to(socket: &Socket, buf: &[u8], to: &SockAddr) -> io::Result<usize> {
    socket.send_to_with_flags(buf, to, NOSIGNAL)
}

/// `recv(MSG_PEEK)`: the bytes stay in the kernel's buffer.
pub(crate) fn peek(socket: &Socket, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `recv` only ever writes initialised bytes.
    socket.recv_with_flags(unsafe { as_uninit(buf) }, PEEK)
}

/// One message by `recvmsg`: how many bytes of it are in `buf`, and whether there was more of it.
///
/// `recvmsg` and not `recv`, because only its answer says on every platform that a message was cut.
pub(crate) fn recv_message(socket: &Socket, buf: &mut [u8]) -> io::Result<(usize, bool)> {
    // SAFETY: `recvmsg` only ever writes initialised bytes.
    let buf = unsafe { as_uninit(buf) };
    let (len, flags) = socket.recv_vectored(&mut [MaybeUninitSlice::new(buf)])?;
    Ok((len, flags.is_truncated()))
}

/// [`recv_message`] with the sender's address.
pub(crate) fn recv_message_from(
    socket: &Socket,
    buf: &mut [u8],
) -> io::Result<(usize, bool, SockAddr)> {
    // SAFETY: `recvmsg` only ever writes initialised bytes.
    let buf = unsafe { as_uninit(buf) };
    let (len, flags, from) = socket.recv_from_vectored(&mut [MaybeUninitSlice::new(buf)])?;
    Ok((len, flags.is_truncated(), from))
}

/// The same bytes, as `socket2` wants them.
///
/// # Safety
///
/// Nothing may write uninitialised bytes to the result: `buf` is read as initialised afterwards.
unsafe fn as_uninit(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: `MaybeUninit<u8>` has the layout of `u8`; the caller keeps the bytes initialised.
    unsafe { &mut *(std::ptr::from_mut(buf) as *mut [MaybeUninit<u8>]) }
}

const CLOEXEC: i32 = SocketFlags::CLOEXEC.bits() as i32;
const NONBLOCK: i32 = SocketFlags::NONBLOCK.bits() as i32;
const NOSIGNAL: i32 = SendFlags::NOSIGNAL.bits() as i32;
const PEEK: i32 = RecvFlags::PEEK.bits() as i32;
