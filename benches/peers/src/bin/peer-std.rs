//! The standard library: a thread for each connection. Where all hear all, the thread that has read a
//! line writes it to everyone; one who does not read would hold up all, as it goes with blocking writes.

use peers::protocol::{GREETING, Service, Session};
use peers::{Arguments, DATAGRAM_MAX, Transport, connection_buffer};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    let service = arguments.service;
    match arguments.transport {
        Transport::Tcp => {
            let listener = TcpListener::from(OwnedFd::from(arguments.listen()?));
            let room = Room::default();
            for stream in listener.incoming() {
                let stream = stream?;
                stream.set_nodelay(true)?;
                if service == Service::Fan {
                    let (stream, room) = (Arc::new(stream), room.clone());
                    start(move || hear(&stream, &room))?;
                } else {
                    start(move || serve(stream, service))?;
                }
            }
        }
        Transport::Unix => {
            let listener = UnixListener::from(OwnedFd::from(arguments.listen()?));
            for stream in listener.incoming() {
                let stream = stream?;
                start(move || serve(stream, service))?;
            }
        }
        Transport::Udp => {
            let socket = UdpSocket::bind(arguments.address())?;
            let mut buffer = vec![0; DATAGRAM_MAX];
            loop {
                let (length, from) = socket.recv_from(&mut buffer)?;
                let length = service.answer_datagram(&mut buffer[..length]);
                socket.send_to(&buffer[..length], from)?;
            }
        }
    }
    Ok(())
}

fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

fn serve(mut stream: impl Read + Write, service: Service) {
    let mut buffer = vec![0; connection_buffer()];
    let (mut session, mut out) = (Session::new(service), Vec::new());
    while let Ok(length) = stream.read(&mut buffer) {
        let Ok(answer) = session.answer(&buffer[..length], &mut out) else { return };
        if length == 0 || stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// Everyone. Who holds the lock writes to all, so that all get the lines in the same order.
type Room = Arc<Mutex<Vec<Arc<TcpStream>>>>;

fn hear(stream: &Arc<TcpStream>, room: &Room) {
    let members = || room.lock().expect("nobody panics with the lock held");
    {
        let mut members = members();
        // Nothing else is said to it before. If it fails, reading does too.
        let _ = (&**stream).write_all(GREETING);
        members.push(stream.clone());
    }
    let mut buffer = vec![0; connection_buffer()];
    let (mut session, mut out) = (Session::new(Service::Fan), Vec::new());
    while let Ok(length @ 1..) = (&**stream).read(&mut buffer) {
        let Ok(lines) = session.answer(&buffer[..length], &mut out) else { break };
        for member in members().iter() {
            // Who has left is about to be taken out.
            let _ = (&**member).write_all(lines);
        }
    }
    members().retain(|member| !Arc::ptr_eq(member, stream));
}
