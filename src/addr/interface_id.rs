//! Which network interface of this host is meant.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which network interface of this host: by name, by index or by an address that it has.
///
/// What takes one never guesses: a host has several interfaces, and a multicast group joined on the wrong
/// one is silent and no error. Where the system's choice will do, say [`InterfaceId::Default`].
///
/// ```
/// use sockeye::addr::InterfaceId;
/// use std::net::Ipv4Addr;
/// assert_eq!(InterfaceId::from("eth0"), InterfaceId::Name("eth0".to_owned()));
/// assert_eq!(InterfaceId::from(2), InterfaceId::Index(2));
/// assert_eq!(InterfaceId::from(Ipv4Addr::LOCALHOST).to_string(), "127.0.0.1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceId {
    /// The one that the system takes for the group: that of the route to it, often the default route.
    /// Without a route, none.
    Default,
    /// The name that the system gives it, such as `eth0`.
    Name(String),
    /// The index that the system gives it, from 1 on: the scope id of its link-local addresses.
    Index(u32),
    /// An address that one interface has, IPv4 or IPv6, whatever the family of the socket is.
    Address(IpAddr),
}

/// By name: text is never taken for an address.
impl From<&str> for InterfaceId {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// By name.
impl From<String> for InterfaceId {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

/// By index.
impl From<u32> for InterfaceId {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

/// By an address that it has.
impl From<IpAddr> for InterfaceId {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// By an address that it has.
impl From<Ipv4Addr> for InterfaceId {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address.into())
    }
}

/// By an address that it has.
impl From<Ipv6Addr> for InterfaceId {
    fn from(address: Ipv6Addr) -> Self {
        Self::Address(address.into())
    }
}

/// The name, the index or the address; `default` for none of them.
impl fmt::Display for InterfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}
