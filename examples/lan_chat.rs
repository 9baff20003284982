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
//! The protocol is lines. First `lan-chat 1 ID NUMBER NICK`: the version, 16
//! hexadecimal digits that are the instance, which of its connections this is (0 for whoever accepted).
//! Then `say N TEXT` and `me N TEXT`, answered by `got N`; `nick NAME`, `ping`, `bye`. A `ping` goes
//! out every second: whoever says nothing at all for four is given up.
//!
//! Nothing is encrypted and nobody proves who they are: it is for networks whose people you trust. What
//! peers send is made inert before it is shown, as `chat/text.rs` says.

#[path = "lan_chat/beacon.rs"]
mod beacon;
#[path = "chat/mod.rs"]
mod chat;
#[path = "lan_chat/circle.rs"]
mod circle;
#[path = "lan_chat/links.rs"]
mod links;
#[path = "lan_chat/search.rs"]
mod search;
#[path = "lan_chat/terminal.rs"]
mod terminal;

use chat::name::Name;
use circle::{Circle, Id};
use links::{Chat, Talk};
use sockeye::engine::Events;
use sockeye::limits::Limits;
use sockeye::{AnyAddr, Endpoint, Server};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use terminal::Keyboard;

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
    nick: Name,
    listen: Endpoint,
    named: Vec<Endpoint>,
    multicast: bool,
    beacon_port: u16,
    plain: bool,
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut nick, mut listen) = (None, "*:0".to_owned());
    let (mut named, mut multicast, mut beacon_port) = (Vec::new(), true, beacon::PORT);
    let mut plain = !(io::stdin().is_terminal() && io::stdout().is_terminal());
    plain |= std::env::var("TERM").is_ok_and(|term| term == "dumb");
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("nick") => nick = Some(Name::new(&arguments.value()?.string()?)?),
            Long("listen") => listen = arguments.value()?.string()?,
            Long("connect") => named.push(tcp(&arguments.value()?.string()?)?),
            Long("no-multicast") => multicast = false,
            Long("beacon-port") => beacon_port = arguments.value()?.parse()?,
            Long("plain") => plain = true,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let user = std::env::var("USER").ok().and_then(|user| Name::new(&user).ok());
    let nick = nick.or(user).map_or_else(|| Name::new("somebody"), Ok)?;
    multicast &= named.is_empty();
    Ok(Some(Arguments { nick, listen: tcp(&listen)?, named, multicast, beacon_port, plain }))
}

fn tcp(text: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(format!("tcp://{}", text.trim_start_matches("tcp://")).parse()?)
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = arguments()? else { return Ok(()) };
    // Before anybody can know that we run.
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let (quit, quits) = mpsc::channel::<()>();
    let (out, lines) = mpsc::sync_channel(LINES_MAX);

    let server = Server::on(&arguments.listen).engine(Events::workers(1)).codec(links::codec());
    let circle = Circle::new(Id(random()), arguments.nick, arguments.named, Instant::now());
    let chat = Chat::new(circle, server.handle(), out);
    let accepting = chat.clone();
    let server = server
        .limits(limits())
        .options(links::options())
        .serve_with(move |_| Talk::accepted(&accepting))?;
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
        search::look(&chat, arguments.beacon_port, local.ip(), local.port())?;
    }
    let (ticking, hint) = (chat.clone(), arguments.multicast.then_some(arguments.beacon_port));
    thread::spawn(move || search::tick(&ticking, hint, local.port()));
    let keyboard = Keyboard { chat: chat.clone(), quit: quit.clone() };
    let screen = if arguments.plain { keyboard.plain(lines) } else { keyboard.terminal(lines)? };
    thread::spawn(move || {
        signals.forever().next();
        let _ = quit.send(());
    });

    let _ = quits.recv();
    chat.wait(DRAIN, |circle| circle.is_quiet());
    chat.tell(|circle, _| circle.leave());
    server.stop(Duration::from_secs(1));
    server.join()?;
    chat.end();
    screen.close();
    Ok(())
}

fn limits() -> Limits {
    let mut limits = Limits::interactive();
    limits.connections_max = Some(256);
    limits
}

/// Random enough to tell instances apart: std seeds its hashers from the system.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// How long a first line waits for somebody, and until the hint.
const COMPANY: Duration = Duration::from_secs(3);
/// How long to wait for receipts on leaving.
const DRAIN: Duration = Duration::from_secs(3);
/// Lines that wait for a slow terminal.
const LINES_MAX: usize = 1_000;
