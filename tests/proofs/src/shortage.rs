//! Shortages: a server without a descriptor, and one without a thread for another connection.
//!
//! The servers are child processes, so that their limits may be lowered while they run. Both engines
//! wait for descriptors without spinning, report one episode, and go on soon after one is free.

use crate::table::Table;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::server::Server;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    if let Some(engine) = std::env::args().nth(2) {
        return serve(&engine).map(|()| true);
    }
    let mut all_hold = true;
    for engine in ["threads", "events"] {
        println!("\n{engine}:\n");
        let mut table = Table::new();
        descriptors(&mut table, engine)?;
        if engine == "threads" {
            threads(&mut table)?;
        }
        all_hold &= table.end();
    }
    Ok(all_hold)
}

// ---- the server ----

/// Echoes lines; on its input, `counters` asks for numbers.
fn serve(engine: &str) -> Result<(), String> {
    let engine = match engine {
        "threads" => AnyEngine::Threads(Threads::default().stack_bytes(STACK)),
        _ => AnyEngine::Events(Events::workers(4)),
    };
    let server = Server::tcp("127.0.0.1:0").engine(engine).codec(Lines::default());
    let server = server.serve(|line, cx| cx.send(line)).map_err(|error| error.to_string())?;
    println!("{}", server.local_endpoints()[0].to_string().trim_start_matches("tcp://"));
    for _ in std::io::stdin().lines() {
        let counters = server.counters();
        let refused = counters.refused.no_thread;
        println!("{} {} {refused}", counters.accept_failed, counters.shortages);
    }
    Ok(())
}

struct Echo {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    addr: SocketAddr,
}

/// What the server counts: accepts that failed, episodes, connections without a thread.
type Numbers = [u64; 3];

impl Echo {
    fn start(engine: &str) -> Result<Echo, String> {
        let mut command = Command::new(std::env::current_exe().map_err(text)?);
        command.args(["shortage", engine]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(text)?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(output);
        let mut addr = String::new();
        lines.read_line(&mut addr).map_err(text)?;
        let addr = addr.trim().parse().map_err(|_| format!("it says {addr:?}"))?;
        Ok(Echo { child, lines, addr })
    }

    fn numbers(&mut self) -> Result<Numbers, String> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        input.write_all(b"counters\n").map_err(text)?;
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(text)?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        numbers.try_into().map_err(|_| format!("it says {line:?}"))
    }

    fn work(&self) -> Duration {
        crate::chat::work(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Sets the soft limit; the one before.
    fn limit(&self, resource: Resource, current: Option<u64>) -> Result<Option<u64>, String> {
        let pid = Pid::from_child(&self.child);
        // The hard limit is that of this process.
        let new = Rlimit { current, maximum: getrlimit(resource).maximum };
        Ok(prlimit(Some(pid), resource, new).map_err(text)?.current)
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(self.addr).map_err(text)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        Ok(stream)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long until a line comes back; `None` if the end comes instead.
fn ask(mut stream: &TcpStream) -> Result<Option<Duration>, String> {
    let began = Instant::now();
    stream.write_all(b"hello\n").map_err(text)?;
    hear(stream, began)
}

fn hear(stream: &TcpStream, began: Instant) -> Result<Option<Duration>, String> {
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(6) => Ok(Some(began.elapsed())),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(text(error)),
    }
}

// ---- what is proved ----

/// Ten clients wait for ten seconds at a server that has all the descriptors it may have.
fn descriptors(table: &mut Table, engine: &str) -> Result<(), String> {
    let mut server = Echo::start(engine)?;
    let inside = server.connect()?;
    ask(&inside)?.ok_or("it serves nobody")?;
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).map_err(text)?;
    let taken: Vec<u64> =
        open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let free = (0..).find(|number| !taken.contains(number));
    let before = server.limit(Resource::Nofile, free)?;
    let waiting: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect::<Result<_, _>>()?;
    waiting.iter().try_for_each(|mut stream| stream.write_all(b"hello\n")).map_err(text)?;

    let (began, work, first) = (Instant::now(), server.work(), server.numbers()?);
    let mut slowest = Duration::ZERO;
    while began.elapsed() < SPAN {
        slowest = slowest.max(ask(&inside)?.ok_or("the one inside was cut")?);
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed().as_secs_f64();
    let busy = (server.work() - work).as_secs_f64() / took;
    let numbers = server.numbers()?;
    let rate = (numbers[0] - first[0]) as f64 / took;
    table.row(
        "accepts in vain, a second",
        format!("{rate:.1}"),
        "1 to 20",
        (1.0..=20.0).contains(&rate),
    );
    let percent = format!("{:.1} %", busy * 100.0);
    table.row("processor meanwhile", percent, "below 5 %", busy < 0.05);
    table.row("episodes reported", numbers[1], 1, numbers[1] == 1);
    let meanwhile = "slowest echo of the one inside";
    table.row(meanwhile, format!("{slowest:.1?}"), "below 50 ms", slowest.as_millis() < 50);

    let freed = Instant::now();
    server.limit(Resource::Nofile, before)?;
    let served = hear(&waiting[0], freed)?.ok_or("who waited was refused")?;
    table.row(
        "the first is served after",
        format!("{served:.1?}"),
        "within 100 ms",
        served < WITHIN,
    );
    let all: Option<Vec<Duration>> =
        waiting[1..].iter().map(|stream| hear(stream, freed)).collect::<Result<_, _>>()?;
    table.row("all who waited are served", all.is_some(), true, all.is_some());
    Ok(())
}

/// No address space for another stack.
fn threads(table: &mut Table) -> Result<(), String> {
    let mut server = Echo::start("threads")?;
    let inside = server.connect()?;
    ask(&inside)?.ok_or("it serves nobody")?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id()));
    let status = status.map_err(text)?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).ok_or("no size")?;
    let size: u64 = size.trim().trim_end_matches(" kB").parse().map_err(|_| "no size")?;
    let before = server.limit(Resource::As, Some(size * 1024 + STACK as u64 / 2))?;
    let mut refused = 0;
    for _ in 0..20 {
        let began = Instant::now();
        refused += u64::from(hear(&server.connect()?, began)?.is_none());
    }
    let numbers = server.numbers()?;
    table.row("refused without a thread", refused, 20, refused == 20 && numbers[2] == 20);
    table.row("episodes reported", numbers[1], 1, numbers[1] == 1);
    let lives = ask(&inside)?.is_some();
    table.row("the one inside is served", lives, true, lives);
    server.limit(Resource::As, before)?;
    let freed = Instant::now();
    let served = ask(&server.connect()?)?.map(|_| freed.elapsed());
    let holds = served.is_some_and(|served| served < WITHIN);
    table.row(
        "another is served after",
        served.map_or("never".to_owned(), |served| format!("{served:.1?}")),
        "within 100 ms",
        holds,
    );
    Ok(())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

const PATIENCE: Duration = Duration::from_secs(20);
const SPAN: Duration = Duration::from_secs(10);
/// How soon after the end of a shortage the first is served.
const WITHIN: Duration = Duration::from_millis(100);

/// So large that none fits into what the limit leaves.
const STACK: usize = 512 << 20;
