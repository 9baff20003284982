//! Handlers that misbehave, and those beside them that must not notice.

mod matrix;

use matrix::{Cell, Random, Wire, eventually, expected_panic, on_engines, on_streams, stop};
use sockeye::codec::Lines;
use sockeye::engine::Threads;
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::limits::Limits;
use sockeye::server::{Server, ServerHandle};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

on_streams! {
    a_panic_anywhere_closes_only_its_connection,
    open_and_close_are_called_once_for_each_connection_under_random_resets,
    an_error_of_a_handler_ends_its_session_after_the_replies,
}
on_engines! {
    a_flood_leaves_others_their_turn,
    a_timer_of_no_time_leaves_others_their_turn,
    a_reply_without_end_leaves_others_their_turn,
    a_session_that_ends_another_never_gives_its_bytes_to_a_third,
}

// ---- HND-01, HND-02 -----------------------------------------------------------------------------

/// Panics where its first line says.
struct Bomb {
    place: String,
    closed: Arc<AtomicUsize>,
}

impl Bomb {
    fn at(&self, place: &str) {
        if self.place == place {
            expected_panic();
        }
    }
}

impl Handler<Lines> for Bomb {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send("welcome");
        self.at("open");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        if self.place.is_empty() {
            self.place = line.to_owned();
        }
        self.at("frame");
        match line {
            "wake" => cx.remote().wake(),
            "timer" => cx.set_timer(Duration::ZERO),
            "drain" => {
                // Fill it up, so that it has to drain.
                while cx.room() > 0 {
                    cx.send(&"x".repeat(cx.room().saturating_sub(1).min(8000)));
                }
            }
            "close" | "drop" => cx.finish(),
            _ => {}
        }
        Ok(())
    }
    fn on_drain(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("drain");
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("wake");
        Ok(())
    }
    fn on_timer(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("timer");
        Ok(())
    }
    fn on_idle(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.at("idle");
        Ok(())
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.at("eof");
        cx.finish();
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        self.at("close");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.at("drop");
    }
}

fn a_panic_anywhere_closes_only_its_connection(cell: &Cell) {
    let next_place = Arc::new(Mutex::new(String::new()));
    let closed = Arc::new(AtomicUsize::new(0));
    let (places, closes) = (next_place.clone(), closed.clone());
    let mut limits = Limits::default();
    limits.idle_timeout = Some(Duration::from_millis(20));
    let server = cell
        .server()
        .limits(limits)
        .codec(Lines::default())
        .serve_with(move |_| {
            let place = places.lock().unwrap().clone();
            if place == "factory" {
                expected_panic();
            }
            Bomb { place, closed: closes.clone() }
        })
        .unwrap();
    let mut other = cell.connect(&server);
    assert_eq!(other.hear().unwrap(), "welcome");
    other.say("none\n");
    assert_eq!(other.hear().unwrap(), "none");

    let early = ["factory", "open"];
    let late = ["frame", "drain", "wake", "timer", "idle", "eof", "close", "drop"];
    for (index, place) in early.into_iter().chain(late).enumerate() {
        let is_early = early.contains(&place);
        *next_place.lock().unwrap() = if is_early { place.to_owned() } else { String::new() };
        let before = closed.load(Ordering::SeqCst);
        let mut client = cell.connect(&server);
        match place {
            "factory" => assert!(client.end().unwrap_or_default().is_empty()),
            "open" => assert_eq!(client.rest(), "welcome\n", "it was whole before the panic"),
            _ => {
                client.say(&format!("{place}\n"));
                if place == "eof" {
                    client.shutdown(Shutdown::Write);
                }
                let heard = client.rest();
                let replies = format!("welcome\n{place}\n");
                assert!(heard.starts_with(&replies), "{place}: {:.100}", heard);
                assert!(place == "drain" || heard == replies, "{place}: {:.100}", heard);
            }
        }
        drop(client);
        let panics = index as u64 + 1;
        eventually("the panic is counted", || server.counters().panics == panics);
        eventually("only the other is left", || server.counters().open == 1);
        let told = closed.load(Ordering::SeqCst) - before;
        assert_eq!(told, usize::from(matches!(place, "close" | "drop")), "on_close: {place}");
        other.say("still here\n");
        assert_eq!(other.hear().unwrap(), "still here");
    }
    let counted = server.counters().closed;
    assert_eq!((counted.panicked, counted.finished, counted.transport), (7, 2, 0));
    drop(other);
    stop(&server);
}

#[test]
fn as_many_panics_as_places_leave_every_place_usable() {
    const PLACES: usize = 8;
    let server = Server::tcp("127.0.0.1:0")
        .engine(Threads::at_most(PLACES))
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| match line {
            "panic" => expected_panic(),
            _ => cx.send(line),
        })
        .unwrap();
    for _ in 0..3 {
        let connect = |_| {
            let client = matrix::connect(&server).unwrap();
            client.patient();
            client
        };
        let mut bad: Vec<Wire> = (0..PLACES).map(connect).collect();
        bad.iter_mut().for_each(|client| client.say("panic\n"));
        bad.iter_mut().for_each(|client| assert_eq!(client.rest(), ""));
        drop(bad);
        let mut good: Vec<Wire> = (0..PLACES).map(connect).collect();
        good.iter_mut().for_each(|client| client.say("hello\n"));
        good.iter_mut().for_each(|client| assert_eq!(client.hear().unwrap(), "hello"));
    }
    assert_eq!(server.counters().panics, 3 * PLACES as u64);
    stop(&server);
}

fn an_error_of_a_handler_ends_its_session_after_the_replies(cell: &Cell) {
    let server = cell
        .server()
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| -> Outcome {
            cx.send(line);
            let number: u32 = line.parse()?;
            cx.send(&format!("{}", number + 1));
            Ok(())
        })
        .unwrap();
    let mut client = cell.connect(&server);
    client.say("1\n2\nthree\n4\n");
    assert_eq!(client.rest(), "1\n2\n2\n3\nthree\n");
    drop(client);
    eventually("it is counted", || server.counters().closed.handler == 1);
    stop(&server);
}

// ---- HND-06 -------------------------------------------------------------------------------------

#[derive(Default)]
struct Calls {
    opened: AtomicUsize,
    closed: AtomicUsize,
    twice: AtomicUsize,
}

struct Once {
    calls: Arc<Calls>,
    open: bool,
    closed: bool,
}

impl Handler<Lines> for Once {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.calls.twice.fetch_add(usize::from(self.open), Ordering::SeqCst);
        self.calls.opened.fetch_add(1, Ordering::SeqCst);
        self.open = true;
        cx.send("welcome");
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        (0..20).for_each(|_| cx.send(line));
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        let wrong = self.closed || !self.open;
        self.calls.twice.fetch_add(usize::from(wrong), Ordering::SeqCst);
        self.calls.closed.fetch_add(1, Ordering::SeqCst);
        self.closed = true;
    }
}

fn open_and_close_are_called_once_for_each_connection_under_random_resets(cell: &Cell) {
    const CLIENTS: usize = 400;
    let calls = Arc::new(Calls::default());
    let shared = calls.clone();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve_with(move |_| Once { calls: shared.clone(), open: false, closed: false })
        .unwrap();
    let mut random = Random(6);
    for _ in 0..CLIENTS {
        let mut client = cell.connect(&server);
        for _ in 0..random.below(4) {
            let _ = client.write_all(&b"hello\nhello\nhello\n"[..1 + random.below(18)]);
        }
        match random.below(4) {
            0 => drop(client),
            1 => client.reset(),
            2 => {
                let _ = client.read(&mut [0; 10]);
                client.reset();
            }
            _ => {
                client.shutdown(Shutdown::Write);
                let _ = client.end();
            }
        }
    }
    eventually("all were accepted", || server.counters().accepted == CLIENTS as u64);
    let report = stop(&server);
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!((count(&calls.opened), count(&calls.closed)), (CLIENTS, CLIENTS));
    assert_eq!(count(&calls.twice), 0);
    assert_eq!(report.counters.closed.total(), CLIENTS as u64);
}

// ---- EVL-02 -------------------------------------------------------------------------------------

fn echo(line: &str, cx: &mut Context<'_, Lines>) {
    cx.send(line);
}

/// Asks and is answered, a hundred times.
fn is_served(client: &mut Wire) {
    for round in 0..100 {
        client.say(&format!("honest {round}\n"));
        assert_eq!(client.hear().unwrap(), format!("honest {round}"));
    }
}

fn a_flood_leaves_others_their_turn(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve(echo).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let flooders: Vec<_> = (0..2)
        .map(|_| {
            let (mut client, enough) = (cell.connect(&server), enough.clone());
            let mut reads = client.try_clone();
            let reader = thread::spawn(move || io::copy(&mut reads, &mut io::sink()));
            thread::spawn(move || {
                let flood = "flood\n".repeat(10_000);
                while !enough.load(Ordering::Relaxed) {
                    client.say(&flood);
                }
                client.shutdown(Shutdown::Write);
                reader.join().unwrap().unwrap();
            })
        })
        .collect();
    is_served(&mut cell.connect(&server));
    enough.store(true, Ordering::Relaxed);
    flooders.into_iter().for_each(|flooder| flooder.join().unwrap());
    stop(&server);
}

struct Restless(bool);

impl Handler<Lines> for Restless {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        match line {
            "rest" => self.0 = false,
            "hurry" => {
                self.0 = true;
                cx.set_timer(Duration::ZERO);
            }
            _ => {}
        }
        cx.send(line);
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        if self.0 {
            cx.set_timer(Duration::ZERO);
        }
        Ok(())
    }
}

fn a_timer_of_no_time_leaves_others_their_turn(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve_with(|_| Restless(false)).unwrap();
    let (mut hurried, mut other) = (cell.connect(&server), cell.connect(&server));
    hurried.say("hurry\n");
    assert_eq!(hurried.hear().unwrap(), "hurry");
    is_served(&mut other);
    hurried.say("rest\n");
    assert_eq!(hurried.hear().unwrap(), "rest");
    drop((hurried, other));
    stop(&server);
}

/// Sends for ever to who asks for it.
struct Endless(bool);

impl Handler<Lines> for Endless {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        self.0 |= line == "endless";
        cx.send(line);
        self.on_drain(cx)
    }
    fn on_drain(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        while self.0 && cx.room() > 100_000 {
            cx.send(&"x".repeat(8000));
        }
        Ok(())
    }
}

fn a_reply_without_end_leaves_others_their_turn(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve_with(|_| Endless(false)).unwrap();
    let (mut greedy, mut other) = (cell.connect(&server), cell.connect(&server));
    greedy.say("endless\n");
    let mut reads = greedy.try_clone();
    let reader = thread::spawn(move || {
        let _ = io::copy(&mut reads, &mut io::sink());
    });
    is_served(&mut other);
    greedy.shutdown(Shutdown::Both);
    reader.join().unwrap();
    drop((greedy, other));
    stop(&server);
}

// ---- EVL-01 -------------------------------------------------------------------------------------

/// Everybody knows everybody's remote, by name.
#[derive(Default)]
struct Registry(Mutex<Vec<(String, Remote<Lines>)>>);

struct Member {
    name: Option<String>,
    registry: Arc<Registry>,
    strangers: mpsc::Sender<String>,
}

impl Handler<Lines> for Member {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "name" => {
                self.name = Some(rest.to_owned());
                self.registry.0.lock().unwrap().push((rest.to_owned(), cx.remote()));
                cx.send("named");
            }
            // Closes the other, and goes on writing to whoever has that name.
            "close" => {
                let registry = self.registry.0.lock().unwrap();
                for (_, remote) in registry.iter().filter(|(name, _)| name == rest) {
                    let _ = remote.send(&format!("last words to {rest}"));
                    remote.close();
                    remote.wake();
                    let _ = remote.send(&format!("too late for {rest}"));
                }
                cx.send("closed");
            }
            "from" if Some(rest) != self.name.as_deref() => {
                let name = self.name.as_deref().unwrap_or("nobody");
                let _ = self.strangers.send(format!("{name} got what {rest} said"));
            }
            _ => {}
        }
        Ok(())
    }
}

fn a_session_that_ends_another_never_gives_its_bytes_to_a_third(cell: &Cell) {
    const ROUNDS: usize = 300;
    let registry = Arc::new(Registry::default());
    let (strangers, strange) = mpsc::channel();
    let shared = registry.clone();
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_millis(1);
    let server: ServerHandle = cell
        .server()
        .limits(limits)
        .codec(Lines::default())
        .serve_with(move |_| Member {
            name: None,
            registry: shared.clone(),
            strangers: strangers.clone(),
        })
        .unwrap();
    let join = |name: &str| {
        let mut client = cell.connect(&server);
        client.say(&format!("name {name}\n"));
        assert_eq!(client.hear().unwrap(), "named");
        client
    };
    let mut a = join("a");
    for round in 0..ROUNDS {
        let mut b = join("b");
        // B's bytes and the order to close B are there at once; C comes for B's descriptor.
        a.say("close b\n");
        let _ = b.write_all(&b"from b\n".repeat(20));
        let mut c = join(&format!("c{round}"));
        c.say(&format!("from c{round}\n"));
        assert_eq!(a.hear().unwrap(), "closed");
        assert_eq!(b.hear().as_deref(), Some("last words to b"));
        drop(b);
        c.shutdown(Shutdown::Write);
        assert_eq!(c.rest(), "", "C heard what was not for C");
        registry.0.lock().unwrap().retain(|(name, _)| name == "a");
    }
    drop(a);
    stop(&server);
    let strange: Vec<String> = strange.try_iter().collect();
    assert!(strange.is_empty(), "{strange:?}");
}
