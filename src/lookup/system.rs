//! The system's resolver.

use std::net::SocketAddr;
use std::time::Instant;

use dns_lookup::{AddrFamily, AddrInfoHints, SockType};

use super::error::{LookupError, LookupErrorKind, check_name};
use super::resolver::{Resolver, gather};
use crate::addr::IpVersion;

/// The system's resolver: `getaddrinfo(3)`.
#[derive(Debug, Clone)]
pub struct SystemResolver {}

impl SystemResolver {
    /// The one of this process.
    pub fn shared() -> Self {
        SystemResolver {}
    }
}

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        name: &str,
        version: IpVersion,
        _deadline: Option<Instant>,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        check_name(name)?;
        ask(name, version)
    }
}

/// No flags: above all not the canonical name, on which `dns_lookup` panics if it is not UTF-8.
/// (`AI_ADDRCONFIG` would hide `::1` on a machine without IPv6 elsewhere.)
fn ask(name: &str, version: IpVersion) -> Result<Vec<SocketAddr>, LookupError> {
    let family = match version {
        IpVersion::Any => 0,
        IpVersion::V4 => AddrFamily::Inet.into(),
        IpVersion::V6 => AddrFamily::Inet6.into(),
    };
    let socktype = SockType::Stream.into(); // else every address comes once for each type
    let hints = AddrInfoHints { address: family, socktype, ..AddrInfoHints::default() };
    let infos = dns_lookup::getaddrinfo(Some(name), None, Some(hints))
        .map_err(|error| LookupError::of_gai(name, error))?;
    // An error here is an entry of a family that nobody asked for.
    let found = gather(infos.filter_map(Result::ok).map(|info| info.sockaddr), version);
    match found.is_empty() {
        true => Err(LookupError::new(LookupErrorKind::NoData, name)),
        false => Ok(found),
    }
}
