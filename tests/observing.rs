//! What an observer is told, what is known of each listener, and what a log has of both.

mod matrix;

use matrix::{Cell, eventually, expected_panic, name, next, on_all, on_streams, stop};
use sockeye::addr::Peer;
use sockeye::client::Client;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::error::Error;
use sockeye::handler::{CloseReason, Context};
use sockeye::limits::Limits;
use sockeye::lookup::StaticResolver;
use sockeye::observer::{ListenerState, Observer, Refusal};
use sockeye::server::{OnFull, Server, ServerHandle};
use sockeye::{Endpoint, socket::TcpListener};
use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

on_all! {
    an_observer_is_told_of_each_session_once,
    a_panic_of_the_observer_harms_nobody,
    each_listener_counts_its_own,
}
on_streams! {
    who_is_refused_is_told_and_nothing_else,
    a_peer_that_does_not_read_stalls_and_flows,
    who_has_no_place_is_told_of_and_the_listener_says_so,
}
matrix::on_kinds! { who_is_beyond_a_sources_share_is_told_of [tcp4 Tcp4, tcp6 Tcp6] }

/// Notes all it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|note| *note == what).count()
    }
}

impl Observer for Notes {
    fn resolved(&self, endpoint: &Endpoint, found: Result<&[SocketAddr], &Error>, _: Duration) {
        self.add(format!("resolved {endpoint} {}", found.map_or(0, <[_]>::len)));
    }
    fn attempted(&self, to: SocketAddr, failure: Option<&dyn fmt::Display>, _: Duration) {
        self.add(format!("attempted {} {}", to.ip(), failure.is_none()));
    }
    fn accepted(&self, peer: &Peer, at: &Endpoint) {
        assert_eq!(peer.transport(), at.transport());
        self.add("accepted");
    }
    fn adopted(&self, _: &Peer) {
        self.add("adopted");
    }
    fn refused(&self, _: &Peer, why: Refusal) {
        self.add(format!("refused: {why}"));
    }
    fn closed(&self, _: &Peer, reason: &CloseReason, _: Duration) {
        self.add(format!("closed: {}", name(reason)));
    }
    fn stalled(&self, _: &Peer, unsent: usize) {
        assert!(unsent > 0);
        self.add("stalled");
    }
    fn flowed(&self, _: &Peer) {
        self.add("flowed");
    }
    fn panicked(&self, peer: Option<&Peer>, message: &str) {
        self.add(format!("panicked: {} {message}", peer.is_some()));
    }
}

fn answer(line: &str, cx: &mut Context<'_, Lines>) {
    match line {
        "panic" => expected_panic(),
        "much" => (0..40).for_each(|_| cx.send(&"x".repeat(60_000))),
        _ => cx.send(line),
    }
}

/// One exchange by whatever the endpoint takes, and the end of the client if it is a connection.
fn visit(cell: &Cell, server: &ServerHandle, line: &str) {
    if server.local_endpoints()[0].transport().keeps_messages() {
        let post = cell.post(server);
        match line {
            "panic" => post.send(line.as_bytes()),
            _ => assert_eq!(post.ask(line), line),
        }
        return;
    }
    let mut client = cell.connect(server);
    client.say(&format!("{line}\n"));
    match line {
        "panic" => assert_eq!(client.rest(), ""),
        _ => assert_eq!(client.hear().unwrap(), line),
    }
}

fn an_observer_is_told_of_each_session_once(cell: &Cell) {
    let notes = Notes::default();
    let server =
        cell.server().observer(notes.clone()).codec(Lines::default()).serve(answer).unwrap();
    for line in ["one", "panic", "two"] {
        let before = server.counters().closed.panicked;
        visit(cell, &server, line);
        if line == "panic" {
            eventually("it panicked", || server.counters().closed.panicked > before);
        }
    }
    let (ours, theirs) = sockeye::socket::UnixStream::pair().unwrap();
    server.adopt(ours, Lines::default(), answer).unwrap();
    eventually("it began", || notes.count("adopted") == 1);
    drop(theirs);
    stop(&server);
    let all = notes.all();
    assert_eq!(notes.count("accepted"), 3, "{all:?}");
    assert_eq!(notes.count("closed: panicked"), 1, "{all:?}");
    assert_eq!(notes.count("panicked: true a panic that the test wants"), 1, "{all:?}");
    let closed = all.iter().filter(|note| note.starts_with("closed")).count();
    assert_eq!((closed, all.len()), (4, 4 + 4 + 1), "{all:?}");
}

/// Panics at everything, as a careless one may.
struct Careless(AtomicBool);

impl Observer for Careless {
    fn accepted(&self, _: &Peer, _: &Endpoint) {
        expected_panic()
    }
    fn closed(&self, _: &Peer, _: &CloseReason, _: Duration) {
        self.0.store(true, Ordering::SeqCst);
        expected_panic()
    }
    fn panicked(&self, _: Option<&Peer>, _: &str) {
        expected_panic()
    }
}

fn a_panic_of_the_observer_harms_nobody(cell: &Cell) {
    let careless = Careless(AtomicBool::new(false));
    let server = cell.server().observer(careless).codec(Lines::default()).serve(answer).unwrap();
    visit(cell, &server, "panic");
    eventually("all panicked", || server.counters().panics == 4);
    visit(cell, &server, "hello");
    let report = stop(&server);
    assert_eq!((report.counters.panics, report.counters.closed.total()), (6, 2), "{report:?}");
}

fn who_is_refused_is_told_and_nothing_else(cell: &Cell) {
    for panics in [false, true] {
        let notes = Notes::default();
        let server = cell.server().observer(notes.clone()).codec(Lines::default());
        let server = match panics {
            true => server.admit(|_| expected_panic()).serve(answer).unwrap(),
            false => server.admit(|_| false).serve(answer).unwrap(),
        };
        assert!(cell.connect(&server).end().unwrap_or_default().is_empty());
        stop(&server);
        let panic = "panicked: true a panic that the test wants";
        let told = if panics {
            vec![panic, "refused: not admitted"]
        } else {
            vec!["refused: not admitted"]
        };
        assert_eq!(notes.all(), told);
        assert_eq!(server.listeners()[0].accepted, 0);
    }
    let notes = Notes::default();
    let server = cell.server().observer(notes.clone()).codec(Lines::default());
    let server =
        server.serve_with(|_| -> fn(&str, &mut Context<'_, Lines>) { expected_panic() }).unwrap();
    assert!(cell.connect(&server).end().unwrap_or_default().is_empty());
    stop(&server);
    let told = ["panicked: true a panic that the test wants", "refused: no handler could be made"];
    assert_eq!(notes.all(), told);
    let refused = server.counters().refused;
    assert_eq!((refused.no_handler, refused.total()), (1, 1));
}

/// A server with one place, and the client that has it.
fn full(cell: &Cell, notes: &Notes, limits: Limits) -> (ServerHandle, matrix::Wire) {
    let server = cell.server().observer(notes.clone()).limits(limits).on_full(OnFull::Refuse);
    let server = server.codec(Lines::default()).serve(answer).unwrap();
    let mut inside = cell.connect(&server);
    inside.say("hello\n");
    assert_eq!(inside.hear().unwrap(), "hello");
    (server, inside)
}

fn who_has_no_place_is_told_of_and_the_listener_says_so(cell: &Cell) {
    let notes = Notes::default();
    let mut limits = Limits::default();
    limits.connections_max = Some(1);
    let (server, inside) = full(cell, &notes, limits);
    let state = || server.listeners()[0].state;
    assert_eq!(state(), ListenerState::Paused);
    for _ in 0..2 {
        assert!(cell.connect(&server).end().unwrap_or_default().is_empty());
    }
    assert_eq!(notes.count("refused: no place is left"), 2);
    drop(inside);
    eventually("there is room", || state() == ListenerState::Accepting);
    server.pause_accepting();
    assert_eq!(state(), ListenerState::Paused);
    server.resume_accepting();
    assert_eq!(state(), ListenerState::Accepting);
    stop(&server);
    // Besides those two, the one that was inside came and went.
    assert_eq!(notes.all().len(), 4, "{:?}", notes.all());
    let listener = &server.listeners()[0];
    assert_eq!((listener.accepted, listener.errors), (1, 0));
}

fn who_is_beyond_a_sources_share_is_told_of(cell: &Cell) {
    let notes = Notes::default();
    let mut limits = Limits::default();
    limits.connections_per_source_max = Some(1);
    let (server, inside) = full(cell, &notes, limits);
    assert_eq!(server.listeners()[0].state, ListenerState::Accepting);
    assert!(cell.connect(&server).end().unwrap_or_default().is_empty());
    assert_eq!(notes.count("refused: too many from its source"), 1);
    drop(inside);
    stop(&server);
}

fn a_peer_that_does_not_read_stalls_and_flows(cell: &Cell) {
    let notes = Notes::default();
    let mut limits = Limits::default();
    limits.output_bytes_max = 16 << 20;
    let server = cell.server().observer(notes.clone()).limits(limits);
    let server = server
        .codec(Lines::at_most(100_000))
        .serve(|line: &str, cx: &mut Context<'_, Lines>| match line {
            "much" => (0..200).for_each(|_| cx.send(&"x".repeat(60_000))),
            _ => cx.send(line),
        })
        .unwrap();
    let mut client = cell.connect(&server);
    client.write_all(b"much\n").unwrap();
    eventually("it stalls", || notes.count("stalled") == 1);
    assert_eq!(notes.count("flowed"), 0);
    client.read_exact(&mut vec![0; 200 * 60_001]).unwrap();
    eventually("it flows", || notes.count("flowed") == 1);
    client.say("hello\n");
    assert_eq!(client.hear().unwrap(), "hello");
    drop(client);
    stop(&server);
    let (stalls, flows) = (notes.count("stalled"), notes.count("flowed"));
    assert_eq!((stalls, flows, notes.all().len()), (1, 1, 4), "{:?}", notes.all());
}

fn each_listener_counts_its_own(cell: &Cell) {
    let mut limits = Limits::default();
    limits.connections_max = Some(2);
    let server = cell.server().and("tcp://127.0.0.1:0").limits(limits).codec(Lines::default());
    let handle = server.handle();
    assert!(handle.listeners().is_empty());
    let server = server.serve(answer).unwrap();
    visit(cell, &server, "first");
    let is_datagram = server.local_endpoints()[0].transport().is_datagram();
    let left = u64::from(is_datagram);
    eventually("it left", || handle.listeners()[0].open == left);
    let second = server.local_endpoints()[1].clone();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::to(&second).codec(Lines::default()).connect().unwrap();
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "hello");
            client
        })
        .collect();
    let [one, two] = &handle.listeners()[..] else { panic!("two listeners") };
    assert_eq!((&one.endpoint, &two.endpoint), (&handle.local_endpoints()[0], &second));
    assert_eq!((one.accepted, one.open, two.accepted, two.open), (1, left, 2, 2));
    // The house is full, but for those who need no place in it.
    let expected = if is_datagram { ListenerState::Accepting } else { ListenerState::Paused };
    assert_eq!((one.state, two.state), (expected, ListenerState::Paused));
    drop(clients);
    assert!(server.wait_until_open(left, matrix::PATIENCE));
    eventually("there is room again", || handle.listeners()[1].state == ListenerState::Accepting);
    stop(&server);
    for listener in server.listeners() {
        assert_eq!((listener.state, listener.open, listener.errors), (ListenerState::Closed, 0, 0));
    }
}

#[test]
fn blocking_handlers_are_observed_too() {
    let notes = Notes::default();
    let server = Server::tcp("127.0.0.1:0")
        .observer(notes.clone())
        .serve_blocking(|mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            if byte == *b"!" {
                expected_panic();
            }
            Ok(())
        })
        .unwrap();
    for byte in [b".", b"!"] {
        let mut client = matrix::connect(&server).unwrap();
        client.patient();
        client.write_all(byte).unwrap();
        assert_eq!(client.rest(), "");
    }
    stop(&server);
    let mut all = notes.all();
    all.sort();
    let told = [
        "accepted",
        "accepted",
        "closed: finished",
        "closed: panicked",
        "panicked: true a panic that the test wants",
    ];
    assert_eq!(all, told);
    assert_eq!((server.listeners()[0].accepted, server.listeners()[0].open), (2, 0));
}

#[test]
fn clients_tell_of_lookups_and_of_each_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = StaticResolver::new()
        .with("printer", ["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let at = format!("tcp://printer:{port}");
    let told = [
        format!("resolved {at} 2"),
        "attempted 127.0.0.2 false".to_owned(),
        "attempted 127.0.0.1 true".to_owned(),
    ];
    let notes = Notes::default();
    let client = || Client::to(at.as_str()).resolver(hosts.clone()).sequential();
    client().observer(notes.clone()).connect().unwrap();
    assert_eq!(notes.all(), told);

    // On the engine of a server, whose observer hears if the client has none.
    for engine in AnyEngine::all() {
        let notes = Notes::default();
        let server = Server::new().observer(notes.clone()).engine(engine).codec(Lines::default());
        let server = server.serve(answer).unwrap();
        let (sender, receiver) = mpsc::channel();
        let client = client().codec(Lines::default());
        server.connect(client, answer, move |made| sender.send(made.is_ok()).unwrap()).unwrap();
        assert!(next(&receiver));
        stop(&server);
        assert_eq!(notes.all()[..3], told);
    }
    drop(listener);
    let notes = Notes::default();
    let client = Client::to(at.as_str()).resolver(hosts).observer(notes.clone());
    client.connect().unwrap_err();
    assert_eq!(notes.all().len(), 3);
    assert_eq!(notes.count("attempted 127.0.0.1 false"), 1);
}

#[cfg(feature = "log")]
mod logged {
    use super::*;
    use log::{Level, LevelFilter, Metadata, Record};
    use sockeye::logging::Log;

    struct Book(Mutex<Vec<(Level, String)>>);
    static BOOK: Book = Book(Mutex::new(Vec::new()));

    impl log::Log for Book {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "sockeye"
        }
        fn log(&self, record: &Record<'_>) {
            if self.enabled(record.metadata()) {
                self.0.lock().unwrap().push((record.level(), record.args().to_string()));
            }
        }
        fn flush(&self) {}
    }

    /// Whoever sends a datagram over a Unix socket has chosen its own name.
    fn log_of_a_peer_with_a_bad_name(engine: AnyEngine) {
        let dir = matrix::Dir::new();
        let server = Server::on(format!("unix+dgram://{}", dir.0.join("s").display()))
            .engine(engine)
            .observer(Log::default())
            .codec(Lines::default())
            .serve(|_: &str, _: &mut Context<'_, Lines>| -> sockeye::handler::Outcome {
                Err("no answer".into())
            })
            .unwrap();
        let name = dir.0.join("eve\n\u{1b}[2J\u{202e}root");
        let client = std::os::unix::net::UnixDatagram::bind(name).unwrap();
        client.send_to(b"hello", dir.0.join("s")).unwrap();
        eventually("it failed", || server.counters().closed.handler == 1);
        stop(&server);
    }

    /// One test, because the logger is one.
    #[test]
    fn a_log_has_no_error_for_a_reset_nothing_raw_and_no_flood() {
        log::set_logger(&BOOK).unwrap();
        log::set_max_level(LevelFilter::Trace);
        for engine in AnyEngine::all() {
            BOOK.0.lock().unwrap().clear();
            let server = Server::tcp("127.0.0.1:0")
                .engine(engine.clone())
                .observer(Log::default())
                .codec(Lines::default())
                .serve(|line: &str, _: &mut Context<'_, Lines>| -> sockeye::handler::Outcome {
                    Err(format!("no such command: {line}").into())
                })
                .unwrap();
            // Reset before it is accepted, or soon after.
            for _ in 0..50 {
                matrix::connect(&server).unwrap().reset();
            }
            eventually("they are gone", || {
                let counters = server.counters();
                counters.accepted + counters.accept_failed >= 50 && counters.open == 0
            });
            let mut client = matrix::connect(&server).unwrap();
            client.patient();
            client.say("\u{1b}[2J\u{202e}\u{0}eve\rroot\n");
            assert_eq!(client.rest(), "");
            stop(&server);
            drop(server);
            log_of_a_peer_with_a_bad_name(engine);
            let book = BOOK.0.lock().unwrap();
            assert!(book.iter().all(|(level, _)| *level >= Level::Warn), "{book:?}");
            let failed: Vec<_> = book.iter().filter(|(level, _)| *level == Level::Warn).collect();
            assert_eq!(failed.len(), 2, "{book:?}");
            assert!(failed[0].1.contains(r"\u{1b}[2J\u{202e}\u{0}eve\rroot"), "{book:?}");
            assert!(failed[1].1.contains("eve") && failed[1].1.contains("no answer"), "{book:?}");
            for (_, line) in book.iter() {
                assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            }
            let ends = book.iter().filter(|(_, line)| line.contains(", after ")).count();
            assert!(ends < 50, "{book:?}");
        }
    }
}
