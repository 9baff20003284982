//! UDP servers: from which address they answer, on how many sockets they hear, what they send together,
//! and whom they do not answer.
#![cfg(target_os = "linux")]

mod faults;
mod matrix;

use faults::Faults;
use matrix::{Cell, Kind, Post, address, eventually, next, on_datagrams, stop};
use sockeye::addr::Endpoint;
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::limits::{Limits, ReplyGuard};
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::Options;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

on_datagrams! {
    one_stateless_handler_serves_every_peer,
    a_stateless_handler_has_timers_and_wakes_but_nobody_to_send_to,
    a_stateless_handler_that_ends_is_made_anew,
}

fn engines() -> Vec<AnyEngine> {
    vec![
        AnyEngine::Threads(Threads::default()),
        AnyEngine::Events(Events::workers(1)),
        AnyEngine::Events(Events::workers(3)),
    ]
}

fn port(server: &ServerHandle) -> u16 {
    address(server).as_ip().expect("UDP").port()
}

/// A client that hears nobody but `to`: its socket is connected.
fn client(to: impl Into<SocketAddr>) -> Post {
    let to = to.into();
    let any: IpAddr = if to.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
    Post::Udp(socket)
}

/// Answers at once, from a timer, and has a remote made for what comes later.
struct Thrice {
    frames: usize,
    remotes: mpsc::Sender<Remote<Lines>>,
}

impl Handler<Lines> for Thrice {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.frames += 1;
        cx.send(&format!("{} {line}", self.frames));
        cx.set_timer(Duration::from_millis(1));
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("timer");
        let _ = self.remotes.send(cx.remote());
        Ok(())
    }
}

#[test]
fn a_server_answers_from_the_address_that_was_asked() {
    let v4 = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let wildcards = [
        ("udp://*:0", true, true),
        ("udp://0.0.0.0:0", true, false),
        ("udp://[::]:0", false, true),
    ];
    for engine in engines() {
        for (endpoint, has_v4, has_v6) in wildcards {
            let (remotes_in, remotes) = mpsc::channel();
            let server = Server::on(endpoint)
                .engine(engine.clone())
                .codec(Lines::default())
                .serve_with(move |_| Thrice { frames: 0, remotes: remotes_in.clone() })
                .unwrap();
            assert_eq!(server.local_endpoints().len(), 1, "{endpoint}");
            let mut asked: Vec<IpAddr> = Vec::new();
            asked.extend(v4.iter().filter(|_| has_v4).map(|ip| ip.parse::<IpAddr>().unwrap()));
            asked.extend(has_v6.then_some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)));
            for ip in asked {
                let client = client((ip, port(&server)));
                assert_eq!(client.ask("hello"), "1 hello", "{engine} {endpoint} {ip}");
                assert_eq!(client.receive(), b"timer");
                next(&remotes).send("remote").unwrap();
                assert_eq!(client.receive(), b"remote");
            }
            stop(&server);
        }
    }
}

#[test]
fn one_peer_has_a_session_with_each_address_of_ours() {
    for engine in engines() {
        let (remotes_in, _remotes) = mpsc::channel();
        let server = Server::udp("0.0.0.0:0")
            .engine(engine)
            .codec(Lines::default())
            .serve_with(move |_| Thrice { frames: 0, remotes: remotes_in.clone() })
            .unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
        let mut heard = Vec::new();
        for (ip, line) in [([127, 0, 0, 1], "a"), ([127, 0, 0, 2], "b"), ([127, 0, 0, 1], "c")] {
            let to = SocketAddr::from((ip, port(&server)));
            socket.send_to(line.as_bytes(), to).unwrap();
            loop {
                let mut bytes = [0; 100];
                let (length, from) = socket.recv_from(&mut bytes).unwrap();
                assert!(from == to || &bytes[..length] == b"timer");
                if &bytes[..length] != b"timer" {
                    heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
                    break;
                }
            }
        }
        assert_eq!(heard, ["1 a", "1 b", "2 c"]);
        assert_eq!(stop(&server).counters.datagram_peers, 2);
    }
}

#[test]
fn what_went_to_everybody_is_answered_from_our_own_address() {
    for engine in engines() {
        let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
        let server =
            Server::udp("0.0.0.0:0").engine(engine).codec(Lines::default()).serve(echo).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
        let mut bytes = [0; 100];
        for group in [[127, 255, 255, 255], [239, 255, 83, 109]] {
            if group[0] == 239 {
                // The socket is the server's; what joins is another one on the same interface. Linux
                // gives a socket on every address what any socket of the host has joined.
                socket.join_multicast_v4(&group.into(), &[127, 0, 0, 1].into()).unwrap();
                let socket = socket2::SockRef::from(&socket);
                socket.set_multicast_if_v4(&[127, 0, 0, 1].into()).unwrap();
            }
            socket.send_to(b"who?", (IpAddr::from(group), port(&server))).unwrap();
            let (length, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"who?");
            assert_eq!(from, SocketAddr::from(([127, 0, 0, 1], port(&server))), "{group:?}");
        }
        stop(&server);
    }
}

/// Sends what is one buffer to the kernel, and many datagrams to whoever hears it.
fn send_joined(socket: &UdpSocket, bytes: &[u8], segment: u16) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    let segment = libc::c_int::from(segment);
    // SAFETY: the option is a number, and the kernel reads as many bytes of it as that has.
    #[allow(unsafe_code, reason = "std does not know this option")]
    let set = unsafe {
        let (value, length) = ((&raw const segment).cast(), size_of::<libc::c_int>() as _);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, length)
    };
    assert_eq!(set, 0, "UDP_SEGMENT, since Linux 4.18");
    socket.send(bytes)
}

#[test]
fn datagrams_that_come_as_one_buffer_are_single_to_the_handler() {
    for engine in engines() {
        for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "*:0"] {
            let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
            let server = Server::udp(at).engine(engine.clone()).codec(Bytes::default());
            let server = server.serve(echo).unwrap();
            let v6 = at.starts_with('[');
            let to: IpAddr = if v6 { "::1".parse().unwrap() } else { [127, 0, 0, 2].into() };
            let to = if at.starts_with("127") { [127, 0, 0, 1].into() } else { to };
            let Post::Udp(socket) = client((to, port(&server))) else { unreachable!() };
            // 20 of 500 bytes, and a shorter one; then one alone.
            let bytes = matrix::Random(7).bytes(20 * 500 + 100);
            send_joined(&socket, &bytes, 500).unwrap();
            let mut buffer = [0; 70_000];
            for (index, part) in bytes.chunks(500).enumerate() {
                let length = socket.recv(&mut buffer).unwrap();
                assert!(&buffer[..length] == part, "{engine} {at} {index}: {length}");
            }
            send_joined(&socket, b"alone", 0).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
            stop(&server);
        }
    }
}

#[test]
fn many_answers_to_one_datagram_arrive_each_for_itself() {
    for engine in engines() {
        for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            // Lengths one after the other; each answer is that long.
            let answer = |line: &str, cx: &mut Context<'_, Lines>| {
                for length in line.split(' ') {
                    cx.send(&"x".repeat(length.parse().unwrap()));
                }
            };
            let server = Server::udp(at).engine(engine.clone()).codec(Lines::at_most(60_000));
            let server = server.serve(answer).unwrap();
            let mut to = *address(&server).as_ip().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 3].into());
            }
            let client = client(to);
            let runs = [
                "100 100 100 40 40 0 0 40 100",
                "1200 1200 1200 1200 1",
                "60000 60000 3",
                "9000 9000 9000 9000 9000 9000 9000 9000 9000",
            ];
            let mut bytes = (0, 0);
            for line in runs {
                client.send(line.as_bytes());
                bytes.0 += line.len() as u64;
                for length in line.split(' ') {
                    bytes.1 += length.parse::<u64>().unwrap();
                    assert_eq!(client.receive().len().to_string(), length, "{engine} {at}: {line}");
                }
            }
            let counters = stop(&server).counters;
            assert_eq!(counters.replies_dropped, 0);
            assert_eq!((counters.bytes_read, counters.bytes_written), bytes);
        }
    }
}

/// The kernel has no room for a moment: EAGAIN. It takes what it is asked to send in any of these ways.
#[test]
fn what_the_kernel_takes_only_later_follows_in_its_order_and_is_counted_once() {
    const SENDS: &[libc::c_long] = &[libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto];
    // One answer, one run of equal lengths, several, and more than leaves with one call.
    let long: Vec<String> = ('a'..='g').map(|letter| letter.to_string().repeat(20_000)).collect();
    let long: Vec<&str> = long.iter().map(|answer| &answer[..]).collect();
    let answers = [&["a"][..], &["a", "b", "c"], &["a", "b", "cc", "dd", "e", "fff"], &long];
    for engine in engines() {
        for (refusals, answers) in [1, 2, 5].into_iter().flat_map(|n| answers.map(|all| (n, all))) {
            let all: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
            let answer = move |line: &str, cx: &mut Context<'_, Lines>| {
                all.iter().for_each(|answer| cx.send(&format!("{line}{answer}")));
            };
            let engine = engine.clone();
            let server = Server::udp("127.0.0.1:0").engine(engine).codec(Lines::at_most(60_000));
            let made = Faults::among("what_the_kernel_takes_only_later", SENDS, move || {
                server.serve(answer).unwrap()
            });
            let Some((server, faults)) = made else { return };
            let client = client(*address(&server).as_ip().unwrap());
            let mut bytes = 0;
            for line in ["1", "2"] {
                (0..refusals).for_each(|_| faults.once(libc::EAGAIN));
                client.send(line.as_bytes());
                for answer in answers {
                    let came = client.receive();
                    let (came_as, due) = (came.get(..3), format!("{line}{answer}"));
                    assert!(came == due.as_bytes(), "{came_as:?} for {:?}", due.get(..3));
                    bytes += came.len() as u64;
                }
            }
            assert_eq!(faults.counts(), (2 * refusals, 0));
            let counters = stop(&server).counters;
            assert_eq!((counters.bytes_written, counters.replies_dropped), (bytes, 0));
        }
    }
}

#[test]
fn an_answer_that_cannot_be_sent_loses_no_other() {
    for engine in engines() {
        let answer = |bytes: &[u8], cx: &mut Context<'_, Bytes>| {
            cx.send(b"one");
            cx.send(&[0; 65_530]); // no datagram is that long
            cx.send(b"two");
            cx.send(bytes);
        };
        let server = Server::udp("127.0.0.1:0").engine(engine).codec(Bytes::default());
        let server = server.serve(answer).unwrap();
        let client = client(*address(&server).as_ip().unwrap());
        client.send(b"three");
        for expected in ["one", "two", "three"] {
            assert_eq!(client.receive(), expected.as_bytes());
        }
        let counters = stop(&server).counters;
        assert_eq!((counters.replies_dropped, counters.bytes_written), (1, 11));
    }
}

#[test]
fn a_port_that_nobody_listens_on_ends_no_server() {
    for engine in engines() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (remotes_in, remotes) = mpsc::channel();
            let server = Server::udp(at)
                .engine(engine.clone())
                .codec(Lines::default())
                .serve_with(move |_| Thrice { frames: 0, remotes: remotes_in.clone() })
                .unwrap();
            for _ in 0..10 {
                let gone = client(*address(&server).as_ip().unwrap());
                assert_eq!(gone.ask("hello"), "1 hello");
                assert_eq!(gone.receive(), b"timer");
                drop(gone);
                let remote = next(&remotes);
                for _ in 0..3 {
                    remote.send("is anybody there?").unwrap();
                }
            }
            let other = client(*address(&server).as_ip().unwrap());
            assert_eq!(other.ask("hello"), "1 hello");
            stop(&server);
        }
    }
}

#[test]
fn an_error_that_is_told_to_the_socket_ends_no_server() {
    // A kernel tells a connected socket that nobody listens there; no other.
    for engine in engines() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let socket =
                sockeye::socket::UdpSocket::bind(at.parse::<SocketAddr>().unwrap()).unwrap();
            let own = socket.local_addr().unwrap();
            let peer = UdpSocket::bind(at).unwrap();
            let peer_at = peer.local_addr().unwrap();
            socket.try_clone().unwrap().connect(peer_at).unwrap();
            let (remotes_in, remotes) = mpsc::channel();
            let server = Server::on(socket)
                .engine(engine.clone())
                .codec(Lines::default())
                .serve_with(move |_| Thrice { frames: 0, remotes: remotes_in.clone() })
                .unwrap();
            peer.send_to(b"hello", own).unwrap();
            let remote = next(&remotes);
            drop(peer);
            for _ in 0..5 {
                remote.send("is anybody there?").unwrap();
            }
            let peer = UdpSocket::bind(peer_at).unwrap();
            peer.connect(own).unwrap();
            peer.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
            peer.send(b"again").unwrap();
            let mut bytes = [0; 100];
            loop {
                let length = peer.recv(&mut bytes).expect("an answer, and soon");
                if &bytes[..length] == b"2 again" {
                    break;
                }
            }
            stop(&server);
        }
    }
}

/// Says how many frames it has seen of anybody, and from whom the last one came.
struct Everybody {
    frames: usize,
    peers: Vec<String>,
    told: mpsc::Sender<String>,
    remotes: mpsc::Sender<Remote<Lines>>,
}

impl Handler<Lines> for Everybody {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("to nobody");
        let _ = self.told.send(format!("open {}", cx.peer().addr()));
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.frames += 1;
        let peer = cx.peer().addr().to_string();
        if !self.peers.contains(&peer) {
            self.peers.push(peer.clone());
        }
        match line {
            "panic" => matrix::expected_panic(),
            "error" => return Err("as you like".into()),
            "timer" => cx.set_timer(Duration::from_millis(1)),
            "remote" => drop(self.remotes.send(cx.remote())),
            _ => {}
        }
        cx.send(&format!("{} {} {peer} {line}", self.frames, self.peers.len()));
        if line == "finish" {
            cx.finish();
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let _ = self.told.send(format!("timer {}", cx.peer().addr()));
        cx.send("to nobody");
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let _ = self.told.send(format!("wake {}", cx.peer().addr()));
        cx.send("to nobody");
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(matrix::name(reason).to_owned());
    }
}

struct Stateless {
    server: ServerHandle,
    told: mpsc::Receiver<String>,
    remotes: mpsc::Receiver<Remote<Lines>>,
    nobody: &'static str,
}

fn stateless(cell: &Cell) -> Stateless {
    let ((told_in, told), (remotes_in, remotes)) = (mpsc::channel(), mpsc::channel());
    let mut limits = Limits::default();
    // A handler for everybody is never idle, and has no table.
    limits.peer_idle_timeout = Some(Duration::from_millis(1));
    limits.peers_max = 0;
    let options = Options::new();
    let server = cell.server().options(options).limits(limits).stateless().codec(Lines::default());
    let server = server
        .serve_with(move |_| Everybody {
            frames: 0,
            peers: Vec::new(),
            told: told_in.clone(),
            remotes: remotes_in.clone(),
        })
        .unwrap();
    let nobody = if cell.kind == Kind::UnixDatagram { "(unnamed)" } else { "0.0.0.0:0" };
    Stateless { server, told, remotes, nobody }
}

fn local(post: &Post) -> String {
    match post {
        Post::Udp(socket) => socket.local_addr().unwrap().to_string(),
        Post::Unix(socket) => {
            socket.local_addr().unwrap().as_pathname().unwrap().display().to_string()
        }
        Post::Record(_) => unreachable!("datagrams"),
    }
}

/// How many handlers a server has at one endpoint.
fn handlers(cell: &Cell) -> usize {
    if cell.engine == "events_2" && cell.kind != Kind::UnixDatagram { 2 } else { 1 }
}

fn one_stateless_handler_serves_every_peer(cell: &Cell) {
    let Stateless { server, told, nobody, .. } = stateless(cell);
    for _ in 0..handlers(cell) {
        assert_eq!(next(&told), format!("open {nobody}"));
    }
    let clients: Vec<_> = (0..20).map(|_| cell.post(&server)).collect();
    let (mut frames, mut peers, mut replied) = (0, 0, 0);
    for round in 0..3 {
        for client in &clients {
            let reply = client.ask("hello");
            replied += reply.len() as u64;
            let words: Vec<&str> = reply.split(' ').collect();
            assert_eq!(words[2..], [&local(client), "hello"]);
            frames = frames.max(words[0].parse().unwrap());
            peers = peers.max(words[1].parse().unwrap());
        }
        let least = if handlers(cell) == 1 { 20 } else { 1 };
        assert!(peers >= least && frames >= least * (round + 1), "{peers} {frames}");
    }
    let counters = stop(&server).counters;
    assert_eq!((counters.datagram_peers, counters.datagrams_dropped), (0, 0));
    assert_eq!(counters.replies_dropped as usize, handlers(cell), "what was said at first");
    assert_eq!(
        (counters.bytes_read, counters.bytes_written),
        (300, replied),
        "of which nothing left"
    );
    assert_eq!(counters.closed.total() as usize, handlers(cell));
}

fn a_stateless_handler_has_timers_and_wakes_but_nobody_to_send_to(cell: &Cell) {
    let Stateless { server, told, remotes, nobody } = stateless(cell);
    let client = cell.post(&server);
    for _ in 0..handlers(cell) {
        assert_eq!(next(&told), format!("open {nobody}"));
    }
    assert_eq!(client.ask("timer"), format!("1 1 {} timer", local(&client)));
    assert_eq!(next(&told), format!("timer {nobody}"));
    assert_eq!(client.ask("remote"), format!("2 1 {} remote", local(&client)));
    let remote = next(&remotes);
    remote.wake();
    assert_eq!(next(&told), format!("wake {nobody}"));
    remote.send("to nobody").unwrap();
    let dropped = handlers(cell) as u64 + 3;
    eventually("it is dropped", || server.counters().replies_dropped == dropped);
    assert_eq!(client.ask("hello"), format!("3 1 {} hello", local(&client)));
    stop(&server);
}

fn a_stateless_handler_that_ends_is_made_anew(cell: &Cell) {
    let Stateless { server, told, nobody, .. } = stateless(cell);
    let client = cell.post(&server);
    for _ in 0..handlers(cell) {
        assert_eq!(next(&told), format!("open {nobody}"));
    }
    assert_eq!(client.ask("hello"), format!("1 1 {} hello", local(&client)));
    assert_eq!(client.ask("finish"), format!("2 1 {} finish", local(&client)));
    assert_eq!(next(&told), "finished");
    for (line, end) in [("error", Some("handler")), ("panic", None)] {
        client.send(line.as_bytes());
        assert_eq!(next(&told), format!("open {nobody}"));
        assert_eq!(end.map(|_| next(&told)).as_deref(), end);
    }
    assert_eq!(client.ask("hello"), format!("1 1 {} hello", local(&client)));
    assert_eq!(next(&told), format!("open {nobody}"));
    assert_eq!(stop(&server).counters.panics, 1);
}

#[test]
fn streams_of_a_stateless_server_have_sessions() {
    for engine in engines() {
        let mut frames = 0;
        let count = move |_: &str, cx: &mut Context<'_, Lines>| {
            frames += 1;
            cx.send(&frames.to_string());
        };
        let server = Server::udp("127.0.0.1:0").and("tcp://127.0.0.1:0").engine(engine).stateless();
        let server = server.codec(Lines::default()).serve(count).unwrap();
        let tcp = &server.local_endpoints()[1];
        for _ in 0..2 {
            let client = sockeye::client::Client::to(tcp).codec(Lines::default());
            let mut client = client.connect().unwrap();
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "1");
        }
        let udp = client(*address(&server).as_ip().unwrap());
        assert_eq!(udp.ask("hello"), "1");
        stop(&server);
    }
}

#[test]
fn every_worker_has_a_socket_and_a_peer_stays_with_one() {
    for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "*:0"] {
        let (told_in, told) = mpsc::channel();
        let server = Server::udp(at)
            .engine(Events::workers(4))
            .codec(Lines::default())
            .serve_with(move |peer| {
                let worker = std::thread::current().name().unwrap_or_default().to_owned();
                let _ = told_in.send((peer.addr().to_string(), worker));
                let mut frames = 0;
                move |_: &str, cx: &mut Context<'_, Lines>| {
                    frames += 1;
                    cx.send(&frames.to_string());
                }
            })
            .unwrap();
        assert_eq!(server.local_endpoints().len(), 1);
        let v6 = at.starts_with('[');
        let to: IpAddr = if v6 { "::1".parse().unwrap() } else { [127, 0, 0, 1].into() };
        let clients: Vec<_> = (0..64).map(|_| client((to, port(&server)))).collect();
        for round in 1..=3 {
            for client in &clients {
                assert_eq!(client.ask("hello"), round.to_string(), "{at}");
            }
        }
        let told: Vec<(String, String)> = told.try_iter().collect();
        assert_eq!(told.len(), 64, "one session each");
        let mut workers: Vec<&String> = told.iter().map(|(_, worker)| worker).collect();
        workers.sort_unstable();
        workers.dedup();
        // That 64 ports all come out at one of four has a chance of 2^-126.
        assert!(workers.len() > 1, "{workers:?}");
        stop(&server);
    }
}

#[test]
fn two_servers_never_share_a_port() {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    for at in ["127.0.0.1:0", "[::1]:0", "*:0"] {
        let workers = || Events::workers(3);
        let server = Server::udp(at).engine(workers()).codec(Lines::default()).serve(echo).unwrap();
        let endpoint: Endpoint = server.local_endpoints()[0].clone();
        for engine in engines() {
            let other = Server::on(&endpoint).engine(engine).codec(Lines::default()).serve(echo);
            let error = io::Error::from(other.unwrap_err());
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{at}");
        }
        stop(&server);
        let server = Server::on(&endpoint).engine(workers()).codec(Lines::default()).serve(echo);
        stop(&server.expect("the port is free again"));
    }
    // A port that another program has.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = Server::udp(taken.local_addr().unwrap()).engine(Events::workers(3));
    let error = io::Error::from(server.codec(Lines::default()).serve(echo).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

/// What stands between two echo servers after a forged datagram: how often it was handled, and what was
/// dropped by the guards.
fn loop_of_two(engine: &AnyEngine, guard: Option<ReplyGuard>, stateless: bool) -> (u64, u64) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    let handled = Arc::new(AtomicU64::new(0));
    let serve = |socket: sockeye::socket::UdpSocket| {
        let handled = handled.clone();
        let server = Server::on(socket).engine(engine.clone());
        let server = if stateless { server.stateless() } else { server };
        let server = match guard.clone() {
            Some(guard) => server.reply_guard(guard),
            None => server,
        };
        let echo = move |line: &str, cx: &mut Context<'_, Lines>| {
            handled.fetch_add(1, SeqCst);
            cx.send(line);
        };
        server.codec(Lines::default()).serve(echo).unwrap()
    };
    // Who sends from the address of the second server before that is there has forged the datagram as
    // well as who writes it by hand. It waits for the first server, which starts last.
    let forger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let victim_at = forger.local_addr().unwrap();
    let socket = sockeye::socket::UdpSocket::bind("127.0.0.1:0").unwrap();
    forger.send_to(b"for ever", socket.local_addr().unwrap()).unwrap();
    drop(forger);
    let victim = serve(sockeye::socket::UdpSocket::bind(victim_at).unwrap());
    let server = serve(socket);
    let enough = 2000;
    eventually("it dies out, or never", || {
        let guarded = server.counters().replies_guarded + victim.counters().replies_guarded;
        guarded > 0 || handled.load(SeqCst) > enough
    });
    let counters = [stop(&server).counters, stop(&victim).counters];
    let guarded = counters.iter().map(|counters| counters.replies_guarded).sum();
    (handled.load(SeqCst), guarded)
}

#[test]
fn a_loop_of_two_servers_dies_out_with_a_guard_and_goes_on_without() {
    for engine in engines() {
        for stateless in [false, true] {
            let (handled, guarded) = loop_of_two(&engine, None, stateless);
            assert!(handled > 2000 && guarded == 0, "{engine}: {handled}");
            let mut guard = ReplyGuard::default();
            // As good as none comes back in the time that this takes.
            (guard.replies_per_second, guard.burst) = (1, 100);
            let (handled, guarded) = loop_of_two(&engine, Some(guard), stateless);
            // Each server sends a burst, and perhaps what a slow machine gives back.
            assert!(
                (100..=250).contains(&handled) && guarded == 1,
                "{engine}: {handled} {guarded}"
            );
        }
    }
}

#[test]
fn a_guard_counts_what_is_sent_in_whatever_way() {
    for engine in engines() {
        for at in ["127.0.0.1:0", "0.0.0.0:0"] {
            let (remotes_in, remotes) = mpsc::channel();
            let mut guard = ReplyGuard::default();
            guard.factor = 3;
            let server = Server::udp(at)
                .engine(engine.clone())
                .reply_guard(guard)
                .codec(Lines::default())
                .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
                    let _ = remotes_in.send(cx.remote());
                    (0..6).for_each(|_| cx.send(line));
                })
                .unwrap();
            let client = client(SocketAddr::from(([127, 0, 0, 1], port(&server))));
            client.send(b"0123456789");
            (0..3).for_each(|_| assert_eq!(client.receive(), b"0123456789"));
            next(&remotes).send("later").unwrap();
            eventually("the rest is dropped", || server.counters().replies_guarded == 4);
            // Another ten bytes earn thirty, of which the answers take all.
            client.send(b"abcdefghij");
            (0..3).for_each(|_| assert_eq!(client.receive(), b"abcdefghij"));
            let counters = stop(&server).counters;
            assert_eq!((counters.replies_guarded, counters.bytes_written), (7, 60));
        }
    }
}

#[test]
fn nobody_and_ourselves_are_never_answered() {
    for engine in engines() {
        for (at, own) in [("127.0.0.1:0", [127, 0, 0, 1]), ("0.0.0.0:0", [127, 0, 0, 9])] {
            for stateless in [false, true] {
                let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
                // Who claims to be the server has its port, too. Of two sockets with this option at one
                // address, Linux gives a datagram to the one that was bound last.
                let options = Options::new().reuse_address(true);
                let forger =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
                let forger = forger.unwrap();
                forger.set_reuse_address(true).unwrap();
                forger.bind(&SocketAddr::from((own, 0)).into()).unwrap();
                let forger = UdpSocket::from(forger);
                let port = forger.local_addr().unwrap().port();
                let at: SocketAddr = at.parse().unwrap();
                let server = Server::udp(SocketAddr::from((at.ip(), port))).options(options);
                let server = if stateless { server.stateless() } else { server };
                let server = server.engine(engine.clone()).codec(Lines::default());
                let server = server.serve(echo).unwrap();
                forger.send_to(b"me", ("127.0.0.1", port)).unwrap();
                eventually("it is dropped", || server.counters().datagrams_dropped == 1);
                let client = client(SocketAddr::from(([127, 0, 0, 1], port)));
                drop(forger);
                assert_eq!(client.ask("hello"), "hello", "{engine} {at}");
                assert!(stop(&server).counters.datagram_peers <= 1);
            }
        }
    }
}
