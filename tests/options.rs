//! Options: one by one on typed sockets, and as a set for servers and clients.
//!
//! What was set is read back by socket2, which knows nothing of this crate. The sockets that a server
//! has accepted are found among the descriptors of this process, by their peer.
#![cfg(target_os = "linux")]

mod matrix;

use matrix::{Cell, Kind, PATIENCE, address, eventually, on_all, on_kinds, stop};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, SockAddr, SockRef, Type};
use sockeye::addr::{AnyAddr, Datagram, Ip, Ipv4, Ipv6, Streaming, Supports, UnixAddr};
use sockeye::client::Client;
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::Events;
use sockeye::handler::Context;
use sockeye::limits::Limits;
use sockeye::server::Server;
use sockeye::socket::{
    AnyListener, AnyStream, ConnectedUdpSocket, ConnectedUnixDatagram, Keepalive, Options, Socket,
    TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixSeqListener, UnixSeqPacket,
    UnixStream,
};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

const V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const V6: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
const SECOND: Duration = Duration::from_secs(1);
const KEEPALIVE: Keepalive =
    Keepalive { idle: Duration::from_secs(20), interval: SECOND, count: 3 };
/// The kernel doubles it, and no system has less to give.
const BUFFER: usize = 20_000;

/// A set in which every option differs from what it would be without.
fn all() -> Options {
    Options::new()
        .reuse_address(true)
        .reuse_port(true)
        .only_v6(true)
        .send_buffer(BUFFER)
        .receive_buffer(BUFFER + 1_000)
        .hop_limit(7)
        .nodelay(false)
        .keepalive(Some(KEEPALIVE))
        .linger(Some(Duration::ZERO))
        .user_timeout(Some(9 * SECOND))
}

// ---- the witness ----

fn assert_buffers(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    assert_eq!(socket.send_buffer_size().unwrap(), 2 * BUFFER);
    assert_eq!(socket.recv_buffer_size().unwrap(), 2 * (BUFFER + 1_000));
}

fn hops(socket: &impl AsFd) -> u32 {
    let socket = SockRef::from(socket);
    match socket.domain().unwrap() {
        Domain::IPV4 => socket.ttl_v4().unwrap(),
        _ => socket.unicast_hops_v6().unwrap(),
    }
}

fn keepalive(socket: &impl AsFd) -> Option<Keepalive> {
    let socket = SockRef::from(socket);
    socket.keepalive().unwrap().then(|| Keepalive {
        idle: socket.tcp_keepalive_time().unwrap(),
        interval: socket.tcp_keepalive_interval().unwrap(),
        count: socket.tcp_keepalive_retries().unwrap(),
    })
}

/// What [`all`] sets that an accepted TCP connection has too.
fn assert_tcp(socket: &impl AsFd) {
    assert_buffers(socket);
    assert_eq!(hops(socket), 7);
    assert_eq!(keepalive(socket), Some(KEEPALIVE));
    let socket = SockRef::from(socket);
    assert!(!socket.tcp_nodelay().unwrap());
    assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(9 * SECOND));
}

/// What servers and clients have over TCP without any options.
fn assert_tcp_defaults(socket: &impl AsFd) {
    assert_eq!(keepalive(socket), Some(Keepalive::default()));
    assert_eq!(hops(socket), hops(&UdpSocket::bind(V4).unwrap()));
    let socket = SockRef::from(socket);
    assert!(socket.tcp_nodelay().unwrap());
    assert_eq!(socket.linger().unwrap(), None);
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
}

struct RawSocket(socket2::Socket);

impl RawSocket {
    /// A client with a name of its own, by which its other end is found.
    fn connect(cell: &Cell, to: &AnyAddr) -> RawSocket {
        let (domain, to) = match to {
            AnyAddr::Ip(to) => (Domain::for_address(*to), SockAddr::from(*to)),
            AnyAddr::Unix(to) => (Domain::UNIX, SockAddr::unix(to.as_path().unwrap()).unwrap()),
        };
        let kind = if cell.kind == Kind::UnixSeqPacket { Type::SEQPACKET } else { Type::STREAM };
        let socket = socket2::Socket::new(domain, kind, None).unwrap();
        if domain == Domain::UNIX {
            let endpoint = cell.endpoint();
            let path = endpoint.split_once("://").unwrap().1;
            socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
        }
        socket.connect(&to).unwrap();
        RawSocket(socket)
    }

    /// The socket of this process that is connected to this one, of a server that sends back what it
    /// gets.
    fn other_end(&self) -> OwnedFd {
        // The reply says that the options are set: it was accepted, and given to its session.
        self.0.send(b"x").unwrap();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(self.0.recv(&mut [std::mem::MaybeUninit::uninit(); 8]).unwrap(), 1);
        let name = self.0.local_addr().unwrap();
        let mut found = None;
        eventually("the other end is accepted", || {
            found = sockets().into_iter().find(|fd| {
                SockRef::from(fd).peer_addr().is_ok_and(|peer| {
                    peer.as_socket().is_some() == name.as_socket().is_some() && peer == name
                })
            });
            found.is_some()
        });
        found.unwrap()
    }
}

/// Another descriptor for every socket of this process.
fn sockets() -> Vec<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = fds.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok())
        .filter(|fd| SockRef::from(fd).r#type().is_ok())
        .collect()
}

// ---- one by one ----

fn tcp_options<F, K>(socket: &Socket<F, K>)
where
    F: sockeye::addr::IpFamily + Supports<K>,
    K: Streaming,
{
    let witness = SockRef::from(socket);
    for on in [false, true] {
        socket.set_nodelay(on).unwrap();
        assert_eq!((socket.nodelay().unwrap(), witness.tcp_nodelay().unwrap()), (on, on));
    }
    for value in [Some(KEEPALIVE), None, Some(Keepalive::default())] {
        socket.set_keepalive(value).unwrap();
        assert_eq!((socket.keepalive().unwrap(), keepalive(socket)), (value, value));
    }
    for value in [Some(3 * SECOND), Some(Duration::ZERO), None] {
        socket.set_linger(value).unwrap();
        assert_eq!((socket.linger().unwrap(), witness.linger().unwrap()), (value, value));
    }
    for value in [Some(9 * SECOND), None] {
        socket.set_user_timeout(value).unwrap();
        let got = (socket.user_timeout().unwrap(), witness.tcp_user_timeout().unwrap());
        assert_eq!(got, (value, value));
    }
    socket.set_hop_limit(9).unwrap();
    assert_eq!((socket.hop_limit().unwrap().into(), hops(socket)), (9, 9));
    buffers(socket);
}

fn buffers<F: Supports<K>, K: sockeye::addr::Kind>(socket: &Socket<F, K>) {
    socket.set_send_buffer(BUFFER).unwrap();
    socket.set_receive_buffer(BUFFER + 1_000).unwrap();
    assert_buffers(socket);
    assert_eq!(socket.send_buffer().unwrap(), 2 * BUFFER);
    assert_eq!(socket.receive_buffer().unwrap(), 2 * (BUFFER + 1_000));
}

#[test]
fn tcp_sockets_and_listeners_have_every_option() {
    let listener = TcpListener::<Ipv4>::bind(V4).unwrap();
    let client = TcpStream::<Ipv4>::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    tcp_options(&server);
    client.set_ttl(5).unwrap();
    assert_eq!((client.ttl().unwrap(), hops(&client)), (5, 5));
    tcp_options(&TcpStream::<Ip>::from(client));
    tcp_options(&listener);

    let listener = TcpListener::<Ipv6>::bind(V6).unwrap();
    let client = TcpStream::<Ipv6>::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    tcp_options(&server);
    client.set_hops(5).unwrap();
    assert_eq!((client.hops().unwrap(), hops(&client)), (5, 5));
    tcp_options(&TcpStream::<Ip>::from(client));
    tcp_options(&TcpListener::<Ip>::from(listener));
}

#[test]
fn udp_sockets_have_buffers_and_hops() {
    let udp = UdpSocket::<Ipv4>::bind(V4).unwrap();
    udp.set_ttl(5).unwrap();
    assert_eq!((udp.ttl().unwrap(), hops(&udp)), (5, 5));
    buffers(&udp);
    let udp = UdpSocket::<Ipv6>::bind(V6).unwrap();
    udp.set_hops(5).unwrap();
    assert_eq!((udp.hops().unwrap(), hops(&udp)), (5, 5));
    let connected = ConnectedUdpSocket::<Ipv6>::connect(udp.local_addr().unwrap()).unwrap();
    connected.set_hop_limit(6).unwrap();
    assert_eq!((connected.hop_limit().unwrap().into(), hops(&connected)), (6, 6));
    buffers(&connected);
}

#[test]
fn every_kind_has_buffers() {
    let (stream, other) = UnixStream::pair().unwrap();
    buffers(&stream);
    buffers(&AnyStream::from(other));
    buffers(&UnixSeqPacket::pair().unwrap().0);
    buffers(&ConnectedUnixDatagram::pair().unwrap().0);
    buffers(&UnixDatagram::bind(UnixAddr::unnamed()).unwrap());
    buffers(&UnixListener::bind(UnixAddr::unnamed()).unwrap());
    buffers(&UnixSeqListener::bind(UnixAddr::unnamed()).unwrap());
    buffers(&AnyListener::bind(AnyAddr::from(V4)).unwrap());
}

#[test]
fn a_dual_stack_socket_limits_the_hops_to_ipv4_peers_too() {
    let udp = UdpSocket::bind_dual_stack(0).unwrap();
    udp.set_hop_limit(9).unwrap();
    let witness = SockRef::from(&udp);
    assert_eq!((witness.unicast_hops_v6().unwrap(), witness.ttl_v4().unwrap()), (9, 9));
}

#[test]
fn short_times_are_rounded_up_and_never_to_none() {
    let listener = TcpListener::bind(V4).unwrap();
    listener.set_linger(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(SockRef::from(&listener).linger().unwrap(), Some(SECOND));
    let just_over = Duration::from_millis(1_001);
    let fine = Keepalive { idle: just_over, interval: Duration::from_nanos(1), count: 1 };
    listener.set_keepalive(Some(fine)).unwrap();
    let coarse = Keepalive { idle: 2 * SECOND, interval: SECOND, count: 1 };
    assert_eq!(keepalive(&listener), Some(coarse));
    listener.set_user_timeout(Some(Duration::from_nanos(1))).unwrap();
    let got = SockRef::from(&listener).tcp_user_timeout().unwrap();
    assert_eq!(got, Some(Duration::from_millis(1)));
}

#[test]
fn long_times_and_large_sizes_do_not_wrap() {
    let listener = TcpListener::bind(V4).unwrap();
    listener.set_linger(Some(Duration::MAX)).unwrap();
    assert!(SockRef::from(&listener).linger().unwrap() > Some(Duration::from_secs(1 << 20)));
    let most = |name: &str| -> usize {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap();
        text.trim().parse().unwrap()
    };
    for bytes in [usize::MAX, 1 << 32] {
        listener.set_send_buffer(bytes).unwrap();
        listener.set_receive_buffer(bytes).unwrap();
        assert_eq!(listener.send_buffer().unwrap(), 2 * most("wmem_max"));
        assert_eq!(listener.receive_buffer().unwrap(), 2 * most("rmem_max"));
    }
}

#[test]
fn values_that_the_kernel_refuses_are_refused() {
    let v4 = TcpListener::<Ipv4>::bind(V4).unwrap();
    let v6 = TcpListener::<Ipv6>::bind(V6).unwrap();
    let idle = |idle| Some(Keepalive { idle, ..KEEPALIVE });
    let count = |count| Some(Keepalive { count, ..KEEPALIVE });
    let attempts: [(&str, io::Result<()>); 11] = [
        ("ttl 0", v4.set_ttl(0)),
        ("hops 0", v6.set_hops(0)),
        ("idle 0", v4.set_keepalive(idle(Duration::ZERO))),
        ("idle 32,768", v4.set_keepalive(idle(Duration::from_secs(32_768)))),
        ("idle for ever", v4.set_keepalive(idle(Duration::MAX))),
        ("count 0", v4.set_keepalive(count(0))),
        ("count 128", v4.set_keepalive(count(128))),
        ("count 2^31", v4.set_keepalive(count(1 << 31))),
        ("count 2^32 - 1", v4.set_keepalive(count(u32::MAX))),
        ("user timeout 0", v4.set_user_timeout(Some(Duration::ZERO))),
        ("user timeout of an age", v4.set_user_timeout(Some(Duration::MAX))),
    ];
    for (what, attempt) in attempts {
        assert_eq!(attempt.expect_err(what).kind(), ErrorKind::InvalidInput, "{what}");
    }
    let largest = Keepalive { idle: Duration::from_secs(32_767), interval: SECOND, count: 127 };
    v4.set_keepalive(Some(largest)).unwrap();
    v4.set_ttl(255).unwrap();
    v6.set_hops(255).unwrap();
}

#[test]
fn socket2_takes_every_kind_of_socket() {
    let listener = AnyListener::bind(AnyAddr::from(V4)).unwrap();
    let stream = AnyStream::connect(listener.local_addr().unwrap()).unwrap();
    SockRef::from(&listener).set_tos_v4(0x10).unwrap();
    assert_eq!(SockRef::from(&listener).tos_v4().unwrap(), 0x10);
    assert!(!SockRef::from(&stream).tcp_congestion().unwrap().is_empty());
    let udp = UdpSocket::bind(V4).unwrap();
    SockRef::from(&udp).set_broadcast(true).unwrap();
    assert!(SockRef::from(&udp).broadcast().unwrap());
    let (seqpacket, _other) = UnixSeqPacket::pair().unwrap();
    assert!(SockRef::from(&seqpacket).passcred().unwrap());
    let (read, write) = stream.split();
    assert_eq!(SockRef::from(&read).r#type().unwrap(), Type::STREAM);
    assert_eq!(SockRef::from(&write).r#type().unwrap(), Type::STREAM);
}

// ---- as a set ----

#[test]
fn sockets_are_bound_and_connected_with_a_set() {
    for any in [SocketAddr::from(V4), SocketAddr::from(V6)] {
        let listener = TcpListener::bind_with(any, &all()).unwrap();
        assert_tcp(&listener);
        let witness = SockRef::from(&listener);
        assert!(witness.reuse_address().unwrap() && witness.reuse_port().unwrap());
        let client = TcpStream::connect_with(listener.local_addr().unwrap(), &all()).unwrap();
        assert_tcp(&client);
        assert_tcp(&listener.accept().unwrap().0);
        let udp = UdpSocket::bind_with(any, &all()).unwrap();
        assert_buffers(&udp);
        assert_eq!(hops(&udp), 7);
        assert!(SockRef::from(&udp).reuse_address().unwrap());
        let udp = ConnectedUdpSocket::connect_with(udp.local_addr().unwrap(), &all()).unwrap();
        assert_buffers(&udp);
        assert_eq!(hops(&udp), 7);
    }
    let listener = UnixListener::bind_with(UnixAddr::unnamed(), &all()).unwrap();
    assert_buffers(&listener);
    let client = UnixStream::connect_with(listener.local_addr().unwrap(), &all()).unwrap();
    assert_buffers(&client);
    assert_buffers(&UnixSeqListener::bind_with(UnixAddr::unnamed(), &all()).unwrap());
    assert_buffers(&UnixDatagram::bind_with(UnixAddr::unnamed(), &all()).unwrap());
}

#[test]
fn what_a_set_does_not_hold_stays_as_it_is() {
    let none = Options::new();
    assert!(SockRef::from(&TcpListener::bind_with(V4, &none).unwrap()).reuse_address().unwrap());
    let off = TcpListener::bind_with(V4, &Options::new().reuse_address(false)).unwrap();
    assert!(!SockRef::from(&off).reuse_address().unwrap());
    let udp = UdpSocket::bind_with(V6, &none).unwrap();
    assert!(!SockRef::from(&udp).reuse_address().unwrap());
    assert!(SockRef::from(&udp).only_v6().unwrap());
    off.set_nodelay(false).unwrap();
    off.set_linger(Some(SECOND)).unwrap();
    none.apply_to(&off).unwrap();
    Options::new().hop_limit(9).apply_to(&off).unwrap();
    assert_eq!((off.nodelay().unwrap(), off.linger().unwrap()), (false, Some(SECOND)));
    assert_eq!(keepalive(&off), None);
}

#[test]
fn a_set_is_applied_by_hand_as_far_as_the_kind_goes() {
    let (one, other) = UnixStream::pair().unwrap();
    all().apply_to(&one).unwrap();
    assert_buffers(&one);
    let any = AnyStream::from(other);
    all().apply_to(&any).unwrap();
    assert_buffers(&any);
    let listener = AnyListener::bind(AnyAddr::from(V6)).unwrap();
    all().apply_to(&listener).unwrap();
    assert_tcp(&listener);
    assert!(!SockRef::from(&listener).reuse_port().unwrap());
    let udp: Socket<_, Datagram> = UdpSocket::<Ipv4>::bind(V4).unwrap();
    all().apply_to(&udp).unwrap();
    assert_eq!(hops(&udp), 7);
    all().apply_to(&UnixSeqPacket::pair().unwrap().0).unwrap();
}

#[test]
fn what_a_unix_listener_accepts_is_given_its_options_by_hand() {
    let options = Options::new().send_buffer(BUFFER).receive_buffer(BUFFER + 1_000);
    let listener = UnixListener::bind_with(UnixAddr::unnamed(), &options).unwrap();
    let _client = UnixStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_ne!(accepted.send_buffer().unwrap(), 2 * BUFFER);
    options.apply_to(&accepted).unwrap();
    assert_buffers(&accepted);
}

#[test]
fn a_refused_option_is_named() {
    let bad = Options::new().nodelay(true).hop_limit(0);
    let error = TcpListener::bind_with(V4, &bad).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "option hop_limit: Invalid argument (os error 22)");
    let listener = TcpListener::bind(V4).unwrap();
    let at = listener.local_addr().unwrap();
    assert!(TcpStream::connect_with(at, &bad).unwrap_err().to_string().contains("hop_limit"));
    assert!(UdpSocket::bind_with(V6, &bad).unwrap_err().to_string().contains("hop_limit"));
    assert!(bad.apply_to(&listener).unwrap_err().to_string().contains("hop_limit"));
    UnixListener::bind_with(UnixAddr::unnamed(), &bad).unwrap();
}

#[test]
fn reuse_port_lets_several_sockets_bind_one_port() {
    let shared = Options::new().reuse_port(true);
    let one = TcpListener::bind_with(V4, &shared).unwrap();
    let at = one.local_addr().unwrap();
    let other = TcpListener::bind_with(at, &shared).unwrap();
    assert_eq!(TcpListener::bind(at).unwrap_err().kind(), ErrorKind::AddrInUse);
    // Between them they have all connections.
    let clients: Vec<TcpStream<Ipv4>> = (0..50).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut accepted = 0;
    // The connects return a moment before the connections are in the backlogs.
    eventually("all are accepted", || {
        for listener in [&one, &other] {
            listener.set_nonblocking(true).unwrap();
            accepted += listener.incoming().map_while(Result::ok).count();
        }
        accepted == clients.len()
    });

    let one = UdpSocket::bind_with(V4, &shared).unwrap();
    UdpSocket::bind_with(one.local_addr().unwrap(), &shared).unwrap();
    UdpSocket::bind(one.local_addr().unwrap()).unwrap_err();
}

#[test]
fn only_v6_decides_whether_ipv4_has_the_port_left() {
    let everywhere = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
    let v4_at = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    for options in [Options::new(), Options::new().only_v6(true)] {
        let v6 = TcpListener::bind_with(everywhere, &options).unwrap();
        TcpListener::bind(v4_at(v6.local_addr().unwrap().port())).unwrap();
    }
    let both = TcpListener::bind_with(everywhere, &Options::new().only_v6(false)).unwrap();
    let port = both.local_addr().unwrap().port();
    assert_eq!(TcpListener::bind(v4_at(port)).unwrap_err().kind(), ErrorKind::AddrInUse);
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert!(both.accept().unwrap().1.ip().to_ipv4_mapped().is_some());
}

// ---- servers ----

/// [`all`], but that UDP sockets have their port to themselves: the kernel may give those that share
/// the same one to two tests.
fn all_at(cell: &Cell) -> Options {
    match cell.kind {
        Kind::Udp4 | Kind::Udp6 => all().reuse_address(false).reuse_port(false),
        _ => all(),
    }
}

fn echo(bytes: &[u8], cx: &mut Context<'_, Bytes>) {
    cx.send(bytes);
}

fn bound_sockets_have_the_options(cell: &Cell) {
    let server = cell.server().options(all_at(cell)).codec(Bytes::default()).serve(echo).unwrap();
    let at = match address(&server) {
        AnyAddr::Ip(at) => SockAddr::from(at),
        AnyAddr::Unix(at) => SockAddr::unix(at.as_path().unwrap()).unwrap(),
    };
    let is_it = |socket: &OwnedFd| {
        let socket = SockRef::from(socket);
        let at_home = socket.local_addr().unwrap() == at && socket.peer_addr().is_err();
        let datagram = matches!(cell.kind, Kind::Udp4 | Kind::Udp6 | Kind::UnixDatagram);
        at_home && (socket.r#type().unwrap() == Type::DGRAM) == datagram
    };
    let bound = sockets().into_iter().find(is_it).unwrap();
    match cell.kind {
        Kind::Tcp4 | Kind::Tcp6 => assert_tcp(&bound),
        Kind::Udp4 | Kind::Udp6 => assert_eq!(hops(&bound), 7),
        _ => {}
    }
    assert_buffers(&bound);
    drop(bound);
    stop(&server);
}

fn servers_share_a_port_if_they_are_told_to(cell: &Cell) {
    let options = Options::new().reuse_port(true);
    let serve = |endpoint: &str, options: &Options| {
        let server = Server::on(endpoint).engine(cell.engine()).options(options.clone());
        server.codec(Bytes::default()).serve(echo)
    };
    let one = serve(&cell.endpoint(), &options).unwrap();
    let endpoint = one.local_endpoints()[0].to_string();
    let other = serve(&endpoint, &options).unwrap();
    let error = serve(&endpoint, &Options::new()).unwrap_err();
    assert_eq!(error.kind(), sockeye::ErrorKind::AddressInUse);
    stop(&one);
    stop(&other);
}

fn accepted_sockets_have_the_options(cell: &Cell) {
    let server = cell.server().options(all()).codec(Bytes::default()).serve(echo).unwrap();
    for _ in 0..3 {
        let client = RawSocket::connect(cell, &address(&server));
        let other = client.other_end();
        match cell.kind {
            Kind::Tcp4 | Kind::Tcp6 => assert_tcp(&other),
            _ => assert_buffers(&other),
        }
    }
    stop(&server);
}

fn accepted_sockets_have_the_defaults(cell: &Cell) {
    let server = cell.server().codec(Bytes::default()).serve(echo).unwrap();
    let client = RawSocket::connect(cell, &address(&server));
    assert_tcp_defaults(&client.other_end());
    drop(client);
    stop(&server);
    let options = Options::new().keepalive(None).nodelay(false);
    let server = cell.server().options(options).codec(Bytes::default()).serve(echo).unwrap();
    let client = RawSocket::connect(cell, &address(&server));
    let other = client.other_end();
    assert_eq!(keepalive(&other), None);
    assert!(!SockRef::from(&other).tcp_nodelay().unwrap());
    drop((client, other));
    stop(&server);
}

on_kinds! { accepted_sockets_have_the_options
[tcp4 Tcp4, tcp6 Tcp6, unix Unix, unix_seqpacket UnixSeqPacket] }
matrix::on_tcp! { accepted_sockets_have_the_defaults }

/// A set with all options, though no endpoint has them all.
fn one_set_serves_every_endpoint(cell: &Cell) {
    // Linger would throw the reply away.
    let options = all_at(cell).linger(None);
    let server = cell.server().options(options.clone()).codec(Lines::default());
    let server = server.serve(|line, cx| cx.send(line)).unwrap();
    let client = Client::to(&server.local_endpoints()[0]).options(options).timeout(PATIENCE);
    let mut client = client.codec(Lines::default()).connect().unwrap();
    client.send("hello").unwrap();
    assert_eq!(client.receive().unwrap(), "hello");
    drop(client);
    server.stop(Duration::ZERO);
    server.join().unwrap();
}

fn bad_values_are_errors_where_they_are_options(cell: &Cell) {
    let options = Options::new().hop_limit(0);
    let server = cell.server().options(options.clone()).codec(Lines::default());
    let started = server.serve(|line, cx| cx.send(line));
    if cell.endpoint().starts_with("unix") {
        stop(&started.unwrap());
        return;
    }
    let error = started.unwrap_err();
    assert_eq!(error.operation(), "listen on");
    assert_eq!(error.endpoint(), cell.endpoint());
    let text = error.to_string();
    assert!(
        text.ends_with(": option hop_limit: Invalid argument (os error 22)")
            || text.ends_with(": option hop_limit: a limit of no hops"),
        "{text}"
    );
    let client = Client::to(cell.endpoint().replace(":0", ":7")).options(options);
    let error = client.codec(Lines::default()).connect().unwrap_err();
    assert_eq!(error.operation(), "connect to");
    assert!(error.endpoint().ends_with(":7"), "{error}");
    assert!(error.to_string().contains("option hop_limit"), "{error}");
}

matrix::on_kinds! {
    servers_share_a_port_if_they_are_told_to [tcp4 Tcp4, tcp6 Tcp6, udp4 Udp4, udp6 Udp6]
}
on_all! { bound_sockets_have_the_options }
on_all! { one_set_serves_every_endpoint, bad_values_are_errors_where_they_are_options }

/// The peer is gone before the server gets to its connection: that one ends, and the next is served.
fn a_peer_that_is_gone_before_it_is_accepted_harms_nobody(cell: &Cell) {
    let mut limits = Limits::default();
    limits.connections_max = Some(1);
    let server = cell.server().limits(limits).options(all().linger(None));
    let server = server.codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    let mut first = cell.connect(&server);
    first.say("hello\n");
    assert_eq!(first.hear().unwrap(), "hello");
    let gone = [cell.connect(&server), cell.connect(&server)];
    let mut last = cell.connect(&server);
    gone.into_iter().for_each(matrix::Wire::reset);
    drop(first);
    last.say("hello\n");
    assert_eq!(last.hear().unwrap(), "hello");
    drop(last);
    let counters = stop(&server).counters;
    assert_eq!((counters.accepted, counters.accept_failed), (4, 0), "{counters:?}");
}

matrix::on_streams! { a_peer_that_is_gone_before_it_is_accepted_harms_nobody }

fn ready_made_listeners_are_given_what_the_set_holds_and_no_more(cell: &Cell) {
    let at = |listener: &TcpListener<Ipv4>| AnyAddr::from(listener.local_addr().unwrap());
    let listener = TcpListener::<Ipv4>::bind(V4).unwrap();
    let to = at(&listener);
    let server = Server::on(listener).engine(cell.engine()).codec(Bytes::default());
    let server = server.serve(echo).unwrap();
    let client = RawSocket::connect(cell, &to);
    assert_eq!(keepalive(&client.other_end()), None);
    drop(client);
    stop(&server);

    let listener = TcpListener::<Ipv4>::bind(V4).unwrap();
    let to = at(&listener);
    let server = Server::on(listener).engine(cell.engine()).options(all());
    let server = server.codec(Bytes::default()).serve(echo).unwrap();
    let client = RawSocket::connect(cell, &to);
    assert_tcp(&client.other_end());
    drop(client);
    stop(&server);

    let listener = TcpListener::<Ipv4>::bind(V4).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let server = Server::on(listener).engine(cell.engine()).options(Options::new().hop_limit(0));
    let error = server.codec(Bytes::default()).serve(echo).unwrap_err();
    assert_eq!((error.operation(), error.endpoint()), ("listen on", endpoint.as_str()));
}

matrix::on_engines! { ready_made_listeners_are_given_what_the_set_holds_and_no_more }

#[test]
fn blocking_handlers_have_the_options_too() {
    let (tell, told) = std::sync::mpsc::channel();
    let unix = format!("unix://@sockeye-options-blocking-{}", std::process::id());
    let server = Server::on("tcp://127.0.0.1:0").and(unix);
    let server = server
        .options(all())
        .serve_blocking(move |stream| tell.send(OwnedFd::from(stream)).map_err(Into::into));
    let server = server.unwrap();
    for endpoint in server.local_endpoints() {
        let _client = Client::to(endpoint).connect().unwrap();
        let socket = matrix::next(&told);
        match endpoint.unix_addr() {
            None => assert_tcp(&socket),
            Some(_) => assert_buffers(&socket),
        }
    }
    stop(&server);
}

#[test]
fn the_endpoint_of_all_addresses_hears_both_families_unless_told_otherwise() {
    let serve = |options: Options| {
        let server = Server::tcp("*:0").engine(Events::workers(1)).options(options);
        server.codec(Bytes::default()).serve(echo).unwrap()
    };
    let port = |server: &sockeye::ServerHandle| match address(server) {
        AnyAddr::Ip(at) => at.port(),
        AnyAddr::Unix(_) => panic!("an IP endpoint"),
    };
    let both = serve(Options::new());
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(&both))).unwrap();
    TcpStream::connect((Ipv6Addr::LOCALHOST, port(&both))).unwrap();
    let one = serve(Options::new().only_v6(true));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(&one))).unwrap_err();
    TcpStream::connect((Ipv6Addr::LOCALHOST, port(&one))).unwrap();
    stop(&both);
    stop(&one);
}

// ---- clients ----

#[test]
fn clients_connect_with_a_set() {
    let listener = TcpListener::bind(V4).unwrap();
    let at = listener.local_addr().unwrap();
    assert_tcp(&Client::tcp(at).options(all()).connect().unwrap());
    assert_tcp_defaults(&Client::tcp(at).connect().unwrap());
    let options = Options::new().keepalive(None);
    assert_eq!(keepalive(&Client::tcp(at).options(options).connect().unwrap()), None);

    let udp = Client::udp(at).options(all()).connect().unwrap();
    assert_buffers(&udp);
    assert_eq!(hops(&udp), 7);

    let name = format!("sockeye-options-{}", std::process::id());
    let _unix = UnixListener::bind(UnixAddr::from_abstract(&name).unwrap()).unwrap();
    let client = Client::to(format!("unix://@{name}")).options(all()).connect().unwrap();
    assert_buffers(&client);
}
