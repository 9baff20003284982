//! tokio on one thread: a task for each connection.

use peers::protocol::{Service, Session};
use peers::{Arguments, DATAGRAM_MAX, Transport, connection_buffer};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener};

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let service = arguments.service;
    match arguments.transport {
        Transport::Tcp => {
            let listener = arguments.listen()?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(OwnedFd::from(listener).into())?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(serve(stream, service));
            }
        }
        Transport::Unix => {
            let listener = arguments.listen()?;
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(OwnedFd::from(listener).into())?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(serve(stream, service));
            }
        }
        Transport::Udp => {
            let socket = UdpSocket::bind(arguments.address()).await?;
            let mut buffer = vec![0; DATAGRAM_MAX];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await?;
                let length = service.answer_datagram(&mut buffer[..length]);
                socket.send_to(&buffer[..length], from).await?;
            }
        }
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, service: Service) {
    let mut buffer = vec![0; connection_buffer()];
    let (mut session, mut out) = (Session::new(service), Vec::new());
    while let Ok(length) = stream.read(&mut buffer).await {
        let Ok(answer) = session.answer(&buffer[..length], &mut out) else { return };
        if length == 0 || stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
