//! tokio on one thread: a task for each connection; where all hear all, one for each direction, and a
//! `broadcast` channel between them.

use peers::protocol::{GREETING, Service, Session};
use peers::{Arguments, DATAGRAM_MAX, Transport, connection_buffer};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

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
            let room = Sender::new(ROOM_LINES);
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                if service == Service::Fan {
                    let (reading, writing) = stream.into_split();
                    tokio::spawn(hear(reading, room.clone()));
                    tokio::spawn(tell(writing, room.subscribe()));
                } else {
                    tokio::spawn(serve(stream, service));
                }
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

/// Lines that a channel keeps for its slowest receiver: as many of 64 bytes as are sockeye's limit for
/// a connection.
const ROOM_LINES: usize = 16 * 1024;

/// What a member says goes to the room, line by line.
async fn hear(mut stream: OwnedReadHalf, room: Sender<Arc<[u8]>>) {
    let mut buffer = vec![0; connection_buffer()];
    let (mut session, mut out) = (Session::new(Service::Fan), Vec::new());
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let Ok(lines) = session.answer(&buffer[..length], &mut out) else { return };
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            // It fails when the last member has just left.
            let _ = room.send(line.into());
        }
    }
}

/// What is said in the room goes to a member: written into a buffer, which is flushed when there is no
/// more. Who is too slow for the room is cut off; who has left is found out by writing.
async fn tell(stream: OwnedWriteHalf, mut room: Receiver<Arc<[u8]>>) -> io::Result<()> {
    let mut stream = BufWriter::new(stream);
    stream.write_all(GREETING).await?;
    stream.flush().await?;
    loop {
        let mut line = match room.recv().await {
            Ok(line) => line,
            Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
        };
        loop {
            stream.write_all(&line).await?;
            line = match room.try_recv() {
                Ok(line) => line,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return Ok(()),
            };
        }
        stream.flush().await?;
    }
}
