use super::inbox::LOOK_EVERY;
use super::*;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

#[test]
fn a_batch_has_every_datagram_with_its_sender() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let (to, from) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        let mut inbox = Inbox::new(4, PAGE, false);
        assert_eq!(inbox.receive(to.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let sent = ["one", "", "three", "four", "five"];
        for text in sent {
            from.send_to(text.as_bytes(), to.local_addr().unwrap()).unwrap();
        }
        let mut got = Vec::new();
        for count in [4, 1] {
            assert_eq!(inbox.receive(to.as_fd()).unwrap(), count);
            for datagram in (0..count).map(|index| inbox.get(index)) {
                assert_eq!(datagram.from.unwrap(), AnyAddr::Ip(from.local_addr().unwrap()));
                assert_eq!(datagram.length, datagram.bytes.len());
                got.push(String::from_utf8(datagram.bytes.to_vec()).unwrap());
            }
        }
        assert_eq!(got, sent);
    }
}

#[test]
fn what_waits_leaves_together_and_what_does_not_is_handed_back() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let sockets = [0; 3].map(|_| UdpSocket::bind(at).unwrap());
        let [from, one, other] = &sockets;
        let to = |socket: &UdpSocket| AnyAddr::Ip(socket.local_addr().unwrap());
        let mut outbox = Outbox::new(4, 16, false);
        for round in 0..3 {
            assert!(outbox.push(b"first", &to(one), None, 1, Lent::NOTHING).unwrap());
            assert!(outbox.push(b"second", &to(other), None, 2, Lent::NOTHING).unwrap());
            assert!(!outbox.push(b"third!", &to(one), None, 1, Lent::NOTHING).unwrap(), "17 bytes");
            assert!(outbox.push(b"", &to(one), None, 1, Lent::NOTHING).unwrap());
            assert!(outbox.push(b"last", &to(one), None, 3, Lent::NOTHING).unwrap());
            assert!(!outbox.push(b"", &to(one), None, 1, Lent::NOTHING).unwrap(), "five");
            outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
            assert!(outbox.is_empty(), "round {round}");
            let mut bytes = [0; 16];
            for (socket, text) in [(one, "first"), (other, "second"), (one, ""), (one, "last")] {
                let (length, sender) = socket.recv_from(&mut bytes).unwrap();
                assert_eq!(
                    (&bytes[..length], sender),
                    (text.as_bytes(), from.local_addr().unwrap())
                );
            }
        }
        // A broadcast is not allowed unless it was asked for.
        if from.local_addr().unwrap().is_ipv4() {
            let everybody = AnyAddr::Ip("255.255.255.255:9".parse().unwrap());
            outbox.push(b"good", &to(one), None, 1, Lent::NOTHING).unwrap();
            outbox.push(b"bad", &everybody, None, 2, Lent::NOTHING).unwrap();
            outbox.push(b"left", &to(one), None, 3, Lent::NOTHING).unwrap();
            outbox.send(from.as_fd(), Lent::NOTHING).unwrap_err();
            assert_eq!(outbox.pop(Lent::NOTHING), Some((2, &b"bad"[..])));
            outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
            assert_eq!(outbox.pop(Lent::NOTHING), None);
        }
    }
}

/// Who comes alone is taken alone, also an empty one and one that is cut; who comes behind is not lost, and
/// is soon taken with others again.
#[test]
fn what_comes_one_by_one_is_taken_one_by_one() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let (to, from) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        let (abilities, mut inbox) = beside(&to);
        let address = to.local_addr().unwrap();
        let own = if abilities.destination { Some(address.ip()) } else { None };
        let mut take = |length: usize| {
            from.send_to(&vec![b'x'; length], address).unwrap();
            assert_eq!(inbox.receive(to.as_fd()).unwrap(), 1);
            let received = inbox.get(0);
            assert_eq!((received.length, received.is_whole()), (length, true));
            assert_eq!(received.from.as_ref().unwrap(), &AnyAddr::Ip(from.local_addr().unwrap()));
            assert_eq!(received.source.map(|source| source.ip), own);
            received.messages().for_each(|message| assert_eq!(message, vec![b'x'; length]));
            assert_eq!(inbox.receive(to.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        };
        (0..3 * LOOK_EVERY as usize).for_each(|number| take(number % 3));
        for count in 0..40_u8 {
            from.send_to(&[count], address).unwrap();
        }
        let (mut got, mut calls) = (Vec::new(), 0);
        while got.len() < 40 {
            let count = inbox.receive(to.as_fd()).unwrap();
            got.extend((0..count).flat_map(|index| inbox.get(index).bytes.to_vec()));
            calls += 1;
        }
        assert_eq!(got, (0..40).collect::<Vec<u8>>());
        assert!(calls < 40, "{calls} calls");
    }
}

#[test]
fn a_datagram_that_is_too_long_is_cut_and_says_so() {
    let (to, from) = UnixDatagram::pair().unwrap();
    let mut inbox = Inbox::new(2, PAGE, false);
    from.send(&[7; PAGE + 1]).unwrap();
    from.send(&[8; PAGE]).unwrap();
    assert_eq!(inbox.receive(to.as_fd()).unwrap(), 2);
    let (long, whole) = (inbox.get(0), inbox.get(1));
    assert_eq!((long.length, long.bytes), (PAGE + 1, &[7; PAGE][..]));
    assert_eq!((whole.length, whole.bytes), (PAGE, &[8; PAGE][..]));
    // The sender has no name.
    assert!(matches!(whole.from.unwrap(), AnyAddr::Unix(unix) if unix.as_path().is_none()));
}

fn beside(socket: &UdpSocket) -> (Abilities, Inbox) {
    let abilities = Abilities::enable(socket.as_fd());
    (abilities, Inbox::new(4, 16 * PAGE, abilities.destination || abilities.joined))
}

#[test]
fn datagrams_of_one_length_to_one_receiver_leave_and_come_as_one_buffer() {
    for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        let (to, from) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        let mut to_at = to.local_addr().unwrap();
        if to_at.ip().is_unspecified() {
            let v4 = to_at.is_ipv4();
            to_at.set_ip(if v4 { [127, 0, 0, 4].into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let name = AnyAddr::Ip(to_at);
        let (abilities, mut inbox) = beside(&to);
        assert!(abilities.joined && abilities.segments, "Linux 5.0");
        let mut outbox = Outbox::new(8, 1 << 20, Abilities::enable(from.as_fd()).segments);
        let source = (!at.contains('1')).then(|| Source { ip: to_at.ip(), interface: 0 });
        for round in 0..2 {
            // 64 and one more; a shorter one ends a run, a longer or an empty one begins another.
            let mut sent: Vec<Vec<u8>> = (0..65).map(|n| vec![n; 300]).collect();
            sent.extend([vec![1; 200], vec![2; 100], vec![3; 200], vec![], vec![], vec![4; 9]]);
            for message in &sent {
                assert!(outbox.push(message, &name, source, 7, Lent::NOTHING).unwrap());
            }
            assert_eq!(outbox.calls(), 7, "64, 300 and 200, 100, 200, two empty ones, the last");
            outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
            let mut got = Vec::new();
            while got.len() < sent.len() {
                for index in 0..inbox.receive(to.as_fd()).unwrap() {
                    let received = inbox.get(index);
                    assert!(received.is_whole());
                    assert_eq!(received.source.map(|source| source.ip), source.map(|at| at.ip));
                    let sender = received.from.as_ref().unwrap().ip().unwrap();
                    assert!(source.is_none_or(|source| source.ip == sender), "{at} {round}");
                    assert!(index > 0 || !got.is_empty() || received.messages().len() == 64);
                    got.extend(received.messages().map(<[u8]>::to_vec));
                }
            }
            assert!(got == sent, "{at} {round}");
        }
        abilities.disable(to.as_fd());
        outbox.push(b"one", &name, source, 7, Lent::NOTHING).unwrap();
        outbox.push(b"two", &name, source, 7, Lent::NOTHING).unwrap();
        outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
        assert_eq!(inbox.receive(to.as_fd()).unwrap(), 2);
    }
}

#[test]
fn what_the_kernel_does_not_cut_leaves_one_by_one() {
    // A run whose datagrams would each have to be cut into packets is refused as a whole.
    let (to, from) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (to, from) = (to.unwrap(), from.unwrap());
    let name = AnyAddr::Ip(to.local_addr().unwrap());
    let everybody = AnyAddr::Ip("255.255.255.255:9".parse().unwrap());
    let mut outbox = Outbox::new(8, 1 << 20, true);
    let mut bytes = vec![0; 70_000];
    for segment in [600, 500] {
        for n in 0..3 {
            outbox.push(&vec![n; segment], &name, None, 1, Lent::NOTHING).unwrap();
        }
        assert_eq!(outbox.calls(), 1);
        // What is attached is shorter than it says, which is as bad (`EINVAL`).
        outbox.headers_for_tests()[0].msg_hdr.msg_controllen = 17;
        outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
        for n in 0..3 {
            assert_eq!(to.recv(&mut bytes).unwrap(), segment);
            assert_eq!(bytes[0], n);
        }
        // Such long ones are not joined any more.
        outbox.push(&vec![0; segment], &name, None, 1, Lent::NOTHING).unwrap();
        outbox.push(&vec![0; segment], &name, None, 1, Lent::NOTHING).unwrap();
        assert_eq!(outbox.calls(), 2);
        outbox.clear();
    }
    // A run that nobody may be sent: each is handed back, and the next one leaves.
    outbox.push(b"no", &everybody, None, 1, Lent::NOTHING).unwrap();
    outbox.push(b"nor", &everybody, None, 1, Lent::NOTHING).unwrap();
    outbox.push(b"x", &everybody, None, 2, Lent::NOTHING).unwrap();
    outbox.push(b"y", &everybody, None, 2, Lent::NOTHING).unwrap();
    outbox.push(b"yes", &name, None, 3, Lent::NOTHING).unwrap();
    for (owner, message) in [(1, "no"), (1, "nor"), (2, "x"), (2, "y")] {
        outbox.send(from.as_fd(), Lent::NOTHING).unwrap_err();
        assert_eq!(outbox.pop(Lent::NOTHING), Some((owner, message.as_bytes())));
    }
    outbox.send(from.as_fd(), Lent::NOTHING).unwrap();
    assert_eq!(to.recv(&mut bytes).unwrap(), 3);
}

#[test]
fn what_came_as_one_buffer_goes_back_from_there() {
    let (to, from) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (to, from) = (to.unwrap(), from.unwrap());
    let name = AnyAddr::Ip(to.local_addr().unwrap());
    let inbox: Vec<u8> = (0..1000).map(|byte| byte as u8).collect();
    let lent = Lent::new(&inbox, 100..550);
    let copied = vec![9; 100];
    let mut outbox = Outbox::new(8, 150, true);
    let hear = |expected: &[u8]| {
        let mut bytes = [0; 1000];
        let length = to.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], expected);
    };
    let piece = |at: usize| &inbox[at..(at + 100).min(550)];
    for refuse in [false, true] {
        // Four behind one another and the short last one; one that was left out; one from elsewhere.
        for at in [100, 200, 300, 400, 500, 300] {
            assert!(outbox.push(piece(at), &name, None, 7, lent).unwrap());
        }
        assert!(outbox.push(&copied, &name, None, 7, lent).unwrap());
        assert!(!outbox.push(&inbox[500..600], &name, None, 7, lent).unwrap(), "it is copied");
        assert!(outbox.push(piece(400), &name, None, 8, lent).unwrap());
        assert_eq!(outbox.calls(), if refuse { 9 - 1 } else { 4 });
        if !refuse {
            outbox.headers_for_tests()[0].msg_hdr.msg_controllen = 17;
        }
        outbox.send(from.as_fd(), lent).unwrap();
        for at in [100, 200, 300, 400, 500, 300] {
            hear(piece(at));
        }
        hear(&copied);
        hear(piece(400));
    }
    // Handed back, too.
    let everybody = AnyAddr::Ip("255.255.255.255:9".parse().unwrap());
    let mut outbox = Outbox::new(8, 150, true);
    for at in [100, 200] {
        outbox.push(piece(at), &everybody, None, 7, lent).unwrap();
    }
    outbox.push(&copied, &everybody, None, 8, lent).unwrap();
    for (owner, bytes) in [(7, piece(100)), (7, piece(200)), (8, &copied[..])] {
        outbox.send(from.as_fd(), lent).unwrap_err();
        assert_eq!(outbox.pop(lent), Some((owner, bytes)));
    }
    assert!(outbox.is_empty());
    // The last first, too, but for what was taken from the front: of three runs, one with a short end.
    outbox.clear();
    for (owner, at) in [(7, 100), (7, 200), (7, 300), (9, 400), (9, 500)] {
        outbox.push(piece(at), &everybody, None, owner, lent).unwrap();
    }
    outbox.push(&copied, &everybody, None, 8, lent).unwrap();
    assert_eq!(outbox.calls(), 3);
    outbox.send(from.as_fd(), lent).unwrap_err();
    assert_eq!(outbox.pop(lent), Some((7, piece(100))));
    let left = [(8, &copied[..]), (9, piece(500)), (9, piece(400)), (7, piece(300))];
    for expected in left {
        outbox.send(from.as_fd(), lent).unwrap_err();
        assert_eq!(outbox.pop_last(lent), Some(expected));
    }
    assert_eq!(outbox.pop_last(lent), Some((7, piece(200))));
    assert!(outbox.is_empty() && outbox.pop_last(lent).is_none());
}
