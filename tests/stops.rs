//! Stops: refused at once, what is lost is counted, handlers can see it, signals do it.

mod matrix;

use matrix::{Cell, eventually, in_time, join, next, on_all, on_engines, on_kinds, stop};
use sockeye::client::Client;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::{Server, ServerHandle};
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

on_all! {
    a_handler_sees_the_stop_in_the_middle_of_a_callback,
    a_stop_from_every_callback_hangs_nobody,
}
on_engines! {
    a_server_is_stopped_by_the_drop_of_what_owns_it,
    who_waits_for_sessions_to_leave_is_woken,
}
on_kinds! {
    clients_are_refused_as_soon_as_stop_returns [tcp4 Tcp4, tcp6 Tcp6, unix Unix]
}
on_kinds! {
    what_was_not_sent_is_counted [tcp4 Tcp4, tcp6 Tcp6, unix Unix, memory Memory]
}

const HOUR: Duration = Duration::from_secs(3600);

/// The clients of these tests stay until the end: nobody lingers for them.
fn brief() -> Limits {
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_millis(1);
    limits
}

/// Sends a line to any endpoint; what is returned keeps the client.
fn say(cell: &Cell, server: &ServerHandle, line: &str) -> Box<dyn std::any::Any> {
    if server.local_endpoints()[0].transport().keeps_messages() {
        let post = cell.post(server);
        post.send(line.as_bytes());
        return Box::new(post);
    }
    let mut client = cell.connect(server);
    client.say(&format!("{line}\n"));
    Box::new(client)
}

fn a_handler_sees_the_stop_in_the_middle_of_a_callback(cell: &Cell) {
    let (began, begins) = mpsc::channel();
    let server = cell
        .server()
        .limits(brief())
        .codec(Lines::default())
        .serve(move |_: &str, cx: &mut Context<'_, Lines>| {
            let _ = began.send(cx.is_stopping());
            eventually("it sees the stop", || cx.is_stopping());
        })
        .unwrap();
    assert!(!server.is_stopping());
    let _client = say(cell, &server, "work");
    assert!(!next(&begins));
    server.stop(HOUR);
    assert!(server.is_stopping());
    let report = join(&server);
    assert_eq!((report.forced, report.bytes_lost, report.abandoned), (0, 0, 0), "{report:?}");
}

/// Stops its server in one callback, and says that it came back.
struct Stopper {
    place: &'static str,
    handle: ServerHandle,
    done: mpsc::Sender<()>,
}

impl Stopper {
    fn at(&self, place: &str) {
        if self.place == place {
            self.handle.stop(HOUR);
            self.handle.stop(matrix::PATIENCE);
            let _ = self.done.send(());
        }
    }
}

impl Handler<Lines> for Stopper {
    fn on_open(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("open");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.at("frame");
        match line {
            "timer" => cx.set_timer(Duration::from_millis(1)),
            "wake" => cx.remote().wake(),
            "close" | "drop" => cx.finish(),
            _ => {}
        }
        Ok(())
    }
    fn on_timer(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("timer");
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("wake");
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

fn a_stop_from_every_callback_hangs_nobody(cell: &Cell) {
    for place in ["admit", "factory", "open", "frame", "timer", "wake", "close", "drop"] {
        let (done, dones) = mpsc::channel();
        let server = cell.server().limits(brief()).codec(Lines::default());
        let handle = server.handle();
        let (first, second) = (server.handle(), done.clone());
        let server = server
            .admit(move |_| {
                if place == "admit" {
                    first.stop(HOUR);
                    let _ = second.send(());
                }
                true
            })
            .serve_with(move |_| {
                let stopper = Stopper { place, handle: handle.clone(), done: done.clone() };
                stopper.at("factory");
                stopper
            })
            .unwrap();
        let client = say(cell, &server, place);
        next(&dones);
        drop(client);
        let report = join(&server);
        assert_eq!((report.forced, report.abandoned), (0, 0), "{place}: {report:?}");
        assert_eq!(report.counters.closed.total(), 1, "{place}: {report:?}");
    }
}

fn clients_are_refused_as_soon_as_stop_returns(cell: &Cell) {
    // Every worker is busy with a handler that waits to be let go.
    let busy = if cell.engine == "events_2" { 2 } else { 1 };
    let (began, begins) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let server = cell
        .server()
        .limits(brief())
        .codec(Lines::default())
        .serve(move |_: &str, _: &mut Context<'_, Lines>| {
            let _ = began.send(());
            let _ = gone.lock().unwrap().recv_timeout(matrix::PATIENCE);
        })
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..busy {
        // The second worker takes what the first cannot.
        let mut client = cell.connect(&server);
        client.say("wait\n");
        clients.push(client);
        next(&begins);
    }
    server.stop(HOUR);
    let refused = matrix::connect(&server).err().expect("nobody listens");
    let expected = match server.local_endpoints()[0].unix_addr() {
        // Its file is gone as well.
        Some(_) => std::io::ErrorKind::NotFound,
        None => std::io::ErrorKind::ConnectionRefused,
    };
    assert_eq!(refused.kind(), expected);
    (0..busy).for_each(|_| go.send(()).unwrap());
    assert_eq!(join(&server).forced, 0);
}

#[test]
fn a_listener_that_the_program_shares_is_not_shut_for_others() {
    for engine in AnyEngine::all() {
        let listener = sockeye::socket::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
        for _ in 0..3 {
            let server = Server::on(listener.try_clone().unwrap())
                .engine(engine.clone())
                .codec(Lines::default())
                .serve(echo)
                .unwrap();
            let mut client = Client::tcp(at).codec(Lines::default()).connect().unwrap();
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "hello");
            drop(client);
            stop(&server);
        }
    }
}

fn what_was_not_sent_is_counted(cell: &Cell) {
    const LINES: usize = 200;
    let mut limits = Limits::default();
    limits.output_bytes_max = 64 << 20;
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::at_most(100_000))
        .serve(|_: &str, cx: &mut Context<'_, Lines>| {
            (0..LINES).for_each(|_| cx.send(&"x".repeat(65_535)));
        })
        .unwrap();
    let (mut reader, mut other) = (cell.connect(&server), cell.connect(&server));
    for client in [&mut reader, &mut other] {
        client.write_all(b"much\n").unwrap();
    }
    // One reads all of it, the other nothing.
    std::io::Read::read_exact(&mut reader, &mut vec![0; LINES * 65_536]).unwrap();
    eventually("both were served", || server.counters().open == 2);
    drop(reader);
    eventually("it left", || server.counters().open == 1);
    server.stop(Duration::ZERO);
    let report = join(&server);
    assert_eq!(report.forced, 1, "{report:?}");
    let all = (LINES * 65_536) as u64;
    let heard = other.end().map_or(0, |bytes| bytes.len() as u64);
    assert!(report.bytes_lost > 0 && report.bytes_lost + heard <= all, "{report:?}");
    // What is not lost is in the kernel's buffers, which are a few megabytes at most.
    assert!(report.bytes_lost >= all / 4, "{report:?}");
}

fn a_server_is_stopped_by_the_drop_of_what_owns_it(cell: &Cell) {
    struct Owner(ServerHandle);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.stop(matrix::PATIENCE);
            self.0.join().unwrap();
        }
    }
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let owner = Owner(cell.server().limits(brief()).codec(Lines::default()).serve(echo).unwrap());
    let server = owner.0.clone();
    let _client = say(cell, &server, "hello");
    in_time("drop", move || drop(owner));
    in_time("a stop and a join after all", move || {
        server.stop(HOUR);
        server.join().unwrap();
        assert!(server.wait_until_open(0, Duration::ZERO));
    });
}

fn who_waits_for_sessions_to_leave_is_woken(cell: &Cell) {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().codec(Lines::default()).serve(echo).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| cell.connect(&server)).collect();
    eventually("all are there", || server.counters().open == 3);
    assert!(!server.wait_until_open(2, Duration::from_millis(1)));
    assert!(server.wait_until_open(3, Duration::ZERO));
    let (done, dones) = mpsc::channel();
    for count in [0, 1, 2] {
        let (server, done) = (server.clone(), done.clone());
        thread::spawn(move || {
            assert!(server.wait_until_open(count, HOUR));
            done.send(count).unwrap();
        });
    }
    for count in [2, 1, 0] {
        clients.pop();
        assert_eq!(next(&dones), count);
    }
    stop(&server);
}

#[cfg(feature = "signal")]
mod signals {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    const CHILD: &str = "SOCKEYE_TEST_SIGNALS_CHILD";

    /// Keeps its session open at a stop, until it is cut off.
    struct Stubborn;

    impl Handler<Lines> for Stubborn {
        fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
            cx.send(line);
            Ok(())
        }
        fn on_stop(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
            println!("stopping");
            Ok(())
        }
    }

    /// In the child: a server that ends by signals, and waits for the end of its input afterwards.
    #[test]
    fn child() {
        let Ok(engine) = std::env::var(CHILD) else { return };
        let server = Server::tcp("127.0.0.1:0")
            .engine(engine.parse::<AnyEngine>().unwrap())
            .codec(Lines::default());
        server.handle().stop_on_signals(HOUR).unwrap();
        let server = server.serve_with(|_| Stubborn).unwrap();
        println!("at {}", server.local_endpoints()[0]);
        let report = server.join().unwrap();
        println!("finished {} forced {}", report.finished, report.forced);
        let _ = std::io::stdin().read(&mut [0]);
    }

    /// The child, and what it says.
    fn start(engine: &AnyEngine) -> (Child, mpsc::Receiver<String>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["signals::child", "--exact", "--nocapture"])
            .env(CHILD, engine.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (child, lines)
    }

    /// The rest of the next line that has this in it: the harness prints lines of its own.
    fn after(lines: &mpsc::Receiver<String>, what: &str) -> String {
        loop {
            if let Some((_, rest)) = next(lines).split_once(what) {
                return rest.to_owned();
            }
        }
    }

    fn send(child: &Child, signal: Signal) {
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    #[test]
    fn the_first_is_graceful_the_second_cuts_off_and_the_last_is_the_systems() {
        for engine in AnyEngine::all() {
            for (first, second) in [(Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
                let (mut child, lines) = start(&engine);
                let at = after(&lines, "at ");
                let mut client = Client::to(at.as_str()).codec(Lines::default()).connect().unwrap();
                client.send("hello").unwrap();
                assert_eq!(client.receive().unwrap(), "hello");
                send(&child, first);
                after(&lines, "stopping");
                send(&child, second);
                assert_eq!(after(&lines, "finished "), "0 forced 1");
                // The server is over, the program is not: the signal is the system's again. (To wait
                // for a child closes its input, at whose end it would leave.)
                let _input = child.stdin.take();
                send(&child, second);
                let status = child.wait().unwrap();
                assert_eq!(status.signal(), Some(second.as_raw()), "{status}");
            }
        }
    }

    #[test]
    fn one_signal_is_enough_if_all_finish() {
        let (mut child, lines) = start(&AnyEngine::default());
        after(&lines, "at ");
        send(&child, Signal::TERM);
        assert_eq!(after(&lines, "finished "), "0 forced 0");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
