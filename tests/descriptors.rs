//! Descriptors: what becomes of one that is not the socket it was taken for, and that none is
//! leaked or inherited.
//!
//! A file of its own, because it counts the descriptors of the process: its tests take turns.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sockeye::addr::{
    Any, ConnectedDatagram, Datagram, Ip, Ipv4, Ipv6, SeqPacket, Stream, Unix, UnixAddr,
};
use sockeye::client::Client;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::server::Server;
use sockeye::socket::{
    ConnectedUdpSocket, ConnectedUnixDatagram, Listener, Mismatch, Options, Socket, TcpListener,
    TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixSeqListener, UnixSeqPacket, UnixStream,
};

fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One descriptor of each make, and what an error calls it.
fn makes() -> Vec<(&'static str, OwnedFd)> {
    let mut makes: Vec<(&'static str, OwnedFd)> = Vec::new();
    let names = ["an IPv4 stream listener", "an IPv6 stream listener"];
    for (name, at) in names.into_iter().zip(["127.0.0.1:0", "[::1]:0"]) {
        let (stream, datagram, with_peer) = match name {
            "an IPv4 stream listener" => (
                "an IPv4 stream socket",
                "an IPv4 datagram socket",
                "an IPv4 datagram socket with a peer",
            ),
            _ => (
                "an IPv6 stream socket",
                "an IPv6 datagram socket",
                "an IPv6 datagram socket with a peer",
            ),
        };
        let listener = TcpListener::bind(at).unwrap();
        makes.push((stream, TcpStream::connect(listener.local_addr().unwrap()).unwrap().into()));
        makes.push((name, listener.into()));
        let udp = UdpSocket::bind(at).unwrap();
        let addr = udp.local_addr().unwrap();
        makes.push((with_peer, ConnectedUdpSocket::connect(addr).unwrap().into()));
        makes.push((datagram, udp.into()));
    }
    let unnamed = UnixAddr::unnamed();
    makes.push(("a Unix stream socket", UnixStream::pair().unwrap().0.into()));
    makes.push(("a Unix stream listener", UnixListener::bind(&unnamed).unwrap().into()));
    makes.push(("a Unix datagram socket", UnixDatagram::bind(&unnamed).unwrap().into()));
    let with_peer = ConnectedUnixDatagram::pair().unwrap().0;
    makes.push(("a Unix datagram socket with a peer", with_peer.into()));
    makes.push(("a Unix seqpacket socket", UnixSeqPacket::pair().unwrap().0.into()));
    makes.push(("a Unix seqpacket listener", UnixSeqListener::bind(&unnamed).unwrap().into()));
    makes.push(("no socket", File::open("/dev/null").unwrap().into()));
    makes
}

type Attempt = fn(OwnedFd) -> Result<OwnedFd, Mismatch>;

/// Every type, what an error calls it, and how a descriptor is taken for it.
fn types() -> Vec<(String, Attempt)> {
    macro_rules! types {
        ($($family:ident $name:literal: $($kind:ident)*);*) => {{
            let mut types: Vec<(String, Attempt)> = Vec::new();
            $($(types.push(types!(@ $kind $family $name));)*)*
            types
        }};
        (@ Stream $f:ident $n:literal) => {
            (format!("{} stream socket", $n), |fd| Socket::<$f, Stream>::try_from(fd).map(Into::into))
        };
        (@ StreamListener $f:ident $n:literal) => {
            (format!("{} stream listener", $n), |fd| Listener::<$f, Stream>::try_from(fd).map(Into::into))
        };
        (@ Datagram $f:ident $n:literal) => {
            (format!("{} datagram socket", $n), |fd| Socket::<$f, Datagram>::try_from(fd).map(Into::into))
        };
        (@ ConnectedDatagram $f:ident $n:literal) => {
            (format!("{} datagram socket with a peer", $n),
             |fd| Socket::<$f, ConnectedDatagram>::try_from(fd).map(Into::into))
        };
        (@ SeqPacket $f:ident $n:literal) => {
            (format!("{} seqpacket socket", $n), |fd| Socket::<$f, SeqPacket>::try_from(fd).map(Into::into))
        };
        (@ SeqPacketListener $f:ident $n:literal) => {
            (format!("{} seqpacket listener", $n), |fd| Listener::<$f, SeqPacket>::try_from(fd).map(Into::into))
        };
    }
    types!(
        Ipv4 "an IPv4": Stream StreamListener Datagram ConnectedDatagram;
        Ipv6 "an IPv6": Stream StreamListener Datagram ConnectedDatagram;
        Ip "an IP": Stream StreamListener Datagram ConnectedDatagram;
        Unix "a Unix": Stream StreamListener Datagram ConnectedDatagram SeqPacket SeqPacketListener;
        Any "an IP or Unix": Stream StreamListener Datagram ConnectedDatagram SeqPacket SeqPacketListener
    )
}

/// Whether a descriptor of this make is of this type, by their names.
fn fits(make: &str, wanted: &str) -> bool {
    for (family, makes) in [
        ("an IPv4 ", &["an IPv4 "][..]),
        ("an IPv6 ", &["an IPv6 "]),
        ("an IP or Unix ", &["an IPv4 ", "an IPv6 ", "a Unix "]),
        ("an IP ", &["an IPv4 ", "an IPv6 "]),
        ("a Unix ", &["a Unix "]),
    ] {
        if let Some(rest) = wanted.strip_prefix(family) {
            return makes.iter().any(|make_family| make.strip_prefix(make_family) == Some(rest));
        }
    }
    unreachable!("{wanted}")
}

#[test]
fn streams_in_memory_have_none() {
    use sockeye::codec::Lines;
    use sockeye::handler::Context;
    use sockeye::testing::LocalServer;
    let _turn = my_turn();
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let engines = sockeye::engine::AnyEngine::all();
    let servers = engines.into_iter().map(|engine| {
        let server = sockeye::Server::new().engine(engine).codec(Lines::default());
        LocalServer::start(server, move || echo).unwrap()
    });
    let servers: Vec<_> = servers.collect();
    let before = open_descriptors();
    for server in &servers {
        let mut clients: Vec<_> = (0..3).map(|_| server.client().unwrap()).collect();
        for client in &mut clients {
            client.send("hello").unwrap();
            assert_eq!(client.receive().unwrap(), "hello");
        }
        assert_eq!(open_descriptors(), before);
    }
}

#[test]
fn a_mismatch_says_what_it_found_and_hands_the_descriptor_back_open() {
    let _turn = my_turn();
    let before = open_descriptors();
    let (mut taken, mut refused) = (0, 0);
    for (wanted, attempt) in types() {
        for (make, fd) in makes() {
            let number = fd.as_raw_fd();
            let open = open_descriptors();
            let fd = match attempt(fd) {
                Ok(fd) => {
                    assert!(fits(make, &wanted), "{make} was taken for {wanted}");
                    taken += 1;
                    fd
                }
                Err(error) => {
                    assert!(!fits(make, &wanted), "{make} was refused as {wanted}: {error}");
                    assert_eq!(error.expected(), wanted);
                    assert!(error.found().starts_with(make), "{make}: {error}");
                    assert_eq!(
                        error.to_string(),
                        format!("expected {wanted}, found {}", error.found())
                    );
                    assert_eq!(error.as_fd().as_raw_fd(), number);
                    refused += 1;
                    error.into_fd()
                }
            };
            assert_eq!(fd.as_raw_fd(), number, "the same descriptor");
            fd.try_clone().expect("it is open");
            assert_eq!(open_descriptors(), open, "none leaked, none closed");
        }
    }
    // Each make fits the type of its own family and those of the wider ones.
    assert_eq!((taken, refused), (4 + 4 + 8 + 6 + 14, types().len() * 15 - 36));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_mismatch_as_an_io_error_closes_the_descriptor_in_the_end() {
    let _turn = my_turn();
    let before = open_descriptors();
    let fd = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let error = std::io::Error::from(TcpStream::<Ip>::try_from(fd).unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "expected an IP stream socket, found an IPv4 datagram socket");
    assert_eq!(open_descriptors(), before + 1);
    drop(error);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn sockets_of_std_go_in_and_out() {
    use std::net as ip;
    use std::os::unix::net as unix;
    let _turn = my_turn();
    let before = open_descriptors();
    {
        let listener = ip::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let listener: TcpListener<Ipv4> = listener.try_into().unwrap();
        let stream = ip::TcpStream::connect(addr).unwrap();
        let stream: TcpStream = stream.try_into().unwrap();
        assert_eq!(ip::TcpStream::from(stream).peer_addr().unwrap(), addr);
        let listener = ip::TcpListener::from(listener);
        let error = TcpListener::<Ipv6>::try_from(listener).unwrap_err();
        let back = ip::TcpListener::from(error.into_fd());
        assert_eq!(back.local_addr().unwrap(), addr);

        let udp = ip::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let udp: UdpSocket<Ipv6> = udp.try_into().unwrap();
        let own = udp.local_addr().unwrap();
        let udp = ip::UdpSocket::from(udp.connect(own).unwrap());
        let udp: ConnectedUdpSocket = udp.try_into().unwrap();
        let udp = ip::UdpSocket::from(udp);
        assert!(UdpSocket::<Ip>::try_from(udp).is_err(), "it has a peer");

        let (one, _other) = unix::UnixStream::pair().unwrap();
        let one: UnixStream = one.try_into().unwrap();
        let _ = unix::UnixStream::from(one);
        let listener = UnixListener::bind(UnixAddr::unnamed()).unwrap();
        let listener: UnixListener = unix::UnixListener::from(listener).try_into().unwrap();
        drop(listener);
        let datagram = unix::UnixDatagram::unbound().unwrap();
        let datagram: UnixDatagram = datagram.try_into().unwrap();
        let _ = unix::UnixDatagram::from(datagram);
        let (one, _other) = unix::UnixDatagram::pair().unwrap();
        let one: ConnectedUnixDatagram = one.try_into().unwrap();
        let _ = unix::UnixDatagram::from(one);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn failures_leak_nothing() {
    let _turn = my_turn();
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = used.local_addr().unwrap();
    let unix = UnixListener::bind_with_backlog(UnixAddr::unnamed(), 0).unwrap();
    let unix_addr = unix.local_addr().unwrap();
    let _first = UnixStream::connect(&unix_addr).unwrap();
    // Bound and not listening: nobody else gets the port.
    let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let free = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    holder.bind(&free.into()).unwrap();
    let gone = holder.local_addr().unwrap().as_socket().unwrap();
    let before = open_descriptors();
    for _ in 0..10 {
        TcpListener::bind(addr).unwrap_err();
        UnixListener::bind(&unix_addr).unwrap_err();
        UdpSocket::bind("192.0.2.1:0").unwrap_err(); // not an address of this host
        let refused = Options::new().hop_limit(0);
        TcpListener::bind_with("127.0.0.1:0", &refused).unwrap_err();
        TcpStream::connect_with(addr, &refused).unwrap_err();
        TcpStream::connect(gone).unwrap_err();
        TcpStream::connect_timeout(gone, Duration::from_secs(5)).unwrap_err();
        UnixStream::connect_timeout(&unix_addr, Duration::from_millis(1)).unwrap_err();
        used.set_nonblocking(true).unwrap();
        used.accept().unwrap_err();
        let (read, write) = UnixStream::pair().unwrap().0.split();
        let (_, foreign) = UnixStream::pair().unwrap().0.split();
        drop((read.reunite(foreign).unwrap_err(), write));
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_child_inherits_none() {
    let _turn = my_turn();
    let mut ours: Vec<OwnedFd> = makes().into_iter().map(|(_, fd)| fd).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ours.push(listener.accept().unwrap().0.into());
    ours.push(client.try_clone().unwrap().into());
    ours.push(client.into());
    ours.push(listener.into());
    let link = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let ours: Vec<(OwnedFd, String)> = ours
        .into_iter()
        .map(|fd| (link(&fd).unwrap().to_str().unwrap().to_owned(), fd))
        .filter(|(link, _)| link.starts_with("socket:"))
        .map(|(link, fd)| (fd, link))
        .collect();
    assert_eq!(ours.len(), 14 + 4);
    let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(listing.contains("->"), "nothing was listed: {listing}");
    for (_, link) in &ours {
        assert!(!listing.contains(link), "{link} was inherited: {listing}");
    }
}

#[test]
fn a_child_inherits_none_of_a_server_and_its_clients() {
    let _turn = my_turn();
    let links = |of: &std::path::Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(of).unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    };
    let (before, id) = (links("/proc/self/fd".as_ref()), std::process::id());
    for engine in AnyEngine::all() {
        let server = Server::tcp("127.0.0.1:0")
            .and("udp://127.0.0.1:0")
            .and(format!("unix://@sockeye-child-{id}"))
            .and(format!("unix+seqpacket://@sockeye-child-records-{id}"))
            .and(format!("unix+dgram://@sockeye-child-messages-{id}"))
            .engine(engine)
            .options(Options::new().send_buffer(20_000).reuse_port(true))
            .codec(Lines::default())
            .serve(|line, cx| cx.send(line))
            .unwrap();
        let mut clients = Vec::new();
        for endpoint in server.local_endpoints() {
            let mut client = Client::to(endpoint).codec(Lines::default()).connect().unwrap();
            client.send("accepted?").unwrap();
            assert_eq!(client.receive().unwrap(), "accepted?");
            clients.push(client);
        }
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // Until it runs its program, it has what it will close.
        let proc = std::path::PathBuf::from(format!("/proc/{}", child.id()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(proc.join("comm")).unwrap().trim() != "sleep" {
            assert!(Instant::now() < deadline, "the child does not start");
        }
        let inherited = links(&proc.join("fd"));
        child.kill().unwrap();
        child.wait().unwrap();
        let ours = links("/proc/self/fd".as_ref());
        let of_server: BTreeSet<&String> = ours.difference(&before).collect();
        assert!(of_server.len() >= 5 + 5 + 3, "{of_server:?}");
        let leaked: Vec<&&String> =
            of_server.iter().filter(|link| inherited.contains(**link)).collect();
        assert!(leaked.is_empty(), "{leaked:?}");
        server.stop(Duration::ZERO);
        server.join().unwrap();
    }
}
