//! Writing to a peer that has gone never raises SIGPIPE.
//!
//! In a process of its own, because the disposition of a signal is the whole process's. Rust
//! programs start with SIGPIPE ignored, which would hide one: so a handler stands in for the default
//! disposition. It runs exactly where the default would kill the process, and tells.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use sockeye::codec::Bytes;
use sockeye::engine::AnyEngine;
use sockeye::handler::Context;
use sockeye::server::Server;
use sockeye::socket::{TcpListener, TcpStream, UnixSeqPacket, UnixStream};

#[test]
fn writes_to_a_peer_that_has_gone_raise_no_signal() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&raised)).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    socket2::SockRef::from(&server).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(server); // resets
    let error = tcp.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(tcp.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let pieces = [IoSlice::new(b"x"), IoSlice::new(b"y")];
    assert_eq!(tcp.write_vectored(&pieces).unwrap_err().kind(), ErrorKind::BrokenPipe);

    let (mut unix, other) = UnixStream::pair().unwrap();
    drop(other);
    assert_eq!(unix.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(unix.write_vectored(&pieces).unwrap_err().kind(), ErrorKind::BrokenPipe);
    let (seqpacket, other) = UnixSeqPacket::pair().unwrap();
    drop(other);
    assert_eq!(seqpacket.send(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(seqpacket.send_vectored(&pieces).unwrap_err().kind(), ErrorKind::BrokenPipe);
    servers_write_to_peers_that_have_gone();
    assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");

    // The handler would have seen it: a plain write(2) to the same socket raises.
    let mut file = std::fs::File::from(OwnedFd::from(unix));
    assert_eq!(file.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(raised.load(Ordering::SeqCst), "the handler does not work");
}

/// On every engine: the peer closes, and only then the handler answers.
fn servers_write_to_peers_that_have_gone() {
    for engine in AnyEngine::all() {
        let server = Server::new().engine(engine).codec(Bytes::default()).serve(|_: &[u8], _| {});
        let server = server.unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (gone, is_gone) = mpsc::channel();
        let is_gone = Mutex::new(is_gone);
        let answer = move |bytes: &[u8], cx: &mut Context<'_, Bytes>| {
            is_gone.lock().unwrap().recv().unwrap();
            cx.send(bytes);
        };
        server.adopt(ours, Bytes::default(), answer).unwrap();
        theirs.write_all(b"x").unwrap();
        drop(theirs);
        gone.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        // It writes: that is how it finds out.
        while server.counters().closed.transport == 0 {
            assert!(Instant::now() < deadline, "{:?}", server.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
        server.stop(Duration::ZERO);
        server.join().unwrap();
    }
}
