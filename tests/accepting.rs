//! Accepting: what becomes of those for whom there is no place, pausing, limits that change while a
//! server runs, sources, shortages of descriptors and threads, and listeners that break.

mod faults;
mod matrix;

use faults::Faults;
use matrix::{Cell, Kind, PATIENCE, Wire, eventually, in_time, on_engines, on_kinds, stop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sockeye::ErrorKind;
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Engine, Threads};
use sockeye::handler::{Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::observer::{ListenerState, Observer, Refusal};
use sockeye::server::{OnFull, Server, ServerHandle};
use sockeye::socket::UnixSeqPacket;
use sockeye::{Endpoint, addr::Peer};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Runs tests on every kind of endpoint that accepts.
macro_rules! on_connected {
    ($($test:ident),+ $(,)?) => {
        $(matrix::on_kinds! {
            $test [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket, memory Memory]
        })+
    };
}

on_connected! {
    who_is_refused_reads_the_end_at_once,
    who_is_answered_reads_the_answer_and_the_end,
    a_higher_limit_lets_in_those_who_wait_and_a_lower_one_cuts_nobody,
    a_paused_server_makes_wait_and_serves_those_it_has,
    what_is_told_before_the_start_holds_from_the_start_on,
    a_panic_of_the_hook_refuses_that_one_and_is_counted,
}
on_engines! {
    a_flood_of_answered_clients_holds_few_descriptors,
    a_handler_pauses_and_another_thread_resumes,
    a_pace_holds_up_and_loses_nobody,
}
on_kinds! {
    a_shortage_of_descriptors_is_waited_for
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    in_a_shortage_of_descriptors_those_who_wait_are_told
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    a_session_is_reached_without_a_descriptor_that_wakes_it
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! { who_was_refused_is_seen_to_while_the_server_stops [tcp4 Tcp4, tcp6 Tcp6, unix Unix] }
on_kinds! { a_peer_that_resets_before_it_is_accepted_costs_nothing [tcp4 Tcp4, tcp6 Tcp6] }
on_kinds! { one_source_has_its_share_and_others_theirs [tcp4 Tcp4] }
on_kinds! { a_whole_network_of_version_6_is_one_source [tcp6 Tcp6] }
on_kinds! { peers_without_an_address_are_no_source [unix Unix, unix_seqpacket UnixSeqPacket, memory Memory] }
on_kinds! {
    a_datagram_socket_that_is_shut_ends_the_server_with_an_error
    [udp4 Udp4, udp6 Udp6, unix_datagram UnixDatagram]
}
on_kinds! {
    a_broken_listener_ends_the_server_with_an_error
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    an_error_of_one_connection_is_passed_over_at_once
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    a_shortage_of_any_kind_is_waited_for
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    who_waits_at_a_full_table_is_told_with_the_descriptor_in_reserve
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}
on_kinds! {
    an_error_of_the_listener_ends_the_server
    [tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket]
}

// ---- Helpers ------------------------------------------------------------------------------------

fn echo<E: Engine>(server: Server<(), E>) -> ServerHandle {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    server.codec(Lines::default()).serve(echo).unwrap()
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// A client of lines at any endpoint that accepts: on seqpacket each line is a message.
enum Guest {
    Wire(Wire),
    Records(UnixSeqPacket),
}

impl Guest {
    fn new(cell: &Cell, server: &ServerHandle) -> Guest {
        Guest::try_new(cell, server).expect("the server listens")
    }

    fn try_new(cell: &Cell, server: &ServerHandle) -> io::Result<Guest> {
        if cell.kind != Kind::UnixSeqPacket {
            let wire = cell.dial(server)()?;
            wire.patient();
            return Ok(Guest::Wire(wire));
        }
        let at = matrix::address(server);
        let sockeye::addr::AnyAddr::Unix(at) = at else { panic!("a Unix endpoint") };
        let socket = UnixSeqPacket::connect(&at)?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Guest::Records(socket))
    }

    /// Sends a line. Whoever is refused may be gone already.
    fn say(&mut self, line: &str) {
        let _ = match self {
            Guest::Wire(wire) => wire.write_all(format!("{line}\n").as_bytes()),
            Guest::Records(socket) => socket.send(line.as_bytes()).map(drop),
        };
    }

    /// The next line, or `None` at the end, which may be a reset.
    fn hear(&mut self) -> Option<String> {
        let gone = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        };
        let mut line = [0; 1000];
        match self {
            Guest::Wire(wire) => {
                let mut length = 0;
                loop {
                    match wire.read(&mut line[length..length + 1]) {
                        Ok(0) => return None,
                        Ok(_) if line[length] == b'\n' => break,
                        Ok(_) => length += 1,
                        Err(error) if gone(&error) => return None,
                        Err(error) => panic!("neither a line nor the end: {error}"),
                    }
                }
                Some(String::from_utf8(line[..length].to_vec()).unwrap())
            }
            Guest::Records(socket) => match socket.recv(&mut line) {
                Ok(message) => {
                    let length = message?.len;
                    let text = std::str::from_utf8(&line[..length]).unwrap();
                    Some(text.trim_end().to_owned())
                }
                Err(error) if gone(&error) => None,
                Err(error) => panic!("neither a message nor the end: {error}"),
            },
        }
    }

    fn ask(&mut self, line: &str) -> Option<String> {
        self.say(line);
        self.hear()
    }

    /// Whether something can be read now.
    fn has_heard(&self) -> bool {
        let socket = match self {
            Guest::Wire(Wire::Tcp(stream)) => stream.as_fd(),
            Guest::Wire(Wire::Unix(stream)) => stream.as_fd(),
            Guest::Wire(Wire::Memory(stream)) => return stream.unread() > 0,
            Guest::Records(socket) => socket.as_fd(),
        };
        let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }
}

fn served(cell: &Cell, server: &ServerHandle) -> Guest {
    let mut guest = Guest::new(cell, server);
    assert_eq!(guest.ask("hello").as_deref(), Some("hello"));
    guest
}

// ---- Full ---------------------------------------------------------------------------------------

fn who_is_refused_reads_the_end_at_once(cell: &Cell) {
    let limits = limits(|limits| limits.connections_max = Some(2));
    let server = echo(cell.server().limits(limits).on_full(OnFull::Refuse));
    let mut inside = [served(cell, &server), served(cell, &server)];
    for _ in 0..10 {
        assert_eq!(Guest::new(cell, &server).hear(), None);
    }
    let counters = server.counters();
    assert_eq!((counters.refused.full, counters.refused.total()), (10, 10), "{counters:?}");
    assert_eq!((counters.accepted, counters.open), (12, 2), "{counters:?}");
    inside.iter_mut().for_each(|guest| assert_eq!(guest.ask("still").as_deref(), Some("still")));
    let [_, gone] = inside;
    drop(gone);
    // Once its place is free: the peer that leaves is not told when.
    eventually("there is a place", || Guest::new(cell, &server).ask("in?").is_some());
    stop(&server);
}

fn who_is_answered_reads_the_answer_and_the_end(cell: &Cell) {
    let limits = limits(|limits| limits.connections_max = Some(1));
    let server = echo(cell.server().limits(limits).on_full(OnFull::reply("busy\n")));
    let mut inside = served(cell, &server);
    for round in 0..10 {
        let mut guest = Guest::new(cell, &server);
        // What it has sent and nobody reads is no reason to lose the answer.
        if round % 2 == 0 {
            guest.say(&"x".repeat(500));
        }
        assert_eq!(guest.hear().as_deref(), Some("busy"));
        assert_eq!(guest.hear(), None);
    }
    assert_eq!(server.counters().refused.full, 10);
    assert_eq!(inside.ask("still").as_deref(), Some("still"));
    drop(inside);
    eventually("there is a place", || {
        Guest::new(cell, &server).ask("in?").as_deref() == Some("in?")
    });
    stop(&server);
}

fn a_flood_of_answered_clients_holds_few_descriptors(cell: &Cell) {
    let mut limits = limits(|limits| limits.connections_max = Some(1));
    limits.linger_timeout = PATIENCE;
    let server = echo(cell.server().limits(limits).on_full(OnFull::reply("busy\n")));
    let inside = served(cell, &server);
    // None of them closes, and each has heard the answer.
    let mut flood: Vec<Guest> = (0..300)
        .map(|_| {
            let mut guest = Guest::new(cell, &server);
            assert_eq!(guest.hear().as_deref(), Some("busy"));
            assert_eq!(guest.hear(), None);
            guest
        })
        .collect();
    // Who was closed is reset by what it says: all but those 64 that each acceptor keeps.
    if cell.kind == Kind::Tcp4 {
        let closed = |guest: &mut Guest| {
            let Guest::Wire(Wire::Tcp(stream)) = guest else { return false };
            stream.write_all(b"x").is_err() || stream.take_error().unwrap().is_some()
        };
        eventually("most are closed", || {
            flood.iter_mut().filter_map(|guest| closed(guest).then_some(())).count() >= 100
        });
    }
    assert_eq!(server.counters().refused.full, 300);
    drop((inside, flood));
    stop(&server);
}

fn who_was_refused_is_seen_to_while_the_server_stops(cell: &Cell) {
    let mut limits = limits(|limits| limits.connections_max = Some(1));
    (limits.linger_timeout, limits.linger_bytes_max) = (PATIENCE, 1000);
    let server = cell.server().limits(limits).on_full(OnFull::reply("busy\n"));
    let server = server.codec(Lines::default()).serve_with(|_| Staying).unwrap();
    let mut inside = served(cell, &server);
    let mut guest = Guest::new(cell, &server);
    assert_eq!(guest.hear().as_deref(), Some("busy"));
    server.stop(2 * PATIENCE);
    assert_eq!(inside.hear().as_deref(), Some("staying"));
    // It is closed for what it says; if nobody reads that, it soon cannot be said.
    let patience = Some(PATIENCE / 3);
    match &guest {
        Guest::Wire(Wire::Tcp(stream)) => stream.set_write_timeout(patience).unwrap(),
        Guest::Wire(Wire::Unix(stream)) => stream.set_write_timeout(patience).unwrap(),
        _ => panic!("no socket of bytes"),
    }
    let Guest::Wire(guest) = &mut guest else { panic!("no stream") };
    let error = loop {
        if let Err(error) = guest.write_all(&[b'x'; 500]) {
            break error;
        }
    };
    assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "nobody reads what it says");
    server.stop(Duration::ZERO);
    assert_eq!(matrix::join(&server).forced, 1);
}

/// Says that the server stops, and does not.
struct Staying;

impl Handler<Lines> for Staying {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("staying");
        Ok(())
    }
}

// ---- Changes while it runs ------------------------------------------------------------------------

fn a_higher_limit_lets_in_those_who_wait_and_a_lower_one_cuts_nobody(cell: &Cell) {
    let limits = limits(|limits| limits.connections_max = Some(1));
    let server = echo(cell.server().limits(limits));
    let mut first = served(cell, &server);
    let mut waiting: Vec<Guest> = (0..3).map(|_| Guest::new(cell, &server)).collect();
    waiting.iter_mut().for_each(|guest| guest.say("let me in"));
    assert_eq!(first.ask("one").as_deref(), Some("one"));
    assert!(waiting.iter().all(|guest| !guest.has_heard()));
    server.set_connections_max(4);
    waiting.iter_mut().for_each(|guest| assert_eq!(guest.hear().as_deref(), Some("let me in")));
    server.set_connections_max(2);
    let mut late = Guest::new(cell, &server);
    late.say("let me in");
    waiting.push(first);
    waiting.iter_mut().for_each(|guest| assert_eq!(guest.ask("still").as_deref(), Some("still")));
    // Two of four leave, which makes no place yet.
    waiting.truncate(2);
    eventually("two have left", || server.counters().open == 2);
    waiting.iter_mut().for_each(|guest| assert_eq!(guest.ask("still").as_deref(), Some("still")));
    assert!(!late.has_heard());
    waiting.pop();
    assert_eq!(late.hear().as_deref(), Some("let me in"));
    drop((late, waiting));
    stop(&server);
}

fn a_paused_server_makes_wait_and_serves_those_it_has(cell: &Cell) {
    let server = cell.server().on_full(OnFull::Refuse);
    let handle = server.handle();
    let server = echo(server);
    let mut inside = served(cell, &server);
    for _ in 0..3 {
        handle.pause_accepting();
        let accepted = server.counters().accepted;
        // One that was being accepted at that very moment may have come in.
        let mut guests = [Guest::new(cell, &server), Guest::new(cell, &server)];
        guests.iter_mut().for_each(|guest| guest.say("hello"));
        for _ in 0..20 {
            assert_eq!(inside.ask("still").as_deref(), Some("still"));
        }
        assert!(server.counters().accepted <= accepted + 1, "{:?}", server.counters());
        assert!(guests.iter().any(|guest| !guest.has_heard()));
        handle.resume_accepting();
        guests.iter_mut().for_each(|guest| assert_eq!(guest.hear().as_deref(), Some("hello")));
    }
    assert_eq!(server.counters().refused.total(), 0);
    drop(inside);
    stop(&server);
}

fn what_is_told_before_the_start_holds_from_the_start_on(cell: &Cell) {
    let server = cell.server();
    let handle = server.handle();
    handle.set_connections_max(1);
    handle.pause_accepting();
    let server = echo(server);
    let mut guests = [Guest::new(cell, &server), Guest::new(cell, &server)];
    guests.iter_mut().for_each(|guest| guest.say("hello"));
    assert_eq!(server.counters().accepted, 0);
    handle.resume_accepting();
    let [mut first, mut second] = guests;
    assert_eq!(first.hear().as_deref(), Some("hello"));
    assert_eq!(server.counters().accepted, 1);
    drop(first);
    assert_eq!(second.hear().as_deref(), Some("hello"));
    drop(second);
    stop(&server);
}

fn a_handler_pauses_and_another_thread_resumes(cell: &Cell) {
    let server = cell.server().codec(Lines::default());
    let handle = server.handle();
    let server = server
        .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
            if line == "pause" {
                handle.pause_accepting();
            }
            cx.send(line)
        })
        .unwrap();
    let mut first = served(cell, &server);
    assert_eq!(first.ask("pause").as_deref(), Some("pause"));
    let mut second = Guest::new(cell, &server);
    second.say("hello");
    assert_eq!(first.ask("still").as_deref(), Some("still"));
    assert!(!second.has_heard());
    let remote = server.clone();
    std::thread::spawn(move || remote.resume_accepting()).join().unwrap();
    assert_eq!(second.hear().as_deref(), Some("hello"));
    // A server that is paused stops as any other.
    server.pause_accepting();
    drop((first, second));
    stop(&server);
}

fn a_pace_holds_up_and_loses_nobody(cell: &Cell) {
    let limits = limits(|limits| limits.accepts_per_second_max = Some(20));
    let server = echo(cell.server().limits(limits));
    let began = Instant::now();
    let mut guests: Vec<Guest> = (0..30).map(|_| Guest::new(cell, &server)).collect();
    guests.iter_mut().for_each(|guest| assert_eq!(guest.ask("hello").as_deref(), Some("hello")));
    // Twenty at once, and ten more at twenty a second.
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    assert_eq!(server.counters().accepted, 30);
    drop(guests);
    stop(&server);
}

// ---- Who is let in --------------------------------------------------------------------------------

fn a_panic_of_the_hook_refuses_that_one_and_is_counted(cell: &Cell) {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = echo(cell.server().admit(move |_| {
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            matrix::expected_panic();
        }
        true
    }));
    assert_eq!(Guest::new(cell, &server).hear(), None);
    let inside = served(cell, &server);
    let counters = server.counters();
    assert_eq!((counters.refused.not_admitted, counters.panics), (1, 1), "{counters:?}");
    assert_eq!((counters.accepted, counters.open), (2, 1), "{counters:?}");
    drop(inside);
    stop(&server);
}

/// The reset may be seen by the accept or by the first read.
fn a_peer_that_resets_before_it_is_accepted_costs_nothing(cell: &Cell) {
    let server = cell.server();
    server.handle().pause_accepting();
    let server = echo(server);
    (0..10).for_each(|_| cell.connect(&server).reset());
    server.resume_accepting();
    drop(served(cell, &server));
    eventually("all are gone", || {
        let counters = server.counters();
        counters.closed.total() == counters.accepted
    });
    let counters = server.counters();
    assert_eq!((counters.panics, counters.refused.total()), (0, 0), "{counters:?}");
    assert_eq!(counters.closed.transport + counters.closed.peer_closed, counters.accepted);
    stop(&server);
}

/// A client that is bound to an address of its own.
fn from(address: &str, server: &ServerHandle) -> Guest {
    use socket2::{Domain, Socket, Type};
    let to = *matrix::address(server).as_ip().unwrap();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = address.parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let wire = Wire::Tcp(TcpStream::from(OwnedFd::from(socket)));
    wire.patient();
    Guest::Wire(wire)
}

fn one_source_has_its_share_and_others_theirs(cell: &Cell) {
    const SHARE: usize = 10;
    let limits = limits(|limits| limits.connections_per_source_max = Some(SHARE));
    let server = echo(cell.server().limits(limits).on_full(OnFull::reply("too many\n")));
    let mut inside: Vec<Guest> = (0..SHARE).map(|_| from("127.0.0.1:0", &server)).collect();
    inside.iter_mut().for_each(|guest| assert_eq!(guest.ask("one").as_deref(), Some("one")));
    for _ in 0..1000 - SHARE {
        let mut more = from("127.0.0.1:0", &server);
        assert_eq!(more.hear().as_deref(), Some("too many"));
    }
    let mut other = from("127.0.0.2:0", &server);
    assert_eq!(other.ask("two").as_deref(), Some("two"));
    let counters = server.counters();
    assert_eq!(counters.refused.per_source, 1000 - SHARE as u64, "{counters:?}");
    assert_eq!((counters.open, counters.accepted), (SHARE as u64 + 1, 1001), "{counters:?}");
    drop(inside);
    eventually("its share is free", || {
        from("127.0.0.1:0", &server).ask("again").as_deref() == Some("again")
    });
    drop(other);
    stop(&server);
}

/// Loopback has one address of version 6 only; the network is in the unit tests.
fn a_whole_network_of_version_6_is_one_source(cell: &Cell) {
    let limits = limits(|limits| limits.connections_per_source_max = Some(1));
    let server = echo(cell.server().limits(limits));
    let inside = served(cell, &server);
    assert_eq!(Guest::new(cell, &server).hear(), None, "who is beyond its share does not wait");
    assert_eq!(server.counters().refused.per_source, 1);
    drop(inside);
    eventually("its share is free", || Guest::new(cell, &server).ask("again").is_some());
    stop(&server);
}

fn peers_without_an_address_are_no_source(cell: &Cell) {
    let limits = limits(|limits| limits.connections_per_source_max = Some(1));
    let server = echo(cell.server().limits(limits));
    let guests: Vec<Guest> = (0..5).map(|_| served(cell, &server)).collect();
    assert_eq!(server.counters().refused.total(), 0);
    drop(guests);
    stop(&server);
}

// ---- Broken listeners -------------------------------------------------------------------------------

fn a_broken_listener_ends_the_server_with_an_error(cell: &Cell) {
    use sockeye::socket::{TcpListener, UnixListener, UnixSeqListener};
    let dir = matrix::Dir::new();
    let at = sockeye::addr::UnixAddr::from_path(dir.0.join("s")).unwrap();
    let (server, kept): (Server<(), AnyEngine>, OwnedFd) = match cell.kind {
        Kind::Tcp4 | Kind::Tcp6 => {
            let at = if cell.kind == Kind::Tcp4 { "127.0.0.1:0" } else { "[::1]:0" };
            let listener = TcpListener::bind(at).unwrap();
            let kept = listener.try_clone().unwrap();
            (Server::on(listener).engine(cell.engine()), kept.into())
        }
        Kind::Unix => {
            let listener = UnixListener::bind(&at).unwrap();
            let kept = listener.try_clone().unwrap();
            (Server::on(listener).engine(cell.engine()), kept.into())
        }
        _ => {
            let listener = UnixSeqListener::bind(&at).unwrap();
            let kept = listener.try_clone().unwrap();
            (Server::on(listener).engine(cell.engine()), kept.into())
        }
    };
    let server = echo(server.and("tcp://127.0.0.1:0"));
    let mut inside = served(cell, &server);
    assert_eq!(inside.ask("hello").as_deref(), Some("hello"));
    socket2::SockRef::from(&kept).shutdown(std::net::Shutdown::Both).unwrap();
    let waiter = server.clone();
    let error = in_time("join", move || waiter.join()).unwrap_err();
    assert_eq!(error.operation(), "accept on", "{error}");
    assert_eq!(error.endpoint(), server.local_endpoints()[0].to_string());
    assert_eq!(error.kind(), ErrorKind::Other, "{error}");
    // Those that it has had the time to finish.
    assert_eq!(inside.hear(), None);
    let again = server.join().unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(server.counters().closed.finished, 1, "{:?}", server.counters());
    let [broken, other] = &server.listeners()[..] else { panic!("two listeners") };
    assert!(broken.errors >= 1 && other.errors == 0, "{broken:?}, {other:?}");
}

fn a_datagram_socket_that_is_shut_ends_the_server_with_an_error(cell: &Cell) {
    use sockeye::socket::{UdpSocket, UnixDatagram};
    use std::net::Shutdown;
    for how in [Shutdown::Read, Shutdown::Both] {
        let dir = matrix::Dir::new();
        let (server, kept): (Server, OwnedFd) = match cell.kind {
            Kind::UnixDatagram => {
                let at = sockeye::addr::UnixAddr::from_path(dir.0.join("s")).unwrap();
                let socket = UnixDatagram::bind(&at).unwrap();
                let kept = socket.try_clone().unwrap();
                (Server::on(socket), kept.into())
            }
            kind => {
                let at = if kind == Kind::Udp4 { "127.0.0.1:0" } else { "[::1]:0" };
                let socket = UdpSocket::bind(at).unwrap();
                let kept = socket.try_clone().unwrap();
                (Server::on(socket), kept.into())
            }
        };
        let server = echo(server.engine(cell.engine()));
        // It is done and said all the same that an IP socket is not connected.
        let _ = socket2::SockRef::from(&kept).shutdown(how);
        let waiter = server.clone();
        let error = in_time("join", move || waiter.join()).unwrap_err();
        assert_eq!(error.operation(), "receive on", "{error}");
        assert_eq!(error.endpoint(), server.local_endpoints()[0].to_string());
        let listener = &server.listeners()[0];
        assert_eq!((listener.state, listener.errors), (ListenerState::Closed, 1));
    }
}

// ---- Shortages --------------------------------------------------------------------------------------

/// Whether this is a process of the test's own, whose limits it may lower. If not, it is run in one.
fn alone(test: &str, cell: Option<&Cell>) -> bool {
    const ALONE: &str = "SOCKEYE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = cell.map_or(test.to_owned(), |cell| {
        let kind = match cell.kind {
            Kind::Tcp4 => "tcp4",
            Kind::Tcp6 => "tcp6",
            Kind::Unix => "unix",
            Kind::UnixSeqPacket => "unix_seqpacket",
            other => panic!("the name of {other:?} is not known here"),
        };
        format!("{test}::{}::{kind}", cell.engine)
    });
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--nocapture"]).env(ALONE, "1");
    let output = in_time(test, move || child.output().unwrap());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}\n{errors}");
    false
}

/// Takes all descriptors that the process may have; they are free again when it is dropped.
struct Taken(#[allow(dead_code, reason = "kept open")] Vec<File>);

impl Taken {
    fn all() -> Taken {
        // Those that are there are fewer than this, and there are not many to take.
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum: before.maximum })
            .unwrap();
        let mut taken = Vec::with_capacity(200);
        loop {
            match File::open("/dev/null") {
                Ok(file) => taken.push(file),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    return Taken(taken);
                }
            }
        }
    }
}

/// Notes what it is told of shortages, and of those refused.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }
}

impl Observer for Notes {
    fn refused(&self, _: &Peer, why: Refusal) {
        self.add(format!("refused: {why}"));
    }
    fn shortage_began(&self, at: &Endpoint, error: &io::Error) {
        self.add(format!("began at {at}: {}", error.raw_os_error().unwrap_or(0)));
    }
    fn shortage_ended(&self, at: &Endpoint) {
        self.add(format!("ended at {at}"));
    }
}

/// Three who wait at a server that has one, and no descriptor for them.
fn three_too_many(
    cell: &Cell,
    on_full: OnFull,
    notes: &Notes,
) -> (ServerHandle, Guest, Vec<Guest>, Taken) {
    let server = echo(cell.server().on_full(on_full).observer(notes.clone()));
    let inside = served(cell, &server);
    server.pause_accepting();
    let mut waiting: Vec<Guest> = (0..4).map(|_| Guest::new(cell, &server)).collect();
    waiting.iter_mut().for_each(|guest| guest.say("let me in"));
    // One may have come in at the moment of the pause.
    waiting.retain(|guest| !guest.has_heard());
    waiting.truncate(3);
    let taken = Taken::all();
    server.resume_accepting();
    (server, inside, waiting, taken)
}

fn a_shortage_of_descriptors_is_waited_for(cell: &Cell) {
    if !alone("a_shortage_of_descriptors_is_waited_for", Some(cell)) {
        return;
    }
    let (began, notes) = (Instant::now(), Notes::default());
    let (server, mut inside, mut waiting, taken) = three_too_many(cell, OnFull::Wait, &notes);
    eventually("it has tried often", || {
        assert_eq!(inside.ask("still").as_deref(), Some("still"));
        server.counters().accept_failed >= 8
    });
    let counters = server.counters();
    assert_eq!((counters.shortages, counters.refused.total()), (1, 0), "{counters:?}");
    // After 10, 20 and 40 ms it is every 80 ms, however many loops there are.
    let most = 5 + began.elapsed().as_millis() as u64 / 80;
    assert!(counters.accept_failed <= most, "{counters:?}, at most {most}");
    assert!(waiting.iter().all(|guest| !guest.has_heard()));
    let (at, short) = (&server.local_endpoints()[0], libc::EMFILE);
    assert_eq!(notes.all(), [format!("began at {at}: {short}")]);
    let listener = &server.listeners()[0];
    assert_eq!(listener.state, ListenerState::Paused);
    assert!(listener.errors >= counters.accept_failed, "{listener:?}, {counters:?}");
    drop(taken);
    waiting.iter_mut().for_each(|guest| assert_eq!(guest.hear().as_deref(), Some("let me in")));
    assert_eq!(server.counters().shortages, 1);
    assert_eq!(server.listeners()[0].state, ListenerState::Accepting);
    // With the first accept after all has been well for a second.
    eventually("it is over", || {
        drop(served(cell, &server));
        notes.all().len() > 1
    });
    assert_eq!(notes.all()[1..], [format!("ended at {at}")]);
    drop((inside, waiting));
    stop(&server);
}

fn in_a_shortage_of_descriptors_those_who_wait_are_told(cell: &Cell) {
    if !alone("in_a_shortage_of_descriptors_those_who_wait_are_told", Some(cell)) {
        return;
    }
    let (busy, notes) = (OnFull::reply("busy\n"), Notes::default());
    let (server, mut inside, mut waiting, taken) = three_too_many(cell, busy, &notes);
    for guest in &mut waiting {
        assert_eq!(guest.hear().as_deref(), Some("busy"));
        assert_eq!(guest.hear(), None);
        assert_eq!(inside.ask("still").as_deref(), Some("still"));
    }
    let counters = server.counters();
    assert_eq!(counters.shortages, 1, "{counters:?}");
    assert!(counters.refused.no_descriptor >= 3, "{counters:?}");
    assert_eq!(counters.refused.no_descriptor, counters.refused.total(), "{counters:?}");
    let all = notes.all();
    let told = all.iter().filter(|note| *note == "refused: no descriptor is left").count();
    assert!(told >= 3 && all.len() == told + 1, "{all:?}");
    drop(taken);
    drop(served(cell, &server));
    drop(inside);
    stop(&server);
}

/// On threads a session that others can reach has a descriptor of its own, which it can do without.
fn a_session_is_reached_without_a_descriptor_that_wakes_it(cell: &Cell) {
    if !alone("a_session_is_reached_without_a_descriptor_that_wakes_it", Some(cell)) {
        return;
    }
    let (remotes, remote) = mpsc::channel();
    let server = cell.server().codec(Lines::default());
    let server = server
        .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
            if line == "remote" {
                remotes.send(cx.remote()).unwrap();
            }
            cx.send(line);
        })
        .unwrap();
    let mut inside = served(cell, &server);
    let taken = Taken::all();
    assert_eq!(inside.ask("remote").as_deref(), Some("remote"));
    let remote = matrix::next(&remote);
    for round in ["one", "two", "three"] {
        remote.send(round).unwrap();
        assert_eq!(inside.hear().as_deref(), Some(round));
        assert_eq!(inside.ask("still").as_deref(), Some("still"));
    }
    drop(taken);
    drop(inside);
    let report = stop(&server);
    assert_eq!(report.counters.closed.total(), 1, "{report:?}");
    assert_eq!(report.counters.closed.transport, 0, "{report:?}");
}

/// How many bytes of addresses the process has taken.
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

/// Stacks so large that none fits into the address space that is left.
#[test]
fn a_connection_without_a_thread_is_refused_and_the_server_lives() {
    if !alone("a_connection_without_a_thread_is_refused_and_the_server_lives", None) {
        return;
    }
    const STACK: usize = 512 << 20;

    for (on_full, told) in [(OnFull::Wait, None), (OnFull::reply("busy\n"), Some("busy"))] {
        for kind in [Kind::Tcp4, Kind::Unix, Kind::UnixSeqPacket, Kind::Memory] {
            let cell = Cell::new("threads", kind);
            let engine = Threads::default().stack_bytes(STACK);
            let notes = Notes::default();
            let server = cell.server().engine(engine).on_full(on_full.clone());
            let server = echo(server.observer(notes.clone()));
            let mut inside = served(&cell, &server);
            let before = getrlimit(Resource::As);
            let lower = Rlimit {
                current: Some(address_space() + STACK as u64 / 2),
                maximum: before.maximum,
            };
            setrlimit(Resource::As, lower).unwrap();
            for _ in 0..3 {
                let mut guest = Guest::new(&cell, &server);
                assert_eq!(guest.hear().as_deref(), told);
                assert_eq!(guest.hear(), None);
                assert_eq!(inside.ask("still").as_deref(), Some("still"));
            }
            let (ours, _theirs) = sockeye::socket::UnixStream::pair().unwrap();
            server
                .adopt(ours, Lines::default(), |_: &str, _: &mut Context<'_, Lines>| {})
                .unwrap_err();
            assert_eq!(server.counters().adopted, 0);
            // Who is told nothing may read the end before it is counted.
            eventually("all are counted", || server.counters().accept_failed == 3);
            eventually("it is told", || notes.all().len() >= 4);
            let counters = server.counters();
            assert_eq!((counters.refused.no_thread, counters.shortages), (3, 1), "{counters:?}");
            assert_eq!((counters.refused.total(), counters.open), (3, 1), "{counters:?}");
            let all = notes.all();
            let told = all.iter().filter(|note| *note == "refused: no thread could be made");
            assert_eq!((told.count(), all.len()), (3, 4), "{all:?}");
            setrlimit(Resource::As, before).unwrap();
            drop(served(&cell, &server));
            drop(inside);
            stop(&server);
        }
    }
}

// ---- Every error of accept ----------------------------------------------------------------------------

// A worker may be within a call when the test sets a fault, and that call may take who comes next.

/// A server whose calls of accept(2) fail as the test wishes, and one that it serves.
fn faulty(
    cell: &Cell,
    test: &str,
    on_full: OnFull,
) -> Option<(ServerHandle, Guest, Notes, Faults)> {
    let notes = Notes::default();
    // Some clients stay until the end: nobody lingers for them.
    let limits = limits(|limits| limits.linger_timeout = Duration::from_millis(1));
    let server = cell.server().limits(limits).on_full(on_full).observer(notes.clone());
    let (server, faults) = Faults::among(test, &[libc::SYS_accept4], move || echo(server))?;
    let inside = served(cell, &server);
    Some((server, inside, notes, faults))
}

/// All that accept(2) says of the connection and not of the listener, and what is nobody's fault.
fn an_error_of_one_connection_is_passed_over_at_once(cell: &Cell) {
    let test = "an_error_of_one_connection_is_passed_over_at_once";
    let Some((server, inside, notes, faults)) = faulty(cell, test, OnFull::Wait) else { return };
    let errors = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPROTO,
        libc::EPERM,
        libc::ETIMEDOUT,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
    ];
    for error in errors {
        faults.once(error);
        eventually("a call fails, and the next does not", || {
            drop(served(cell, &server));
            faults.counts().1 == 0
        });
    }
    assert_eq!(faults.counts().0, errors.len() as u64);
    let counters = server.counters();
    assert_eq!((counters.accept_failed, counters.shortages), (0, 0), "{counters:?}");
    assert_eq!((counters.refused.total(), notes.all()), (0, vec![]), "{counters:?}");
    drop(inside);
    stop(&server);
}

fn a_shortage_of_any_kind_is_waited_for(cell: &Cell) {
    let test = "a_shortage_of_any_kind_is_waited_for";
    for short in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        let began = Instant::now();
        let Some((server, mut inside, notes, faults)) = faulty(cell, test, OnFull::Wait) else {
            return;
        };
        faults.always(Some(short));
        let mut waiting: Vec<Guest> = (0..3).map(|_| Guest::new(cell, &server)).collect();
        waiting.iter_mut().for_each(|guest| guest.say("let me in"));
        eventually("it has tried often", || {
            assert_eq!(inside.ask("still").as_deref(), Some("still"));
            faults.counts().0 >= 6
        });
        // After 10, 20, 40 and 80 ms it is every tenth of a second, however many loops there are.
        let (failed, most) = (faults.counts().0, 5 + began.elapsed().as_millis() as u64 / 100);
        assert!(failed <= most, "{failed} calls, at most {most}");
        assert!(waiting.iter().filter(|guest| guest.has_heard()).count() <= 1);
        assert_eq!(notes.all(), [format!("began at {}: {short}", server.local_endpoints()[0])]);
        faults.always(None);
        waiting.iter_mut().for_each(|guest| assert_eq!(guest.hear().as_deref(), Some("let me in")));
        let counters = server.counters();
        assert_eq!((counters.shortages, counters.refused.total()), (1, 0), "{counters:?}");
        assert_eq!(counters.accept_failed, faults.counts().0, "{counters:?}");
        assert_eq!(counters.accepted, 4, "{counters:?}");
        drop((inside, waiting));
        stop(&server);
    }
}

/// The descriptor in reserve helps against a full table of the process or of the system, and against
/// nothing else.
fn who_waits_at_a_full_table_is_told_with_the_descriptor_in_reserve(cell: &Cell) {
    let test = "who_waits_at_a_full_table_is_told_with_the_descriptor_in_reserve";
    for (short, tells) in [(libc::EMFILE, true), (libc::ENFILE, true), (libc::ENOBUFS, false)] {
        let busy = OnFull::reply("busy\n");
        let Some((server, inside, _, faults)) = faulty(cell, test, busy) else { return };
        faults.every_other(short);
        let told = || {
            let mut guest = Guest::new(cell, &server);
            guest.say("let me in");
            let told = guest.hear().unwrap();
            assert!(told == "busy" || told == "let me in", "{told}");
            told == "busy"
        };
        // Another worker may be ahead of the one that was refused.
        if tells {
            eventually("one is told", told);
        } else {
            assert!((0..5).all(|_| !told()));
        }
        faults.always(None);
        let counters = server.counters();
        assert!(counters.accept_failed >= 1 && counters.shortages == 1, "{counters:?}");
        assert_eq!(counters.refused.no_descriptor, u64::from(tells), "{counters:?}");
        assert_eq!(counters.refused.total(), u64::from(tells), "{counters:?}");
        drop((served(cell, &server), inside));
        stop(&server);
    }
}

fn an_error_of_the_listener_ends_the_server(cell: &Cell) {
    let test = "an_error_of_the_listener_ends_the_server";
    for broken in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT] {
        let Some((server, mut inside, _, faults)) = faulty(cell, test, OnFull::Wait) else {
            return;
        };
        faults.always(Some(broken));
        let mut waiting = Vec::new();
        eventually("it stops", || {
            waiting.extend(Guest::try_new(cell, &server));
            server.is_stopping()
        });
        let waiter = server.clone();
        let error = in_time("join", move || waiter.join()).unwrap_err();
        assert_eq!(error.operation(), "accept on", "{error}");
        assert_eq!(error.endpoint(), server.local_endpoints()[0].to_string());
        assert_eq!(error.io_error().raw_os_error(), Some(broken), "{error}");
        assert_eq!(inside.hear(), None);
        // One more may have come in.
        let counters = server.counters();
        assert_eq!(counters.closed.finished, counters.accepted, "{counters:?}");
    }
}
