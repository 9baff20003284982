//! Where sockets are and who is at the other end: families, kinds, addresses, endpoints.
//!
//! Plain values, made of the standard library alone; nothing here opens a socket or asks a name
//! server. From the most typed to the most readable:
//!
//! ```text
//!  Ipv4  Ipv6  Ip  Unix  Any      families, as types: what a socket is
//!    |     |    |    |    |
//!  SocketAddrV4 .. UnixAddr AnyAddr   addresses: what the kernel is told
//!                  |
//!                Peer                 an address and how it is spoken to
//!                  |
//!              Endpoint               the same as text, with names not yet looked up
//! ```
//!
//! The grammar of endpoints is at [`Endpoint`]. [`Policy`] says whom to talk to, by [`Network`];
//! [`Credentials`] are who is at the other end of a Unix connection.

mod address;
mod any;
mod credentials;
mod endpoint;
mod family;
mod grammar;
mod host;
mod interface_id;
mod into;
mod network;
mod parse;
mod peer;
mod policy;
mod transport;
mod unix;

pub use address::{Address, IntoAddress};
pub use any::AnyAddr;
pub use credentials::Credentials;
pub use endpoint::Endpoint;
pub use family::{
    Any, Connected, ConnectedDatagram, Datagram, Datagrams, EraseTo, Family, HasPeer, Ip, IpFamily,
    Ipv4, Ipv6, Kind, Listening, SeqPacket, Stream, Streaming, Supports, Transfers, Unix,
};
pub use host::{Host, HostPort, IpVersion, Port, Zone};
pub use interface_id::InterfaceId;
pub use into::{IntoEndpoint, IntoHostPort};
pub use network::Network;
pub use parse::{ParseEndpointError, Part};
pub use peer::Peer;
pub use policy::Policy;
pub use transport::{SocketType, Transport};
pub use unix::UnixAddr;

/// Keeps the traits of this module ours: a family that the kernel does not know cannot be added.
mod sealed {
    pub trait Sealed {}
}
