//! Descriptors that are passed over Unix sockets: owned, close-on-exec, never more than were asked for, and
//! never one that stays behind.
//!
//! A file of its own, because it counts the descriptors of the process: its tests take turns.

mod matrix;

use matrix::{Cell, Dir, Kind, PATIENCE, in_time, on_kinds, stop};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::Threads;
use sockeye::handler::{CloseReason, Context, Descriptors, Handler, Outcome, SendError};
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::{AnyStream, ConnectedUnixDatagram, UnixDatagram, UnixSeqPacket, UnixStream};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Something to pass: the text that was written into it says which one arrived.
fn pipe_with(text: &str) -> OwnedFd {
    let (read, mut write) = std::os::unix::net::UnixStream::pair().unwrap();
    write.write_all(text.as_bytes()).unwrap();
    read.into()
}

fn text_of(descriptor: OwnedFd) -> String {
    assert!(fcntl_getfd(&descriptor).unwrap().contains(FdFlags::CLOEXEC));
    let mut text = String::new();
    File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

/// Sends with any number of descriptors, as another program would.
fn send_many(socket: impl AsFd, bytes: &[u8], count: usize) {
    let null = File::open("/dev/null").unwrap();
    let descriptors: Vec<BorrowedFd<'_>> = vec![null.as_fd(); count];
    let mut space = vec![MaybeUninit::uninit(); 64 + 4 * count];
    let mut riders = SendAncillaryBuffer::new(&mut space);
    assert!(riders.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut riders, SendFlags::empty());
    assert_eq!(sent.unwrap(), bytes.len());
}

// ---- Typed sockets ------------------------------------------------------------------------------

/// One of the kinds of socket with a peer, behind one face.
enum Any {
    Stream(UnixStream),
    Record(UnixSeqPacket),
    Datagram(ConnectedUnixDatagram),
}

impl Any {
    fn pairs() -> Vec<(Any, Any)> {
        let (stream, record) = (UnixStream::pair().unwrap(), UnixSeqPacket::pair().unwrap());
        let datagram = ConnectedUnixDatagram::pair().unwrap();
        vec![
            (Any::Stream(stream.0), Any::Stream(stream.1)),
            (Any::Record(record.0), Any::Record(record.1)),
            (Any::Datagram(datagram.0), Any::Datagram(datagram.1)),
        ]
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        match self {
            Any::Stream(socket) => socket.send_with_descriptors(bytes, descriptors),
            Any::Record(socket) => socket.send_with_descriptors(bytes, descriptors),
            Any::Datagram(socket) => socket.send_with_descriptors(bytes, descriptors),
        }
    }

    fn recv(&self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut descriptors = Vec::new();
        let length = match self {
            Any::Stream(socket) => socket.recv_with_descriptors(buf, &mut descriptors)?,
            Any::Record(socket) => {
                socket.recv_with_descriptors(buf, &mut descriptors)?.expect("a message").len
            }
            Any::Datagram(socket) => socket.recv_with_descriptors(buf, &mut descriptors)?.len,
        };
        Ok((length, descriptors))
    }

    fn recv_plainly(&self, buf: &mut [u8]) -> usize {
        match self {
            Any::Stream(socket) => (&*socket).read(buf).unwrap(),
            Any::Record(socket) => socket.recv(buf).unwrap().expect("a message").len,
            Any::Datagram(socket) => socket.recv(buf).unwrap().len,
        }
    }
}

impl AsFd for Any {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Any::Stream(socket) => socket.as_fd(),
            Any::Record(socket) => socket.as_fd(),
            Any::Datagram(socket) => socket.as_fd(),
        }
    }
}

#[test]
fn descriptors_arrive_with_their_message_owned_and_close_on_exec() {
    let _turn = my_turn();
    let before = open_descriptors();
    for (one, other) in Any::pairs() {
        for count in [0, 1, 2, 15, 16] {
            let pipes: Vec<OwnedFd> = (0..count).map(|n| pipe_with(&n.to_string())).collect();
            let lent: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
            assert_eq!(one.send(b"message", &lent).unwrap(), 7);
            let (length, came) = other.recv(&mut [0; 64]).unwrap();
            drop(pipes);
            assert_eq!((length, came.len()), (7, count));
            for (n, descriptor) in came.into_iter().enumerate() {
                assert_eq!(text_of(descriptor), n.to_string());
            }
        }
        // Those of two messages never come together, and those before a message do not wait.
        let (a, b) = (pipe_with("a"), pipe_with("b"));
        one.send(b"plain ", &[]).unwrap();
        one.send(b"a", &[a.as_fd()]).unwrap();
        one.send(b"b", &[b.as_fd()]).unwrap();
        let (mut all, mut texts) = (0, Vec::new());
        while all < 8 {
            let (length, came) = other.recv(&mut [0; 64]).unwrap();
            all += length;
            assert!(came.len() <= 1);
            texts.extend(came.into_iter().map(text_of));
        }
        assert_eq!(texts, ["a", "b"]);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let _turn = my_turn();
    let null = File::open("/dev/null").unwrap();
    let before = open_descriptors();
    for (one, other) in Any::pairs() {
        let open = open_descriptors();
        let error = one.send(b"x", &[null.as_fd(); 17]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        // Another program may send more.
        for count in [17, 18, 24, 25, 100, 253] {
            send_many(&one, b"too many", count);
            let error = other.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{count}: {error}");
            assert_eq!(open_descriptors(), open, "{count}");
        }
        send_many(&one, b"enough", 16);
        assert_eq!(other.recv(&mut [0; 64]).unwrap().1.len(), 16);
    }
    let (stream, _other) = UnixStream::pair().unwrap();
    let error = stream.send_with_descriptors(b"", &[null.as_fd()]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    drop((stream, _other));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn what_was_not_asked_for_never_gets_in() {
    let _turn = my_turn();
    for (one, other) in Any::pairs() {
        let open = open_descriptors();
        for count in [1, 16, 100] {
            send_many(&one, b"message", count);
            assert_eq!(other.recv_plainly(&mut [0; 64]), 7);
            assert_eq!(open_descriptors(), open);
        }
    }
}

#[test]
fn datagrams_without_a_peer_carry_descriptors_too() {
    let _turn = my_turn();
    let (one, other) = (
        UnixDatagram::bind(sockeye::UnixAddr::unnamed()).unwrap(),
        UnixDatagram::bind(sockeye::UnixAddr::unnamed()).unwrap(),
    );
    let (pipe, to) = (pipe_with("hello"), other.local_addr().unwrap());
    assert_eq!(one.send_to_with_descriptors(b"12345", &[pipe.as_fd()], &to).unwrap(), 5);
    let mut came = Vec::new();
    let received = other.recv_from_with_descriptors(&mut [0; 3], &mut came).unwrap();
    assert!(received.truncated && received.len == 3);
    assert_eq!(received.from, one.local_addr().unwrap());
    assert_eq!(text_of(came.remove(0)), "hello");
    let too_many = one.send_to_with_descriptors(b"x", &[pipe.as_fd(); 17], &to);
    assert_eq!(too_many.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_empty_record_with_descriptors_is_not_the_end() {
    let _turn = my_turn();
    let (one, other) = UnixSeqPacket::pair().unwrap();
    let mut came = Vec::new();
    one.send_with_descriptors(b"", &[pipe_with("x").as_fd()]).unwrap();
    one.send(b"").unwrap();
    for _ in 0..2 {
        let message = other.recv_with_descriptors(&mut [0; 8], &mut came).unwrap();
        assert_eq!(message.expect("a message").len, 0);
    }
    assert_eq!(text_of(came.remove(0)), "x");
    drop(one);
    assert!(other.recv_with_descriptors(&mut [0; 8], &mut came).unwrap().is_none());
}

// ---- Servers ------------------------------------------------------------------------------------

on_kinds! { a_server_takes_none_unless_it_is_told_to [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { handlers_take_descriptors_and_send_them_back [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { what_a_handler_does_not_take_is_closed [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { too_many_end_the_session_and_are_closed [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { descriptors_wait_with_their_frames [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { what_cannot_be_sent_is_said [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { descriptors_of_an_unfinished_frame_wait_for_it [unix Unix] }
on_kinds! { no_data_is_lost_where_descriptors_ride [unix Unix] }
on_kinds! { other_endpoints_pass_none [tcp4 Tcp4, datagram UnixDatagram, memory Memory] }

/// A client that passes descriptors.
fn client(cell: &Cell, server: &ServerHandle) -> Any {
    let at = server.local_endpoints()[0].to_addr().unwrap();
    let at = at.as_unix().unwrap().clone();
    match cell.kind {
        Kind::Unix => {
            let stream = UnixStream::connect(at).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Any::Stream(stream)
        }
        _ => {
            let socket = UnixSeqPacket::connect(at).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Any::Record(socket)
        }
    }
}

/// A line, or the message that is one.
fn line_of(cell: &Cell, text: &str) -> Vec<u8> {
    let end = if cell.kind == Kind::Unix { "\n" } else { "" };
    format!("{text}{end}").into_bytes()
}

/// Answers each line by the texts of the descriptors that came with it.
fn read_them(line: &str, cx: &mut Context<'_, Lines>) {
    let texts: Vec<String> = cx.take_descriptors().into_iter().map(text_of).collect();
    cx.send(&format!("{line}: {}", texts.join(" ")));
}

fn a_server_takes_none_unless_it_is_told_to(cell: &Cell) {
    let _turn = my_turn();
    let server = cell.server().codec(Lines::default()).serve(read_them).unwrap();
    let client = client(cell, &server);
    let hello = line_of(cell, "hello");
    let ask = || {
        client.send(&hello, &[]).unwrap();
        let mut answer = [0; 64];
        let (length, came) = client.recv(&mut answer).unwrap();
        assert!(came.is_empty() && answer[..length].starts_with(b"hello: "));
    };
    ask();
    let open = open_descriptors();
    for _ in 0..100 {
        let pipe = pipe_with("");
        match client.send(&hello, &[pipe.as_fd()]) {
            // The kernel refuses it, since Linux 6.16, or closes it.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
            Ok(_) => assert_eq!(&client.recv(&mut [0; 64]).unwrap().0, &(hello.len() + 2)),
        }
        drop(pipe);
        ask();
        assert_eq!(open_descriptors(), open);
    }
    drop(client);
    stop(&server);
}

fn handlers_take_descriptors_and_send_them_back(cell: &Cell) {
    let _turn = my_turn();
    let server = cell
        .server()
        .descriptors(true)
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| -> Outcome {
            let descriptors = cx.take_descriptors();
            assert!(cx.take_descriptors().is_empty(), "once");
            Ok(cx.send_with_descriptors(line, descriptors)?)
        })
        .unwrap();
    let client = client(cell, &server);
    let mut answer = [0; 64];
    // An empty message is not the end here either.
    client.send(&line_of(cell, ""), &[]).unwrap();
    assert_eq!(client.recv(&mut answer).unwrap().0, line_of(cell, "").len());
    let open = open_descriptors();
    for round in 0..200 {
        let pipes: Vec<OwnedFd> = (0..round % 17).map(|n| pipe_with(&n.to_string())).collect();
        let lent: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
        let line = line_of(cell, &format!("line {round}"));
        client.send(&line, &lent).unwrap();
        drop(pipes);
        let (length, came) = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], line);
        assert_eq!(came.len(), round % 17);
        for (n, descriptor) in came.into_iter().enumerate() {
            assert_eq!(text_of(descriptor), n.to_string());
        }
        // The server closes its own once they are sent.
        matrix::eventually("all are closed", || open_descriptors() == open);
    }
    drop(client);
    stop(&server);
}

fn what_a_handler_does_not_take_is_closed(cell: &Cell) {
    let _turn = my_turn();
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().descriptors(true).codec(Lines::default()).serve(echo).unwrap();
    let client = client(cell, &server);
    let line = line_of(cell, "hello");
    for round in 0..200 {
        let (mut end, passed) = UnixStream::pair().unwrap();
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(&line, &[passed.as_fd()]).unwrap();
        drop(passed);
        assert_eq!(client.recv(&mut [0; 64]).unwrap().0, line.len());
        // When the last descriptor of it is closed, its other end ends.
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "round {round}");
    }
    drop(client);
    stop(&server);
}

struct Telling(mpsc::Sender<String>);

impl Handler<Lines> for Telling {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        self.0.send(format!("{}: {reason}", matrix::name(reason))).unwrap();
    }
}

fn too_many_end_the_session_and_are_closed(cell: &Cell) {
    let _turn = my_turn();
    let (tell, told) = mpsc::channel();
    let server = cell
        .server()
        .descriptors(true)
        .codec(Lines::default())
        .serve_with(move |_| Telling(tell.clone()))
        .unwrap();
    let line = line_of(cell, "hello");
    let other = client(cell, &server);
    let open = {
        let warm = client(cell, &server);
        warm.send(&line, &[]).unwrap();
        warm.recv(&mut [0; 64]).unwrap();
        other.send(&line, &[]).unwrap();
        other.recv(&mut [0; 64]).unwrap();
        drop(warm);
        matrix::next(&told);
        open_descriptors()
    };
    for count in [17, 24, 100] {
        let client = client(cell, &server);
        send_many(&client, &line, count);
        let why = matrix::next(&told);
        assert!(why.starts_with("transport: "), "{why}");
        assert!(why.contains("more than 16 descriptors"), "{why}");
        drop(client);
        matrix::eventually("all are closed", || open_descriptors() == open);
        // It ended its own session and no other.
        other.send(&line, &[]).unwrap();
        assert_eq!(other.recv(&mut [0; 64]).unwrap().0, line.len());
    }
    drop(other);
    stop(&server);
}

/// Replies that the peer does not read yet keep their descriptors, each with its own.
fn descriptors_wait_with_their_frames(cell: &Cell) {
    let _turn = my_turn();
    const FRAMES: usize = 60;
    let server = cell
        .server()
        .descriptors(true)
        .codec(Lines::at_most(100_000))
        .serve(|line: &str, cx: &mut Context<'_, Lines>| -> Outcome {
            // More than the kernel takes, and a descriptor with each third frame.
            let filling = "x".repeat(line.parse()?);
            for number in 0..FRAMES {
                let text = format!("{number:05}{filling}");
                match number % 3 {
                    0 => cx.send_with_descriptors(&text, pipe_with(&number.to_string()))?,
                    _ => cx.send(&text),
                }
            }
            Ok(())
        })
        .unwrap();
    for length in ["1", "300", "15000"] {
        let client = client(cell, &server);
        client.send(&line_of(cell, length), &[]).unwrap();
        let (mut bytes, mut buf) = (Vec::new(), vec![0; 100_000]);
        let (mut numbers, mut texts) = (0, Vec::new());
        while numbers < FRAMES {
            let (length, came) = client.recv(&mut buf).unwrap();
            let before = numbers;
            match cell.kind {
                Kind::Unix => {
                    bytes.extend_from_slice(&buf[..length]);
                    numbers = bytes.iter().filter(|byte| **byte == b'\n').count();
                }
                _ => {
                    assert!(buf.starts_with(format!("{numbers:05}").as_bytes()));
                    numbers += 1;
                }
            }
            for descriptor in came {
                let text = text_of(descriptor);
                // It came with the first byte of its frame: the frames before it are all here, and no
                // later one with another descriptor is.
                let number: usize = text.parse().unwrap();
                assert!(before <= number && number <= numbers, "{before} {number} {numbers}");
                assert!(numbers <= number + 3, "{number} {numbers}");
                texts.push(number);
            }
        }
        let expected: Vec<usize> = (0..FRAMES).step_by(3).collect();
        assert_eq!(texts, expected, "{length}");
        if cell.kind == Kind::Unix {
            let text = String::from_utf8(bytes).unwrap();
            for (number, line) in text.lines().enumerate() {
                assert!(line.starts_with(&format!("{number:05}")));
            }
        }
    }
    stop(&server);
}

fn what_cannot_be_sent_is_said(cell: &Cell) {
    let _turn = my_turn();
    let (tell, told) = mpsc::channel();
    let server = cell
        .server()
        .descriptors(true)
        .codec(Bytes::default())
        .serve(move |bytes: &[u8], cx: &mut Context<'_, Bytes>| {
            let many: Descriptors = (0..17).map(|_| pipe_with("")).collect();
            let error = cx.send_with_descriptors(bytes, many).unwrap_err();
            assert!(matches!(error, SendError::Descriptors), "{error}");
            let empty = cx.send_with_descriptors(b"", pipe_with(""));
            tell.send(empty.is_ok()).unwrap();
            // Until they are sent, no more than 64 wait.
            let full = (0..100).find_map(|_| cx.send_with_descriptors(b"x", pipe_with("")).err());
            assert!(matches!(full, Some(SendError::Full)), "{full:?}");
        })
        .unwrap();
    let client = client(cell, &server);
    client.send(b"hello", &[]).unwrap();
    // An empty message is one, and a stream has no byte in it.
    assert_eq!(matrix::next(&told), cell.kind != Kind::Unix);
    let mut count = 0;
    while count < 64 {
        count += client.recv(&mut [0; 64]).unwrap().1.len();
    }
    assert_eq!(count, 64);
    drop(client);
    let report = stop(&server);
    assert_eq!(report.counters.panics, 0);
}

fn descriptors_of_an_unfinished_frame_wait_for_it(cell: &Cell) {
    let _turn = my_turn();
    let server = cell.server().descriptors(true).codec(Lines::default()).serve(read_them).unwrap();
    let client = client(cell, &server);
    let Any::Stream(stream) = &client else { panic!("a stream") };
    let mut lines = io::BufRead::lines(io::BufReader::new(stream));
    let mut hear = || lines.next().expect("an answer").unwrap();
    for round in 0..20 {
        // It rides on the first half, on the second, and in the middle of another read.
        client.send(b"first ", &[pipe_with("a").as_fd()]).unwrap();
        client.send(b"half\n", &[]).unwrap();
        assert_eq!(hear(), "first half: a", "{round}");
        client.send(b"second ", &[]).unwrap();
        client.send(b"half\nbegun", &[pipe_with("b").as_fd()]).unwrap();
        assert_eq!(hear(), "second half: b", "{round}");
        client.send(b" and ", &[pipe_with("c").as_fd()]).unwrap();
        client.send(b"ended\n", &[pipe_with("d").as_fd()]).unwrap();
        assert_eq!(hear(), "begun and ended: c d", "{round}");
    }
    // Not without end.
    for _ in 0..70 {
        if client.send(b"x", &[pipe_with("").as_fd()]).is_err() {
            break;
        }
    }
    assert!(lines.next().is_none_or(|line| line.is_err()), "the session ends");
    drop(client);
    let report = stop(&server);
    assert_eq!(report.counters.closed.transport, 1);
}

fn no_data_is_lost_where_descriptors_ride(cell: &Cell) {
    let _turn = my_turn();
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let server = cell.server().descriptors(true).codec(Lines::default()).serve(echo).unwrap();
    let client = client(cell, &server);
    let Any::Stream(stream) = &client else { panic!("a stream") };
    let null = File::open("/dev/null").unwrap();
    let stream = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        (&stream).read_to_string(&mut all).unwrap();
        all
    });
    let mut said = String::new();
    for round in 0..2_000 {
        let piece = format!("piece {round}{}", if round % 3 == 0 { "\n" } else { ", " });
        let with: &[BorrowedFd<'_>] = if round % 2 == 0 { &[null.as_fd()] } else { &[] };
        assert_eq!(client.send(piece.as_bytes(), with).unwrap(), piece.len());
        said += &piece;
    }
    client.send(b"end\n", &[]).unwrap();
    said += "end\n";
    let Any::Stream(stream) = &client else { panic!("a stream") };
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(in_time("the echo", move || reader.join().unwrap()), said);
    drop(client);
    stop(&server);
}

/// The switch is for Unix connections; elsewhere it changes nothing.
fn other_endpoints_pass_none(cell: &Cell) {
    let _turn = my_turn();
    let server = cell
        .server()
        .descriptors(true)
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| {
            assert!(cx.take_descriptors().is_empty());
            let refused = cx.send_with_descriptors(line, pipe_with(""));
            assert!(matches!(refused, Err(SendError::Descriptors)));
            cx.send(line);
        })
        .unwrap();
    if cell.kind == Kind::UnixDatagram {
        let client = cell.post(&server);
        let open = {
            assert_eq!(client.ask("hello"), "hello");
            open_descriptors()
        };
        let matrix::Post::Unix(socket) = &client else { panic!("a datagram socket") };
        let null = File::open("/dev/null").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut riders = SendAncillaryBuffer::new(&mut space);
        let lent = [null.as_fd()];
        assert!(riders.push(SendAncillaryMessage::ScmRights(&lent)));
        // Refused or closed by the kernel.
        if sendmsg(socket, &[IoSlice::new(b"with")], &mut riders, SendFlags::empty()).is_ok() {
            assert_eq!(client.receive(), b"with");
        }
        drop(null);
        assert_eq!(client.ask("again"), "again");
        assert_eq!(open_descriptors(), open);
    } else {
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
    }
    let report = stop(&server);
    assert_eq!(report.counters.panics, 0);
}

#[test]
fn a_blocking_function_passes_them_over_its_own_socket() {
    let _turn = my_turn();
    let dir = Dir::new();
    let server = Server::unix(dir.0.join("s"))
        .engine(Threads::default())
        .serve_blocking(|stream: AnyStream| -> Outcome {
            let stream = UnixStream::try_from(OwnedFd::from(stream))?;
            let (mut bytes, mut came) = ([0; 64], Vec::new());
            stream.recv_with_descriptors(&mut bytes, &mut came)?;
            let text = text_of(came.remove(0));
            stream.send_with_descriptors(b"back", &[pipe_with(&text).as_fd()])?;
            Ok(())
        })
        .unwrap();
    let at = server.local_endpoints()[0].to_addr().unwrap().as_unix().unwrap().clone();
    let client = UnixStream::connect(at).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.send_with_descriptors(b"there", &[pipe_with("and back").as_fd()]).unwrap();
    let mut came = Vec::new();
    assert_eq!(client.recv_with_descriptors(&mut [0; 64], &mut came).unwrap(), 4);
    assert_eq!(text_of(came.remove(0)), "and back");
    drop(client);
    stop(&server);
}
