//! Relays: what goes one way must not hold up what goes the other.

use sockeye::codec::Bytes;
use sockeye::engine::AnyEngine;
use sockeye::handler::Context;
use sockeye::server::Server;
use sockeye::socket::UnixStream;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn input_goes_on_while_what_remotes_sent_is_not_read() {
    for engine in AnyEngine::all() {
        let name = engine.to_string();
        let server = Server::new().engine(engine).codec(Bytes::default());
        let server = server.serve(|_: &[u8], _| {}).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (heard, hear) = mpsc::channel();
        let listen = move |bytes: &[u8], _: &mut Context<'_, Bytes>| {
            let _ = heard.send(bytes.to_vec());
        };
        let remote = server.adopt(ours, Bytes::default(), listen).unwrap();
        let unread = vec![7; 900 * 1024];
        remote.send(&unread).unwrap();
        // Part of it is with the kernel, the rest waits.
        let mut first = [0];
        theirs.read_exact(&mut first).unwrap();
        theirs.write_all(b"still there?").unwrap();
        assert_eq!(hear.recv_timeout(PATIENCE).expect(&name), b"still there?", "{name}");
        let mut rest = vec![0; unread.len() - 1];
        theirs.set_read_timeout(Some(PATIENCE)).unwrap();
        theirs.read_exact(&mut rest).expect(&name);
        assert!(rest == unread[1..], "{name}");
        server.stop(Duration::ZERO);
        server.join().unwrap();
    }
}
