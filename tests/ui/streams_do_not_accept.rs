//! A connected socket does not accept, and a listener does not read.

use sockeye::socket::{TcpListener, TcpStream};
use std::io::Read;

fn main() {
    let stream = TcpStream::connect("127.0.0.1:7000").unwrap();
    let _ = stream.accept();
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _ = listener.read(&mut [0; 8]);
}
