//! Ten thousand panics, and ten thousand stops while clients connect: what is left behind, on both engines.
//! And a million wake-ups of one session from eight threads, of which none may be lost.

use crate::table::Table;
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Events, Report, Threads};
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::server::{Server, ServerHandle};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 10_000;
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(20);

pub fn prove() -> Result<bool, String> {
    // The panics are ours, and 20,000 backtraces would be in the way.
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<Wanted>().is_none() {
            eprintln!("{info}");
        }
    }));
    let mut table = Table::new();
    for engine in [AnyEngine::Threads(Threads::default()), AnyEngine::Events(Events::workers(2))] {
        panics(&engine, &mut table)?;
        stops(&engine, &mut table)?;
        wakes(&engine, &mut table)?;
    }
    Ok(table.end())
}

/// What a process holds.
#[derive(Clone, Copy)]
struct Held {
    threads: u64,
    descriptors: u64,
    kilobytes: u64,
}

fn held() -> Result<Held, String> {
    let failed = |error: std::io::Error| format!("/proc/self: {error}");
    let status = fs::read_to_string("/proc/self/status").map_err(failed)?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let descriptors = fs::read_dir("/proc/self/fd").map_err(failed)?.count() as u64;
    Ok(Held { threads: number("Threads:"), descriptors, kilobytes: number("VmRSS:") })
}

/// What is held once it is no more than before, or in the end.
fn settled(before: Held) -> Result<Held, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = held()?;
        let flat = now.threads <= before.threads && now.descriptors <= before.descriptors;
        if flat || Instant::now() > deadline {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn compare(what: &str, before: Held, after: Held, table: &mut Table) {
    let (threads, descriptors) = (before.threads, before.descriptors);
    table.row(&format!("{what}: threads"), after.threads, threads, after.threads <= threads);
    let holds = after.descriptors <= descriptors;
    table.row(&format!("{what}: descriptors"), after.descriptors, descriptors, holds);
    let allowed = before.kilobytes + 2048;
    let holds = after.kilobytes <= allowed;
    table.row(&format!("{what}: resident, KiB"), after.kilobytes, allowed, holds);
}

/// What the panics carry.
struct Wanted;

/// Panics in the callback whose turn it is.
struct Bomb(usize);

impl Bomb {
    fn at(&self, place: usize) {
        if self.0 % PLACES == place {
            std::panic::panic_any(Wanted);
        }
    }
}

/// Factory, open, frame, end of input, close, drop.
const PLACES: usize = 6;

impl Handler<Lines> for Bomb {
    fn on_open(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at(1);
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        self.at(2);
        Ok(())
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.finish();
        self.at(3);
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

fn panics(engine: &AnyEngine, table: &mut Table) -> Result<(), String> {
    let number = AtomicUsize::new(0);
    let server = Server::tcp("127.0.0.1:0").engine(engine.clone()).codec(Lines::default());
    let server = server
        .serve_with(move |_| {
            let bomb = Bomb(number.fetch_add(1, Ordering::Relaxed));
            if bomb.0 % PLACES == 0 {
                std::mem::forget(bomb);
                std::panic::panic_any(Wanted);
            }
            bomb
        })
        .map_err(|error| error.to_string())?;
    blow_up(&server, ROUNDS / 10)?;
    server.wait_until_open(0, PATIENCE);
    let before = calm()?;
    let began = Instant::now();
    blow_up(&server, ROUNDS)?;
    let after = settled(before)?;
    let all = (ROUNDS + ROUNDS / 10) as u64;
    let counters = server.counters();
    table.row(&format!("{engine}: panics"), counters.panics, all, counters.panics == all);
    table.row(&format!("{engine}: sessions still open"), counters.open, 0, counters.open == 0);
    compare(&format!("{engine}, after panics"), before, after, table);
    table.note(format!("{engine}: {ROUNDS} panics in {:.1?}.", began.elapsed()));
    server.stop(PATIENCE);
    let report = server.join().map_err(|error| error.to_string())?;
    table.row(&format!("{engine}: cut off at the stop"), report.forced, 0, report.forced == 0);
    Ok(())
}

/// What is held when threads that are ending have ended.
fn calm() -> Result<Held, String> {
    let mut last = held()?;
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = held()?;
        if (now.threads, now.descriptors) == (last.threads, last.descriptors) {
            return Ok(now);
        }
        last = now;
    }
}

fn blow_up(server: &ServerHandle, count: usize) -> Result<(), String> {
    let at = address(server)?;
    let before = server.counters().panics;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                (0..count / CLIENTS).for_each(|_| {
                    let _ = visit(at, true);
                })
            });
        }
    });
    let deadline = Instant::now() + PATIENCE;
    while server.counters().panics < before + count as u64 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn address(server: &ServerHandle) -> Result<SocketAddr, String> {
    let at = server.local_endpoints()[0].to_addr();
    at.as_ref().and_then(|at| at.as_ip().copied()).ok_or_else(|| "no address".to_owned())
}

/// How a visit ended.
#[derive(Clone, Copy, PartialEq)]
enum Visit {
    Served,
    /// Connected, and then the end of the stream or a reset.
    Closed,
    Refused,
    /// Neither an answer nor an end, in good time.
    Hung,
}

fn visit(at: SocketAddr, ends: bool) -> Visit {
    let Ok(mut stream) = TcpStream::connect(at) else { return Visit::Refused };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    // Errors are for the read to find.
    let _ = stream.write_all(b"hello\n");
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let visit = match stream.read(&mut [0; 64]) {
        Ok(0) => Visit::Closed,
        Ok(_) => Visit::Served,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Visit::Hung,
        Err(_) => Visit::Closed,
    };
    if ends {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // No port is to wait for two minutes, of so many.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    visit
}

fn stops(engine: &AnyEngine, table: &mut Table) -> Result<(), String> {
    let (done, results) = channel();
    let clients: Vec<Sender<SocketAddr>> = (0..CLIENTS)
        .map(|_| {
            let (to, rounds): (_, Receiver<SocketAddr>) = channel();
            let done = done.clone();
            thread::spawn(move || {
                for at in rounds {
                    let _ = done.send(visit(at, false));
                }
            });
            to
        })
        .collect();
    let mut sums = Sums::default();
    for index in 0..ROUNDS / 10 {
        round(engine, index, &clients, &results, &mut Sums::default())?;
    }
    let before = calm()?;
    let began = Instant::now();
    for index in 0..ROUNDS {
        round(engine, index, &clients, &results, &mut sums)?;
    }
    let after = settled(before)?;
    let Sums { served, closed, refused, hung, accepted, unended, forced } = sums;
    let what = |what: &str| format!("{engine}, {ROUNDS} stops: {what}");
    table.row(&what("clients that hung"), hung, 0, hung == 0);
    table.row(&what("accepted and not closed"), unended, 0, unended == 0);
    table.row(&what("cut off or left behind"), forced, 0, forced == 0);
    let raced = served > 0 && closed + refused > 0;
    table.row(
        &what("served / closed / refused"),
        format!("{served} / {closed} / {refused}"),
        "a race",
        raced,
    );
    let holds = served <= accepted;
    table.row(&what("accepted"), accepted, format!("{served} or more"), holds);
    compare(&what("all"), before, after, table);
    table.note(format!("{engine}: {ROUNDS} stops in {:.1?}.", began.elapsed()));
    Ok(())
}

#[derive(Default)]
struct Sums {
    served: u64,
    closed: u64,
    refused: u64,
    hung: u64,
    accepted: u64,
    unended: u64,
    forced: u64,
}

/// A server that is stopped while its clients come.
fn round(
    engine: &AnyEngine,
    index: usize,
    clients: &[Sender<SocketAddr>],
    results: &Receiver<Visit>,
    sums: &mut Sums,
) -> Result<(), String> {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = Server::tcp("127.0.0.1:0").engine(engine.clone()).codec(Lines::default());
    let server = server.serve(echo).map_err(|error| error.to_string())?;
    let at = address(&server)?;
    for client in clients {
        client.send(at).map_err(|error| error.to_string())?;
    }
    // From before the first connect to after the last answer.
    let until = Instant::now() + Duration::from_micros((index % 50) as u64 * 5);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    server.stop(PATIENCE);
    let Report { forced, abandoned, counters, .. } =
        server.join().map_err(|error| error.to_string())?;
    for _ in clients {
        let count = match results.recv().map_err(|error| error.to_string())? {
            Visit::Served => &mut sums.served,
            Visit::Closed => &mut sums.closed,
            Visit::Refused => &mut sums.refused,
            Visit::Hung => &mut sums.hung,
        };
        *count += 1;
    }
    sums.accepted += counters.accepted;
    sums.unended += counters.accepted - counters.closed.total() + counters.open;
    sums.forced += forced + abandoned as u64;
    Ok(())
}

/// What was asked for, what of it the session has seen, and how often it was woken.
#[derive(Clone, Default)]
struct Bells(Arc<[AtomicUsize; 3]>);

struct Sleeper(Bells, Sender<Remote<Lines>>);

impl Handler<Lines> for Sleeper {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.1.send(cx.remote())?;
        Ok(())
    }
    fn on_frame(&mut self, _: &str, _: &mut Context<'_, Lines>) -> Outcome {
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        let [asked, seen, calls] = &*self.0.0;
        calls.fetch_add(1, Ordering::SeqCst);
        seen.store(asked.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }
}

/// In bursts, after each of which the session must have seen all, though nothing comes after.
fn wakes(engine: &AnyEngine, table: &mut Table) -> Result<(), String> {
    let (bells, (told, remotes)) = (Bells::default(), channel());
    let shared = bells.clone();
    let server = Server::tcp("127.0.0.1:0").engine(engine.clone()).codec(Lines::default());
    let server = server
        .serve_with(move |_| Sleeper(shared.clone(), told.clone()))
        .map_err(|error| error.to_string())?;
    let client = TcpStream::connect(address(&server)?).map_err(|error| error.to_string())?;
    let remote = remotes.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
    let [asked, seen, calls] = &*bells.0;
    let (began, mut lost) = (Instant::now(), 0);
    for _ in 0..BURSTS {
        thread::scope(|scope| {
            for _ in 0..WAKERS {
                scope.spawn(|| {
                    for _ in 0..WAKES / BURSTS / WAKERS {
                        asked.fetch_add(1, Ordering::SeqCst);
                        remote.wake();
                    }
                });
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while seen.load(Ordering::SeqCst) < asked.load(Ordering::SeqCst) {
            if Instant::now() > deadline {
                lost += 1;
                break;
            }
            thread::yield_now();
        }
    }
    let (asked, calls) = (asked.load(Ordering::SeqCst), calls.load(Ordering::SeqCst));
    let what = |what: &str| format!("{engine}, {asked} wake-ups from {WAKERS} threads: {what}");
    table.row(&what("bursts whose last was lost"), lost, 0, lost == 0);
    let merged = (BURSTS..=asked).contains(&calls);
    table.row(&what("calls"), calls, format!("{BURSTS} to {asked}"), merged);
    table.note(format!("{engine}: {asked} wake-ups in {:.1?}.", began.elapsed()));
    drop(client);
    server.stop(PATIENCE);
    server.join().map_err(|error| error.to_string())?;
    Ok(())
}

const WAKES: usize = 1_000_000;
const WAKERS: usize = 8;
/// Each ends in a wake-up that no other one covers up.
const BURSTS: usize = 1000;
