//! mio on one thread: one read buffer for all connections, and each is read until it would block, as
//! mio's documentation asks.

use mio::event::Source;
use mio::net::{TcpListener, UdpSocket, UnixListener};
use mio::{Events, Interest, Poll, Token};
use peers::protocol::{GREETING, Service, Session, UNSENT_MAX};
use peers::{Arguments, DATAGRAM_MAX, LOOP_BUFFER, Transport};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

const LISTENER: Token = Token(usize::MAX - 1);

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    if arguments.transport == Transport::Udp {
        return datagrams(&arguments);
    }
    let listener = arguments.listen()?;
    listener.set_nonblocking(true)?;
    let listener = OwnedFd::from(listener);
    match arguments.transport {
        Transport::Unix => {
            let listener = UnixListener::from_std(listener.into());
            streams(listener, |listener| Ok(listener.accept()?.0), arguments.service)
        }
        _ => {
            let accept = |listener: &TcpListener| {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            };
            streams(TcpListener::from_std(listener.into()), accept, arguments.service)
        }
    }
}

struct Connection<S> {
    stream: S,
    session: Session,
    /// What the kernel did not take at once, and how much of it has been written since.
    unsent: Vec<u8>,
    written: usize,
    waits_to_write: bool,
}

fn streams<L: Source, S: Source + Read + Write>(
    mut listener: L,
    accept: impl Fn(&L) -> io::Result<S>,
    service: Service,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut connections: Vec<Option<Connection<S>>> = Vec::new();
    let mut free = Vec::new();
    let (mut buffer, mut out) = (vec![0; LOOP_BUFFER], Vec::new());
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok(mut stream) = accept(&listener) {
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
                    let session = Session::new(service);
                    let (unsent, written, waits_to_write) = (Vec::new(), 0, false);
                    let mut connection =
                        Connection { stream, session, unsent, written, waits_to_write };
                    if service == Service::Fan {
                        say(&mut connection, GREETING);
                    }
                    connections[slot] = Some(connection);
                }
                continue;
            }
            let slot = event.token().0;
            // Until the kernel has no more to read, or takes no more.
            while let Some(connection) = &mut connections[slot] {
                let heard = turn(connection, &mut buffer, &mut out);
                let to_all = service == Service::Fan && matches!(heard, Heard::Answer(_));
                let receivers = if to_all { 0..connections.len() } else { slot..slot + 1 };
                for slot in receivers {
                    let Some(connection) = &mut connections[slot] else { continue };
                    let goes_on = match heard {
                        Heard::Answer(answer) => say(connection, answer),
                        Heard::Nothing => true,
                        Heard::End => false,
                    };
                    if !goes_on {
                        poll.registry().deregister(&mut connection.stream)?;
                        connections[slot] = None;
                        free.push(slot);
                        continue;
                    }
                    let waits_to_write = !connection.unsent.is_empty();
                    if waits_to_write != connection.waits_to_write {
                        connection.waits_to_write = waits_to_write;
                        let interest = match waits_to_write {
                            true => Interest::READABLE | Interest::WRITABLE,
                            false => Interest::READABLE,
                        };
                        let stream = &mut connection.stream;
                        poll.registry().reregister(stream, Token(slot), interest)?;
                    }
                }
                if !matches!(heard, Heard::Answer(_)) {
                    break;
                }
            }
        }
    }
}

/// What a turn of a connection comes to.
#[derive(Clone, Copy)]
enum Heard<'a> {
    /// This is to be said.
    Answer(&'a [u8]),
    /// The kernel has no more, or takes no more.
    Nothing,
    End,
}

/// Writes what is unsent, and reads once if that is all.
fn turn<'a, S: Read + Write>(
    connection: &mut Connection<S>,
    buffer: &'a mut [u8],
    out: &'a mut Vec<u8>,
) -> Heard<'a> {
    let Connection { stream, session, unsent, written, .. } = connection;
    if !unsent.is_empty() {
        match write(stream, &unsent[*written..]) {
            Ok(length) => *written += length,
            Err(_) => return Heard::End,
        }
        if *written < unsent.len() {
            return Heard::Nothing;
        }
        unsent.clear();
        *written = 0;
    }
    let length = loop {
        match stream.read(buffer) {
            Ok(0) => return Heard::End,
            Ok(length) => break length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Heard::End,
        }
    };
    session.answer(&buffer[..length], out).map_or(Heard::End, Heard::Answer)
}

/// Says whether the connection goes on.
fn say<S: Write>(connection: &mut Connection<S>, bytes: &[u8]) -> bool {
    let Connection { stream, unsent, .. } = connection;
    let mut taken = 0;
    if unsent.is_empty() {
        match write(stream, bytes) {
            Ok(length) => taken = length,
            Err(_) => return false,
        }
    }
    unsent.extend_from_slice(&bytes[taken..]);
    unsent.len() <= UNSENT_MAX
}

/// As much as the kernel takes.
fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

fn datagrams(arguments: &Arguments) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut socket = UdpSocket::bind(arguments.address())?;
    poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(16);
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let length = arguments.service.answer_datagram(&mut buffer[..length]);
            // What loopback does not take is lost, as datagrams are.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
