//! Timers and limits of time. What is asserted is order and reason: how long it takes is up to the
//! machine, but nothing may come too early.

mod matrix;

use matrix::{
    Cell, PATIENCE, at_a_pace, eventually, name, next, on_engines, on_kinds, on_streams, stop,
};
use sockeye::ErrorKind;
use sockeye::client::{Client, Framed};
use sockeye::codec::{Codec, Fixed, Lines};
use sockeye::engine::Threads;
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::ServerHandle;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

on_streams! {
    a_peer_that_says_nothing_is_closed,
    half_a_first_message_is_none,
    a_silent_peer_is_closed_and_a_talking_one_is_not,
    a_peer_that_does_not_read_is_cut_off,
    a_frame_that_trickles_in_is_cut_off_at_its_time,
    a_peer_that_only_listens_is_silent,
    a_peer_that_only_talks_hears_nothing,
    a_life_ends_in_an_orderly_way,
    a_life_ends_though_the_peer_does_not_read,
    a_peer_that_reads_too_slowly_is_cut_off,
    limits_of_next_to_nothing_run_out_at_once,
    a_deadline_ends_all_that_a_client_does_and_loses_nothing,
}
on_kinds! { messages_have_limits_too [unix_seqpacket UnixSeqPacket] }
on_engines! {
    timers_run_out_are_replaced_and_are_taken_back,
    a_handler_may_keep_an_idle_session,
    timers_of_many_sessions_run_out_in_order,
    too_much_output_ends_the_session,
}

/// Sets timers as it is told.
struct Clock {
    told: mpsc::Sender<String>,
    set: Instant,
    keep: u32,
    /// How often to say something of its own.
    beat: Option<Duration>,
}

impl Handler<Lines> for Clock {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        let (word, millis) = line.split_once(' ').unwrap_or((line, "0"));
        let after = Duration::from_millis(millis.parse()?);
        self.set = cx.now();
        match word {
            "set" => cx.set_timer(after),
            "clear" => cx.clear_timer(),
            "beat" => {
                self.beat = Some(after);
                cx.set_timer(after);
            }
            "hush" => {}
            "fill" => {
                let line = "x".repeat(8000);
                while cx.room() > line.len() {
                    cx.send(&line);
                }
                self.told.send("filled".to_owned())?;
            }
            "flood" => (0..3000).for_each(|_| cx.send(&"x".repeat(1000))),
            _ => cx.send(line),
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("timer");
        match self.beat {
            Some(beat) => cx.set_timer(beat),
            None => self.told.send(format!("timer after {}", self.set.elapsed().as_millis()))?,
        }
        Ok(())
    }
    fn on_idle(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.told.send("idle".to_owned())?;
        match self.keep.checked_sub(1) {
            Some(keep) => self.keep = keep,
            None => cx.close_idle(),
        }
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(name(reason).to_owned());
    }
}

fn serve(cell: &Cell, limits: Limits, keep: u32) -> (ServerHandle, mpsc::Receiver<String>) {
    let (told_in, told) = mpsc::channel();
    let clock = move |_: &_| Clock { told: told_in.clone(), set: Instant::now(), keep, beat: None };
    let server = cell.server().limits(limits).codec(Lines::default()).serve_with(clock).unwrap();
    (server, told)
}

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

fn timers_run_out_are_replaced_and_are_taken_back(cell: &Cell) {
    let (server, told) = serve(cell, Limits::default(), 0);
    let mut client = cell.connect(&server);
    let elapsed = |told: String| -> u64 { told["timer after ".len()..].parse().unwrap() };
    client.say("set 20\n");
    assert_eq!(client.hear().unwrap(), "timer");
    assert!(elapsed(next(&told)) >= 20, "too early");
    // Replaced by an earlier one, and by a later one.
    client.say("set 1000000\nset 10\n");
    assert_eq!(client.hear().unwrap(), "timer");
    client.say("set 5\nset 30\n");
    assert_eq!(client.hear().unwrap(), "timer");
    assert!(elapsed(told.iter().nth(1).unwrap()) >= 30, "the first was not replaced");
    // Taken back: the one of another session, set later and longer, comes and this one does not.
    client.say("set 10\nclear\nping\n");
    assert_eq!(client.hear().unwrap(), "ping");
    let mut other = cell.connect(&server);
    other.say("set 40\n");
    assert_eq!(other.hear().unwrap(), "timer");
    client.say("pong\n");
    assert_eq!(client.hear().unwrap(), "pong");
    assert_eq!(told.try_iter().count(), 1);
    drop((client, other));
    stop(&server);
}

fn timers_of_many_sessions_run_out_in_order(cell: &Cell) {
    const SESSIONS: u64 = 50;
    let (server, _told) = serve(cell, Limits::default(), 0);
    let clients: Vec<_> = (0..SESSIONS)
        .rev()
        .map(|n| {
            let mut client = cell.connect(&server);
            client.say(&format!("set {}\n", 10 + n));
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.hear().unwrap(), "timer");
    }
    stop_after(&server);
}

fn stop_after(server: &ServerHandle) {
    eventually("all clients are gone", || server.counters().open == 0);
    stop(server);
}

fn a_peer_that_says_nothing_is_closed(cell: &Cell) {
    at_a_pace(Duration::from_millis(40), |pace| {
        let mut limits = Limits::default();
        limits.first_message_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 0);
        let began = Instant::now();
        pace.step();
        let mut talking = cell.connect(&server);
        talking.say("hello\n");
        assert_eq!(talking.hear().unwrap(), "hello");
        pace.rest();
        let mut silent = cell.connect(&server);
        assert_eq!(silent.rest(), "");
        assert!(began.elapsed() >= pace.limit, "too early");
        drop(silent);
        assert_eq!(next(&told), "first message timeout");
        talking.say("still\n");
        assert_eq!(talking.hear().unwrap(), "still");
        drop(talking);
        stop_after(&server);
    });
}

fn half_a_first_message_is_none(cell: &Cell) {
    let mut limits = Limits::default();
    limits.first_message_timeout = millis(40);
    let (server, told) = serve(cell, limits, 0);
    let mut client = cell.connect(&server);
    // A byte now and then does not move the limit.
    while client.write_all(b"x").is_ok() && told.try_recv().is_err() {
        std::thread::sleep(Duration::from_millis(2));
        if server.counters().open == 0 {
            break;
        }
        if let Ok(reason) = told.try_recv() {
            assert_eq!(reason, "first message timeout");
            break;
        }
    }
    assert!(client.end().unwrap_or_default().is_empty());
    drop(client);
    eventually("it is counted", || server.counters().closed.first_message_timeout == 1);
    stop(&server);
}

fn a_silent_peer_is_closed_and_a_talking_one_is_not(cell: &Cell) {
    at_a_pace(Duration::from_millis(150), |pace| {
        let mut limits = Limits::default();
        limits.idle_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 0);
        let began = Instant::now();
        pace.step();
        let (mut silent, mut talking) = (cell.connect(&server), cell.connect(&server));
        silent.say("hello\n");
        assert_eq!(silent.hear().unwrap(), "hello");
        while told.try_recv().is_err() {
            talking.say("hello\n");
            assert_eq!(talking.hear().unwrap(), "hello");
            pace.step();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(began.elapsed() >= pace.limit, "too early");
        talking.say("still\n");
        assert_eq!(talking.hear().unwrap(), "still");
        pace.rest();
        assert_eq!(silent.rest(), "");
        drop((silent, talking));
        eventually("it is counted", || server.counters().closed.idle_timeout >= 1);
        stop_after(&server);
    });
}

fn a_handler_may_keep_an_idle_session(cell: &Cell) {
    at_a_pace(Duration::from_millis(20), |pace| {
        let mut limits = Limits::default();
        limits.idle_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 3);
        pace.step();
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        pace.rest();
        assert_eq!(client.rest(), "");
        drop(client);
        let told: Vec<String> = (0..5).map(|_| next(&told)).collect();
        assert_eq!(told, ["idle", "idle", "idle", "idle", "idle timeout"]);
        stop(&server);
    });
}

fn a_peer_that_does_not_read_is_cut_off(cell: &Cell) {
    at_a_pace(Duration::from_millis(20), |pace| {
        let mut limits = Limits::default();
        limits.write_stall_timeout = Some(pace.limit * 2);
        limits.idle_timeout = Some(pace.limit);
        limits.output_bytes_max = 64 * 1024 * 1024;
        let (server, told) = serve(cell, limits, 0);
        pace.step();
        let mut client = cell.connect(&server);
        client.say("fill\n");
        assert_eq!(next(&told), "filled");
        pace.rest();
        assert_eq!(next(&told), "write stall", "the idle limit does not run while output waits");
        // What the kernel had taken may still be there; the end is.
        let mut piece = vec![0; 1 << 20];
        while client.read(&mut piece).is_ok_and(|length| length > 0) {}
        stop(&server);
    });
}

fn too_much_output_ends_the_session(cell: &Cell) {
    let (server, told) = serve(cell, Limits::default(), 0);
    let mut client = cell.connect(&server);
    client.say("flood\n");
    assert_eq!(next(&told), "output full");
    assert!(client.end().is_err(), "it ends with a reset");
    stop(&server);
}

fn a_frame_that_trickles_in_is_cut_off_at_its_time(cell: &Cell) {
    let mut limits = Limits::default();
    limits.frame_timeout = millis(60);
    limits.linger_timeout = Duration::from_millis(10);
    let (server, told) = serve(cell, limits, 0);
    let mut client = cell.connect(&server);
    client.say("hello\n");
    assert_eq!(client.hear().unwrap(), "hello");
    let began = Instant::now();
    let reason = loop {
        // Once it is over this may fail.
        let _ = client.write_all(b"x");
        if let Ok(reason) = told.recv_timeout(Duration::from_millis(2)) {
            break reason;
        }
        assert!(began.elapsed() < PATIENCE, "a byte now and then moves the limit");
    };
    assert_eq!(reason, "frame timeout");
    assert!(began.elapsed() >= Duration::from_millis(60), "too early");
    drop(client);
    eventually("it is counted", || server.counters().closed.frame_timeout == 1);
    stop(&server);
}

fn a_peer_that_only_listens_is_silent(cell: &Cell) {
    let mut limits = Limits::default();
    limits.idle_read_timeout = millis(40);
    let (server, told) = serve(cell, limits, 1);
    let began = Instant::now();
    let mut client = cell.connect(&server);
    client.say("beat 2\n");
    assert!(client.rest().starts_with("timer\ntimer\n"));
    assert!(began.elapsed() >= Duration::from_millis(80), "too early");
    drop(client);
    let told: Vec<String> = (0..3).map(|_| next(&told)).collect();
    assert_eq!(told, ["idle", "idle", "idle read timeout"]);
    eventually("it is counted", || server.counters().closed.idle_read_timeout == 1);
    stop(&server);
}

fn a_peer_that_only_talks_hears_nothing(cell: &Cell) {
    let mut limits = Limits::default();
    limits.idle_write_timeout = millis(40);
    let (server, told) = serve(cell, limits, 0);
    let began = Instant::now();
    let mut client = cell.connect(&server);
    while server.counters().closed.total() == 0 && began.elapsed() < PATIENCE {
        let _ = client.write_all(b"hush\n");
        std::thread::sleep(Duration::from_millis(2));
        if told.try_recv().is_ok() {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(40), "too early");
    drop(client);
    assert_eq!(next(&told), "idle write timeout");
    eventually("it is counted", || server.counters().closed.idle_write_timeout == 1);
    stop(&server);
}

fn a_life_ends_in_an_orderly_way(cell: &Cell) {
    let mut limits = Limits::default();
    limits.life_timeout = millis(60);
    let (server, told) = serve(cell, limits, 0);
    let began = Instant::now();
    let mut client = cell.connect(&server);
    let mut lines = 0;
    loop {
        client.say(&format!("line {lines}\n"));
        // Whole answers, and then the end.
        match client.hear() {
            Some(line) => assert_eq!(line, format!("line {lines}")),
            None => break,
        }
        lines += 1;
    }
    assert!(began.elapsed() >= Duration::from_millis(60), "too early");
    drop(client);
    assert_eq!(next(&told), "life timeout");
    eventually("it is counted", || server.counters().closed.life_timeout == 1);
    stop(&server);
}

fn a_life_ends_though_the_peer_does_not_read(cell: &Cell) {
    let mut limits = Limits::default();
    limits.life_timeout = millis(60);
    limits.linger_timeout = Duration::from_millis(30);
    limits.output_bytes_max = 64 * 1024 * 1024;
    limits.write_stall_timeout = None;
    let (server, told) = serve(cell, limits, 0);
    let began = Instant::now();
    let mut client = cell.connect(&server);
    client.say("fill\n");
    let told: Vec<String> = (0..2).map(|_| next(&told)).collect();
    assert_eq!(told, ["filled", "life timeout"]);
    assert!(began.elapsed() >= Duration::from_millis(90), "too early");
    drop(client);
    stop(&server);
}

fn a_peer_that_reads_too_slowly_is_cut_off(cell: &Cell) {
    at_a_pace(Duration::from_millis(200), |pace| {
        let mut limits = Limits::default();
        limits.write_stall_timeout = Some(pace.limit);
        limits.write_stall_bytes_min = Some(1 << 30);
        limits.output_bytes_max = 24 * 1024 * 1024;
        let (server, told) = serve(cell, limits, 0);
        let mut client = cell.connect(&server);
        pace.step();
        client.say("fill\n");
        assert_eq!(next(&told), "filled");
        // Fast enough for the kernel to take some of it in time, and not all.
        let mut piece = vec![0; 64 * 1024];
        let reason = loop {
            pace.step();
            // At the end it may be cut off.
            let _ = client.read(&mut piece);
            if let Ok(reason) = told.recv_timeout(pace.limit / 100) {
                break reason;
            }
        };
        assert_eq!(reason, "slow reader");
        drop(client);
        eventually("it is counted", || server.counters().closed.slow_reader == 1);
        stop(&server);
    });
}

fn limits_of_next_to_nothing_run_out_at_once(cell: &Cell) {
    for tiny in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(999)] {
        let mut limits = Limits::default();
        limits.first_message_timeout = Some(tiny);
        let (server, told) = serve(cell, limits, 0);
        let mut client = cell.connect(&server);
        assert_eq!(client.rest(), "");
        drop(client);
        assert_eq!(next(&told), "first message timeout");
        stop(&server);

        // Nobody is called more often than once a tick: a limit of nothing is no loop.
        let mut limits = Limits::default();
        limits.idle_timeout = Some(tiny);
        let (server, told) = serve(cell, limits, 20);
        let began = Instant::now();
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.rest(), "hello\n");
        assert!(began.elapsed() >= Duration::from_millis(21), "too early");
        drop(client);
        assert_eq!(told.iter().nth(21).unwrap(), "idle timeout");
        stop(&server);
    }
}

fn messages_have_limits_too(cell: &Cell) {
    let mut limits = Limits::default();
    limits.idle_read_timeout = millis(30);
    let (server, told) = serve(cell, limits, 0);
    let post = cell.post(&server);
    assert_eq!(post.ask("hello"), "hello");
    assert_eq!(next(&told), "idle");
    assert_eq!(next(&told), "idle read timeout");
    drop(post);
    stop(&server);

    let mut limits = Limits::default();
    limits.life_timeout = millis(30);
    limits.linger_timeout = Duration::ZERO;
    let (server, told) = serve(cell, limits, 0);
    let post = cell.post(&server);
    assert_eq!(post.ask("hello"), "hello");
    assert_eq!(next(&told), "life timeout");
    drop(post);
    stop(&server);
}

/// Says a byte, waits, and so on; the client waits no longer than it was told to.
fn trickle(mut peer: impl Write) {
    while peer.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Not the time of one read: the time of all of them.
fn waits_for_the_whole_frame<C: Codec>(mut client: Framed<C>) {
    const LIMIT: Duration = Duration::from_millis(300);
    client.set_timeout(Some(LIMIT));
    let began = Instant::now();
    let error = client.receive().map(drop).unwrap_err();
    let waited = began.elapsed();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    // The peer goes on for as long as anyone listens.
    assert!(waited >= LIMIT && waited < PATIENCE / 2, "{waited:?}");

    // A time that is over is over, though there are bytes; without one it goes on.
    client.set_timeout(Some(Duration::ZERO));
    assert_eq!(client.receive().map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    client.set_timeout(Some(Duration::from_nanos(1)));
    assert_eq!(client.receive().map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
}

/// The slow send bytes all the time, and never the end of a line.
#[test]
fn who_comes_when_slow_ones_have_every_thread_waits_no_longer_than_their_limit() {
    const PLACES: usize = 16;
    at_a_pace(Duration::from_millis(300), |pace| {
        let mut limits = Limits::strict();
        limits.first_message_timeout = Some(pace.limit);
        let cell = Cell::new("threads", matrix::Kind::Tcp4);
        let server = cell.server().engine(Threads::at_most(PLACES)).limits(limits);
        let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
        let server = server.codec(Lines::default()).serve(echo).unwrap();
        pace.step();
        let mut slow: Vec<_> = (0..PLACES).map(|_| cell.connect(&server)).collect();
        slow.iter_mut().for_each(|client| client.say("x"));
        eventually("every thread is taken", || server.counters().open == PLACES as u64);
        pace.rest();
        let mut honest = cell.connect(&server);
        honest.say("hello\n");
        let came = Instant::now();
        let served = Arc::new(AtomicBool::new(false));
        let feeder = {
            let mut slow: Vec<_> = slow.iter().map(|client| client.try_clone()).collect();
            let served = served.clone();
            thread::spawn(move || {
                while !served.load(Ordering::SeqCst) {
                    slow.retain_mut(|client| client.write_all(b"x").is_ok());
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        assert_eq!(honest.hear().unwrap(), "hello");
        served.store(true, Ordering::SeqCst);
        // And what the machine needs.
        assert!(came.elapsed() < pace.limit * 5, "{:?}", came.elapsed());
        eventually("the slow are gone", || server.counters().open == 1);
        assert_eq!(server.counters().closed.first_message_timeout, PLACES as u64);
        feeder.join().unwrap();
        drop((slow, honest));
        stop_after(&server);
    });
}

#[test]
fn a_client_waits_for_a_frame_and_not_for_each_of_its_bytes() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = matrix::Dir::new();
    let unix = UnixListener::bind(dir.0.join("s")).unwrap();
    let memory = sockeye::memory::Listener::new(64);
    let (at_tcp, at_memory) = (tcp.local_addr().unwrap(), memory.dialer());
    let path = dir.0.join("s");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| trickle(tcp.accept().unwrap().0));
            scope.spawn(|| trickle(unix.accept().unwrap().0));
            scope.spawn(|| trickle(memory.accept().unwrap()));
        }
        // A line, and bytes by number.
        scope.spawn(|| {
            let to = Client::tcp(at_tcp).codec(Lines::default()).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
        scope.spawn(|| {
            let to = Client::tcp(at_tcp).codec(Fixed::of(1000)).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
        scope.spawn(|| {
            let to = Client::unix(&path).codec(Lines::default()).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
        scope.spawn(|| {
            let to = Client::unix(&path).codec(Fixed::of(1000)).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
        scope.spawn(|| {
            let to = Client::memory(&at_memory).codec(Lines::default()).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
        scope.spawn(|| {
            let to = Client::memory(&at_memory).codec(Fixed::of(1000)).connect().unwrap();
            waits_for_the_whole_frame(to);
        });
    });
}

fn a_deadline_ends_all_that_a_client_does_and_loses_nothing(cell: &Cell) {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().codec(Lines::default()).serve(echo).unwrap();
    let mut client = cell.client(&server, Lines::default());
    client.set_timeout(Some(PATIENCE));
    let deadline = Instant::now() + Duration::from_millis(50);
    client.set_deadline(Some(deadline));
    let error = loop {
        if let Err(error) = client.send("hello") {
            break error;
        }
        if let Err(error) = client.receive() {
            break error;
        }
    };
    assert!(error.kind() == ErrorKind::TimedOut && Instant::now() >= deadline, "{error}");
    client.set_deadline(None);
    // What was under way comes; of what was not, nothing had left.
    match error.bytes_sent() {
        None => assert_eq!(client.receive().unwrap(), "hello"),
        Some(sent) => assert_eq!(sent, 0),
    }
    client.send("there it is").unwrap();
    client.set_deadline(Some(deadline));
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(client.send("late").unwrap_err().bytes_sent(), Some(0));
    // The shorter of both.
    client.set_deadline(Some(Instant::now() + PATIENCE));
    assert_eq!(client.receive().unwrap(), "there it is");
    client.set_timeout(millis(1));
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::TimedOut);
    drop(client);
    stop(&server);
}

/// Of a frame that is too much for who does not read.
fn says_how_much_has_left<S: Read>(mut client: Framed<Lines>, peer: impl FnOnce() -> S) {
    let mut peer = peer();
    client.set_timeout(millis(30));
    let error = client.send(&"x".repeat(16 << 20)).unwrap_err();
    let sent = error.bytes_sent().expect("it was a send");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(sent > 0 && sent < 16 << 20, "{sent}");
    assert!(error.to_string().contains(&format!(", after {sent} bytes")), "{error}");
    drop(client);
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), sent);
}

#[test]
fn a_send_that_runs_out_of_time_says_how_much_has_left() {
    let codec = || Lines::at_most(17 << 20);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::tcp(tcp.local_addr().unwrap()).codec(codec()).connect().unwrap();
    says_how_much_has_left(client, || tcp.accept().unwrap().0);
    let dir = matrix::Dir::new();
    let unix = UnixListener::bind(dir.0.join("s")).unwrap();
    let client = Client::unix(dir.0.join("s")).codec(codec()).connect().unwrap();
    says_how_much_has_left(client, || unix.accept().unwrap().0);
    let memory = sockeye::memory::Listener::new(64);
    let client = Client::memory(&memory.dialer()).codec(codec()).connect().unwrap();
    says_how_much_has_left(client, || memory.accept().unwrap());
}
