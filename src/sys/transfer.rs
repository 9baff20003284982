//! Accepting, sending without `SIGPIPE`, and receiving that knows what was cut off.
//!
//! One system call each, on a socket in whatever mode it is in. None of these retries: the callers
//! know whether an interrupted call may be repeated.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, Socket};

/// `accept4(SOCK_CLOEXEC)`.
pub(crate) fn accept(socket: &Socket) -> io::Result<(Socket, SockAddr)> {
    socket.accept4(CLOEXEC)
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

/// One message by `recvmsg`: how long it is, even if `buf` is shorter, and whether it was cut. Where the
/// system is not Linux, a message that was cut is as long as what there is of it.
///
/// `recvmsg` and not `recv`, because only its answer says on every platform that a message was cut.
pub(crate) fn recv_message(socket: &Socket, buf: &mut [u8]) -> io::Result<(usize, bool)> {
    // SAFETY: `recvmsg` only ever writes initialised bytes.
    let buf = unsafe { as_uninit(buf) };
    let mut bufs = [MaybeUninitSlice::new(buf)];
    let (length, flags) = socket.recv_vectored_with_flags(&mut bufs, FULL_LENGTH)?;
    Ok((length, flags.is_truncated()))
}

/// [`recv_message`] with the sender's address.
pub(crate) fn recv_message_from(
    socket: &Socket,
    buf: &mut [u8],
) -> io::Result<(usize, bool, SockAddr)> {
    // SAFETY: `recvmsg` only ever writes initialised bytes.
    let buf = unsafe { as_uninit(buf) };
    let mut bufs = [MaybeUninitSlice::new(buf)];
    let (length, flags, from) = socket.recv_from_vectored_with_flags(&mut bufs, FULL_LENGTH)?;
    Ok((length, flags.is_truncated(), from))
}

/// How long the next message is, which stays in the kernel's buffer: `recv(MSG_PEEK | MSG_TRUNC)`. `None`
/// where the system does not tell.
pub(crate) fn next_length(socket: &Socket) -> io::Result<Option<usize>> {
    if FULL_LENGTH == 0 {
        return Ok(None);
    }
    socket.recv_with_flags(&mut [], PEEK | FULL_LENGTH).map(Some)
}

/// Has the kernel attach the sender's credentials to every message, for [`recv_record`]. The setting is
/// the socket's own; the peer does not notice.
pub(crate) fn mark_records(socket: &Socket) -> io::Result<()> {
    socket.set_passcred(true)
}

/// One message of a seqpacket socket: how long it is, even if `buf` is shorter. `None` is the end.
///
/// The end of a seqpacket connection reads as zero bytes, and so does an empty message. Only a message
/// comes with credentials, once [`mark_records`] asked for them. Their buffer has no room for
/// descriptors, so the kernel installs none.
pub(crate) fn recv_record(
    socket: &Socket,
    buf: &mut [u8],
    wait: bool,
) -> io::Result<Option<usize>> {
    let mut control = [MaybeUninit::<u8>::uninit(); CREDENTIALS_SPACE];
    // SAFETY: `recvmsg` only ever writes initialised bytes.
    let buf = unsafe { as_uninit(buf) };
    let mut bufs = [MaybeUninitSlice::new(buf)];
    let mut message = MsgHdrMut::new().with_buffers(&mut bufs).with_control(&mut control);
    let length = socket.recvmsg(&mut message, if wait { TRUNC } else { TRUNC | DONTWAIT })?;
    Ok((length > 0 || message.control_len() > 0).then_some(length))
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
const NOSIGNAL: i32 = SendFlags::NOSIGNAL.bits() as i32;
const PEEK: i32 = RecvFlags::PEEK.bits() as i32;
const FULL_LENGTH: i32 =
    if cfg!(any(target_os = "linux", target_os = "android")) { TRUNC } else { 0 };
const TRUNC: i32 = RecvFlags::TRUNC.bits() as i32;
const DONTWAIT: i32 = RecvFlags::DONTWAIT.bits() as i32;

/// A control message of `struct ucred`: a header of 16 bytes, three numbers, and alignment.
const CREDENTIALS_SPACE: usize = 32;
