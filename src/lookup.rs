//! Names, services and addresses, through the system's resolver or another one.
//!
//! | Python's `socket` | here | asks | blocks? |
//! |---|---|---|---|
//! | `gethostname()` | [`hostname`] | `gethostname(2)`: the kernel | no |
//! | `getfqdn()` | [`fqdn`] | as [`host`], if the host name has no dot | yes |
//! | `gethostbyname(name)` | [`addresses`], the first that is IPv4 | `getaddrinfo(3)` | yes |
//! | `gethostbyname_ex(name)` | [`host`] | `getaddrinfo(3)`, `gethostbyname2_r(3)` | yes |
//! | `gethostbyaddr(ip)` | [`address`] | `gethostbyaddr_r(3)` | yes |
//! | `getservbyname(name, protocol)` | [`service`] | `getservbyname_r(3)`, a built-in table | reads a file |
//! | `getservbyport(port, protocol)` | [`service_at`] | `getservbyport_r(3)`, the same table | reads a file |
//! | `getservbyname(urlparse(url).scheme)` | [`port_of`] | the URL, then [`service`] | reads a file |
//! | `getaddrinfo(host, port)` | [`resolve`], [`endpoint()`], [`addresses`] | `getaddrinfo(3)`, [`service`] | yes |
//! | `if_nameindex()` | [`interfaces`] | `getifaddrs(3)`: the kernel | no |
//! | `if_nametoindex(name)`, `if_indextoname(index)` | [`interface_index`], [`interface_name`] | the calls of these names | no |
//!
//! What **blocks** does so for as long as the resolver likes, seconds where a name server is down: call
//! it before a loop or on a thread of its own, never in a handler; or give a [`Resolver`] a deadline.
//!
//! Literals never reach a resolver. Names are checked before libc sees them: it reads `127.1`, `0x7f.1`
//! and `010.8.8.8` as addresses, and these are errors here. Names that come back are checked as well:
//! reverse records are written by strangers.

mod endpoint;
mod error;
mod host;
mod interface;
mod resolver;
mod service;
mod system;
mod table;
mod url;

pub use endpoint::{endpoint, resolve, resolve_with};
pub use error::{LookupError, LookupErrorKind};
pub use host::{HostInfo, address, addresses, fqdn, host, hostname};
pub use interface::{Interface, interface_index, interface_name, interfaces};
pub use resolver::{ADDRESSES_MAX, Resolver, StaticResolver};
pub use service::{Protocol, Service, service, service_at};
pub use system::SystemResolver;
pub use url::port_of;

pub(crate) use crate::sys::errors::is_missing_here;
