//! The chat without a server: its rules, and two instances that talk through pipes.
//!
//! Over multicast, with links that go down, it is driven by the proof of the same name.
#![cfg(target_os = "linux")]

#[path = "../examples/lan_chat/beacon.rs"]
#[allow(dead_code, reason = "the rules are tested here, the sockets by the proof")]
mod beacon;
#[path = "../examples/chat/mod.rs"]
mod chat;
#[path = "../examples/lan_chat/circle.rs"]
#[allow(dead_code, reason = "as above")]
mod circle;

use beacon::Beacon;
use chat::name::Name;
use circle::{Circle, Effect, Id, Link, Target};
use sockeye::Endpoint;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

// ---- the rules ----

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn circle(id: u64, nick: &str, named: &[&str], now: Instant) -> Circle {
    let named = named.iter().map(|text| text.parse::<Endpoint>().unwrap()).collect();
    Circle::new(Id(id), name(nick), named, now)
}

fn effects(circle: &mut Circle) -> Vec<Effect> {
    circle.effects.drain(..).collect()
}

fn printed(circle: &mut Circle) -> Vec<String> {
    let texts = effects(circle).into_iter().filter_map(|effect| match effect {
        Effect::Print(text) => Some(text),
        _ => None,
    });
    texts.collect()
}

fn hello(id: u64, number: u64, nick: &str) -> String {
    format!("lan-chat 1 {} {number} {nick}", Id(id))
}

/// A circle in which ben, of id 9, is present over connection 1.
fn with_ben(now: Instant) -> Circle {
    let mut circle = circle(5, "ann", &[], now);
    circle.opened(1, None, "192.0.2.9:7000".to_owned(), now);
    circle.line(1, &hello(9, 1, "ben"), now);
    assert_eq!(printed(&mut circle), ["* ben joined (192.0.2.9:7000)"]);
    circle
}

#[test]
fn a_beacon_reads_as_it_was_written_and_nothing_else_does() {
    let beacon = Beacon { id: Id(0xabc), port: 7000, nick: name("ann") };
    assert_eq!(beacon.to_string(), "lan-chat 1 0000000000000abc 7000 ann");
    assert_eq!(Beacon::parse(beacon.to_string().as_bytes()), Some(beacon));
    for other in [
        "",
        "lan-chat 2 0000000000000abc 7000 ann",
        "lan-chat 1 0000000000000abc 0 ann",
        "lan-chat 1 0000000000000abc 70000 ann",
        "lan-chat 1 abc 7000 ann",
        "lan-chat 1 +000000000000abc 7000 ann",
        "lan-chat 1 0000000000000abc 7000 an n",
        "lan-chat 1 0000000000000abc 7000 \u{1b}[2J",
        "lan-chat 1 0000000000000abc 7000",
    ] {
        assert_eq!(Beacon::parse(other.as_bytes()), None, "{other}");
    }
    assert_eq!(Beacon::parse(b"lan-chat 1 0000000000000abc 7000 \xff"), None);
}

#[test]
fn whose_id_is_lower_connects_and_the_other_after_three_seconds() {
    let now = Instant::now();
    let from: SocketAddr = "192.0.2.9:17474".parse().unwrap();
    let beacon = |id| Beacon { id: Id(id), port: 7000, nick: name("ben") };
    let mut ann = circle(5, "ann", &[], now);
    ann.sighted(beacon(5), from, now);
    assert_eq!(effects(&mut ann), [], "its own beacon");
    ann.sighted(beacon(9), from, now);
    ann.sighted(beacon(9), from, now);
    let at = || "tcp://192.0.2.9:7000".parse().unwrap();
    assert_eq!(effects(&mut ann), [Effect::Dial(Target::Sighted(Id(9)), at())], "once");
    ann.dial_failed(Target::Sighted(Id(9)), "refused", 0, now);
    assert_eq!(effects(&mut ann), [], "nobody is told of what nobody asked for");
    ann.sighted(beacon(9), from, now);
    assert_eq!(effects(&mut ann).len(), 1, "the next beacon is the next try");

    for later in [0, 1, 2] {
        ann.sighted(beacon(2), from, now + later * SECOND);
        assert_eq!(effects(&mut ann), []);
    }
    ann.sighted(beacon(2), from, now + 3 * SECOND);
    assert_eq!(effects(&mut ann), [Effect::Dial(Target::Sighted(Id(2)), at())]);
}

#[test]
fn a_link_local_sender_is_answered_on_its_interface() {
    let now = Instant::now();
    let mut ann = circle(5, "ann", &[], now);
    let beacon = Beacon { id: Id(9), port: 7000, nick: name("ben") };
    ann.sighted(beacon, "[fe80::9%3]:17474".parse().unwrap(), now);
    let at = "tcp://[fe80::9%3]:7000".parse().unwrap();
    assert_eq!(effects(&mut ann), [Effect::Dial(Target::Sighted(Id(9)), at)]);
}

/// Both connect at once: connection 1 is that of ann, whose id is lower, 2 that of ben.
#[test]
fn of_two_connections_both_sides_keep_the_same() {
    let now = Instant::now();
    for order in 0..4 {
        let mut kept = Vec::new();
        for (own, other, nick) in [(5, 9, "ann"), (9, 5, "ben")] {
            let mut circle = circle(own, nick, &["tcp://192.0.2.1:7000"], now);
            let target = |link: Link| (own == 5) == (link == 1);
            for link in [1, 2] {
                let target = target(link).then_some(Target::Named(0));
                circle.opened(link, target, "there".to_owned(), now);
            }
            let reversed = order & (if own == 5 { 1 } else { 2 }) != 0;
            for link in if reversed { [2, 1] } else { [1, 2] } {
                let number = u64::from(!target(link));
                circle.line(link, &hello(other, number, "other"), now);
            }
            let closed: Vec<Link> = effects(&mut circle)
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::Close(link) => Some(link),
                    _ => None,
                })
                .collect();
            kept.push(closed);
        }
        assert_eq!(kept, [[2], [2]], "order {order}");
    }
}

#[test]
fn a_silent_connection_is_lost_and_what_it_owed_is_reported() {
    let now = Instant::now();
    let mut ann = with_ben(now);
    ann.say("one");
    ann.say("two");
    ann.line(1, "got 1", now + SECOND);
    assert!(!ann.is_quiet());
    ann.tick(0, now + 4 * SECOND);
    assert!(effects(&mut ann).iter().all(|effect| !matches!(effect, Effect::Print(_))));
    ann.tick(0, now + 5 * SECOND);
    let lost = ["* ben is lost: no sign of life", "* not delivered to ben: two"];
    assert_eq!(printed(&mut ann), lost);
    ann.say("three");
    assert_eq!(printed(&mut ann), ["* not delivered to ben: three"]);
    ann.opened(2, None, "192.0.2.9:7000".to_owned(), now + 6 * SECOND);
    ann.line(2, &hello(9, 2, "ben"), now + 6 * SECOND);
    assert_eq!(printed(&mut ann), ["* ben is back (192.0.2.9:7000)"]);
    ann.line(2, "bye", now + 6 * SECOND);
    ann.closed(2, "closed by the peer", 0, now + 6 * SECOND);
    ann.say("four");
    let alone = "* not delivered to anybody, nobody is here: four";
    assert_eq!(printed(&mut ann), ["* ben left", alone]);
}

#[test]
fn a_new_connection_in_time_loses_and_doubles_nothing() {
    let now = Instant::now();
    let mut ann = with_ben(now);
    ann.say("one");
    ann.line(1, "say 1 first", now);
    effects(&mut ann);
    ann.opened(2, None, "192.0.2.9:7000".to_owned(), now);
    effects(&mut ann);
    ann.line(2, &hello(9, 2, "ben"), now);
    let again = [Effect::Send(2, "say 1 one".to_owned()), Effect::Close(1)];
    assert_eq!(effects(&mut ann), again);
    ann.line(2, "say 1 first", now);
    ann.line(2, "say 2 second", now);
    ann.closed(1, "finished", 0, now);
    assert_eq!(printed(&mut ann), ["ben: second"]);
}

#[test]
fn whoever_has_left_turns_away_what_comes_then() {
    let now = Instant::now();
    let mut ann = circle(5, "ann", &["tcp://192.0.2.9:7000"], now);
    ann.tick(0, now);
    let at = || "tcp://192.0.2.9:7000".parse().unwrap();
    assert_eq!(effects(&mut ann), [Effect::Dial(Target::Named(0), at())]);
    ann.opened(1, None, "there".to_owned(), now);
    ann.line(1, &hello(9, 1, "ben"), now);
    effects(&mut ann);
    ann.say("no receipt");
    effects(&mut ann);
    ann.leave();
    let bye = Effect::Send(1, "bye".to_owned());
    let report = Effect::Print("* not delivered to ben: no receipt".to_owned());
    assert_eq!(effects(&mut ann), [report, bye, Effect::Close(1)]);
    // The connect under way is cancelled, another one has just come in.
    ann.dial_failed(Target::Named(0), "cancelled", 0, now);
    ann.opened(2, Some(Target::Named(0)), "there".to_owned(), now);
    ann.line(2, &hello(9, 2, "ben"), now);
    ann.closed(2, "finished", 0, now);
    let beacon = Beacon { id: Id(9), port: 7000, nick: name("ben") };
    ann.sighted(beacon, "192.0.2.9:17474".parse().unwrap(), now);
    ann.tick(0, now + 60 * SECOND);
    assert_eq!(effects(&mut ann), [Effect::Close(2)]);
}

#[test]
fn what_strangers_send_is_shown_inert_or_not_at_all() {
    let now = Instant::now();
    let mut ann = with_ben(now);
    ann.line(1, "say 1 a\u{1b}[2J\u{7}\u{9b}\u{202e}\u{200b}\u{feff}z", now);
    let inert = "ben: a\\u{1b}[2J\\u{7}\\u{9b}\\u{202e}\\u{200b}\\u{feff}z";
    assert_eq!(printed(&mut ann), [inert]);
    for line in ["nick \u{1b}c", "say", "say x y", "got", "got -1", "", " ", "me 0 x"] {
        ann.line(1, line, now);
        assert_eq!(printed(&mut ann), [""; 0], "{line:?}");
    }
    for first in ["GET / HTTP/1.1", "", "lan-chat 2 0000000000000009 1 ben", "lan-chat 1 9 1 ben"] {
        ann.opened(7, None, String::new(), now);
        effects(&mut ann);
        ann.line(7, first, now);
        assert_eq!(effects(&mut ann), [Effect::Abort(7)], "{first:?}");
    }
    // Whoever has a nick twice is told apart.
    ann.opened(3, None, "there".to_owned(), now);
    ann.line(3, &hello(0xabcd << 48, 1, "Ann"), now);
    assert_eq!(printed(&mut ann), ["* Ann#abcd joined (there)"]);
}

// ---- through pipes ----

struct Instance {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Instance {
    fn start(arguments: &[&str]) -> Instance {
        let mut child = Command::new(example())
            .arg("--plain")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Instance { input: child.stdin.take(), child, lines, heard: Vec::new() }
    }

    fn type_bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits for a line with this in it.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("`{text}` did not come; what came: {:#?}", self.heard);
            };
            self.heard.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Ends its input, and waits until it ends.
    fn end(mut self) -> Vec<String> {
        self.input = None;
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.heard.extend(self.lines.iter());
        std::mem::take(&mut self.heard)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example beside this test. A test that runs alone does not have it built.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        build.args(["build", "--quiet", "--example", "lan_chat"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    });
    folder.join("examples/lan_chat")
}

#[test]
fn two_instances_talk_without_multicast_and_leave_with_success() {
    let mut ann = Instance::start(&["--nick", "ann", "--listen", "127.0.0.1:0", "--no-multicast"]);
    let listening = ann.expect("ann, listening on tcp://127.0.0.1:");
    let at = listening.split("tcp://").nth(1).unwrap().split(' ').next().unwrap();
    let mut ben = Instance::start(&["--nick", "ben", "--listen", "127.0.0.1:0", "--connect", at]);
    // It is typed before there is anybody, and waits.
    ben.type_bytes(b"good morning\n");
    ann.expect("* ben joined (127.0.0.1:");
    ann.expect("ben: good morning");
    ben.expect("* ann joined (127.0.0.1:");
    ann.type_bytes("chào Ben\n".as_bytes());
    ben.expect("ann: chào Ben");
    ben.type_bytes(
        b"/me waves\n/nick benny\nesc \x1b[31m csi \xc2\x9b rlo \xe2\x80\xae bad \xff\n",
    );
    ann.expect("* ben waves");
    ann.expect("* ben is now benny");
    ann.expect("benny: esc \\u{1b}[31m csi \\u{9b} rlo \\u{202e} bad \u{fffd}");
    ann.type_bytes(b"last words");
    let heard = ann.end();
    assert!(!heard.iter().any(|line| line.contains("not delivered")), "{heard:#?}");
    ben.expect("ann: last words");
    ben.expect("* ann left");
    ben.type_bytes(b"anybody?\n");
    ben.expect("* not delivered to anybody, nobody is here: anybody?");
    ben.end();
}

#[test]
fn whoever_was_named_is_tried_again_until_it_is_there() {
    // A port on which nobody listens for now.
    let at = {
        let listener = sockeye::socket::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let mut ben = Instance::start(&["--nick", "ben", "--listen", "127.0.0.1:0", "--connect", &at]);
    ben.expect("trying again");
    let mut ann = Instance::start(&["--nick", "ann", "--listen", &at, "--no-multicast"]);
    ben.expect("* ann joined");
    ann.expect("* ben joined");
    ann.end();
    ben.expect("* ann left");
    let mut ann = Instance::start(&["--nick", "ann", "--listen", &at, "--no-multicast"]);
    ben.expect("* ann joined");
    ann.expect("* ben joined");
    ann.type_bytes(b"/quit\n");
    ben.expect("* ann left");
    ann.end();
    let heard = ben.end();
    assert_eq!(heard.iter().filter(|line| line.contains("trying again")).count(), 1, "{heard:#?}");
}
