//! A socket that talks to anybody has to be told to whom.

use sockeye::socket::UdpSocket;

fn main() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _ = socket.send(b"to whom?");
}
