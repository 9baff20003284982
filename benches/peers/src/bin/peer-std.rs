//! The standard library: a thread for each connection.

use peers::protocol::{Service, Session};
use peers::{Arguments, DATAGRAM_MAX, Transport, connection_buffer};
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::thread;

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    let service = arguments.service;
    match arguments.transport {
        Transport::Tcp => {
            let listener = TcpListener::from(OwnedFd::from(arguments.listen()?));
            for stream in listener.incoming() {
                let stream = stream?;
                stream.set_nodelay(true)?;
                start(move || serve(stream, service))?;
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
