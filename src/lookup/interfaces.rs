//! The network interfaces of this host.

use crate::addr::Interface;
use crate::sys::interfaces as sys;
use std::io;
use std::net::IpAddr;

/// A network interface of this host, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// The name that the system gives it, such as `eth0`.
    pub name: String,
    /// The index that the system gives it, from 1 on: the scope id of its link-local addresses. One that
    /// is removed and made anew has another.
    pub index: u32,
    /// Its addresses, in the system's order; many interfaces have none.
    pub addresses: Vec<IpAddr>,
    /// Whether it is switched on: `IFF_UP`.
    pub is_up: bool,
    /// Whether there is a link as well, such as a cable that is plugged in: `IFF_RUNNING`.
    pub is_running: bool,
    /// Whether it leads back to this host: `IFF_LOOPBACK`.
    pub is_loopback: bool,
    /// Whether it says that it does multicast: `IFF_MULTICAST`. Linux's `lo` does not say so, and does
    /// IPv4 multicast all the same.
    pub is_multicast: bool,
}

/// The network interfaces of this host, those without addresses and those that are down included:
/// `getifaddrs(3)`. Asks the kernel alone and does not block. For changes, ask again.
///
/// # Errors
///
/// As `getifaddrs(3)`.
///
/// ```
/// use sockeye::lookup::interfaces;
/// for interface in interfaces()?.iter().filter(|interface| interface.is_up) {
///     println!("{:3} {:16} {:?}", interface.index, interface.name, interface.addresses);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "getifaddrs")]
#[doc(alias = "if_nameindex")]
pub fn interfaces() -> io::Result<Vec<InterfaceInfo>> {
    let entries = sys::interfaces()?.into_iter();
    let infos = entries.map(|entry| InterfaceInfo {
        is_up: entry.is_up(),
        is_running: entry.is_running(),
        is_loopback: entry.is_loopback(),
        is_multicast: entry.is_multicast(),
        name: entry.name,
        index: entry.index,
        addresses: entry.addresses,
    });
    Ok(infos.collect())
}

/// By its index.
impl From<&InterfaceInfo> for Interface {
    fn from(info: &InterfaceInfo) -> Self {
        Self::Index(info.index)
    }
}
