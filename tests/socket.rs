//! Typed sockets through the public API: on IPv4, IPv6 and Unix, each where it exists.
//!
//! A generic function is the test, a module of the same name runs it on each family. No test waits
//! for ever: what reads has a timeout of [`PATIENCE`].

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use sockeye::addr::{
    Any, AnyAddr, Datagram, Family, Ip, IpFamily, Ipv4, Ipv6, SeqPacket, Stream, Supports, Unix,
    UnixAddr,
};
use sockeye::socket::{
    AnyListener, AnyStream, ConnectedUdpSocket, ConnectedUnixDatagram, Listener, Socket,
    TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixSeqListener, UnixSeqPacket,
    UnixStream,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("sockeye-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // The name of a socket has some hundred bytes, of which ours take thirty.
        let parent = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() < 70);
        let path = parent.unwrap_or_else(|| "/tmp".into()).join(name);
        // Left by one that was killed and had this number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn addr(&self, name: &str) -> UnixAddr {
        UnixAddr::from_path(self.0.join(name)).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const V6: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);

/// Runs the generic function of this name with a free address of each family.
macro_rules! on_every_family {
    ($name:ident) => {
        mod $name {
            #[test]
            fn ipv4() {
                super::$name::<super::Ipv4>(super::V4);
            }
            #[test]
            fn ipv6() {
                super::$name::<super::Ipv6>(super::V6);
            }
            #[test]
            fn unix() {
                let dir = super::Dir::new();
                super::$name::<super::Unix>(dir.addr("s"));
            }
            #[test]
            fn any_over_ipv4() {
                super::$name::<super::Any>(super::AnyAddr::from(super::V4));
            }
            #[test]
            fn any_over_unix() {
                let dir = super::Dir::new();
                super::$name::<super::Any>(super::AnyAddr::from(dir.addr("s")));
            }
        }
    };
}

/// Addresses stand for themselves; in a function over all families that must be said.
trait Own: Family {
    fn listen<K>(addr: Self::Address) -> io::Result<Listener<Self, K>>
    where
        K: sockeye::addr::Connected,
        Self: Supports<K>;
    fn bind(addr: Self::Address) -> io::Result<Socket<Self, Datagram>>;
    fn connect<K>(addr: Self::Address) -> io::Result<Socket<Self, K>>
    where
        K: sockeye::addr::Connected,
        Self: Supports<K>;
    fn connect_timeout(addr: Self::Address, t: Duration) -> io::Result<Socket<Self, Stream>>;
    fn settle(
        socket: Socket<Self, Datagram>,
        addr: Self::Address,
    ) -> io::Result<Socket<Self, sockeye::addr::ConnectedDatagram>>;
}

macro_rules! own {
    ($($family:ident)*) => {$(
        impl Own for $family {
            fn listen<K>(addr: Self::Address) -> io::Result<Listener<Self, K>>
            where K: sockeye::addr::Connected, Self: Supports<K> {
                Listener::bind(addr)
            }
            fn bind(addr: Self::Address) -> io::Result<Socket<Self, Datagram>> {
                Socket::<Self, Datagram>::bind(addr)
            }
            fn connect<K>(addr: Self::Address) -> io::Result<Socket<Self, K>>
            where K: sockeye::addr::Connected, Self: Supports<K> {
                Socket::<Self, K>::connect(addr)
            }
            fn connect_timeout(addr: Self::Address, t: Duration) -> io::Result<Socket<Self, Stream>> {
                Socket::<Self, Stream>::connect_timeout(addr, t)
            }
            fn settle(
                socket: Socket<Self, Datagram>,
                addr: Self::Address,
            ) -> io::Result<Socket<Self, sockeye::addr::ConnectedDatagram>> {
                socket.connect(addr)
            }
        }
    )*};
}
own!(Ipv4 Ipv6 Ip Unix Any);

/// A listener, and a connected pair of sockets with a timeout on their reads.
struct Pair<F: Supports<K>, K: sockeye::addr::Connected> {
    listener: Listener<F, K>,
    client: Socket<F, K>,
    server: Socket<F, K>,
    from: F::Address,
}

fn pair<F: Own + Supports<K>, K: sockeye::addr::Connected>(at: F::Address) -> Pair<F, K> {
    let listener = F::listen::<K>(at).unwrap();
    let client = F::connect::<K>(listener.local_addr().unwrap()).unwrap();
    let (server, from) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    Pair { listener, client, server, from }
}

/// Repeats what does not block until it has something.
fn soon<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(start.elapsed() < PATIENCE, "nothing comes");
                thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

// ---- streams ----

fn carries_bytes_both_ways<F: Own>(at: F::Address) {
    let mut pair = pair::<F, Stream>(at);
    assert_eq!(pair.from, pair.client.local_addr().unwrap());
    assert_eq!(pair.client.peer_addr().unwrap(), pair.listener.local_addr().unwrap());
    pair.client.write_all(b"question").unwrap();
    let mut buf = [0; 8];
    (&pair.server).read_exact(&mut buf).unwrap();
    (&pair.server).write_all(&buf).unwrap();
    pair.client.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"question");
}
on_every_family!(carries_bytes_both_ways);

fn half_close_ends_one_direction_and_leaves_the_other<F: Own>(at: F::Address) {
    const REPLY: usize = 4 << 20; // far more than the socket buffers
    let Pair { mut client, mut server, .. } = pair::<F, Stream>(at);
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let answering = thread::spawn(move || {
        let mut request = Vec::new();
        server.read_to_end(&mut request).unwrap();
        assert_eq!(request, b"request");
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "the end stays the end");
        server.write_all(&vec![7; REPLY]).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        server
    });
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply.len(), REPLY);
    answering.join().unwrap();
}
on_every_family!(half_close_ends_one_direction_and_leaves_the_other);

fn writes_to_a_peer_that_has_gone_are_errors<F: Own>(at: F::Address) {
    let Pair { mut client, server, .. } = pair::<F, Stream>(at);
    drop(server);
    // The first may still be taken by the kernel; TCP learns by the answer to it.
    let start = Instant::now();
    let error = loop {
        if let Err(error) = client.write(b"x") {
            break error;
        }
        assert!(start.elapsed() < PATIENCE, "writes to nobody succeed");
    };
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
}
on_every_family!(writes_to_a_peer_that_has_gone_are_errors);

fn peek_leaves_the_bytes<F: Own>(at: F::Address) {
    let Pair { client, mut server, .. } = pair::<F, Stream>(at);
    (&client).write_all(b"abc").unwrap();
    let mut buf = [0; 2];
    assert_eq!(server.peek(&mut buf).unwrap(), 2);
    assert_eq!(&buf, b"ab");
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 3);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.peek(&mut buf).unwrap(), 0);
}
on_every_family!(peek_leaves_the_bytes);

fn vectored_calls_take_any_number_of_pieces<F: Own>(at: F::Address) {
    let Pair { mut client, mut server, .. } = pair::<F, Stream>(at);
    let pieces = vec![IoSlice::new(b"x"); 3000]; // over IOV_MAX
    let written = client.write_vectored(&pieces).unwrap();
    assert_eq!(written, 1024);
    let mut bytes = [0; 3000];
    let mut pieces: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
    assert_eq!(server.read_vectored(&mut pieces).unwrap(), written);
    assert!(bytes[..written].iter().all(|&byte| byte == b'x'));
}
on_every_family!(vectored_calls_take_any_number_of_pieces);

fn dropping_the_write_half_ends_one_direction<F: Own>(at: F::Address) {
    let Pair { client, mut server, .. } = pair::<F, Stream>(at);
    let (mut read, mut write) = client.split();
    write.write_all(b"question").unwrap();
    drop(write);
    let mut question = String::new();
    server.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    let mut answer = String::new();
    read.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}
on_every_family!(dropping_the_write_half_ends_one_direction);

fn reunited_halves_are_the_socket_and_foreign_ones_come_back<F: Own>(at: F::Address) {
    let Pair { client, mut server, from, .. } = pair::<F, Stream>(at);
    let (read, write) = client.split();
    let (other_read, other_write) = server.try_clone().unwrap().split();
    let error = read.reunite(other_write).unwrap_err();
    assert_eq!(error.to_string(), "the two halves are of different sockets");
    let _server_clone = other_read.reunite(error.write).unwrap();
    let mut client = error.read.reunite(write).unwrap();
    assert_eq!(client.local_addr().unwrap(), from);
    client.write_all(b"x").unwrap(); // nothing was shut down
    server.read_exact(&mut [0]).unwrap();
}
on_every_family!(reunited_halves_are_the_socket_and_foreign_ones_come_back);

fn a_read_waits_no_longer_than_its_timeout<F: Own>(at: F::Address) {
    let Pair { mut client, server, .. } = pair::<F, Stream>(at);
    let timeout = Duration::from_millis(40);
    client.set_read_timeout(Some(timeout)).unwrap();
    assert_eq!(client.read_timeout().unwrap(), Some(timeout));
    let start = Instant::now();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(start.elapsed() >= timeout - Duration::from_millis(1));
    client.set_write_timeout(Some(timeout)).unwrap();
    let full = client.write_all(&vec![0; 64 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    drop(server);
    for zero in [
        client.set_read_timeout(Some(Duration::ZERO)),
        client.set_write_timeout(Some(Duration::ZERO)),
    ] {
        assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    // Less than the kernel's microsecond must not turn into "for ever".
    client.set_read_timeout(Some(Duration::from_nanos(1))).unwrap();
    assert!(client.read_timeout().unwrap().is_some());
    client.set_read_timeout(None).unwrap();
    assert_eq!(client.read_timeout().unwrap(), None);
}
on_every_family!(a_read_waits_no_longer_than_its_timeout);

fn clones_share_the_socket<F: Own>(at: F::Address) {
    let Pair { mut client, server, listener, .. } = pair::<F, Stream>(at);
    client.try_clone().unwrap().write_all(b"ab").unwrap();
    let clone = server.try_clone().unwrap();
    (&server).read_exact(&mut [0]).unwrap();
    (&clone).read_exact(&mut [0]).unwrap();
    drop((server, clone));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed with the last clone");
    let other = listener.try_clone().unwrap();
    drop(listener);
    let _client = F::connect::<Stream>(other.local_addr().unwrap()).unwrap();
    other.accept().unwrap();
}
on_every_family!(clones_share_the_socket);

// ---- connecting ----

fn connects_within_a_timeout<F: Own>(at: F::Address) {
    let listener = F::listen::<Stream>(at).unwrap();
    let client = F::connect_timeout(listener.local_addr().unwrap(), PATIENCE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(client.write_timeout().unwrap(), None, "no timeout is left behind");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let answering = thread::spawn(move || server.write_all(b"x").unwrap());
    (&client).read_exact(&mut [0]).unwrap(); // it blocks again
    answering.join().unwrap();
    let forever = F::connect_timeout(listener.local_addr().unwrap(), Duration::MAX);
    forever.unwrap();
    let zero = F::connect_timeout(listener.local_addr().unwrap(), Duration::ZERO);
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
}
on_every_family!(connects_within_a_timeout);

/// Fills the backlog of a listener that accepts nothing, and returns those that wait in it.
fn fill<F: Own>(listener: &Listener<F>) -> Vec<Socket<F, Stream>> {
    let (mut waiting, mut refused) = (Vec::new(), 0);
    // One alone may only have been held up for so long.
    while refused < 2 {
        match F::connect_timeout(listener.local_addr().unwrap(), Duration::from_millis(200)) {
            Ok(socket) => waiting.push(socket),
            Err(_) => refused += 1,
        }
        assert!(waiting.len() < 10, "a backlog of 1 never fills");
    }
    waiting
}

fn gives_up_at_the_deadline_when_the_backlog_is_full<F: Own>(listener: Listener<F>) {
    let _waiting = fill(&listener);
    let timeout = Duration::from_millis(120);
    let start = Instant::now();
    let result = F::connect_timeout(listener.local_addr().unwrap(), timeout);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE);
}

mod gives_up_at_the_deadline_when_the_backlog_is_full {
    use super::*;

    #[test]
    fn ipv4() {
        let listener = TcpListener::bind_with_backlog(V4, 1).unwrap();
        super::gives_up_at_the_deadline_when_the_backlog_is_full::<Ipv4>(listener);
    }
    #[test]
    fn ipv6() {
        let listener = TcpListener::bind_with_backlog(V6, 1).unwrap();
        super::gives_up_at_the_deadline_when_the_backlog_is_full::<Ipv6>(listener);
    }
    #[test]
    fn unix() {
        let dir = Dir::new();
        let listener = UnixListener::bind_with_backlog(dir.addr("s"), 1).unwrap();
        super::gives_up_at_the_deadline_when_the_backlog_is_full::<Unix>(listener);
    }
}

#[test]
fn a_unix_connect_gets_in_as_soon_as_there_is_room() {
    let dir = Dir::new();
    let listener = UnixListener::bind_with_backlog(dir.addr("s"), 1).unwrap();
    let _waiting = fill(&listener);
    let addr = listener.local_addr().unwrap();
    let late = thread::spawn(move || UnixStream::connect_timeout(addr, PATIENCE));
    let _accepted = listener.accept().unwrap();
    late.join().unwrap().unwrap();
}

/// Interrupts the calling thread with SIGUSR1, over and over, until dropped.
struct Storm(std::process::Child, Arc<AtomicBool>);

impl Storm {
    fn on_this_thread() -> Self {
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&seen)).unwrap();
        // `PID/task/TID`: on Linux `kill` prefers the thread whose id it is given.
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let tid = thread.file_name().unwrap().to_str().unwrap();
        let script = format!("while kill -USR1 {tid} 2>/dev/null; do :; done");
        let storm = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        Self(storm, seen)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if !thread::panicking() {
            assert!(self.1.load(Ordering::Relaxed), "no signal arrived");
        }
    }
}

#[test]
fn signals_neither_end_a_connect_nor_put_off_its_deadline() {
    let dir = Dir::new();
    let unix = UnixListener::bind_with_backlog(dir.addr("s"), 1).unwrap();
    let tcp = TcpListener::bind_with_backlog(V4, 1).unwrap();
    let _waiting = (fill(&unix), fill(&tcp));
    let timeout = Duration::from_millis(300);
    let _storm = Storm::on_this_thread();
    for connect in [&|| UnixStream::connect_timeout(unix.local_addr()?, timeout).map(drop), &|| {
        TcpStream::connect_timeout(tcp.local_addr()?, timeout).map(drop)
    }] as [&dyn Fn() -> io::Result<()>; 2]
    {
        let start = Instant::now();
        assert_eq!(connect().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= timeout && start.elapsed() < PATIENCE);
    }
}

#[test]
fn signals_do_not_interrupt_a_read() {
    let (mut one, other) = UnixStream::pair().unwrap();
    one.set_read_timeout(Some(PATIENCE)).unwrap(); // with a timeout the kernel never restarts
    let _storm = Storm::on_this_thread();
    let writing = thread::spawn(move || {
        // Long enough for signals to arrive: the other side reads all the while.
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            thread::yield_now();
        }
        (&other).write_all(b"x").unwrap();
    });
    one.read_exact(&mut [0]).unwrap();
    writing.join().unwrap();
}

#[test]
fn signals_do_not_put_off_a_timeout_for_ever() {
    let (mut one, _other) = UnixStream::pair().unwrap();
    let timeout = Duration::from_millis(200);
    one.set_read_timeout(Some(timeout)).unwrap();
    one.set_write_timeout(Some(timeout)).unwrap();
    let _storm = Storm::on_this_thread();
    let start = Instant::now();
    assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(start.elapsed() >= timeout && start.elapsed() < PATIENCE);
    let full = one.write_all(&vec![0; 64 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn nobody_listening_is_refused_or_not_found() {
    for at in [SocketAddr::from(V4), SocketAddr::from(V6)] {
        // Bound and not listening: the port stays ours, and no connect can meet itself there.
        let holder =
            socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None)
                .unwrap();
        holder.bind(&at.into()).unwrap();
        let gone = holder.local_addr().unwrap().as_socket().unwrap();
        let error = TcpStream::connect(gone).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{gone}");
        let error = TcpStream::connect_timeout(gone, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{gone}");
    }
    let dir = Dir::new();
    let error = UnixStream::connect(dir.addr("nothing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = UnixStream::connect_timeout(dir.addr("nothing"), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

// ---- listening ----

fn a_used_address_is_in_use_until_its_listener_goes<F: Own>(at: F::Address) {
    let listener = F::listen::<Stream>(at).unwrap();
    let addr = listener.local_addr().unwrap();
    let error = F::listen::<Stream>(addr.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    // A connection that the server closes first stays in TIME_WAIT at its end.
    let mut client = F::connect::<Stream>(addr.clone()).unwrap();
    drop(listener.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop((client, listener));
    if let AnyAddr::Unix(unix) = sockeye::addr::Address::to_any(&addr) {
        std::fs::remove_file(unix.as_path().unwrap()).unwrap();
    }
    F::listen::<Stream>(addr).unwrap();
}
on_every_family!(a_used_address_is_in_use_until_its_listener_goes);

fn nonblocking_listeners_say_so_and_accept_blocking_sockets<F: Own>(at: F::Address) {
    let listener = F::listen::<Stream>(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut client = F::connect::<Stream>(listener.local_addr().unwrap()).unwrap();
    // The client's connect returns a moment before the connection is in the backlog.
    let mut server = soon(|| listener.accept()).0;
    assert!(!SockRef::from(&server).nonblocking().unwrap());
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.write_all(b"x").unwrap();
    server.set_nonblocking(false).unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert!(listener.take_error().unwrap().is_none());
}
on_every_family!(nonblocking_listeners_say_so_and_accept_blocking_sockets);

#[test]
fn incoming_goes_on_after_an_error() {
    let listener = TcpListener::bind(V4).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut incoming = listener.incoming();
    assert!(incoming.next().unwrap().is_err());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_, peer) = soon(|| incoming.next().unwrap());
    assert_eq!(peer, client.local_addr().unwrap());
}

#[test]
fn accepts_a_client_that_has_reset_and_keeps_its_address() {
    for at in [SocketAddr::from(V4), SocketAddr::from(V6)] {
        let listener = TcpListener::bind(at).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let addr = client.local_addr().unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap(); // close is a reset
        drop(client);
        let (server, from) = listener.accept().unwrap();
        assert_eq!(from, addr);
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = server.peek(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = server.peer_addr().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
}

#[test]
fn takes_the_longest_backlog_that_the_system_allows() {
    let dir = Dir::new();
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let wait = somaxconn.trim().parse::<usize>().unwrap().min(300); // over the 128 of old
    let listener = UnixListener::bind(dir.addr("s")).unwrap();
    let connect = || UnixStream::connect_timeout(listener.local_addr()?, PATIENCE);
    let waiting: io::Result<Vec<_>> = (0..wait).map(|_| connect()).collect();
    assert_eq!(waiting.unwrap().len(), wait);
    UnixListener::bind_with_backlog(dir.addr("t"), u32::MAX).unwrap();
}

#[test]
fn ipv6_is_ipv6_only_unless_both_stacks_are_asked_for() {
    let typed = TcpListener::<Ipv6>::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    assert!(SockRef::from(&typed).only_v6().unwrap());
    let erased = TcpListener::bind("[::]:0").unwrap();
    assert!(SockRef::from(&erased).only_v6().unwrap());
    let udp = UdpSocket::bind("[::]:0").unwrap();
    assert!(SockRef::from(&udp).only_v6().unwrap());
    let udp = UdpSocket::bind_dual_stack(0).unwrap();
    assert!(!SockRef::from(&udp).only_v6().unwrap());

    let both = TcpListener::bind_dual_stack(0).unwrap();
    let port = both.local_addr().unwrap().port();
    let _v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (_stream, from) = both.accept().unwrap();
    assert!(from.is_ipv6() && from.ip().to_canonical() == Ipv4Addr::LOCALHOST);
    let _v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    assert_eq!(both.accept().unwrap().1.ip(), Ipv6Addr::LOCALHOST);
}

fn has_nodelay_on_both_sides<F: Own + IpFamily>(at: F::Address) {
    let Pair { client, server, .. } = pair::<F, Stream>(at);
    assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
    server.set_nodelay(false).unwrap();
    assert!(!server.nodelay().unwrap());
}

#[test]
fn nodelay_is_on_where_it_exists() {
    has_nodelay_on_both_sides::<Ipv4>(V4);
    has_nodelay_on_both_sides::<Ipv6>(V6);
    has_nodelay_on_both_sides::<Ip>(V4.into());
    let any = pair::<Any, Stream>(AnyAddr::from(V4));
    assert!(SockRef::from(&any.client).tcp_nodelay().unwrap());
    assert!(SockRef::from(&any.server).tcp_nodelay().unwrap());
    let listener = std::net::TcpListener::bind(V4).unwrap();
    let taken_over = TcpListener::<Ipv4>::try_from(listener).unwrap();
    let _client = TcpStream::connect(taken_over.local_addr().unwrap()).unwrap();
    assert!(taken_over.accept().unwrap().0.nodelay().unwrap());
}

// ---- seqpacket ----

#[test]
fn an_empty_seqpacket_message_is_not_the_end() {
    let (one, other) = UnixSeqPacket::pair().unwrap();
    let mut buf = [0; 4];
    one.send(b"").unwrap();
    one.send(b"x").unwrap();
    one.send(b"").unwrap();
    drop(one);
    let lengths: Vec<_> =
        (0..4).map(|_| other.recv(&mut buf).unwrap().map(|message| message.len)).collect();
    assert_eq!(lengths, [Some(0), Some(1), Some(0), None]);
}

#[test]
fn seqpacket_keeps_edges_and_half_closes() {
    let dir = Dir::new();
    let pair = pair::<Unix, SeqPacket>(dir.addr("s"));
    pair.client.send(b"one").unwrap();
    pair.client.send_vectored(&[IoSlice::new(b"t"), IoSlice::new(b"wo")]).unwrap();
    pair.client.send(b"three").unwrap();
    pair.client.shutdown(Shutdown::Write).unwrap();
    let mut buf = [0; 4];
    for (bytes, truncated) in [(&b"one"[..], false), (b"two", false), (b"thre", true)] {
        let got = pair.server.recv(&mut buf).unwrap().unwrap();
        assert_eq!((&buf[..got.len], got.truncated), (bytes, truncated));
    }
    assert!(pair.server.recv(&mut buf).unwrap().is_none());
    pair.server.send(b"bye").unwrap();
    let (read, write) = pair.client.split();
    assert_eq!(read.recv(&mut buf).unwrap().unwrap().len, 3);
    assert_eq!(write.send(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let any: Listener<Any, SeqPacket> = pair.listener.into();
    Socket::<Any, SeqPacket>::connect(any.local_addr().unwrap()).unwrap();
    let ip = AnyAddr::from(V4);
    assert!(Listener::<Any, SeqPacket>::bind(ip).is_err(), "the kernel has the last word");
    let _: UnixSeqListener = UnixSeqListener::bind(dir.addr("t")).unwrap();
    let _: (UnixSeqPacket, UnixSeqPacket) = UnixSeqPacket::pair().unwrap();
}

// ---- datagrams ----

/// Two sockets, the second at the family's next address.
fn two<F: Own>(at: F::Address) -> (Socket<F, Datagram>, Socket<F, Datagram>) {
    let next = match sockeye::addr::Address::to_any(&at) {
        AnyAddr::Ip(_) => at.clone(),
        AnyAddr::Unix(unix) => {
            let path = unix.as_path().unwrap().with_extension("next");
            let next = AnyAddr::from(UnixAddr::from_path(path).unwrap());
            <F::Address as sockeye::addr::Address>::from_any(next).unwrap()
        }
    };
    let (one, other) = (F::bind(at).unwrap(), F::bind(next).unwrap());
    for socket in [&one, &other] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (one, other)
}

fn datagrams_arrive_whole_empty_or_say_that_they_were_cut<F: Own>(at: F::Address) {
    let (one, other) = two::<F>(at);
    let to = other.local_addr().unwrap();
    let mut buf = [0; 4];
    for (bytes, len, truncated) in
        [(&b"four"[..], 4, false), (b"", 0, false), (b"five.", 4, true), (b"abc", 3, false)]
    {
        assert_eq!(one.send_to(bytes, &to).unwrap(), bytes.len());
        let got = other.recv_from(&mut buf).unwrap();
        assert_eq!((got.len, got.truncated), (len, truncated));
        assert_eq!(got.from, one.local_addr().unwrap());
        assert_eq!(&buf[..len], &bytes[..len]);
    }
    one.send_to(b"x", &to).unwrap();
    let got = other.recv_from(&mut []).unwrap();
    assert!(got.len == 0 && got.truncated);
}
on_every_family!(datagrams_arrive_whole_empty_or_say_that_they_were_cut);

fn connected_datagrams_are_of_one_peer<F: Own>(at: F::Address) {
    let (one, other) = two::<F>(at);
    let (one_addr, other_addr) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    let one = F::settle(one, other_addr.clone()).unwrap();
    assert_eq!(one.peer_addr().unwrap(), other_addr);
    one.send_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")]).unwrap();
    assert_eq!(other.recv_from(&mut [0; 8]).unwrap().from, one_addr);
    let other = F::settle(other, one_addr).unwrap();
    other.send(b"").unwrap();
    assert_eq!(one.recv(&mut [0; 8]).unwrap().len, 0);
    other.send(b"too long").unwrap();
    assert!(one.recv(&mut [0; 3]).unwrap().truncated);
}
on_every_family!(connected_datagrams_are_of_one_peer);

#[test]
fn a_connected_udp_socket_hears_nobody_else() {
    let (one, other) = two::<Ipv4>(V4);
    let stranger = UdpSocket::bind(V4).unwrap();
    let one_addr = one.local_addr().unwrap();
    let one = one.connect(other.local_addr().unwrap()).unwrap();
    stranger.send_to(b"stranger", &one_addr).unwrap();
    other.send_to(b"peer", &one_addr).unwrap();
    let mut buf = [0; 64];
    let len = one.recv(&mut buf).unwrap().len;
    assert_eq!(&buf[..len], b"peer");
}

#[test]
fn an_unbound_unix_datagram_socket_sends_without_a_name() {
    let dir = Dir::new();
    let server = UnixDatagram::bind(dir.addr("s")).unwrap();
    let client = ConnectedUnixDatagram::connect(server.local_addr().unwrap()).unwrap();
    client.send(b"anonymous").unwrap();
    assert!(server.recv_from(&mut [0; 16]).unwrap().from.is_unnamed());
    // Over the erased family as well.
    let any: Socket<Any, Datagram> = server.into();
    client.send(b"anonymous").unwrap();
    let from = any.recv_from(&mut [0; 16]).unwrap().from;
    assert_eq!(from, AnyAddr::from(UnixAddr::unnamed()));
}

#[test]
fn a_refused_datagram_is_reported_once() {
    // With a peer it hears nobody else, and nobody else gets its port.
    let holder = UdpSocket::bind(V4).unwrap();
    let gone = holder.local_addr().unwrap();
    let elsewhere = UdpSocket::bind(V4).unwrap();
    let _holder = holder.connect(elsewhere.local_addr().unwrap()).unwrap();
    let client = ConnectedUdpSocket::connect(gone).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"anybody?").unwrap();
    let error = client.recv(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(client.take_error().unwrap().is_none());
}

// ---- addresses ----

#[test]
fn abstract_and_chosen_names_work() {
    let name = format!("sockeye-test-{}", std::process::id());
    let listener = UnixListener::bind(UnixAddr::from_abstract(&name).unwrap()).unwrap();
    let client = UnixStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_server, from) = listener.accept().unwrap();
    assert!(from.is_unnamed());
    assert_eq!(client.peer_addr().unwrap().as_abstract_name(), Some(name.as_bytes()));
    let chosen = UnixListener::bind(UnixAddr::unnamed()).unwrap();
    UnixStream::connect(chosen.local_addr().unwrap()).unwrap();
}

#[test]
fn debug_names_both_ends_and_the_descriptor() {
    let pair = pair::<Ipv4, Stream>(V4);
    let text = format!("{:?}", pair.client);
    let local = pair.client.local_addr().unwrap().to_string();
    let peer = pair.listener.local_addr().unwrap().to_string();
    assert!(text.contains(&local) && text.contains(&peer) && text.contains("fd"), "{text}");
    assert!(format!("{:?}", pair.listener).starts_with("Listener { local: "));
}

// ---- erasing ----

#[test]
fn typed_sockets_become_erased_ones() {
    let Pair { listener, client, server, .. } = pair::<Ipv4, Stream>(V4);
    let ip: TcpListener<Ip> = listener.into();
    let any: AnyListener = ip.into();
    let client: AnyStream = client.into();
    assert_eq!(client.peer_addr().unwrap(), any.local_addr().unwrap());
    let _: TcpStream = server.into();
    let v6: TcpListener<Ipv6> = TcpListener::bind(V6).unwrap();
    let _: TcpListener = v6.into();
    let v6: UdpSocket<Ipv6> = UdpSocket::bind(V6).unwrap();
    let _: UdpSocket = v6.into();
    let (one, _) = UnixStream::pair().unwrap();
    let one: AnyStream = one.into();
    assert_eq!(one.local_addr().unwrap(), AnyAddr::from(UnixAddr::unnamed()));
}
