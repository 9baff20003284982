//! Private names: tests that run in namespaces of their own, and a name server that misbehaves.
//!
//! [`in_namespaces`] runs a test once more as a child in fresh mount, network and UTS namespaces, where
//! `/etc` has nothing but the files of the test, and the only interface is loopback. Where there is no
//! right to make them the test says so on standard error, past what the harness captures, and counts it,
//! also in the file `SOCKEYE_NOT_RUN`; with `SOCKEYE_NAMESPACES=required` it fails.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than any child takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `body` with these files as all of `/etc`, or says why not. `test` is the name of the test that
/// calls this.
pub fn in_namespaces(test: &str, files: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var("SOCKEYE_INSIDE").is_ok_and(|inside| inside == test) {
        return body();
    }
    if !can_make_namespaces() {
        return not_run(test);
    }
    let etc = std::env::temp_dir().join(format!("sockeye-{}-{test}", std::process::id()));
    std::fs::create_dir(&etc).unwrap();
    for (name, text) in files {
        std::fs::write(etc.join(name), text).unwrap();
    }
    if Path::new("/etc/ld.so.cache").exists() {
        std::fs::copy("/etc/ld.so.cache", etc.join("ld.so.cache")).unwrap();
    }
    let script =
        "mount --bind \"$1\" /etc && ip link set lo up && exec \"$2\" --exact \"$3\" --nocapture";
    let log_path = etc.with_extension("log");
    let log = File::create(&log_path).unwrap();
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net", "--uts", "sh", "-ec", script, "sh"])
        .args([etc.as_os_str(), std::env::current_exe().unwrap().as_os_str(), test.as_ref()])
        .env("SOCKEYE_INSIDE", test)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{}", std::fs::read_to_string(&log_path).unwrap());
    std::fs::remove_file(&log_path).unwrap();
    std::fs::remove_dir_all(&etc).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{test}, in namespaces: {status:?}");
}

fn can_make_namespaces() -> bool {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net", "--uts", "ip", "link"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn not_run(test: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    let line =
        format!("\n******** NOT RUN ({count}): {test}: no right to make namespaces ********\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") {
        let mut list = File::options().append(true).create(true).open(path).unwrap();
        writeln!(list, "{test}").unwrap();
    }
    let required = std::env::var("SOCKEYE_NAMESPACES").is_ok_and(|value| value == "required");
    assert!(!required, "{test} needs namespaces");
}

/// What the name server does with a question.
#[derive(Clone)]
pub enum Answer {
    /// This response code, and no records: 2 is SERVFAIL, 3 NXDOMAIN.
    Code(u8),
    /// These records; the second part is the type.
    Records(Vec<Record>),
    Silence,
}

/// Owner (none: the name that was asked for), type and data.
#[derive(Clone)]
pub struct Record(pub Option<Vec<u8>>, pub u16, pub Vec<u8>);

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;

/// A name server at 127.0.0.1, UDP and TCP, and how many questions it was asked. What it does not know
/// does not exist; what it knows, but not of that type, is empty.
pub struct NameServer {
    questions: Arc<AtomicUsize>,
}

impl NameServer {
    pub fn start(zone: Vec<(&str, u16, Answer)>) -> NameServer {
        let zone: HashMap<(String, u16), Answer> =
            zone.into_iter().map(|(name, kind, does)| ((name.to_owned(), kind), does)).collect();
        let zone = Arc::new(zone);
        let questions = Arc::new(AtomicUsize::new(0));
        let (udp, tcp) = (UdpSocket::bind("127.0.0.1:53"), TcpListener::bind("127.0.0.1:53"));
        let (udp, tcp) = (udp.unwrap(), tcp.unwrap());
        let (known, count) = (Arc::clone(&zone), Arc::clone(&questions));
        thread::spawn(move || {
            let mut message = [0; 1024];
            loop {
                let (length, from) = udp.recv_from(&mut message).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let Some(mut answer) = respond(&message[..length], &known) else { continue };
                if answer.len() > 512 {
                    answer.truncate(question_end(&message));
                    answer[2] |= 0x02; // TC: ask again by TCP
                    answer[6..12].fill(0);
                }
                udp.send_to(&answer, from).unwrap();
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message).unwrap();
                    let Some(answer) = respond(&message, &zone) else { break };
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    if stream.write_all(&[&length[..], &answer].concat()).is_err() {
                        break;
                    }
                }
            }
        });
        NameServer { questions }
    }

    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

fn respond(message: &[u8], zone: &HashMap<(String, u16), Answer>) -> Option<Vec<u8>> {
    let end = question_end(message);
    let kind = u16::from_be_bytes([message[end - 4], message[end - 3]]);
    let name = text(&message[12..end - 4]);
    let is_known = |(known, _): &(String, u16)| *known == name;
    let answer = match zone.get(&(name.clone(), kind)) {
        Some(answer) => answer.clone(),
        None if zone.keys().any(is_known) => Answer::Records(Vec::new()),
        None => Answer::Code(3),
    };
    let (code, records) = match answer {
        Answer::Silence => return None,
        Answer::Code(code) => (code, Vec::new()),
        Answer::Records(records) => (0, records),
    };
    let mut response = message[..end].to_vec();
    response[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    response[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    response[8..12].fill(0);
    for Record(owner, kind, data) in records {
        response.extend(owner.unwrap_or_else(|| vec![0xc0, 12])); // a pointer to the question
        response.extend(kind.to_be_bytes());
        response.extend([0, 1, 0, 0, 0, 60]);
        response.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        response.extend(data);
    }
    Some(response)
}

fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

fn text(mut name: &[u8]) -> String {
    let mut labels = Vec::new();
    while let Some((length, rest)) = name.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        name = rest;
    }
    labels.join(".")
}

/// A name as messages have it. The labels may be any bytes but dots.
pub fn name(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split(|byte| *byte == b'.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label);
    }
    wire.push(0);
    wire
}
