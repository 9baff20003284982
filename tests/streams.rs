//! Streams: half-closes, unread input and resets.

mod matrix;

use matrix::{Cell, Kind, Random, eventually, name, next, on_kinds, on_streams, stop};
use sockeye::codec::{Bytes, Lines};
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::socket::Options;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

on_streams! {
    a_client_that_half_closes_gets_the_whole_reply,
    a_server_that_half_closes_goes_on_reading,
    all_of_a_long_reply_arrives_though_the_input_was_never_read,
    unread_data_before_a_hang_up_is_delivered_before_the_end,
    bulk_data_both_ways_at_once_is_echoed_whole,
    frames_sent_from_where_they_were_read_keep_their_order,
}
on_kinds! { a_write_after_a_reset_ends_that_session_only [tcp4 Tcp4, tcp6 Tcp6, memory Memory] }

/// Sends `left` bytes as fast as the peer takes them, then finishes.
struct Sender {
    left: usize,
    then: fn(&mut Context<'_, Bytes>),
}

impl Sender {
    fn fill(&mut self, cx: &mut Context<'_, Bytes>) {
        while self.left > 0 && cx.room() > 0 {
            let length = cx.room().min(self.left).min(CHUNK.len());
            cx.send(&CHUNK[..length]);
            self.left -= length;
        }
        if self.left == 0 {
            (self.then)(cx);
        }
    }
}

static CHUNK: [u8; 10_000] = [b'x'; 10_000];

// ---- STR-02 -------------------------------------------------------------------------------------

struct Replying {
    sender: Sender,
    seen: mpsc::Sender<String>,
}

impl Handler<Bytes> for Replying {
    fn on_frame(&mut self, bytes: &[u8], _: &mut Context<'_, Bytes>) -> Outcome {
        self.seen.send(String::from_utf8_lossy(bytes).into_owned())?;
        Ok(())
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        self.seen.send("eof".to_owned())?;
        self.sender.fill(cx);
        Ok(())
    }
    fn on_drain(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        self.sender.fill(cx);
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.seen.send(name(reason).to_owned());
    }
}

fn a_client_that_half_closes_gets_the_whole_reply(cell: &Cell) {
    const REPLY: usize = 8 * 1024 * 1024;
    let (seen, news) = mpsc::channel();
    let server = cell
        .server()
        .codec(Bytes::default())
        .serve_with(move |_| Replying {
            sender: Sender { left: REPLY, then: |cx| cx.finish() },
            seen: seen.clone(),
        })
        .unwrap();
    let mut client = cell.connect(&server);
    client.say("question");
    client.shutdown(Shutdown::Write);
    assert_eq!(client.end().unwrap().len(), REPLY);
    assert_eq!(next(&news), "question");
    assert_eq!(next(&news), "eof");
    assert_eq!(next(&news), "peer closed", "eof is told once");
    stop(&server);
}

struct HalfDone;

impl Handler<Lines> for HalfDone {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("all that I say");
        cx.shutdown_write();
        cx.send("nobody hears this");
        assert!(cx.try_send("nor this").is_err());
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        if line == "last" {
            cx.finish()
        }
        Ok(())
    }
}

fn a_server_that_half_closes_goes_on_reading(cell: &Cell) {
    let (seen, news) = mpsc::channel();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve_with(move |_| Watched { inner: HalfDone, seen: seen.clone() })
        .unwrap();
    let mut client = cell.connect(&server);
    assert_eq!(client.rest(), "all that I say\n", "the server's side is closed");
    client.say("one\n");
    assert_eq!(next(&news), "one");
    client.say("two\n");
    assert_eq!(next(&news), "two");
    assert_eq!(server.counters().open, 1);
    drop(client);
    assert_eq!(next(&news), "peer closed");
    // And once more, ended by the server.
    let mut client = cell.connect(&server);
    assert_eq!(client.rest(), "all that I say\n");
    client.say("last\nnever seen\n");
    assert_eq!(next(&news), "last");
    drop(client);
    assert_eq!(next(&news), "finished");
    stop(&server);
}

/// Tells of frames and of the end.
struct Watched<H> {
    inner: H,
    seen: mpsc::Sender<String>,
}

impl<H: Handler<Lines>> Handler<Lines> for Watched<H> {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.inner.on_open(cx)
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        let _ = self.seen.send(line.to_owned());
        self.inner.on_frame(line, cx)
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.inner.on_eof(cx)
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.seen.send(name(reason).to_owned());
        self.inner.on_close(reason);
    }
}

// ---- STR-03 -------------------------------------------------------------------------------------

struct Deaf(Sender);

impl Handler<Bytes> for Deaf {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        cx.pause();
        self.0.fill(cx);
        Ok(())
    }
    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Bytes>) -> Outcome {
        Err("a paused handler was given a frame".into())
    }
    fn on_drain(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        self.0.fill(cx);
        Ok(())
    }
}

fn all_of_a_long_reply_arrives_though_the_input_was_never_read(cell: &Cell) {
    const REPLY: usize = 4 * 1024 * 1024;
    let server = cell
        .server()
        .codec(Bytes::default())
        .serve_with(|_| Deaf(Sender { left: REPLY, then: |cx| cx.finish() }))
        .unwrap();
    let client = cell.connect(&server);
    let (mut reads, mut writes) = (client.try_clone(), client);
    let writer = thread::spawn(move || {
        // The server takes as much as the kernel buffers and 64 KiB, then it may close.
        let _ = writes.write_all(&vec![b'q'; 1024 * 1024]);
        writes
    });
    let mut reply = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while reply.len() < REPLY {
        match reads.read(&mut piece).expect("the whole reply") {
            0 => break,
            length => reply.extend_from_slice(&piece[..length]),
        }
    }
    assert_eq!(reply.len(), REPLY);
    assert!(reply.iter().all(|byte| *byte == b'x'));
    drop(reads);
    eventually("the session is over", || server.counters().closed.finished == 1);
    drop(writer.join().unwrap());
    stop(&server);
}

// ---- STR-01 -------------------------------------------------------------------------------------

fn bulk_data_both_ways_at_once_is_echoed_whole(cell: &Cell) {
    const LENGTH: usize = 16 * 1024 * 1024;
    let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
    let small = Options::new().send_buffer(4096).receive_buffer(4096);
    let server = match cell.kind {
        Kind::Memory => cell.server(),
        _ => cell.server().options(small),
    };
    let server = server.codec(Bytes::default()).serve(echo).unwrap();
    let client = cell.connect(&server);
    let (mut reads, mut writes) = (client.try_clone(), client);
    let sent = Random(7).bytes(LENGTH);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        writes.write_all(&bytes).unwrap();
        writes.shutdown(Shutdown::Write);
    });
    let got = reads.end().unwrap();
    writer.join().unwrap();
    assert!(got == sent, "{} of {LENGTH} bytes came back, or others", got.len());
    let counters = stop(&server).counters;
    assert_eq!((counters.bytes_read, counters.bytes_written), (LENGTH as u64, LENGTH as u64));
}

/// A large frame that is sent back is not copied first; what comes before and behind it in the same
/// callback must neither overtake it nor be lost, however little the peer takes at a time.
fn frames_sent_from_where_they_were_read_keep_their_order(cell: &Cell) {
    const LENGTH: usize = 4 * 1024 * 1024;
    let server =
        cell.server().codec(Bytes::default()).serve_with(|_| Cutting { frames: 0 }).unwrap();
    let client = cell.connect(&server);
    let (mut reads, mut writes) = (client.try_clone(), client);
    let sent = Random(11).bytes(LENGTH);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        writes.write_all(&bytes).unwrap();
        writes.shutdown(Shutdown::Write);
    });
    let (mut got, mut piece) = (Vec::new(), [0; 3000]);
    loop {
        match reads.read(&mut piece).unwrap() {
            0 => break,
            length => got.extend_from_slice(&piece[..length]),
        }
    }
    writer.join().unwrap();
    assert!(got == sent, "{} of {LENGTH} bytes came back, or others", got.len());
    stop(&server);
}

/// Echoes every frame, cut in another way each time.
struct Cutting {
    frames: usize,
}

impl Handler<Bytes> for Cutting {
    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Bytes>) -> Outcome {
        self.frames += 1;
        let cut = match self.frames % 4 {
            0 => 0,
            1 => bytes.len(),
            2 => 1,
            _ => bytes.len() / 2,
        };
        cx.send(&bytes[..cut]);
        cx.send(&bytes[cut..]);
        Ok(())
    }
}

// ---- STR-04 -------------------------------------------------------------------------------------

struct Talker(mpsc::Sender<String>);

impl Handler<Lines> for Talker {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        if line == "listen" {
            // Paused, it learns of the reset by writing only.
            cx.pause();
            cx.set_timer(Duration::from_millis(1));
        }
        cx.send(line);
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("still there?");
        cx.set_timer(Duration::from_millis(1));
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.0.send(name(reason).to_owned());
    }
}

fn a_write_after_a_reset_ends_that_session_only(cell: &Cell) {
    let (seen, news) = mpsc::channel();
    let server =
        cell.server().codec(Lines::default()).serve_with(move |_| Talker(seen.clone())).unwrap();
    let mut other = cell.connect(&server);
    for _ in 0..10 {
        let mut client = cell.connect(&server);
        client.say("listen\n");
        assert_eq!(client.hear().unwrap(), "listen");
        client.reset();
        assert_eq!(next(&news), "transport");
        other.say("here I am\n");
        assert_eq!(other.hear().unwrap(), "here I am");
    }
    eventually("they are counted", || server.counters().closed.transport == 10);
    drop(other);
    stop(&server);
}

// ---- EVL-03 -------------------------------------------------------------------------------------

/// Takes one frame a millisecond, so that the hang-up is there long before the last.
struct Slow {
    got: usize,
    seen: mpsc::Sender<usize>,
}

impl Handler<Lines> for Slow {
    fn on_frame(&mut self, _: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.got += 1;
        if self.got % 10 == 1 {
            cx.pause();
            cx.set_timer(Duration::from_millis(1));
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.resume();
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        assert_eq!(name(reason), "peer closed");
        let _ = self.seen.send(self.got);
    }
}

fn unread_data_before_a_hang_up_is_delivered_before_the_end(cell: &Cell) {
    const LINES: usize = 300;
    let (seen, news) = mpsc::channel();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve_with(move |_| Slow { got: 0, seen: seen.clone() })
        .unwrap();
    let mut client = cell.connect(&server);
    // More than one read, so that some is in the kernel when the hang-up comes.
    client.say(&format!("{}\n", "x".repeat(2000)).repeat(LINES));
    drop(client);
    assert_eq!(next(&news), LINES);
    stop(&server);
}
