//! An address of any family, for programs that learn theirs at run time.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::UnixAddr;

/// An IP or a Unix address.
///
/// 32 bytes, like [`SocketAddr`]. Not `#[non_exhaustive]`: the families of the crate are sealed,
/// and matching both arms is how the two worlds are told apart.
///
/// Prints as an IP address and port, or as [`UnixAddr`] prints.
///
/// ```
/// use sockeye::addr::{AnyAddr, UnixAddr};
/// use std::net::SocketAddr;
/// let ip = AnyAddr::from("[::1]:80".parse::<SocketAddr>()?);
/// assert!(ip.as_ip().is_some() && ip.as_unix().is_none());
/// let unix = AnyAddr::from(UnixAddr::from_path("/run/app")?);
/// assert_eq!(unix.to_string(), "/run/app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum AnyAddr {
    /// An IPv4 or IPv6 address with its port.
    Ip(SocketAddr),
    /// A Unix address.
    Unix(UnixAddr),
}

impl AnyAddr {
    /// The IP address with its port, if it is one.
    pub fn as_ip(&self) -> Option<&SocketAddr> {
        match self {
            AnyAddr::Ip(ip) => Some(ip),
            AnyAddr::Unix(_) => None,
        }
    }

    /// The same address, an IPv4 one that a dual-stack IPv6 socket shows as `::ffff:a.b.c.d` as what
    /// it is.
    ///
    /// ```
    /// use sockeye::AnyAddr;
    /// use std::net::SocketAddr;
    /// let mapped: SocketAddr = "[::ffff:192.0.2.1]:80".parse().expect("an address");
    /// assert_eq!(AnyAddr::Ip(mapped).to_canonical().to_string(), "192.0.2.1:80");
    /// ```
    pub fn to_canonical(self) -> Self {
        match self {
            AnyAddr::Ip(addr) if addr.ip() != addr.ip().to_canonical() => {
                AnyAddr::Ip((addr.ip().to_canonical(), addr.port()).into())
            }
            other => other,
        }
    }

    /// The Unix address, if it is one.
    pub fn as_unix(&self) -> Option<&UnixAddr> {
        match self {
            AnyAddr::Ip(_) => None,
            AnyAddr::Unix(unix) => Some(unix),
        }
    }

    /// The IP address without its port, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_ip().map(SocketAddr::ip)
    }

    /// Whether it is an IP address of the loopback interface: `127.0.0.0/8`, `::1`.
    ///
    /// This and the two below judge an IPv4 address in IPv6 spelling as what it is, which the methods
    /// of [`Ipv6Addr`](std::net::Ipv6Addr) do not. A Unix address is none of them.
    ///
    /// ```
    /// use sockeye::AnyAddr;
    /// use std::net::SocketAddr;
    /// let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().expect("an address");
    /// assert!(!mapped.ip().is_loopback() && AnyAddr::Ip(mapped).is_loopback());
    /// ```
    pub fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Whether it is an IP address that private networks use: `10.0.0.0/8`, `172.16.0.0/12`,
    /// `192.168.0.0/16` (RFC 1918), `fc00::/7` (RFC 4193).
    pub fn is_private(&self) -> bool {
        self.ip().is_some_and(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        })
    }

    /// Whether it is an IP address that holds on its own link only: `169.254.0.0/16` (RFC 3927),
    /// `fe80::/10` (RFC 4291).
    pub fn is_link_local(&self) -> bool {
        self.ip().is_some_and(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        })
    }
}

impl fmt::Debug for AnyAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyAddr::Ip(ip) => fmt::Debug::fmt(ip, f),
            AnyAddr::Unix(unix) => fmt::Debug::fmt(unix, f),
        }
    }
}

impl fmt::Display for AnyAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyAddr::Ip(ip) => fmt::Display::fmt(ip, f),
            AnyAddr::Unix(unix) => fmt::Display::fmt(unix, f),
        }
    }
}

impl From<SocketAddr> for AnyAddr {
    fn from(addr: SocketAddr) -> Self {
        AnyAddr::Ip(addr)
    }
}

impl From<SocketAddrV4> for AnyAddr {
    fn from(addr: SocketAddrV4) -> Self {
        AnyAddr::Ip(addr.into())
    }
}

impl From<SocketAddrV6> for AnyAddr {
    fn from(addr: SocketAddrV6) -> Self {
        AnyAddr::Ip(addr.into())
    }
}

impl From<UnixAddr> for AnyAddr {
    fn from(addr: UnixAddr) -> Self {
        AnyAddr::Unix(addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_no_larger_than_an_ip_address() {
        assert_eq!(size_of::<AnyAddr>(), size_of::<SocketAddr>());
    }

    #[test]
    fn addresses_are_judged_as_what_they_are() {
        let any = |ip: &str| AnyAddr::Ip(SocketAddr::new(ip.parse().unwrap(), 80));
        let judged = |ip| (any(ip).is_loopback(), any(ip).is_private(), any(ip).is_link_local());
        for ip in ["127.9.9.9", "::ffff:127.9.9.9", "::1"] {
            assert_eq!(judged(ip), (true, false, false), "{ip}");
        }
        for ip in ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:192.168.9.9", "fd00::1"] {
            assert_eq!(judged(ip), (false, true, false), "{ip}");
        }
        for ip in ["169.254.0.1", "::ffff:169.254.0.1", "fe80::1"] {
            assert_eq!(judged(ip), (false, false, true), "{ip}");
        }
        for ip in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(judged(ip), (false, false, false), "{ip}");
        }
        assert!(!AnyAddr::Unix(UnixAddr::unnamed()).is_loopback());
    }
}
