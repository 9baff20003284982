//! A handler that blocks would hold up a whole event loop.

use sockeye::engine::Events;
use sockeye::server::Server;

fn main() {
    let _ = Server::tcp("127.0.0.1:0").engine(Events::workers(1)).serve_blocking(|_stream| Ok(()));
}
