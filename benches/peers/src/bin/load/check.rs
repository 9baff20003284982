//! Whether what comes back is right, to the byte.

use super::{Failure, Options, SILENCE, datagrams, fan, streams};
use peers::Transport;
use peers::protocol::Service;
use socket2::Socket;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

/// Connections at once.
const CONNECTIONS: u64 = 4;
const MEMBERS: usize = 5;

pub fn run(options: &Options) -> Result<String, Failure> {
    if options.service == Service::Fan {
        check_fan(options)?;
    } else if options.over == Transport::Udp {
        check_datagrams(options)?;
    } else {
        let checks: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let socket = streams::connect(options.over, &options.at)?;
                let service = options.service;
                Ok(thread::spawn(move || check_stream(socket, service, number)))
            })
            .collect::<Result<_, Failure>>()?;
        for check in checks {
            check.join().map_err(|_| "a check panicked")??;
        }
    }
    Ok("{\"mode\":\"check\",\"right\":true}".to_owned())
}

/// A mebibyte in pieces of odd lengths, with another thread reading.
fn check_stream(socket: Socket, service: Service, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed + 1);
    let sent: Vec<u8> = match service {
        Service::Reverse => {
            let mut lines = Vec::new();
            while lines.len() < 1 << 20 {
                random.line(&mut lines);
            }
            lines
        }
        _ => (0..1 << 20).map(|_| random.below(256) as u8).collect(),
    };
    let expected = match service {
        Service::Reverse => {
            let lines = sent[..sent.len() - 1].split(|byte| *byte == b'\n');
            lines.flat_map(|line| line.iter().rev().chain(b"\n")).copied().collect()
        }
        _ => sent.clone(),
    };
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    let mut reading = socket.try_clone()?;
    let reader = thread::spawn(move || -> Result<Vec<u8>, Failure> {
        let mut received = Vec::new();
        reading.read_to_end(&mut received)?;
        Ok(received)
    });
    let mut writing = socket;
    let mut rest = sent.as_slice();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(1 + random.below(50_000)));
        writing.write_all(piece)?;
        rest = later;
    }
    // Everything must still come back, and then the end.
    writing.shutdown(Shutdown::Write)?;
    let received = reader.join().map_err(|_| "the reader panicked")??;
    if received == expected { Ok(()) } else { Err("what came back is wrong".into()) }
}

/// Two members at a time speak, in pieces of odd lengths. Everyone must hear the same, and of each of the
/// two all that it said, in its order.
fn check_fan(options: &Options) -> Result<(), Failure> {
    let mut members = fan::enter(&options.at, MEMBERS)?;
    let mut random = Random(7);
    for round in 0..200 {
        let speakers = [round % MEMBERS, (round + 1) % MEMBERS];
        let sent: [Vec<u8>; 2] = [b'0', b'1'].map(|name| {
            let mut lines = Vec::new();
            for _ in 0..1 + random.below(32) {
                lines.push(name);
                random.line(&mut lines);
            }
            lines
        });
        let mut rests = [sent[0].as_slice(), sent[1].as_slice()];
        while rests.iter().any(|rest| !rest.is_empty()) {
            for (rest, speaker) in rests.iter_mut().zip(speakers) {
                let (piece, later) = rest.split_at(rest.len().min(1 + random.below(500)));
                members[speaker].write_all(piece)?;
                *rest = later;
            }
        }
        let mut first = Vec::new();
        for member in &mut members {
            let mut heard = vec![0; sent[0].len() + sent[1].len()];
            member.read_exact(&mut heard)?;
            if first.is_empty() {
                let lines = || heard.split_inclusive(|byte| *byte == b'\n');
                for (name, sent) in [b'0', b'1'].into_iter().zip(&sent) {
                    if lines().filter(|line| line[0] == name).flatten().ne(sent) {
                        return Err("a member hears other lines than were said".into());
                    }
                }
                first = heard;
            } else if heard != first {
                return Err("not all members hear the same".into());
            }
        }
    }
    for member in &mut members {
        member.set_nonblocking(true)?;
        if member.read(&mut [0]).is_ok() {
            return Err("a member hears more than was said".into());
        }
    }
    Ok(())
}

fn check_datagrams(options: &Options) -> Result<(), Failure> {
    let socket = datagrams::connect(&options.at)?;
    socket.set_read_timeout(Some(SILENCE))?;
    let mut random = Random(7);
    let mut buffer = vec![0; 64 * 1024];
    for length in (1..1400).step_by(13).chain([9000, 60_000]) {
        if options.service == Service::Reverse && length > 8 * 1024 {
            continue;
        }
        let mut datagram: Vec<u8> = (0..length).map(|_| b' ' + random.below(95) as u8).collect();
        socket.send(&datagram)?;
        let received = socket.recv(&mut buffer)?;
        if options.service == Service::Reverse {
            datagram.reverse();
        }
        if buffer[..received] != datagram {
            return Err(format!("a datagram of {length} bytes came back wrong").into());
        }
    }
    Ok(())
}

/// Numbers without a pattern that matters: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Appends a line of printable letters.
    fn line(&mut self, out: &mut Vec<u8>) {
        let length = self.below(200);
        out.extend((0..length).map(|_| b' ' + self.below(95) as u8));
        out.push(b'\n');
    }
}
