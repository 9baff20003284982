//! What engines do with descriptors: accept, read, write, shut.
//!
//! Everything here is one system call, close-on-exec from the start, and never raises SIGPIPE.
//! `Interrupted` is passed on: loops come back, and where they poll edges they ask the poll again.

use crate::addr::{AnyAddr, UnixAddr};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags,
};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// accept4(2). The address is kept as it gave it: getpeername fails once the peer has reset.
pub(crate) fn accept(
    listener: BorrowedFd<'_>,
    nonblocking: bool,
) -> io::Result<(OwnedFd, AnyAddr)> {
    let flags = SocketFlags::CLOEXEC
        | if nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
    let (socket, from) = net::acceptfrom_with(listener, flags)?;
    let from = from.map_or(Ok(AnyAddr::Unix(UnixAddr::unnamed())), address)?;
    Ok((socket, from))
}

/// recv(2).
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    let (_, length) = net::recv(socket, into, RecvFlags::empty())?;
    Ok(length)
}

/// recv(2) that never waits.
pub(crate) fn receive_now(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    let (_, length) = net::recv(socket, into, RecvFlags::DONTWAIT)?;
    Ok(length)
}

/// A message of a seqpacket socket; see [`transfer::recv_record`](super::transfer::recv_record).
pub(crate) fn receive_record(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    wait: bool,
) -> io::Result<Option<usize>> {
    super::transfer::recv_record(&SockRef::from(&socket), into, wait)
}

/// Tells empty messages of a seqpacket socket from its end, from now on.
pub(crate) fn mark_records(socket: BorrowedFd<'_>) -> io::Result<()> {
    super::transfer::mark_records(&SockRef::from(&socket))
}

/// send(2) that never waits.
pub(crate) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// sendto(2) that never waits.
pub(crate) fn send_to_now(socket: BorrowedFd<'_>, bytes: &[u8], to: &AnyAddr) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = match to {
        AnyAddr::Ip(SocketAddr::V4(to)) => net::sendto(socket, bytes, flags, to),
        AnyAddr::Ip(SocketAddr::V6(to)) => net::sendto(socket, bytes, flags, to),
        AnyAddr::Unix(to) => match (to.as_path(), to.as_abstract_name()) {
            (Some(path), _) => net::sendto(socket, bytes, flags, &SocketAddrUnix::new(path)?),
            (None, Some(name)) => {
                let to = SocketAddrUnix::new_abstract_name(name)?;
                net::sendto(socket, bytes, flags, &to)
            }
            // A peer without a name cannot be answered.
            (None, None) => Err(rustix::io::Errno::DESTADDRREQ),
        },
    };
    Ok(sent?)
}

/// shutdown(2) of the sending side.
pub(crate) fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::shutdown(socket, Shutdown::Write)?)
}

/// shutdown(2) of the receiving side: wakes a thread that blocks in [`receive`].
pub(crate) fn shutdown_read(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::shutdown(socket, Shutdown::Read)?)
}

/// shutdown(2) of both sides: wakes whoever blocks on the socket.
pub(crate) fn shutdown_both(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::shutdown(socket, Shutdown::Both)?)
}

/// SO_LINGER of zero: closing the socket resets the connection.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// SO_RCVTIMEO, at least a millisecond, because zero would mean for ever.
pub(crate) fn set_receive_timeout(
    socket: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
    let id = net::sockopt::Timeout::Recv;
    Ok(net::sockopt::set_socket_timeout(socket, id, timeout)?)
}

/// FIONBIO.
pub(crate) fn set_nonblocking(socket: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(socket, nonblocking)?)
}

fn address(from: SocketAddrAny) -> io::Result<AnyAddr> {
    match from.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => Ok(AnyAddr::Ip(from.try_into()?)),
        _ => {
            let from = SocketAddrUnix::try_from(from)?;
            let unix = match (from.path_bytes(), from.abstract_name()) {
                (Some(path), _) => UnixAddr::from_path(bytes_as_path(path))?,
                (None, Some(name)) => UnixAddr::from_abstract(name)?,
                (None, None) => UnixAddr::unnamed(),
            };
            Ok(AnyAddr::Unix(unix))
        }
    }
}

fn bytes_as_path(path: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(path))
}

/// A counter that wakes whoever polls it: eventfd(2).
pub(crate) fn event_counter() -> io::Result<OwnedFd> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// A clock that wakes whoever polls it: timerfd_create(2).
pub(crate) fn alarm_clock() -> io::Result<OwnedFd> {
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Has an [`alarm_clock`] ring once, after this and not as it was set before: timerfd_settime(2).
pub(crate) fn ring_after(clock: impl AsFd, time: Duration) -> io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    // No time at all would be never.
    let time = time.clamp(Duration::from_nanos(1), Duration::from_secs(u32::MAX.into()));
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let once = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    let setting = Itimerspec { it_interval: never, it_value: once };
    timerfd_settime(clock, TimerfdTimerFlags::empty(), &setting)?;
    Ok(())
}

/// Adds one to an [`event_counter`].
pub(crate) fn signal(counter: impl AsFd) {
    // It can fail only when the counter is at its maximum, and then it is readable anyway.
    let _ = rustix::io::write(counter, &1_u64.to_ne_bytes());
}

/// Takes an [`event_counter`] back to zero.
pub(crate) fn quiet(counter: impl AsFd) {
    let _ = rustix::io::read(counter, &mut [0; 8]);
}
