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
            assert!(outbox.push(b"first", &to(one), None, 1).unwrap());
            assert!(outbox.push(b"second", &to(other), None, 2).unwrap());
            assert!(!outbox.push(b"third!", &to(one), None, 1).unwrap(), "17 bytes");
            assert!(outbox.push(b"", &to(one), None, 1).unwrap());
            assert!(outbox.push(b"last", &to(one), None, 3).unwrap());
            assert!(!outbox.push(b"", &to(one), None, 1).unwrap(), "five");
            outbox.send(from.as_fd()).unwrap();
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
            outbox.push(b"good", &to(one), None, 1).unwrap();
            outbox.push(b"bad", &everybody, None, 2).unwrap();
            outbox.push(b"left", &to(one), None, 3).unwrap();
            outbox.send(from.as_fd()).unwrap_err();
            assert_eq!(outbox.pop(), Some((2, &b"bad"[..])));
            outbox.send(from.as_fd()).unwrap();
            assert_eq!(outbox.pop(), None);
        }
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
