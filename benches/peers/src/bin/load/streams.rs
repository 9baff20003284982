//! TCP and Unix streams: C connections on one epoll loop.

use super::meter::Meter;
use super::{Failure, Options, START};
use peers::Transport;
use peers::protocol::Service;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::Timespec;
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// Messages of which several are read at once, and how many.
const SMALL: usize = 1024;
const UNREAD_MAX: usize = 16;

struct Connection {
    socket: Socket,
    /// When each message under way could have been sent, the oldest first.
    since: VecDeque<Instant>,
    /// Bytes of the oldest message that are back.
    received: usize,
    /// Messages that are back and not read yet: see [`Load::heard`].
    unread: usize,
    /// Bytes that wait to be sent, and how far into a message the first of them is.
    unsent: usize,
    position: usize,
    waits_to_write: bool,
}

struct Load {
    epoll: OwnedFd,
    size: usize,
    /// Messages behind each other, to be sent from any byte of the first one on.
    pattern: Vec<u8>,
    buffer: Vec<u8>,
    receiving: RecvFlags,
    interest: EventFlags,
}

pub fn run(options: &Options, transport: Transport) -> Result<String, Failure> {
    let Options { size, depth, .. } = *options;
    // With one small message under way, an edge is an answer.
    let lazy = depth == 1 && size <= SMALL;
    let interest = if lazy { EventFlags::IN | EventFlags::ET } else { EventFlags::IN };
    let mut load = Load {
        interest,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        size,
        pattern: message(options.service, size).repeat(depth + 1),
        buffer: vec![0; 256 * 1024],
        // TCP counts the bytes and throws them away: that spares the client a copy, and so lets it
        // keep the server busy. `check` is who looks at them.
        receiving: match transport {
            Transport::Tcp => RecvFlags::TRUNC,
            _ => RecvFlags::empty(),
        },
    };
    let mut connections = Vec::new();
    for token in 0..options.connections {
        let socket = connect(transport, &options.at)?;
        socket.set_nonblocking(true)?;
        epoll::add(&load.epoll, &socket, EventData::new_u64(token as u64), interest)?;
        connections.push(Connection {
            socket,
            since: VecDeque::with_capacity(depth),
            received: 0,
            unread: 0,
            unsent: 0,
            position: 0,
            waits_to_write: false,
        });
    }
    let mut meter = Meter::new(options)?;
    for (token, connection) in connections.iter_mut().enumerate() {
        connection.since.resize(depth, Instant::now());
        connection.unsent = depth * size;
        load.write(connection, token)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(256);
    while meter.goes_on(Instant::now())? {
        events.clear();
        let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        epoll::wait(&load.epoll, spare_capacity(&mut events), Some(&tenth))?;
        for event in &events {
            let token = event.data.u64() as usize;
            let connection = &mut connections[token];
            match lazy {
                true => load.heard(connection, &mut meter)?,
                false => load.read(connection, &mut meter)?,
            }
            load.write(connection, token)?;
        }
    }
    meter.json(transport.name())
}

impl Load {
    /// The answer to the one message under way has come. It is read with the next ones, so that the
    /// client spends a system call on few of them: a client that costs as much as the server would
    /// hold it up, and hide how servers differ.
    fn heard(&mut self, connection: &mut Connection, meter: &mut Meter) -> Result<(), Failure> {
        let now = Instant::now();
        let since = connection.since.pop_front().ok_or("more came back than was sent")?;
        meter.message(since, now);
        connection.since.push_back(now);
        connection.unsent += self.size;
        connection.unread += 1;
        if connection.unread == UNREAD_MAX {
            let socket = connection.socket.as_fd();
            let (_, length) = recv(socket, self.buffer.as_mut_slice(), self.receiving)?;
            if length != UNREAD_MAX * self.size {
                return Err("an answer came in pieces, or not at all".into());
            }
            connection.unread = 0;
        }
        Ok(())
    }

    fn read(&mut self, connection: &mut Connection, meter: &mut Meter) -> Result<(), Failure> {
        let socket = connection.socket.as_fd();
        let length = match recv(socket, self.buffer.as_mut_slice(), self.receiving) {
            Ok((_, 0)) => return Err("the server closed a connection".into()),
            Ok((_, length)) => length.min(self.buffer.len()),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        connection.received += length;
        let now = Instant::now();
        while connection.received >= self.size {
            connection.received -= self.size;
            let since = connection.since.pop_front().ok_or("more came back than was sent")?;
            meter.message(since, now);
            connection.since.push_back(now);
            connection.unsent += self.size;
        }
        Ok(())
    }

    fn write(&mut self, connection: &mut Connection, token: usize) -> Result<(), Failure> {
        while connection.unsent > 0 {
            let rest = &self.pattern[connection.position..];
            let rest = &rest[..rest.len().min(connection.unsent)];
            match send(connection.socket.as_fd(), rest, SendFlags::NOSIGNAL) {
                Ok(length) => {
                    connection.unsent -= length;
                    connection.position = (connection.position + length) % self.size;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let waits_to_write = connection.unsent > 0;
        if waits_to_write != connection.waits_to_write {
            connection.waits_to_write = waits_to_write;
            let mut flags = self.interest;
            flags.set(EventFlags::OUT, waits_to_write);
            let data = EventData::new_u64(token as u64);
            epoll::modify(&self.epoll, &connection.socket, data, flags)?;
        }
        Ok(())
    }
}

/// Letters, as many as asked for; for lines, the last of them is the end.
pub fn message(service: Service, size: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
    if service != Service::Echo {
        message[size - 1] = b'\n';
    }
    message
}

/// Connects, and waits for a server that does not listen yet.
pub fn connect(transport: Transport, at: &str) -> Result<Socket, Failure> {
    let deadline = Instant::now() + START;
    loop {
        match try_connect(transport, at) {
            Ok(socket) => return Ok(socket),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn try_connect(transport: Transport, at: &str) -> io::Result<Socket> {
    let (domain, addr) = match transport {
        Transport::Unix => (Domain::UNIX, SockAddr::unix(at)?),
        _ => {
            let addr: std::net::SocketAddr = at.parse().map_err(io::Error::other)?;
            (Domain::for_address(addr), addr.into())
        }
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if transport == Transport::Tcp {
        socket.connect_timeout(&addr, START)?;
        socket.set_tcp_nodelay(true)?;
    } else {
        socket.connect(&addr)?;
    }
    Ok(socket)
}
