//! UDP: C sockets with D datagrams under way on each; segmented, as many as are missing leave as one
//! message, and no fewer than half of D.

use super::meter::Meter;
use super::{Failure, Options, START};
use peers::DATAGRAM_MAX;
use peers::datagrams::{Batch, segment};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Datagrams that are not back after this long are lost.
const LOST: Duration = Duration::from_millis(50);

/// What the kernel takes as one message, in bytes and in datagrams.
const SEGMENTED_MAX: usize = 65_507;
const SEGMENTS_MAX: usize = 64;

/// The largest datagram that is sent.
const LARGEST: usize = 2048;

struct Peer {
    socket: UdpSocket,
    since: VecDeque<Instant>,
}

pub fn run(options: &Options) -> Result<String, Failure> {
    let Options { size, depth, .. } = *options;
    if size > LARGEST {
        return Err("these datagrams have 2048 bytes at most".into());
    }
    if options.segmented && (size * depth > SEGMENTED_MAX || depth > SEGMENTS_MAX) {
        return Err("so much does not go into one message".into());
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut peers = Vec::new();
    for token in 0..options.connections {
        let socket = connect(&options.at)?;
        if options.segmented {
            segment(&socket, u16::try_from(size)?)?;
        }
        epoll::add(&epoll, &socket, EventData::new_u64(token as u64), EventFlags::IN)?;
        peers.push(Peer { socket, since: VecDeque::with_capacity(depth) });
    }
    let mut meter = Meter::new(options)?;
    let mut outgoing = match options.segmented {
        true => Outgoing::Together { bytes: vec![b'm'; depth * size], size },
        false => {
            let mut batch = Batch::new(depth, size);
            (0..depth).for_each(|index| batch.datagram(index).fill(b'm'));
            Outgoing::Each(batch)
        }
    };
    let mut incoming = match options.segmented {
        true => Batch::new(8, DATAGRAM_MAX),
        false => Batch::new(depth.min(64), LARGEST),
    };
    for peer in &mut peers {
        refill(peer, depth, &mut outgoing)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(64);
    loop {
        let now = Instant::now();
        if !meter.goes_on(now)? {
            return meter.json("udp");
        }
        events.clear();
        let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in &events {
            let peer = &mut peers[event.data.u64() as usize];
            let count = match incoming.receive(peer.socket.as_fd()) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let count: usize =
                (0..count).map(|index| incoming.datagram(index).len().div_ceil(size)).sum();
            let now = Instant::now();
            // One that was given up for lost and came late is nobody's.
            for since in peer.since.drain(..count.min(peer.since.len())) {
                meter.message(since, now);
            }
            refill(peer, depth, &mut outgoing)?;
        }
        let now = Instant::now();
        for peer in &mut peers {
            if peer.since.front().is_none_or(|since| now.duration_since(*since) > LOST) {
                meter.lost(peer.since.len());
                peer.since.clear();
                refill(peer, depth, &mut outgoing)?;
            }
        }
    }
}

enum Outgoing {
    Each(Batch),
    Together { bytes: Vec<u8>, size: usize },
}

impl Outgoing {
    fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        match self {
            Outgoing::Each(batch) => batch.send(socket.as_fd(), 0, count),
            Outgoing::Together { bytes, size } => {
                Ok(socket.send(&bytes[..count * *size])?.div_ceil(*size))
            }
        }
    }
}

/// Sends until as many are under way as should be.
fn refill(peer: &mut Peer, depth: usize, outgoing: &mut Outgoing) -> Result<(), Failure> {
    let now = Instant::now();
    let enough = match outgoing {
        Outgoing::Each(_) => depth,
        Outgoing::Together { .. } => depth / 2 + 1,
    };
    while peer.since.len() < enough {
        let missing = depth - peer.since.len();
        match outgoing.send(&peer.socket, missing) {
            Ok(sent) => peer.since.extend(std::iter::repeat_n(now, sent)),
            // The socket is full: the rest goes with the next turn.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A socket connected to the server, which has answered on it.
pub fn connect(at: &str) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let deadline = Instant::now() + START;
    let mut buffer = [0; 64];
    while Instant::now() < deadline {
        // Refused as long as nobody listens.
        if socket.send(b"?").is_ok() && socket.recv(&mut buffer).is_ok() {
            // Answers to earlier questions.
            while socket.recv(&mut buffer).is_ok() {}
            socket.set_read_timeout(None)?;
            return Ok(socket);
        }
    }
    Err("nobody answers datagrams".into())
}
