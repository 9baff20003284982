//! Sockets without an async runtime.

pub mod addr;
mod buffer;
pub mod client;
pub mod codec;
pub mod engine;
pub mod error;
pub mod handler;
pub mod limits;
pub mod lookup;
mod mailbox;
mod poll;
pub mod server;
mod session;
pub mod socket;
mod sys;
mod timers;

pub use addr::{Any, AnyAddr, Endpoint, HostPort, Ip, Ipv4, Ipv6, Peer, Transport, Unix, UnixAddr};
pub use error::{Error, ErrorKind};
