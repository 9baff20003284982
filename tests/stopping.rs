//! Stopping: wherever the threads wait, from wherever it is asked, however often.

mod matrix;

use matrix::{
    Cell, ENGINES, Kind, Wire, at_a_pace, eventually, in_time, join, name, next, on_all,
    on_engines, on_streams, stop,
};
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::{Server, ServerHandle};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

on_all! {
    a_stop_wakes_whoever_waits,
    a_stop_before_the_start_stops_at_the_start,
}
on_streams! {
    a_handler_can_stop_its_server,
    a_second_stop_shortens_the_patience,
    who_does_not_finish_is_cut_off_at_the_deadline,
    a_session_may_finish_after_the_stop_began,
    every_client_of_a_stopped_server_learns_of_it,
}
on_engines! {
    connections_adopted_while_the_server_stops_are_closed,
    a_handler_that_never_returns_is_left_behind,
}

const HOUR: Duration = Duration::from_secs(3600);

// ---- SHD-03 -------------------------------------------------------------------------------------

/// Waits in every way there is: with a remote, paused, with a timer.
fn waiting(line: &str, cx: &mut Context<'_, Lines>) {
    cx.send(line);
    match line {
        "remote" => drop(cx.remote()),
        "pause" => cx.pause(),
        "timer" => cx.set_timer(HOUR),
        "shut" => cx.shutdown_write(),
        _ => {}
    }
}

fn a_stop_wakes_whoever_waits(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve(waiting).unwrap();
    let ways = ["read", "remote", "pause", "timer", "shut"];
    // Seqpacket clients stay until the end: it is the server that closes.
    let mut posts = Vec::new();
    if server.local_endpoints()[0].transport().keeps_messages() {
        for way in ways {
            posts.push(cell.post(&server));
            assert_eq!(posts[posts.len() - 1].ask(way), way);
        }
        server.stop(HOUR);
    } else {
        let mut clients = Vec::new();
        for way in ways {
            let mut client = cell.connect(&server);
            client.say(&format!("{way}\n"));
            assert_eq!(client.hear().unwrap(), way);
            clients.push(client);
        }
        // And one that never said a word.
        clients.push(cell.connect(&server));
        eventually("all are there", || server.counters().open == 6);
        server.stop(HOUR);
        clients.iter_mut().for_each(|client| assert_eq!(client.rest(), ""));
    }
    let report = join(&server);
    assert_eq!((report.forced, report.abandoned, report.counters.open), (0, 0, 0), "{report:?}");
    // A client that goes as soon as the stop begins may be ahead of it.
    let closed = report.counters.closed;
    assert_eq!(closed.finished + closed.peer_closed, report.counters.closed.total(), "{report:?}");
}

// ---- SHD-04 -------------------------------------------------------------------------------------

#[test]
fn a_server_that_never_starts_can_be_stopped_and_joined() {
    let server = Server::tcp("127.0.0.1:0").codec(Lines::default());
    let handle = server.handle();
    handle.stop(HOUR);
    handle.stop(Duration::ZERO);
    drop(server);
    assert_eq!(join(&handle), sockeye::engine::Report::default());
    assert!(handle.local_endpoints().is_empty());
    let (ours, _theirs) = sockeye::socket::UnixStream::pair().unwrap();
    let refused = handle.adopt(ours, Lines::default(), |_: &str, _: &mut Context<'_, Lines>| {});
    assert_eq!(refused.unwrap_err().kind(), sockeye::ErrorKind::Closed);
}

fn a_stop_before_the_start_stops_at_the_start(cell: &Cell) {
    let server = cell.server().codec(Lines::default());
    let early = server.handle();
    early.stop(HOUR);
    let server = server.serve(waiting).unwrap();
    let report = join(&server);
    assert_eq!((report.forced, report.abandoned), (0, 0));
    early.stop(Duration::ZERO);
    server.stop(HOUR);
    assert_eq!(join(&early), report);
    let endpoint = server.local_endpoints()[0].clone();
    if let Some(path) = endpoint.unix_addr().and_then(|at| at.as_path()) {
        assert!(!path.exists(), "the socket file is left behind");
    }
}

#[test]
fn a_server_without_endpoints_stops() {
    for engine in AnyEngine::all() {
        let server = Server::new().engine(engine).codec(Lines::default()).serve(waiting).unwrap();
        server.stop(HOUR);
        server.stop(HOUR);
        join(&server);
    }
}

struct Stopper {
    place: &'static str,
    handle: ServerHandle,
}

impl Stopper {
    fn at(&self, place: &str) {
        if self.place == place {
            self.handle.stop(HOUR);
        }
    }
}

impl Handler<Lines> for Stopper {
    fn on_open(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("open");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        self.at("frame");
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.at("stop");
        cx.send("stopping");
        cx.finish();
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        self.at("close");
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.at("drop");
    }
}

fn a_handler_can_stop_its_server(cell: &Cell) {
    for place in ["factory", "open", "frame", "stop", "close", "drop"] {
        let server = cell.server().codec(Lines::default());
        let handle = server.handle();
        let server = server
            .serve_with(move |_| {
                let stopper = Stopper { place, handle: handle.clone() };
                stopper.at("factory");
                stopper
            })
            .unwrap();
        let mut other = cell.connect(&server);
        if matches!(place, "frame" | "stop" | "close" | "drop") {
            other.say("hello\n");
            assert_eq!(other.hear().unwrap(), "hello", "{place}");
        }
        match place {
            "stop" => server.stop(HOUR),
            "close" | "drop" => other.shutdown(std::net::Shutdown::Write),
            _ => {}
        }
        let rest = other.end().unwrap_or_default();
        let expected: &[u8] = if matches!(place, "close" | "drop") { b"" } else { b"stopping\n" };
        assert_eq!(rest, expected, "{place}");
        drop(other);
        let report = join(&server);
        assert_eq!((report.forced, report.abandoned), (0, 0), "{place}: {report:?}");
        assert_eq!(report.counters.closed.total(), 1, "{place}");
    }
}

// ---- Patience -----------------------------------------------------------------------------------

/// Does not finish when it is asked to.
struct Stubborn {
    stops: Arc<AtomicUsize>,
    ends: mpsc::Sender<&'static str>,
}

impl Handler<Lines> for Stubborn {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.stops.fetch_add(1, Ordering::SeqCst);
        cx.send("not yet");
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.ends.send(name(reason));
    }
}

fn stubborn(cell: &Cell) -> (ServerHandle, Wire, Arc<AtomicUsize>, mpsc::Receiver<&'static str>) {
    let stops = Arc::new(AtomicUsize::new(0));
    let ((ends, ended), shared) = (mpsc::channel(), stops.clone());
    let server = cell
        .server()
        .codec(Lines::default())
        .serve_with(move |_| Stubborn { stops: shared.clone(), ends: ends.clone() })
        .unwrap();
    let mut client = cell.connect(&server);
    client.say("hello\n");
    assert_eq!(client.hear().unwrap(), "hello");
    (server, client, stops, ended)
}

fn a_second_stop_shortens_the_patience(cell: &Cell) {
    let (server, mut client, stops, ended) = stubborn(cell);
    server.stop(HOUR);
    assert_eq!(client.hear().unwrap(), "not yet");
    server.stop(HOUR * 2);
    let _ = client.write_all(b"ignored, because the server is stopping\n");
    server.stop(Duration::from_millis(1));
    let report = join(&server);
    assert_eq!((report.forced, report.abandoned, report.finished), (1, 0, 0), "{report:?}");
    assert_eq!(next(&ended), "stopped");
    assert_eq!(stops.load(Ordering::SeqCst), 1, "on_stop is called once");
    assert!(client.end().unwrap_or_default().is_empty());
}

fn who_does_not_finish_is_cut_off_at_the_deadline(cell: &Cell) {
    at_a_pace(Duration::from_millis(30), |pace| {
        let (server, mut client, stops, ended) = stubborn(cell);
        let began = Instant::now();
        // What it says has to be heard before the end, which takes back what is on its way in memory.
        pace.step();
        server.stop(pace.limit);
        assert_eq!(client.hear().unwrap(), "not yet");
        pace.rest();
        let report = join(&server);
        assert!(began.elapsed() >= pace.limit, "cut off too early");
        assert_eq!((report.forced, report.abandoned, report.finished), (1, 0, 0), "{report:?}");
        assert_eq!((next(&ended), stops.load(Ordering::SeqCst)), ("stopped", 1));
        assert_eq!(report.counters.closed.stopped, 1);
    });
}

/// Has something to send before it goes.
struct Farewell;

impl Handler<Lines> for Farewell {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("a moment");
        cx.set_timer(Duration::from_millis(5));
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        for n in 0..100 {
            cx.send(&format!("{n:05000}"));
        }
        cx.finish();
        Ok(())
    }
}

fn a_session_may_finish_after_the_stop_began(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve_with(|_| Farewell).unwrap();
    let mut client = cell.connect(&server);
    client.say("hello\n");
    assert_eq!(client.hear().unwrap(), "hello");
    server.stop(HOUR);
    assert_eq!(client.hear().unwrap(), "a moment");
    let total = client.end().expect("the whole farewell").len();
    drop(client);
    let report = join(&server);
    assert_eq!(total, 100 * 5001, "{report:?}");
    assert_eq!((report.forced, report.abandoned, report.finished), (0, 0, 1), "{report:?}");
}

fn a_handler_that_never_returns_is_left_behind(cell: &Cell) {
    let (began, begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let server = cell
        .server()
        .codec(Lines::default())
        .serve(move |_: &str, _: &mut Context<'_, Lines>| {
            began.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        })
        .unwrap();
    let mut client = cell.connect(&server);
    client.say("hello\n");
    next(&begun);
    server.stop(Duration::ZERO);
    let report = join(&server);
    assert_eq!(report.abandoned, 1, "{report:?}");
    drop(release);
    eventually("it ends after all", || join(&server).abandoned == 0);
}

// ---- SHD-02 -------------------------------------------------------------------------------------

fn every_client_of_a_stopped_server_learns_of_it(cell: &Cell) {
    for _ in 0..30 {
        let server = cell.server().codec(Lines::default()).serve(waiting).unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let dial = cell.dial(&server);
                thread::spawn(move || {
                    while let Ok(mut client) = dial() {
                        client.patient();
                        let _ = client.write_all(b"hello\n");
                        // The answer, or the end; never nothing.
                        if client.read(&mut [0; 100]).map_or_else(
                            |error| {
                                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock);
                                true
                            },
                            |length| length == 0,
                        ) {
                            return;
                        }
                    }
                })
            })
            .collect();
        eventually("somebody came", || server.counters().accepted > 3);
        server.stop(HOUR);
        for other in others {
            in_time("a client", move || other.join()).unwrap();
        }
        let report = join(&server);
        assert_eq!((report.forced, report.abandoned), (0, 0), "{report:?}");
        assert_eq!(report.counters.closed.total(), report.counters.accepted);
    }
}

fn connections_adopted_while_the_server_stops_are_closed(cell: &Cell) {
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_millis(1);
    for _ in 0..200 {
        let server = cell.server().limits(limits.clone());
        let server = server.codec(Lines::default()).serve(waiting).unwrap();
        let (adopter, go) = (server.clone(), Arc::new(AtomicBool::new(false)));
        let (ready, stop) = (go.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = stop.clone();
        let adopting = thread::spawn(move || {
            let mut peers = Vec::new();
            loop {
                let (ours, theirs) = sockeye::socket::UnixStream::pair().unwrap();
                theirs.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
                if adopter.adopt(ours, Lines::default(), waiting).is_err() {
                    return peers;
                }
                peers.push(theirs);
                ready.store(true, Ordering::SeqCst);
                // A slow machine may be long in coming to the stop, and descriptors are few.
                while peers.len() >= 30 && !stopping.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            }
        });
        while !go.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        server.stop(HOUR);
        stop.store(true, Ordering::SeqCst);
        let peers = in_time("adopting", move || adopting.join()).unwrap();
        let report = join(&server);
        assert_eq!((report.forced, report.abandoned), (0, 0), "{report:?}");
        for mut peer in peers {
            let ended = peer.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(ended, Ok(0), "a connection was adopted and forgotten");
        }
    }
}

#[test]
fn a_port_can_be_used_a_hundred_times_in_a_row() {
    for engine in ENGINES {
        let cell = Cell::new(engine, Kind::Tcp4);
        // An address of this test alone, so that no other is given the port while it is free.
        let first = Server::tcp("127.83.0.1:0").engine(cell.engine());
        let first = first.codec(Lines::default()).serve(waiting).unwrap();
        let endpoint = first.local_endpoints()[0].clone();
        stop(&first);
        for _ in 0..100 {
            let server = Server::on(endpoint.clone())
                .engine(cell.engine())
                .codec(Lines::default())
                .serve(waiting)
                .unwrap();
            let mut client = cell.connect(&server);
            client.say("hello\n");
            assert_eq!(client.hear().unwrap(), "hello");
            server.stop(HOUR);
            assert_eq!(client.rest(), "");
            drop(client);
            join(&server);
        }
    }
}
