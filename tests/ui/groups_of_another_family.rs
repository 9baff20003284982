//! A multicast group is of the socket's family, and Unix sockets and streams join none.

use sockeye::addr::{Ipv4, Ipv6};
use sockeye::socket::{TcpStream, UdpSocket, UnixDatagram};
use std::net::{Ipv4Addr, Ipv6Addr};

const V4: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, 1);

fn join(v4: UdpSocket<Ipv4>, v6: UdpSocket<Ipv6>, tcp: TcpStream<Ipv4>, unix: UnixDatagram) {
    let _ = v4.join_multicast(V6, "eth0");
    let _ = v6.join_multicast(V4, "eth0");
    let _ = tcp.join_multicast(V4, "eth0");
    let _ = unix.join_multicast(V4, "eth0");
}

fn main() {}
