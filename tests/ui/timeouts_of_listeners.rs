//! What moves no data has no timeout for it.

use sockeye::socket::TcpListener;
use std::time::Duration;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _ = listener.set_read_timeout(Some(Duration::from_secs(1)));
}
