//! A name server of the tests' own, which answers, refuses, lies, floods and stays silent.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
