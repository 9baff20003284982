//! What users test with: local servers, and conversations without one.

mod matrix;

use matrix::expected_panic;
use sockeye::codec::{Bytes, Delimited, LengthDelimited, Lines};
use sockeye::engine::Threads;
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote, SendError};
use sockeye::limits::Limits;
use sockeye::server::Server;
use sockeye::testing::{Conversation, LocalServer};
use sockeye::{Peer, Transport, UnixAddr};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn echo(line: &str, cx: &mut Context<'_, Lines>) {
    match line {
        "panic" => expected_panic(),
        "finish" => cx.finish(),
        "abort" => cx.abort(),
        "half" => cx.shutdown_write(),
        "pause" => cx.pause(),
        line => cx.send(line),
    }
}

fn lines() -> Conversation<Lines> {
    Conversation::new(Lines::default(), echo)
}

fn limited(change: impl FnOnce(&mut Limits)) -> Conversation<Lines> {
    let mut limits = Limits::default();
    change(&mut limits);
    Conversation::with(Lines::default(), echo, Peer::memory(), limits)
}

fn heard(peer: &mut Conversation<Lines>) -> Vec<String> {
    std::iter::from_fn(|| peer.receive().unwrap().map(str::to_owned)).collect()
}

// ---- Local servers ------------------------------------------------------------------------------

#[test]
fn a_local_server_is_one_line_of_any_kind() {
    let servers = [
        LocalServer::memory(Lines::default(), || echo).unwrap(),
        LocalServer::tcp(Lines::default(), || echo).unwrap(),
        LocalServer::udp(Lines::default(), || echo).unwrap(),
        LocalServer::start(
            Server::new().engine(Threads::at_most(1)).codec(Lines::default()),
            || echo,
        )
        .unwrap(),
    ];
    let transports = [Transport::Memory, Transport::Tcp, Transport::Udp, Transport::Memory];
    for (server, transport) in servers.into_iter().zip(transports) {
        assert_eq!(server.endpoint().transport(), transport);
        for _ in 0..3 {
            let mut client = server.client().unwrap();
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "hello");
        }
        let (ours, theirs) = sockeye::memory::pair(9);
        server.handle().adopt(ours, Lines::default(), echo).unwrap();
        drop(theirs);
        let report = server.stop().unwrap();
        let counters = report.counters;
        assert_eq!((report.forced, report.abandoned), (0, 0), "{report:?}");
        assert_eq!(counters.accepted + counters.datagram_peers, 3);
    }
}

#[test]
fn a_panic_of_a_handler_fails_the_test_unless_it_is_asked_for() {
    let panicked = || {
        let server = LocalServer::memory(Lines::default(), || echo).unwrap();
        let mut client = server.client().unwrap();
        client.send("panic").unwrap();
        assert_eq!(client.receive().unwrap_err().kind(), sockeye::ErrorKind::Closed);
        server
    };
    assert_eq!(panicked().stop().unwrap().counters.panics, 1);
    let server = panicked();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(server))).unwrap_err();
    let said = dropped.downcast_ref::<String>().unwrap();
    assert_eq!(said, "1 callbacks of a handler panicked");
    // A test that fails already is not aborted by a second panic.
    let server = panicked();
    let first = catch_unwind(AssertUnwindSafe(move || {
        let _server = server;
        expected_panic();
    }));
    assert!(first.unwrap_err().downcast_ref::<String>().is_none());
}

// ---- Conversations ------------------------------------------------------------------------------

#[test]
fn a_conversation_is_in_frames_or_in_bytes() {
    let mut peer = lines();
    assert_eq!(peer.receive().unwrap(), None);
    peer.send("one").unwrap();
    peer.send_bytes(b"tw");
    peer.send_bytes(b"");
    peer.send_bytes(b"o\nthree\nfo");
    assert_eq!(heard(&mut peer), ["one", "two", "three"]);
    assert_eq!(peer.take_bytes(), b"");
    assert!(peer.send("a\nb").is_err(), "as the codec of a client");
    peer.send_bytes(b"ur\n");
    assert_eq!(peer.take_bytes(), b"four\n");
    assert!(!peer.has_ended() && peer.close_reason().is_none());
    peer.shutdown_write();
    assert!(peer.has_ended() && !peer.was_reset());
    assert!(matches!(peer.close_reason(), Some(CloseReason::PeerClosed)));
    // Nothing happens any more, and nothing panics.
    peer.send("late").unwrap();
    peer.send_bytes(b"late\n");
    peer.reset();
    peer.stop();
    peer.advance(Duration::MAX);
    peer.shutdown_write();
    assert_eq!(heard(&mut peer), [""; 0]);
    assert!(matches!(peer.close(), CloseReason::PeerClosed));
}

#[test]
fn every_end_has_its_reason() {
    let after = |line: &str| {
        let mut peer = lines();
        peer.send(line).unwrap();
        peer
    };
    assert!(matches!(after("hello").close(), CloseReason::PeerClosed));
    assert!(matches!(after("finish").close(), CloseReason::Finished));
    let mut aborted = after("abort");
    assert!(aborted.was_reset() && !aborted.has_ended());
    assert_eq!(aborted.take_bytes(), b"");
    assert!(matches!(aborted.close(), CloseReason::Aborted));
    let panicked = after("panic");
    assert!(panicked.has_ended() && panicked.close_reason().is_none(), "it lingers");
    assert!(matches!(panicked.close(), CloseReason::Panicked));
    let mut cut = after("hello");
    cut.reset();
    assert!(matches!(cut.close_reason(), Some(CloseReason::Transport(_))));
    let mut torn = lines();
    torn.send_bytes(b"half a li");
    assert!(matches!(torn.close(), CloseReason::Frame(_)));
    let mut half = after("half");
    assert!(half.has_ended() && half.close_reason().is_none());
    half.send("not answered").unwrap();
    assert_eq!(half.take_bytes(), b"");
    assert!(matches!(half.close(), CloseReason::PeerClosed));
    let mut stopped = after("hello");
    stopped.stop();
    assert!(stopped.has_ended());
    assert!(matches!(stopped.close(), CloseReason::Finished));
}

#[test]
fn limits_run_out_at_their_time_and_not_a_millisecond_sooner() {
    const MS: Duration = Duration::from_millis(1);
    let mut silent = lines();
    silent.send_bytes(b"half a first li");
    silent.advance(secs(60) - MS);
    assert!(!silent.has_ended());
    silent.advance(MS);
    assert!(silent.has_ended());
    assert_eq!(silent.elapsed(), secs(60));
    assert!(matches!(silent.close(), CloseReason::FirstMessageTimeout));

    let mut idle = lines();
    for _ in 0..3 {
        idle.send("hello").unwrap();
        idle.advance(secs(600) - MS);
        assert!(!idle.has_ended(), "what comes moves the limit");
    }
    idle.advance(MS);
    assert!(idle.has_ended() && idle.close_reason().is_none());
    idle.advance(secs(1));
    assert!(matches!(idle.close_reason(), Some(CloseReason::IdleTimeout)));

    // Several limits in one step.
    let mut forgotten = lines();
    forgotten.advance(secs(3600));
    assert_eq!(forgotten.elapsed(), secs(3600));
    assert!(matches!(forgotten.close_reason(), Some(CloseReason::FirstMessageTimeout)));
}

#[test]
fn a_peer_that_does_not_take_its_replies_holds_the_handler_back() {
    let mut peer = limited(|limits| limits.write_stall_timeout = Some(secs(30)));
    peer.set_window(8);
    peer.send_bytes(b"first line\nsecond\n");
    peer.send("third").unwrap();
    assert_eq!(peer.take_bytes(), b"first li");
    assert_eq!(peer.take_bytes(), b"ne\nsecon");
    assert_eq!(peer.take_bytes(), b"d\nthird\n");
    peer.send("a line of more than eight").unwrap();
    peer.advance(secs(29));
    assert!(peer.close_reason().is_none());
    peer.advance(secs(1));
    assert!(matches!(peer.close_reason(), Some(CloseReason::WriteStall)));
    assert!(peer.was_reset());

    let mut peer = limited(|limits| limits.output_bytes_max = 100);
    peer.set_window(0);
    peer.send(&"x".repeat(99)).unwrap();
    assert_eq!(peer.take_bytes(), b"");
    peer.set_window(usize::MAX);
    assert_eq!(peer.take_bytes().len(), 100);
    peer.send(&"x".repeat(100)).unwrap();
    assert!(matches!(peer.close_reason(), Some(CloseReason::OutputFull { .. })));
}

/// Beats every second, and hands its remote out.
struct Beating(mpsc::Sender<Remote<Lines>>);

impl Handler<Lines> for Beating {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.0.send(cx.remote())?;
        cx.set_timer(secs(1));
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        cx.pause();
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("beat");
        cx.set_timer(secs(1));
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.resume();
        Ok(())
    }
    fn on_eof(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        Ok(())
    }
}

#[test]
fn timers_beat_and_remotes_are_heard() {
    let (sender, remotes) = mpsc::channel();
    let mut peer = Conversation::new(Lines::default(), Beating(sender));
    let remote = remotes.try_recv().unwrap();
    peer.advance(Duration::from_millis(3500));
    assert_eq!(heard(&mut peer), ["beat"; 3]);
    remote.send("from elsewhere").unwrap();
    peer.run();
    assert_eq!(heard(&mut peer), ["from elsewhere"]);
    peer.send("one").unwrap();
    peer.send("two").unwrap();
    assert_eq!(heard(&mut peer), ["one"], "it pauses after each");
    remote.wake();
    assert_eq!(heard(&mut peer), ["two"]);
    peer.send("behind the pause").unwrap();
    peer.shutdown_write();
    peer.advance(Duration::from_millis(500));
    assert_eq!(heard(&mut peer), ["beat"]);
    remote.wake();
    assert_eq!(heard(&mut peer), ["behind the pause"]);
    // It does not end with its peer, so it is cut off.
    assert!(matches!(peer.close(), CloseReason::Stopped));
    assert!(matches!(remote.send("late"), Err(SendError::Closed)));
}

#[test]
fn messages_keep_their_edges() {
    let udp = Peer::udp(SocketAddr::from(([192, 0, 2, 1], 7)));
    let records = Peer::unix_seqpacket(UnixAddr::unnamed());
    for peer in [udp, records] {
        let datagrams = peer.transport().is_datagram();
        let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
        let mut peer = Conversation::with(Bytes::default(), echo, peer, Limits::default());
        peer.send(b"one").unwrap();
        peer.send_bytes(b"");
        peer.send_bytes(b"three");
        assert_eq!(peer.receive().unwrap(), Some(&b"one"[..]));
        assert_eq!(peer.receive().unwrap(), Some(&b""[..]));
        assert_eq!(peer.take_bytes(), b"three");
        assert_eq!(peer.receive().unwrap(), None);
        peer.set_window(4);
        (0..3).for_each(|_| peer.send_bytes(b"longer than the window"));
        assert_eq!(peer.take_bytes(), b"longer than the window");
        peer.set_window(usize::MAX);
        assert_eq!(peer.take_bytes(), b"longer than the window");
        assert_eq!(peer.take_bytes(), b"longer than the window");
        peer.shutdown_write();
        peer.reset();
        assert_eq!(peer.close_reason().is_none(), datagrams, "datagrams have neither");
        peer.advance(secs(3600));
        assert!(peer.close_reason().is_some());
    }
}

#[test]
fn what_the_handler_sends_is_read_as_a_client_reads_it() {
    let raw = |_: &[u8], cx: &mut Context<'_, Bytes>| cx.send(b"ok\ntoo long a line\nfine\nhalf");
    // What a handler of raw bytes said, through the eyes of another codec.
    let mut server = Conversation::new(Bytes::default(), raw);
    server.send(b"go").unwrap();
    let said = server.take_bytes();
    let codec = Delimited::by("\n", 8).oversize(sockeye::codec::Oversize::Skip);
    let copy = move |_: &[u8], cx: &mut Context<'_, Delimited>| cx.send(b"fine");
    let mut peer = Conversation::new(codec, copy);
    peer.send_bytes(&said);
    let got: Vec<Vec<u8>> =
        std::iter::from_fn(|| peer.receive().unwrap().map(<[u8]>::to_vec)).collect();
    assert_eq!(got, [b"fine"; 2], "the long one is skipped, the half one waits");

    let bad = |_: &[u8], cx: &mut Context<'_, LengthDelimited>| cx.shutdown_write();
    let mut peer = Conversation::new(LengthDelimited::at_most(9), bad);
    peer.send(b"go").unwrap();
    assert_eq!(peer.receive().unwrap(), None, "the end, and no frame");
}

/// Wakes itself for ever.
struct Restless(Option<Remote<Lines>>);

impl Handler<Lines> for Restless {
    fn on_frame(&mut self, _: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.0.get_or_insert(cx.remote()).wake();
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.0.as_ref().unwrap().wake();
        Ok(())
    }
}

#[test]
fn a_handler_that_never_rests_does_not_hang_the_test() {
    let mut peer = Conversation::new(Lines::default(), Restless(None));
    peer.send("go").unwrap();
    peer.advance(secs(1));
    assert!(matches!(peer.close(), CloseReason::Stopped | CloseReason::PeerClosed));
}
