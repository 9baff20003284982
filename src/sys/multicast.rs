//! The interface of a multicast group, by its index.

use super::netdb::interface;
use crate::addr::InterfaceId;
use rustix::net::sockopt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

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
