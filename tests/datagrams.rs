//! Datagrams: a session for each peer, and no end but silence.

mod matrix;

use matrix::{Cell, Kind, eventually, expected_panic, name, next, on_datagrams, stop};
use sockeye::codec::{Bytes, Lines};
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::limits::Limits;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::Duration;

on_datagrams! {
    an_empty_datagram_is_an_empty_frame,
    every_line_of_a_datagram_is_a_frame_and_every_reply_a_datagram,
    a_malformed_datagram_is_dropped_and_its_session_lives,
    datagrams_of_peers_beyond_the_limit_are_dropped,
    a_silent_peer_is_forgotten_and_may_come_again,
    a_finished_peer_may_come_again,
    a_paused_peer_loses_what_it_sends,
    a_panic_ends_one_peer_only,
    a_remote_reaches_a_datagram_peer,
    datagrams_of_every_size_come_back_whole,
    many_peers_are_kept_apart,
}

/// Counts the frames of its peer, and does as it is told.
struct Peer {
    frames: usize,
    told: mpsc::Sender<&'static str>,
    remotes: mpsc::Sender<Remote<Lines>>,
}

impl Handler<Lines> for Peer {
    fn on_open(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        let _ = self.told.send("open");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.frames += 1;
        match line {
            "panic" => expected_panic(),
            "error" => return Err("as you like".into()),
            "remote" => drop(self.remotes.send(cx.remote())),
            "pause" => {
                cx.pause();
                drop(self.remotes.send(cx.remote()));
            }
            _ => {}
        }
        cx.send(&format!("{} {line}", self.frames));
        if line == "finish" {
            cx.finish();
        }
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.resume();
        cx.send("resumed");
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(name(reason));
    }
}

struct Served {
    server: sockeye::server::ServerHandle,
    told: mpsc::Receiver<&'static str>,
    remotes: mpsc::Receiver<Remote<Lines>>,
}

fn serve(cell: &Cell, limits: Limits) -> Served {
    let ((told_in, told), (remotes_in, remotes)) = (mpsc::channel(), mpsc::channel());
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::at_most(1000))
        .serve_with(move |_| Peer { frames: 0, told: told_in.clone(), remotes: remotes_in.clone() })
        .unwrap();
    Served { server, told, remotes }
}

fn an_empty_datagram_is_an_empty_frame(cell: &Cell) {
    let Served { server, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    assert_eq!(client.ask(""), "1 ");
    assert_eq!(client.ask("\n"), "2 ");
    assert_eq!(client.ask(""), "3 ");
    stop(&server);
    let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
    let server = cell.server().codec(Bytes::default()).serve(echo).unwrap();
    let client = cell.post(&server);
    assert_eq!(client.ask(""), "", "an empty reply is a datagram too");
    assert_eq!(client.ask("x"), "x");
    stop(&server);
}

fn every_line_of_a_datagram_is_a_frame_and_every_reply_a_datagram(cell: &Cell) {
    let Served { server, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    client.send(b"one\ntwo\r\n\nthree");
    for reply in ["1 one", "2 two", "3 ", "4 three"] {
        assert_eq!(client.receive(), reply.as_bytes());
    }
    stop(&server);
}

fn a_malformed_datagram_is_dropped_and_its_session_lives(cell: &Cell) {
    let Served { server, told, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    assert_eq!(client.ask("good"), "1 good");
    client.send(b"\xFF\xFE");
    client.send("x".repeat(1001).as_bytes());
    client.send(b"fine\nb\xFFd\nnot reached");
    assert_eq!(client.receive(), b"2 fine", "up to the bad line");
    assert_eq!(client.ask("good again"), "3 good again");
    assert_eq!(server.counters().datagrams_dropped, 3);
    assert_eq!((server.counters().datagram_peers, server.counters().open), (1, 1));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["open"]);
    stop(&server);
}

fn datagrams_of_peers_beyond_the_limit_are_dropped(cell: &Cell) {
    let mut limits = Limits::default();
    limits.peers_max = 2;
    let Served { server, told, .. } = serve(cell, limits);
    let clients: Vec<_> = (0..3).map(|_| cell.post(&server)).collect();
    assert_eq!(clients[0].ask("hello"), "1 hello");
    assert_eq!(clients[1].ask("hello"), "1 hello");
    clients[2].send(b"hello");
    eventually("it is dropped", || server.counters().datagrams_dropped == 1);
    assert_eq!(clients[0].ask("finish"), "2 finish");
    assert_eq!([next(&told), next(&told), next(&told)], ["open", "open", "finished"]);
    assert_eq!(clients[2].ask("again"), "1 again", "a place is free");
    assert_eq!(clients[1].ask("still here"), "2 still here");
    stop(&server);
}

fn a_silent_peer_is_forgotten_and_may_come_again(cell: &Cell) {
    let mut limits = Limits::default();
    limits.peer_idle_timeout = Some(Duration::from_millis(30));
    let Served { server, told, .. } = serve(cell, limits);
    let client = cell.post(&server);
    for _ in 0..2 {
        assert_eq!(client.ask("hello"), "1 hello", "a new session counts from one");
        assert_eq!([next(&told), next(&told)], ["open", "idle timeout"]);
    }
    eventually("both are counted", || server.counters().closed.idle_timeout == 2);
    eventually("both are gone", || server.counters().open == 0);
    stop(&server);
}

fn a_finished_peer_may_come_again(cell: &Cell) {
    let Served { server, told, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    assert_eq!(client.ask("finish"), "1 finish");
    assert_eq!(client.ask("hello"), "1 hello");
    client.send(b"error");
    assert_eq!(client.ask("hello"), "1 hello");
    let told: Vec<_> = (0..5).map(|_| next(&told)).collect();
    assert_eq!(told, ["open", "finished", "open", "handler", "open"]);
    stop(&server);
}

fn a_paused_peer_loses_what_it_sends(cell: &Cell) {
    let Served { server, remotes, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    assert_eq!(client.ask("pause"), "1 pause");
    client.send(b"lost");
    eventually("it is lost", || server.counters().datagrams_dropped == 1);
    next(&remotes).wake();
    assert_eq!(client.receive(), b"resumed");
    assert_eq!(client.ask("hello"), "2 hello");
    assert_eq!(server.counters().datagrams_dropped, 1);
    stop(&server);
}

fn a_panic_ends_one_peer_only(cell: &Cell) {
    let Served { server, told, .. } = serve(cell, Limits::default());
    let (client, other) = (cell.post(&server), cell.post(&server));
    assert_eq!(other.ask("hello"), "1 hello");
    client.send(b"fine\npanic\nnot reached");
    assert_eq!(client.receive(), b"1 fine", "what was said before is sent");
    assert_eq!(client.ask("hello"), "1 hello", "in a new session");
    assert_eq!(other.ask("hello"), "2 hello");
    assert_eq!(server.counters().panics, 1);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["open"; 3], "no on_close after a panic");
    stop(&server);
}

fn a_remote_reaches_a_datagram_peer(cell: &Cell) {
    let Served { server, remotes, .. } = serve(cell, Limits::default());
    let client = cell.post(&server);
    assert_eq!(client.ask("remote"), "1 remote");
    let remote = next(&remotes);
    for n in 0..100 {
        remote.send(&format!("{n}")).unwrap();
        assert_eq!(client.receive(), n.to_string().as_bytes());
    }
    remote.close();
    eventually("it is over", || remote.is_closed());
    assert_eq!(client.ask("hello"), "1 hello");
    stop(&server);
}

fn datagrams_of_every_size_come_back_whole(cell: &Cell) {
    let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
    let server = cell.server().codec(Bytes::at_most(1)).serve(echo).unwrap();
    let client = cell.post(&server);
    for length in [1, 100, 1472, 1473, 9000, 65_000, 65_507] {
        let datagram = matrix::Random(length as u64).bytes(length);
        client.send(&datagram);
        assert!(client.receive() == datagram, "{length} bytes");
    }
    stop(&server);
}

fn many_peers_are_kept_apart(cell: &Cell) {
    let Served { server, .. } = serve(cell, Limits::default());
    let clients: Vec<_> = (0..100).map(|_| cell.post(&server)).collect();
    for round in 1..=5 {
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(client.ask(&format!("{index}")), format!("{round} {index}"));
        }
    }
    assert_eq!(stop(&server).counters.datagram_peers, 100);
}

#[test]
fn a_unix_datagram_larger_than_any_buffer_harms_nobody() {
    for engine in matrix::ENGINES {
        let cell = Cell::new(engine, Kind::UnixDatagram);
        let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
        let server = cell.server().codec(Bytes::default()).serve(echo).unwrap();
        let client = cell.post(&server);
        assert_eq!(client.ask("before"), "before");
        let huge = UnixDatagram::unbound().unwrap();
        // The kernel allows as much as the sender's buffer, which anybody may enlarge.
        socket2::SockRef::from(&huge).set_send_buffer_size(4 << 20).unwrap();
        let to = server.local_endpoints()[0].unix_addr().unwrap().as_path().unwrap().to_owned();
        let sent = huge.send_to(&vec![b'x'; 300 * 1024], to);
        assert_eq!(sent.expect("net.core.wmem_max is at least its default"), 300 * 1024);
        assert_eq!(client.ask("after"), "after", "{engine}");
        stop(&server);
    }
}
