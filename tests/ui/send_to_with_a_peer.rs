//! A connected socket has its peer.

use sockeye::socket::ConnectedUdpSocket;

fn main() {
    let client = ConnectedUdpSocket::connect("127.0.0.1:7000").unwrap();
    let _ = client.send_to(b"ping", &"127.0.0.1:7001".parse().unwrap());
}
