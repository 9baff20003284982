//! A listener of one family takes no address of another.

use sockeye::addr::Ipv6;
use sockeye::socket::TcpListener;
use std::net::{Ipv4Addr, SocketAddrV4};

fn main() {
    let _ = TcpListener::<Ipv6>::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
}
