//! Single options of a socket, got and set.
//!
//! Each exists on the families and kinds that have it, by a bound on its method: nodelay of a Unix
//! stream does not compile. Units are those of Rust; where the kernel counts in coarser ones, the
//! value is rounded up, so that a short time never becomes none. A set of options is in `options`.

use std::io;
use std::time::Duration;

use socket2::{Domain, SockRef, TcpKeepalive};

use super::{Socket, open};
use crate::addr::{IpFamily, Ipv4, Ipv6, Kind, Streaming, Supports};

/// When the kernel asks a silent TCP peer whether it is still there, and when it gives it up.
///
/// A peer that vanished is found after `idle` and `count` times `interval`, two minutes by default. A
/// peer that answers notices nothing; a program that hangs but lives is not found.
///
/// ```
/// use sockeye::socket::Keepalive;
/// use std::time::Duration;
/// let keepalive = Keepalive { idle: Duration::from_secs(20), ..Keepalive::default() };
/// assert_eq!((keepalive.interval, keepalive.count), (Duration::from_secs(10), 6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How long a connection is silent before the first question: `TCP_KEEPIDLE`, 60 s by default. In
    /// whole seconds, rounded up; Linux takes 1 to 32,767.
    pub idle: Duration,
    /// How long to wait for an answer before the next question: `TCP_KEEPINTVL`, 10 s by default. As
    /// `idle`.
    pub interval: Duration,
    /// How many unanswered questions end the connection: `TCP_KEEPCNT`, 6 by default. Linux takes 1 to
    /// 127.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 }
    }
}

/// Options that a socket has.
///
/// None of these blocks. Over TCP, what a listener accepts inherits all of them on Linux; over Unix
/// none.
impl<F: Supports<K>, K: Kind> Socket<F, K> {
    /// Whether small writes leave at once: `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn nodelay(&self) -> io::Result<bool>
    where
        F: IpFamily,
        K: Streaming,
    {
        self.raw.tcp_nodelay()
    }

    /// Lets small writes leave at once, or gather until the peer has acknowledged what is under way:
    /// `TCP_NODELAY`. Default: on, connected and accepted alike, because a reply held back for an
    /// acknowledgement waits up to 40 ms.
    ///
    /// Exists where every socket of the family is an IP socket:
    ///
    /// ```compile_fail,E0277
    /// let (stream, _other) = sockeye::socket::UnixStream::pair().unwrap();
    /// stream.set_nodelay(true);
    /// ```
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// use sockeye::socket::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// assert!(stream.nodelay()?);
    /// stream.set_nodelay(false)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()>
    where
        F: IpFamily,
        K: Streaming,
    {
        self.raw.set_tcp_nodelay(nodelay)
    }

    /// When a silent peer is asked for a sign of life, `None` for never: `SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>>
    where
        F: IpFamily,
        K: Streaming,
    {
        if !self.raw.keepalive()? {
            return Ok(None);
        }
        Ok(Some(Keepalive {
            idle: self.raw.tcp_keepalive_time()?,
            interval: self.raw.tcp_keepalive_interval()?,
            count: self.raw.tcp_keepalive_retries()?,
        }))
    }

    /// Has a silent peer asked for a sign of life, or not: `SO_KEEPALIVE`, `TCP_KEEPIDLE`,
    /// `TCP_KEEPINTVL`, `TCP_KEEPCNT`. Default: off on sockets made by hand, on for those of
    /// [`Server`](crate::Server) and [`Client`](crate::Client).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a time or count that the kernel does not take.
    ///
    /// ```
    /// use sockeye::socket::{Keepalive, TcpListener};
    /// let listener = TcpListener::bind("127.0.0.1:0")?; // for what it accepts
    /// listener.set_keepalive(Some(Keepalive::default()))?;
    /// assert_eq!(listener.keepalive()?, Some(Keepalive::default()));
    /// listener.set_keepalive(None)?;
    /// assert_eq!(listener.keepalive()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()>
    where
        F: IpFamily,
        K: Streaming,
    {
        set_keepalive(&SockRef::from(self), keepalive)
    }

    /// How long closing waits for unsent data, `None` for not at all: `SO_LINGER`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn linger(&self) -> io::Result<Option<Duration>>
    where
        F: IpFamily,
        K: Streaming,
    {
        self.raw.linger()
    }

    /// What closing does about data that the peer does not have yet: `SO_LINGER`, in whole seconds,
    /// rounded up.
    ///
    /// `None`, the default: the close returns at once, and the kernel goes on sending. A duration: the
    /// close blocks the thread until the data is there or the time is over, even if the socket does
    /// not block, and says nothing of how it went. Zero: what is unsent is thrown away, and the peer
    /// sees a reset.
    ///
    /// To know that the peer has everything, shut the write side down and read to the end instead.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// use sockeye::socket::{TcpListener, TcpStream};
    /// use std::{io::Read, time::Duration};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut server, _) = listener.accept()?;
    /// client.set_linger(Some(Duration::ZERO))?;
    /// drop(client);
    /// let error = server.read(&mut [0]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()>
    where
        F: IpFamily,
        K: Streaming,
    {
        set_linger(&SockRef::from(self), linger)
    }

    /// How long sent data may stay unacknowledged, `None` for as long as the system says:
    /// `TCP_USER_TIMEOUT`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn user_timeout(&self) -> io::Result<Option<Duration>>
    where
        F: IpFamily,
        K: Streaming,
    {
        self.raw.tcp_user_timeout()
    }

    /// Ends the connection when sent data was not acknowledged for so long, or when the system says:
    /// `TCP_USER_TIMEOUT` (Linux), in milliseconds, rounded up. Default: `None`, which lets the kernel
    /// try again for some 15 minutes.
    ///
    /// While data is under way it stands in for keepalive, which asks only when all is quiet. The
    /// connection then ends with `TimedOut`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the duration is zero or more than 24 days.
    ///
    /// ```
    /// use std::time::Duration;
    /// let listener = sockeye::socket::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_user_timeout(Some(Duration::from_secs(20)))?;
    /// assert_eq!(listener.user_timeout()?, Some(Duration::from_secs(20)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()>
    where
        F: IpFamily,
        K: Streaming,
    {
        set_user_timeout(&SockRef::from(self), timeout)
    }

    /// How many hops a packet may take, IPv4 or IPv6: `IP_TTL`, `IPV6_UNICAST_HOPS`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn hop_limit(&self) -> io::Result<u8>
    where
        F: IpFamily,
    {
        hops(match self.raw.domain()? {
            Domain::IPV4 => self.raw.ttl_v4()?,
            _ => self.raw.unicast_hops_v6()?,
        })
    }

    /// Lets packets take so many hops, IPv4 or IPv6: `IP_TTL`, `IPV6_UNICAST_HOPS`. Default: the
    /// system's, usually 64.
    ///
    /// On an IPv6 socket it holds for the IPv4 peers of a dual-stack socket too. Multicast has a limit
    /// of its own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is 0.
    ///
    /// ```
    /// use sockeye::addr::{Ipv4, Ipv6};
    /// use sockeye::socket::{TcpListener, UdpSocket};
    /// use std::net::{Ipv4Addr, Ipv6Addr};
    /// let udp: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    /// udp.set_ttl(3)?;
    /// let tcp: TcpListener<Ipv6> = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?;
    /// tcp.set_hops(3)?;
    /// let ip: TcpListener = tcp.into();
    /// assert_eq!(ip.hop_limit()?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_hop_limit(&self, hops: u8) -> io::Result<()>
    where
        F: IpFamily,
    {
        set_hop_limit(&SockRef::from(self), hops)
    }

    /// The size of the send buffer, in bytes, as the kernel keeps it: `SO_SNDBUF`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn send_buffer(&self) -> io::Result<usize> {
        self.raw.send_buffer_size()
    }

    /// How many bytes the kernel may hold for a peer that does not take them: `SO_SNDBUF`.
    ///
    /// A wish: Linux takes at most `net.core.wmem_max`, then doubles it for its own needs, and
    /// [`send_buffer`](Self::send_buffer) gives what came out. A TCP socket whose buffer was set no
    /// longer adapts it to the connection: mostly a loss. Default: the system's.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    ///
    /// ```
    /// let (stream, _other) = sockeye::socket::UnixStream::pair()?;
    /// stream.set_send_buffer(20_000)?;
    /// assert!(stream.send_buffer()? >= 20_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        set_send_buffer(&SockRef::from(self), bytes)
    }

    /// The size of the receive buffer, in bytes, as the kernel keeps it: `SO_RCVBUF`.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        self.raw.recv_buffer_size()
    }

    /// How many bytes the kernel may hold until the program takes them: `SO_RCVBUF`.
    ///
    /// A wish, as with [`set_send_buffer`](Self::set_send_buffer): Linux takes at most
    /// `net.core.rmem_max` and doubles it. Over TCP it bounds the window, whose scale is settled when
    /// the connection is made: give it to the listener, or in [`Options`](super::Options) to connect
    /// with. Over Unix the sender's buffer counts and this one does nothing. Default: the system's.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        set_receive_buffer(&SockRef::from(self), bytes)
    }
}

impl<K: Kind> Socket<Ipv4, K>
where
    Ipv4: Supports<K>,
{
    /// How many hops a packet may take: `IP_TTL`. [`hop_limit`](Self::hop_limit) by its own name.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn ttl(&self) -> io::Result<u8> {
        self.hop_limit()
    }

    /// Lets packets take so many hops: `IP_TTL`. [`set_hop_limit`](Self::set_hop_limit) by its own
    /// name.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        self.set_hop_limit(ttl)
    }
}

impl<K: Kind> Socket<Ipv6, K>
where
    Ipv6: Supports<K>,
{
    /// How many hops a packet may take: `IPV6_UNICAST_HOPS`. [`hop_limit`](Self::hop_limit) by its own
    /// name.
    ///
    /// # Errors
    ///
    /// As `getsockopt(2)`.
    pub fn hops(&self) -> io::Result<u8> {
        self.hop_limit()
    }

    /// Lets packets take so many hops: `IPV6_UNICAST_HOPS`. [`set_hop_limit`](Self::set_hop_limit) by
    /// its own name.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_hops(&self, hops: u8) -> io::Result<()> {
        self.set_hop_limit(hops)
    }
}

// What a socket and a set of options share.

pub(super) fn set_keepalive(socket: &SockRef<'_>, keepalive: Option<Keepalive>) -> io::Result<()> {
    let Some(Keepalive { idle, interval, count }) = keepalive else {
        return socket.set_keepalive(false);
    };
    let (idle, interval) = (whole_seconds(idle), whole_seconds(interval));
    // As many as the kernel can be told; it refuses them.
    let count = count.min(i32::MAX as u32);
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
    socket.set_tcp_keepalive(&keepalive)
}

pub(super) fn set_linger(socket: &SockRef<'_>, linger: Option<Duration>) -> io::Result<()> {
    socket.set_linger(linger.map(whole_seconds))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn set_user_timeout(socket: &SockRef<'_>, timeout: Option<Duration>) -> io::Result<()> {
    // To the kernel zero means none.
    let timeout = open::timeout(timeout)?
        .map(|timeout| timeout.checked_add(Duration::from_nanos(999_999)).unwrap_or(Duration::MAX));
    socket.set_tcp_user_timeout(timeout)
}

pub(super) fn set_hop_limit(socket: &SockRef<'_>, hops: u8) -> io::Result<()> {
    if socket.domain()? == Domain::IPV4 {
        return socket.set_ttl_v4(hops.into());
    }
    // The kernel would take it, and no packet would leave.
    if hops == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a limit of no hops"));
    }
    socket.set_unicast_hops_v6(hops.into())?;
    // For the IPv4 peers that it may have; not every system knows of them here.
    let _ = socket.set_ttl_v4(hops.into());
    Ok(())
}

pub(super) fn set_send_buffer(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_send_buffer_size(bytes.min(INT_MAX))
}

pub(super) fn set_receive_buffer(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_recv_buffer_size(bytes.min(INT_MAX))
}

fn hops(hops: u32) -> io::Result<u8> {
    u8::try_from(hops).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Rounded up, and no more than an `int` holds.
fn whole_seconds(time: Duration) -> Duration {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    Duration::from_secs(seconds.min(INT_MAX as u64))
}

/// The kernel takes sizes and seconds as an `int`.
const INT_MAX: usize = i32::MAX as usize;
