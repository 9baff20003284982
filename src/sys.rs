//! The one door to the operating system, and the only module that may hold `unsafe` code.
//!
//! What a platform must provide:
//!
//! - **Sockets** of the families IPv4, IPv6 and (where it has them) Unix, through `socket2`. A new
//!   descriptor is close-on-exec from the moment it exists: the flag rides on `socket`, `accept4`
//!   and `fcntl(F_DUPFD_CLOEXEC)`, so that no `exec` on another thread can slip between. `accept4`
//!   also makes the accepted socket non-blocking on request, without a second call.
//! - **Writes that never raise `SIGPIPE`**: `MSG_NOSIGNAL`, or the option of the socket.
//! - **Receiving that says when a message was longer than the buffer**: `MSG_TRUNC` among the flags that
//!   `recvmsg` answers.
//! - **Inheritance**: a socket that `accept` returns has the listener's `TCP_NODELAY`. It is set once on
//!   the listener, not once per connection.
//! - **Descriptors refused** on a Unix socket, if it can: otherwise a read ends where one rode.
//! - **Descriptors received** close-on-exec at once (`MSG_CMSG_CLOEXEC`), and word of those that had no room.
//! - **Who is at the other end** of a Unix connection: `SO_PEERCRED`.
//! - **Socket files**: a lock on a directory, and a way to the very inode that was found (`/proc/self/fd`).
//! - **A wait** for one descriptor with an absolute deadline: `poll`.
//! - **Questions about a descriptor**: family, type, and whether it listens (`SO_DOMAIN`, `SO_TYPE`,
//!   `SO_ACCEPTCONN`), so that a descriptor from elsewhere can be given a type.
//! - **Multicast**: the interface of a packet to a group by its index.
//! - **What is beside a datagram**: where it was sent to, the interface, the traffic class; the same for
//!   those that go out. Without it there is no telling, and the kernel chooses.
//! - **Many datagrams with one call**: `recvmmsg`, `sendmmsg`, and the cutting and gluing of UDP. Without
//!   them a loop does the same.
//! - **Names**, where it has them: the reentrant calls of `<netdb.h>` for aliases, reverse records and
//!   services. Without them there are no aliases, and services are those of the built-in table.
//!
//! Nothing of `libc` or `rustix` leaves this module: descriptors, slices, `socket2`'s addresses and
//! `io::Error` do. Linux is tested; other systems are written for and unverified.
#![allow(unsafe_code)] // the one module that may: everything unsafe is gathered here

pub(crate) mod address;
pub(crate) mod backlog;
pub(crate) mod batch;
pub(crate) mod control;
pub(crate) mod errors;
pub(crate) mod files;
pub(crate) mod io;
pub(crate) mod messages;
pub(crate) mod multicast;
pub(crate) mod netdb;
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod one_by_one;
mod option;
pub(crate) mod rights;
pub(crate) mod transfer;
pub(crate) mod udp;
pub(crate) mod wait;
