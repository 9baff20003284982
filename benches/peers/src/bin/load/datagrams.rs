//! UDP: C sockets with D datagrams under way on each.

use super::meter::Meter;
use super::{Failure, Options, START};
use peers::datagrams::Batch;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Datagrams that are not back after this long are lost.
const LOST: Duration = Duration::from_millis(50);

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
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut peers = Vec::new();
    for token in 0..options.connections {
        let socket = connect(&options.at)?;
        epoll::add(&epoll, &socket, EventData::new_u64(token as u64), EventFlags::IN)?;
        peers.push(Peer { socket, since: VecDeque::with_capacity(depth) });
    }
    let mut meter = Meter::new(options)?;
    let mut outgoing = Batch::new(depth, size);
    for index in 0..depth {
        outgoing.datagram(index).fill(b'm');
    }
    let mut incoming = Batch::new(depth.min(64), LARGEST);
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

/// Sends until as many are under way as should be.
fn refill(peer: &mut Peer, depth: usize, outgoing: &mut Batch) -> Result<(), Failure> {
    let now = Instant::now();
    while peer.since.len() < depth {
        let missing = depth - peer.since.len();
        match outgoing.send(peer.socket.as_fd(), 0, missing) {
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
