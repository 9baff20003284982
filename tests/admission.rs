//! Who is let in, how many at once, and connections that a blocking function has to itself.

mod matrix;

use matrix::{Cell, Wire, eventually, next, on_engines, on_streams, stop};
use sockeye::addr::Policy;
use sockeye::codec::Lines;
use sockeye::engine::Threads;
use sockeye::handler::{Context, Outcome};
use sockeye::limits::Limits;
use sockeye::server::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

on_streams! {
    who_is_not_admitted_is_closed_and_counted,
    the_connection_after_the_last_waits_until_one_leaves,
}
on_engines! {
    a_policy_judges_the_address_that_is_really_accepted,
    adopted_connections_take_no_place_of_accepted_ones,
}

// ---- Who is let in ------------------------------------------------------------------------------

fn who_is_not_admitted_is_closed_and_counted(cell: &Cell) {
    let (made, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (factory, gate) = (made.clone(), open.clone());
    let server = cell
        .server()
        .admit(move |_| gate.load(Ordering::SeqCst))
        .codec(Lines::default())
        .serve_with(move |_| {
            factory.store(true, Ordering::SeqCst);
            |line: &str, cx: &mut Context<'_, Lines>| cx.send(line)
        })
        .unwrap();
    for _ in 0..3 {
        let mut client = cell.connect(&server);
        assert_eq!(client.rest(), "");
    }
    eventually("three are counted", || server.counters().refused.not_admitted == 3);
    assert!(!made.load(Ordering::SeqCst), "a handler was made for who was refused");
    open.store(true, Ordering::SeqCst);
    let mut client = cell.connect(&server);
    client.say("hello\n");
    assert_eq!(client.hear().unwrap(), "hello");
    drop(client);
    stop(&server);
}

/// A dual-stack listener shows IPv4 peers as `::ffff:a.b.c.d`.
fn a_policy_judges_the_address_that_is_really_accepted(cell: &Cell) {
    let loopbacks = ["127.0.0.1", "[::1]"];
    for denied in loopbacks {
        let network = denied.trim_matches(['[', ']']).parse().unwrap();
        let policy = Policy::allow_all().deny(network);
        let server = Server::on("tcp://*:0")
            .and("udp://*:0")
            .engine(cell.engine())
            .admit(move |peer| policy.admits(peer))
            .codec(Lines::default())
            .serve(|line, cx| cx.send(line))
            .unwrap();
        let ports: Vec<u16> = server
            .local_endpoints()
            .iter()
            .map(|endpoint| endpoint.to_addr().unwrap().as_ip().unwrap().port())
            .collect();
        for from in loopbacks {
            let mut client = TcpStream::connect(format!("{from}:{}", ports[0])).unwrap();
            client.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
            let _ = client.write_all(b"hello\n"); // the refused may be reset already
            let mut answer = [0; 6];
            let heard = client.read(&mut answer).unwrap_or(0);
            assert_eq!(heard, if from == denied { 0 } else { 6 }, "{from} but for {denied}");

            let socket = UdpSocket::bind(format!("{from}:0")).unwrap();
            socket.connect(format!("{from}:{}", ports[1])).unwrap();
            socket.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
            socket.send(b"hello").unwrap();
            if from != denied {
                assert_eq!(socket.recv(&mut answer).unwrap(), 5);
            }
        }
        eventually("both are counted", || server.counters().refused.not_admitted == 2);
        stop(&server);
    }
}

fn the_connection_after_the_last_waits_until_one_leaves(cell: &Cell) {
    let mut limits = Limits::default();
    limits.connections_max = Some(2);
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().limits(limits).codec(Lines::default()).serve(echo).unwrap();
    let hello = |client: &mut Wire| {
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
    };
    let (mut first, mut second) = (cell.connect(&server), cell.connect(&server));
    hello(&mut first);
    hello(&mut second);
    // Again and again: each time the door closes and opens.
    for _ in 0..20 {
        let mut third = cell.connect(&server);
        third.say("hello\n");
        hello(&mut first);
        hello(&mut second);
        assert!(server.counters().open <= 2, "{:?}", server.counters());
        drop(std::mem::replace(&mut first, second));
        assert_eq!(third.hear().unwrap(), "hello");
        second = third;
    }
    drop((first, second));
    stop(&server);
}

fn adopted_connections_take_no_place_of_accepted_ones(cell: &Cell) {
    let mut limits = Limits::default();
    limits.connections_max = Some(1);
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().limits(limits).codec(Lines::default()).serve(echo).unwrap();
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let (ours, theirs) = sockeye::socket::UnixStream::pair().unwrap();
        server.adopt(ours, Lines::default(), echo).unwrap().send("adopted").unwrap();
        let mut line = [0; 8];
        (&theirs).read_exact(&mut line).unwrap();
        pairs.push(theirs);
    }
    for _ in 0..3 {
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
    }
    drop(pairs);
    stop(&server);
}

// ---- Blocking handlers --------------------------------------------------------------------------

#[test]
fn a_blocking_handler_echoes_and_stops() {
    let dir = matrix::Dir::new();
    for endpoint in
        ["tcp://127.0.0.1:0".to_owned(), format!("unix://{}", dir.0.join("blocking").display())]
    {
        let server = Server::on(&endpoint)
            .engine(Threads::at_most(4))
            .serve_blocking(|mut stream| -> Outcome {
                let mut piece = [0; 100];
                loop {
                    match stream.read(&mut piece)? {
                        0 => return Ok(()),
                        length => stream.write_all(&piece[..length])?,
                    }
                }
            })
            .unwrap();
        let mut clients: Vec<Wire> = (0..4).map(|_| matrix::connect(&server).unwrap()).collect();
        for client in &mut clients {
            client.patient();
            client.say("hello\n");
            assert_eq!(client.hear().unwrap(), "hello");
        }
        clients.pop().unwrap().shutdown(Shutdown::Write);
        // The others are idle in their reads; a stop ends those.
        server.stop(matrix::PATIENCE);
        for client in &mut clients {
            assert_eq!(client.rest(), "");
        }
        drop(clients);
        let report = stop(&server);
        assert_eq!(report.counters.closed.finished, 4);
    }
}

#[test]
fn a_blocking_handler_that_never_returns_hides_none_that_has_finished() {
    let (began, begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::tcp("127.0.0.1:0")
        .serve_blocking(move |mut stream| -> Outcome {
            let mut word = [0; 4];
            stream.read_exact(&mut word)?;
            began.send(())?;
            match &word {
                b"hang" => drop(held.lock().unwrap().recv()),
                _ => drop(stream.read(&mut word)?),
            }
            Ok(())
        })
        .unwrap();
    let mut clients = ["hang", "read"].map(|word| {
        let mut client = matrix::connect(&server).unwrap();
        client.say(word);
        next(&begun);
        client
    });
    server.stop(Duration::from_secs(1));
    clients[1].patient();
    assert_eq!(clients[1].rest(), "");
    let report = matrix::join(&server);
    assert_eq!((report.finished, report.forced, report.abandoned), (1, 0, 1), "{report:?}");
    drop(release);
    eventually("it ends after all", || matrix::join(&server).forced == 1);
}

#[test]
fn a_blocking_handler_that_waits_to_write_is_cut_off_at_the_deadline() {
    let (began, begun) = mpsc::channel();
    let server = Server::tcp("127.0.0.1:0")
        .serve_blocking(move |mut stream| -> Outcome {
            began.send(())?;
            loop {
                stream.write_all(&[b'x'; 10_000])?;
            }
        })
        .unwrap();
    let client = matrix::connect(&server).unwrap();
    next(&begun);
    server.stop(Duration::from_millis(50));
    let report = matrix::join(&server);
    assert_eq!((report.forced, report.abandoned), (1, 0), "{report:?}");
    assert_eq!(report.counters.closed.handler, 1);
    drop(client);
}

/// Who is heard from outside is a decision, and never what was left out.
#[test]
fn a_port_alone_is_heard_on_loopback_and_a_host_left_out_is_an_error() {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let at = |server: Server| {
        let server = server.codec(Lines::default()).serve(echo)?;
        let ip = matrix::address(&server).as_ip().expect("an IP address").ip();
        stop(&server);
        Ok::<_, sockeye::Error>(ip)
    };
    for server in [Server::tcp(0), Server::udp(0)] {
        assert!(at(server).unwrap().is_loopback());
    }
    for server in [Server::tcp(":7000"), Server::udp(":7000"), Server::on("tcp://:7000")] {
        let error = at(server).unwrap_err();
        assert_eq!(error.kind(), sockeye::ErrorKind::BadEndpoint);
        let text = error.to_string();
        assert!(text.contains("`127.0.0.1:7000`") && text.contains("`*:7000`"), "{text}");
    }
    for server in [Server::tcp("*:0"), Server::udp("*:0"), Server::on("tcp://*:0")] {
        assert!(at(server).unwrap().is_unspecified());
    }
}
