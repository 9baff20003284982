//! Options of TCP exist on streams, and on listeners for them.

use sockeye::socket::UdpSocket;

fn main() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _ = socket.set_nodelay(true);
    let _ = socket.set_user_timeout(None);
}
