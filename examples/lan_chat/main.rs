//! A chat on a local network: no server, and no address to type.
//!
//!     cargo run --example lan_chat -- --nick ann
//!
//! Start it on two machines of one network, or twice on one, and type. Everybody who is there gets each
//! line; `/me waves`, `/who`, `/nick NAME`, `/help` and `/quit` are commands. End of input, `/quit` and
//! Ctrl-C leave, after what was said has arrived.
//!
//! ```text
//! 12:03:41 * ann, listening on tcp://[::]:41211 (whoever reaches this machine can connect)
//! 12:03:41 * looking for others: UDP port 17474, groups 239.255.76.67 and ff12::6c61:6e63, on lo, eth0
//! 12:03:42 * ben joined (192.168.1.7:38214)
//! 12:03:50 ben: hello
//! ```
//!
//! They find each other by [`beacon`]s, multicast on every interface, and talk over TCP: each pair over
//! one connection, run by one engine whether it was made from here or from there. Where multicast does not
//! get through, `--connect HOST:PORT` names a machine; it is for that pair, and turns the beacons off.
//! A connection that is silent for four seconds is given up and made anew when the next beacon comes.
//! Every message wants a receipt: what got none before the connection was lost, and what is said to
//! somebody who is lost, is reported as not delivered. (If only the receipt was lost, it was.)
//! [`circle`] has the rules.
//!
//! The protocol is lines, so `nc` can speak it. First `lan-chat 1 ID NUMBER NICK`: the version, 16
//! hexadecimal digits that are the instance, which of its connections this is (0 for whoever accepted).
//! Then `say N TEXT` and `me N TEXT`, answered by `got N`; `nick NAME`, `ping`, `bye`.
//!
//! Nothing is encrypted and nobody proves who they are: it is for networks whose people you trust. What
//! peers send is made inert before it is shown ([`words`]). Times are UTC.

mod beacon;
mod circle;
mod words;

use beacon::{Beacon, Ether};
use circle::{Circle, Effect, Id, Link, TEXT_BYTES_MAX, Target};
use sockeye::codec::Lines;
use sockeye::engine::Events;
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::limits::Limits;
use sockeye::socket::Options;
use sockeye::{AnyAddr, Client, Endpoint, Peer, Server, ServerHandle};
use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const USAGE: &str = "usage: lan_chat [--nick NAME] [--listen HOST:PORT] [--connect HOST:PORT]... [--no-multicast]
                [--beacon-port PORT] [--plain]
  --nick          your name; without it that of the user
  --listen        where others connect, *:0 without it
  --connect       a machine that multicast does not reach; may be given several times, turns the beacons off
  --no-multicast  no beacons: others connect to this one
  --beacon-port   the UDP port of the beacons, 17474 without it
  --plain         lines in and lines out, as it is without a terminal";

fn main() {
    if let Err(error) = run() {
        eprintln!("lan_chat: {error}");
        std::process::exit(1);
    }
}

struct Arguments {
    nick: String,
    listen: Endpoint,
    named: Vec<Endpoint>,
    multicast: bool,
    beacon_port: u16,
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut nick, mut listen) = (None, "*:0".to_owned());
    let (mut named, mut multicast, mut beacon_port) = (Vec::new(), true, beacon::PORT);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("nick") => nick = Some(words::nick(&arguments.value()?.string()?)?),
            Long("listen") => listen = arguments.value()?.string()?,
            Long("connect") => named.push(tcp(&arguments.value()?.string()?)?),
            Long("no-multicast") => multicast = false,
            Long("beacon-port") => beacon_port = arguments.value()?.parse()?,
            Long("plain") => {}
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let user = || words::nick(&std::env::var("USER").unwrap_or_default());
    let nick = nick.or_else(|| user().ok()).unwrap_or_else(|| "somebody".to_owned());
    multicast &= named.is_empty();
    Ok(Some(Arguments { nick, listen: tcp(&listen)?, named, multicast, beacon_port }))
}

fn tcp(text: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(format!("tcp://{}", text.trim_start_matches("tcp://")).parse()?)
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = arguments()? else { return Ok(()) };
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let (quit, quits) = mpsc::channel::<()>();
    let (out, lines) = mpsc::sync_channel(LINES_MAX);
    let printer = thread::spawn({
        let quit = quit.clone();
        move || print(&lines, &quit)
    });

    let server = Server::on(&arguments.listen).engine(Events::workers(1)).codec(codec());
    let circle = Circle::new(Id(random()), arguments.nick, arguments.named, Instant::now());
    let chat = Chat::new(circle, server.handle(), out);
    let accepting = chat.clone();
    let server = server.limits(limits()).options(options()).serve_with(move |_| Talk {
        chat: accepting.clone(),
        target: None,
        link: None,
    })?;
    let at = server.local_endpoints()[0].clone();
    let Some(AnyAddr::Ip(local)) = at.to_addr() else { return Err("this is for TCP".into()) };

    chat.tell(|circle, _| {
        let who = match local.ip() {
            ip if ip.is_loopback() => "this machine alone",
            _ => "whoever reaches this machine",
        };
        circle.notice(format!("{}, listening on {at} ({who} can connect)", circle.nick));
    });
    if arguments.multicast {
        look(&chat, arguments.beacon_port, local.ip(), local.port())?;
    }
    let (ticking, hint) = (chat.clone(), arguments.multicast.then_some(arguments.beacon_port));
    thread::spawn(move || tick(&ticking, hint, local.port()));
    let typing = chat.clone();
    let typed = quit.clone();
    thread::spawn(move || {
        if let Err(error) = read(&typing) {
            typing.tell(|circle, _| circle.notice(format!("standard input: {error}")));
        }
        let _ = typed.send(());
    });
    thread::spawn(move || {
        signals.forever().next();
        let _ = quit.send(());
    });

    let _ = quits.recv();
    chat.wait(DRAIN, |circle| circle.is_quiet());
    chat.tell(|circle, _| circle.leave());
    server.stop(Duration::from_secs(1));
    server.join()?;
    chat.inner().out = None;
    printer.join().map_err(|_| "the printer panicked".into())
}

// ---- the chat, and what it does ----

/// What all threads share. Nothing blocks under its lock.
struct Chat {
    inner: Mutex<Inner>,
    changed: Condvar,
    server: ServerHandle,
}

struct Inner {
    circle: Circle,
    remotes: HashMap<Link, Remote<Lines>>,
    links: Link,
    out: Option<SyncSender<String>>,
    /// Lines for which a slow terminal had no room.
    unshown: usize,
}

impl Chat {
    fn new(circle: Circle, server: ServerHandle, out: SyncSender<String>) -> Arc<Chat> {
        let (remotes, out) = (HashMap::new(), Some(out));
        let inner = Inner { circle, remotes, links: 0, out, unshown: 0 };
        Arc::new(Chat { inner: Mutex::new(inner), changed: Condvar::new(), server })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the circle what happened, and does what it wants done.
    fn tell(self: &Arc<Chat>, what: impl FnOnce(&mut Circle, Instant)) {
        let mut inner = self.inner();
        what(&mut inner.circle, Instant::now());
        while let Some(effect) = inner.circle.effects.pop_front() {
            match effect {
                Effect::Print(text) => inner.print(text),
                Effect::Send(link, line) => {
                    let remote = inner.remotes.get(&link);
                    // Who does not read is lost, and then told of.
                    if remote.is_some_and(|remote| remote.send(&line).is_err()) {
                        inner.end(link, Remote::abort);
                    }
                }
                Effect::Close(link) => inner.end(link, Remote::close),
                Effect::Abort(link) => inner.end(link, Remote::abort),
                Effect::Dial(target, endpoint) => {
                    if let Err(error) = self.dial(target, endpoint) {
                        let (error, now) = (error.to_string(), Instant::now());
                        inner.circle.dial_failed(target, &error, random(), now);
                    }
                }
            }
        }
        self.changed.notify_all();
    }

    fn dial(self: &Arc<Chat>, target: Target, endpoint: Endpoint) -> Result<(), sockeye::Error> {
        let client = Client::to(endpoint).codec(codec()).options(options()).timeout(DIAL);
        let (talk, chat) =
            (Talk { chat: self.clone(), target: Some(target), link: None }, self.clone());
        self.server.connect(client, talk, move |connected| {
            if let Err(error) = connected {
                let error = error.to_string();
                chat.tell(|circle, now| circle.dial_failed(target, &error, random(), now));
            }
        })
    }

    /// Waits until it is so, or for as long.
    fn wait(&self, longest: Duration, is_so: impl Fn(&Circle) -> bool) {
        let not_yet = |inner: &mut Inner| !is_so(&inner.circle);
        let waited = self.changed.wait_timeout_while(self.inner(), longest, not_yet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Inner {
    fn print(&mut self, text: String) {
        let Some(out) = &self.out else { return };
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = time.as_secs() % 86_400;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let time = format!("{hours:02}:{minutes:02}:{seconds:02}");
        if self.unshown > 0
            && out.try_send(format!("{time} * {} lines not shown", self.unshown)).is_ok()
        {
            self.unshown = 0;
        }
        if out.try_send(format!("{time} {text}")).is_err() {
            self.unshown += 1;
        }
    }

    fn end(&mut self, link: Link, end: impl FnOnce(&Remote<Lines>)) {
        if let Some(remote) = self.remotes.remove(&link) {
            end(&remote);
        }
    }
}

/// One connection, from here or from there.
struct Talk {
    chat: Arc<Chat>,
    target: Option<Target>,
    link: Option<Link>,
}

impl Handler<Lines> for Talk {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let (remote, at) = (cx.remote(), place(cx.peer()));
        let link = {
            let mut inner = self.chat.inner();
            inner.links += 1;
            let link = inner.links;
            inner.remotes.insert(link, remote);
            link
        };
        self.link = Some(link);
        self.chat.tell(|circle, now| circle.opened(link, self.target, at, now));
        Ok(())
    }

    fn on_frame(&mut self, line: &str, _: &mut Context<'_, Lines>) -> Outcome {
        if let Some(link) = self.link {
            self.chat.tell(|circle, now| circle.line(link, line, now));
        }
        Ok(())
    }

    fn on_close(&mut self, reason: &CloseReason) {
        let Some(link) = self.link else { return };
        self.chat.inner().remotes.remove(&link);
        self.chat.tell(|circle, now| circle.closed(link, &reason.to_string(), random(), now));
    }
}

/// An address as people write it; IPv4 on a dual-stack socket comes as IPv6.
fn place(peer: &Peer) -> String {
    match peer.addr() {
        AnyAddr::Ip(at) if at.ip().to_canonical().is_ipv4() => {
            format!("{}:{}", at.ip().to_canonical(), at.port())
        }
        at => at.to_string(),
    }
}

// ---- threads ----

/// Sends beacons, and listens for them.
fn look(chat: &Arc<Chat>, port: u16, at: IpAddr, tcp: u16) -> io::Result<()> {
    let mut ether = match Ether::bind(port, at) {
        Ok(ether) => ether,
        Err(error) => {
            chat.tell(|circle, _| {
                circle.notice(format!(
                    "no beacons: UDP port {port}: {error}; use --connect HOST:PORT"
                ));
            });
            return Ok(());
        }
    };
    let hearing = chat.clone();
    ether.listen(move |datagram, from| {
        if let Some(beacon) = Beacon::parse(datagram) {
            hearing.tell(|circle, now| circle.sighted(beacon, from, now));
        }
    });
    let chat = chat.clone();
    thread::Builder::new().name("beacons".to_owned()).spawn(move || {
        let mut before = None;
        loop {
            let beacon = {
                let inner = chat.inner();
                Beacon { id: inner.circle.id, port: tcp, nick: inner.circle.nick.clone() }
            };
            let sent = ether.send(&beacon).map_err(|error| error.to_string());
            if before.as_ref() != Some(&sent) {
                chat.tell(|circle, _| circle.notice(looking(port, &sent)));
                before = Some(sent);
            }
            // Not all at once.
            thread::sleep(Duration::from_millis(750 + random() % 500));
        }
    })?;
    Ok(())
}

fn looking(port: u16, sent: &Result<Vec<String>, String>) -> String {
    let (v4, v6) = (beacon::GROUP_V4, beacon::GROUP_V6);
    let places = match sent {
        Err(error) => format!("on no interface: {error}"),
        Ok(names) if names.is_empty() => "on no interface: none is up".to_owned(),
        Ok(names) => format!("on {}", words::inert(&names.join(", "))),
    };
    format!("looking for others: UDP port {port}, groups {v4} and {v6}, {places}")
}

/// The chat's clock. Says what to do if nobody is found.
fn tick(chat: &Arc<Chat>, beacon_port: Option<u16>, tcp: u16) {
    let began = Instant::now();
    let mut hint = beacon_port;
    loop {
        thread::sleep(TICK);
        chat.tell(|circle, now| {
            circle.tick(random(), now);
            if circle.has_company() {
                hint = None;
            }
            if let Some(port) = hint.filter(|_| began.elapsed() >= COMPANY) {
                hint = None;
                let (v4, v6) = (beacon::GROUP_V4, beacon::GROUP_V6);
                circle.notice(format!(
                    "nobody found yet. On every machine UDP port {port} must be open to the groups {v4} \
                     and {v6}, and multicast must pass between them (guest Wi-Fi often stops it)"
                ));
                circle.notice(format!(
                    "without multicast: there --connect THIS-MACHINE:{tcp}, or here --connect HOST:PORT"
                ));
            }
        });
    }
}

/// Reads what is typed, up to its end or `/quit`.
fn read(chat: &Arc<Chat>) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut first = true;
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        if std::mem::take(&mut first) {
            // A program writes its line at once, when nobody can have been found yet.
            chat.wait(COMPANY, Circle::has_company);
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/quit", _) => return Ok(()),
            ("/who", _) => chat.tell(|circle, _| circle.who()),
            ("/nick", nick) => chat.tell(|circle, _| circle.rename(nick.trim())),
            ("/help", _) => chat.tell(|circle, _| circle.notice(HELP)),
            ("" | "/me", "") => {}
            (word, _) if word.starts_with('/') && word != "/me" => {
                chat.tell(|circle, _| circle.notice(format!("no such command: {HELP}")));
            }
            _ => chat.tell(|circle, _| circle.say(line)),
        }
    }
}

/// Prints, so that a slow terminal holds up nobody else.
fn print(lines: &Receiver<String>, quit: &mpsc::Sender<()>) {
    let mut out = io::stdout();
    for line in lines {
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            let _ = quit.send(());
            return;
        }
    }
}

// ---- settings ----

fn codec() -> Lines {
    Lines::at_most(TEXT_BYTES_MAX + 100)
}

fn limits() -> Limits {
    let mut limits = Limits::interactive();
    limits.connections_max = Some(256);
    limits
}

fn options() -> Options {
    // What was said is to be known as lost about when the silence is noticed.
    Options::new().user_timeout(Some(Duration::from_secs(5)))
}

/// Random enough to tell instances apart: std seeds its hashers from the system.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

const HELP: &str = "/me ACTION, /who, /nick NAME, /help, /quit";
const TICK: Duration = Duration::from_millis(100);
const DIAL: Duration = Duration::from_secs(2);
/// How long the first line waits for somebody, and until the hint.
const COMPANY: Duration = Duration::from_secs(3);
/// How long to wait for receipts on leaving.
const DRAIN: Duration = Duration::from_secs(3);
/// Lines that wait for a slow terminal.
const LINES_MAX: usize = 1_000;
