//! What is left of connections that went wrong: no thread, no descriptor.
//!
//! The tests count what their process has, so each waits for the other to be through.

mod matrix;

use matrix::{Cell, ENGINES, Kind, eventually, expected_panic, stop};
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::{Server, ServerHandle};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> usize {
    // The one that reads the folder is among them, each time.
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads of servers; those of the tests come and go.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    tasks.flatten().flat_map(name).filter(|name| name.starts_with("sockeye")).count()
}

/// Panics at the place that its number chooses.
struct Bomb(usize);

const PLACES: usize = 6;

impl Bomb {
    fn at(&self, place: usize) {
        if self.0 % PLACES == place {
            expected_panic();
        }
    }
}

impl Handler<Lines> for Bomb {
    fn on_open(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at(1);
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        self.at(2);
        cx.remote().wake();
        Ok(())
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.at(3);
        cx.finish();
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        self.at(4);
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.at(5);
    }
}

#[test]
fn ten_thousand_panics_leave_nothing_behind() {
    const PANICS: usize = 10_000;
    let _alone = alone();
    for engine in ENGINES {
        for kind in [Kind::Tcp4, Kind::Unix, Kind::Memory] {
            let cell = Cell::new(engine, kind);
            let number = AtomicUsize::new(0);
            let server = cell
                .server()
                .codec(Lines::default())
                .serve_with(move |_| {
                    let number = number.fetch_add(1, Ordering::SeqCst);
                    if number < PANICS && number % PLACES == 0 {
                        expected_panic();
                    }
                    Bomb(if number < PANICS { number } else { PLACES * 2 })
                })
                .unwrap();
            let loops = if engine == "events_2" { 2 } else { 1 };
            eventually("the loops run", || threads() == loops);
            let before = descriptors();
            for _ in 0..PANICS / if kind == Kind::Tcp4 { 10 } else { 1 } {
                panics(&cell, &server);
            }
            let all = server.counters().accepted;
            eventually("all have panicked", || server.counters().panics == all);
            eventually("all sessions are over", || server.counters().open == 0);
            eventually("descriptors are flat", || descriptors() == before);
            eventually("threads are flat", || threads() == loops);
            stop(&server);
        }
    }
}

fn panics(cell: &Cell, server: &ServerHandle) {
    let mut client = cell.connect(server);
    // Whatever of this the server still takes.
    let _ = std::io::Write::write_all(&mut client, b"hello\n");
    drop(client.try_shutdown(std::net::Shutdown::Write));
    let heard = client.end().unwrap_or_default();
    assert!(heard.is_empty() || heard == b"hello\n");
}

#[test]
fn servers_that_stop_and_servers_that_fail_leave_nothing_behind() {
    let _alone = alone();
    let serve = |server: Server<(), AnyEngine>| {
        server.codec(Lines::default()).serve(|line: &str, cx: &mut Context<'_, Lines>| {
            cx.send(line);
        })
    };
    for engine in ENGINES {
        for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Unix, Kind::Udp4, Kind::UnixDatagram] {
            let cell = Cell::new(engine, kind);
            eventually("no thread is left", || threads() == 0);
            let before = descriptors();
            for _ in 0..20 {
                let server = serve(cell.server()).unwrap();
                let taken = server.local_endpoints()[0].clone();
                // The first endpoint is bound when the second one fails.
                let half = Server::on("tcp://127.0.0.1:0").and(taken).engine(cell.engine());
                let error = serve(half).unwrap_err();
                assert_eq!(error.kind(), sockeye::ErrorKind::AddressInUse, "{error}");
                if matches!(kind, Kind::Tcp4 | Kind::Tcp6 | Kind::Unix) {
                    let mut client = cell.connect(&server);
                    client.say("hello\n");
                    assert_eq!(client.hear().unwrap(), "hello");
                }
                stop(&server);
                // A handle keeps what wakes the loops, so that it may be used at any time.
                drop(server);
                assert_eq!(descriptors(), before, "{engine} at {kind:?}");
            }
            eventually("no thread is left", || threads() == 0);
        }
    }
}

#[test]
fn refused_clients_leave_nothing_behind() {
    let _alone = alone();
    for engine in ENGINES {
        let cell = Cell::new(engine, Kind::Tcp4);
        let mut limits = Limits::default();
        limits.connections_max = Some(1);
        let server = cell
            .server()
            .limits(limits)
            .admit(|_| false)
            .codec(Lines::default())
            .serve(|_: &str, _: &mut Context<'_, Lines>| {})
            .unwrap();
        let before = descriptors();
        for _ in 0..500 {
            assert!(cell.connect(&server).end().unwrap_or_default().is_empty());
        }
        eventually("descriptors are flat", || descriptors() == before);
        assert_eq!(server.counters().refused.not_admitted, 500);
        stop(&server);
    }
}
