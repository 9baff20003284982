//! Streams and listeners in memory, by themselves and as endpoints of servers.

mod matrix;

use matrix::{ENGINES, MEMORY_BYTES, PATIENCE, Random, eventually, in_time, next, stop};
use proptest::prelude::*;
use sockeye::client::{Client, Framed};
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::AnyEngine;
use sockeye::handler::{Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::memory::{Dialer, Listener, Stream, pair};
use sockeye::server::Server;
use sockeye::{Endpoint, ErrorKind as Kind, Transport};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn nonblocking(capacity: usize) -> (Stream, Stream) {
    let (one, other) = pair(capacity);
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

fn engine(name: &'static str) -> AnyEngine {
    matrix::Cell::new(name, matrix::Kind::Memory).engine()
}

/// The kind of error that a call ends with.
fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

// ---- Streams ------------------------------------------------------------------------------------

#[test]
fn a_stream_holds_exactly_its_capacity() {
    for capacity in [1, 2, 7, 4096, 65_536] {
        let (mut one, mut other) = nonblocking(capacity);
        assert_eq!(one.write(&vec![b'x'; capacity - 1]).unwrap(), capacity - 1);
        assert_eq!(one.write(&[b'y'; 5]).unwrap(), 1, "as much as there is room for");
        assert_eq!(kind(one.write(b"z")), Some(ErrorKind::WouldBlock));
        assert_eq!(one.write(b"").unwrap(), 0);
        assert_eq!(other.unread(), capacity);
        assert_eq!(other.write(b"the other way").unwrap(), 13.min(capacity));
        assert_eq!(other.read(&mut [0]).unwrap(), 1);
        assert_eq!(one.write(b"zz").unwrap(), 1);
        assert_eq!(kind(one.write(b"z")), Some(ErrorKind::WouldBlock));
        let mut all = vec![0; capacity + 1];
        assert_eq!(other.read(&mut all).unwrap(), capacity);
        assert_eq!(kind(other.read(&mut all)), Some(ErrorKind::WouldBlock));
        assert_eq!(other.read(&mut []).unwrap(), 0);
    }
    let (mut one, _other) = nonblocking(0);
    assert_eq!(one.write(b"zero counts as one").unwrap(), 1);
}

#[test]
fn a_mebibyte_passes_whole_through_seven_bytes_both_ways() {
    let (one, other) = pair(7);
    let (there, back) = (Random(1).bytes(1 << 20), Random(2).bytes(1 << 20));
    let run = |mut stream: Stream, bytes: Vec<u8>| {
        let mut reads = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        thread::spawn(move || {
            let mut got = Vec::new();
            reads.read_to_end(&mut got).unwrap();
            writer.join().unwrap();
            got
        })
    };
    let (at_one, at_other) = (run(one, there.clone()), run(other, back.clone()));
    in_time("a mebibyte", move || {
        assert!(at_one.join().unwrap() == back);
        assert!(at_other.join().unwrap() == there);
    });
}

#[test]
fn readers_and_writers_of_clones_lose_nothing() {
    const EACH: usize = 20_000;
    let (one, other) = pair(5);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let mut one = one.try_clone().unwrap();
            thread::spawn(move || (0..EACH).for_each(|n| one.write_all(&[n as u8]).unwrap()))
        })
        .collect();
    drop(one);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let mut other = other.try_clone().unwrap();
            thread::spawn(move || {
                let mut counts = vec![0_usize; 256];
                let mut piece = [0; 3];
                loop {
                    match other.read(&mut piece).unwrap() {
                        0 => return counts,
                        length => piece[..length].iter().for_each(|n| counts[*n as usize] += 1),
                    }
                }
            })
        })
        .collect();
    let counts = in_time("readers and writers", move || {
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let all = readers.into_iter().map(|reader| reader.join().unwrap());
        all.reduce(|sum, one| sum.iter().zip(one).map(|(a, b)| a + b).collect()).unwrap()
    });
    let expected: Vec<usize> = (0..256).map(|n| 4 * (n..EACH).step_by(256).count()).collect();
    assert_eq!(counts, expected);
}

#[test]
fn each_way_is_closed_by_itself() {
    let (mut one, mut other) = pair(16);
    one.write_all(b"last").unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(kind(one.write(b"x")), Some(ErrorKind::BrokenPipe));
    let mut text = String::new();
    other.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), other.read(&mut [0]).unwrap()), ("last", 0));
    other.write_all(b"answer").unwrap();
    drop(other);
    text.clear();
    one.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");

    let (mut one, mut other) = pair(16);
    one.write_all(b"ab").unwrap();
    other.shutdown(Shutdown::Read).unwrap();
    assert_eq!(kind(one.write(b"c")), Some(ErrorKind::BrokenPipe));
    assert_eq!(other.read(&mut [0; 9]).unwrap(), 2, "what had come is there");
    assert_eq!(other.read(&mut [0; 9]).unwrap(), 0);
    other.write_all(b"still").unwrap();
    assert_eq!(one.read(&mut [0; 9]).unwrap(), 5);
}

#[test]
fn an_end_is_gone_when_its_last_clone_is() {
    let (mut one, other) = pair(16);
    let mut clone = other.try_clone().unwrap();
    clone.write_all(b"rest").unwrap();
    drop(other);
    one.write_all(b"heard by it").unwrap();
    drop(clone);
    assert_eq!(kind(one.write(b"x")), Some(ErrorKind::BrokenPipe));
    let mut text = String::new();
    one.read_to_string(&mut text).unwrap();
    assert_eq!(text, "rest");
}

#[test]
fn a_reset_is_seen_by_both_and_loses_what_was_on_its_way() {
    let (mut one, mut other) = pair(16);
    one.write_all(b"lost").unwrap();
    one.reset();
    drop(one);
    assert_eq!(other.unread(), 0);
    assert_eq!(kind(other.read(&mut [0; 9])), Some(ErrorKind::ConnectionReset));
    assert_eq!(kind(other.write(b"x")), Some(ErrorKind::ConnectionReset));
}

#[test]
fn deadlines_are_kept_and_none_is_zero() {
    const SHORT: Duration = Duration::from_millis(20);
    let (mut one, _other) = pair(2);
    assert_eq!(kind(one.set_read_timeout(Some(Duration::ZERO))), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(one.set_write_timeout(Some(Duration::ZERO))), Some(ErrorKind::InvalidInput));
    one.set_read_timeout(Some(SHORT)).unwrap();
    one.set_write_timeout(Some(SHORT)).unwrap();
    let began = Instant::now();
    assert_eq!(kind(one.read(&mut [0])), Some(ErrorKind::WouldBlock));
    assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE);
    assert_eq!(one.write(b"abc").unwrap(), 2, "what fits, at once");
    let began = Instant::now();
    assert_eq!(kind(one.write(b"c")), Some(ErrorKind::WouldBlock));
    assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE);
    // The clone has the same settings, and they can be taken back.
    let mut clone = one.try_clone().unwrap();
    assert_eq!(kind(clone.read(&mut [0])), Some(ErrorKind::WouldBlock));
    clone.set_nonblocking(true).unwrap();
    one.set_read_timeout(None).unwrap();
    assert_eq!(kind(one.read(&mut [0])), Some(ErrorKind::WouldBlock));
}

#[test]
fn whoever_waits_learns_of_the_end() {
    type Way = (fn(Stream), ErrorKind);
    let ways: [Way; 2] =
        [(drop, ErrorKind::BrokenPipe), (|s| s.reset(), ErrorKind::ConnectionReset)];
    for (end, error) in ways {
        // Again and again, so that the end comes before, in and after the wait.
        for _ in 0..200 {
            let (one, other) = pair(1);
            (&one).write_all(b"x").unwrap();
            let (going, gone) = mpsc::channel();
            let waits = |mut act: Box<dyn FnMut() -> std::io::Result<usize> + Send>| {
                let going = going.clone();
                thread::spawn(move || {
                    going.send(()).unwrap();
                    act()
                })
            };
            let (mut reads, mut writes) = (one.try_clone().unwrap(), one);
            let reader = waits(Box::new(move || reads.read(&mut [0])));
            let writer = waits(Box::new(move || writes.write(b"y")));
            next(&gone);
            next(&gone);
            end(other);
            let (read, written) =
                in_time("the end", move || (reader.join().unwrap(), writer.join().unwrap()));
            assert_eq!(kind(written), Some(error));
            match error {
                ErrorKind::BrokenPipe => assert_eq!(read.unwrap(), 0),
                _ => assert_eq!(kind(read), Some(error)),
            }
        }
    }
}

// ---- The model ----------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Read(usize, usize),
    Shutdown(usize, Shutdown),
    Reset(usize),
    Drop(usize),
}

#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    ended: bool,
    deaf: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop::sample::select(&[Shutdown::Read, Shutdown::Write, Shutdown::Both][..]);
    let step = prop_oneof![
        20 => (0..2usize, 0..12usize).prop_map(|(side, length)| Step::Write(side, length)),
        20 => (0..2usize, 0..12usize).prop_map(|(side, length)| Step::Read(side, length)),
        2 => (0..2usize, how).prop_map(|(side, how)| Step::Shutdown(side, how)),
        1 => (0..2usize).prop_map(Step::Reset),
        1 => (0..2usize).prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn a_stream_does_what_two_queues_do(capacity in 1..20usize, steps in steps()) {
        let (one, other) = nonblocking(capacity);
        let mut ends = [Some(one), Some(other)];
        let mut lanes = [Lane::default(), Lane::default()];
        let mut reset = false;
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Write(side, length) => {
                    let Some(end) = &mut ends[side] else { continue };
                    let bytes: Vec<u8> = (0..length).map(|n| next.wrapping_add(n as u8)).collect();
                    let lane = &mut lanes[side];
                    let fits = length.min(capacity - lane.bytes.len());
                    let expected = match fits {
                        _ if reset => Err(ErrorKind::ConnectionReset),
                        _ if lane.ended || lane.deaf => Err(ErrorKind::BrokenPipe),
                        0 if length > 0 => Err(ErrorKind::WouldBlock),
                        fits => Ok(fits),
                    };
                    if let Ok(count) = expected {
                        lane.bytes.extend(&bytes[..count]);
                        next = next.wrapping_add(count as u8);
                    }
                    let written = end.write(&bytes).map_err(|error| error.kind());
                    prop_assert_eq!(written, expected);
                }
                Step::Read(side, length) => {
                    let Some(end) = &mut ends[side] else { continue };
                    let lane = &mut lanes[1 - side];
                    let count = length.min(lane.bytes.len());
                    let expected = match count {
                        _ if reset => Err(ErrorKind::ConnectionReset),
                        0 if length > 0 && !lane.ended && !lane.deaf => Err(ErrorKind::WouldBlock),
                        count => Ok(lane.bytes.drain(..count).collect::<Vec<u8>>()),
                    };
                    let mut bytes = vec![0; length];
                    let read = end.read(&mut bytes).map_err(|error| error.kind());
                    prop_assert_eq!(read.map(|count| bytes[..count].to_vec()), expected);
                    prop_assert_eq!(end.unread(), lanes[1 - side].bytes.len());
                }
                Step::Shutdown(side, how) => {
                    let Some(end) = &ends[side] else { continue };
                    end.shutdown(how).unwrap();
                    lanes[side].ended |= how != Shutdown::Read;
                    lanes[1 - side].deaf |= how != Shutdown::Write;
                }
                Step::Reset(side) => {
                    let Some(end) = &ends[side] else { continue };
                    end.reset();
                    reset = true;
                    lanes.iter_mut().for_each(|lane| lane.bytes.clear());
                }
                Step::Drop(side) => {
                    ends[side] = None;
                    lanes[side].ended = true;
                    lanes[1 - side].deaf = true;
                    lanes[1 - side].bytes.clear();
                }
            }
        }
    }
}

// ---- Listeners ----------------------------------------------------------------------------------

#[test]
fn a_backlog_is_as_long_as_it_is_said_to_be() {
    let listener = Listener::new(8).backlog(2);
    let dialer = listener.dialer();
    let _waiting = [dialer.connect().unwrap(), dialer.connect().unwrap()];
    assert_eq!(kind(dialer.connect_timeout(Duration::ZERO)), Some(ErrorKind::TimedOut));
    let began = Instant::now();
    let late = dialer.connect_timeout(Duration::from_millis(20));
    assert_eq!(kind(late), Some(ErrorKind::TimedOut));
    assert!(began.elapsed() >= Duration::from_millis(20));
    // One that waits comes in when another is accepted.
    let third = thread::spawn(move || dialer.connect().unwrap());
    let accepted: Vec<Stream> =
        (0..3).map(|_| listener.accept_timeout(PATIENCE).unwrap()).collect();
    let third = in_time("the third", move || third.join().unwrap());
    (&third).write_all(b"third").unwrap();
    assert_eq!((&accepted[2]).read(&mut [0; 8]).unwrap(), 5, "in the order of their calls");
    assert_eq!(kind(listener.accept_timeout(Duration::ZERO)), Some(ErrorKind::TimedOut));
}

#[test]
fn a_listener_that_is_gone_refuses_and_closes_who_waits() {
    let listener = Listener::new(8).backlog(1);
    let dialer = listener.dialer();
    let mut waiting = dialer.connect().unwrap();
    waiting.write_all(b"hello").unwrap();
    let (going, gone) = mpsc::channel();
    let blocked: Vec<_> = (0..3)
        .map(|_| {
            let (dialer, going) = (dialer.clone(), going.clone());
            thread::spawn(move || {
                going.send(()).unwrap();
                kind(dialer.connect())
            })
        })
        .collect();
    (0..3).for_each(|_| next(&gone));
    drop(listener);
    for dialing in blocked {
        let refused = in_time("a refusal", move || dialing.join().unwrap());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    }
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    assert_eq!(kind(waiting.write(b"x")), Some(ErrorKind::BrokenPipe));
    assert_eq!(kind(dialer.connect()), Some(ErrorKind::ConnectionRefused));
}

// ---- Servers ------------------------------------------------------------------------------------

fn echo(line: &str, cx: &mut Context<'_, Lines>) {
    cx.send(line);
}

fn ask(dialer: &Dialer, line: &str) -> Result<String, sockeye::Error> {
    let mut client = Client::memory(dialer).timeout(PATIENCE).codec(Lines::default()).connect()?;
    client.send(line)?;
    client.receive().map(str::to_owned)
}

#[test]
fn a_server_has_endpoints_in_memory_beside_others_in_their_order() {
    for name in ENGINES {
        let (one, two) = (Listener::new(100), Listener::new(1));
        let dialers = [one.dialer(), two.dialer()];
        let server = Server::on(one)
            .and("tcp://127.0.0.1:0")
            .and("udp://127.0.0.1:0")
            .and(two)
            .engine(engine(name))
            .codec(Lines::default())
            .serve(echo)
            .unwrap();
        let transports: Vec<Transport> =
            server.local_endpoints().iter().map(Endpoint::transport).collect();
        use Transport::{Memory, Tcp, Udp};
        assert_eq!(transports, [Memory, Tcp, Udp, Memory]);
        for dialer in &dialers {
            assert_eq!(ask(dialer, "hello").unwrap(), "hello", "{name}");
        }
        let endpoint = &server.local_endpoints()[1];
        let mut client =
            Client::to(endpoint).timeout(PATIENCE).codec(Lines::default()).connect().unwrap();
        client.send("beside it").unwrap();
        assert_eq!(client.receive().unwrap(), "beside it");
        drop(client);
        assert_eq!(stop(&server).counters.accepted, 3);
        for dialer in &dialers {
            assert_eq!(ask(dialer, "nobody").unwrap_err().kind(), Kind::Refused, "{name}");
        }
    }
}

#[test]
fn a_server_may_adopt_an_end_of_a_pair() {
    for name in ENGINES {
        let server =
            Server::new().engine(engine(name)).codec(Lines::default()).serve(echo).unwrap();
        let (ours, theirs) = pair(10);
        let remote = server.adopt(ours, Lines::default(), echo).unwrap();
        let mut client = Framed::over(theirs, Lines::default());
        client.set_timeout(Some(PATIENCE));
        remote.send("from outside, and longer than the pipe").unwrap();
        assert_eq!(client.receive().unwrap(), "from outside, and longer than the pipe");
        client.send("hello").unwrap();
        assert_eq!(client.receive().unwrap(), "hello");
        assert_eq!((remote.peer().transport(), server.counters().adopted), (Transport::Memory, 1));
        remote.close();
        assert_eq!(client.receive().unwrap_err().kind(), Kind::Closed);
        drop(client);
        stop(&server);
        let (late, _theirs) = pair(10);
        let refused = server.adopt(late, Lines::default(), echo);
        assert_eq!(refused.unwrap_err().kind(), Kind::Closed, "{name}");
    }
}

/// Stays when the server stops, until it is cut off.
struct Stays;

impl Handler<Lines> for Stays {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("stopping");
        Ok(())
    }
}

#[test]
fn a_server_that_stops_refuses_who_dials_while_others_are_still_served() {
    for name in ENGINES {
        let listener = Listener::new(100);
        let dialer = listener.dialer();
        let server = Server::on(listener).engine(engine(name)).codec(Lines::default());
        let server = server.serve_with(|_| Stays).unwrap();
        let mut client =
            Client::memory(&dialer).timeout(PATIENCE).codec(Lines::default()).connect().unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.receive().unwrap(), "hello");
        server.stop(PATIENCE);
        assert_eq!(client.receive().unwrap(), "stopping");
        eventually("who dials is refused", || {
            let dialed = dialer.connect_timeout(Duration::ZERO);
            kind(dialed) == Some(ErrorKind::ConnectionRefused)
        });
        assert_eq!(server.counters().open, 1, "{name}");
        server.stop(Duration::ZERO);
        let report = matrix::join(&server);
        assert_eq!((report.forced, report.counters.accepted), (1, 1), "{name}");
    }
}

#[test]
fn a_pipe_of_one_byte_carries_a_conversation() {
    for name in ENGINES {
        let listener = Listener::new(1);
        let dialer = listener.dialer();
        let server = Server::on(listener).engine(engine(name)).codec(Bytes::default());
        let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
        let server = server.serve(echo).unwrap();
        let stream = dialer.connect().unwrap();
        let (mut reads, mut writes) = (stream.try_clone().unwrap(), stream);
        let sent = Random(9).bytes(20_000);
        let bytes = sent.clone();
        let writer = thread::spawn(move || {
            writes.write_all(&bytes).unwrap();
            writes.shutdown(Shutdown::Write).unwrap();
        });
        let got = in_time("an echo", move || {
            let mut got = Vec::new();
            reads.read_to_end(&mut got).unwrap();
            got
        });
        writer.join().unwrap();
        assert!(got == sent, "{name}: {} bytes", got.len());
        stop(&server);
    }
}

#[test]
fn many_dial_at_once_and_all_are_served() {
    for name in ENGINES {
        let listener = Listener::new(MEMORY_BYTES).backlog(3);
        let dialer = listener.dialer();
        let mut limits = Limits::default();
        limits.connections_max = Some(5);
        let server = Server::on(listener).engine(engine(name)).limits(limits);
        let server = server.codec(Lines::default()).serve(echo).unwrap();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let dialer = dialer.clone();
                thread::spawn(move || {
                    for n in 0..50 {
                        let line = format!("line {n}");
                        assert_eq!(ask(&dialer, &line).unwrap(), line);
                    }
                })
            })
            .collect();
        in_time("all of them", move || clients.into_iter().for_each(|c| c.join().unwrap()));
        eventually("all are over", || server.counters().open == 0);
        assert_eq!(stop(&server).counters.accepted, 400, "{name}");
    }
}

#[test]
fn what_has_no_descriptor_or_no_name_says_so() {
    let blocking = Server::on(Listener::new(1)).serve_blocking(|_| -> Outcome { Ok(()) });
    assert_eq!(blocking.unwrap_err().kind(), Kind::Unsupported);
    let named = Server::on(Endpoint::memory()).codec(Lines::default()).serve(echo);
    let error = named.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().starts_with("listen on memory://(unnamed): "), "{error}");
    let client = Client::to(Endpoint::memory()).codec(Lines::default()).connect();
    assert_eq!(client.unwrap_err().kind(), Kind::Unsupported);
    let (one, _other) = pair(1);
    let parts = Framed::over(one, Lines::default()).into_parts();
    assert_eq!(parts.unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn frames_over_a_pair_have_deadlines_and_two_directions() {
    let (one, other) = pair(4);
    let mut one = Framed::over(one, Lines::default());
    one.set_timeout(Some(Duration::from_millis(10)));
    assert_eq!(one.receive().unwrap_err().kind(), Kind::TimedOut);
    assert_eq!(one.send("longer than the pipe").unwrap_err().kind(), Kind::TimedOut);
    let (mut reader, mut writer) = Framed::over(other, Lines::default()).split();
    drop(one);
    assert_eq!(writer.send("x").unwrap_err().kind(), Kind::Closed);
    reader.set_timeout(Some(PATIENCE));
    assert_eq!(reader.receive().unwrap_err().kind(), Kind::BadFrame, "the line was cut short");
    assert_eq!(reader.receive().unwrap_err().kind(), Kind::Closed);
}
