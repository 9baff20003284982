//! The hall: who is there, in which room, and what becomes of each line that comes in.
//!
//! ```text
//!   arrive(id) ─► line(id, text)* ─► depart(id)          all with `now`, all push effects
//!                     │
//!                     └─► Enter Leave Forget             who hears a room
//!                         Room To                        what is to be sent
//!                         Cut                            who is to go
//! ```
//!
//! It is a value without socket or clock: whoever owns the connections gives each an id, calls these
//! three, and carries out the effects in their order. Nothing here walks over all people: a line costs
//! the same in a full hall. Only `/who` and `/rooms` cost what they answer, and the flood rule bounds
//! how often.

use super::event::{Event, Spoken};
use super::flood::{Flood, Meter};
use super::name::Name;
use super::request::{BadRequest, COMMANDS, Request};
use super::text::Text;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the owner of the connections is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send one person this line.
    To(u64, String),
    /// Send everybody in a room this line.
    Room {
        room: Arc<str>,
        line: String,
        except: Option<u64>,
    },
    /// From now on this person hears this room, which may be new.
    Enter(u64, Arc<str>),
    Leave(u64, Arc<str>),
    /// Nobody is in this room any more, and it is gone.
    Forget(Arc<str>),
    /// Send what is to be sent, then close. The hall has forgotten this person already.
    Cut(u64, Why),
}

/// Why somebody is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Quit,
    Full,
    /// What came first is a request of another protocol, sent here by a browser, say.
    Http,
    /// No acceptable nick in so many tries.
    Nameless,
    Flood,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Quit => "quit",
            Why::Full => "the hall is full",
            Why::Http => "speaks HTTP",
            Why::Nameless => "no nick",
            Why::Flood => "too many lines",
        })
    }
}

/// How much there may be of everything.
#[derive(Clone, Debug)]
pub struct Caps {
    /// Those without a nick included.
    pub people_max: usize,
    pub rooms_max: usize,
    pub people_per_room_max: usize,
    /// Of one text, once it is inert.
    pub text_bytes_max: usize,
    /// Messages that a room keeps for who comes later.
    pub history_items_max: usize,
    pub nick_tries_max: u32,
    pub flood: Flood,
    /// Lines in a row that come too soon, after which their sender is cut.
    pub refused_lines_max: u32,
}

impl Default for Caps {
    /// For some hundreds of people on a server that has other things to do.
    fn default() -> Caps {
        Caps {
            people_max: 1000,
            rooms_max: 100,
            people_per_room_max: 500,
            text_bytes_max: 4 * 1024,
            history_items_max: 20,
            nick_tries_max: 3,
            // Nobody types faster; what is pasted may have ten lines.
            flood: Flood { burst: 10, interval: Duration::from_millis(500) },
            refused_lines_max: 30,
        }
    }
}

/// What has happened since the hall was opened, and who is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub people: usize,
    pub people_peak: usize,
    pub rooms: usize,
    pub arrived: u64,
    /// Who came as far as to have a nick.
    pub named: u64,
    pub messages: u64,
    pub private: u64,
    pub lines_refused: u64,
    pub cut_for_flood: u64,
    pub cut_for_http: u64,
}

pub struct Hall {
    caps: Caps,
    people: HashMap<u64, Person>,
    /// By [`Name::key`].
    names: HashMap<String, u64>,
    /// By [`Name::key`].
    rooms: BTreeMap<String, Room>,
    lobby: Name,
    statistics: Statistics,
}

struct Person {
    /// None until a nick was accepted; then there is a room too.
    named: Option<Named>,
    nick_tries: u32,
    meter: Meter,
}

struct Named {
    name: Name,
    /// A key of `rooms`.
    room: String,
}

struct Room {
    name: Name,
    /// What effects call it.
    id: Arc<str>,
    people: HashSet<u64>,
    history: VecDeque<(Instant, Spoken)>,
}

impl Room {
    fn new(name: Name) -> Room {
        let id = name.as_str().into();
        Room { name, id, people: HashSet::new(), history: VecDeque::new() }
    }
}

impl Hall {
    pub fn new(caps: Caps) -> Hall {
        let lobby = Name::new("lobby").expect("a plain word is a name");
        let rooms = BTreeMap::from([(lobby.key(), Room::new(lobby.clone()))]);
        let (people, names) = (HashMap::new(), HashMap::new());
        Hall { caps, people, names, rooms, lobby, statistics: Statistics::default() }
    }

    /// Somebody has connected. Ids are never used twice.
    pub fn arrive(&mut self, id: u64, now: Instant, effects: &mut Vec<Effect>) {
        self.statistics.arrived += 1;
        if self.people.len() >= self.caps.people_max {
            effects
                .push(to(id, &Event::refused("there is no room for more people, come back later")));
            effects.push(Effect::Cut(id, Why::Full));
            return;
        }
        self.people.insert(id, Person { named: None, nick_tries: 0, meter: Meter::new(now) });
        self.statistics.people_peak = self.statistics.people_peak.max(self.people.len());
        effects.push(to(id, &Event::notice("welcome! What is your nick?")));
    }

    /// A line came. From somebody who is not there it is nothing.
    pub fn line(&mut self, id: u64, line: &str, now: Instant, effects: &mut Vec<Effect>) {
        let Some(person) = self.people.get_mut(&id) else { return };
        if person.named.is_none() && looks_like_http(line) {
            self.statistics.cut_for_http += 1;
            return self.cut(id, Why::Http, effects);
        }
        if !person.meter.pass(self.caps.flood, now) {
            let refused = person.meter.refused;
            return self.refuse_flood(id, refused, effects);
        }
        let Some(named) = &person.named else {
            return self.login(id, line.trim_end(), now, effects);
        };
        let (name, room) = (named.name.clone(), named.room.clone());
        match Request::parse(line) {
            Ok(Request::Say(text)) => {
                self.speak(id, &room, Spoken::Message(name, text), now, effects)
            }
            Ok(Request::Me(text)) => {
                self.speak(id, &room, Spoken::Action(name, text), now, effects)
            }
            Ok(Request::Msg(other, text)) => self.tell(id, name, &other, text, effects),
            Ok(Request::Nick(new)) => self.rename(id, &room, new, effects),
            Ok(Request::Who(other)) => {
                self.list_people(id, &other.map_or(room, |room| room.key()), effects);
            }
            Ok(Request::Join(other)) => self.go(id, &room, other, now, effects),
            Ok(Request::Leave) => self.go(id, &room, self.lobby.clone(), now, effects),
            Ok(Request::Rooms) => effects.extend(
                self.rooms
                    .values()
                    .map(|room| to(id, &Event::Room(room.name.clone(), room.people.len()))),
            ),
            Ok(Request::Help) => help(id, effects),
            Ok(Request::Quit(text)) => {
                // Who goes, goes; of words that are too long nothing is said.
                let text = text.filter(|text| text.as_str().len() <= self.caps.text_bytes_max);
                self.remove(id, text, effects);
                effects.push(Effect::Cut(id, Why::Quit));
            }
            Err(BadRequest::Empty) => {}
            Err(error) => effects.push(to(id, &Event::refused(error))),
        }
    }

    /// Somebody is gone, for this reason. A second time, or after a cut, it is nothing.
    pub fn depart(&mut self, id: u64, reason: &str, effects: &mut Vec<Effect>) {
        self.remove(id, Some(Text::new(reason)), effects);
    }

    /// The nick that somebody has now.
    pub fn name(&self, id: u64) -> Option<&Name> {
        Some(&self.people.get(&id)?.named.as_ref()?.name)
    }

    /// Who is in a room, in order of nick.
    pub fn members(&self, room: &str) -> Vec<Name> {
        let people = self.rooms.get(&room.to_lowercase()).into_iter().flat_map(|room| &room.people);
        let mut names: Vec<Name> = people.filter_map(|id| self.name(*id)).cloned().collect();
        names.sort_by_key(Name::key);
        names
    }

    pub fn statistics(&self) -> Statistics {
        Statistics { people: self.people.len(), rooms: self.rooms.len(), ..self.statistics }
    }

    fn login(&mut self, id: u64, nick: &str, now: Instant, effects: &mut Vec<Effect>) {
        let name = match self.free_name(id, nick) {
            Ok(name) => name,
            Err(why) => {
                effects.push(to(id, &why));
                let tries_max = self.caps.nick_tries_max;
                let Some(person) = self.people.get_mut(&id) else { return };
                person.nick_tries += 1;
                if person.nick_tries >= tries_max {
                    self.cut(id, Why::Nameless, effects);
                }
                return;
            }
        };
        let lobby = self.lobby.clone();
        if self.rooms[&lobby.key()].people.len() >= self.caps.people_per_room_max {
            effects.push(to(id, &Event::refused("the lobby is full, come back later")));
            return self.cut(id, Why::Full, effects);
        }
        self.statistics.named += 1;
        self.names.insert(name.key(), id);
        let Some(person) = self.people.get_mut(&id) else { return };
        person.named = Some(Named { name, room: lobby.key() });
        self.enter(id, lobby, now, effects);
        let people = self.names.len();
        let here = format!("{people} in the chat; /who lists them, /help the commands");
        effects.push(to(id, &Event::notice(here)));
    }

    /// The name, if it is one and nobody else has it.
    fn free_name(&self, id: u64, nick: &str) -> Result<Name, Event> {
        let name = Name::new(nick).map_err(Event::refused)?;
        match self.names.get(&name.key()) {
            Some(owner) if *owner != id => Err(Event::refused(format_args!(
                "somebody is called {name} already; send another nick"
            ))),
            _ => Ok(name),
        }
    }

    fn rename(&mut self, id: u64, room: &str, new: Name, effects: &mut Vec<Effect>) {
        let name = match self.free_name(id, new.as_str()) {
            Ok(name) => name,
            Err(why) => return effects.push(to(id, &why)),
        };
        let Some(named) = self.people.get_mut(&id).and_then(|person| person.named.as_mut()) else {
            return;
        };
        let before = std::mem::replace(&mut named.name, name.clone());
        self.names.remove(&before.key());
        self.names.insert(name.key(), id);
        effects.push(self.rooms[room].say(&Event::Renamed(before, name), None));
    }

    fn speak(
        &mut self,
        id: u64,
        room: &str,
        spoken: Spoken,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if spoken.text().as_str().len() > self.caps.text_bytes_max {
            return effects.push(to(id, &self.too_long()));
        }
        self.statistics.messages += 1;
        let history_items_max = self.caps.history_items_max;
        let Some(room) = self.rooms.get_mut(room) else { return };
        effects.push(room.say(&Event::Spoken(spoken.clone()), Some(id)));
        room.history.push_back((now, spoken));
        if room.history.len() > history_items_max {
            room.history.pop_front();
        }
    }

    fn tell(&mut self, id: u64, from: Name, other: &Name, text: Text, effects: &mut Vec<Effect>) {
        if text.as_str().len() > self.caps.text_bytes_max {
            return effects.push(to(id, &self.too_long()));
        }
        effects.push(match self.names.get(&other.key()) {
            Some(other) => {
                self.statistics.private += 1;
                to(*other, &Event::Private(from, text))
            }
            None => to(id, &Event::refused(format_args!("nobody is called {other}"))),
        });
    }

    fn list_people(&self, id: u64, room: &str, effects: &mut Vec<Effect>) {
        match self.rooms.get(room) {
            Some(found) => {
                let members = Event::members(&found.name, &self.members(room));
                effects.extend(members.iter().map(|event| to(id, event)));
            }
            None => {
                effects.push(to(id, &Event::refused("there is no such room; /rooms lists them")))
            }
        }
    }

    /// From one room into another.
    fn go(&mut self, id: u64, from: &str, into: Name, now: Instant, effects: &mut Vec<Effect>) {
        let there = self.rooms.get(&into.key()).map(|room| room.people.len());
        let why = match there {
            _ if into.key() == from => "you are there already",
            Some(people) if people >= self.caps.people_per_room_max => "this room is full",
            // The room that is left may be gone then, but that is only known afterwards.
            None if self.rooms.len() >= self.caps.rooms_max => "there are too many rooms already",
            _ => {
                let name = self.name(id).cloned();
                self.leave(id, name, from, None, effects);
                return self.enter(id, into, now, effects);
            }
        };
        effects.push(to(id, &Event::refused(why)));
    }

    /// What was said there, then the news to all, themselves included: from there on they hear it live.
    fn enter(&mut self, id: u64, into: Name, now: Instant, effects: &mut Vec<Effect>) {
        let key = into.key();
        let room = self.rooms.entry(key.clone()).or_insert_with(|| Room::new(into));
        let Some(named) = self.people.get_mut(&id).and_then(|person| person.named.as_mut()) else {
            return;
        };
        named.room = key;
        room.people.insert(id);
        effects.extend(room.history.iter().map(|(at, spoken)| {
            let age = now.saturating_duration_since(*at).as_secs();
            to(id, &Event::Replayed(age, spoken.clone()))
        }));
        effects.push(Effect::Enter(id, room.id.clone()));
        effects.push(room.say(&Event::Joined(named.name.clone(), room.name.clone()), None));
    }

    fn leave(
        &mut self,
        id: u64,
        name: Option<Name>,
        from: &str,
        text: Option<Text>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(room) = self.rooms.get_mut(from) else { return };
        room.people.remove(&id);
        effects.push(Effect::Leave(id, room.id.clone()));
        if room.people.is_empty() && room.name != self.lobby {
            effects.push(Effect::Forget(room.id.clone()));
            self.rooms.remove(from);
        } else if let Some(name) = name {
            effects.push(room.say(&Event::Left(name, room.name.clone(), text), None));
        }
    }

    fn refuse_flood(&mut self, id: u64, refused: u32, effects: &mut Vec<Effect>) {
        self.statistics.lines_refused += 1;
        // Said once, or the answers would be a flood themselves.
        if refused == 1 {
            effects.push(to(id, &Event::refused("too many lines at once: this one was dropped")));
        }
        if refused > self.caps.refused_lines_max {
            self.statistics.cut_for_flood += 1;
            effects.push(to(id, &Event::refused("too many lines at once: good-bye")));
            self.cut(id, Why::Flood, effects);
        }
    }

    fn cut(&mut self, id: u64, why: Why, effects: &mut Vec<Effect>) {
        self.remove(id, Some(Text::new(&why.to_string())), effects);
        effects.push(Effect::Cut(id, why));
    }

    fn remove(&mut self, id: u64, text: Option<Text>, effects: &mut Vec<Effect>) {
        let Some(named) = self.people.remove(&id).and_then(|person| person.named) else { return };
        self.names.remove(&named.name.key());
        self.leave(id, Some(named.name), &named.room, text, effects);
    }

    fn too_long(&self) -> Event {
        let max = self.caps.text_bytes_max;
        Event::refused(format_args!("a text has at most {max} bytes, escapes counted as shown"))
    }
}

impl Room {
    fn say(&self, event: &Event, except: Option<u64>) -> Effect {
        Effect::Room { room: self.id.clone(), line: event.to_string(), except }
    }
}

fn to(id: u64, event: &Event) -> Effect {
    Effect::To(id, event.to_string())
}

fn help(id: u64, effects: &mut Vec<Effect>) {
    let lines = COMMANDS.iter().map(|command| {
        let call = format!("{} {}", command.name, command.arguments);
        to(id, &Event::notice(format_args!("{call:16} {}", command.what)))
    });
    effects.extend(lines);
    effects.push(to(id, &Event::notice("//text          says a text that begins with a slash")));
}

/// A browser can be made to send text to any port. What it sends first gives it away: a method and a
/// blank, where a nick has none.
fn looks_like_http(line: &str) -> bool {
    let method = line.split_once(' ').map(|(method, _)| method);
    let is_method = |word: &str| METHODS.iter().any(|method| word.eq_ignore_ascii_case(method));
    method.is_some_and(is_method) || line.contains(" HTTP/")
}

const METHODS: &[&str] =
    &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PRI", "PUT", "TRACE"];
