//! From names to addresses, through the system's resolver or another one.
//!
//! Everything here may **block** for as long as the resolver likes, seconds where a name server is
//! down: call it before a loop or on a thread of its own, never in a handler; or give a [`Resolver`]
//! a deadline. Literals and numbers never reach a resolver and never block.

mod endpoint;
mod error;
mod resolver;
mod system;

pub use endpoint::{endpoint, resolve, resolve_with};
pub use error::{LookupError, LookupErrorKind};
pub use resolver::{ADDRESSES_MAX, Resolver, StaticResolver};
pub use system::SystemResolver;

pub(crate) use crate::sys::errors::is_missing_here;

use std::net::SocketAddr;

use crate::addr::IpVersion;

/// The addresses of a host.
///
/// # Errors
///
/// The kinds of [`LookupErrorKind`].
pub fn addresses(name: &str) -> Result<Vec<SocketAddr>, LookupError> {
    SystemResolver::shared().resolve(name, IpVersion::Any, None)
}
