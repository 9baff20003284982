//! Those who are slow on purpose, against the limits of the open internet, unscaled: some thousand who
//! send a byte a second, half of them before their first line is whole and half after it, and some
//! hundred who ask for a mebibyte and never read. Others do not notice: one asks all the time, and
//! somebody new comes all the time. The server's memory stays below what its limits add up to, and
//! whoever is slow is closed when its limit says so, for its reason.
//!
//! Server and attack are processes of their own. It takes about half a minute.

use crate::table::Table;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sockeye::Server;
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::handler::{Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::socket::Options;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {}
        ["serve", engine] => return serve(engine).map(|()| true),
        ["attack", server, slow, deaf] => {
            let number = |text: &str| text.parse::<usize>().map_err(|error| error.to_string());
            let server = server.parse().map_err(|_| format!("{server}: no address"))?;
            return attack(server, number(slow)?, number(deaf)?).map(|()| true);
        }
        _ => return Err("abuse takes no arguments".to_owned()),
    }
    raise_descriptors()?;
    let mut all_hold = true;
    for load in &LOADS {
        println!("\n{}:\n", load.engine);
        let mut table = Table::new();
        load.put_on(&mut table).map_err(|why| format!("{}: {why}", load.engine))?;
        all_hold &= table.end();
    }
    Ok(all_hold)
}

fn raise_descriptors() -> Result<(), String> {
    let limits = getrlimit(Resource::Nofile);
    if limits.maximum.is_some_and(|most| most < DESCRIPTORS) {
        return Err(format!("this needs {DESCRIPTORS} descriptors a process: {limits:?}"));
    }
    let raised = Rlimit { current: limits.maximum, ..limits };
    setrlimit(Resource::Nofile, raised).map_err(|error| error.to_string())
}

struct Load {
    engine: &'static str,
    /// Who send a byte a second.
    slow: usize,
    /// Who ask and do not read.
    deaf: usize,
    /// What a connection costs at most beside its input and output: on threads, its thread.
    each_bytes: usize,
}

const LOADS: [Load; 2] = [
    Load { engine: "events", slow: 5000, deaf: 200, each_bytes: 1024 },
    Load { engine: "threads", slow: 1000, deaf: 20, each_bytes: 96 * 1024 },
];

impl Load {
    fn put_on(&self, table: &mut Table) -> Result<(), String> {
        let begun = Instant::now();
        let mut server = Process::start(&["serve", self.engine])?;
        let at = server.line()?;
        let addr: SocketAddr = at.parse().map_err(|_| at.clone())?;
        let over = AtomicBool::new(false);
        let (numbers, honest, new) = thread::scope(|scope| {
            let honest = scope.spawn(|| ask_on(addr, &over));
            let new = scope.spawn(|| come_anew(addr, &over));
            let (slow, deaf) = (self.slow.to_string(), self.deaf.to_string());
            let numbers = Process::start(&["attack", &at, &slow, &deaf])
                .and_then(|mut attack| (0..3).map(|_| attack.line()).collect());
            over.store(true, Ordering::SeqCst);
            let numbers: Result<Vec<String>, String> = numbers;
            (numbers, honest.join(), new.join())
        });
        let died = |_| "a thread of the proof panicked".to_owned();
        delays(table, "who asks every 5 ms", honest.map_err(died)??);
        delays(table, "who comes, asks and goes, every 50 ms", new.map_err(died)??);

        // Milliseconds from the beginning to the end, the shortest and the longest.
        let what = ["no first line: closed after", "half a line: closed after", "deaf: cut after"];
        for (what, line) in what.into_iter().zip(numbers?) {
            let mut times = line.split(' ').map(|number| number.parse().unwrap_or(u64::MAX));
            let mut next = || times.next().unwrap_or(u64::MAX);
            let (count, min, max) = (next(), next(), next());
            let (low, high) = (LIMIT.as_millis() as u64, (LIMIT + LATE).as_millis() as u64);
            let measured = format!("{min} to {max} ms, {count} of them");
            table.row(what, measured, format!("{low} to {high} ms"), low <= min && max <= high);
        }
        server.say("count")?;
        let counted = server.line()?;
        let expected = format!(
            "first message {}, frame {}, write stall {}, of other reasons 0",
            self.slow / 2,
            self.slow - self.slow / 2,
            self.deaf,
        );
        table.row("reasons", &counted, &expected, counted == expected);

        let (peak, base) = (server.memory_peak()?, BASE_BYTES);
        let output = self.deaf * Limits::strict().output_bytes_max;
        let input = self.slow * LINE_BYTES_MAX;
        let caps = base + output + input + (self.slow + self.deaf) * self.each_bytes;
        let (peak, caps) = (peak / 1024, caps / (1024 * 1024));
        table.row(
            "memory of the server",
            format!("{peak} MiB"),
            format!("{caps} MiB"),
            peak < caps,
        );
        table.note(format!("This took {:.1?}.", begun.elapsed()));
        Ok(())
    }
}

fn delays(table: &mut Table, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
    };
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let measured = format!("{p50:.1?}, {p99:.1?}, {max:.1?} of {}", times.len());
    table.row(
        &format!("{what}: p50, p99, max"),
        measured,
        format!("p99 below {DELAY:?}"),
        p99 < DELAY,
    );
}

// ---- the honest ----

fn connect(addr: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect(addr).map_err(|error| format!("connect: {error}"))?;
    let ready = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    ready.map_err(|error| error.to_string())?;
    Ok(BufReader::new(stream))
}

fn ask(client: &mut BufReader<TcpStream>) -> Result<(), String> {
    let mut answer = String::new();
    let asked = client.get_mut().write_all(b"hello\n");
    let asked = asked.and_then(|()| client.read_line(&mut answer));
    match asked {
        Ok(_) if answer == "hello\n" => Ok(()),
        other => Err(format!("an honest client: {other:?}, {answer:?}")),
    }
}

fn ask_on(addr: SocketAddr, over: &AtomicBool) -> Result<Vec<Duration>, String> {
    let (mut client, mut times) = (connect(addr)?, Vec::new());
    while !over.load(Ordering::SeqCst) {
        let begin = Instant::now();
        ask(&mut client)?;
        times.push(begin.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    Ok(times)
}

fn come_anew(addr: SocketAddr, over: &AtomicBool) -> Result<Vec<Duration>, String> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let begin = Instant::now();
        ask(&mut connect(addr)?)?;
        times.push(begin.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(times)
}

// ---- the attack ----

struct Attacker {
    stream: Option<TcpStream>,
    begun: Instant,
    lasted: Duration,
    kind: usize,
}

/// Prints how many there were of each kind, and how long the first and the last of them lasted.
fn attack(server: SocketAddr, slow: usize, deaf: usize) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut all = Vec::new();
    for number in 0..slow + deaf {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server).map_err(failed)?;
        let kind = if number >= slow { 2 } else { number % 2 };
        // What is said at once: the beginning of a line, a line and a beginning, a wish.
        let words: [&[u8]; 3] = [b"x", b"hello\nx", b"give\n"];
        stream.write_all(words[kind]).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        all.push(Attacker { stream: Some(stream), begun, lasted: Duration::MAX, kind });
    }
    let begin = Instant::now();
    let mut second = 1;
    while all.iter().any(|one| one.stream.is_some()) && begin.elapsed() < PATIENCE {
        note_ends(&mut all)?;
        if begin.elapsed() > Duration::from_secs(second) {
            second += 1;
            for one in all.iter_mut().filter(|one| one.kind < 2) {
                // It fails if it was just closed, as the next look says.
                let _ = one.stream.as_mut().map(|stream| stream.write_all(b"x"));
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    for kind in 0..3 {
        let lasted = || all.iter().filter(|one| one.kind == kind).map(|one| one.lasted);
        let millis = |time: Option<Duration>| time.map_or(0, |time| time.as_millis());
        let (min, max) = (millis(lasted().min()), millis(lasted().max()));
        println!("{} {min} {max}", lasted().count());
    }
    Ok(())
}

fn note_ends(all: &mut [Attacker]) -> Result<(), String> {
    let mut open: Vec<&mut Attacker> = all.iter_mut().filter(|one| one.stream.is_some()).collect();
    let mut polled: Vec<PollFd<'_>> = open
        .iter()
        .filter_map(|one| one.stream.as_ref())
        .map(|stream| PollFd::new(stream, PollFlags::RDHUP))
        .collect();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).map_err(|error| error.to_string())?;
    let ended: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
    drop(polled);
    for (one, ended) in open.iter_mut().zip(ended) {
        if ended {
            one.lasted = one.begun.elapsed();
            one.stream = None;
        }
    }
    Ok(())
}

// ---- the server ----

/// Echoes lines, and gives a mebibyte to who asks for it, as fast as it is taken.
struct Giver {
    owed: usize,
    line: String,
}

impl Giver {
    fn give(&mut self, cx: &mut Context<'_, Lines>) {
        while self.owed > 0 && cx.room() > self.line.len() {
            cx.send(&self.line);
            self.owed = self.owed.saturating_sub(self.line.len() + 1);
        }
    }
}

impl Handler<Lines> for Giver {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        if line == "give" {
            self.owed += 1024 * 1024;
            self.give(cx);
        } else {
            cx.send(line);
        }
        Ok(())
    }
    fn on_drain(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.give(cx);
        Ok(())
    }
}

fn serve(engine: &str) -> Result<(), String> {
    let engine = match engine {
        "events" => AnyEngine::Events(Events::workers(1)),
        _ => AnyEngine::Threads(Threads::default()),
    };
    // On loopback the system would take a whole mebibyte and nobody would wait.
    let options = Options::new().send_buffer(64 * 1024);
    let server = Server::on("tcp://127.0.0.1:0").engine(engine).limits(Limits::strict());
    let server = server.options(options).codec(Lines::at_most(LINE_BYTES_MAX));
    let server = server.serve_with(|_: &_| Giver { owed: 0, line: "y".repeat(1000) });
    let server = server.map_err(|error| error.to_string())?;
    let addr = server.local_endpoints()[0].to_string();
    println!("{}", addr.trim_start_matches("tcp://"));
    for line in std::io::stdin().lines() {
        let _ = line.map_err(|error| error.to_string())?;
        let closed = server.counters().closed;
        let (first, frame, stall) =
            (closed.first_message_timeout, closed.frame_timeout, closed.write_stall);
        let others = closed.total() - first - frame - stall - closed.peer_closed;
        println!(
            "first message {first}, frame {frame}, write stall {stall}, of other reasons {others}"
        );
    }
    Ok(())
}

// ---- processes ----

/// This program once more, in another role.
struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(role: &[&str]) -> Result<Process, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(this);
        command.arg("abuse").args(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{role:?}: {error}"))?;
        let output = child.stdout.take().ok_or("a process without output")?;
        Ok(Process { child, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line.trim_end().to_owned()),
            Ok(_) => Err("a process of the proof has ended early".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn say(&mut self, line: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or("a process without input")?;
        writeln!(input, "{line}").map_err(|error| error.to_string())
    }

    /// The most memory that it has had, in KiB.
    fn memory_peak(&self) -> Result<usize, String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| "no VmHWM".to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const DESCRIPTORS: u64 = 6000;
/// How long to wait for what is to come.
const PATIENCE: Duration = Duration::from_secs(40);
/// What all three limits are in the strict preset.
const LIMIT: Duration = Duration::from_secs(10);
/// From the limit to when the other side has seen it: a look every 20 ms, and two busy processors.
const LATE: Duration = Duration::from_millis(1500);
/// What an honest client waits for its answer.
const DELAY: Duration = Duration::from_millis(100);
const LINE_BYTES_MAX: usize = 8 * 1024;
/// The program itself, and the buffers of its worker.
const BASE_BYTES: usize = 16 * 1024 * 1024;
