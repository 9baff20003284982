//! Options of TCP exist on IP sockets only, which one of family `Any` need not be.

use sockeye::socket::{AnyStream, UnixListener, UnixStream};

fn main() {
    let (stream, _other) = UnixStream::pair().unwrap();
    let _ = stream.set_nodelay(true);
    let _ = AnyStream::from(stream).set_linger(None);
    let listener = UnixListener::bind(sockeye::addr::UnixAddr::unnamed()).unwrap();
    let _ = listener.set_keepalive(None);
}
