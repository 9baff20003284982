//! Sessions without a kernel: bytes in, bytes out, and a clock that the test turns.
//!
//! Long because: all of it turns one rig.

use super::*;
use crate::buffer::Out;
use crate::codec::{Lines, Oversize};
use crate::handler::{Context, Group, OnSlow, Outcome, Remote};
use crate::mailbox::{Bell, Mailbox};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A session, what it wrote, and how much the pretended kernel takes.
pub(super) struct Rig {
    pub(super) session: Option<Box<Session>>,
    pub(super) turn: Turn,
    spare: Spare,
    pub(super) sent: Vec<u8>,
    /// How many bytes the kernel takes before it would block.
    pub(super) room: usize,
    pub(super) shut: bool,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

/// Answers each line, and notes every callback.
struct Noted {
    log: Log,
    /// What a line says is what is done: `panic`, `error`, `pause`, `finish`, `big`.
    remote: Arc<Mutex<Option<Remote<Lines>>>>,
    /// Whether an idle session goes on.
    keeps: bool,
}

impl Noted {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }
}

impl Handler<Lines> for Noted {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.note("open");
        *self.remote.lock().unwrap() = Some(cx.remote());
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.note(format!("frame {line}"));
        match line {
            "panic" => {
                cx.send("before the panic");
                panic!("as the test asked");
            }
            "error" => return Err("as the test asked".into()),
            "pause" => cx.pause(),
            "finish" => cx.finish(),
            "keep" => self.keeps = true,
            "half" => cx.shutdown_write(),
            "abort" => cx.abort(),
            "newline" => cx.send("a\nb"),
            "timer" => cx.set_timer(Duration::from_secs(5)),
            "big" => (0..100).for_each(|_| cx.send(&"x".repeat(999))),
            line => cx.send(line),
        }
        Ok(())
    }
    fn on_drain(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.note("drain");
        Ok(())
    }
    fn on_timer(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.note("timer");
        Ok(())
    }
    fn on_idle(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.note(format!("idle {:?}", cx.idle()));
        if !self.keeps {
            cx.close_idle();
        }
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.note("wake");
        cx.resume();
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        self.note(format!("close {reason}"));
    }
}

impl Rig {
    pub(super) fn new(change: impl FnOnce(&mut Limits)) -> (Rig, Remote<Lines>) {
        Rig::with(Lines::at_most(1024), change)
    }

    fn with(lines: Lines, change: impl FnOnce(&mut Limits)) -> (Rig, Remote<Lines>) {
        let mut limits = Limits::default();
        change(&mut limits);
        let log = Log::default();
        let remote = Arc::new(Mutex::new(None));
        let handler = Noted { log: log.clone(), remote: remote.clone(), keeps: false };
        let peer = Peer::tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let now = Instant::now();
        let limits = Arc::new(limits);
        let session = Session::new(lines, handler, peer, Side::Accepted, limits);
        let mut rig = Rig {
            session: Some(session),
            turn: Turn::new(
                Box::new(Out::new(1024)),
                Mailbox::new(Bell::new(Waker::noop().clone()), 1024),
                Arc::default(),
                now,
            ),
            spare: Spare::new(1024),
            sent: Vec::new(),
            room: usize::MAX,
            shut: false,
            log,
        };
        rig.turn(Session::open);
        let remote = remote.lock().unwrap().take().unwrap();
        (rig, remote)
    }

    pub(super) fn turn<T>(&mut self, act: impl FnOnce(&mut Session, &mut Turn) -> T) -> T {
        let Rig { session, turn, .. } = self;
        let session = session.as_mut().unwrap();
        turn.begin(0, session.state().limits.frames_per_turn, &[]);
        let result = act(session, turn);
        loop {
            let (room, sent) = (&mut self.room, &mut self.sent);
            self.shut |= session.flush(turn, &[], &mut self.spare, |bytes| {
                let count = bytes.len().min(*room);
                if count == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                *room -= count;
                sent.extend_from_slice(&bytes[..count]);
                Ok(count)
            });
            if !session.drain(turn) {
                return result;
            }
        }
    }

    /// What an engine does with a read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.turn(|session, turn| session.receive(rest, turn));
            rest = &rest[taken..];
            if taken == 0 {
                self.session.as_mut().unwrap().keep(rest);
                break;
            }
        }
        while self.session.as_ref().unwrap().wants_turn() {
            self.turn(Session::resume);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.turn.it_is(self.turn.now() + time);
        if self.deadline().is_some_and(|due| due <= self.turn.now()) {
            self.turn(Session::tick);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.as_ref().unwrap().deadline(&self.turn)
    }

    /// Why it ended or is about to end, if it says so already.
    pub(super) fn reason(&mut self) -> Option<String> {
        let state = self.session.as_mut().unwrap().state();
        state.reason().map(|reason| reason.to_string())
    }

    pub(super) fn deliver(&mut self) {
        let mut batch = Batch::new();
        self.turn.letters.take(&mut batch);
        for letter in batch {
            self.turn(|session, turn| assert!(session.deliver(&letter, &mut 0, turn)));
        }
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn close(mut self) -> (String, Vec<String>) {
        let (reason, _) = self.session.take().unwrap().conclude(Instant::now());
        (reason.to_string(), self.log())
    }

    pub(super) fn is_over(&self) -> bool {
        self.session.as_ref().unwrap().is_over()
    }

    fn wants_input(&self) -> bool {
        self.session.as_ref().unwrap().wants_input()
    }
}

fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

#[test]
fn the_same_frames_come_out_however_the_input_is_cut() {
    let input = "one\r\n\nthree has \u{1ea3} few\n\r\nlast\n".as_bytes();
    let (mut whole, _) = Rig::new(|_| {});
    whole.read(input);
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let (mut rig, _) = Rig::new(|_| {});
            rig.read(&input[..first]);
            rig.read(&input[first..second]);
            rig.read(&input[second..]);
            assert_eq!(rig.log(), whole.log(), "cut at {first} and {second}");
            assert_eq!(rig.sent, whole.sent, "cut at {first} and {second}");
        }
    }
    let (mut rig, _) = Rig::new(|limits| limits.frames_per_turn = 1);
    input.iter().for_each(|byte| rig.read(&[*byte]));
    assert_eq!(rig.log(), whole.log());
}

#[test]
fn an_unfinished_frame_is_all_that_is_kept() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"done\nhalf");
    assert_eq!(rig.session.as_ref().unwrap().kept, b"half");
    rig.read(b"-way\n");
    assert_eq!(rig.session.as_ref().unwrap().kept.capacity(), 0, "an idle session owns no buffer");
}

#[test]
fn a_line_that_is_skipped_is_not_kept_and_is_counted_once() {
    let lines = Lines::at_most(8).oversize(Oversize::Skip);
    for piece in [1, 3, 1000] {
        let (mut rig, _) = Rig::with(lines.clone(), |_| {});
        rig.read(b"before\n");
        for _ in 0..5000 / piece {
            rig.read(&b"x".repeat(piece));
            let kept = rig.session.as_ref().unwrap().kept.len();
            assert!(kept <= 10, "{kept} bytes were kept");
        }
        rig.read(b"\nafter\n");
        assert_eq!(rig.log(), ["open", "frame before", "frame after"]);
        assert_eq!(rig.turn.skipped.load(Ordering::Relaxed), 1);
        rig.read(b"too long a line, and no end");
        rig.turn(Session::eof);
        assert_eq!(rig.close().0, "closed by the peer");
    }
}

#[test]
fn what_is_skipped_counts_as_a_frame_of_its_turn() {
    let lines = Lines::at_most(4).oversize(Oversize::Skip);
    let (mut rig, _) = Rig::with(lines, |limits| limits.frames_per_turn = 2);
    let taken = rig.turn(|session, turn| session.receive(b"long 1\nlong 2\nlong 3\nok\n", turn));
    assert_eq!(taken, 14);
    rig.read(b"long 3\nok\n");
    assert_eq!(rig.sent, b"ok\n");
}

#[test]
fn a_line_that_cuts_the_connection_takes_unsent_replies_with_it() {
    let (mut rig, _) = Rig::with(Lines::at_most(8).oversize(Oversize::Close), |_| {});
    rig.read(b"reply\n");
    rig.read(b"no reply\ntoo long\nnor this\n");
    assert_eq!(rig.sent, b"reply\nno reply\ntoo long\nnor this\n", "all are short enough");
    rig.read(b"lost\nmuch too long\n");
    assert!(rig.is_over() && rig.session.as_ref().unwrap().wants_reset());
    assert!(!rig.sent.ends_with(b"lost\n"));
    assert_eq!(rig.close().0, "bad frame: frame of 13 bytes or more is over the limit of 8");
}

#[test]
fn a_turn_ends_after_its_frames_and_the_rest_has_the_next() {
    let (mut rig, _) = Rig::new(|limits| limits.frames_per_turn = 2);
    let taken = rig.turn(|session, turn| session.receive(b"1\n2\n3\n4\n", turn));
    assert_eq!(taken, 4);
    rig.session.as_mut().unwrap().keep(b"3\n4\n");
    assert!(!rig.wants_input(), "what was kept comes first");
    rig.turn(Session::resume);
    rig.turn(Session::resume);
    assert_eq!(rig.sent, b"1\n2\n3\n4\n");
    assert!(rig.wants_input());
}

#[test]
fn nothing_is_read_while_output_is_blocked_and_drain_is_called_below_the_low_mark() {
    let (mut rig, _) = Rig::new(|limits| limits.output_high_mark = 1000);
    rig.room = 10;
    rig.read(b"big\nafter\n");
    assert!(!rig.wants_input());
    assert_eq!(rig.log(), ["open", "frame big"], "the next line waits");
    rig.room = 34_000;
    rig.turn(|_, _| ());
    assert!(!rig.log().contains(&"drain".to_owned()), "66,000 bytes are above the low mark");
    rig.room = usize::MAX;
    rig.turn(|_, _| ());
    assert_eq!(rig.log().last().unwrap(), "drain");
    assert!(rig.session.as_ref().unwrap().wants_turn());
    rig.turn(Session::resume);
    assert!(rig.sent.ends_with(b"\nafter\n"));
}

#[test]
fn more_output_than_the_hard_limit_ends_the_session() {
    let (mut rig, _) = Rig::new(|limits| limits.output_bytes_max = 50_000);
    rig.read(b"big\n");
    let (reason, log) = rig.close();
    assert!(reason.starts_with("peer reads too slowly"), "{reason}");
    assert_eq!(log.len(), 3, "{log:?}");
}

#[test]
fn a_panic_sends_earlier_replies_and_calls_nothing_more() {
    quiet_panics();
    let (mut rig, remote) = Rig::new(|_| {});
    rig.read(b"first\npanic\nnever\n");
    remote.wake();
    rig.deliver();
    assert_eq!(rig.sent, b"first\nbefore the panic\n");
    assert!(rig.shut, "the peer sees an orderly end");
    rig.turn(Session::eof);
    assert!(rig.is_over());
    let (reason, log) = rig.close();
    assert_eq!(reason, "handler panicked");
    assert_eq!(log, ["open", "frame first", "frame panic"]);
    assert!(matches!(remote.send("x"), Err(crate::handler::SendError::Closed)));
}

#[test]
fn an_error_ends_the_session_behind_its_replies() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"first\nerror\nnever\n");
    assert_eq!(rig.sent, b"first\n");
    rig.turn(Session::eof);
    let (reason, log) = rig.close();
    assert_eq!(reason, "handler failed: as the test asked");
    assert_eq!(log.last().unwrap(), "close handler failed: as the test asked");
}

#[test]
fn a_frame_that_cannot_be_sent_ends_the_session() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"newline\n");
    rig.turn(Session::eof);
    assert_eq!(rig.close().0, "bad frame: item has a delimiter in it, at byte 1");
}

#[test]
fn a_finished_session_lingers_until_the_peer_ends_or_time_does() {
    for by_peer in [true, false] {
        let (mut rig, _) = Rig::new(|_| {});
        rig.read(b"finish\nnever\n");
        assert!(rig.shut && !rig.is_over() && rig.wants_input());
        rig.read(b"still talking\n");
        if by_peer {
            rig.turn(Session::eof);
        } else {
            rig.pass(1);
        }
        assert!(rig.is_over());
        assert_eq!(rig.close().1, ["open", "frame finish", "close finished"]);
    }
}

#[test]
fn a_lingering_session_reads_only_so_much() {
    let (mut rig, _) = Rig::new(|limits| limits.linger_bytes_max = 1000);
    rig.read(b"finish\n");
    rig.read(&[b'x'; 999]);
    assert!(rig.wants_input());
    rig.read(b"x");
    assert!(!rig.wants_input() && !rig.is_over());
    rig.pass(1);
    assert!(rig.is_over());
}

#[test]
fn half_closed_sessions_go_on_in_the_other_direction() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"half\n");
    assert!(rig.shut && rig.wants_input());
    rig.read(b"heard\n");
    assert_eq!(rig.log().last().unwrap(), "frame heard");
    assert_eq!(rig.sent, b"", "nothing is sent behind the end");
    rig.turn(Session::eof);
    assert!(rig.is_over());
}

#[test]
fn half_a_line_at_the_end_is_an_error() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"whole\nhal");
    rig.turn(Session::eof);
    assert_eq!(rig.sent, b"whole\n");
    assert_eq!(rig.close().0, "bad frame: input ended inside a frame, after 3 bytes of it");
}

#[test]
fn limits_run_one_after_the_other() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.pass(59);
    rig.read(b"in time\n");
    rig.pass(599);
    rig.read(b"busy\n");
    rig.pass(599);
    assert!(!rig.shut, "activity moves the idle limit");
    rig.pass(1);
    assert!(rig.shut);
    assert_eq!(rig.close().0, "idle for too long");

    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"only half a li");
    rig.pass(60);
    assert_eq!(rig.close().0, "no first message in time");

    let (mut rig, _) = Rig::new(|_| {});
    rig.room = 0;
    rig.read(b"stuck\n");
    rig.pass(29);
    assert!(!rig.is_over());
    rig.pass(1);
    assert!(rig.session.as_ref().unwrap().wants_reset());
    assert_eq!(rig.close().0, "peer stopped reading");
}

#[test]
fn a_timer_fires_once() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"timer\n");
    rig.pass(4);
    rig.pass(1);
    rig.pass(5);
    let fired = rig.log().iter().filter(|line| *line == "timer").count();
    assert_eq!(fired, 1);
}

#[test]
fn a_paused_session_keeps_its_frames_until_it_is_woken() {
    let (mut rig, remote) = Rig::new(|_| {});
    rig.read(b"pause\nlater\n");
    assert!(!rig.wants_input());
    remote.wake();
    remote.wake();
    rig.deliver();
    rig.turn(Session::resume);
    assert_eq!(rig.log(), ["open", "frame pause", "wake", "frame later"]);
}

#[test]
fn a_remote_that_was_told_full_is_told_when_there_is_room() {
    let (mut rig, remote) = Rig::new(|limits| limits.output_bytes_max = 1000);
    let line = "y".repeat(399);
    remote.send(&line).unwrap();
    remote.send(&line).unwrap();
    assert_eq!(remote.room(), 200);
    assert!(matches!(remote.send(&line), Err(crate::handler::SendError::Full)));
    let long = "z".repeat(1001);
    assert!(matches!(
        remote.send(&long),
        Err(crate::handler::SendError::TooLarge { .. }) | Err(crate::handler::SendError::Frame(_))
    ));
    rig.deliver();
    assert_eq!(rig.log(), ["open", "drain"]);
    assert_eq!((rig.sent.len(), remote.room()), (800, 1000));
}

#[test]
fn a_session_sings_only_with_nothing_before_and_nothing_behind() {
    let can = |rig: &Rig, length| {
        let session = rig.session.as_ref().unwrap();
        session.sings(session.promised() + length)
    };
    let (mut rig, remote) = Rig::new(|limits| limits.output_low_mark = 1000);
    assert!(can(&rig, 1000) && !can(&rig, 1001));
    remote.send(&"x".repeat(499)).unwrap();
    assert!(can(&rig, 500) && !can(&rig, 501), "what was promised comes too");
    rig.room = 400;
    rig.deliver();
    assert!(!can(&rig, 1), "the rest of that comes first");
    rig.room = usize::MAX;
    rig.turn(|_, _| {});
    assert_eq!(rig.sent.len(), 500);
    assert!(can(&rig, 1000));
    remote.shutdown_write();
    rig.deliver();
    assert!(rig.shut && !can(&rig, 1), "nothing follows the end");
}

/// The frames of a group that wait together are taken one by one: what was said is written before any
/// of them is missed, and none is said twice.
#[test]
fn frames_that_wait_together_are_taken_one_by_one() {
    let lines: Vec<String> = (0..10).map(|n| n.to_string().repeat(299)).collect();
    let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for (room, heard) in [(usize::MAX, 10), (0, 3), (300, 4), (450, 4), (3000, 10)] {
        let (mut rig, remote) = Rig::new(|limits| limits.output_bytes_max = 1000);
        let group = Group::new(Lines::default(), OnSlow::Drop);
        let _membership = group.join(&remote);
        lines.iter().for_each(|line| assert_eq!(group.send(line).unwrap(), 1));
        let mut batch = Batch::new();
        rig.turn.letters.take(&mut batch);
        assert_eq!(batch.len(), 1, "they are one letter");
        rig.room = room;
        while !batch.is_empty() {
            rig.turn(|session, turn| session.deliver_from(&mut batch, turn));
        }
        rig.room = usize::MAX;
        rig.turn(|_, _| {});
        assert_eq!(remote.missed(), 10 - heard as u64, "room for {room}");
        assert_eq!(rig.sent, &all.as_bytes()[..300 * heard], "room for {room}");
    }
}

/// What was delivered does not count as waiting any more, however many frames a letter had.
#[test]
fn what_was_delivered_leaves_room_for_more() {
    let (mut rig, remote) = Rig::new(|_| {});
    let group = Group::new(Lines::default(), OnSlow::Close).queue_bytes_max(1000);
    let _membership = group.join(&remote);
    for _ in 0..100 {
        let sent = (0..20).map_while(|_| group.send("a line").ok()).count();
        assert!((5..20).contains(&sent), "{sent}");
        rig.deliver();
    }
}

/// What is sent to one member between two frames of its group stays between them.
#[test]
fn letters_of_other_kinds_stay_between_frames_of_a_group() {
    let (mut rig, remote) = Rig::new(|_| {});
    let group = Group::new(Lines::default(), OnSlow::Close);
    let other = Group::new(Lines::default(), OnSlow::Close);
    let _memberships = [group.join(&remote), other.join(&remote)];
    let long = "x".repeat(5000);
    for line in ["1", "2", &long, "3", "4"] {
        group.send(line).unwrap();
    }
    remote.send("5").unwrap();
    group.send("6").unwrap();
    other.send("7").unwrap();
    assert_eq!(group.send_except("nobody hears it", &remote).unwrap(), 0);
    group.send("8").unwrap();
    rig.deliver();
    let said = format!("1\n2\n{long}\n3\n4\n5\n6\n7\n8\n");
    assert_eq!(String::from_utf8(rig.sent).unwrap(), said);
}

#[test]
fn who_keeps_messages_does_not_sing() {
    let peer = Peer::udp(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let handler = Noted { log: Log::default(), remote: Arc::default(), keeps: false };
    let limits = Arc::new(Limits::default());
    let session = Session::new(Lines::default(), handler, peer, Side::Accepted, limits);
    assert!(!session.sings(1));
}

#[test]
fn what_a_remote_sends_stays_in_order_with_its_end() {
    let (mut rig, remote) = Rig::new(|_| {});
    remote.send("one").unwrap();
    remote.send("two").unwrap();
    remote.close();
    rig.deliver();
    assert_eq!(rig.sent, b"one\ntwo\n");
    assert!(rig.shut);
}

#[test]
fn a_stop_ends_the_input_and_finishes() {
    let (mut rig, _) = Rig::new(|_| {});
    rig.read(b"before\n");
    rig.turn(Session::stop);
    rig.read(b"after\n");
    assert_eq!(rig.sent, b"before\n");
    assert!(rig.shut);
    rig.turn(Session::eof);
    assert_eq!(rig.close().0, "finished");
}

#[test]
fn what_we_send_does_not_put_off_the_first_message() {
    let (mut rig, remote) = Rig::new(|limits| {
        limits.first_message_timeout = Some(Duration::from_secs(10));
    });
    rig.turn.it_is(rig.turn.now() + Duration::from_secs(9));
    remote.send("news").unwrap();
    let mut batch = Batch::new();
    rig.turn.letters.take(&mut batch);
    let letter = batch.pop_front().unwrap();
    rig.turn(|session, turn| assert!(session.deliver(&letter, &mut 0, turn)));
    assert_eq!(rig.sent, b"news\n");
    rig.turn.it_is(rig.turn.now() + Duration::from_secs(2));
    rig.turn(Session::tick);
    let (reason, _) = rig.session.take().unwrap().conclude(Instant::now());
    assert!(matches!(reason, CloseReason::FirstMessageTimeout), "{reason}");
}

#[test]
fn a_connection_that_is_lost_after_the_last_word_was_finished_before() {
    let (mut rig, _remote) = Rig::new(|_| {});
    rig.turn(|session, turn| session.receive(b"finish\n", turn));
    assert!(rig.shut);
    rig.session.as_mut().unwrap().lost(io::ErrorKind::ConnectionReset.into());
    let (reason, _) = rig.session.take().unwrap().conclude(Instant::now());
    assert!(matches!(reason, CloseReason::Finished), "{reason}");
}

#[test]
fn a_datagram_peer_that_asks_and_does_not_read_stalls() {
    let limits = Limits { write_stall_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let peer = Peer::udp(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let (codec, limits) = (Lines::default(), Arc::new(limits));
    let session = Session::new(codec, echo, peer, Side::Accepted, limits);
    let (mut rig, _) = Rig::new(|_| {});
    rig.session = Some(session);
    rig.turn(Session::open);
    rig.room = 0;
    for _ in 0..4 {
        rig.turn(|session, turn| session.receive_message(b"x", turn));
        rig.turn.it_is(rig.turn.now() + Duration::from_secs(2));
        rig.turn(Session::tick);
    }
    let (reason, _) = rig.session.take().unwrap().conclude(Instant::now());
    assert!(matches!(reason, CloseReason::WriteStall), "{reason}");
}

#[test]
fn a_frame_that_is_refused_is_not_asked_for_before_there_is_room() {
    let (mut rig, remote) = Rig::new(|limits| {
        limits.output_bytes_max = 2000;
    });
    rig.room = 0;
    remote.send(&"x".repeat(1000)).unwrap();
    let mut batch = Batch::new();
    rig.turn.letters.take(&mut batch);
    while let Some(letter) = batch.pop_front() {
        rig.turn(|session, turn| assert!(session.deliver(&letter, &mut 0, turn)));
    }
    assert!(matches!(remote.send(&"y".repeat(1010)), Err(crate::handler::SendError::Full)));
    rig.turn.letters.take(&mut batch);
    while let Some(letter) = batch.pop_front() {
        rig.turn(|session, turn| assert!(session.deliver(&letter, &mut 0, turn)));
    }
    assert!(!rig.log.lock().unwrap().iter().any(|line| line == "drain"));
}
