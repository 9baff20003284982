//! Groups: one frame for many sessions, and what becomes of those that do not read it.

mod matrix;

use matrix::{Cell, Kind, Wire, eventually, name, next, on_datagrams, on_kinds, on_streams, stop};
use sockeye::codec::{Codec, Edge, Found, FrameError, Lines};
use sockeye::engine::AnyEngine;
use sockeye::handler::{
    CloseReason, Context, Group, Handler, Membership, OnSlow, Outcome, Remote, SendError,
};
use sockeye::limits::Limits;
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::Options;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

on_streams! {
    all_members_hear_all_in_the_same_order,
    members_speak_and_leave,
    a_member_that_does_not_read_is_closed_and_nobody_else_notices,
    a_member_that_does_not_read_misses_and_catches_up,
    who_reads_is_not_slow_however_little_may_wait,
    what_the_kernel_does_not_take_at_once_follows,
}
on_datagrams! { a_datagram_is_the_body_of_a_frame }
on_kinds! { streams_and_datagrams_mix [tcp4 Tcp4] }

/// A member from its first moment. What it says is for all, but for a few words.
struct Talker {
    group: Group<Lines>,
    seat: Option<Membership>,
    told: mpsc::Sender<News>,
    /// What makes a handler that was told to wait go on.
    gate: Arc<Mutex<()>>,
}

enum News {
    Joined(Remote<Lines>),
    Drained(u64),
    Closed(&'static str),
}

impl Handler<Lines> for Talker {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let remote = cx.remote();
        self.seat = Some(self.group.join(&remote));
        self.told.send(News::Joined(remote))?;
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        match line.split_once(' ') {
            Some(("others", text)) => self.group.send_except(text, &cx.remote())?,
            _ if line == "leave" => {
                self.seat = None;
                cx.send("left");
                0
            }
            _ if line == "wait" => {
                cx.send("waiting");
                drop(self.gate.lock());
                0
            }
            _ => self.group.send(line)?,
        };
        Ok(())
    }
    fn on_drain(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let _ = self.told.send(News::Drained(cx.missed()));
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(News::Closed(name(reason)));
    }
}

struct Room {
    server: ServerHandle,
    group: Group<Lines>,
    told: mpsc::Receiver<News>,
    gate: Arc<Mutex<()>>,
}

impl Room {
    fn new(cell: &Cell, group: Group<Lines>) -> Room {
        Room::with(cell, group, None)
    }

    fn with(cell: &Cell, group: Group<Lines>, also: Option<&str>) -> Room {
        let server = also.into_iter().fold(cell.server(), |server, endpoint| server.and(endpoint));
        Room::on(server, group)
    }

    fn on(server: Server<(), AnyEngine>, group: Group<Lines>) -> Room {
        let (sender, told) = mpsc::channel();
        let gate = Arc::new(Mutex::new(()));
        let (room, handlers_gate) = (group.clone(), gate.clone());
        let server = server.codec(Lines::at_most(100_000)).serve_with(move |_| Talker {
            group: room.clone(),
            seat: None,
            told: sender.clone(),
            gate: handlers_gate.clone(),
        });
        Room { server: server.unwrap(), group, told, gate }
    }

    /// A client whose session is a member.
    fn enter(&self, cell: &Cell) -> (Wire, Remote<Lines>) {
        let client = cell.connect(&self.server);
        (client, self.joined())
    }

    fn joined(&self) -> Remote<Lines> {
        match next(&self.told) {
            News::Joined(remote) => remote,
            News::Drained(_) => panic!("drained"),
            News::Closed(reason) => panic!("closed: {reason}"),
        }
    }
}

fn chat() -> Group<Lines> {
    Group::new(Lines::at_most(100_000), OnSlow::Close)
}

/// Sends, and again while the workers are behind.
fn publish(group: &Group<Lines>, line: &str) {
    eventually("the workers keep up", || match group.send(line) {
        Ok(_) => true,
        Err(SendError::Full) => false,
        Err(other) => panic!("{other}"),
    });
}

fn all_members_hear_all_in_the_same_order(cell: &Cell) {
    const EACH: usize = 1_000;
    let room = Room::new(cell, chat());
    let members: Vec<_> = (0..6).map(|_| room.enter(cell).0).collect();
    assert_eq!(room.group.len(), 6);
    let speakers: Vec<_> = (0..4)
        .map(|speaker| {
            let group = room.group.clone();
            thread::spawn(move || {
                (0..EACH).for_each(|n| publish(&group, &format!("{speaker} {n}")));
            })
        })
        .collect();
    let readers: Vec<_> = members
        .into_iter()
        .map(|member| {
            thread::spawn(move || {
                let lines = BufReader::new(member).lines().take(4 * EACH);
                lines.map(|line| line.expect("a line, and soon")).collect::<Vec<_>>()
            })
        })
        .collect();
    speakers.into_iter().for_each(|speaker| speaker.join().unwrap());
    let heard: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let mut expected = HashMap::new();
    for line in &heard[0] {
        let (speaker, n) = line.split_once(' ').unwrap();
        let expected = expected.entry(speaker).or_insert(0);
        assert_eq!(n.parse(), Ok(*expected), "from speaker {speaker}");
        *expected += 1;
    }
    assert_eq!(expected.values().sum::<usize>(), 4 * EACH);
    for others in &heard[1..] {
        assert!(others == &heard[0], "members hear the same");
    }
    eventually("all have left", || room.group.is_empty());
    stop(&room.server);
}

fn members_speak_and_leave(cell: &Cell) {
    let room = Room::new(cell, chat());
    let (mut ann, _) = room.enter(cell);
    let (mut bob, remote) = room.enter(cell);
    ann.say("hello\n");
    assert_eq!((ann.hear().unwrap(), bob.hear().unwrap()), ("hello".into(), "hello".into()));
    bob.say("others I am here\nand this is for all\n");
    assert_eq!(ann.hear().unwrap(), "I am here");
    assert_eq!(ann.hear().unwrap(), "and this is for all");
    assert_eq!(bob.hear().unwrap(), "and this is for all", "not what was for the others");
    bob.say("leave\n");
    assert_eq!(bob.hear().unwrap(), "left");
    assert_eq!(room.group.len(), 1);
    assert_eq!(room.group.send_except("Bob does not hear this", &remote).unwrap(), 1);
    assert_eq!(ann.hear().unwrap(), "Bob does not hear this");
    // Who joins twice hears once, and has to leave twice. What goes to one session keeps its order.
    let [first, second] = [room.group.join(&remote), room.group.join(&remote)];
    remote.send("one").unwrap();
    assert_eq!((room.group.len(), room.group.send("two").unwrap()), (2, 2));
    drop(first);
    remote.send("three").unwrap();
    assert_eq!(room.group.send("four").unwrap(), 2);
    drop(second);
    assert_eq!(room.group.send("for Ann").unwrap(), 1);
    for expected in ["one", "two", "three", "four"] {
        assert_eq!(bob.hear().unwrap(), expected);
    }
    drop(ann);
    eventually("she has left", || room.group.is_empty());
    assert_eq!(room.group.send("anybody?").unwrap(), 0);
    drop(bob);
    stop(&room.server);
}

/// Speaks until `enough`, never faster than these members read, and says how many lines that were.
fn speak(group: &Group<Lines>, members: Vec<Wire>, mut enough: impl FnMut() -> bool) -> usize {
    // What waits for those that read, 16 lines, stays far from their limit.
    const AHEAD: usize = 16;
    let heard: Vec<_> = members
        .into_iter()
        .map(|member| {
            let heard = Arc::new(AtomicUsize::new(0));
            let counter = heard.clone();
            let reader = thread::spawn(move || {
                for line in BufReader::new(member).lines() {
                    let line = line.expect("a line, and soon");
                    if line == "the end" {
                        return;
                    }
                    let n = counter.load(Ordering::SeqCst);
                    assert!(line.starts_with(&format!("{n} ")), "{} is not {n}", &line[..20]);
                    counter.store(n + 1, Ordering::SeqCst);
                }
                panic!("cut off");
            });
            (heard, reader)
        })
        .collect();
    let mut said = 0;
    while !enough() {
        publish(group, &format!("{said} {}", "x".repeat(10_000)));
        said += 1;
        eventually("those that read keep up", || {
            heard.iter().all(|(heard, _)| heard.load(Ordering::SeqCst) + AHEAD >= said)
        });
    }
    publish(group, "the end");
    for (heard, reader) in heard {
        reader.join().unwrap();
        assert_eq!(heard.load(Ordering::SeqCst), said);
    }
    said
}

fn a_member_that_does_not_read_is_closed_and_nobody_else_notices(cell: &Cell) {
    let room = Room::new(cell, chat());
    let members = vec![room.enter(cell).0, room.enter(cell).0];
    let (silent, remote) = room.enter(cell);
    speak(&room.group, members, || remote.is_closed());
    let reasons: Vec<_> = room.told.try_iter().filter_map(closed).collect();
    assert_eq!(reasons.first(), Some(&"output full"), "{reasons:?}");
    assert_eq!(room.group.missed(), 0);
    eventually("all have left", || room.group.is_empty());
    drop(silent);
    stop(&room.server);
}

fn a_member_that_does_not_read_misses_and_catches_up(cell: &Cell) {
    let room = Room::new(cell, Group::new(Lines::at_most(100_000), OnSlow::Drop));
    let members = vec![room.enter(cell).0, room.enter(cell).0];
    let (silent, remote) = room.enter(cell);
    let said = speak(&room.group, members, || remote.missed() >= 20);
    assert_eq!(remote.missed(), room.group.missed());
    room.told.try_iter().for_each(drop);
    let reader = thread::spawn(move || {
        let (mut heard, mut last) = (0, None);
        for line in BufReader::new(silent).lines() {
            let line = line.expect("a line, and soon");
            if line == "at last" {
                break;
            } else if line != "the end" {
                let n: usize = line.split(' ').next().unwrap().parse().unwrap();
                assert!(last < Some(n), "{n} after {last:?}");
                (heard, last) = (heard + 1, Some(n));
            }
        }
        heard
    });
    let missed = loop {
        if let News::Drained(missed) = next(&room.told) {
            break missed;
        }
    };
    publish(&room.group, "at last");
    let heard = reader.join().unwrap();
    // The end may have been missed as well.
    let lost = usize::try_from(missed).unwrap();
    assert!(heard + lost == said || heard + lost == said + 1, "{heard} + {lost} of {said}");
    stop(&room.server);
}

/// What was not offered to the kernel yet is not what the peer did not read.
fn who_reads_is_not_slow_however_little_may_wait(cell: &Cell) {
    const LINES: usize = 200;
    let mut limits = Limits::default();
    limits.output_bytes_max = 4_000;
    let room = Room::on(cell.server().limits(limits), chat());
    let (mut ann, _) = room.enter(cell);
    let shut = room.gate.lock().unwrap();
    ann.say("wait\n");
    // 20 kB that all wait for the same turn.
    for n in 0..LINES {
        room.group.send(&format!("{n} {}", "x".repeat(100))).unwrap();
    }
    drop(shut);
    let mut heard = 0;
    while heard < LINES {
        match ann.hear().expect("she is not cut off") {
            word if word == "waiting" => {}
            line => {
                assert!(line.starts_with(&format!("{heard} ")), "{line}");
                heard += 1;
            }
        }
    }
    drop(ann);
    stop(&room.server);
}

/// The last thing that is said: nothing that comes later helps the rest out.
fn what_the_kernel_does_not_take_at_once_follows(cell: &Cell) {
    let options = Options::new().send_buffer(4096);
    let room = Room::on(cell.server().options(options), chat());
    let (mut ann, _) = room.enter(cell);
    let (mut bob, _) = room.enter(cell);
    let line = "x".repeat(50_000);
    publish(&room.group, &line);
    for member in [&mut ann, &mut bob] {
        assert!(member.hear().is_some_and(|heard| heard == line));
    }
    drop((ann, bob));
    assert_eq!(stop(&room.server).counters.bytes_written, 2 * 50_001);
}

fn closed(news: News) -> Option<&'static str> {
    match news {
        News::Closed(reason) => Some(reason),
        News::Joined(_) | News::Drained(_) => None,
    }
}

fn a_datagram_is_the_body_of_a_frame(cell: &Cell) {
    let room = Room::new(cell, chat());
    let (ann, bob) = (cell.post(&room.server), cell.post(&room.server));
    assert_eq!(ann.ask("I am here"), "I am here");
    assert_eq!(bob.ask("so am I"), "so am I");
    assert_eq!(ann.receive(), b"so am I");
    assert_eq!(room.group.send("and this").unwrap(), 2);
    assert_eq!((ann.receive(), bob.receive()), (b"and this".to_vec(), b"and this".to_vec()));
    stop(&room.server);
}

fn streams_and_datagrams_mix(cell: &Cell) {
    let room = Room::with(cell, chat(), Some("udp://127.0.0.1:0"));
    let (mut ann, _) = room.enter(cell);
    let bob = UdpSocket::bind("127.0.0.1:0").unwrap();
    bob.set_read_timeout(Some(matrix::PATIENCE)).unwrap();
    let to = room.server.local_endpoints()[1].to_addr().unwrap();
    let sockeye::AnyAddr::Ip(to) = to else { panic!("{to} is no UDP address") };
    bob.send_to(b"hello from UDP", to).unwrap();
    assert_eq!(ann.hear().unwrap(), "hello from UDP");
    let mut datagram = [0; 100];
    let mut hear = || {
        let length = bob.recv(&mut datagram).expect("a datagram, and soon");
        String::from_utf8(datagram[..length].to_vec()).unwrap()
    };
    assert_eq!(hear(), "hello from UDP");
    ann.say("hello from TCP\n");
    assert_eq!(ann.hear().unwrap(), "hello from TCP");
    assert_eq!(hear(), "hello from TCP");
    stop(&room.server);
}

/// A frame of 100 bytes fits ten times into the queue, or less.
fn small(on_slow: OnSlow) -> Group<Lines> {
    Group::new(Lines::at_most(100_000), on_slow).queue_bytes_max(1_000)
}

#[test]
fn a_worker_that_is_behind_refuses_and_nobody_gets_the_frame() {
    let cell = Cell::new("events_1", Kind::Tcp4);
    let room = Room::new(&cell, small(OnSlow::Close));
    let (mut ann, _) = room.enter(&cell);
    let (mut bob, _) = room.enter(&cell);
    // Nor is the only one on its worker to blame for that.
    let lonely = Group::new(Lines::default(), OnSlow::Close).queue_bytes_max(1_000);
    ann.say("hello\n");
    assert_eq!((ann.hear().unwrap(), bob.hear().unwrap()), ("hello".into(), "hello".into()));
    let mut carl = cell.connect(&room.server);
    let carls = room.joined();
    let _seat = lonely.join(&carls);
    carl.say("leave\n");
    assert_eq!(carl.hear().unwrap(), "left");
    let gate = room.gate.clone();
    let shut = gate.lock().unwrap();
    // Its worker is not through with this before the gate is open.
    ann.say("wait\n");
    let mut said = Vec::new();
    let refused = loop {
        let line = format!("{} {}", said.len(), "x".repeat(100));
        match room.group.send(&line) {
            Ok(count) => assert_eq!(count, 2),
            Err(error) => break error,
        }
        said.push(line);
        // The worker may not have been there yet and have taken some.
        assert!(said.len() < 1_000_000, "nothing is ever refused");
    };
    assert!(matches!(refused, SendError::Full), "{refused}");
    let too_large = room.group.send(&"x".repeat(1_000)).unwrap_err();
    assert!(matches!(too_large, SendError::TooLarge { bytes: 1_001, limit: 1_000 }), "{too_large}");
    let too_long = room.group.send(&"x".repeat(100_001)).unwrap_err();
    assert!(matches!(too_long, SendError::Frame(_)), "{too_long}");
    let mut alone = 0;
    while lonely.send(&"x".repeat(100)).is_ok() {
        alone += 1;
    }
    assert!(!carls.is_closed());
    drop(shut);
    for _ in 0..alone {
        assert_eq!(carl.hear().unwrap().len(), 100);
    }
    said.push("the end".to_owned());
    publish(&room.group, "the end");
    for line in &said {
        assert_eq!(&bob.hear().unwrap(), line);
    }
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        match ann.hear().unwrap() {
            word if word == "waiting" => {}
            line => heard.push(line),
        }
    }
    assert_eq!(heard, said);
    stop(&room.server);
}

#[test]
fn a_handler_that_blocks_on_its_own_thread_is_slow_and_nobody_else_notices() {
    for on_slow in [OnSlow::Close, OnSlow::Drop] {
        let cell = Cell::new("threads", Kind::Tcp4);
        let room = Room::new(&cell, small(on_slow));
        let (mut ann, anns) = room.enter(&cell);
        let (mut bob, _) = room.enter(&cell);
        let gate = room.gate.clone();
        let shut = gate.lock().unwrap();
        ann.say("wait\n");
        let mut alone = false;
        let mut said = 0;
        while !alone {
            match room.group.send(&format!("{said} {}", "x".repeat(100))).unwrap() {
                2 => {}
                1 => alone = true,
                other => panic!("{other} of two members"),
            }
            let heard = bob.hear().unwrap();
            assert!(heard.starts_with(&format!("{said} ")), "{heard}");
            said += 1;
            assert!(said < 1_000_000, "nobody is ever slow");
        }
        drop(shut);
        match on_slow {
            OnSlow::Close => match next(&room.told) {
                News::Closed(reason) => assert_eq!(reason, "output full"),
                _ => panic!("she is cut off"),
            },
            _ => {
                assert_eq!((anns.missed(), room.group.missed()), (1, 1));
                match next(&room.told) {
                    News::Drained(missed) => assert_eq!(missed, 1),
                    _ => panic!("she is told"),
                }
            }
        }
        drop((ann, bob));
        stop(&room.server);
    }
}

/// Lines that count how often they are encoded.
#[derive(Clone)]
struct Counting(Lines, Arc<AtomicUsize>);

impl Codec for Counting {
    type Frame<'a> = &'a str;
    type Item = str;
    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        self.0.find(input, edge)
    }
    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a str, FrameError> {
        self.0.view(body)
    }
    fn encode(&self, item: &str, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.encode(item, out)
    }
}

struct Listener(Group<Counting>, Option<Membership>);

impl Handler<Counting> for Listener {
    fn on_open(&mut self, cx: &mut Context<'_, Counting>) -> Outcome {
        self.1 = Some(self.0.join(&cx.remote()));
        Ok(())
    }
    fn on_frame(&mut self, _: &str, _: &mut Context<'_, Counting>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_frame_is_encoded_once_for_all() {
    for engine in matrix::ENGINES {
        let cell = Cell::new(engine, Kind::Unix);
        let codec = Counting(Lines::default(), Arc::default());
        let group = Group::new(codec.clone(), OnSlow::Close);
        let shared = group.clone();
        let server =
            cell.server().codec(codec.clone()).serve_with(move |_| Listener(shared.clone(), None));
        let server = server.unwrap();
        let mut members: Vec<_> = (0..20).map(|_| cell.connect(&server)).collect();
        eventually("all are there", || group.len() == 20);
        assert_eq!(group.send("once").unwrap(), 20);
        for member in &mut members {
            assert_eq!(member.hear().unwrap(), "once");
        }
        assert_eq!(codec.1.load(Ordering::SeqCst), 1);
        drop(members);
        stop(&server);
    }
}
