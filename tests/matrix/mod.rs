//! The matrix: every engine, every kind of endpoint, and clients that know nothing of the library.
//!
//! A test is a function of a [`Cell`]; [`on_streams!`], [`on_datagrams!`] and [`on_all!`] make a
//! module of its name that runs it on each cell, as `test::engine::kind`. No test waits for ever:
//! clients read with a timeout of [`PATIENCE`], and so do the helpers below.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its own part")]

use sockeye::addr::AnyAddr;
use sockeye::client::{Client, Framed};
use sockeye::codec::Codec;
use sockeye::engine::{AnyEngine, Counters, Events, Report, Threads};
use sockeye::handler::CloseReason;
use sockeye::memory::{Dialer, Listener};
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::UnixSeqPacket;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How much a stream in memory holds in each direction: about what sockets do.
pub const MEMORY_BYTES: usize = 64 * 1024;

/// The engines of the matrix.
pub const ENGINES: [&str; 3] = ["threads", "events_1", "events_2"];

/// A kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp4,
    Tcp6,
    Unix,
    Udp4,
    Udp6,
    UnixDatagram,
    UnixSeqPacket,
    Memory,
}

/// What does not run in memory, and why.
const NOT_IN_MEMORY: &[(&str, &str)] = &[
    ("a_used_address_is_refused_and_free_again_afterwards", "there is no address"),
    ("bound_sockets_have_the_options", "there is no socket"),
    ("one_set_serves_every_endpoint", "there is no socket"),
    ("bad_values_are_errors_where_they_are_options", "there is no socket"),
];

/// Why a test does not run on this kind of endpoint, if it does not.
pub fn left_out(test: &str, kind: Kind) -> Option<&'static str> {
    let row = NOT_IN_MEMORY.iter().find(|row| kind == Kind::Memory && row.0 == test);
    row.map(|row| row.1)
}

/// One engine and one kind of endpoint.
pub struct Cell {
    pub engine: &'static str,
    pub kind: Kind,
    dir: Dir,
    /// What connects to the last server, if it is in memory.
    dialer: Mutex<Option<Dialer>>,
}

impl Cell {
    pub fn new(engine: &'static str, kind: Kind) -> Cell {
        Cell { engine, kind, dir: Dir::new(), dialer: Mutex::new(None) }
    }

    pub fn engine(&self) -> AnyEngine {
        match self.engine {
            "threads" => AnyEngine::Threads(Threads::default()),
            "events_1" => AnyEngine::Events(Events::workers(1)),
            "events_2" => AnyEngine::Events(Events::workers(2)),
            other => panic!("the matrix has no engine {other}"),
        }
    }

    /// The name of an endpoint that is free.
    pub fn endpoint(&self) -> String {
        let path = self.dir.0.join(format!("s{}", number()));
        match self.kind {
            Kind::Tcp4 => "tcp://127.0.0.1:0".to_owned(),
            Kind::Tcp6 => "tcp://[::1]:0".to_owned(),
            Kind::Udp4 => "udp://127.0.0.1:0".to_owned(),
            Kind::Udp6 => "udp://[::1]:0".to_owned(),
            Kind::Unix => format!("unix://{}", path.display()),
            Kind::UnixDatagram => format!("unix+dgram://{}", path.display()),
            Kind::UnixSeqPacket => format!("unix+seqpacket://{}", path.display()),
            Kind::Memory => panic!("nothing names an endpoint in memory"),
        }
    }

    /// A server on this engine, at a free endpoint.
    pub fn server(&self) -> Server<(), AnyEngine> {
        if self.kind != Kind::Memory {
            return Server::on(self.endpoint()).engine(self.engine());
        }
        let listener = Listener::new(MEMORY_BYTES);
        *self.dialer.lock().unwrap() = Some(listener.dialer());
        Server::on(listener).engine(self.engine())
    }

    /// What connects to the server in memory that this cell made last.
    pub fn dialer(&self) -> Dialer {
        self.dialer.lock().unwrap().clone().expect("a server in memory was made")
    }

    /// A connected client that knows only sockets of std.
    pub fn connect(&self, server: &ServerHandle) -> Wire {
        let wire = self.dial(server)().expect("the server listens");
        wire.patient();
        wire
    }

    /// What connects to this server, the last one of this cell, from any thread.
    pub fn dial(&self, server: &ServerHandle) -> impl Fn() -> io::Result<Wire> + Send + 'static {
        let dialer = (self.kind == Kind::Memory).then(|| self.dialer());
        let server = server.clone();
        move || match &dialer {
            Some(dialer) => Ok(Wire::Memory(dialer.connect()?)),
            None => connect(&server),
        }
    }

    /// A client of the library.
    pub fn client<C: Codec>(&self, server: &ServerHandle, codec: C) -> Framed<C> {
        let client = match self.kind {
            Kind::Memory => Client::memory(&self.dialer()).timeout(PATIENCE).codec(codec).connect(),
            _ => {
                let endpoint = &server.local_endpoints()[0];
                Client::to(endpoint).timeout(PATIENCE).codec(codec).connect()
            }
        };
        client.expect("the server listens")
    }

    /// A datagram client of its own address.
    pub fn post(&self, server: &ServerHandle) -> Post {
        match address(server) {
            AnyAddr::Ip(to) => {
                let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(to).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Post::Udp(socket)
            }
            AnyAddr::Unix(to) if self.kind == Kind::UnixSeqPacket => {
                let socket = UnixSeqPacket::connect(to).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Post::Record(socket)
            }
            AnyAddr::Unix(to) => {
                let socket = UnixDatagram::bind(self.dir.0.join(format!("c{}", number()))).unwrap();
                socket.connect(to.as_path().expect("the server has a path")).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Post::Unix(socket)
            }
        }
    }
}

pub fn address(server: &ServerHandle) -> AnyAddr {
    server.local_endpoints()[0].to_addr().expect("local endpoints are numeric")
}

pub fn connect(server: &ServerHandle) -> io::Result<Wire> {
    Ok(match address(server) {
        AnyAddr::Ip(to) => {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            Wire::Tcp(stream)
        }
        AnyAddr::Unix(to) => Wire::Unix(UnixStream::connect(to.as_path().expect("a path"))?),
    })
}

/// A connected stream of std, or one in memory.
pub enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Memory(sockeye::memory::Stream),
}

impl Wire {
    pub fn patient(&self) {
        match self {
            Wire::Tcp(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Wire::Unix(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Wire::Memory(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
        }
    }

    pub fn say(&mut self, text: &str) {
        self.write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next line, without its newline; `None` at the end of the stream.
    pub fn hear(&mut self) -> Option<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            match self.read(&mut byte).expect("a line or the end, and soon") {
                0 if line.is_empty() => return None,
                0 => panic!("the stream ended within {:?}", String::from_utf8_lossy(&line)),
                _ if byte[0] == b'\n' => return Some(String::from_utf8(line).unwrap()),
                _ => line.push(byte[0]),
            }
        }
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.read_to_end(&mut rest).expect("the end of the stream, and soon");
        String::from_utf8(rest).unwrap()
    }

    /// Reads until the end or a reset, whichever it is.
    pub fn end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("the server did not close the connection")
            }
            Err(error) => Err(error),
            Ok(_) => Ok(rest),
        }
    }

    pub fn shutdown(&self, how: Shutdown) {
        self.try_shutdown(how).unwrap();
    }

    pub fn try_shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.shutdown(how),
            Wire::Unix(stream) => stream.shutdown(how),
            Wire::Memory(stream) => stream.shutdown(how),
        }
    }

    pub fn try_clone(&self) -> Wire {
        match self {
            Wire::Tcp(stream) => Wire::Tcp(stream.try_clone().unwrap()),
            Wire::Unix(stream) => Wire::Unix(stream.try_clone().unwrap()),
            Wire::Memory(stream) => Wire::Memory(stream.try_clone().unwrap()),
        }
    }

    /// Closes with a reset where there is one.
    pub fn reset(self) {
        match &self {
            Wire::Tcp(stream) => {
                socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            Wire::Memory(stream) => stream.reset(),
            Wire::Unix(_) => {}
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buf),
            Wire::Unix(stream) => stream.read(buf),
            Wire::Memory(stream) => stream.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.write(buf),
            Wire::Unix(stream) => stream.write(buf),
            Wire::Memory(stream) => stream.write(buf),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that sends messages to one server: of std, but for seqpacket, which std has not.
pub enum Post {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Record(UnixSeqPacket),
}

impl Post {
    pub fn send(&self, datagram: &[u8]) {
        let sent = match self {
            Post::Udp(socket) => socket.send(datagram),
            Post::Unix(socket) => socket.send(datagram),
            Post::Record(socket) => socket.send(datagram),
        };
        assert_eq!(sent.unwrap(), datagram.len());
    }

    pub fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 70_000];
        let length = match self {
            Post::Udp(socket) => socket.recv(&mut datagram),
            Post::Unix(socket) => socket.recv(&mut datagram),
            Post::Record(socket) => {
                socket.recv(&mut datagram).map(|message| message.expect("a message").len)
            }
        };
        datagram.truncate(length.expect("an answer, and soon"));
        datagram
    }

    pub fn ask(&self, datagram: &str) -> String {
        self.send(datagram.as_bytes());
        String::from_utf8(self.receive()).unwrap()
    }
}

/// Waits for what will be so. Not for what must never be.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Runs what may hang on a thread of its own.
pub fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(act());
    });
    // Some of it is a hundred thousand turns of two threads.
    match receiver.recv_timeout(PATIENCE * 4) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("this hangs: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// Tries a test whose own steps must be quicker than a limit that it sets its server. If one was not,
/// because the machine held it up, a failure proves nothing: then it is tried with ten times the
/// limit, and again with a hundred times.
pub fn at_a_pace(limit: Duration, test: impl Fn(&Pace)) {
    for limit in [limit, limit * 10, limit * 100] {
        let pace =
            Pace { limit, since: std::cell::Cell::new(None), late: std::cell::Cell::new(false) };
        match catch_unwind(AssertUnwindSafe(|| test(&pace))) {
            Ok(()) => return,
            Err(panic) if !pace.was_late() => resume_unwind(panic),
            Err(_) => println!("a step took longer than half of {limit:?}"),
        }
    }
    panic!("even the longest limit was too short for this machine");
}

/// Whether the steps of a test were quick enough: see [`at_a_pace`].
pub struct Pace {
    pub limit: Duration,
    /// When the step began, if one is under way.
    since: std::cell::Cell<Option<Instant>>,
    late: std::cell::Cell<bool>,
}

impl Pace {
    /// What follows must take less than half the limit, until the next step or the rest.
    pub fn step(&self) {
        self.rest();
        self.since.set(Some(Instant::now()));
    }

    /// What follows may take its time.
    pub fn rest(&self) {
        self.late.set(self.was_late());
        self.since.set(None);
    }

    fn was_late(&self) -> bool {
        let late = self.since.get().is_some_and(|since| since.elapsed() > self.limit / 2);
        late || self.late.get()
    }
}

/// What comes through a channel, and soon.
pub fn next<T>(receiver: &mpsc::Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("news from the server, and soon")
}

pub fn join(server: &ServerHandle) -> Report {
    let server = server.clone();
    in_time("join", move || server.join().unwrap())
}

/// An orderly end: every session has finished in time.
pub fn stop(server: &ServerHandle) -> Report {
    server.stop(PATIENCE);
    let report = join(server);
    assert_eq!((report.forced, report.abandoned), (0, 0), "{report:?}");
    assert_eq!(report.counters.open, 0, "{report:?}");
    report
}

/// The name of a reason, to compare with.
pub fn name(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Finished => "finished",
        CloseReason::PeerClosed => "peer closed",
        CloseReason::Transport(_) => "transport",
        CloseReason::Frame(_) => "frame",
        CloseReason::Handler(_) => "handler",
        CloseReason::Panicked => "panicked",
        CloseReason::OutputFull { .. } => "output full",
        CloseReason::FirstMessageTimeout => "first message timeout",
        CloseReason::IdleTimeout => "idle timeout",
        CloseReason::IdleReadTimeout => "idle read timeout",
        CloseReason::IdleWriteTimeout => "idle write timeout",
        CloseReason::FrameTimeout => "frame timeout",
        CloseReason::LifeTimeout => "life timeout",
        CloseReason::WriteStall => "write stall",
        CloseReason::SlowReader => "slow reader",
        CloseReason::Aborted => "aborted",
        CloseReason::Stopped => "stopped",
        other => panic!("the tests do not know {other:?}"),
    }
}

/// A panic that is part of a test and prints nothing.
pub fn expected_panic() -> ! {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&EXPECTED) {
                loud(info);
            }
        }));
    });
    std::panic::panic_any(EXPECTED)
}

const EXPECTED: &str = "a panic that the test wants";

/// SplitMix64: the same numbers for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_ne_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// A directory of its own, removed at the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        // The name of a socket has some hundred bytes, of which ours take thirty.
        let parent = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() < 70);
        let parent = parent.unwrap_or_else(|| "/tmp".into());
        loop {
            let path = parent.join(format!("sockeye-{}-{}", std::process::id(), number()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Dir(path),
                // Left by one that was killed and had this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn number() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Runs a test on each engine, on these kinds of endpoint.
macro_rules! on_kinds {
    ($test:ident $kinds:tt) => {
        mod $test {
            mod threads {
                $crate::matrix::cells! { $test "threads" $kinds }
            }
            mod events_1 {
                $crate::matrix::cells! { $test "events_1" $kinds }
            }
            mod events_2 {
                $crate::matrix::cells! { $test "events_2" $kinds }
            }
        }
    };
}
pub(crate) use on_kinds;

macro_rules! cells {
    ($test:ident $engine:literal [$($cell:ident $kind:ident),+]) => {$(
        #[test]
        fn $cell() {
            let kind = crate::matrix::Kind::$kind;
            if let Some(why) = crate::matrix::left_out(stringify!($test), kind) {
                return println!("not on {kind:?}: {why}");
            }
            crate::$test(&crate::matrix::Cell::new($engine, kind));
        }
    )+};
}
pub(crate) use cells;

/// Runs tests on every kind of connected endpoint.
macro_rules! on_streams {
    ($($test:ident),+ $(,)?) => {
        $($crate::matrix::on_kinds! { $test [tcp4 Tcp4, tcp6 Tcp6, unix Unix, memory Memory] })+
    };
}
pub(crate) use on_streams;

/// Runs tests on TCP alone, for what only TCP has.
macro_rules! on_tcp {
    ($($test:ident),+ $(,)?) => {
        $($crate::matrix::on_kinds! { $test [tcp4 Tcp4, tcp6 Tcp6] })+
    };
}
pub(crate) use on_tcp;

/// Runs tests on each engine, at a socket and in memory: for what does not meet the endpoint.
macro_rules! on_engines {
    ($($test:ident),+ $(,)?) => {
        $($crate::matrix::on_kinds! { $test [tcp4 Tcp4, memory Memory] })+
    };
}
pub(crate) use on_engines;

/// Runs tests on every kind of datagram endpoint.
macro_rules! on_datagrams {
    ($($test:ident),+ $(,)?) => {
        $($crate::matrix::on_kinds! { $test [udp4 Udp4, udp6 Udp6, unix UnixDatagram] })+
    };
}
pub(crate) use on_datagrams;

/// Runs tests on every kind of endpoint.
macro_rules! on_all {
    ($($test:ident),+ $(,)?) => {$(
        $crate::matrix::on_kinds! {
            $test
            [
                tcp4 Tcp4, tcp6 Tcp6, unix Unix, udp4 Udp4, udp6 Udp6, unix_datagram UnixDatagram,
                unix_seqpacket UnixSeqPacket, memory Memory
            ]
        }
    )+};
}
pub(crate) use on_all;
