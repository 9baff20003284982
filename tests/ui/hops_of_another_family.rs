//! IPv4 has a time to live, IPv6 a number of hops; what may be either has `hop_limit`, and Unix none.

use sockeye::addr::{Ipv4, Ipv6};
use sockeye::socket::{TcpStream, UdpSocket, UnixStream};

fn set(v4: TcpStream<Ipv4>, v6: UdpSocket<Ipv6>, ip: TcpStream, unix: UnixStream) {
    let _ = v4.set_hops(3);
    let _ = v6.set_ttl(3);
    let _ = ip.set_ttl(3);
    let _ = unix.set_hop_limit(3);
}

fn main() {}
