//! quinn-udp, datagrams only: what comes in one segmented buffer goes back in one. A loop around poll(2).

use peers::protocol::Service;
use peers::{Arguments, DATAGRAM_MAX, Transport};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    if arguments.transport != Transport::Udp {
        return Err(io::Error::other("quinn-udp has datagrams only"));
    }
    let socket = UdpSocket::bind(arguments.address())?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let mut memory = vec![0; BATCH_SIZE * DATAGRAM_MAX];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut replies = Vec::with_capacity(DATAGRAM_MAX);
    loop {
        let mut buffers: Vec<IoSliceMut<'_>> =
            memory.chunks_exact_mut(DATAGRAM_MAX).map(IoSliceMut::new).collect();
        let count = match state.recv(UdpSockRef::from(&socket), &mut buffers, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&socket)?;
                continue;
            }
            Err(_) => continue,
        };
        for (meta, buffer) in metas.iter().zip(&mut buffers).take(count) {
            answer(&state, &socket, arguments.service, meta, &mut buffer[..meta.len], &mut replies);
        }
    }
}

/// All datagrams of a buffer have one length, save the last one, which may be shorter: so have the replies.
fn answer(
    state: &UdpSocketState,
    socket: &UdpSocket,
    service: Service,
    meta: &RecvMeta,
    datagrams: &mut [u8],
    replies: &mut Vec<u8>,
) {
    let send = |contents: &[u8], segment_size| {
        let (destination, src_ip) = (meta.addr, meta.dst_ip);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip };
        // What loopback does not take is lost, as datagrams are.
        let _ = state.send(UdpSockRef::from(socket), &transmit);
    };
    if datagrams.len() <= meta.stride {
        let length = service.answer_datagram(datagrams);
        return send(&datagrams[..length], None);
    }
    for several in datagrams.chunks_mut(meta.stride * state.max_gso_segments()) {
        replies.clear();
        let mut length = 0;
        for datagram in several.chunks_mut(meta.stride) {
            let reply = service.answer_datagram(datagram);
            length = length.max(reply);
            replies.extend_from_slice(&datagram[..reply]);
        }
        send(replies, Some(length));
    }
}

fn wait(socket: &UdpSocket) -> io::Result<()> {
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], None) {
        Err(Errno::INTR) => Ok(()),
        polled => Ok(polled.map(drop)?),
    }
}
