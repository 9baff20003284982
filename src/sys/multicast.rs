//! Membership in multicast groups, and their interface, by its index.

use super::address::{IpBytes, ip_to_bytes};
use super::netdb::interface;
use super::option;
use crate::addr::InterfaceId;
use rustix::net::sockopt;
use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

/// A change of what a socket hears of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Join,
    Leave,
    JoinSource(IpAddr),
    LeaveSource(IpAddr),
    Block(IpAddr),
    Unblock(IpAddr),
}

impl Change {
    pub(crate) fn source(self) -> Option<IpAddr> {
        match self {
            Change::Join | Change::Leave => None,
            Change::JoinSource(source)
            | Change::LeaveSource(source)
            | Change::Block(source)
            | Change::Unblock(source) => Some(source),
        }
    }
}

/// Makes it, on the interface with this index (RFC 3678: one set of options for both versions of IP).
pub(crate) fn change(
    socket: impl AsFd,
    change: Change,
    group: IpAddr,
    index: u32,
) -> io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let name = match change {
        Change::Join => libc::MCAST_JOIN_GROUP,
        Change::Leave => libc::MCAST_LEAVE_GROUP,
        Change::JoinSource(_) => libc::MCAST_JOIN_SOURCE_GROUP,
        Change::LeaveSource(_) => libc::MCAST_LEAVE_SOURCE_GROUP,
        Change::Block(_) => libc::MCAST_BLOCK_SOURCE,
        Change::Unblock(_) => libc::MCAST_UNBLOCK_SOURCE,
    };
    // A `group_req` is the beginning of it.
    let mut request = [0; size_of::<libc::group_source_req>()];
    let at = offset_of!(libc::group_source_req, gsr_interface);
    request[at..at + 4].copy_from_slice(&index.to_ne_bytes());
    write(&mut request, offset_of!(libc::group_source_req, gsr_group), group);
    let mut length = size_of::<libc::group_req>();
    if let Some(source) = change.source() {
        write(&mut request, offset_of!(libc::group_source_req, gsr_source), source);
        length = request.len();
    }
    option::write(socket, level, name, &request[..length])
}

fn write(request: &mut [u8], at: usize, ip: IpAddr) {
    let mut bytes = IpBytes::default();
    let length = ip_to_bytes(&SocketAddr::new(ip, 0), &mut bytes);
    request[at..at + length].copy_from_slice(&bytes[..length]);
}

/// The index of an interface, 0 for the system's choice. Does not block.
pub(crate) fn index_of(id: &InterfaceId) -> io::Result<u32> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let unknown = |error: io::Error, text: String| match interface::is_none(&error) {
        true => io::Error::new(io::ErrorKind::NotFound, text),
        false => error,
    };
    match id {
        InterfaceId::Default => Ok(0),
        InterfaceId::Name(name) => interface::index(name)
            .map_err(|error| unknown(error, format!("no interface is called `{name}`"))),
        InterfaceId::Index(0) => {
            invalid("no interface has index 0; say `InterfaceId::Default`".to_owned())
        }
        InterfaceId::Index(index) => match interface::name(*index) {
            Ok(_) => Ok(*index),
            Err(error) => Err(unknown(error, format!("no interface has index {index}"))),
        },
        InterfaceId::Address(ip) if ip.is_unspecified() => {
            invalid(format!("no interface has {ip}; say `InterfaceId::Default`"))
        }
        InterfaceId::Address(ip) => {
            let mut having = interface::all()?;
            having.retain(|entry| entry.address.is_some_and(|address| address.ip() == *ip));
            having.dedup_by(|one, other| one.name == other.name);
            match &having[..] {
                [one] => interface::index(&one.name),
                [] => {
                    let text = format!("no interface has the address {ip}");
                    Err(io::Error::new(io::ErrorKind::NotFound, text))
                }
                [one, other, ..] => {
                    invalid(format!("{ip} is of more than one: {}, {}", one.name, other.name))
                }
            }
        }
    }
}

/// `IP_MULTICAST_IF` by index, 0 for the system's choice: `socket2` has it by address alone, and two
/// interfaces may have the same one, or none.
pub(crate) fn set_interface_v4(socket: impl AsFd, index: u32) -> io::Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    Ok(sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &any, index)?)
}
