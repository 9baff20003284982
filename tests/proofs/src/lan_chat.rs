//! Two machines on a network: two namespaces joined by a link, and the example `lan_chat` in each.
//!
//! They find each other, talk both ways, lose the link for ten seconds and talk again: over IPv4 alone,
//! over IPv6 alone (link-local addresses). For finding and talking also: a network that is there only after
//! the programs are, and two on one host that has nothing but `lo`. Needs root.

use crate::hosts::Host;
use crate::table::Table;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    let example = build()?;
    let mut table = Table::new();
    for version in [Version::V4, Version::V6] {
        let (left, right) = (Host::new()?, Host::new()?);
        join(&left, &right, version)?;
        two_machines(&mut table, &example, version, &left, &right)?;
    }
    let (left, right) = (Host::new()?, Host::new()?);
    later(&mut table, &example, &left, &right)?;
    let host = Host::new()?;
    host.ip("link set lo up")?;
    one_machine(&mut table, &example, &host)?;
    Ok(table.end())
}

#[derive(Clone, Copy)]
enum Version {
    V4,
    V6,
}

fn two_machines(
    table: &mut Table,
    example: &PathBuf,
    version: Version,
    left: &Host,
    right: &Host,
) -> Result<(), String> {
    let on = match version {
        Version::V4 => "IPv4",
        Version::V6 => "IPv6",
    };
    let mut ann = left.start(example, "ann")?;
    let mut ben = right.start(example, "ben")?;
    find(table, on, "joined", FOUND, Instant::now(), &mut ann, &mut ben);
    talk(table, on, "before", &mut ann, &mut ben);

    left.ip(&format!("link set {LINK} down"))?;
    let down = Instant::now();
    ann.type_line("said while the link is down");
    ann.check(table, on, "ben is lost", down, NOTICED);
    ann.check(table, on, "not delivered to ben: said while the link is down", down, NOTICED);
    ben.check(table, on, "ann is lost", down, NOTICED);
    ben.type_line("said to the lost");
    ben.check(table, on, "not delivered to ann: said to the lost", Instant::now(), AT_ONCE);
    thread::sleep(DOWN.saturating_sub(down.elapsed()));
    let up = Instant::now();
    left.ip(&format!("link set {LINK} up"))?;
    let (what, was_down) = (format!("{on}: the link was down"), up - down);
    let allowed = format!("{DOWN:?} or more");
    table.row(&what, format!("{was_down:.1?}"), allowed, was_down >= DOWN);
    find(table, on, "is back", BACK, up, &mut ann, &mut ben);
    talk(table, on, "after", &mut ann, &mut ben);
    let leaving = Instant::now();
    ann.end(table, on);
    ben.check(table, on, "ann left", leaving, AT_ONCE);
    ben.end(table, on);
    Ok(())
}

/// The link is made when both run already.
fn later(table: &mut Table, example: &PathBuf, left: &Host, right: &Host) -> Result<(), String> {
    let on = "later";
    let mut ann = left.start(example, "ann")?;
    let mut ben = right.start(example, "ben")?;
    ann.check(table, on, "on no interface", Instant::now(), AT_ONCE);
    ben.check(table, on, "nobody found yet", Instant::now(), HINTED);
    join(left, right, Version::V4)?;
    find(table, on, "joined", FOUND, Instant::now(), &mut ann, &mut ben);
    talk(table, on, "after all", &mut ann, &mut ben);
    ann.end(table, on);
    ben.end(table, on);
    Ok(())
}

fn one_machine(table: &mut Table, example: &PathBuf, host: &Host) -> Result<(), String> {
    let on = "one host";
    let mut ann = host.start(example, "ann")?;
    let mut ben = host.start(example, "ben")?;
    find(table, on, "joined", FOUND, Instant::now(), &mut ann, &mut ben);
    talk(table, on, "there", &mut ann, &mut ben);
    ann.end(table, on);
    ben.end(table, on);
    Ok(())
}

fn find(
    table: &mut Table,
    on: &str,
    word: &str,
    within: Duration,
    since: Instant,
    ann: &mut Instance,
    ben: &mut Instance,
) {
    ann.check(table, on, &format!("ben {word}"), since, within);
    ben.check(table, on, &format!("ann {word}"), since, within);
}

fn talk(table: &mut Table, on: &str, when: &str, ann: &mut Instance, ben: &mut Instance) {
    let (here, there) = (format!("from ann, {when}"), format!("from ben, {when}"));
    let since = Instant::now();
    ann.type_line(&here);
    ben.check(table, on, &format!("ann: {here}"), since, AT_ONCE);
    let since = Instant::now();
    ben.type_line(&there);
    ann.check(table, on, &format!("ben: {there}"), since, AT_ONCE);
}

// ---- machines ----

impl Host {
    fn start(&self, example: &PathBuf, nick: &'static str) -> Result<Instance, String> {
        let mut command = Command::new(example);
        command.args(["--plain", "--nick", nick]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            self.run(move || command.spawn().map_err(|error| format!("lan_chat: {error}")))?;
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.map(|line| (Instant::now(), line)).try_for_each(|line| sender.send(line))
        });
        let input = child.stdin.take();
        Ok(Instance { nick, child, input, lines, heard: Vec::new() })
    }
}

/// Joins two hosts by a link, and waits until both have an address that can be used.
fn join(left: &Host, right: &Host, version: Version) -> Result<(), String> {
    for host in [left, right] {
        host.ip("link set lo up")?;
        if let Version::V4 = version {
            host.run(|| {
                let file = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
                std::fs::write(file, "1").map_err(|error| format!("{file}: {error}"))
            })?;
        }
    }
    let other = &right.thread;
    left.ip(&format!("link add {LINK} type veth peer name {LINK} netns {other}"))?;
    if let Version::V4 = version {
        left.add_address("192.0.2.1/24", LINK)?;
        right.add_address("192.0.2.2/24", LINK)?;
    }
    for host in [left, right] {
        host.ip(&format!("link set {LINK} up"))?;
    }
    if let Version::V4 = version {
        return Ok(());
    }
    // The system first asks whether anybody else has the address.
    let deadline = Instant::now() + Duration::from_secs(20);
    let settled = || {
        let shown = Command::new("ip").args(["-6", "addr", "show", "dev", LINK]).output();
        let shown = shown.map_err(|error| format!("ip: {error}"))?.stdout;
        let shown = String::from_utf8_lossy(&shown);
        Ok(shown.contains("fe80::") && !shown.contains("tentative"))
    };
    while !(left.run(settled)? && right.run(settled)?) {
        if Instant::now() > deadline {
            return Err("the link has no address".to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The example, as it is now.
fn build() -> Result<PathBuf, String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let mut folder = std::env::current_exe().map_err(|error| error.to_string())?;
    folder.pop();
    cargo.args(["build", "--quiet", "-p", "sockeye", "--example", "lan_chat"]).current_dir(root);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder.join("examples/lan_chat")),
        Ok(status) => Err(format!("{cargo:?}: {status}")),
        Err(error) => Err(format!("{cargo:?}: {error}")),
    }
}

// ---- the example ----

struct Instance {
    nick: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    heard: Vec<String>,
}

impl Instance {
    fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is closed at the end only");
        // Where it has ended, what is expected next does not come.
        let _ = writeln!(input, "{line}");
    }

    /// A line with this in it comes in time; lines before it are passed over.
    fn check(&mut self, table: &mut Table, on: &str, text: &str, since: Instant, within: Duration) {
        let what = format!("{on}: {} sees `{text}`", self.nick);
        let allowed = format!("within {within:?}");
        let deadline = since + within + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) => {
                    let found = line.contains(text);
                    self.heard.push(line);
                    if found {
                        let took = at.saturating_duration_since(since);
                        return table.row(&what, format!("{took:.1?}"), allowed, took <= within);
                    }
                }
                Err(why) => {
                    let measured = match why {
                        RecvTimeoutError::Timeout => "it never came",
                        RecvTimeoutError::Disconnected => "the program ended",
                    };
                    table.row(&what, measured, allowed, false);
                    let heard = self.heard.join("\n    ");
                    return table.note(format!("{on}: {} printed:\n    {heard}", self.nick));
                }
            }
        }
    }

    /// Its input ends, and so does it.
    fn end(mut self, table: &mut Table, on: &str) {
        self.input = None;
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                Ok(Some(status)) => break status.to_string(),
                other => break format!("{other:?}"),
            }
        };
        let what = format!("{on}: {} ends with its input", self.nick);
        let measured = format!("{status} after {:.1?}", since.elapsed());
        table.row(&what, measured, "exit status: 0", status == "exit status: 0");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LINK: &str = "chat0";
const DOWN: Duration = Duration::from_secs(10);
const FOUND: Duration = Duration::from_secs(3);
/// Four seconds of silence, and what is between two looks.
const NOTICED: Duration = Duration::from_secs(6);
/// With the second or two in which IPv6 asks whether its address is free.
const BACK: Duration = Duration::from_secs(5);
/// The three seconds after which it says what must be open.
const HINTED: Duration = Duration::from_secs(4);
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long beyond what is allowed to look, so that the table says how long it took.
const PATIENCE: Duration = Duration::from_secs(20);
