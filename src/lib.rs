//! Sockets without an async runtime.

pub mod addr;
pub mod error;
pub mod lookup;
pub mod socket;
mod sys;

pub use addr::{Any, AnyAddr, Endpoint, HostPort, Ip, Ipv4, Ipv6, Peer, Transport, Unix, UnixAddr};
pub use error::{Error, ErrorKind};
