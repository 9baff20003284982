//! The example `chat_server` as a process of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

pub struct Server {
    pub addr: SocketAddr,
    child: Child,
    output: Receiver<String>,
    log: Receiver<String>,
}

/// What it printed about itself.
pub struct Account {
    pub status: Option<ExitStatus>,
    /// How often each reason for an end is in the log.
    pub ends: BTreeMap<String, u64>,
    output: Vec<String>,
}

/// The example, as it is now.
pub fn build() -> Result<PathBuf, String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let mut folder = std::env::current_exe().map_err(|error| error.to_string())?;
    folder.pop();
    cargo.args(["build", "--quiet", "-p", "sockeye", "--example", "chat_server"]).current_dir(root);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder.join("examples/chat_server")),
        Ok(status) => Err(format!("{cargo:?}: {status}")),
        Err(error) => Err(format!("{cargo:?}: {error}")),
    }
}

impl Server {
    pub fn start(example: &Path, engine: &str, options: &[&str]) -> Result<Server, String> {
        let mut command = Command::new(example);
        command.args(["tcp://127.0.0.1:0", "--engine", engine]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("chat_server: {error}"))?;
        let output = lines(child.stdout.take());
        let log = lines(child.stderr.take());
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { addr: nowhere, child, output, log };
        let first = server.output.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
        let endpoint = first.strip_prefix("listening on tcp://").ok_or(first.clone())?;
        server.addr = endpoint.parse().map_err(|_| first)?;
        Ok(server)
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).map_err(|error| error.to_string())
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time so far.
    pub fn work(&self) -> Duration {
        work(&format!("/proc/{}/stat", self.child.id()))
    }

    /// The most memory that it has had, in KiB.
    pub fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    pub fn account(mut self) -> Account {
        let status = self.child.try_wait().unwrap_or_default();
        if status.is_none() {
            let _ = self.child.kill();
        }
        let output = self.output.iter().collect();
        let mut ends = BTreeMap::new();
        for line in &self.log {
            if let Some((_, reason)) = line.split_once(" is gone: ") {
                // What follows are its numbers.
                let reason = reason.split(':').next().unwrap_or_default();
                *ends.entry(reason.to_owned()).or_insert(0) += 1;
            }
        }
        Account { status, ends, output }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Account {
    /// The number before these words.
    pub fn number(&self, words: &str) -> Option<u64> {
        let words = format!(" {words}");
        let before = self.output.iter().find_map(|line| Some(line.split_once(&words)?.0))?;
        before.split_whitespace().next_back()?.parse().ok()
    }
}

/// Processor time of a process, by its `stat`.
pub fn work(path: &str) -> Duration {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    // The name, in parentheses, may have blanks in it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

fn lines(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    let from = BufReader::new(from.expect("it is a pipe"));
    thread::spawn(move || {
        from.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

const PATIENCE: Duration = Duration::from_secs(10);
/// What Linux tells programs, whatever it does itself.
const TICKS_PER_SECOND: u64 = 100;
