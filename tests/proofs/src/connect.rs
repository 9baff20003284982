//! Connecting where a family is silent, where it refuses, where all is dead, and looking names up at a
//! server that never answers. In a network namespace and a mount namespace of its own: needs root.

use crate::namespace::{self, OWN_V4, OWN_V6, SILENT_V4, SILENT_V6, ip};
use crate::table::Table;
use sockeye::addr::IpVersion;
use sockeye::connect::{Fate, Report};
use sockeye::lookup::{Resolver, StaticResolver, SystemResolver};
use sockeye::{Client, ErrorKind};
use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// The attempt delay that RFC 8305 recommends and clients have.
const DELAY: Duration = Duration::from_millis(250);
const RUNS: usize = 10;

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    namespace::make().map_err(|why| format!("this needs a network namespace: {why}"))?;
    // A second dead address of each version.
    for host in [DEAD_V4, DEAD_V6] {
        let neighbour = ["neigh", "add", host, "lladdr", "02:00:00:00:00:09", "nud", "permanent"];
        ip(neighbour.into_iter().chain(["dev", namespace::LINK]))?;
    }
    let mut table = Table::new();
    let round_trip = round_trip()?;
    table.row("round trip of a connect", format!("{round_trip:.1?}"), "", true);
    silent_family(&mut table, round_trip)?;
    refusing_family(&mut table)?;
    all_dead(&mut table)?;
    silent_resolver(&mut table)?;
    Ok(table.end())
}

fn hosts(name: &str, addresses: &[&str]) -> StaticResolver {
    let ips = addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
    StaticResolver::new().with(name, ips)
}

fn listener() -> Result<(TcpListener, u16), String> {
    let listener = TcpListener::bind((OWN_V4, 0)).map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    Ok((listener, port))
}

/// The time of a connect to the live address alone: the median.
fn round_trip() -> Result<Duration, String> {
    let (_listener, port) = listener()?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        Client::tcp(format!("{OWN_V4}:{port}")).connect().map_err(|error| error.to_string())?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}

/// How long it takes with these addresses, of which the last is alive.
fn connects(addresses: &[&str]) -> Result<Vec<Duration>, String> {
    let (_listener, port) = listener()?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let client = Client::tcp(format!("host:{port}")).resolver(hosts("host", addresses));
        let begin = Instant::now();
        let connected = client.connect_with_report().map_err(|error| error.to_string())?;
        times.push(begin.elapsed());
        let last = connected.report.attempts().last().expect("there was an attempt");
        assert!(matches!(last.fate(), Fate::Won), "{}", connected.report);
    }
    Ok(times)
}

fn silent_family(table: &mut Table, round_trip: Duration) -> Result<(), String> {
    let expected = DELAY + round_trip;
    let times = connects(&[SILENT_V6, OWN_V4])?;
    table.times("IPv6 silent", &times, expected.mul_f64(0.8), expected.mul_f64(1.2));
    table.row("sockets left that connect", connecting(), 0, connecting() == 0);
    Ok(())
}

fn refusing_family(table: &mut Table) -> Result<(), String> {
    let times = connects(&[OWN_V6, OWN_V4])?;
    table.times("IPv6 refused", &times, Duration::ZERO, DELAY / 10);
    Ok(())
}

fn all_dead(table: &mut Table) -> Result<(), String> {
    let deadline = 1_500 * MS;
    let addresses = [SILENT_V6, SILENT_V4, DEAD_V6, DEAD_V4];
    let client = Client::tcp("host:80").resolver(hosts("host", &addresses)).timeout(deadline);
    let begin = Instant::now();
    let Err(error) = client.connect() else { return Err("a dead host answered".to_owned()) };
    let took = begin.elapsed();
    table.times("all dead", &[took], deadline, deadline + 100 * MS);
    let kind = error.kind();
    table.row("its kind", format!("{kind:?}"), "TimedOut", kind == ErrorKind::TimedOut);
    let report = Report::of(&error).ok_or("the error has no report")?;
    let listed = report.attempts().iter().map(|attempt| attempt.address().ip().to_string());
    let listed: Vec<String> = listed.collect();
    table.row("addresses in order", listed.join(" "), addresses.join(" "), listed == addresses);
    let line = error.to_string();
    let all = addresses.iter().all(|address| line.contains(address));
    let causes = line.matches("no answer in").count();
    table.row("causes on the line", causes, addresses.len(), all && causes == addresses.len());
    table.row("sockets left that connect", connecting(), 0, connecting() == 0);
    table.note(format!("The error, and its report:\n\n{line}\n\n{report}"));
    Ok(())
}

/// A name server that reads every question and answers none.
fn silent_resolver(table: &mut Table) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let server = UdpSocket::bind("127.0.0.1:53").map_err(failed)?;
    mount("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
    mount("nsswitch.conf", "hosts: files dns\n")?;
    let asked = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    server.set_read_timeout(Some(100 * MS)).map_err(failed)?;
    let before = threads_of_lookups();
    let (barrier, done) = (&Barrier::new(LOOKUPS), &AtomicUsize::new(0));
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            let mut question = [0; 512];
            while !over.load(Ordering::SeqCst) {
                if server.recv(&mut question).is_ok() {
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let most = AtomicUsize::new(0);
        let callers: Vec<_> = (0..LOOKUPS)
            .map(|number| {
                let caller =
                    thread::Builder::new().name("caller".to_owned()).stack_size(128 * 1024);
                let caller = caller.spawn_scoped(scope, move || {
                    let name = format!("host{number}.example");
                    barrier.wait();
                    let begin = Instant::now();
                    let deadline = Some(begin + LIMIT);
                    let answer = SystemResolver::shared().resolve(&name, IpVersion::Any, deadline);
                    let took = begin.elapsed();
                    done.fetch_add(1, Ordering::SeqCst);
                    assert!(answer.is_err(), "nobody answers");
                    took
                });
                caller.expect("there is room for a thread")
            })
            .collect();
        while done.load(Ordering::SeqCst) < LOOKUPS {
            most.fetch_max(threads_of_lookups() - before, Ordering::SeqCst);
            thread::sleep(5 * MS);
        }
        let times: Vec<Duration> =
            callers.into_iter().map(|caller| caller.join().expect("it does not panic")).collect();
        over.store(true, Ordering::SeqCst);
        let most = most.load(Ordering::SeqCst);
        table.row("threads that look up", most, "1 to 32", (1..=32).contains(&most));
        times
    });
    let what = format!("{LOOKUPS} lookups at a silent server, {LIMIT:?} each");
    table.times(&what, &times, Duration::ZERO, LIMIT + 100 * MS);
    let asked = asked.load(Ordering::SeqCst);
    table.row("questions that it got", asked, "1 or more", asked > 0);
    // What hangs in libc ends, and then lookups work as before.
    let begin = Instant::now();
    let works = loop {
        let deadline = Some(Instant::now() + 1_000 * MS);
        match SystemResolver::shared().resolve("localhost", IpVersion::Any, deadline) {
            Ok(_) => break true,
            Err(_) if begin.elapsed() > 30_000 * MS => break false,
            Err(_) => thread::sleep(20 * MS),
        }
    };
    table.row("a good lookup works again", format!("{:.1?}", begin.elapsed()), "within 30s", works);
    Ok(())
}

/// Puts a file over one of /etc, for this process alone.
fn mount(name: &str, text: &str) -> Result<(), String> {
    static PRIVATE: AtomicBool = AtomicBool::new(false);
    if !PRIVATE.swap(true, Ordering::SeqCst) {
        namespace::own_mounts()?;
        run(Command::new("mount").args(["--make-rprivate", "/"]))?;
    }
    let path = std::env::temp_dir().join(format!("sockeye-proof-{}-{name}", std::process::id()));
    fs::write(&path, text).map_err(|error| error.to_string())?;
    let mounted = run(Command::new("mount").arg("--bind").arg(&path).arg(format!("/etc/{name}")));
    // The mount keeps the file.
    fs::remove_file(&path).map_err(|error| error.to_string())?;
    mounted
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Threads of this process that are not the proof's own.
fn threads_of_lookups() -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("sockeye")).count()
}

/// Connects that the kernel still tries: state 02 in its tables.
fn connecting() -> usize {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let text: String = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    text.lines().filter(|line| line.split_whitespace().nth(3) == Some("02")).count()
}

const DEAD_V4: &str = "192.0.2.10";
const DEAD_V6: &str = "2001:db8::a";

const LOOKUPS: usize = 1_000;
const LIMIT: Duration = Duration::from_millis(200);
