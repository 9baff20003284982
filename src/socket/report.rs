//! What became of datagrams that were sent, as far as the network said so.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::Domain;

use super::{Socket, open};
use crate::addr::{Datagrams, IpFamily, Supports};
use crate::sys::control::{Control, Room};
use crate::sys::{errors, udp};

/// A datagram that did not arrive, and who said so.
#[derive(Debug)]
#[non_exhaustive]
pub struct ErrorReport<A = SocketAddr> {
    /// What went wrong: `ConnectionRefused` if nobody has the port, `HostUnreachable` and
    /// `NetworkUnreachable`, `EMSGSIZE` if it was too long for the way.
    pub error: io::Error,
    /// Where it was sent to.
    pub to: A,
    /// The host that said so: the destination, or a router on the way to it. `None` if it was this host.
    /// It is not proved: whoever can guess the ports can forge an ICMP message.
    pub by: Option<IpAddr>,
    /// The longest packet that fits the way, if it was too long.
    pub mtu: Option<u32>,
}

/// Reports of what became of datagrams, on UDP sockets.
impl<F: IpFamily + Supports<K>, K: Datagrams> Socket<F, K> {
    /// Whether reports of errors are kept: `IP_RECVERR`, `IPV6_RECVERR`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn error_reports(&self) -> io::Result<bool> {
        udp::error_queue(self)
    }

    /// Has the kernel keep what ICMP says of datagrams that were sent, or not: `IP_RECVERR`,
    /// `IPV6_RECVERR`. Default: not; an unconnected socket then never hears of it.
    ///
    /// [`take_error_report`](Self::take_error_report) takes them out. They count against the receive
    /// buffer, and those without room are dropped. Receiving and sending go on as before: only while one
    /// is there, a poll says that the socket has failed (`POLLERR`).
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    #[doc(alias = "IP_RECVERR")]
    #[doc(alias = "IPV6_RECVERR")]
    pub fn set_error_reports(&self, on: bool) -> io::Result<()> {
        udp::set_error_queue(self, self.raw.domain()? == Domain::IPV6, on)
    }

    /// Takes the oldest report: `recvmsg(2)` with `MSG_ERRQUEUE`. `None` if there is none: it does not
    /// block.
    ///
    /// # Errors
    ///
    /// As `recvmsg(2)`.
    ///
    /// ```
    /// use sockeye::socket::UdpSocket;
    /// use std::io::ErrorKind;
    /// let (socket, closed) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// let nobody = closed.local_addr()?;
    /// drop(closed);
    /// socket.set_error_reports(true)?;
    /// socket.send_to(b"anybody there?", &nobody)?;
    /// let report = loop {
    ///     match socket.take_error_report()? {
    ///         Some(report) => break report,
    ///         None => std::thread::yield_now(), // over a network: poll for it
    ///     }
    /// };
    /// assert_eq!((report.error.kind(), report.to), (ErrorKind::ConnectionRefused, nobody));
    /// assert_eq!(report.by, Some(nobody.ip()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "MSG_ERRQUEUE")]
    pub fn take_error_report(&self) -> io::Result<Option<ErrorReport<F::Address>>> {
        let mut room = Room::<REPORT_SPACE>::new();
        loop {
            let to = match super::uninterrupted(|| room.receive_error(&self.raw)) {
                Ok(message) => message.from,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let failed = room.take().find_map(|control| match control {
                Control::Failed { errno, detail, by } => Some((errno, detail, by)),
                _ => None,
            });
            // Other things come this way if they were asked for by hand: time stamps.
            let Some((errno, detail, by)) = failed else { continue };
            let error = io::Error::from_raw_os_error(errno);
            let mtu = errors::is_too_long(&error).then_some(detail);
            let by = by.map(|by| by.to_canonical());
            return Ok(Some(ErrorReport { error, to: open::address_of::<F>(&to)?, by, mtu }));
        }
    }

    /// How many datagrams the kernel has dropped on this socket so far because its receive buffer was
    /// full, or their checksum wrong: `SO_MEMINFO` (Linux 4.12). The count wraps at 2³². It costs the
    /// datagrams nothing.
    ///
    /// # Errors
    ///
    /// `Unsupported`, or as `getsockopt(2)`.
    ///
    /// ```
    /// let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.dropped()?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn dropped(&self) -> io::Result<u32> {
        udp::dropped(self)
    }
}

/// A report, and before it all that can be beside a datagram.
const REPORT_SPACE: usize = 256;
