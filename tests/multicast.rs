//! Multicast on UDP sockets.
//!
//! Over `lo` without any rights; over a link, and over IPv6, in a network namespace of the test's own.
#![cfg(target_os = "linux")]

#[path = "namespace/mod.rs"]
mod namespace;

use namespace::{LINK, OWN_V4, OWN_V6, in_namespace};
use socket2::SockRef;
use sockeye::addr::{InterfaceId, Ip, IpFamily, Ipv4, Ipv6};
use sockeye::lookup::{Interface, interfaces};
use sockeye::socket::{Options, Outgoing, UdpSocket};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 83, 107);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 83, 108);
/// Of link-local scope, and not assigned to anybody.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x736f, 0x636b);
const LO: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Far longer than any datagram takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn v4(port: u16) -> UdpSocket<Ipv4> {
    let shared = Options::new().reuse_address(true);
    let socket = UdpSocket::bind_with((Ipv4Addr::UNSPECIFIED, port), &shared).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn v6(port: u16) -> UdpSocket<Ipv6> {
    let shared = Options::new().reuse_address(true);
    let socket = UdpSocket::bind_with((Ipv6Addr::UNSPECIFIED, port), &shared).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn port(socket: &UdpSocket<Ipv4>) -> u16 {
    socket.local_addr().unwrap().port()
}

fn hear<F>(socket: &UdpSocket<F>) -> (String, F::Address)
where
    F: sockeye::addr::IpFamily,
{
    let mut buffer = [0; 100];
    let received = socket.recv_from(&mut buffer).expect("a datagram comes");
    (String::from_utf8_lossy(&buffer[..received.len]).into_owned(), received.from)
}

fn named(name: &str) -> Interface {
    interfaces().unwrap().into_iter().find(|interface| interface.name == name).expect(name)
}

#[test]
fn who_shares_a_port_and_joined_hears_each_datagram() {
    let one = v4(0);
    let two = v4(port(&one));
    let lo = named("lo");
    one.join_multicast(GROUP_V4, LO).unwrap();
    two.join_multicast(GROUP_V4, &lo).unwrap();
    let sender = v4(0);
    sender.set_multicast_interface("lo").unwrap();
    let to = SocketAddrV4::new(GROUP_V4, port(&one));
    sender.send_to(b"hello", &to).unwrap();
    for socket in [&one, &two] {
        let (text, from) = hear(socket);
        // The address is any of this host: that of `lo` is for this host alone, and the kernel does
        // not take it for a group of a wider scope.
        assert_eq!((text.as_str(), from.port()), ("hello", port(&sender)));
    }
    // Whoever left hears the next one no more.
    one.leave_multicast(GROUP_V4, "lo").unwrap();
    two.leave_multicast(GROUP_V4, lo.index).unwrap();
    two.join_multicast(OTHER_V4, LO).unwrap();
    sender.send_to(b"nobody", &to).unwrap();
    sender.send_to(b"other", &SocketAddrV4::new(OTHER_V4, port(&one))).unwrap();
    assert_eq!(hear(&two).0, "other");
}

/// Whoever is bound to the wildcard does not hear what others on the host have joined.
#[test]
fn a_group_is_heard_by_those_alone_who_joined_it() {
    let (joined, idle, elsewhere) = {
        let joined = v4(0);
        let (idle, elsewhere) = (v4(port(&joined)), v4(port(&joined)));
        (joined, idle, elsewhere)
    };
    let dual: UdpSocket = {
        let shared = Options::new().reuse_address(true).only_v6(false);
        UdpSocket::bind_with("[::]:0", &shared).unwrap()
    };
    let dual_port = dual.local_addr().unwrap().port();
    let beside = v4(dual_port);
    joined.join_multicast(GROUP_V4, "lo").unwrap();
    elsewhere.join_multicast(OTHER_V4, "lo").unwrap();
    beside.join_multicast(GROUP_V4, "lo").unwrap();
    let sender = v4(0);
    sender.set_multicast_interface("lo").unwrap();
    for port in [port(&joined), dual_port] {
        sender.send_to(b"group", &SocketAddrV4::new(GROUP_V4, port)).unwrap();
        sender.send_to(b"other", &SocketAddrV4::new(OTHER_V4, port)).unwrap();
    }
    assert_eq!((hear(&joined).0, hear(&elsewhere).0, hear(&beside).0), three("group", "other"));
    for socket in [&joined, &idle, &elsewhere, &beside] {
        socket.set_nonblocking(true).unwrap();
        let error = socket.recv_from(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{socket:?}");
    }
    dual.set_nonblocking(true).unwrap();
    assert_eq!(dual.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn three(one: &str, other: &str) -> (String, String, String) {
    (one.to_owned(), other.to_owned(), one.to_owned())
}

#[test]
fn a_group_of_ipv6_is_heard_by_those_alone_who_joined_it() {
    in_namespace(|| {
        let joined = v6(0);
        let port = joined.local_addr().unwrap().port();
        let idle = v6(port);
        // A socket from elsewhere hears no others either, once it has joined.
        let theirs =
            socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap();
        theirs.set_reuse_address(true).unwrap();
        theirs.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into()).unwrap();
        let adopted: UdpSocket<Ipv6> = std::os::fd::OwnedFd::from(theirs).try_into().unwrap();
        adopted.join_multicast("ff12::1:2".parse().unwrap(), LINK).unwrap();
        joined.join_multicast(GROUP_V6, LINK).unwrap();
        let sender = v6(0);
        sender.set_multicast_interface(LINK).unwrap();
        sender.send_to(b"group", &SocketAddrV6::new(GROUP_V6, port, 0, 0)).unwrap();
        assert_eq!(hear(&joined).0, "group");
        for socket in [&idle, &adopted] {
            socket.set_nonblocking(true).unwrap();
            let error = socket.recv_from(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{socket:?}");
        }
    });
}

/// Two hosts that send to a group, and one that hears the one, the other, both or none.
fn sources<F: IpFamily>(
    receiver: &UdpSocket<F>,
    [friend, stranger]: [&UdpSocket<F>; 2],
    [group, one, other]: [F::IpAddress; 3],
    to: &F::Address,
) where
    F::IpAddress: Copy,
{
    let say = || {
        for (socket, text) in [(friend, "friend"), (stranger, "stranger"), (friend, "friend")] {
            socket.send_to(text.as_bytes(), to).unwrap();
        }
    };
    let hears = |expected: &[&str]| {
        say();
        let heard: Vec<String> = expected.iter().map(|_| hear(receiver).0).collect();
        assert_eq!(heard, expected);
        receiver.set_nonblocking(true).unwrap();
        let error = receiver.recv_from(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        receiver.set_nonblocking(false).unwrap();
    };
    receiver.join_multicast_source(group, one, LINK).unwrap();
    hears(&["friend", "friend"]);
    receiver.join_multicast_source(group, other, LINK).unwrap();
    hears(&["friend", "stranger", "friend"]);
    receiver.join_multicast_source(group, other, LINK).unwrap_err();
    receiver.leave_multicast_source(group, one, LINK).unwrap();
    hears(&["stranger"]);
    receiver.leave_multicast_source(group, other, LINK).unwrap();
    hears(&[]);
    receiver.leave_multicast_source(group, other, LINK).unwrap_err();
    receiver.join_multicast(group, LINK).unwrap();
    receiver.block_multicast_source(group, one, LINK).unwrap();
    hears(&["stranger"]);
    receiver.unblock_multicast_source(group, one, LINK).unwrap();
    hears(&["friend", "stranger", "friend"]);
    receiver.unblock_multicast_source(group, one, LINK).unwrap_err();
    receiver.block_multicast_source(group, group, LINK).unwrap_err();
    receiver.leave_multicast(group, LINK).unwrap();
    hears(&[]);
}

#[test]
fn one_source_of_a_group_is_heard_and_no_other() {
    in_namespace(|| {
        namespace::add_address("192.0.2.2/24", LINK).unwrap();
        namespace::add_address("2001:db8::2/64", LINK).unwrap();

        let group = Ipv4Addr::new(232, 83, 107, 1);
        let [one, other]: [Ipv4Addr; 2] = [OWN_V4, "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let senders = [one, other].map(|ip| UdpSocket::<Ipv4>::bind((ip, 0)).unwrap());
        senders.iter().for_each(|sender| sender.set_multicast_interface(LINK).unwrap());
        let receiver = v4(0);
        let to = SocketAddrV4::new(group, port(&receiver));
        sources(&receiver, senders.each_ref(), [group, one, other], &to);

        let group: Ipv6Addr = "ff32::736f:636b".parse().unwrap();
        let [one, other]: [Ipv6Addr; 2] = [OWN_V6, "2001:db8::2"].map(|ip| ip.parse().unwrap());
        let senders = [one, other].map(|ip| UdpSocket::<Ipv6>::bind((ip, 0)).unwrap());
        senders.iter().for_each(|sender| sender.set_multicast_interface(LINK).unwrap());
        let receiver = v6(0);
        let to = SocketAddrV6::new(group, receiver.local_addr().unwrap().port(), 0, 0);
        sources(&receiver, senders.each_ref(), [group, one, other], &to);
    });
}

/// An answer cannot come from a group: it comes from an address of the host.
#[test]
fn who_asks_a_group_is_answered_from_an_address() {
    in_namespace(|| {
        let own: Ipv4Addr = OWN_V4.parse().unwrap();
        let receiver = v4(0);
        receiver.join_multicast(GROUP_V4, LINK).unwrap();
        let sender = v4(0);
        sender.set_multicast_interface(LINK).unwrap();
        sender.send_to(b"who?", &SocketAddrV4::new(GROUP_V4, port(&receiver))).unwrap();
        let arrival = receiver.receive(&mut [0; 8]).unwrap();
        assert_eq!((arrival.to, arrival.answer_from), (Some(GROUP_V4.into()), Some(own.into())));
        assert_eq!(arrival.interface, Some(named(LINK).index));
        receiver.answer(&arrival, b"me").unwrap();
        assert_eq!(hear(&sender).1, SocketAddrV4::new(own, port(&receiver)));

        let receiver = v6(0);
        receiver.join_multicast(GROUP_V6, LINK).unwrap();
        let sender = v6(0);
        sender.set_multicast_interface(LINK).unwrap();
        let port = receiver.local_addr().unwrap().port();
        sender.send_to(b"who?", &SocketAddrV6::new(GROUP_V6, port, 0, 0)).unwrap();
        let arrival = receiver.receive(&mut [0; 8]).unwrap();
        assert_eq!((arrival.to, arrival.answer_from), (Some(GROUP_V6.into()), None));
        assert_eq!(arrival.interface, Some(named(LINK).index));
        receiver.answer(&arrival, b"me").unwrap();
        assert_eq!(hear(&sender).1.port(), port);

        // By the interface that the datagram says, whatever the socket's is.
        let receiver = v4(0);
        receiver.join_multicast(GROUP_V4, LINK).unwrap();
        let to = SocketAddrV4::new(GROUP_V4, self::port(&receiver));
        let sender = v4(0);
        sender.set_multicast_interface("lo").unwrap();
        let by_link = Outgoing::new(b"by the link", &to).interface(named(LINK).index);
        sender.send_datagram(&by_link).unwrap();
        assert_eq!(hear(&receiver).0, "by the link");
    });
}

/// `examples/udp_multicast.rs`, built before it is run.
fn example() -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        build.args(["build", "--quiet", "--example", "udp_multicast"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    });
    Command::new(folder.join("examples/udp_multicast"))
}

/// A listener that is not left behind.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_shows_what_it_sends() {
    let group = GROUP_V4.to_string();
    let mut listener = example();
    listener.args(["listen", &format!("{group}:0"), "--interface", "lo", "--count", "2"]);
    let mut listener = Listening(listener.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(listener.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let at = first.strip_prefix("listening to ").and_then(|rest| rest.split(' ').next()).unwrap();
    for text in [&["hello", "there"][..], &["\u{1b}[2J"]] {
        let mut sender = example();
        sender.args(["send", at, "--interface", "lo"]).args(text);
        assert!(sender.status().unwrap().success());
    }
    for text in ["hello there", "\\u{1b}[2J"] {
        let line = lines.next().unwrap();
        assert_eq!(line.split_once(": ").unwrap().1, text);
    }
    assert!(lines.next().is_none() && listener.0.wait().unwrap().success());
}

#[test]
fn the_example_says_what_is_wrong_on_one_line() {
    let cases = [
        (&["listen", "10.0.0.1:7000"][..], "10.0.0.1 is no multicast group"),
        (&["listen", "somewhere"], "`somewhere` is no address like 239.255.1.2:7000"),
        (
            &["listen", "239.255.1.2:0", "--interface", "nonesuch0"],
            "join 239.255.1.2 on interface nonesuch0: no interface is called `nonesuch0`",
        ),
        (
            &["listen", "239.255.1.2:0", "--interface", "lo", "--source", "::1"],
            "join 239.255.1.2 on interface lo: ::1 is no host that sends to 239.255.1.2",
        ),
        (&["send", "239.255.1.2:7000"], "nothing to send: see --help"),
        (&[], "expected `listen GROUP:PORT` or `send GROUP:PORT TEXT`: see --help"),
    ];
    for (arguments, error) in cases {
        let output = example().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("udp_multicast: {error}\n"));
    }
    let help = example().arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"usage: udp_multicast listen"));
}

#[test]
fn the_loop_can_be_switched_off() {
    in_namespace(|| {
        let receiver = v4(0);
        receiver.join_multicast(GROUP_V4, LINK).unwrap();
        let to = SocketAddrV4::new(GROUP_V4, port(&receiver));
        let sender = v4(0);
        sender.set_multicast_interface(LINK).unwrap();
        sender.set_multicast_loop(false).unwrap();
        sender.send_to(b"out only", &to).unwrap();
        sender.set_multicast_loop(true).unwrap();
        sender.send_to(b"here too", &to).unwrap();
        assert_eq!(hear(&receiver).0, "here too");
    });
}

#[test]
fn a_group_is_heard_on_the_interface_it_was_joined_on_and_no_other() {
    in_namespace(|| {
        let own: Ipv4Addr = OWN_V4.parse().unwrap();
        let choices = [
            InterfaceId::from(LINK),
            InterfaceId::from(named(LINK).index),
            InterfaceId::from(own),
            InterfaceId::from(OWN_V6.parse::<Ipv6Addr>().unwrap()),
        ];
        for choice in choices {
            let receiver = v4(0);
            receiver.join_multicast(GROUP_V4, choice.clone()).unwrap();
            let to = SocketAddrV4::new(GROUP_V4, port(&receiver));
            let sender = v4(0);
            sender.set_multicast_interface("lo").unwrap();
            sender.send_to(b"by lo", &to).unwrap();
            sender.set_multicast_interface(choice.clone()).unwrap();
            sender.send_to(b"by the link", &to).unwrap();
            let (text, from) = hear(&receiver);
            assert_eq!((text.as_str(), from.ip()), ("by the link", &own), "{choice}");
        }
        // No route leads to the group: the system has no choice to offer.
        assert!(v4(0).join_multicast(GROUP_V4, InterfaceId::Default).is_err());
        namespace::ip(["route", "add", "239.0.0.0/8", "dev", LINK]).unwrap();
        let receiver = v4(0);
        receiver.join_multicast(GROUP_V4, InterfaceId::Default).unwrap();
        v4(0).send_to(b"by route", &SocketAddrV4::new(GROUP_V4, port(&receiver))).unwrap();
        assert_eq!(hear(&receiver).0, "by route");
    });
}

#[test]
fn groups_of_ipv6_are_joined_and_left_by_interface() {
    in_namespace(|| {
        let (one, sender) = (v6(0), v6(0));
        let port = one.local_addr().unwrap().port();
        let two = v6(port);
        one.join_multicast(GROUP_V6, LINK).unwrap();
        two.join_multicast(GROUP_V6, OWN_V6.parse::<Ipv6Addr>().unwrap()).unwrap();
        sender.set_multicast_interface(LINK).unwrap();
        sender.send_to(b"hello", &SocketAddrV6::new(GROUP_V6, port, 0, 0)).unwrap();
        let index = named(LINK).index;
        // The scope id says it as well.
        sender.set_multicast_interface(InterfaceId::Default).unwrap();
        sender.send_to(b"again", &SocketAddrV6::new(GROUP_V6, port, 0, index)).unwrap();
        for socket in [&one, &two] {
            assert_eq!(hear(socket).0, "hello");
            assert_eq!(hear(socket).0, "again");
        }
        one.leave_multicast(GROUP_V6, index).unwrap();
        let again = one.leave_multicast(GROUP_V6, index).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn a_dual_stack_socket_hears_groups_of_ipv4() {
    let dual = UdpSocket::bind_dual_stack(0).unwrap();
    dual.set_read_timeout(Some(PATIENCE)).unwrap();
    dual.join_multicast(GROUP_V4.into(), LO).unwrap();
    dual.set_multicast_interface("lo").unwrap();
    let port = dual.local_addr().unwrap().port();
    dual.send_to(b"hello", &SocketAddrV6::new(GROUP_V4.to_ipv6_mapped(), port, 0, 0).into())
        .unwrap();
    assert!(hear(&dual).1.ip().to_canonical().is_ipv4());
    dual.leave_multicast(GROUP_V4.into(), LO).unwrap();
}

#[test]
fn hops_and_loop_are_set_and_read_back() {
    let (v4, v6) = (v4(0), v6(0));
    for hops in [0, 1, 32, 255] {
        v4.set_multicast_hops(hops).unwrap();
        v6.set_multicast_hops(hops).unwrap();
        assert_eq!((v4.multicast_hops().unwrap(), v6.multicast_hops().unwrap()), (hops, hops));
        assert_eq!(SockRef::from(&v4).multicast_ttl_v4().unwrap(), u32::from(hops));
        assert_eq!(SockRef::from(&v6).multicast_hops_v6().unwrap(), u32::from(hops));
    }
    for on in [false, true] {
        v4.set_multicast_loop(on).unwrap();
        v6.set_multicast_loop(on).unwrap();
        assert_eq!((v4.multicast_loop().unwrap(), v6.multicast_loop().unwrap()), (on, on));
    }
    let dual = UdpSocket::bind_dual_stack(0).unwrap();
    dual.set_multicast_hops(7).unwrap();
    dual.set_multicast_loop(false).unwrap();
    let witness = SockRef::from(&dual);
    assert_eq!((witness.multicast_hops_v6().unwrap(), witness.multicast_ttl_v4().unwrap()), (7, 7));
    assert!(!witness.multicast_loop_v6().unwrap() && !witness.multicast_loop_v4().unwrap());
}

#[test]
fn what_is_no_group_or_no_interface_is_refused() {
    let (four, six) = (v4(0), v6(0));
    let erased: UdpSocket<Ip> = v4(0).into();
    let only_v6: UdpSocket<Ip> = v6(0).into();
    let nowhere = Ipv4Addr::new(198, 51, 100, 7);
    let cases = [
        (four.join_multicast(nowhere, "lo"), "198.51.100.7 is no multicast group"),
        (four.leave_multicast(nowhere, "lo"), "198.51.100.7 is no multicast group"),
        (six.join_multicast(Ipv6Addr::LOCALHOST, "lo"), "::1 is no multicast group"),
        (
            erased.join_multicast(GROUP_V6.into(), "lo"),
            "ff12::736f:636b is a group of IPv6, the socket is one of IPv4",
        ),
        (
            only_v6.join_multicast(GROUP_V4.into(), "lo"),
            "239.255.83.107 is a group of IPv4, the socket is for IPv6 alone",
        ),
        (
            four.join_multicast_source(GROUP_V4, GROUP_V4, "lo"),
            "239.255.83.107 is no host that sends to 239.255.83.107",
        ),
        (
            erased.join_multicast_source(GROUP_V4.into(), Ipv6Addr::LOCALHOST.into(), "lo"),
            "::1 is no host that sends to 239.255.83.107",
        ),
        (four.leave_multicast_source(nowhere, LO, "lo"), "198.51.100.7 is no multicast group"),
        (four.join_multicast(GROUP_V4, 0), "no interface has index 0; say `InterfaceId::Default`"),
        (
            four.join_multicast(GROUP_V4, Ipv4Addr::UNSPECIFIED),
            "no interface has 0.0.0.0; say `InterfaceId::Default`",
        ),
    ];
    for (result, text) in cases {
        let error = result.expect_err(text);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, text));
    }
    let cases = [
        (four.join_multicast(GROUP_V4, "nonesuch0"), "no interface is called `nonesuch0`"),
        (four.set_multicast_interface("nonesuch0"), "no interface is called `nonesuch0`"),
        (four.join_multicast(GROUP_V4, u32::MAX), "no interface has index 4294967295"),
        (six.join_multicast(GROUP_V6, nowhere), "no interface has the address 198.51.100.7"),
    ];
    for (result, text) in cases {
        let error = result.expect_err(text);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, text));
    }
    four.join_multicast(GROUP_V4, "lo").unwrap();
    let twice = four.join_multicast(GROUP_V4, LO).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AddrInUse);
}

#[test]
fn an_address_of_two_interfaces_names_neither() {
    in_namespace(|| {
        for link in [LINK, "sock1"] {
            namespace::add_address("203.0.113.5/32", link).unwrap();
        }
        let error = v4(0).join_multicast(GROUP_V4, Ipv4Addr::new(203, 0, 113, 5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("is of more than one: "), "{error}");
    });
}
