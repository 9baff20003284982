//! Timers and limits of time. What is asserted is order and reason: how long it takes is up to the
//! machine, but nothing may come too early.

mod matrix;

use matrix::{Cell, at_a_pace, eventually, name, next, on_engines, on_streams, stop};
use sockeye::codec::Lines;
use sockeye::handler::{CloseReason, Context, Handler, Outcome};
use sockeye::limits::Limits;
use sockeye::server::ServerHandle;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

on_streams! {
    a_peer_that_says_nothing_is_closed,
    half_a_first_message_is_none,
    a_silent_peer_is_closed_and_a_talking_one_is_not,
    a_peer_that_does_not_read_is_cut_off,
}
on_engines! {
    timers_run_out_are_replaced_and_are_taken_back,
    a_handler_may_keep_an_idle_session,
    timers_of_many_sessions_run_out_in_order,
    too_much_output_ends_the_session,
}

/// Sets timers as it is told.
struct Clock {
    told: mpsc::Sender<String>,
    set: Instant,
    keep: u32,
}

impl Handler<Lines> for Clock {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        let (word, millis) = line.split_once(' ').unwrap_or((line, "0"));
        let after = Duration::from_millis(millis.parse()?);
        self.set = cx.now();
        match word {
            "set" => cx.set_timer(after),
            "clear" => cx.clear_timer(),
            "fill" => {
                while cx.room() >= 1001 {
                    cx.send(&"x".repeat(1000));
                }
                self.told.send("filled".to_owned())?;
            }
            "flood" => (0..3000).for_each(|_| cx.send(&"x".repeat(1000))),
            _ => cx.send(line),
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.told.send(format!("timer after {}", self.set.elapsed().as_millis()))?;
        cx.send("timer");
        Ok(())
    }
    fn on_idle(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.told.send("idle".to_owned())?;
        match self.keep.checked_sub(1) {
            Some(keep) => self.keep = keep,
            None => cx.close_idle(),
        }
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(name(reason).to_owned());
    }
}

fn serve(cell: &Cell, limits: Limits, keep: u32) -> (ServerHandle, mpsc::Receiver<String>) {
    let (told_in, told) = mpsc::channel();
    let clock = move |_: &_| Clock { told: told_in.clone(), set: Instant::now(), keep };
    let server = cell.server().limits(limits).codec(Lines::default()).serve_with(clock).unwrap();
    (server, told)
}

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

fn timers_run_out_are_replaced_and_are_taken_back(cell: &Cell) {
    let (server, told) = serve(cell, Limits::default(), 0);
    let mut client = cell.connect(&server);
    let elapsed = |told: String| -> u64 { told["timer after ".len()..].parse().unwrap() };
    client.say("set 20\n");
    assert_eq!(client.hear().unwrap(), "timer");
    assert!(elapsed(next(&told)) >= 20, "too early");
    // Replaced by an earlier one, and by a later one.
    client.say("set 1000000\nset 10\n");
    assert_eq!(client.hear().unwrap(), "timer");
    client.say("set 5\nset 30\n");
    assert_eq!(client.hear().unwrap(), "timer");
    assert!(elapsed(told.iter().nth(1).unwrap()) >= 30, "the first was not replaced");
    // Taken back: the one of another session, set later and longer, comes and this one does not.
    client.say("set 10\nclear\nping\n");
    assert_eq!(client.hear().unwrap(), "ping");
    let mut other = cell.connect(&server);
    other.say("set 40\n");
    assert_eq!(other.hear().unwrap(), "timer");
    client.say("pong\n");
    assert_eq!(client.hear().unwrap(), "pong");
    assert_eq!(told.try_iter().count(), 1);
    drop((client, other));
    stop(&server);
}

fn timers_of_many_sessions_run_out_in_order(cell: &Cell) {
    const SESSIONS: u64 = 50;
    let (server, _told) = serve(cell, Limits::default(), 0);
    let clients: Vec<_> = (0..SESSIONS)
        .rev()
        .map(|n| {
            let mut client = cell.connect(&server);
            client.say(&format!("set {}\n", 10 + n));
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.hear().unwrap(), "timer");
    }
    stop_after(&server);
}

fn stop_after(server: &ServerHandle) {
    eventually("all clients are gone", || server.counters().open == 0);
    stop(server);
}

fn a_peer_that_says_nothing_is_closed(cell: &Cell) {
    at_a_pace(Duration::from_millis(40), |pace| {
        let mut limits = Limits::default();
        limits.first_message_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 0);
        let began = Instant::now();
        pace.step();
        let mut talking = cell.connect(&server);
        talking.say("hello\n");
        assert_eq!(talking.hear().unwrap(), "hello");
        pace.rest();
        let mut silent = cell.connect(&server);
        assert_eq!(silent.rest(), "");
        assert!(began.elapsed() >= pace.limit, "too early");
        drop(silent);
        assert_eq!(next(&told), "first message timeout");
        talking.say("still\n");
        assert_eq!(talking.hear().unwrap(), "still");
        drop(talking);
        stop_after(&server);
    });
}

fn half_a_first_message_is_none(cell: &Cell) {
    let mut limits = Limits::default();
    limits.first_message_timeout = millis(40);
    let (server, told) = serve(cell, limits, 0);
    let mut client = cell.connect(&server);
    // A byte now and then does not move the limit.
    while client.write_all(b"x").is_ok() && told.try_recv().is_err() {
        std::thread::sleep(Duration::from_millis(2));
        if server.counters().open == 0 {
            break;
        }
        if let Ok(reason) = told.try_recv() {
            assert_eq!(reason, "first message timeout");
            break;
        }
    }
    assert!(client.end().unwrap_or_default().is_empty());
    drop(client);
    eventually("it is counted", || server.counters().closed.first_message_timeout == 1);
    stop(&server);
}

fn a_silent_peer_is_closed_and_a_talking_one_is_not(cell: &Cell) {
    at_a_pace(Duration::from_millis(150), |pace| {
        let mut limits = Limits::default();
        limits.idle_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 0);
        let began = Instant::now();
        pace.step();
        let (mut silent, mut talking) = (cell.connect(&server), cell.connect(&server));
        silent.say("hello\n");
        assert_eq!(silent.hear().unwrap(), "hello");
        while told.try_recv().is_err() {
            talking.say("hello\n");
            assert_eq!(talking.hear().unwrap(), "hello");
            pace.step();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(began.elapsed() >= pace.limit, "too early");
        talking.say("still\n");
        assert_eq!(talking.hear().unwrap(), "still");
        pace.rest();
        assert_eq!(silent.rest(), "");
        drop((silent, talking));
        eventually("it is counted", || server.counters().closed.idle_timeout >= 1);
        stop_after(&server);
    });
}

fn a_handler_may_keep_an_idle_session(cell: &Cell) {
    at_a_pace(Duration::from_millis(20), |pace| {
        let mut limits = Limits::default();
        limits.idle_timeout = Some(pace.limit);
        let (server, told) = serve(cell, limits, 3);
        pace.step();
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        pace.rest();
        assert_eq!(client.rest(), "");
        drop(client);
        let told: Vec<String> = (0..5).map(|_| next(&told)).collect();
        assert_eq!(told, ["idle", "idle", "idle", "idle", "idle timeout"]);
        stop(&server);
    });
}

fn a_peer_that_does_not_read_is_cut_off(cell: &Cell) {
    at_a_pace(Duration::from_millis(20), |pace| {
        let mut limits = Limits::default();
        limits.write_stall_timeout = Some(pace.limit * 2);
        limits.idle_timeout = Some(pace.limit);
        limits.output_bytes_max = 64 * 1024 * 1024;
        let (server, told) = serve(cell, limits, 0);
        pace.step();
        let mut client = cell.connect(&server);
        client.say("fill\n");
        assert_eq!(next(&told), "filled");
        pace.rest();
        assert_eq!(next(&told), "write stall", "the idle limit does not run while output waits");
        // What the kernel had taken may still be there; the end is.
        let mut piece = vec![0; 1 << 20];
        while client.read(&mut piece).is_ok_and(|length| length > 0) {}
        stop(&server);
    });
}

fn too_much_output_ends_the_session(cell: &Cell) {
    let (server, told) = serve(cell, Limits::default(), 0);
    let mut client = cell.connect(&server);
    client.say("flood\n");
    assert_eq!(next(&told), "output full");
    assert!(client.end().is_err(), "it ends with a reset");
    stop(&server);
}
