//! Panics where the handler is not: in codecs, hooks and payloads, with locks held, on every endpoint.

mod matrix;

use matrix::{Cell, ENGINES, Kind, eventually, expected_panic, on_all, on_engines, stop};
use sockeye::codec::{Codec, Edge, Found, FrameError, Lines};
use sockeye::handler::{Context, Group, Handler, OnSlow, Outcome};
use sockeye::limits::Limits;
use sockeye::server::ServerHandle;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

on_all! {
    a_codec_that_panics_ends_its_own_session_only,
    a_panic_in_any_callback_ends_its_own_session_only,
}
on_engines! {
    a_panic_with_the_programs_lock_held_leaves_the_librarys_usable,
    a_panic_that_panics_again_when_it_is_dropped_goes_no_further,
}

/// Seqpacket clients stay until the panic is counted: nobody lingers for them.
fn brief() -> Limits {
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_millis(1);
    limits
}

/// Says a line and hears the answer, on any endpoint; without an answer it waits for the panic.
fn say(cell: &Cell, server: &ServerHandle, line: &str, answer: Option<&str>) {
    let before = server.counters().panics;
    if server.local_endpoints()[0].transport().keeps_messages() {
        let post = cell.post(server);
        match answer {
            Some(answer) => assert_eq!(post.ask(line), answer),
            None => {
                post.send(line.as_bytes());
                eventually("it panicked", || server.counters().panics == before + 1);
            }
        }
        return;
    }
    let mut client = cell.connect(server);
    client.say(&format!("{line}\n"));
    match answer {
        Some(answer) => assert_eq!(client.hear().unwrap(), answer),
        None => {
            // A reset, if it did not read all of what it was sent.
            let heard = client.end().unwrap_or_default();
            assert!(heard.is_empty() || heard == format!("{line}\n").as_bytes(), "{heard:?}");
            // The session lingers until its peer is gone.
            drop(client);
            eventually("it panicked", || server.counters().panics == before + 1);
        }
    }
}

/// Lines that panic where they are told to.
#[derive(Clone, Debug)]
struct Mined(Lines);

fn mine(place: &[u8], bytes: &[u8]) {
    if bytes.starts_with(place) {
        expected_panic();
    }
}

impl Codec for Mined {
    type Frame<'a> = &'a str;
    type Item = str;

    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        mine(b"find", input);
        self.0.find(input, edge)
    }
    fn view<'a>(&self, body: &'a [u8]) -> Result<&'a str, FrameError> {
        mine(b"view", body);
        self.0.view(body)
    }
    fn encode(&self, item: &str, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let range = self.0.encode(item, out)?;
        // With half of it written already.
        mine(b"encode", item.as_bytes());
        Ok(range)
    }
}

fn a_codec_that_panics_ends_its_own_session_only(cell: &Cell) {
    let server = cell
        .server()
        .limits(brief())
        .codec(Mined(Lines::default()))
        .serve(|line: &str, cx: &mut Context<'_, Mined>| cx.send(line))
        .unwrap();
    for place in ["find", "view", "encode"] {
        say(cell, &server, place, None);
        say(cell, &server, "hello", Some("hello"));
    }
    assert_eq!(stop(&server).counters.closed.panicked, 3);
}

/// Panics in the callback that its last line names.
struct Bomb(String);

impl Bomb {
    fn at(&self, place: &str) {
        if self.0 == place {
            expected_panic();
        }
    }
}

impl Handler<Lines> for Bomb {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        line.clone_into(&mut self.0);
        cx.send(line);
        self.at("frame");
        match line {
            "timer" => cx.set_timer(Duration::from_millis(1)),
            "wake" => cx.remote().wake(),
            "close" | "drop" => cx.finish(),
            "finish" => {
                cx.finish();
                expected_panic();
            }
            "abort" => {
                cx.abort();
                expected_panic();
            }
            _ => {}
        }
        Ok(())
    }
    fn on_timer(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("timer");
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("wake");
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.finish();
        self.at("stop");
        Ok(())
    }
    fn on_close(&mut self, _: &sockeye::handler::CloseReason) {
        self.at("close");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.at("drop");
    }
}

fn a_panic_in_any_callback_ends_its_own_session_only(cell: &Cell) {
    let server = cell
        .server()
        .limits(brief())
        .codec(Lines::default())
        .serve_with(|_| Bomb(String::new()))
        .unwrap();
    for place in ["frame", "timer", "wake", "finish", "abort", "close", "drop"] {
        say(cell, &server, place, None);
        say(cell, &server, "hello", Some("hello"));
    }
    let report = stop(&server);
    let closed = report.counters.closed;
    assert_eq!((report.counters.panics, closed.panicked, closed.aborted), (7, 4, 1), "{report:?}");
}

fn a_panic_with_the_programs_lock_held_leaves_the_librarys_usable(cell: &Cell) {
    let group = Group::new(Lines::default(), OnSlow::Close);
    let shared = Arc::new(Mutex::new(Vec::new()));
    let (members, people) = (group.clone(), shared.clone());
    let server = cell
        .server()
        .codec(Lines::default())
        .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
            // The program's own lock is poisoned by the panic, and the program's own business.
            let mut people = people.lock().unwrap_or_else(PoisonError::into_inner);
            let remote = cx.remote();
            people.push((members.join(&remote), remote));
            cx.send(line);
            if line == "panic" {
                expected_panic();
            }
        })
        .unwrap();
    let mut others: Vec<_> = (0..3).map(|_| cell.connect(&server)).collect();
    for other in &mut others {
        other.say("hello\n");
        assert_eq!(other.hear().unwrap(), "hello");
    }
    say(cell, &server, "panic", None);
    assert!(shared.is_poisoned());
    group.send("to all").unwrap();
    let people = shared.lock().unwrap_or_else(PoisonError::into_inner);
    for (other, (_, remote)) in others.iter_mut().zip(&*people) {
        assert_eq!(other.hear().unwrap(), "to all");
        remote.send("to you").unwrap();
    }
    let gone = &people[3].1;
    assert!(gone.send("nobody").is_err());
    drop(people);
    others.iter_mut().for_each(|other| assert_eq!(other.hear().unwrap(), "to you"));
    say(cell, &server, "late", Some("late"));
    drop(others);
    stop(&server);
}

/// What a panic may carry.
struct Second;

impl Drop for Second {
    fn drop(&mut self) {
        expected_panic();
    }
}

fn a_panic_that_panics_again_when_it_is_dropped_goes_no_further(cell: &Cell) {
    quiet();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| match line {
            "panic" => std::panic::resume_unwind(Box::new(Second)),
            _ => cx.send(line),
        })
        .unwrap();
    for _ in 0..3 {
        say(cell, &server, "panic", None);
        say(cell, &server, "hello", Some("hello"));
    }
    assert_eq!(stop(&server).counters.panics, 3);
}

fn quiet() {
    let _ = catch_unwind(AssertUnwindSafe(|| expected_panic()));
}

#[test]
fn a_codec_that_panics_for_a_remote_panics_at_the_caller_only() {
    for engine in ENGINES {
        let cell = Cell::new(engine, Kind::Tcp4);
        let (sender, remotes) = std::sync::mpsc::channel();
        let group = Group::new(Mined(Lines::default()), OnSlow::Close);
        let members = group.clone();
        let server = cell
            .server()
            .codec(Mined(Lines::default()))
            .serve(move |line: &str, cx: &mut Context<'_, Mined>| {
                let remote = cx.remote();
                let _ = sender.send((members.join(&remote), remote));
                cx.send(line);
            })
            .unwrap();
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        let (_membership, remote) = matrix::next(&remotes);
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(|| remote.send("encode"))).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| group.send("encode"))).is_err());
            remote.send("to you").unwrap();
            assert_eq!(client.hear().unwrap(), "to you");
            group.send("to all").unwrap();
            assert_eq!(client.hear().unwrap(), "to all");
        }
        drop(client);
        assert_eq!(stop(&server).counters.panics, 0);
    }
}
