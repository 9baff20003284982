//! A bare loop around epoll(7), level-triggered, with one read buffer for all connections: what one
//! writes by hand when nothing but this protocol matters. Datagrams go many to a system call.

use peers::datagrams::Batch;
use peers::protocol::{GREETING, Service, Session, UNSENT_MAX};
use peers::{Arguments, DATAGRAM_MAX, LOOP_BUFFER, Transport};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 256;

struct Connection {
    socket: OwnedFd,
    session: Session,
    /// What the kernel did not take at once, and how much of it has been written since. Nothing is
    /// read meanwhile.
    unsent: Vec<u8>,
    written: usize,
    waits_to_write: bool,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    match arguments.transport {
        Transport::Udp => datagrams(&arguments),
        _ => streams(&arguments),
    }
}

fn streams(arguments: &Arguments) -> io::Result<()> {
    let listener = arguments.listen()?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let (mut buffer, mut out) = (vec![0; LOOP_BUFFER], Vec::new());
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                while let Ok(socket) = accept_with(&listener, flags) {
                    if arguments.transport == Transport::Tcp {
                        sockopt::set_tcp_nodelay(&socket, true)?;
                    }
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    epoll::add(&epoll, &socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
                    let session = Session::new(arguments.service);
                    let (unsent, written, waits_to_write) = (Vec::new(), 0, false);
                    let mut connection =
                        Connection { socket, session, unsent, written, waits_to_write };
                    if arguments.service == Service::Fan {
                        say(&mut connection, GREETING);
                    }
                    connections[slot] = Some(connection);
                }
                continue;
            }
            let slot = token as usize;
            let Some(connection) = &mut connections[slot] else { continue };
            let answer = turn(connection, &mut buffer, &mut out);
            let to_all =
                arguments.service == Service::Fan && answer.is_some_and(|it| !it.is_empty());
            let receivers = if to_all { 0..connections.len() } else { slot..slot + 1 };
            for slot in receivers {
                let Some(connection) = &mut connections[slot] else { continue };
                if !answer.is_some_and(|answer| say(connection, answer)) {
                    // Closing the descriptor takes it out of the epoll set.
                    connections[slot] = None;
                    free.push(slot);
                    continue;
                }
                let waits_to_write = !connection.unsent.is_empty();
                if waits_to_write != connection.waits_to_write {
                    connection.waits_to_write = waits_to_write;
                    let flags = if waits_to_write { EventFlags::OUT } else { EventFlags::IN };
                    let data = EventData::new_u64(slot as u64);
                    epoll::modify(&epoll, &connection.socket, data, flags)?;
                }
            }
        }
    }
}

/// One write, or one read; what is to be said for it, or `None` when the connection is over.
fn turn<'a>(
    connection: &mut Connection,
    buffer: &'a mut [u8],
    out: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let Connection { socket, session, unsent, written, .. } = connection;
    if !unsent.is_empty() {
        match send(socket.as_fd(), &unsent[*written..], SendFlags::NOSIGNAL) {
            Ok(length) => *written += length,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return None,
        }
        if *written == unsent.len() {
            unsent.clear();
            *written = 0;
        }
        return Some(&[]);
    }
    match recv(socket.as_fd(), &mut *buffer, RecvFlags::empty()) {
        Ok((0, _)) => None,
        Ok((length, _)) => session.answer(&buffer[..length], out).ok(),
        Err(Errno::AGAIN | Errno::INTR) => Some(&[]),
        Err(_) => None,
    }
}

/// Says whether the connection goes on.
fn say(connection: &mut Connection, bytes: &[u8]) -> bool {
    let Connection { socket, unsent, .. } = connection;
    let mut taken = 0;
    if unsent.is_empty() && !bytes.is_empty() {
        taken = match send(socket.as_fd(), bytes, SendFlags::NOSIGNAL) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return false,
        };
    }
    unsent.extend_from_slice(&bytes[taken..]);
    unsent.len() <= UNSENT_MAX
}

fn datagrams(arguments: &Arguments) -> io::Result<()> {
    let address = arguments.address();
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.bind(&address.into())?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &socket, EventData::new_u64(0), EventFlags::IN)?;
    let mut events: Vec<Event> = Vec::with_capacity(1);
    let mut batch = Batch::new(32, DATAGRAM_MAX);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        let Ok(count) = batch.receive(socket.as_fd()) else { continue };
        for index in 0..count {
            let length = arguments.service.answer_datagram(batch.datagram(index));
            batch.set_length(index, length);
        }
        let mut sent = 0;
        while sent < count {
            // What loopback does not take is lost, as datagrams are.
            sent += batch.send(socket.as_fd(), sent, count).unwrap_or(1);
        }
    }
}
