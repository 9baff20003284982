//! One handler source, every engine, every kind of endpoint: the same conversations.

mod matrix;

use matrix::{Cell, ENGINES, Kind, Random, Wire, name, next, on_all, on_streams, stop};
use sockeye::addr::Transport;
use sockeye::client::Client;
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Threads};
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::Server;
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

on_all! {
    three_clients_are_echoed_and_the_server_stops,
}
on_streams! {
    a_used_address_is_refused_and_free_again_afterwards,
    clients_of_the_library_speak_to_it,
}

#[test]
fn the_matrix_has_every_engine() {
    let all: Vec<String> = AnyEngine::all().iter().map(AnyEngine::to_string).collect();
    assert_eq!(all, ["threads", "events"], "a new engine wants a column in tests/matrix");
}

// ---- SRV-01 -------------------------------------------------------------------------------------

fn three_clients_are_echoed_and_the_server_stops(cell: &Cell) {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().codec(Lines::default()).serve(echo).unwrap();
    let [endpoint] = server.local_endpoints() else { panic!("one endpoint was asked for") };
    if let Some(at) = endpoint.to_addr().as_ref().and_then(|at| at.as_ip()) {
        assert_ne!(at.port(), 0);
    }
    if endpoint.transport().keeps_messages() {
        let clients: Vec<_> = (0..3).map(|_| cell.post(&server)).collect();
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(client.ask(&format!("hello {index}")), format!("hello {index}"));
        }
        let report = stop(&server);
        let counters = report.counters;
        assert_eq!(counters.datagram_peers + counters.accepted, 3);
        assert_eq!(counters.closed.finished, 3);
        assert_eq!((counters.bytes_read, counters.bytes_written), (21, 21));
    } else {
        let mut clients: Vec<_> = (0..3).map(|_| cell.connect(&server)).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.say(&format!("hello {index}\n"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.hear().unwrap(), format!("hello {index}"));
        }
        server.stop(matrix::PATIENCE);
        clients.iter_mut().for_each(|client| assert_eq!(client.rest(), ""));
        drop(clients);
        let report = stop(&server);
        assert_eq!(report.counters.accepted, 3);
        assert_eq!((report.counters.closed.finished, report.finished), (3, 3));
        assert_eq!((report.counters.bytes_read, report.counters.bytes_written), (24, 24));
        assert!(cell.dial(&server)().is_err(), "nobody listens any more");
    }
    if let Some(path) = endpoint.unix_addr().and_then(|at| at.as_path()) {
        assert!(!path.exists(), "the socket file is left behind");
    }
}

// ---- SRV-03 -------------------------------------------------------------------------------------

fn a_used_address_is_refused_and_free_again_afterwards(cell: &Cell) {
    let serve = |server: Server<(), AnyEngine>| {
        server.codec(Lines::default()).serve(|line: &str, cx: &mut Context<'_, Lines>| {
            cx.send(line);
            // The side that closes first is the one that TIME_WAIT keeps.
            cx.finish();
        })
    };
    let first = serve(cell.server()).unwrap();
    let endpoint = first.local_endpoints()[0].clone();
    for _ in 0..3 {
        let error = serve(Server::on(endpoint.clone()).engine(cell.engine())).unwrap_err();
        assert_eq!(error.kind(), sockeye::ErrorKind::AddressInUse, "{error}");
        assert!(error.to_string().contains(&endpoint.to_string()), "{error}");
        assert_eq!(error.io_error().kind(), io::ErrorKind::AddrInUse);
    }
    for server in [Some(first), None] {
        let again = || serve(Server::on(endpoint.clone()).engine(cell.engine())).unwrap();
        let server = server.unwrap_or_else(again);
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.rest(), "hello\n");
        drop(client);
        stop(&server);
    }
}

// ---- with Client --------------------------------------------------------------------------------

fn clients_of_the_library_speak_to_it(cell: &Cell) {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().codec(Lines::default()).serve(echo).unwrap();
    let mut client = cell.client(&server, Lines::default());
    client.send("one").unwrap();
    client.send("two").unwrap();
    client.shutdown_write().unwrap();
    let lines: Result<Vec<String>, _> = client.frames().collect();
    assert_eq!(lines.unwrap(), ["one", "two"]);
    let ended = client.receive().unwrap_err();
    assert_eq!(ended.kind(), sockeye::ErrorKind::Closed, "{ended}");
    stop(&server);
}

#[test]
fn threads_one_at_a_time_serve_one_client_after_the_other() {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = Server::tcp("127.0.0.1:0")
        .engine(Threads::at_most(1))
        .codec(Lines::default())
        .serve(echo)
        .unwrap();
    let mut clients: Vec<Wire> = (0..3).map(|_| matrix::connect(&server).unwrap()).collect();
    for client in &mut clients {
        client.patient();
        client.say("hello\n");
    }
    for mut client in clients {
        assert_eq!(client.hear().unwrap(), "hello");
        assert!(server.counters().accepted <= 3 && server.counters().open <= 1);
    }
    stop(&server);
}

// ---- SRV-02, FRM-04: scripts --------------------------------------------------------------------

/// What the server saw of one conversation, and what the client got.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    seen: Vec<String>,
    heard: String,
}

/// The one handler: it does what the lines say and keeps a diary.
struct Diarist {
    diary: Vec<String>,
    read: mpsc::Sender<Vec<String>>,
}

impl Handler<Lines> for Diarist {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.diary.push("open".to_owned());
        cx.send("welcome");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.diary.push(format!("line {line:?}"));
        match line.split_once(' ').map_or(line, |(word, _)| word) {
            "finish" => cx.finish(),
            "shut" => cx.shutdown_write(),
            "fail" => return Err("as you like".into()),
            "panic" => matrix::expected_panic(),
            "pause" => {
                cx.pause();
                cx.set_timer(Duration::from_millis(1));
            }
            "many" => (0..50).for_each(|n| cx.send(&format!("{n}"))),
            "long" => cx.send(&"x".repeat(LINE_BYTES_MAX + 1)),
            _ => cx.send(&line.chars().rev().collect::<String>()),
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.diary.push("timer".to_owned());
        cx.resume();
        Ok(())
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.diary.push("eof".to_owned());
        cx.send("bye");
        cx.finish();
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        self.diary.push(format!("closed: {}", name(reason)));
    }
}

impl Drop for Diarist {
    fn drop(&mut self) {
        let _ = self.read.send(std::mem::take(&mut self.diary));
    }
}

const LINE_BYTES_MAX: usize = 64;

/// What a client sends, in the pieces in which it sends it; `None` ends the sending.
fn script(seed: u64) -> Vec<Option<Vec<u8>>> {
    let mut random = Random(seed);
    let mut bytes = Vec::new();
    for _ in 0..random.below(12) {
        let line: String = match random.below(40) {
            0 => "finish".into(),
            1 => "shut now".into(),
            2 => "fail".into(),
            3 => "panic".into(),
            4 => "pause a little".into(),
            5 => "long".into(),
            6 => "x".repeat(LINE_BYTES_MAX),
            7 => "x".repeat(LINE_BYTES_MAX + 1),
            8 => {
                bytes.extend_from_slice(b"caf\xC3\n");
                continue;
            }
            9 | 10 => "many".into(),
            11..15 => String::new(),
            15..20 => "xin chào \u{1F41F}".into(),
            20 => "lone \r and \0".into(),
            n => (0..n).map(|_| char::from(b'a' + random.below(26) as u8)).collect(),
        };
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(if random.below(4) == 0 { b"\r\n" } else { b"\n" });
    }
    if random.below(8) == 0 {
        bytes.extend_from_slice(b"cut sho");
    }
    let mut pieces = Vec::new();
    let most = 1 + random.below(40);
    while !bytes.is_empty() {
        let rest = bytes.split_off(bytes.len().min(1 + random.below(most)));
        pieces.push(Some(std::mem::replace(&mut bytes, rest)));
    }
    pieces.push(None);
    pieces
}

fn play(client: &mut Wire, script: &[Option<Vec<u8>>]) -> String {
    for piece in script {
        match piece {
            // The server may have ended the conversation, as the transcript says.
            Some(piece) => drop(client.write_all(piece)),
            None => drop(client.try_shutdown(Shutdown::Write)),
        }
    }
    client.rest()
}

fn transcripts(cell: &Cell, scripts: &[Vec<Option<Vec<u8>>>]) -> Vec<Transcript> {
    let (read, diaries) = mpsc::channel();
    let mut limits = Limits::default();
    limits.linger_timeout = matrix::PATIENCE; // the client may be slow to come to its end
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::at_most(LINE_BYTES_MAX))
        .serve_with(move |_| Diarist { diary: Vec::new(), read: read.clone() })
        .unwrap();
    let one = |script: &Vec<Option<Vec<u8>>>| {
        let heard = play(&mut cell.connect(&server), script);
        Transcript { seen: next(&diaries), heard }
    };
    let all = scripts.iter().map(one).collect();
    stop(&server);
    all
}

#[test]
fn a_thousand_scripts_have_one_transcript_on_every_engine() {
    const SCRIPTS: u64 = 1000;
    let seeds: Vec<u64> = (0..SCRIPTS).collect();
    let scripts: Vec<_> = seeds.iter().map(|seed| script(*seed)).collect();
    let whole: Vec<_> = scripts.iter().map(|script| whole_script(script)).collect();
    let expected = transcripts(&Cell::new("threads", Kind::Unix), &whole);
    let mut seen: Vec<&str> = Vec::new();
    for transcript in &expected {
        seen.extend(transcript.seen.last().map(|last| last.as_str()));
    }
    for reason in ["peer closed", "finished", "frame", "handler"] {
        let ended = seen.iter().filter(|last| last.ends_with(reason)).count();
        assert!(ended > 10, "the scripts end with {reason} only {ended} times");
    }
    for engine in ENGINES {
        for (kind, every) in [(Kind::Tcp4, 1), (Kind::Tcp6, 4), (Kind::Unix, 1), (Kind::Memory, 1)]
        {
            let some = |seed: &u64| *seed % every == 0;
            let scripts: Vec<_> =
                seeds.iter().filter(|seed| some(seed)).map(|seed| script(*seed)).collect();
            let got = transcripts(&Cell::new(engine, kind), &scripts);
            for (seed, got) in seeds.iter().filter(|seed| some(seed)).zip(got) {
                let expected = &expected[*seed as usize];
                assert_eq!(&got, expected, "{engine} over {kind:?}, seed {seed}");
            }
        }
    }
}

/// The same bytes in one write.
fn whole_script(script: &[Option<Vec<u8>>]) -> Vec<Option<Vec<u8>>> {
    let bytes: Vec<u8> = script.iter().flatten().flatten().copied().collect();
    vec![Some(bytes), None]
}

// ---- sockets made before ------------------------------------------------------------------------

#[test]
fn sockets_made_before_and_several_endpoints_are_one_server() {
    let dir = matrix::Dir::new();
    let path = dir.0.join("made");
    for engine in ENGINES {
        let cell = Cell::new(engine, Kind::Tcp4);
        let made = sockeye::socket::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::on(made)
            .and(format!("unix://{}", path.display()))
            .and("tcp://[::1]:0")
            .and("udp://127.0.0.1:0")
            .engine(cell.engine())
            .codec(Lines::default())
            .serve(|line: &str, cx: &mut Context<'_, Lines>| cx.send(line))
            .unwrap();
        let transports: Vec<_> =
            server.local_endpoints().iter().map(|endpoint| endpoint.transport()).collect();
        assert_eq!(transports, [Transport::Tcp, Transport::Unix, Transport::Tcp, Transport::Udp]);
        for endpoint in server.local_endpoints() {
            let mut client = Client::to(endpoint)
                .timeout(matrix::PATIENCE)
                .codec(Lines::default())
                .connect()
                .unwrap();
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "hello");
        }
        stop(&server);
        assert!(!path.exists());
    }
}
