//! Pressure: peers that do not read, threads that never stop speaking, codecs that look ahead, and
//! what of it may cost processor time or descriptors.
//!
//! A file of its own, because it measures the whole process: its tests take turns.

mod matrix;

use matrix::{Cell, Dir, ENGINES, Kind, PATIENCE, eventually, stop};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sockeye::addr::Peer;
use sockeye::codec::{Codec, Edge, Found, FrameError, Lines};
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::handler::{Context, Handler, Outcome, Remote};
use sockeye::observer::Observer;
use sockeye::server::Server;
use sockeye::socket::{AnyStream, Options, TcpListener, UnixStream};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engines() -> [AnyEngine; 2] {
    [AnyEngine::Threads(Threads::default()), AnyEngine::Events(Events::workers(1))]
}

/// How busy the process is in the end, from 0 to 1 processor and more. What it still has to do at first
/// may take long on a slow machine; what spins does not cease to.
fn load_in_the_end() -> f64 {
    let start = Instant::now();
    loop {
        let load = load();
        if load < BUSY || start.elapsed() > PATIENCE {
            return load;
        }
    }
}

/// More than who only waits, less than who spins.
const BUSY: f64 = 0.3;

/// How busy the process is for a while.
fn load() -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    let (before, start) = (ticks(), Instant::now());
    thread::sleep(Duration::from_millis(500));
    (ticks() - before) / 100.0 / start.elapsed().as_secs_f64()
}

/// Lines that go on if the next begins with two spaces: their end shows two bytes later.
#[derive(Clone)]
struct Folded;

impl Codec for Folded {
    type Frame<'a> = &'a [u8];
    type Item = [u8];
    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        for at in (0..input.len()).filter(|at| input[*at] == b'\n') {
            match input.get(at + 1..at + 3) {
                None if edge == Edge::Open => return Ok(Found::Nothing),
                Some(b"  ") => {}
                _ => return Ok(Found::Frame { body: 0..at, used: at + 1 }),
            }
        }
        Ok(Found::Nothing)
    }
    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }
    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let start = out.len();
        out.extend_from_slice(item);
        out.push(b'\n');
        Ok(start..out.len() - 1)
    }
}

#[test]
fn a_codec_that_looks_ahead_gets_each_frame_once() {
    let _turn = my_turn();
    for engine in engines() {
        let server = Server::tcp("127.0.0.1:0").engine(engine).codec(Folded);
        let server = server.serve(|frame, cx| cx.send(frame)).unwrap();
        let mut client = TcpStream::connect(
            server.local_endpoints()[0].to_string().trim_start_matches("tcp://"),
        )
        .unwrap();
        client.set_nodelay(true).unwrap();
        for part in [&b"ab\nc"[..], b"d", b"e\nf", b"gh\n  i\n", b"jk\n"] {
            client.write_all(part).unwrap();
            thread::sleep(Duration::from_millis(30));
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut replies = String::new();
        client.read_to_string(&mut replies).unwrap();
        assert_eq!(replies, "ab\ncde\nfgh\n  i\njk\n");
        server.stop(Duration::ZERO);
        server.join().unwrap();
    }
}

/// Wakes itself again and again, to work on something bit by bit.
struct Restless(Option<Remote<Lines>>);

impl Handler<Lines> for Restless {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let remote = cx.remote();
        remote.wake();
        self.0 = Some(remote);
        cx.set_timer(Duration::from_millis(20));
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.0.as_ref().unwrap().wake();
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("timer");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        Ok(())
    }
}

#[test]
fn letters_without_end_hold_up_neither_input_nor_timers_nor_a_stop() {
    let _turn = my_turn();
    for engine in engines() {
        let server = Server::tcp("127.0.0.1:0").engine(engine).codec(Lines::default());
        let server = server.serve_with(|_| Restless(None)).unwrap();
        let at = server.local_endpoints()[0].to_string();
        let client = TcpStream::connect(at.trim_start_matches("tcp://")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(&client).lines();
        let timer = lines.next().unwrap();
        (&client).write_all(b"hello\n").unwrap();
        let hello = lines.next().unwrap();
        server.stop(Duration::from_millis(50));
        let report = server.join().unwrap();
        assert_eq!(timer.unwrap(), "timer");
        assert_eq!(hello.unwrap(), "hello");
        assert_eq!((report.forced, report.abandoned), (1, 0));
    }
}

#[test]
fn letters_to_a_session_that_ends_leave_no_descriptor_behind() {
    let _turn = my_turn();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let server = Server::new().codec(Lines::default()).serve(|_: &str, _| {}).unwrap();
    let before = count();
    for _ in 0..20 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let last_words = |_: &str, cx: &mut Context<'_, Lines>| {
            cx.remote().wake();
            cx.abort();
        };
        let remote = server.adopt(ours, Lines::default(), last_words).unwrap();
        thread::sleep(Duration::from_millis(5)); // so that it sleeps, and has what wakes it
        theirs.write_all(b"go\n").unwrap();
        eventually("the session is over", || remote.is_closed());
    }
    eventually("no descriptor is left", || count() == before);
    server.stop(Duration::ZERO);
    server.join().unwrap();
}

#[test]
fn a_datagram_peer_that_reads_late_gets_all_and_costs_no_processor() {
    let _turn = my_turn();
    for engine in engines() {
        let dir = Dir::new();
        let path = |end: &str| dir.0.join(end);
        let peer = UnixDatagram::bind(path("c")).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let (told, remotes) = mpsc::channel();
        let server = Server::on(format!("unix+dgram://{}", path("s").display()))
            .engine(engine)
            .codec(Lines::default())
            .serve(move |_: &str, cx: &mut Context<'_, Lines>| told.send(cx.remote()).unwrap())
            .unwrap();
        peer.send_to(b"remote", path("s")).unwrap();
        let remote: Remote<Lines> = remotes.recv_timeout(PATIENCE).unwrap();
        // More than the system keeps for one who does not read.
        (0..2000).for_each(|n| remote.send(&n.to_string()).unwrap());
        let load = load_in_the_end();
        let mut buffer = [0; 64];
        let got: Vec<usize> = (0..2000).map_while(|_| peer.recv(&mut buffer).ok()).collect();
        server.stop(Duration::ZERO);
        let counters = server.join().unwrap().counters;
        assert_eq!(got.len(), 2000);
        let written = (0..2000).map(|n: u64| n.to_string().len() as u64).sum();
        assert_eq!((counters.bytes_read, counters.bytes_written), (6, written));
        assert!(load < BUSY, "{load} processors busy");
    }
}

#[test]
fn a_datagram_peer_that_asks_and_does_not_read_costs_no_processor() {
    let _turn = my_turn();
    for engine in engines() {
        let dir = Dir::new();
        let path = |end: &str| dir.0.join(end);
        let peer = UnixDatagram::bind(path("c")).unwrap();
        let server = Server::on(format!("unix+dgram://{}", path("s").display()))
            .engine(engine)
            .codec(Lines::default())
            .serve(|line: &str, cx: &mut Context<'_, Lines>| cx.send(line))
            .unwrap();
        (0..2000).for_each(|_| assert_eq!(peer.send_to(b"x", path("s")).unwrap(), 1));
        let load = load_in_the_end();
        server.stop(Duration::ZERO);
        server.join().unwrap();
        assert!(load < BUSY, "{load} processors busy");
    }
}

#[test]
fn a_start_that_fails_leaves_no_socket_file() {
    let _turn = my_turn();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = Dir::new();
    let path = dir.0.join("s");
    let server = Server::unix(&path).and(format!("tcp://{}", taken.local_addr().unwrap()));
    server.codec(Lines::default()).serve(|_: &str, _| {}).unwrap_err();
    let left = std::fs::remove_file(&path).is_ok();
    assert!(!left, "the socket file is still there");
}

/// Stays when the server stops.
#[derive(Clone)]
struct Stays;

impl Handler<Lines> for Stays {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_listener_that_the_program_keeps_costs_no_processor_after_a_stop() {
    let _turn = my_turn();
    for engine in engines() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let kept = listener.try_clone().unwrap();
        let server = Server::on(listener).engine(engine).codec(Lines::default());
        let server = server.serve_with(|_| Stays).unwrap();
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(b"hello\n").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        server.stop(PATIENCE * 2);
        let _late = TcpStream::connect(at).unwrap();
        let load = load_in_the_end();
        server.stop(Duration::ZERO);
        server.join().unwrap();
        drop(kept);
        assert!(load < BUSY, "{load} processors busy");
    }
}

/// Takes `out` for its own.
#[derive(Clone)]
struct Careless;

impl Codec for Careless {
    type Frame<'a> = &'a [u8];
    type Item = [u8];
    fn find(&mut self, input: &[u8], _: Edge) -> Result<Found, FrameError> {
        Ok(Found::Frame { body: 0..input.len(), used: input.len() })
    }
    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
        Ok(body)
    }
    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        if item == b"bad" {
            out.clear();
        }
        out.extend_from_slice(item);
        Ok(0..item.len())
    }
}

#[test]
fn a_codec_that_empties_the_output_ends_its_own_session_only() {
    let _turn = my_turn();
    let server = Server::tcp("127.0.0.1:0").engine(Events::workers(1)).codec(Careless);
    let server = server.serve(|frame, cx| cx.send(frame)).unwrap();
    let at = server.local_endpoints()[0].to_string();
    let connect = || {
        let client = TcpStream::connect(at.trim_start_matches("tcp://")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    let (mut good, mut bad) = (connect(), connect());
    good.write_all(b"one").unwrap();
    good.read_exact(&mut [0; 3]).unwrap();
    bad.write_all(b"bad").unwrap();
    let _ = bad.read_to_end(&mut Vec::new());
    good.write_all(b"two").unwrap();
    let two = good.read_exact(&mut [0; 3]);
    server.stop(Duration::ZERO);
    let report = server.join().unwrap();
    two.expect("the worker is alive");
    assert_eq!(report.counters.closed.panicked, 1);
}

// ---- Those who are idle ---------------------------------------------------------------------------

/// How many of its peers did not read, and how many do again.
#[derive(Clone, Default)]
struct Flow(Arc<[AtomicUsize; 2]>);

impl Flow {
    fn count(&self) -> [usize; 2] {
        [0, 1].map(|index| self.0[index].load(Ordering::SeqCst))
    }
}

impl Observer for Flow {
    fn stalled(&self, _: &Peer, _: usize) {
        self.0[0].fetch_add(1, Ordering::SeqCst);
    }
    fn flowed(&self, _: &Peer) {
        self.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

/// The epoll descriptors of the process.
fn epolls() -> Vec<String> {
    let mut epolls = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().contains("[eventpoll]") {
            epolls.push(entry.file_name().into_string().unwrap());
        }
    }
    epolls
}

/// How many sockets all epolls wait to write to: see proc_pid_fdinfo(5).
fn waits_to_write() -> usize {
    const EPOLLOUT: u32 = 4;
    let infos =
        epolls().into_iter().map(|fd| fs::read_to_string(format!("/proc/self/fdinfo/{fd}")));
    let infos: String = infos.flatten().collect();
    let events = infos.lines().filter(|line| line.starts_with("tfd:")).map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "events:");
        u32::from_str_radix(words.nth(1).expect("events"), 16).unwrap()
    });
    events.filter(|events| events & EPOLLOUT != 0).count()
}

/// What the threads of servers have done: how often each was switched, and how long it ran.
fn work_done() -> Vec<String> {
    let mut work = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with("sockeye") {
            let status = read("status");
            let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
            let ticks: Vec<String> = read("stat")
                .rsplit(')')
                .next()
                .unwrap()
                .split_whitespace()
                .skip(11)
                .take(2)
                .map(str::to_owned)
                .collect();
            work.push(format!("{:?} {ticks:?}", switches.collect::<Vec<_>>()));
        }
    }
    work
}

#[test]
fn idle_connections_cost_nothing_once_their_output_is_read() {
    const CLIENTS: usize = 20;
    const REPLY: usize = 500_000;
    let _turn = my_turn();
    for engine in ENGINES {
        for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Unix, Kind::Memory] {
            let (cell, flow) = (Cell::new(engine, kind), Flow::default());
            let small = Options::new().send_buffer(16 * 1024);
            let server = cell.server().observer(flow.clone());
            let server = if kind == Kind::Memory { server } else { server.options(small) };
            let server = server
                .codec(Lines::at_most(REPLY))
                .serve(|_: &str, cx: &mut Context<'_, Lines>| cx.send(&"x".repeat(REPLY - 1)))
                .unwrap();
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| cell.connect(&server)).collect();
            clients.iter_mut().for_each(|client| client.say("much\n"));
            eventually("all wait for their peers", || flow.count() == [CLIENTS, 0]);
            let polled = engine != "threads" && kind != Kind::Memory;
            assert_eq!(waits_to_write(), if polled { CLIENTS } else { 0 }, "{engine} {kind:?}");
            let mut reply = vec![0; REPLY];
            clients.iter_mut().for_each(|client| client.read_exact(&mut reply).unwrap());
            eventually("all have it", || flow.count() == [CLIENTS, CLIENTS]);
            eventually("nobody waits to write", || waits_to_write() == 0);
            // Who spins or wakes by the clock never comes to rest.
            eventually("all threads are at rest", || {
                let before = work_done();
                assert!(before.len() >= if engine == "threads" { CLIENTS } else { 1 });
                thread::sleep(Duration::from_millis(300));
                work_done() == before
            });
            clients.iter_mut().for_each(|client| client.say("once more\n"));
            clients.iter_mut().for_each(|client| client.read_exact(&mut reply).unwrap());
            drop(clients);
            stop(&server);
        }
    }
}

fn sockets() -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_socket = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    entries.filter(is_socket).map(name).collect()
}

/// What a child has that was forked, without a child.
fn duplicate(number: i32) -> OwnedFd {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(this, number, PidfdGetfdFlags::empty()).unwrap()
}

#[test]
fn a_connection_that_a_child_or_the_program_keeps_costs_no_processor_after_its_end() {
    let _turn = my_turn();
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    for engine in ["threads", "events_1"] {
        // Where descriptors may come, the engine polls in another way.
        for (kind, adopted, descriptors) in [
            (Kind::Tcp4, false, false),
            (Kind::Unix, false, false),
            (Kind::Unix, false, true),
            (Kind::UnixSeqPacket, false, false),
            (Kind::UnixSeqPacket, false, true),
            (Kind::Tcp4, true, false),
            (Kind::Unix, true, false),
        ] {
            let cell = Cell::new(engine, kind);
            let server = cell.server();
            let server = if descriptors { server.descriptors(true) } else { server };
            let server = server.codec(Lines::default()).serve(echo).unwrap();
            let before = sockets();
            let (kept, client): (OwnedFd, OwnedFd) = match (kind, adopted) {
                (Kind::Tcp4, true) => {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().unwrap();
                    let kept = stream.try_clone().unwrap();
                    server.adopt(stream, Lines::default(), echo).unwrap();
                    (kept.into(), client.into())
                }
                (_, true) => {
                    let (ours, client) = UnixStream::pair().unwrap();
                    let kept = ours.try_clone().unwrap();
                    server.adopt(AnyStream::from(ours), Lines::default(), echo).unwrap();
                    (kept.into(), client.into())
                }
                _ => {
                    let client: OwnedFd = match kind {
                        Kind::Tcp4 => match cell.connect(&server) {
                            matrix::Wire::Tcp(stream) => stream.into(),
                            _ => unreachable!(),
                        },
                        Kind::Unix => match cell.connect(&server) {
                            matrix::Wire::Unix(stream) => stream.into(),
                            _ => unreachable!(),
                        },
                        _ => match cell.post(&server) {
                            matrix::Post::Record(socket) => socket.into(),
                            _ => unreachable!(),
                        },
                    };
                    use std::os::fd::AsRawFd;
                    let number = client.as_raw_fd();
                    eventually("it is accepted", || server.counters().open == 1);
                    let new: Vec<i32> = sockets().difference(&before).copied().collect();
                    let theirs = new.into_iter().find(|fd| *fd != number).expect("a socket");
                    (duplicate(theirs), client)
                }
            };
            eventually("it is open", || server.counters().open == 1);
            // The end of the stream, and for the kernel nobody has closed it.
            socket2::SockRef::from(&client).shutdown(std::net::Shutdown::Both).unwrap();
            drop(client);
            eventually("it is over", || server.counters().open == 0);
            let load = load_in_the_end();
            assert!(load < BUSY, "{engine} {kind:?} {adopted} {descriptors}: {load} busy");
            drop(kept);
            stop(&server);
        }
    }
}
