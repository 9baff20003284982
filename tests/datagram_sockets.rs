//! UDP sockets by hand: what is beside a datagram, batches, errors of the network.
//!
//! Each generic function is the test; a module of its name runs it over IPv4, IPv6 and dual stack, the last
//! with a peer of IPv4. All of it is over loopback, whose every address 127.x.x.x is one of this host's.
#![cfg(target_os = "linux")]

#[path = "namespace/mod.rs"]
mod namespace;

use namespace::{LINK, OWN_V4, OWN_V6, SILENT_V4, SILENT_V6, in_namespace};
use socket2::SockRef;
use sockeye::addr::{Ip, IpFamily, Ipv4, Ipv6};
use sockeye::socket::{
    Arrival, ConnectedUdpSocket, Ecn, Outgoing, ReceiveBatch, SendBatch, UdpSocket, UnixDatagram,
};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Far longer than any datagram takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two sockets: one on all addresses, and one that may be told from others.
struct Two<F: IpFamily> {
    server: UdpSocket<F>,
    client: UdpSocket<Ip>,
    /// The server, as the client reaches it: at an address that no answer has by itself, if there is one.
    asked: SocketAddr,
}

impl<F: IpFamily> Two<F> {
    fn new(server: UdpSocket<F>, client: IpAddr, asked: IpAddr) -> Self {
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = UdpSocket::bind((client, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = SockRef::from(&server).local_addr().unwrap().as_socket().unwrap().port();
        Two { server, client, asked: (asked, port).into() }
    }

    fn ask(&self, payload: &[u8]) {
        self.client.send_to(payload, &self.asked).unwrap();
    }

    /// The client, as the server sends to it.
    fn client(&self) -> F::Address {
        self.ask(b"");
        self.server.recv_from(&mut []).unwrap().from
    }
}

const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn ipv4() -> Two<Ipv4> {
    Two::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap(), V4, THIRD)
}

fn ipv6() -> Two<Ipv6> {
    Two::new(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap(), V6, V6)
}

fn dual() -> Two<Ip> {
    Two::new(UdpSocket::bind_dual_stack(0).unwrap(), V4, THIRD)
}

macro_rules! on_every_family {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            #[test]
            fn ipv4() {
                super::$name(super::ipv4());
            }
            #[test]
            fn ipv6() {
                super::$name(super::ipv6());
            }
            #[test]
            fn dual_stack() {
                super::$name(super::dual());
            }
        }
    )* };
}

on_every_family! {
    an_answer_comes_from_the_address_that_was_asked,
    a_long_datagram_is_cut_and_says_how_long_it_was,
    an_empty_datagram_is_a_datagram,
    congestion_bits_go_there_and_back,
    what_waited_before_the_first_receive_is_known_too,
    the_source_may_be_chosen_and_must_be_ours,
    a_vector_grows_to_fit,
    a_batch_takes_what_is_there,
    a_batch_waits_for_the_first_only,
    a_batch_without_anything_does_as_the_socket_does,
    a_batch_of_answers_comes_from_the_address_that_was_asked,
    a_full_batch_says_so_and_what_never_fits_is_an_error,
    a_refused_datagram_stops_none_of_the_others,
    segments_arrive_as_datagrams,
    more_than_the_kernel_cuts_at_once_is_sent_in_parts,
    glued_datagrams_come_singly,
    what_is_glued_and_has_no_room_is_truncated,
    a_receive_of_glued_datagrams_is_an_error,
    unreachable_ports_end_no_loop_of_an_unconnected_socket,
    a_report_says_what_failed_and_who_said_so,
    what_overflows_is_counted,
}

fn an_answer_comes_from_the_address_that_was_asked<F: IpFamily>(two: Two<F>) {
    two.ask(b"who are you?");
    let mut buffer = [0; 100];
    let arrival = two.server.receive(&mut buffer).unwrap();
    assert_eq!(&buffer[..arrival.len], b"who are you?");
    assert_eq!((arrival.full_len, arrival.truncated), (12, false));
    assert_eq!((arrival.to, arrival.answer_from), (Some(two.asked.ip()), Some(two.asked.ip())));
    let lo = sockeye::lookup::interface_index("lo").unwrap();
    assert_eq!((arrival.interface, arrival.ecn), (Some(lo), Ecn::NotEct));
    assert_eq!(two.server.answer(&arrival, b"").unwrap(), 0);
    assert_eq!(two.server.answer(&arrival, b"me").unwrap(), 2);
    for length in [0, 2] {
        let received = two.client.recv_from(&mut buffer).unwrap();
        assert_eq!((received.len, received.from), (length, two.asked));
    }
}

fn a_long_datagram_is_cut_and_says_how_long_it_was<F: IpFamily>(two: Two<F>) {
    for _ in 0..3 {
        two.ask(&[7; 3000]);
    }
    let mut buffer = [0; 100];
    let arrival = two.server.receive(&mut buffer).unwrap();
    assert_eq!((arrival.len, arrival.full_len, arrival.truncated), (100, 3000, true));
    assert_eq!(buffer, [7; 100]);
    let received = two.server.recv_from(&mut buffer).unwrap();
    assert_eq!((received.len, received.full_len, received.truncated), (100, 3000, true));
    let arrival = two.server.receive(&mut []).unwrap();
    assert_eq!((arrival.len, arrival.full_len, arrival.truncated), (0, 3000, true));
    // A datagram of just that length is not.
    two.ask(&[8; 100]);
    let arrival = two.server.receive(&mut buffer).unwrap();
    assert_eq!((arrival.len, arrival.full_len, arrival.truncated), (100, 100, false));
}

fn an_empty_datagram_is_a_datagram<F: IpFamily>(two: Two<F>) {
    for text in ["", "after"] {
        two.ask(text.as_bytes());
    }
    let arrival = two.server.receive(&mut [0; 8]).unwrap();
    assert_eq!((arrival.len, arrival.full_len, arrival.truncated), (0, 0, false));
    assert_eq!(arrival.to, Some(two.asked.ip()));
    assert_eq!(two.server.receive(&mut [0; 8]).unwrap().len, 5);
}

const ALL_BITS: [Ecn; 4] = [Ecn::Ect0, Ecn::NotEct, Ecn::Ce, Ecn::Ect1];

fn congestion_bits_go_there_and_back<F: IpFamily>(two: Two<F>) {
    for ecn in ALL_BITS {
        two.client.send_datagram(&Outgoing::new(b"there", &two.asked).ecn(ecn)).unwrap();
        let arrival = two.server.receive(&mut [0; 8]).unwrap();
        assert_eq!(arrival.ecn, ecn);
        let back = Outgoing::answer(&arrival, b"back").ecn(ecn);
        two.server.send_datagram(&back).unwrap();
        let arrival = two.client.receive(&mut [0; 8]).unwrap();
        assert_eq!((arrival.ecn, arrival.from), (ecn, two.asked));
    }
}

/// Nothing is switched on by the first call, so that none comes too late.
fn what_waited_before_the_first_receive_is_known_too<F: IpFamily>(two: Two<F>) {
    two.client.send_datagram(&Outgoing::new(b"early", &two.asked).ecn(Ecn::Ce)).unwrap();
    let arrival = two.server.receive(&mut [0; 8]).unwrap();
    assert_eq!((arrival.to, arrival.answer_from), (Some(two.asked.ip()), Some(two.asked.ip())));
    assert!(arrival.interface.is_some() && arrival.ecn == Ecn::Ce);
}

fn the_source_may_be_chosen_and_must_be_ours<F: IpFamily>(two: Two<F>) {
    let to = two.client();
    two.server.send_datagram(&Outgoing::new(b"x", &to).from(two.asked.ip())).unwrap();
    assert_eq!(two.client.recv_from(&mut [0; 8]).unwrap().from, two.asked);
    if let IpAddr::V4(asked) = two.asked.ip() {
        // A mapped address is the same.
        let mapped = Outgoing::new(b"x", &to).from(asked.to_ipv6_mapped().into());
        two.server.send_datagram(&mapped).unwrap();
        assert_eq!(two.client.recv_from(&mut [0; 8]).unwrap().from, two.asked);
    }
    let lo = sockeye::lookup::interface_index("lo").unwrap();
    two.server.send_datagram(&Outgoing::new(b"x", &to).interface(lo)).unwrap();
    assert_eq!(two.client.recv_from(&mut [0; 8]).unwrap().from.port(), two.asked.port());
    two.server.send_datagram(&Outgoing::new(b"x", &to).interface(0x7fff_ffff)).unwrap_err();
    let (foreign, other): (IpAddr, IpAddr) = match two.asked.ip() {
        IpAddr::V4(_) => (Ipv4Addr::new(198, 51, 100, 7).into(), V6),
        IpAddr::V6(_) => ("2001:db8::7".parse().unwrap(), V4),
    };
    two.server.send_datagram(&Outgoing::new(b"x", &to).from(foreign)).unwrap_err();
    let error = two.server.send_datagram(&Outgoing::new(b"x", &to).from(other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = format!("a datagram cannot go from {other} to the other version of IP");
    assert_eq!(error.to_string(), text);
}

fn a_vector_grows_to_fit<F: IpFamily>(two: Two<F>) {
    let mut datagram = b"old".to_vec();
    for length in [10, 65_000, 0, 1500] {
        two.ask(&vec![9; length]);
        let received = two.server.recv_vec_from(&mut datagram).unwrap();
        assert_eq!((received.len, received.full_len, received.truncated), (length, length, false));
        assert_eq!(datagram, vec![9; length]);
    }
    two.server.set_nonblocking(true).unwrap();
    let error = two.server.recv_vec_from(&mut datagram).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn texts<F: IpFamily>(batch: &ReceiveBatch<F::Address>) -> Vec<String> {
    batch.iter().map(|(payload, _)| String::from_utf8(payload.to_vec()).unwrap()).collect()
}

fn a_batch_takes_what_is_there<F: IpFamily>(two: Two<F>) {
    // Fewer than there is room, just as many, and more.
    for (sent, received) in
        [(1, &[1][..]), (3, &[3]), (4, &[4]), (9, &[4, 4, 1]), (5, &[4, 1]), (8, &[4, 4])]
    {
        let mut batch = ReceiveBatch::new(4, 16);
        let sent: Vec<String> = (0..sent)
            .map(|i| if i == 1 { String::new() } else { format!("datagram {i}") })
            .collect();
        sent.iter().for_each(|text| two.ask(text.as_bytes()));
        let mut came = Vec::new();
        for count in received {
            assert_eq!(two.server.receive_batch(&mut batch).unwrap(), *count);
            assert_eq!((batch.len(), batch.is_empty()), (*count, false));
            came.extend(texts::<F>(&batch));
            for (payload, arrival) in &batch {
                assert_eq!((arrival.len, arrival.full_len), (payload.len(), payload.len()));
                assert_eq!((arrival.to, arrival.truncated), (Some(two.asked.ip()), false));
                assert_eq!(arrival.ecn, Ecn::NotEct);
            }
        }
        assert_eq!(came, sent);
    }
    // What is too long is cut, and what is beside it is its own.
    let mut batch = ReceiveBatch::new(4, 16);
    for (length, ecn) in [(16, Ecn::Ect0), (17, Ecn::Ect1), (0, Ecn::NotEct)] {
        let payload = vec![1; length];
        two.client.send_datagram(&Outgoing::new(&payload, &two.asked).ecn(ecn)).unwrap();
    }
    assert_eq!(two.server.receive_batch(&mut batch).unwrap(), 3);
    let known = |(_, arrival): (&[u8], Arrival<_>)| {
        (arrival.len, arrival.full_len, arrival.truncated, arrival.ecn)
    };
    let known: Vec<_> = batch.iter().map(known).collect();
    let whole = [(16, 16, false, Ecn::Ect0), (16, 17, true, Ecn::Ect1), (0, 0, false, Ecn::NotEct)];
    assert_eq!(known, whole);
}

fn a_batch_waits_for_the_first_only<F: IpFamily>(two: Two<F>) {
    let Two { server, client, asked } = &two;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut batch = ReceiveBatch::new(4, 16);
            server.receive_batch(&mut batch).unwrap()
        });
        client.send_to(b"one", asked).unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

fn a_batch_without_anything_does_as_the_socket_does<F: IpFamily>(two: Two<F>) {
    let mut batch = ReceiveBatch::new(4, 16);
    two.ask(b"x");
    assert_eq!(two.server.receive_batch(&mut batch).unwrap(), 1);
    two.server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    for nonblocking in [false, true] {
        two.server.set_nonblocking(nonblocking).unwrap();
        let error = two.server.receive_batch(&mut batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(batch.is_empty() && batch.iter().next().is_none());
    }
    // And an empty one is sent at once.
    let sent = two.server.send_batch(&mut SendBatch::new(4, 16)).unwrap();
    assert!(sent.datagrams == 0 && sent.errors.is_empty());
}

fn a_batch_of_answers_comes_from_the_address_that_was_asked<F: IpFamily>(two: Two<F>) {
    let mut incoming = ReceiveBatch::new(8, 100);
    let mut outgoing = SendBatch::new(8, 1000);
    for round in 0..3 {
        for text in ["one", "", "three"] {
            two.ask(text.as_bytes());
        }
        assert_eq!(two.server.receive_batch(&mut incoming).unwrap(), 3);
        for (payload, arrival) in &incoming {
            assert!(outgoing.push_with(&Outgoing::answer(&arrival, payload)).unwrap());
        }
        let sent = two.server.send_batch(&mut outgoing).unwrap();
        assert_eq!((sent.datagrams, sent.errors.len()), (3, 0), "round {round}");
        assert!(outgoing.is_empty());
        for length in [3, 0, 5] {
            let received = two.client.recv_from(&mut [0; 100]).unwrap();
            assert_eq!((received.len, received.from), (length, two.asked));
        }
    }
}

fn a_full_batch_says_so_and_what_never_fits_is_an_error<F: IpFamily>(two: Two<F>) {
    let to = two.client();
    let mut batch = SendBatch::new(3, 10);
    assert!(batch.push(b"12345", &to).unwrap());
    assert!(!batch.push(b"678901", &to).unwrap(), "eleven bytes");
    assert!(batch.push(b"67890", &to).unwrap());
    assert!(batch.push(b"", &to).unwrap());
    assert!(!batch.push(b"", &to).unwrap(), "four");
    let error = batch.push(b"12345678901", &to).unwrap_err();
    assert_eq!(error.to_string(), "11 bytes are more than the batch has room for");
    let error = batch.push_segments(b"1234567890", 0, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let other = if two.asked.is_ipv4() { V6 } else { V4 };
    batch.push_with(&Outgoing::new(b"", &to).from(other)).unwrap_err();
    assert_eq!(two.server.send_batch(&mut batch).unwrap().datagrams, 3);
    batch.push_with(&Outgoing::new(b"", &to).from(other)).unwrap_err();
    assert!(batch.is_empty(), "what is refused leaves nothing behind");
    // All of it has room again; and what is thrown away does not leave.
    assert!(batch.push(b"1234567890", &to).unwrap());
    batch.clear();
    assert!(batch.push(b"last", &to).unwrap());
    assert_eq!(two.server.send_batch(&mut batch).unwrap().datagrams, 1);
    for length in [5, 5, 0, 4] {
        assert_eq!(two.client.recv_from(&mut [0; 100]).unwrap().len, length);
    }
}

fn a_refused_datagram_stops_none_of_the_others<F: IpFamily>(two: Two<F>) {
    let to = two.client();
    let mut batch = SendBatch::new(8, 300_000);
    // At the beginning, in the middle, two together and at the end.
    let too_long = [0; 65_535];
    let foreign = if two.asked.is_ipv4() { "198.51.100.7" } else { "2001:db8::7" };
    let from_elsewhere = Outgoing::new(b"x", &to).from(foreign.parse().unwrap());
    for _ in 0..2 {
        assert!(batch.push(&too_long, &to).unwrap());
        assert!(batch.push(b"one", &to).unwrap());
        assert!(batch.push(&too_long, &to).unwrap());
        assert!(batch.push_with(&from_elsewhere).unwrap());
        assert!(batch.push(b"three", &to).unwrap());
        assert!(batch.push(&too_long, &to).unwrap());
        let sent = two.server.send_batch(&mut batch).unwrap();
        assert!(batch.is_empty());
        assert_eq!(sent.datagrams, 2);
        let failed: Vec<usize> = sent.errors.iter().map(|(index, _)| *index).collect();
        assert_eq!(failed, [0, 2, 3, 5]);
        assert_eq!(sent.errors[0].1.raw_os_error(), Some(libc::EMSGSIZE));
        assert_ne!(sent.errors[2].1.raw_os_error(), Some(libc::EMSGSIZE));
        for text in ["one", "three"] {
            assert_eq!(two.client.recv_from(&mut [0; 100]).unwrap().len, text.len());
        }
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 7) as u8).collect()
}

fn lengths<F: IpFamily>(two: &Two<F>, count: usize) -> Vec<usize> {
    (0..count).map(|_| two.client.recv_from(&mut [0; 2000]).unwrap().len).collect()
}

fn segments_arrive_as_datagrams<F: IpFamily>(two: Two<F>) {
    let to = two.client();
    let mut batch = SendBatch::new(8, 10_000);
    let whole = payload(2500);
    assert!(batch.push(b"before", &to).unwrap());
    assert!(batch.push_segments(&whole, 1000, &to).unwrap());
    assert!(batch.push_segments(&whole[..1000], 1000, &to).unwrap(), "just one");
    assert!(batch.push_segments(&whole[..2000], 1000, &to).unwrap(), "all of one length");
    assert!(batch.push_segments(b"", 1000, &to).unwrap(), "an empty one");
    let answer = Outgoing::new(&whole, &to).from(two.asked.ip()).ecn(Ecn::Ect0);
    assert!(batch.push_segments_with(&answer, 2499).unwrap());
    let sent = two.server.send_batch(&mut batch).unwrap();
    assert_eq!((sent.datagrams, sent.errors.len()), (10, 0));
    assert_eq!(two.client.recv_from(&mut [0; 100]).unwrap().len, 6);
    let mut came = Vec::new();
    for length in [1000, 1000, 500] {
        let mut part = Vec::new();
        assert_eq!(two.client.recv_vec_from(&mut part).unwrap().len, length);
        came.extend(part);
    }
    assert_eq!(came, whole);
    assert_eq!(lengths(&two, 4), [1000, 1000, 1000, 0]);
    for length in [2499, 1] {
        let arrival = two.client.receive(&mut [0; 3000]).unwrap();
        assert_eq!((arrival.len, arrival.from, arrival.ecn), (length, two.asked, Ecn::Ect0));
    }
}

fn more_than_the_kernel_cuts_at_once_is_sent_in_parts<F: IpFamily>(two: Two<F>) {
    let to = two.client();
    SockRef::from(&two.client).set_recv_buffer_size(1 << 20).unwrap();
    let mut batch = SendBatch::new(8, 200_000);
    assert!(batch.push_segments(&[1; 150], 1, &to).unwrap(), "150 of one byte");
    let sent = two.server.send_batch(&mut batch).unwrap();
    assert_eq!((sent.datagrams, sent.errors.len()), (150, 0));
    assert_eq!(lengths(&two, 150), [1; 150]);
    // Longer than any datagram, together; nothing of it may be lost on the way.
    assert!(batch.push_segments(&[1; 66_600], 1000, &to).unwrap());
    let sent = two.server.send_batch(&mut batch).unwrap();
    assert_eq!((sent.datagrams, sent.errors.len()), (67, 0));
    let came = lengths(&two, 67);
    assert_eq!((came[..66].iter().sum::<usize>(), came[66]), (66_000, 600));
    // Ten parts have no room in eight places.
    batch.push_segments(&[1; 640], 1, &to).unwrap_err();
}

/// Sends six datagrams as one, and has them come glued, if the kernel can.
fn glued<F: IpFamily>(two: &Two<F>, length: usize) -> Option<()> {
    if !two.server.set_gro(true).unwrap() {
        return None;
    }
    assert!(two.server.gro().unwrap());
    let mut batch = SendBatch::new(4, 10_000);
    batch
        .push_segments_with(&Outgoing::new(&payload(length), &two.asked).ecn(Ecn::Ect1), 100)
        .unwrap();
    assert_eq!(two.client.send_batch(&mut batch).unwrap().datagrams, length.div_ceil(100));
    Some(())
}

fn glued_datagrams_come_singly<F: IpFamily>(two: Two<F>) {
    let Some(()) = glued(&two, 550) else { return };
    two.ask(b"");
    two.ask(b"single");
    let mut batch = ReceiveBatch::new(3, 65_535);
    assert_eq!(two.server.receive_batch(&mut batch).unwrap(), 8, "one room has six");
    let mut came = Vec::new();
    for (payload, arrival) in batch.iter().take(6) {
        assert_eq!((arrival.to, arrival.ecn), (Some(two.asked.ip()), Ecn::Ect1));
        assert!(!arrival.truncated && arrival.len == payload.len());
        came.push(payload);
    }
    assert_eq!(came.concat(), payload(550));
    let lengths: Vec<usize> = batch.iter().map(|(payload, _)| payload.len()).collect();
    assert_eq!(lengths, [100, 100, 100, 100, 100, 50, 0, 6]);
    two.server.set_gro(false).unwrap();
    glued_off(&two);
}

fn glued_off<F: IpFamily>(two: &Two<F>) {
    assert!(!two.server.gro().unwrap());
    two.ask(b"as ever");
    assert_eq!(two.server.recv_from(&mut [0; 100]).unwrap().len, 7);
}

fn what_is_glued_and_has_no_room_is_truncated<F: IpFamily>(two: Two<F>) {
    let Some(()) = glued(&two, 550) else { return };
    let mut batch = ReceiveBatch::new(3, 250);
    assert_eq!(two.server.receive_batch(&mut batch).unwrap(), 6);
    let known: Vec<_> = (batch.iter())
        .map(|(payload, arrival)| (payload.len(), arrival.full_len, arrival.truncated))
        .collect();
    let missing = (0, 100, true);
    let whole = (100, 100, false);
    assert_eq!(known, [whole, whole, (50, 100, true), missing, missing, (0, 50, true)]);
}

fn a_receive_of_glued_datagrams_is_an_error<F: IpFamily>(two: Two<F>) {
    let Some(()) = glued(&two, 200) else { return };
    let error = two.server.receive(&mut [0; 1000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // One alone is not glued.
    two.ask(b"one");
    assert_eq!(two.server.receive(&mut [0; 1000]).unwrap().len, 3);
}

/// A port of the client's host that nobody has.
fn nobody<F: IpFamily>(two: &Two<F>) -> F::Address {
    let gone = Two {
        client: UdpSocket::bind((two.client.local_addr().unwrap().ip(), 0)).unwrap(),
        server: two.server.try_clone().unwrap(),
        asked: two.asked,
    };
    gone.client()
}

fn unreachable_ports_end_no_loop_of_an_unconnected_socket<F: IpFamily>(two: Two<F>) {
    let (there, nobody) = (two.client(), nobody(&two));
    let mut batch = ReceiveBatch::new(4, 100);
    let mut outgoing = SendBatch::new(4, 100);
    for reports in [false, true] {
        two.server.set_error_reports(reports).unwrap();
        assert_eq!(two.server.error_reports().unwrap(), reports);
        // Over loopback the refusal is there when the sending returns.
        let refused = || two.server.send_to(b"x", &nobody).unwrap();
        refused();
        two.ask(b"one");
        assert_eq!(two.server.receive(&mut [0; 8]).unwrap().len, 3);
        refused();
        two.ask(b"two..");
        assert_eq!(two.server.recv_from(&mut [0; 8]).unwrap().len, 5);
        refused();
        two.ask(b"three");
        assert_eq!(two.server.receive_batch(&mut batch).unwrap(), 1);
        refused();
        two.ask(b"four");
        assert_eq!(two.server.recv_vec_from(&mut Vec::new()).unwrap().len, 4);
        // Nor does it stop what is sent to others.
        refused();
        two.server.send_to(b"five", &there).unwrap();
        refused();
        two.server.send_datagram(&Outgoing::new(b"six", &there)).unwrap();
        refused();
        for _ in 0..2 {
            outgoing.push(b"seven", &there).unwrap();
            outgoing.push(b"x", &nobody).unwrap();
        }
        let sent = two.server.send_batch(&mut outgoing).unwrap();
        assert_eq!((sent.datagrams, sent.errors.len()), (4, 0));
        assert_eq!(lengths(&two, 4), [4, 3, 5, 5]);
        // The timeout holds all the same.
        two.server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = two.server.receive(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        two.server.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

fn a_report_says_what_failed_and_who_said_so<F: IpFamily>(two: Two<F>) {
    let nobody = nobody(&two);
    two.server.send_to(b"x", &nobody).unwrap();
    assert!(two.server.take_error_report().unwrap().is_none(), "not asked for");
    two.server.set_error_reports(true).unwrap();
    assert!(two.server.take_error_report().unwrap().is_none(), "nothing happened");
    two.server.send_to(b"x", &nobody).unwrap();
    two.server.send_to(b"y", &nobody).unwrap();
    for _ in 0..2 {
        let report = two.server.take_error_report().unwrap().expect("over loopback at once");
        assert_eq!(report.error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(report.to, nobody);
        assert_eq!((report.by, report.mtu), (Some(two.client.local_addr().unwrap().ip()), None));
    }
    assert!(two.server.take_error_report().unwrap().is_none());
    two.server.set_error_reports(false).unwrap();
}

fn what_overflows_is_counted<F: IpFamily>(two: Two<F>) {
    assert_eq!(two.server.dropped().unwrap(), 0);
    two.server.set_receive_buffer(1).unwrap(); // the least that there is
    for _ in 0..100 {
        two.ask(&[0; 1000]);
    }
    let mut batch = ReceiveBatch::new(200, 16);
    let came = two.server.receive_batch(&mut batch).unwrap();
    assert!(came < 100);
    assert_eq!(two.server.dropped().unwrap() as usize + came, 100);
}

// ---- what is of one family ----

#[test]
fn a_dual_stack_socket_answers_ipv6_too() {
    let two = Two::new(UdpSocket::bind_dual_stack(0).unwrap(), V6, V6);
    an_answer_comes_from_the_address_that_was_asked(two);
}

#[test]
fn everybody_of_three_addresses_is_answered_by_the_one_that_was_asked() {
    let two = dual();
    for last in 1..=3 {
        let asked = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), two.asked.port()));
        two.client.send_to(b"x", &asked).unwrap();
        let arrival = two.server.receive(&mut [0; 8]).unwrap();
        two.server.answer(&arrival, b"y").unwrap();
        assert_eq!(two.client.recv_from(&mut [0; 8]).unwrap().from, asked);
    }
}

/// Of IPv4 the kernel notes from where to answer when a datagram is queued, which is why a socket has this
/// switched on from its bind. What waited in one from elsewhere is without.
#[test]
fn what_waited_in_a_socket_from_elsewhere_has_no_address_to_answer_from() {
    let theirs = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let two: Two<Ip> = {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked = (THIRD, theirs.local_addr().unwrap().port()).into();
        client.send_to(b"early", &asked).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        Two { server: UdpSocket::try_from(OwnedFd::from(theirs)).unwrap(), client, asked }
    };
    let early = two.server.receive(&mut [0; 8]).unwrap();
    assert_eq!((early.to, early.answer_from, early.interface), (Some(THIRD), None, None));
    two.server.answer(&early, b"from where the kernel likes").unwrap();
    assert_eq!(two.client.recv_from(&mut [0; 8]).unwrap().from.ip(), V4);
    an_answer_comes_from_the_address_that_was_asked(two);
}

#[test]
fn a_broadcast_wants_leave_and_is_told_from_other_datagrams() {
    let two = ipv4();
    let everybody = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), two.asked.port());
    let sender: UdpSocket<Ipv4> = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let text = format!(
        "sending to {everybody}: Permission denied (os error 13); broadcasts need `set_broadcast(true)`"
    );
    let plain = |error: io::Error| (error.kind(), error.to_string());
    let expected = (ErrorKind::PermissionDenied, text);
    assert!(!sender.broadcast().unwrap());
    assert_eq!(plain(sender.send_to(b"all", &everybody).unwrap_err()), expected);
    let datagram = Outgoing::new(b"all", &everybody);
    assert_eq!(plain(sender.send_datagram(&datagram).unwrap_err()), expected);
    let mut batch = SendBatch::new(4, 100);
    for to in [everybody, SocketAddrV4::new(Ipv4Addr::LOCALHOST, two.asked.port())] {
        batch.push(b"all", &to).unwrap();
    }
    let sent = sender.send_batch(&mut batch).unwrap();
    assert_eq!((sent.datagrams, sent.errors[0].0), (1, 0));
    assert_eq!(sent.errors[0].1.kind(), ErrorKind::PermissionDenied);
    assert_eq!(two.server.receive(&mut [0; 8]).unwrap().to, Some(V4));

    sender.set_broadcast(true).unwrap();
    sender.send_to(b"all", &everybody).unwrap();
    let arrival = two.server.receive(&mut [0; 8]).unwrap();
    assert_eq!(arrival.to, Some((*everybody.ip()).into()));
    assert_eq!(arrival.answer_from, Some(V4), "not from the broadcast address");
    two.server.answer(&arrival, b"here").unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(sender.recv_from(&mut [0; 8]).unwrap().from.ip(), &Ipv4Addr::LOCALHOST);

    let options = sockeye::socket::Options::new().broadcast(true);
    let sender: UdpSocket<Ipv4> = UdpSocket::bind_with((Ipv4Addr::LOCALHOST, 0), &options).unwrap();
    sender.send_to(b"all", &everybody).unwrap();
}

// ---- connected ----

fn connected(two: &Two<Ipv4>) -> ConnectedUdpSocket<Ipv4> {
    let SocketAddr::V4(asked) = two.asked else { unreachable!() };
    let client = ConnectedUdpSocket::connect(asked).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[test]
fn a_connected_socket_has_batches_too() {
    let two = ipv4();
    let client = connected(&two);
    let mut outgoing = SendBatch::new(8, 10_000);
    for text in ["one", "", "three"] {
        assert!(outgoing.push_to_peer(text.as_bytes()).unwrap());
    }
    assert!(outgoing.push_with(&Outgoing::to_peer(b"four").ecn(Ecn::Ce)).unwrap());
    assert!(outgoing.push_segments_with(&Outgoing::to_peer(&[5; 250]), 100).unwrap());
    let sent = client.send_batch(&mut outgoing).unwrap();
    assert_eq!((sent.datagrams, sent.errors.len()), (7, 0));
    client.send_datagram(&Outgoing::to_peer(b"eight").ecn(Ecn::Ect0)).unwrap();
    let mut incoming = ReceiveBatch::new(16, 100);
    assert_eq!(two.server.receive_batch(&mut incoming).unwrap(), 8);
    let known: Vec<_> = incoming.iter().map(|(payload, a)| (payload.len(), a.ecn)).collect();
    let not = |length| (length, Ecn::NotEct);
    let first = [not(3), not(0), not(5), (4, Ecn::Ce), not(100), not(100), not(50), (5, Ecn::Ect0)];
    assert_eq!(known, first);
    // What others send does not come.
    let to = client.local_addr().unwrap();
    two.client.send_to(b"stranger", &to.into()).unwrap();
    for (payload, arrival) in &incoming {
        two.server.answer(&arrival, payload).unwrap();
    }
    assert_eq!(client.receive_batch(&mut incoming).unwrap(), 8);
    assert!(incoming.iter().all(|(_, arrival)| SocketAddr::V4(arrival.from) == two.asked));
    assert!(incoming.iter().all(|(_, arrival)| arrival.to == Some(V4)));
    let mut datagram = Vec::new();
    let long = Outgoing::new(&[1; 5000], &to).from(two.asked.ip());
    two.server.send_datagram(&long).unwrap();
    assert_eq!(client.recv_vec(&mut datagram).unwrap().full_len, 5000);
    two.server.send_datagram(&long).unwrap();
    let arrival = client.receive(&mut [0; 8]).unwrap();
    assert_eq!((arrival.full_len, SocketAddr::V4(arrival.from)), (5000, two.asked));
}

#[test]
fn a_connected_socket_hears_of_an_unreachable_port_once() {
    let two = ipv4();
    let client = connected(&two);
    drop(two);
    let refused = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
    };
    client.send(b"x").unwrap();
    refused(client.recv(&mut [0; 8]).map(drop));
    client.send(b"x").unwrap();
    refused(client.receive(&mut [0; 8]).map(drop));
    client.send(b"x").unwrap();
    refused(client.recv_vec(&mut Vec::new()).map(drop));
    client.send(b"x").unwrap();
    let mut batch = ReceiveBatch::new(4, 16);
    refused(client.receive_batch(&mut batch).map(drop));
    client.send(b"x").unwrap();
    let mut batch = SendBatch::new(4, 16);
    for _ in 0..2 {
        batch.push_to_peer(b"x").unwrap();
    }
    let sent = client.send_batch(&mut batch).unwrap();
    assert_eq!((sent.errors[0].0, sent.errors[0].1.kind()), (0, ErrorKind::ConnectionRefused));
    assert_eq!(sent.errors.len() + sent.datagrams, 2);
}

// ---- over a link ----

/// What the kernel does not cut for a link is cut here, and goes in fragments.
#[test]
fn segments_too_long_for_the_link_are_sent_all_the_same() {
    in_namespace(|| {
        namespace::ip(["link", "set", LINK, "mtu", "1300"]).unwrap();
        for (own, there) in [(OWN_V4, SILENT_V4), (OWN_V6, SILENT_V6)] {
            let socket = UdpSocket::bind((own.parse::<IpAddr>().unwrap(), 0)).unwrap();
            let to = SocketAddr::new(there.parse().unwrap(), 9);
            let mut batch = SendBatch::new(4, 20_000);
            for segment in [1000, 1400] {
                batch.push(b"before", &to).unwrap();
                batch.push_segments(&payload(7000), segment, &to).unwrap();
                batch.push(b"after", &to).unwrap();
                let sent = socket.send_batch(&mut batch).unwrap();
                assert!(sent.errors.is_empty(), "{to} {segment}: {sent:?}");
                assert_eq!(sent.datagrams, 2 + 7000 / segment, "{to} {segment}");
            }
        }
    });
}

/// An answer from an address of the link leaves by the link, whatever the routes say.
#[test]
fn an_answer_from_a_link_local_address_leaves_by_its_link() {
    in_namespace(|| {
        namespace::add_address("fe80::7/64", LINK).unwrap();
        let link = sockeye::lookup::interface_index(LINK).unwrap();
        let local: Ipv6Addr = "fe80::7".parse().unwrap();
        let server: UdpSocket<Ipv6> = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let asked = SocketAddrV6::new(local, port, 0, link);
        let client_ips: [Ipv6Addr; 2] = [local, OWN_V6.parse().unwrap()];
        for ip in client_ips {
            let scope = if ip == local { link } else { 0 };
            let client = UdpSocket::bind(SocketAddrV6::new(ip, 0, 0, scope)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.send_to(b"x", &asked).unwrap();
            let arrival = server.receive(&mut [0; 8]).unwrap();
            assert_eq!(arrival.answer_from, Some(local.into()));
            server.answer(&arrival, b"y").unwrap();
            assert_eq!(client.recv_from(&mut [0; 8]).unwrap().from.ip(), &local);
        }
    });
}

// ---- Unix ----

#[test]
fn unix_datagrams_tell_their_full_length_and_fit_a_vector() {
    let server = UnixDatagram::bind(sockeye::UnixAddr::unnamed()).unwrap();
    let client = UnixDatagram::bind(sockeye::UnixAddr::unnamed()).unwrap();
    let (to, mut datagram) = (server.local_addr().unwrap(), Vec::new());
    for length in [0, 3, 100_000] {
        client.send_to(&payload(length), &to).unwrap();
        client.send_to(&payload(length), &to).unwrap();
        let received = server.recv_from(&mut [0; 10]).unwrap();
        let known = (received.len, received.full_len, received.truncated);
        assert_eq!(known, (length.min(10), length, length > 10));
        let received = server.recv_vec_from(&mut datagram).unwrap();
        assert_eq!((received.full_len, received.truncated), (length, false));
        assert_eq!(
            (datagram.as_slice(), received.from),
            (&payload(length)[..], client.local_addr().unwrap())
        );
    }
}
