//! Frames through real sockets: limits, cuts, ends and odd bytes.

mod matrix;

use matrix::{
    Cell, Kind, Random, eventually, name, next, on_all, on_datagrams, on_kinds, on_streams, stop,
};
use sockeye::codec::{
    Bytes, Codec, Delimited, Fixed, FrameError, LengthDelimited, Lines, Oversize, Runs,
};
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::ServerHandle;
use std::io::ErrorKind::{ConnectionReset, WouldBlock};
use std::io::{Read, Write};
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
    a_length_over_the_limit_is_refused_before_its_bytes_come,
    sums_with_the_largest_lengths_do_not_overflow,
    frames_that_are_too_long_end_are_skipped_or_cut,
    an_endless_frame_is_skipped_and_holds_nobody_up,
    any_split_of_the_input_gives_the_same_frames,
}

on_datagrams! { datagrams_hold_whole_frames }

on_all! { a_client_skips_what_is_too_long_for_it }

on_kinds! { messages_of_a_connection_hold_whole_frames [unix_seqpacket UnixSeqPacket] }

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

// ---- FRM-02, FRM-03, and what becomes of frames that are too long -------------------------------

/// Echoes frames and tells how it ended.
struct Echo<C: Codec> {
    reply: fn(C::Frame<'_>, &mut Context<'_, C>),
    ends: mpsc::Sender<String>,
}

impl<C: Codec> Handler<C> for Echo<C> {
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) -> Outcome {
        (self.reply)(frame, cx);
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.ends.send(reason.to_string());
    }
}

type Served = (ServerHandle, mpsc::Receiver<String>);

fn echo<C: Codec>(cell: &Cell, codec: C, reply: fn(C::Frame<'_>, &mut Context<'_, C>)) -> Served {
    let (ends, ended) = mpsc::channel();
    let serve = move |_: &_| Echo { reply, ends: ends.clone() };
    (cell.server().codec(codec).serve_with(serve).unwrap(), ended)
}

fn echo_bytes<C>(cell: &Cell, codec: C) -> Served
where
    C: for<'f> Codec<Frame<'f> = &'f [u8], Item = [u8]>,
{
    echo(cell, codec, |frame, cx| cx.send(frame))
}

fn over(length: u64, limit: usize) -> String {
    format!("bad frame: frame of {length} bytes or more is over the limit of {limit}")
}

fn a_length_over_the_limit_is_refused_before_its_bytes_come(cell: &Cell) {
    for width in [4, 8] {
        let codec = LengthDelimited::builder().width(width).build(1 << 20).unwrap();
        let (server, ended) = echo_bytes(cell, codec.clone());
        let mut client = cell.connect(&server);
        let mut good = Vec::new();
        codec.encode(b"before", &mut good).unwrap();
        client.write_all(&good).unwrap();
        client.write_all(&vec![0xFF; width]).unwrap();
        // Then silence.
        assert_eq!(client.end().unwrap(), good, "the reply to the frame before is sent");
        drop(client);
        assert_eq!(next(&ended), over(u64::MAX >> (64 - 8 * width), 1 << 20));
        stop(&server);
    }
}

fn sums_with_the_largest_lengths_do_not_overflow(cell: &Cell) {
    let wide = LengthDelimited::builder().offset(4).width(8);
    let less = "bad frame: a length is less than that of its header";
    let cases = [
        (wide.adjustment(1 << 30).strip(0), [0xFF; 12], ""),
        (wide.adjustment(12), [0xFF; 12], ""),
        (wide.adjustment(-12), [0; 12], less),
        (wide.adjustment(i64::MIN), [0; 12], less),
    ];
    for (builder, header, expected) in cases {
        let codec = builder.build(usize::MAX).unwrap();
        let (server, ended) = echo_bytes(cell, codec.clone());
        let mut client = cell.connect(&server);
        client.write_all(&header).unwrap();
        assert_eq!(client.end().unwrap(), b"");
        drop(client);
        let reason = next(&ended);
        let too_long = over(u64::MAX, codec.frame_bytes_max());
        assert!(reason == expected || (expected.is_empty() && reason == too_long), "{reason}");
        stop(&server);
    }
}

fn frames_that_are_too_long_end_are_skipped_or_cut(cell: &Cell) {
    let lines = |oversize| {
        let codec = Lines::at_most(8).oversize(oversize);
        echo(cell, codec, |line, cx| cx.send(line))
    };
    policies(cell, lines, b"good\n", b"too long a line\n", 15);
    let delimited = |oversize| {
        let codec = Delimited::by("<end>", 8).oversize(oversize);
        echo_bytes(cell, codec)
    };
    policies(cell, delimited, b"good<end>", b"long, long<end>", 10);
    let prefixed = |oversize| echo_bytes(cell, LengthDelimited::at_most(8).oversize(oversize));
    policies(cell, prefixed, b"\0\0\0\x04good", b"\0\0\0\x0Along, long", 10);
}

fn policies(
    cell: &Cell,
    serve: impl Fn(Oversize) -> Served,
    good: &[u8],
    long: &[u8],
    length: u64,
) {
    let (server, ended) = serve(Oversize::Error);
    let mut client = cell.connect(&server);
    client.write_all(&[good, long, good].concat()).unwrap();
    assert_eq!(client.end().unwrap(), good, "the reply before is sent, then it ends");
    drop(client);
    let reason = next(&ended);
    assert!(reason.ends_with("over the limit of 8"), "{reason}");
    assert_eq!(stop(&server).counters.closed.frame, 1);

    let (server, ended) = serve(Oversize::Skip);
    let input = [long, good, long, long, good].concat();
    for piece in [input.len(), 1, 7] {
        let mut client = cell.connect(&server);
        input.chunks(piece).for_each(|piece| client.write_all(piece).unwrap());
        client.shutdown(Shutdown::Write);
        assert_eq!(client.end().unwrap(), [good, good].concat(), "in pieces of {piece}");
        assert_eq!(next(&ended), "closed by the peer");
    }
    let counters = stop(&server).counters;
    assert_eq!((counters.frames_skipped, counters.closed.frame), (9, 0));

    let (server, ended) = serve(Oversize::Close);
    let mut client = cell.connect(&server);
    client.write_all(&[good, long, good].concat()).unwrap();
    let read = client.read(&mut [0; 8]);
    let cut = read.as_ref().err().map(|error| error.kind());
    match cell.kind {
        Kind::Unix => assert!(matches!(read, Ok(0) | Err(_)) && cut != Some(WouldBlock)),
        _ => assert_eq!(cut, Some(ConnectionReset), "not even the reply before is sent: {read:?}"),
    }
    let reason = next(&ended);
    assert!(reason.ends_with("over the limit of 8"), "{reason}");
    let seen = reason.split(' ').nth(4).and_then(|seen| seen.parse().ok());
    assert!(seen >= Some(length), "{reason}");
    stop(&server);
}

fn an_endless_frame_is_skipped_and_holds_nobody_up(cell: &Cell) {
    let codec = Lines::at_most(100).oversize(Oversize::Skip);
    let (server, _ended) = echo(cell, codec, |line, cx| cx.send(line));
    let mut other = cell.connect(&server);
    let mut client = cell.connect(&server);
    let flood = std::thread::spawn(move || {
        for _ in 0..500 {
            client.write_all(&[b'x'; 50_000]).unwrap();
        }
        client.say("\nafter it\n");
        client.hear()
    });
    for _ in 0..200 {
        other.say("a line\n");
        assert_eq!(other.hear().unwrap(), "a line");
    }
    assert_eq!(flood.join().unwrap().unwrap(), "after it");
    assert_eq!(server.counters().frames_skipped, 1, "however many pieces it came in");
    drop(other);
    stop(&server);
}

fn any_split_of_the_input_gives_the_same_frames(cell: &Cell) {
    let codec = Delimited::by_any(["<end>", "\n"], 20).keep(true);
    let input = b"one<end>two\n\n<end><<en\nlast of all 20 bytes<end>";
    let (server, _ended) = echo_bytes(cell, codec);
    splits(cell, &server, input);
    stop(&server);
    let header = LengthDelimited::builder().offset(1).width(3).little_endian().strip(0);
    let (server, _ended) = echo_bytes(cell, header.build(50).unwrap());
    splits(cell, &server, b"A\x03\0\0oneB\0\0\0C\x0A\0\0ten bytes.D\x01\0\0.");
    stop(&server);
    let (server, _ended) = echo_bytes(cell, Fixed::of(7));
    splits(cell, &server, b"onetwo.four...seven bytes...");
    stop(&server);
    let (server, _ended) = echo_bytes(cell, Runs::of(b'\n', 12));
    splits(cell, &server, b"one\ntwo\n\nand 11 more\nend\n");
    stop(&server);
}

/// An echo of whole frames gives all bytes back.
fn splits(cell: &Cell, server: &ServerHandle, input: &[u8]) {
    for first in 0..=input.len() {
        let mut client = cell.connect(server);
        client.write_all(&input[..first]).unwrap();
        client.write_all(&input[first..]).unwrap();
        client.shutdown(Shutdown::Write);
        assert_eq!(client.end().unwrap(), input, "cut at {first}");
    }
    let mut client = cell.connect(server);
    input.iter().for_each(|byte| client.write_all(&[*byte]).unwrap());
    client.shutdown(Shutdown::Write);
    assert_eq!(client.end().unwrap(), input, "byte by byte");
}

fn a_client_skips_what_is_too_long_for_it(cell: &Cell) {
    let say = |_: &[u8], cx: &mut Context<'_, Bytes>| {
        cx.send(&[&[b'x'; 30_000][..], b"\r\nshort\r\n"].concat());
    };
    let server = cell.server().codec(Bytes::default()).serve(say).unwrap();
    let connect = |oversize| {
        let codec = Delimited::by("\r\n", 8).oversize(oversize);
        let mut client = cell.client(&server, codec);
        client.send(b"go").unwrap();
        client
    };
    let mut client = connect(Oversize::Skip);
    assert_eq!(client.receive().unwrap(), b"short");
    assert_eq!(client.frames_skipped(), 1);
    drop(client);
    let mut client = connect(Oversize::Error);
    let error = client.receive().unwrap_err();
    assert!(error.to_string().ends_with("over the limit of 8"), "{error}");
    drop(client);
    stop(&server);
}

// ---- Datagrams ----------------------------------------------------------------------------------

fn datagrams_hold_whole_frames(cell: &Cell) {
    // One that is no frame is dropped; the peer's session goes on.
    let codec = LengthDelimited::at_most(8);
    let bad: [&[u8]; 4] = [b"\0\0\0\x09too long.", b"\0\0\0\x05half", b"\0\0", b""];
    for oversize in [Oversize::Error, Oversize::Close] {
        let (server, _ended) = echo_bytes(cell, codec.clone().oversize(oversize));
        let post = cell.post(&server);
        bad.iter().for_each(|bad| post.send(bad));
        assert_eq!(post.ask("\0\0\0\x04good"), "\0\0\0\x04good");
        eventually("they are counted", || server.counters().datagrams_dropped == 4);
        assert_eq!(server.counters().datagram_peers, 1);
        stop(&server);
    }
    // Skipped, only the bad frame is.
    let (server, _ended) = echo_bytes(cell, codec.oversize(Oversize::Skip));
    let post = cell.post(&server);
    assert_eq!(post.ask("\0\0\0\x09too long.\0\0\0\x04good"), "\0\0\0\x04good");
    post.send(b"\0\0\0\x7Fand its end does not come");
    assert_eq!(post.ask("\0\0\0\x01x"), "\0\0\0\x01x");
    let counters = server.counters();
    assert_eq!((counters.frames_skipped, counters.datagrams_dropped), (2, 0));
    stop(&server);

    let (server, _ended) = echo_bytes(cell, Delimited::by_any(["<end>", "\n"], 8).keep(true));
    let post = cell.post(&server);
    post.send(b"no end");
    assert_eq!(post.ask("one<end>two\n"), "one<end>");
    assert_eq!(post.receive(), b"two\n");
    stop(&server);

    let (server, _ended) = echo_bytes(cell, Fixed::of(4));
    let post = cell.post(&server);
    ["", "abc", "abcde", "abcdefgh"].iter().for_each(|bad| post.send(bad.as_bytes()));
    assert_eq!(post.ask("four"), "four");
    eventually("they are counted", || server.counters().datagrams_dropped == 4);
    stop(&server);

    let (server, _ended) = echo_bytes(cell, Runs::of(b'\n', 8));
    let post = cell.post(&server);
    post.send(b"too long\n");
    assert_eq!(post.ask("a\nb\n"), "a\nb\n");
    assert_eq!(post.ask("no end"), "no end\n");
    stop(&server);
}

fn messages_of_a_connection_hold_whole_frames(cell: &Cell) {
    let codec = LengthDelimited::at_most(8);
    let input = "\0\0\0\x09too long.\0\0\0\x04good";
    let (server, _ended) = echo_bytes(cell, codec.clone().oversize(Oversize::Skip));
    let post = cell.post(&server);
    assert_eq!(post.ask(input), "\0\0\0\x04good");
    post.send(b"\0\0\0\x7Fand its end does not come");
    assert_eq!(post.ask("\0\0\0\x01x"), "\0\0\0\x01x", "the next message is its own");
    assert_eq!(server.counters().frames_skipped, 2);
    drop(post);
    stop(&server);
    for oversize in [Oversize::Error, Oversize::Close] {
        let (server, ended) = echo_bytes(cell, codec.clone().oversize(oversize));
        let post = cell.post(&server);
        post.send(input.as_bytes());
        eventually("the session has ended", || {
            server.counters().closed.frame == 1 || oversize == Oversize::Error
        });
        drop(post);
        assert_eq!(next(&ended), over(9, 8));
        stop(&server);
    }
}
