//! Short connections: connect, one message, close; C of them at a time.

use super::meter::Meter;
use super::streams::message;
use super::{Failure, Options, START};
use peers::Transport;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// Addresses that connections come from, in turn: a closed one keeps its port for a minute.
const SOURCES: usize = 100;

struct Short {
    socket: Socket,
    since: Instant,
    received: usize,
}

pub fn run(options: &Options) -> Result<String, Failure> {
    let server: SocketAddr = options.at.parse()?;
    if !server.ip().is_loopback() || !server.is_ipv4() {
        return Err("churn wants a server on 127.0.0.1".into());
    }
    // Wait until it listens.
    drop(super::streams::connect(Transport::Tcp, &options.at)?);
    let message = message(options.service, options.size);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut opened = 0;
    let mut shorts = Vec::new();
    for token in 0..options.connections {
        shorts.push(open(&epoll, token, server, &mut opened, &message)?);
    }
    let mut meter = Meter::new(options)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    while meter.goes_on(Instant::now())? {
        events.clear();
        let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&tenth))?;
        for event in &events {
            let token = event.data.u64() as usize;
            let short = &mut shorts[token];
            let flags = RecvFlags::DONTWAIT;
            let (_, length) = recv(short.socket.as_fd(), buffer.as_mut_slice(), flags)?;
            if length == 0 {
                return Err("the server closed a connection first".into());
            }
            short.received += length;
            if short.received >= message.len() {
                meter.message(short.since, Instant::now());
                // Drops the finished one, which closes it.
                *short = open(&epoll, token, server, &mut opened, &message)?;
            }
        }
    }
    meter.json("churn")
}

fn open(
    epoll: &OwnedFd,
    token: usize,
    server: SocketAddr,
    opened: &mut usize,
    message: &[u8],
) -> Result<Short, Failure> {
    let since = Instant::now();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    port_at_connect(&socket)?;
    let source = Ipv4Addr::new(127, 0, 1, 1 + (*opened % SOURCES) as u8);
    *opened += 1;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&server.into(), START)?;
    let sent = send(&socket, message, SendFlags::NOSIGNAL)?;
    if sent < message.len() {
        return Err("the message does not fit into a socket's buffer".into());
    }
    epoll::add(epoll, &socket, EventData::new_u64(token as u64), EventFlags::IN)?;
    Ok(Short { socket, since, received: 0 })
}

/// Has the kernel choose the port when it knows the other end, so that ports are unique only among
/// connections to the same server: `IP_BIND_ADDRESS_NO_PORT`.
fn port_at_connect(socket: &Socket) -> Result<(), Failure> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
