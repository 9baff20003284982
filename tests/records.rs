//! Seqpacket: connections whose writes are messages, on every engine.

mod matrix;

use matrix::{Cell, Kind, eventually, in_time, next, stop};
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::{AnyEngine, Threads};
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::socket::UnixSeqPacket;
use sockeye::{Client, Server};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

macro_rules! on_engines {
    ($($test:ident),+ $(,)?) => {
        $($crate::matrix::on_kinds! { $test [unix_seqpacket UnixSeqPacket] })+
    };
}

on_engines! {
    every_message_is_a_frame_and_every_frame_a_message,
    an_empty_message_is_an_empty_frame_and_the_end_is_the_end,
    a_message_may_hold_several_frames,
    the_peer_may_close_its_side_and_still_hear_the_reply,
    a_bad_message_ends_its_connection_and_no_other,
    a_reader_that_stops_reading_loses_nothing,
    a_paused_handler_gets_the_rest_of_a_message_later,
    a_message_longer_than_the_buffer_ends_the_connection,
    clients_speak_in_frames,
}

fn connect(cell: &Cell, server: &sockeye::ServerHandle) -> UnixSeqPacket {
    assert_eq!(cell.kind, Kind::UnixSeqPacket);
    let at = server.local_endpoints()[0].unix_addr().unwrap().clone();
    let socket = UnixSeqPacket::connect(at).unwrap();
    socket.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UnixSeqPacket) -> Option<Vec<u8>> {
    let mut message = vec![0; 300_000];
    let received = socket.recv(&mut message).unwrap()?;
    assert!(!received.truncated);
    message.truncate(received.len);
    Some(message)
}

fn every_message_is_a_frame_and_every_frame_a_message(cell: &Cell) {
    let server = cell.server().codec(Bytes::default()).serve(|bytes, cx| cx.send(bytes)).unwrap();
    let client = connect(cell, &server);
    for length in [1, 2, 4095, 4096, 70_000] {
        let message: Vec<u8> = (0..length).map(|n: u32| n as u8).collect();
        client.send(&message).unwrap();
        client.send(b"next").unwrap();
        assert_eq!(receive(&client).unwrap(), message);
        assert_eq!(receive(&client).unwrap(), b"next");
    }
    drop(client);
    stop(&server);
}

fn an_empty_message_is_an_empty_frame_and_the_end_is_the_end(cell: &Cell) {
    let (news, frames) = mpsc::channel();
    struct Noted(mpsc::Sender<String>);
    impl Handler<Bytes> for Noted {
        fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Bytes>) -> Outcome {
            cx.send(bytes);
            Ok(self.0.send(format!("{} bytes", bytes.len()))?)
        }
        fn on_close(&mut self, reason: &CloseReason) {
            let _ = self.0.send(reason.to_string());
        }
    }
    let server = cell.server().codec(Bytes::default());
    let server = server.serve_with(move |_| Noted(news.clone())).unwrap();
    let client = connect(cell, &server);
    client.send(b"").unwrap();
    assert_eq!(receive(&client).unwrap(), b"");
    client.send(b"").unwrap();
    drop(client);
    let heard: Vec<String> = (0..3).map(|_| next(&frames)).collect();
    assert_eq!(heard[..2], ["0 bytes", "0 bytes"], "{heard:?}");
    stop(&server);
}

fn a_message_may_hold_several_frames(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    let client = connect(cell, &server);
    client.send(b"one\ntwo\nthree").unwrap();
    for line in ["one", "two", "three"] {
        assert_eq!(receive(&client).unwrap(), line.as_bytes());
    }
    drop(client);
    stop(&server);
}

fn the_peer_may_close_its_side_and_still_hear_the_reply(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    let client = connect(cell, &server);
    client.send(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(&client).unwrap(), b"last words");
    assert_eq!(receive(&client), None);
    assert_eq!(stop(&server).counters.closed.peer_closed, 1);
}

fn a_bad_message_ends_its_connection_and_no_other(cell: &Cell) {
    let server = cell.server().codec(Lines::at_most(10)).serve(|line, cx| cx.send(line)).unwrap();
    let (bad, good) = (connect(cell, &server), connect(cell, &server));
    bad.send(b"good\nfar too long for this").unwrap();
    assert_eq!(receive(&bad).unwrap(), b"good");
    assert_eq!(receive(&bad), None);
    good.send(b"fine").unwrap();
    assert_eq!(receive(&good).unwrap(), b"fine");
    drop((bad, good));
    assert_eq!(stop(&server).counters.closed.frame, 1);
}

fn a_reader_that_stops_reading_loses_nothing(cell: &Cell) {
    const MESSAGES: usize = 2000;
    let server = cell.server().codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    let client = connect(cell, &server);
    let sender = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        (0..MESSAGES).for_each(|n| {
            sender.send(format!("{n:0>1000}").as_bytes()).unwrap();
        });
    });
    // The server's output and then its input back up, and everything waits for this reader.
    let client = in_time("the messages come back", move || {
        for n in 0..MESSAGES {
            assert_eq!(receive(&client).unwrap(), format!("{n:0>1000}").as_bytes());
        }
        client
    });
    writer.join().unwrap();
    drop(client);
    stop(&server);
}

fn a_paused_handler_gets_the_rest_of_a_message_later(cell: &Cell) {
    struct Pausing;
    impl Handler<Lines> for Pausing {
        fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
            cx.send(line);
            cx.pause();
            cx.set_timer(Duration::from_millis(1));
            Ok(())
        }
        fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
            cx.resume();
            Ok(())
        }
    }
    let server = cell.server().codec(Lines::default()).serve_with(|_| Pausing).unwrap();
    let client = connect(cell, &server);
    client.send(b"a\nb\nc").unwrap();
    client.send(b"d").unwrap();
    for line in [b"a", b"b", b"c", b"d"] {
        assert_eq!(receive(&client).unwrap(), line);
    }
    drop(client);
    stop(&server);
}

fn a_message_longer_than_the_buffer_ends_the_connection(cell: &Cell) {
    let server = cell.server().codec(Bytes::default()).serve(|bytes, cx| cx.send(bytes)).unwrap();
    let client = connect(cell, &server);
    if socket2::SockRef::from(&client).set_send_buffer_size(1 << 20).is_err() {
        panic!("the send buffer cannot be set");
    }
    match client.send(&vec![7; 300_000]) {
        Ok(_) => {
            assert_eq!(receive(&client), None);
            eventually("the connection is counted", || server.counters().closed.frame == 1);
        }
        // The system's limits do not let such a message through at all.
        Err(error) => assert_eq!(error.raw_os_error(), Some(90), "{error}"),
    }
    drop(client);
    stop(&server);
}

fn clients_speak_in_frames(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    let client = Client::to(&server.local_endpoints()[0]).timeout(matrix::PATIENCE);
    let mut client = client.codec(Lines::default()).connect().unwrap();
    for line in ["hello", "", "again"] {
        client.send(line).unwrap();
        assert_eq!(client.receive().unwrap(), line);
    }
    client.shutdown_write().unwrap();
    assert_eq!(client.receive().unwrap_err().kind(), sockeye::ErrorKind::Closed);
    stop(&server);
}

#[test]
fn unix_datagram_clients_have_a_name_to_be_answered_at() {
    for engine in AnyEngine::all() {
        let cell = Cell::new("threads", Kind::UnixDatagram);
        let server = Server::on(cell.endpoint()).engine(engine).codec(Lines::default());
        let server = server.serve(|line, cx| cx.send(line)).unwrap();
        let client = Client::to(&server.local_endpoints()[0]).timeout(matrix::PATIENCE);
        let mut client = client.codec(Lines::default()).connect().unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.receive().unwrap(), "hello");
        stop(&server);
    }
}

#[test]
fn a_blocking_handler_is_refused_where_there_is_no_stream() {
    let cell = Cell::new("threads", Kind::UnixSeqPacket);
    let server = Server::on(cell.endpoint()).engine(Threads::default());
    let error = server.serve_blocking(|_| ()).unwrap_err();
    assert_eq!(error.kind(), sockeye::ErrorKind::Unsupported, "{error}");
}
