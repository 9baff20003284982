//! A chat for many: rooms, nicks, history, private messages.
//!
//!     cargo run --example chat_server -- tcp://127.0.0.1:7000
//!
//! It prints `listening on ENDPOINT` for each endpoint. Talk with `cargo run --example chat_client --
//! tcp://127.0.0.1:7000`, or with `nc 127.0.0.1 7000`: type a nick, press Enter, type what you have to
//! say; `/help` lists the commands. The lines that go over the wire are described in `chat/mod.rs`.
//!
//! `chat/hall.rs` decides, this program carries out: a room is a `Group`, so that a line is encoded once
//! for all who hear it, and whoever reads too slowly is cut without delaying the others. All of it
//! happens under one lock, where nothing blocks: so everybody sees the same order.
//!
//! Standard error has the log: who came, who went and why, and with `--verbose` every line, all of it
//! inert. Ctrl-C or SIGTERM ends the chat and prints what was served. `--engine events` serves all
//! connections on event loops, `--workers N` says on how many.

#[path = "chat/mod.rs"]
mod chat;

use chat::event::Event;
use chat::hall::{Caps, Effect, Hall, Statistics, Why};
use chat::text::inert;
use sockeye::Endpoint;
use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Report};
use sockeye::handler::{
    CloseReason, Context, Group, Handler, Membership, OnSlow, Outcome, Remote, SendError,
};
use sockeye::limits::Limits;
use sockeye::server::Server;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: chat_server [ENDPOINT...] [OPTION...]
endpoints: tcp://127.0.0.1:7000 (default), tcp://*:7000, unix:///tmp/chat, ...
  --engine threads|events    how connections are served; threads without this
  --workers N                on how many event loops
  --people N                 how many may be there at once (1000)
  --rooms N                  how many rooms there may be (100)
  --people-per-room N        how many may be in one (500)
  --text-bytes N             the longest text (4096)
  --history N                messages that a room keeps for who comes later (20)
  --burst N                  lines that one may send at once (10)
  --interval-ms N            then one each so often (500)
  --unread-bytes N           what one may leave unread before being cut (262144)
  --verbose                  log every line";

/// What is left of the longest line for a text.
const TEXT_BYTES_MAX: usize = 7 * 1024;

/// What a line has besides its text, and what it costs to keep.
const LINE_BYTES_MORE: usize = 256;

fn main() {
    if let Err(error) = run() {
        eprintln!("chat_server: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let (mut server, mut endpoints, mut is_verbose) = (Server::new(), 0, false);
    let (mut engine, mut workers) = ("threads".parse::<AnyEngine>()?, None);
    let (mut caps, mut limits) = (Caps::default(), Limits::interactive());
    limits.output_bytes_max = 256 * 1024;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("engine") => engine = arguments.value()?.parse()?,
            Long("workers") => workers = Some(arguments.value()?.parse()?),
            Long("people") => caps.people_max = arguments.value()?.parse()?,
            Long("rooms") => caps.rooms_max = arguments.value()?.parse()?,
            Long("people-per-room") => caps.people_per_room_max = arguments.value()?.parse()?,
            Long("text-bytes") => caps.text_bytes_max = arguments.value()?.parse()?,
            Long("history") => caps.history_items_max = arguments.value()?.parse()?,
            Long("burst") => caps.flood.burst = arguments.value()?.parse()?,
            Long("interval-ms") => {
                caps.flood.interval = Duration::from_millis(arguments.value()?.parse()?);
            }
            Long("unread-bytes") => limits.output_bytes_max = arguments.value()?.parse()?,
            Long("verbose") => is_verbose = true,
            Long("help") | Short('h') => return Ok(writeln!(out, "{USAGE}")?),
            Value(endpoint) => {
                let endpoint: Endpoint = endpoint.string()?.parse()?;
                if endpoint.transport().is_datagram() {
                    return Err(format!("{endpoint}: a chat needs connections").into());
                }
                (server, endpoints) = (server.and(endpoint), endpoints + 1);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if caps.text_bytes_max > TEXT_BYTES_MAX {
        return Err(
            format!("--text-bytes may be {TEXT_BYTES_MAX} at most, to fit into a line").into()
        );
    }
    let replay = caps.history_items_max.saturating_mul(caps.text_bytes_max + LINE_BYTES_MORE);
    if replay > limits.output_bytes_max / 2 {
        return Err("--unread-bytes is too small for --history texts of --text-bytes".into());
    }
    if endpoints == 0 {
        server = server.and("tcp://127.0.0.1:7000");
    }
    if let Some(workers) = workers {
        engine = engine.workers(workers);
    }
    // One more than the hall takes is told so, instead of waiting in the backlog.
    limits.connections_max = Some(caps.people_max.saturating_add(16));
    limits.first_message_timeout = Some(Duration::from_secs(60));

    // Before anybody can know that we run.
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals = signal_hook::iterator::Signals::new(signals)?;

    let chat = Chat::new(caps, is_verbose);
    let place = chat.clone();
    let server = server
        .engine(engine)
        .limits(limits)
        .codec(Lines::default())
        .serve_with(move |_| Person { chat: place.clone(), id: 0 })?;
    for endpoint in server.local_endpoints() {
        writeln!(out, "listening on {endpoint}")?;
    }
    out.flush()?;

    signals.forever().next();
    chat.lock().say_good_bye();
    let statistics = chat.lock().hall.statistics();
    server.stop(Duration::from_secs(5));
    let report = server.join()?;
    let lost = chat.lock().lost;
    print(&statistics, lost, &report, &mut out)?;
    Ok(())
}

/// The hall and the connections, shared by all handlers.
#[derive(Clone)]
struct Chat {
    state: Arc<Mutex<State>>,
    is_verbose: bool,
}

struct State {
    hall: Hall,
    seats: HashMap<u64, Seat>,
    rooms: HashMap<Arc<str>, Group<Lines>>,
    last_id: u64,
    /// Lines to a room that were not sent because a worker was too far behind.
    lost: u64,
}

struct Seat {
    remote: Remote<Lines>,
    /// Dropping it leaves the room.
    place: Option<Membership>,
}

impl Chat {
    fn new(caps: Caps, is_verbose: bool) -> Chat {
        let (seats, rooms) = (HashMap::new(), HashMap::new());
        let state = State { hall: Hall::new(caps), seats, rooms, last_id: 0, lost: 0 };
        Chat { state: Arc::new(Mutex::new(state)), is_verbose }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One after the other, as they come: others may be pushed only after these.
    fn carry_out(&mut self, effects: Vec<Effect>) -> Option<Why> {
        let mut cut = None;
        for effect in effects {
            match effect {
                Effect::To(id, line) => {
                    if let Some(seat) = self.seats.get(&id) {
                        seat.tell(&line);
                    }
                }
                Effect::Room { room, line, except } => {
                    let Some(group) = self.rooms.get(&room) else { continue };
                    let except = except.and_then(|id| self.seats.get(&id));
                    let sent = match except {
                        Some(seat) => group.send_except(&line, &seat.remote),
                        None => group.send(&line),
                    };
                    self.lost += u64::from(matches!(sent, Err(SendError::Full)));
                }
                Effect::Enter(id, room) => {
                    let new = || Group::new(Lines::default(), OnSlow::Close);
                    let group = self.rooms.entry(room).or_insert_with(new);
                    if let Some(seat) = self.seats.get_mut(&id) {
                        seat.place = Some(group.join(&seat.remote));
                    }
                }
                Effect::Leave(id, _) => {
                    if let Some(seat) = self.seats.get_mut(&id) {
                        seat.place = None;
                    }
                }
                Effect::Forget(room) => drop(self.rooms.remove(&room)),
                Effect::Cut(id, why) => {
                    cut = Some(why);
                    if let Some(seat) = self.seats.remove(&id) {
                        seat.remote.close();
                    }
                }
            }
        }
        cut
    }

    fn say_good_bye(&self) {
        let line = Event::notice("the server stops; good-bye").to_string();
        self.seats.values().for_each(|seat| seat.tell(&line));
    }
}

impl Seat {
    fn tell(&self, line: &str) {
        // The same rule as in rooms: who does not read is cut, and the others do not wait.
        if let Err(SendError::Full | SendError::TooLarge { .. }) = self.remote.send(line) {
            self.remote.abort();
        }
    }
}

/// One connection.
struct Person {
    chat: Chat,
    /// 0 until it is open.
    id: u64,
}

impl Person {
    /// Lets the hall decide, carries it out, and logs what it meant.
    fn with_hall(&self, decide: impl FnOnce(&mut Hall, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let mut state = self.chat.lock();
        let before = state.hall.name(self.id).cloned();
        decide(&mut state.hall, &mut effects);
        let after = state.hall.name(self.id).cloned();
        let cut = state.carry_out(effects);
        drop(state);
        match (cut, before, after) {
            (Some(why), ..) => self.log(format_args!("is cut: {why}")),
            (_, before, Some(after)) if before.as_ref() != Some(&after) => {
                self.log(format_args!("is called {after}"));
            }
            _ => {}
        }
    }

    /// One line, whatever is in it.
    fn log(&self, what: impl std::fmt::Display) {
        eprintln!("{}", inert(&format!("{} {what}", self.id)));
    }
}

impl Handler<Lines> for Person {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let mut state = self.chat.lock();
        state.last_id += 1;
        self.id = state.last_id;
        state.seats.insert(self.id, Seat { remote: cx.remote(), place: None });
        drop(state);
        self.log(format_args!("comes from {}", cx.peer()));
        self.with_hall(|hall, effects| hall.arrive(self.id, cx.now(), effects));
        Ok(())
    }

    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        if self.chat.is_verbose {
            self.log(format_args!("says {line}"));
        }
        let now: Instant = cx.now();
        self.with_hall(|hall, effects| hall.line(self.id, line, now, effects));
        Ok(())
    }

    fn on_close(&mut self, reason: &CloseReason) {
        let said = match reason {
            CloseReason::PeerClosed | CloseReason::Finished => "gone",
            CloseReason::OutputFull { .. }
            | CloseReason::WriteStall
            | CloseReason::SlowReader
            | CloseReason::Aborted => "reads too slowly",
            CloseReason::Frame(_) => "sent something that is no line of text",
            _ => "connection lost",
        };
        self.with_hall(|hall, effects| hall.depart(self.id, said, effects));
        self.chat.lock().seats.remove(&self.id);
        self.log(format_args!("is gone: {reason}"));
    }
}

fn print(
    statistics: &Statistics,
    lost: u64,
    report: &Report,
    out: &mut impl Write,
) -> io::Result<()> {
    let closed = &report.counters.closed;
    writeln!(out, "stopped: {} finished, {} cut off", report.finished, report.forced)?;
    writeln!(out, "people:  {} now, {} at most", statistics.people, statistics.people_peak)?;
    writeln!(out, "         {} came, {} had a nick", statistics.arrived, statistics.named)?;
    writeln!(out, "rooms:   {} now", statistics.rooms)?;
    writeln!(out, "said:    {} in rooms, {} in private", statistics.messages, statistics.private)?;
    writeln!(out, "         {} too soon, {lost} not passed on", statistics.lines_refused)?;
    let slow = closed.output_full + closed.write_stall + closed.slow_reader + closed.aborted;
    writeln!(out, "cut:     {slow} who read too slowly")?;
    writeln!(out, "         {} for too many lines", statistics.cut_for_flood)?;
    writeln!(out, "         {} who spoke HTTP", statistics.cut_for_http)?;
    out.flush()
}
