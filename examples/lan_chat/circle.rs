//! The circle: who is there, over which connection, and what becomes of each message.
//!
//! ```text
//!   sighted(beacon) ─► Dial ─► opened ─► hello ─► present ─► line* ─► closed
//!                                                   │  tick: ping, and drop who is silent
//!                                                   └► say ─► receipt, or "not delivered"
//! ```
//!
//! A value without socket, terminal or clock: it is told what happened and `now`, and pushes
//! [`Effect`]s for whoever has the connections.
//!
//! **One connection a pair.** Whose id is lower connects; the other only if that has not happened three
//! seconds later. If there are two all the same, both sides keep the same one: that of the lower id,
//! and of two of one side the later. A connection that has been silent for too long loses to any.

use super::beacon::Beacon;
use super::chat::name::Name;
use super::chat::text::inert;
use sockeye::Endpoint;
use sockeye::connect::Backoff;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// An instance: random, made at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Id, ()> {
        let is_one = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_one).map(Id).ok_or(())
    }
}

/// A connection, by a number that is not used again.
pub type Link = u64;

/// Whom to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Who was named by `--connect`, by its place there.
    Named(usize),
    /// Whose beacon was heard.
    Sighted(Id),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Print(String),
    Send(Link, String),
    /// Send what is to be sent, then close.
    Close(Link),
    /// The connection is dead: what is on its way is lost.
    Abort(Link),
    Dial(Target, Endpoint),
}

pub struct Circle {
    pub id: Id,
    pub nick: Name,
    /// In the order of coming.
    people: BTreeMap<Id, Person>,
    links: HashMap<Link, Connection>,
    sighted: HashMap<Id, Sighting>,
    named: Vec<Named>,
    /// The number of the last message, and of the last connection that we made.
    said: u64,
    dialled: u64,
    /// We have taken leave: whoever comes now is turned away.
    over: bool,
    pub effects: VecDeque<Effect>,
}

struct Person {
    nick: Name,
    /// `None` since then: lost.
    link: Result<Link, Instant>,
    /// The last message from there: what comes again after a change of connections is dropped.
    heard: u64,
}

struct Connection {
    person: Option<Id>,
    target: Option<Target>,
    at: String,
    /// The number that whoever connected gave it.
    number: u64,
    heard: Instant,
    pinged: Instant,
    /// What has no receipt yet.
    waiting: VecDeque<(u64, String)>,
    left: bool,
}

struct Sighting {
    last: Instant,
    /// Without a connection since then.
    since: Instant,
    dialling: bool,
}

struct Named {
    endpoint: Endpoint,
    person: Option<Id>,
    dialling: bool,
    /// Not before then; `None` for never.
    next: Option<Instant>,
    backoff: Backoff,
    told: bool,
}

impl Circle {
    pub fn new(id: Id, nick: Name, named: Vec<Endpoint>, now: Instant) -> Circle {
        let named = named.into_iter().map(|endpoint| Named {
            endpoint,
            person: None,
            dialling: false,
            next: Some(now),
            backoff: Backoff::between(RETRY_MIN, RETRY_MAX),
            told: false,
        });
        Circle {
            id,
            nick,
            people: BTreeMap::new(),
            links: HashMap::new(),
            sighted: HashMap::new(),
            named: named.collect(),
            said: 0,
            dialled: 0,
            over: false,
            effects: VecDeque::new(),
        }
    }

    /// Whether anybody is there.
    pub fn has_company(&self) -> bool {
        self.people.values().any(|person| person.link.is_ok())
    }

    /// Whether every message has its receipt.
    pub fn is_quiet(&self) -> bool {
        self.links.values().all(|link| link.person.is_none() || link.waiting.is_empty())
    }

    /// A beacon came from there.
    pub fn sighted(&mut self, beacon: Beacon, from: SocketAddr, now: Instant) {
        if beacon.id == self.id || self.over {
            return;
        }
        self.sighted.retain(|_, sighting| now - sighting.last < FORGET_SIGHTING);
        if self.sighted.len() >= SIGHTINGS_MAX && !self.sighted.contains_key(&beacon.id) {
            return;
        }
        let at = SocketAddr::new(from.ip(), beacon.port);
        let at = match (at, from) {
            // A link-local address means nothing without its interface.
            (SocketAddr::V6(mut at), SocketAddr::V6(from)) => {
                at.set_scope_id(from.scope_id());
                SocketAddr::V6(at)
            }
            (at, _) => at,
        };
        let is_well = self.is_well(beacon.id, now);
        let new = Sighting { last: now, since: now, dialling: false };
        let sighting = self.sighted.entry(beacon.id).or_insert(new);
        sighting.last = now;
        if is_well {
            sighting.since = now;
        }
        let is_ours = self.id < beacon.id || now - sighting.since >= DIAL_ANYWAY;
        if !is_well && is_ours && !sighting.dialling {
            sighting.dialling = true;
            self.effects.push_back(Effect::Dial(Target::Sighted(beacon.id), Endpoint::tcp(at)));
        }
    }

    /// A connect led to nothing.
    pub fn dial_failed(&mut self, target: Target, error: &str, random: u64, now: Instant) {
        match target {
            Target::Sighted(id) => {
                // The next beacon is the next try.
                if let Some(sighting) = self.sighted.get_mut(&id) {
                    sighting.dialling = false;
                }
            }
            Target::Named(place) => {
                let named = &mut self.named[place];
                named.rest(random, now);
                if !std::mem::replace(&mut named.told, true) && !self.over {
                    self.notice(format!("{error}; trying again"));
                }
            }
        }
    }

    /// A connection is open; if we made it, with its target.
    pub fn opened(&mut self, link: Link, target: Option<Target>, at: String, now: Instant) {
        self.dialled += u64::from(target.is_some());
        let number = if target.is_some() { self.dialled } else { 0 };
        let (waiting, pinged) = (VecDeque::new(), now);
        let connection = Connection {
            person: None,
            target,
            at,
            number,
            heard: now,
            pinged,
            waiting,
            left: false,
        };
        if self.over {
            self.effects.push_back(Effect::Close(link));
            return;
        }
        self.links.insert(link, connection);
        let hello = format!("lan-chat 1 {} {} {}", self.id, number, self.nick);
        self.effects.push_back(Effect::Send(link, hello));
    }

    /// A line came.
    pub fn line(&mut self, link: Link, line: &str, now: Instant) {
        let Some(connection) = self.links.get_mut(&link) else { return };
        connection.heard = now;
        let Some(id) = connection.person else { return self.hello(link, line, now) };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "bye" => connection.left = true,
            "got" => {
                let Ok(number) = rest.parse::<u64>() else { return };
                connection.waiting.retain(|(waiting, _)| *waiting > number);
            }
            "say" | "me" => {
                let Some((number, text)) = rest.split_once(' ') else { return };
                let Ok(number) = number.parse::<u64>() else { return };
                self.effects.push_back(Effect::Send(link, format!("got {number}")));
                let Some(person) = self.people.get_mut(&id) else { return };
                if number <= person.heard {
                    return;
                }
                person.heard = number;
                let (name, text) = (self.name(id), inert(text));
                let shown = if word == "me" {
                    format!("* {name} {text}")
                } else {
                    format!("{name}: {text}")
                };
                self.effects.push_back(Effect::Print(shown));
            }
            "nick" => {
                let before = self.name(id);
                let Some(person) = self.people.get_mut(&id) else { return };
                let Ok(nick) = Name::new(rest) else { return };
                person.nick = nick;
                let name = self.name(id);
                if before != name {
                    self.notice(format!("{before} is now {name}"));
                }
            }
            // `ping`, and what later versions say.
            _ => {}
        }
    }

    /// The first line of a connection says who is there.
    fn hello(&mut self, link: Link, line: &str, now: Instant) {
        let Some((id, number, nick)) = parse_hello(line) else {
            self.effects.push_back(Effect::Abort(link));
            return;
        };
        let Some(connection) = self.links.get_mut(&link) else { return };
        let target = connection.target;
        if target.is_none() {
            connection.number = number;
        }
        if let Some(Target::Named(place)) = target {
            let named = &mut self.named[place];
            (named.person, named.dialling, named.told) = (Some(id), false, false);
            named.backoff.reset();
            if id == self.id {
                named.next = None;
                let text = format!("{} is this instance itself", named.endpoint);
                self.notice(text);
            }
        }
        let is_full = self.people.len() >= PEOPLE_MAX && !self.people.contains_key(&id);
        if id == self.id || is_full {
            self.effects.push_back(Effect::Close(link));
            return;
        }
        connection_of(&mut self.links, link).person = Some(id);
        if let Some(sighting) = self.sighted.get_mut(&id) {
            sighting.dialling = false;
        }
        let at = self.links[&link].at.clone();
        let Some(person) = self.people.get_mut(&id) else {
            self.people.insert(id, Person { nick, link: Ok(link), heard: 0 });
            let name = self.name(id);
            return self.notice(format!("{name} joined ({at})"));
        };
        person.nick = nick;
        let Ok(old) = person.link else {
            person.link = Ok(link);
            let name = self.name(id);
            return self.notice(format!("{name} is back ({at})"));
        };
        if self.wins(link, old, now) {
            // What the old one may have lost goes once more; the other side drops what it has.
            let waiting = std::mem::take(&mut connection_of(&mut self.links, old).waiting);
            for (_, message) in &waiting {
                self.effects.push_back(Effect::Send(link, message.clone()));
            }
            connection_of(&mut self.links, link).waiting = waiting;
            self.people.entry(id).and_modify(|person| person.link = Ok(link));
            self.effects.push_back(Effect::Close(old));
        } else {
            self.effects.push_back(Effect::Close(link));
        }
    }

    /// Which of two connections with one person stays.
    fn wins(&self, new: Link, old: Link, now: Instant) -> bool {
        let by_lower = |link: &Connection| {
            let (ours, theirs) = (link.target.is_some(), link.person);
            ours == theirs.is_some_and(|theirs| self.id < theirs)
        };
        let (new, old) = (&self.links[&new], &self.links[&old]);
        if now - old.heard >= UNWELL {
            return true;
        }
        (by_lower(new), new.number) > (by_lower(old), old.number)
    }

    /// A connection is over.
    pub fn closed(&mut self, link: Link, why: &str, random: u64, now: Instant) {
        let Some(connection) = self.links.remove(&link) else { return };
        match connection.target {
            Some(Target::Named(place)) => self.named[place].rest(random, now),
            Some(Target::Sighted(id)) => {
                if let Some(sighting) = self.sighted.get_mut(&id) {
                    (sighting.dialling, sighting.since) = (false, now);
                }
            }
            None => {}
        }
        let Some(id) = connection.person else { return };
        let name = self.name(id);
        let Some(person) = self.people.get_mut(&id) else { return };
        if person.link != Ok(link) {
            return;
        }
        person.link = Err(now);
        if connection.left {
            self.people.remove(&id);
            self.notice(format!("{name} left"));
        } else {
            self.notice(format!("{name} is lost: {why}"));
        }
        for (_, message) in connection.waiting {
            let text = message.splitn(3, ' ').nth(2).unwrap_or_default();
            self.not_delivered(&name, text);
        }
    }

    /// Time went by.
    pub fn tick(&mut self, random: u64, now: Instant) {
        let silent = |link: &Connection| now - link.heard >= LOST;
        let lost: Vec<Link> =
            self.links.iter().filter(|(_, link)| silent(link)).map(|(link, _)| *link).collect();
        for link in lost {
            self.effects.push_back(Effect::Abort(link));
            self.closed(link, "no sign of life", random, now);
        }
        for (link, connection) in &mut self.links {
            if now - connection.pinged >= PING {
                connection.pinged = now;
                self.effects.push_back(Effect::Send(*link, "ping".to_owned()));
            }
        }
        let gone = |person: &Person| matches!(person.link, Err(lost) if now - lost >= FORGET_LOST);
        self.people.retain(|_, person| !gone(person));
        for place in 0..self.named.len() {
            let is_well = self.named[place].person.is_some_and(|id| self.is_well(id, now));
            let named = &mut self.named[place];
            if !is_well && !named.dialling && named.next.is_some_and(|next| now >= next) {
                named.dialling = true;
                let endpoint = named.endpoint.clone();
                self.effects.push_back(Effect::Dial(Target::Named(place), endpoint));
            }
        }
    }

    /// Says this to everybody.
    pub fn say(&mut self, text: &str) {
        self.speak("say", text);
    }

    /// Does this before everybody's eyes.
    pub fn act(&mut self, action: &str) {
        self.speak("me", action);
    }

    fn speak(&mut self, word: &str, text: &str) {
        if text.len() > TEXT_BYTES_MAX {
            let length = text.len();
            return self.notice(format!(
                "not delivered: {length} bytes, and a message has at most {TEXT_BYTES_MAX}"
            ));
        }
        if self.people.is_empty() {
            return self.not_delivered("anybody, nobody is here", text);
        }
        self.said += 1;
        let message = format!("{word} {} {text}", self.said);
        let mut missed = Vec::new();
        for (id, person) in &self.people {
            let link = person.link.ok().and_then(|link| Some((link, self.links.get_mut(&link)?)));
            match link {
                Some((link, connection)) if connection.waiting.len() < WAITING_MAX => {
                    connection.waiting.push_back((self.said, message.clone()));
                    self.effects.push_back(Effect::Send(link, message.clone()));
                }
                _ => missed.push(*id),
            }
        }
        for id in missed {
            let name = self.name(id);
            self.not_delivered(&name, text);
        }
    }

    /// Another nick for oneself.
    pub fn rename(&mut self, nick: &str) {
        match Name::new(nick) {
            Ok(nick) => self.nick = nick,
            Err(why) => return self.notice(why),
        }
        for (link, _) in self.links.iter().filter(|(_, link)| link.person.is_some()) {
            self.effects.push_back(Effect::Send(*link, format!("nick {}", self.nick)));
        }
        self.notice(format!("you are now {}", self.nick));
    }

    /// Tells who is there.
    pub fn who(&mut self) {
        let mut lines = vec![format!("{} (you)", self.nick)];
        for (id, person) in &self.people {
            let link = person.link.ok().and_then(|link| self.links.get(&link));
            let at = link.map_or("lost", |link| &link.at);
            lines.push(format!("{} ({at})", self.name(*id)));
        }
        lines.into_iter().for_each(|line| self.notice(line));
    }

    /// Takes leave. What has no receipt by now is reported.
    pub fn leave(&mut self) {
        let waiting: Vec<(Id, String)> = self
            .links
            .values()
            .filter_map(|link| Some((link.person?, &link.waiting)))
            .flat_map(|(id, waiting)| waiting.iter().map(move |(_, text)| (id, text.clone())))
            .collect();
        for (id, message) in waiting {
            let text = message.splitn(3, ' ').nth(2).unwrap_or_default();
            let name = self.name(id);
            self.not_delivered(&name, text);
        }
        for (link, _) in self.links.drain() {
            self.effects.push_back(Effect::Send(link, "bye".to_owned()));
            self.effects.push_back(Effect::Close(link));
        }
        self.named.iter_mut().for_each(|named| named.next = None);
        self.people.clear();
        self.over = true;
    }

    pub fn notice(&mut self, text: impl fmt::Display) {
        self.effects.push_back(Effect::Print(format!("* {text}")));
    }

    fn not_delivered(&mut self, to: &str, text: &str) {
        let text = inert(text);
        self.notice(format!("not delivered to {to}: {text}"));
    }

    /// Whether there is a connection that lives.
    fn is_well(&self, id: Id, now: Instant) -> bool {
        let link = self.people.get(&id).and_then(|person| self.links.get(&person.link.ok()?));
        link.is_some_and(|link| now - link.heard < UNWELL)
    }

    /// A nick, and a piece of the id where two have the same nick.
    fn name(&self, id: Id) -> String {
        let Some(Person { nick, .. }) = self.people.get(&id) else { return "somebody".to_owned() };
        let others = self.people.iter().filter(|(other, _)| **other != id);
        let mut nicks = others.map(|(_, person)| &person.nick).chain([&self.nick]);
        if nicks.any(|other| other.key() == nick.key()) {
            format!("{nick}#{}", &id.to_string()[..4])
        } else {
            nick.to_string()
        }
    }
}

impl Named {
    fn rest(&mut self, random: u64, now: Instant) {
        self.dialling = false;
        let pause = self.backoff.pause(random).expect("it has no number of tries");
        self.next = self.next.map(|_| now + pause);
    }
}

fn connection_of(links: &mut HashMap<Link, Connection>, link: Link) -> &mut Connection {
    links.get_mut(&link).expect("a connection is there until it is closed")
}

fn parse_hello(line: &str) -> Option<(Id, u64, Name)> {
    let mut words = line.strip_prefix("lan-chat 1 ")?.splitn(3, ' ');
    let (id, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((id, number, Name::new(words.next()?).ok()?))
}

/// Between two signs of life; who gives none for so long is unwell, and then lost.
const PING: Duration = Duration::from_secs(1);
const UNWELL: Duration = Duration::from_millis(2_500);
const LOST: Duration = Duration::from_secs(4);
/// After which the side connects whose turn it is not.
const DIAL_ANYWAY: Duration = Duration::from_secs(3);
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Who was lost is told of as long: of messages that do not reach them, and of their return.
const FORGET_LOST: Duration = Duration::from_secs(120);
const FORGET_SIGHTING: Duration = Duration::from_secs(10);
/// More machines than talk in one room.
const SIGHTINGS_MAX: usize = 256;
const PEOPLE_MAX: usize = 256;
/// Messages without a receipt; further ones are not delivered.
const WAITING_MAX: usize = 1_000;
pub const TEXT_BYTES_MAX: usize = 2_000;
