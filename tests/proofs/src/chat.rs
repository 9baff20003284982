//! A full chat: the example `chat_server` with a thousand clients, on both engines, line by line.
//!
//! Each client says a line a second, in 20 rooms of 50 and then in one of 300, and each that hears it
//! checks it: nothing is missing, nothing comes twice, each speaker's order holds, and it comes in time.
//! Then the same with ten who never read: for the others nothing changes, and the ten are cut. At last a
//! thousand times a second somebody comes into a room, and as often leaves one, and the lists of who is
//! there are exact. All clients are one thread of this process. It takes about four minutes.

mod crowd;
mod server;

use crate::table::Table;
use crowd::Crowd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
pub use server::work;
use server::{Account, Server};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    raise_descriptors()?;
    let example = server::build()?;
    let mut all_hold = true;
    for engine in ["threads", "events"] {
        println!("\n{engine}:\n");
        let mut table = Table::new();
        for load in &LOADS {
            let mut rows = Rows { table: &mut table, name: load.name };
            load.put_on(&mut rows, &example, engine)
                .map_err(|why| format!("{}: {why}", load.name))?;
        }
        let mut rows = Rows { table: &mut table, name: "come and go" };
        come_and_go(&mut rows, &example, engine).map_err(|why| format!("come and go: {why}"))?;
        all_hold &= table.end();
    }
    Ok(all_hold)
}

/// A socket for each client here, and about two for each in the server.
fn raise_descriptors() -> Result<(), String> {
    let limits = getrlimit(Resource::Nofile);
    if limits.maximum.is_some_and(|most| most < DESCRIPTORS) {
        return Err(format!("this needs {DESCRIPTORS} descriptors a process: {limits:?}"));
    }
    let raised = Rlimit { current: limits.maximum, ..limits };
    setrlimit(Resource::Nofile, raised).map_err(|error| error.to_string())
}

struct Rows<'a> {
    table: &'a mut Table,
    name: &'static str,
}

impl Rows<'_> {
    fn row(&mut self, what: &str, measured: impl Display, allowed: impl Display, holds: bool) {
        self.table.row(&format!("{}: {what}", self.name), measured, allowed, holds);
    }

    /// Times in microseconds, of which 99 % are below the limit.
    fn delays(&mut self, what: &str, times: &mut [u32], limit: Option<Duration>) {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            let micros = times.get(index.min(times.len().saturating_sub(1))).copied();
            Duration::from_micros(micros.unwrap_or(u32::MAX).into())
        };
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        let allowed = limit.map_or(String::new(), |limit| format!("p99 below {limit:?}"));
        let holds = limit.is_none_or(|limit| p99 < limit);
        self.row(what, format!("{p50:.1?}, {p99:.1?}, {max:.1?}"), allowed, holds);
    }

    /// What the server prints when it has ended.
    fn account(&mut self, account: &Account, expected: &[(&str, u64)]) {
        let told = |words: &str| account.number(words).map_or("?".to_owned(), |n| n.to_string());
        let line = |number: &dyn Fn(&str, u64) -> String| {
            let parts = expected.iter().map(|(words, n)| format!("{} {words}", number(words, *n)));
            parts.collect::<Vec<String>>().join(", ")
        };
        let (measured, allowed) = (line(&|words, _| told(words)), line(&|_, n| n.to_string()));
        let holds = measured == allowed;
        self.row("its account", measured, if holds { "the same" } else { &allowed }, holds);
    }

    fn strange(&mut self, crowd: &Crowd) {
        let strange = crowd.tally.strange;
        self.row("lines that should not have come", strange, 0, strange == 0);
        if !crowd.tally.examples.is_empty() {
            self.table.note(format!("{}: {:#?}", self.name, crowd.tally.examples));
        }
    }
}

// ---- everybody talks ----

/// Rooms of people, each of whom says a line a second.
struct Load {
    name: &'static str,
    rooms: usize,
    people_per_room: usize,
    seconds: u32,
    /// Bytes of a line beyond its numbers.
    filling: usize,
    /// How many never read: those who come last, each in another room if there are several.
    deaf: usize,
}

/// Where some are deaf, lines are long enough for what these leave unread to exceed what the server keeps
/// for one by default.
#[rustfmt::skip] // one a line, in columns
const LOADS: [Load; 4] = [
    Load { name: "20 x 50",       rooms: 20, people_per_room: 50,  seconds: 15, filling: 40,  deaf: 0 },
    Load { name: "1 x 300",       rooms: 1,  people_per_room: 300, seconds: 10, filling: 40,  deaf: 0 },
    Load { name: "20 x 50, deaf", rooms: 20, people_per_room: 50,  seconds: 20, filling: 1000, deaf: 10 },
    Load { name: "1 x 300, deaf", rooms: 1,  people_per_room: 300, seconds: 15, filling: 300, deaf: 10 },
];

impl Load {
    fn put_on(&self, rows: &mut Rows<'_>, example: &Path, engine: &str) -> Result<(), String> {
        let server = Server::start(example, engine, &["--people", "1100"])?;
        let mut crowd = Crowd::new(server.addr)?;
        for id in 0..self.people() {
            crowd.enter(id % self.rooms, self.people_per_room, !self.is_deaf(id))?;
            crowd.turn(Duration::ZERO)?;
        }
        all_come_in(&mut crowd)?;

        let work = || [server.work(), server::work("/proc/self/stat")];
        let (begin, before) = (Instant::now(), work());
        crowd.talk(self.seconds, self.filling)?;
        crowd.serve_until(PATIENCE, |crowd| self.unheard(crowd) == 0)?;
        let (took, after) = (begin.elapsed().as_secs_f64(), work());
        let busy = |of: usize| (after[of] - before[of]).as_secs_f64() / took;
        let memory = server.memory_peak().unwrap_or(0) / 1024;
        let used = format!("server {:.2} and {memory} MiB, here {:.2}", busy(0), busy(1));
        rows.row("processors and memory used", used, "", true);

        self.check_lines(rows, &mut crowd);
        if self.deaf > 0 {
            self.check_deaf(rows, &mut crowd);
        }
        let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in self.readers() {
            lists.entry(format!("r{}", id % self.rooms)).or_default().insert(format!("p{id}"));
        }
        check_lists(rows, &mut crowd, &lists)?;
        self.check_account(rows, server, crowd)
    }

    fn people(&self) -> usize {
        self.rooms * self.people_per_room
    }

    fn readers(&self) -> Range<usize> {
        0..self.people() - self.deaf
    }

    fn deaf_ones(&self) -> Range<usize> {
        self.readers().end..self.people()
    }

    fn is_deaf(&self, id: usize) -> bool {
        id >= self.readers().end
    }

    /// Those in the room of this one who read, without it.
    fn others(&self, id: usize) -> impl Iterator<Item = usize> + use<> {
        (id % self.rooms..self.readers().end).step_by(self.rooms).filter(move |other| *other != id)
    }

    /// How many lines of those who read others who read lack.
    fn unheard(&self, crowd: &Crowd) -> u64 {
        let mut unheard = 0;
        for hearer in self.readers() {
            for speaker in self.others(hearer) {
                let heard = crowd.people[hearer].heard[speaker / self.rooms];
                unheard += u64::from(crowd.people[speaker].said - heard);
            }
        }
        unheard
    }

    /// How many lines of this one the others have heard, if all have heard as many.
    fn heard_of(&self, crowd: &Crowd, speaker: usize) -> Option<u32> {
        let heard = |hearer: usize| crowd.people[hearer].heard[speaker / self.rooms];
        let counts: BTreeSet<u32> = self.others(speaker).map(heard).collect();
        counts.first().copied().filter(|_| counts.len() == 1)
    }

    fn check_lines(&self, rows: &mut Rows<'_>, crowd: &mut Crowd) {
        let said: u64 = self.readers().map(|id| u64::from(crowd.people[id].said)).sum();
        let expected = u64::from(self.seconds) * self.readers().len() as u64;
        rows.row("lines said by who reads", said, expected, said == expected);
        let heard = crowd.tally.heard;
        let expected = said * (self.people_per_room - 1) as u64;
        match self.deaf {
            0 => rows.row("lines heard and checked", heard, expected, heard == expected),
            _ => rows.row("lines heard and checked", heard, "", true),
        }
        let missed = crowd.tally.missed + self.unheard(crowd);
        rows.row("missed", missed, 0, missed == 0);
        let doubled = crowd.tally.doubled;
        rows.row("doubled or out of order", doubled, 0, doubled == 0);
        rows.strange(crowd);
        let limit = Some(Duration::from_millis(100));
        rows.delays("delay p50, p99, max", &mut crowd.tally.delays, limit);
        rows.delays("of it here, before it is sent", &mut crowd.tally.own_delays, None);
    }

    /// Those who never read: what became of them, and what of their lines.
    fn check_deaf(&self, rows: &mut Rows<'_>, crowd: &mut Crowd) {
        let left = &crowd.tally.left;
        let are_they = left.keys().copied().eq(self.deaf_ones());
        let are_slow = left.values().all(|(why, _)| why == "reads too slowly");
        let holds = are_they && are_slow;
        rows.row("seen to go, and they read too slowly", left.len(), self.deaf, holds);
        let cut = self.deaf_ones().filter(|id| crowd.people[*id].is_cut).count();
        rows.row("told at once by their system", cut, self.deaf, cut == self.deaf);
        let ends: Vec<(u64, String)> = self.deaf_ones().map(|id| crowd.drain(id)).collect();
        let most = ends.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
        let how: BTreeSet<&str> = ends.iter().map(|(_, how)| how.as_str()).collect();
        let are_over = how.iter().all(|how| ["end", "ConnectionReset"].contains(how));
        let shown = format!("{how:?} after {most} bytes at most");
        rows.row("what they find when they read", shown, "end or reset", are_over);

        let said_to = |id: usize| crowd.tally.left.get(&id).map_or(0, |(_, bytes)| *bytes);
        let said = self.deaf_ones().map(said_to);
        let (least, most) = (said.clone().min().unwrap_or(0), said.max().unwrap_or(0));
        rows.row("bytes said to one of them", format!("{least} to {most}"), "", true);
        let kept = self.deaf_ones().zip(&ends).map(|(id, (arrived, _))| {
            said_to(id).saturating_sub(crowd.people[id].kept_by_system + arrived)
        });
        let (least, most) = (kept.clone().min().unwrap_or(0), kept.max().unwrap_or(0));
        let (from, to) = (UNREAD_BYTES - SLACK_BYTES, UNREAD_BYTES + SLACK_BYTES);
        let holds = least >= from && most <= to;
        let (shown, allowed) = (format!("{least} to {most}"), format!("{from} to {to}"));
        rows.row("of them kept by the server, not by systems", shown, allowed, holds);
        let alike = self.deaf_ones().filter(|id| self.heard_of(crowd, *id).is_some()).count();
        rows.row("whose lines all others heard alike", alike, self.deaf, alike == self.deaf);
    }

    fn check_account(
        &self,
        rows: &mut Rows<'_>,
        server: Server,
        mut crowd: Crowd,
    ) -> Result<(), String> {
        let account = stop(rows, server, &mut crowd)?;
        let said = self.readers().map(|id| u64::from(crowd.people[id].said));
        // Of what the deaf said last, the server may not have taken all; what it took was heard.
        let heard = |id| u64::from(self.heard_of(&crowd, id).unwrap_or(0));
        let said = said.sum::<u64>() + self.deaf_ones().map(heard).sum::<u64>();
        let (people, deaf) = (self.people() as u64, self.deaf as u64);
        rows.account(
            &account,
            &[
                ("came", people),
                ("had a nick", people),
                ("at most", people),
                ("in rooms", said),
                ("too soon", 0),
                ("not passed on", 0),
                ("who read too slowly", deaf),
                ("for too many lines", 0),
                ("cut off", 0),
            ],
        );
        let all: u64 = account.ends.values().sum();
        let slow = account.ends.get("peer reads too slowly").copied().unwrap_or(0);
        let holds = all == people && slow == deaf;
        let allowed = format!("{people}, of them {deaf} too slow");
        rows.row("who is gone, says its log", format!("{:?}", account.ends), allowed, holds);
        Ok(())
    }
}

// ---- everybody comes and goes ----

/// A thousand times a second somebody comes into a room, and as often leaves one: most by going from one
/// room into another, some by connecting and, half of them without a word, hanging up.
fn come_and_go(rows: &mut Rows<'_>, example: &Path, engine: &str) -> Result<(), String> {
    // Each goes into another room about three times a second.
    let server = Server::start(example, engine, &["--interval-ms", "100"])?;
    let mut crowd = Crowd::new(server.addr)?;
    for id in 0..MOVERS {
        crowd.enter(id % ROOMS, 0, true)?;
        crowd.turn(Duration::ZERO)?;
    }
    all_come_in(&mut crowd)?;
    crowd.tally.entry_delays.clear();

    let (mut visitors, mut moves, mut visits) = (VecDeque::new(), vec![0_u32; MOVERS], 0_u32);
    let (begin, before) = (Instant::now(), server.work());
    let (mut joins, mut leaves) = (0_u64, 0_u64);
    for step in 0..STEPS {
        let due = begin + Duration::from_millis(1) * step;
        loop {
            let now = Instant::now();
            if now >= due {
                break;
            }
            crowd.turn(due - now)?;
        }
        match step % 10 {
            // Into the lobby, out of it, and into a room.
            8 => {
                visitors.push_back(crowd.enter(step as usize % ROOMS, 0, true)?);
                (visits, joins, leaves) = (visits + 1, joins + 2, leaves + 1);
            }
            9 if visitors.len() > VISITORS => {
                let id = visitors.pop_front().expect("there are some");
                match visits % 2 {
                    0 => crowd.type_line(id, "/quit that was all"),
                    _ => crowd.hang_up(id),
                }
                leaves += 1;
            }
            9 => {}
            _ => {
                let id = (step - step / 10 * 2) as usize % MOVERS;
                // Any other room, and not that where everybody else goes at the moment.
                let by = 1 + (id * 7 + moves[id] as usize * 11) % (ROOMS - 1);
                crowd.change_room(id, (crowd.people[id].room + by) % ROOMS);
                moves[id] += 1;
                (joins, leaves) = (joins + 1, leaves + 1);
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let entries = |id: usize| moves.get(id).copied().unwrap_or(0) + 1;
    let settled = |crowd: &Crowd| {
        let mut people = crowd.people.iter().enumerate();
        people.all(|(id, person)| !crowd.is_connected(id) || person.entries == entries(id))
    };
    crowd.serve_until(PATIENCE, settled)?;
    let busy = (server.work() - before).as_secs_f64() / begin.elapsed().as_secs_f64();

    let (joins_a_second, leaves_a_second) = (joins as f64 / seconds, leaves as f64 / seconds);
    let shown = format!("{joins_a_second:.0} and {leaves_a_second:.0}, for {seconds:.1} s");
    let holds = joins_a_second > 950.0 && leaves_a_second > 950.0;
    rows.row("joins and leaves a second", shown, "about 1000 each", holds);
    rows.row("processors", format!("server {busy:.2}"), "", true);
    let there = (0..MOVERS).chain(visitors.iter().copied());
    let told = there.clone().filter(|id| crowd.people[*id].entries == entries(*id)).count();
    let expected = MOVERS + visitors.len();
    rows.row("who was told of each own join, once", told, expected, told == expected);
    rows.strange(&crowd);
    let limit = Some(Duration::from_millis(100));
    rows.delays("into a room p50, p99, max", &mut crowd.tally.entry_delays, limit);

    let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    lists.insert("lobby".to_owned(), BTreeSet::new());
    for id in there {
        let room = format!("r{}", crowd.people[id].room);
        lists.entry(room).or_default().insert(format!("p{id}"));
    }
    check_lists(rows, &mut crowd, &lists)?;
    let account = stop(rows, server, &mut crowd)?;
    let came = MOVERS as u64 + u64::from(visits);
    let counts = [("came", came), ("had a nick", came), ("too soon", 0), ("not passed on", 0)];
    rows.account(&account, &counts);
    let gone: u64 = account.ends.values().sum();
    rows.row("who is gone, says its log", format!("{:?}", account.ends), came, gone == came);
    Ok(())
}

fn all_come_in(crowd: &mut Crowd) -> Result<(), String> {
    let all_in = |crowd: &Crowd| crowd.people.iter().all(|person| person.entries == 1);
    match crowd.serve_until(PATIENCE, all_in)? {
        true => Ok(()),
        false => Err(format!("they do not all come in: {:#?}", crowd.tally.examples)),
    }
}

/// Whether `/who` says exactly this, of each room.
fn check_lists(
    rows: &mut Rows<'_>,
    crowd: &mut Crowd,
    lists: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), String> {
    crowd.tally.who.clear();
    for (id, room) in lists.keys().enumerate() {
        crowd.type_line(id, &format!("/who {room}"));
    }
    let is_whole = |(size, names): &(usize, Vec<String>)| names.len() >= *size;
    let all_told = |crowd: &Crowd| {
        crowd.tally.who.len() == lists.len() && crowd.tally.who.values().all(is_whole)
    };
    crowd.serve_until(PATIENCE, all_told)?;
    let is_exact = |(room, expected): &(&String, &BTreeSet<String>)| {
        let Some((size, names)) = crowd.tally.who.get(*room) else { return false };
        let told: BTreeSet<String> = names.iter().cloned().collect();
        *size == expected.len() && names.len() == *size && told == **expected
    };
    let exact = lists.iter().filter(is_exact).count();
    let people: usize = lists.values().map(BTreeSet::len).sum();
    let what = format!("rooms whose /who is exact, {people} people");
    rows.row(&what, exact, lists.len(), exact == lists.len());
    Ok(())
}

/// As Ctrl-C does.
fn stop(rows: &mut Rows<'_>, mut server: Server, crowd: &mut Crowd) -> Result<Account, String> {
    let begin = Instant::now();
    server.interrupt()?;
    crowd.serve_until(PATIENCE, |_| server.has_ended())?;
    let took = begin.elapsed();
    // The last they hear is the end.
    let people = crowd.people.len();
    crowd.serve_until(PATIENCE, |crowd| !(0..people).any(|id| crowd.is_connected(id)))?;
    let open = (0..people).filter(|id| crowd.is_connected(*id)).count();
    rows.row("connections after its end", open, 0, open == 0);
    let account = server.account();
    let status = account.status.map_or("killed".to_owned(), |status| status.to_string());
    let holds = status == "exit status: 0";
    rows.row("SIGINT", format!("{status} after {took:.1?}"), "exit status: 0", holds);
    Ok(account)
}

const DESCRIPTORS: u64 = 4096;
/// How long to wait for what is to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the server keeps for one by default.
const UNREAD_BYTES: u64 = 256 * 1024;
/// What is counted twice or not at all: lines of the beginning, and the last ones.
const SLACK_BYTES: u64 = 8 * 1024;

const MOVERS: usize = 300;
const ROOMS: usize = 30;
/// How many stay, of those who connect and hang up.
const VISITORS: usize = 20;
/// One a millisecond.
const STEPS: u32 = 20_000;
