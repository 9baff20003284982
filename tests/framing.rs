//! Frames through real sockets: limits, cuts, ends and odd bytes.

mod matrix;

use matrix::{Cell, Random, eventually, name, next, on_streams, stop};
use sockeye::codec::{Bytes, FrameError, Lines};
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

on_streams! {
    closes_when_a_line_exceeds_the_limit_and_disturbs_nobody,
    any_split_of_the_input_gives_the_same_lines,
    half_a_line_at_the_end_is_no_line,
    half_a_line_at_the_end_counts_if_asked_for,
    odd_bytes_are_passed_on_or_refused_as_documented,
    lines_that_would_arrive_as_two_are_not_sent,
    lines_are_reversed,
}

/// Reverses lines and tells how it ended.
struct Reverse(mpsc::Sender<CloseReason>);

impl Handler<Lines> for Reverse {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(&line.chars().rev().collect::<String>());
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        // A reason cannot be cloned, and only frame errors are asked about.
        let _ = self.0.send(match reason {
            CloseReason::Frame(FrameError::TooLong { length, limit }) => {
                CloseReason::Frame(FrameError::TooLong { length: *length, limit: *limit })
            }
            CloseReason::Frame(FrameError::NotUtf8 { valid_up_to }) => {
                CloseReason::Frame(FrameError::NotUtf8 { valid_up_to: *valid_up_to })
            }
            CloseReason::Frame(FrameError::Truncated { bytes }) => {
                CloseReason::Frame(FrameError::truncated(bytes))
            }
            CloseReason::Frame(FrameError::Delimiter { at }) => {
                CloseReason::Frame(FrameError::Delimiter { at: *at })
            }
            CloseReason::PeerClosed => CloseReason::PeerClosed,
            other => CloseReason::Handler(format!("unexpected: {other}").into()),
        });
    }
}

// ---- FRM-01 -------------------------------------------------------------------------------------

fn closes_when_a_line_exceeds_the_limit_and_disturbs_nobody(cell: &Cell) {
    let (ends, ended) = mpsc::channel();
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_millis(20);
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::at_most(1000))
        .serve_with(move |_| Reverse(ends.clone()))
        .unwrap();
    let mut other = cell.connect(&server);
    for round in 1..=3 {
        let mut client = cell.connect(&server);
        client.say("abc\n");
        assert_eq!(client.hear().unwrap(), "cba");
        // Without end, until the server has enough: what is written to it then fails.
        let refused = (0..100_000).any(|_| client.write_all(&[b'x'; 700]).is_err());
        assert!(refused, "70 MB of one line were taken");
        let reason = next(&ended);
        let CloseReason::Frame(FrameError::TooLong { length, limit: 1000 }) = reason else {
            panic!("{reason}")
        };
        assert!(length < 300_000, "{length} bytes were seen before the line was refused");
        eventually("it is counted", || server.counters().closed.frame == round);
        other.say("still here\n");
        assert_eq!(other.hear().unwrap(), "ereh llits");
    }
    drop(other);
    stop(&server);
}

// ---- FRM-04 -------------------------------------------------------------------------------------

fn any_split_of_the_input_gives_the_same_lines(cell: &Cell) {
    let (ends, _ended) = mpsc::channel();
    let server =
        cell.server().codec(Lines::default()).serve_with(move |_| Reverse(ends.clone())).unwrap();
    let input = "abc\n\r\nxin ch\u{e0}o\r\n\u{1F41F}\n\nlast one\n";
    let expected = "cba\n\no\u{e0}hc nix\n\u{1F41F}\n\neno tsal\n";
    for first in 0..=input.len() {
        let mut client = cell.connect(&server);
        client.write_all(&input.as_bytes()[..first]).unwrap();
        client.write_all(&input.as_bytes()[first..]).unwrap();
        client.shutdown(Shutdown::Write);
        assert_eq!(client.rest(), expected, "cut at {first}");
    }
    let mut client = cell.connect(&server);
    input.as_bytes().iter().for_each(|byte| client.write_all(&[*byte]).unwrap());
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), expected, "byte by byte");
    // Lines much longer than what is read at once, whole and in pieces.
    let long = "y".repeat(8000);
    let mut client = cell.connect(&server);
    let text = format!("{long}\n").repeat(200);
    let (mut reads, sent) = (client.try_clone(), text.clone());
    let writer = std::thread::spawn(move || {
        let (mut random, mut rest) = (Random(5), sent.as_bytes());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(1 + random.below(30_000)));
            client.write_all(piece).unwrap();
            rest = more;
        }
        client.shutdown(Shutdown::Write);
    });
    assert!(reads.rest() == text, "long lines were broken");
    writer.join().unwrap();
    stop(&server);
}

// ---- FRM-05 -------------------------------------------------------------------------------------

fn half_a_line_at_the_end_is_no_line(cell: &Cell) {
    let (ends, ended) = mpsc::channel();
    let server =
        cell.server().codec(Lines::default()).serve_with(move |_| Reverse(ends.clone())).unwrap();
    let mut client = cell.connect(&server);
    client.say("whole\nDROP TABLE");
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), "elohw\n");
    let reason = next(&ended);
    let CloseReason::Frame(FrameError::Truncated { bytes }) = reason else { panic!("{reason}") };
    assert_eq!(bytes, b"DROP TABLE");
    let mut client = cell.connect(&server);
    client.say("whole\n");
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), "elohw\n");
    let reason = next(&ended);
    assert_eq!(name(&reason), "peer closed", "{reason}");
    let counters = stop(&server).counters;
    assert_eq!((counters.closed.frame, counters.closed.peer_closed), (1, 1));
}

fn half_a_line_at_the_end_counts_if_asked_for(cell: &Cell) {
    let (ends, ended) = mpsc::channel();
    let server = cell
        .server()
        .codec(Lines::default().unterminated(true))
        .serve_with(move |_| Reverse(ends.clone()))
        .unwrap();
    for (said, heard) in [("one\ntwo", "eno\nowt\n"), ("one\n", "eno\n"), ("", "")] {
        let mut client = cell.connect(&server);
        client.say(said);
        client.shutdown(Shutdown::Write);
        assert_eq!(client.rest(), heard, "{said:?}");
        assert_eq!(name(&next(&ended)), "peer closed");
    }
    stop(&server);
}

// ---- FRM-06 -------------------------------------------------------------------------------------

fn odd_bytes_are_passed_on_or_refused_as_documented(cell: &Cell) {
    let (ends, ended) = mpsc::channel();
    let server =
        cell.server().codec(Lines::default()).serve_with(move |_| Reverse(ends.clone())).unwrap();
    let mut client = cell.connect(&server);
    client.say("\r\n\r\r\na\rb\nx\0y\r\n\n");
    client.write_all(b"valid\n\xFF\xFE\nnever seen\n").unwrap();
    assert_eq!(client.rest(), "\n\r\nb\ra\ny\0x\n\ndilav\n", "replies before the bad line");
    let reason = next(&ended);
    let CloseReason::Frame(FrameError::NotUtf8 { valid_up_to: 0 }) = reason else {
        panic!("{reason}")
    };
    drop(client);
    stop(&server);

    // Raw bytes come back as they were, whatever they are.
    let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
    let server = cell.server().codec(Bytes::default()).serve(echo).unwrap();
    let mut client = cell.connect(&server);
    let all: Vec<u8> = (0..=255).collect();
    client.write_all(&all).unwrap();
    client.shutdown(Shutdown::Write);
    assert_eq!(client.end().unwrap(), all);
    stop(&server);
}

// ---- FRM-07 -------------------------------------------------------------------------------------

struct Injecting(mpsc::Sender<CloseReason>);

impl Handler<Lines> for Injecting {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        let injected = format!("{line}\nSet-Cookie: x");
        assert!(cx.try_send(&injected).is_err());
        cx.send("one");
        cx.send(&injected);
        cx.send("two");
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        Reverse(self.0.clone()).on_close(reason);
    }
}

fn lines_that_would_arrive_as_two_are_not_sent(cell: &Cell) {
    let (ends, ended) = mpsc::channel();
    let server =
        cell.server().codec(Lines::default()).serve_with(move |_| Injecting(ends.clone())).unwrap();
    let mut client = cell.connect(&server);
    client.say("name\n");
    assert_eq!(client.rest(), "one\n");
    drop(client);
    let reason = next(&ended);
    let CloseReason::Frame(FrameError::Delimiter { at: 4 }) = reason else { panic!("{reason}") };
    stop(&server);
}

// ---- CHT-01 -------------------------------------------------------------------------------------

fn lines_are_reversed(cell: &Cell) {
    let (ends, _ended) = mpsc::channel();
    let mut limits = Limits::default();
    limits.frames_per_turn = 2;
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::at_most(100))
        .serve_with(move |_| Reverse(ends.clone()))
        .unwrap();
    let mut client = cell.connect(&server);
    let (hundred, turned) = ("ab".repeat(50), "ba".repeat(50));
    for (line, reversed) in [
        ("", ""),
        ("a", "a"),
        ("abc", "cba"),
        ("xin ch\u{e0}o", "o\u{e0}hc nix"),
        ("\u{1F41F}\u{4F60}\u{597D}", "\u{597D}\u{4F60}\u{1F41F}"),
        (" blank ", " knalb "),
        (&hundred, &turned),
    ] {
        for end in ["\n", "\r\n"] {
            client.say(&format!("{line}{end}"));
            assert_eq!(client.hear().unwrap(), reversed);
        }
    }
    // Many at once, in order, though a turn takes only two.
    let many: String = (0..500).map(|n| format!("{n:04}\n")).collect();
    client.say(&many);
    for n in 0..500 {
        assert_eq!(client.hear().unwrap(), format!("{n:04}").chars().rev().collect::<String>());
    }
    client.say(&format!("{hundred}!\n"));
    assert_eq!(client.rest(), "", "over-long");
    drop(client);
    stop(&server);
}
