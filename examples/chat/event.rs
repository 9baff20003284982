//! What a server tells: a line each, as the module [`chat`](super) shows them.
//!
//! `to_string` and [`Event::parse`] undo each other.

use super::name::Name;
use super::text::Text;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody said or did something here.
    Spoken(Spoken),
    /// So many seconds ago; of before one came.
    Replayed(u64, Spoken),
    /// To you alone.
    Private(Name, Text),
    Joined(Name, Name),
    /// From which room, and what was said on leaving.
    Left(Name, Name, Option<Text>),
    Renamed(Name, Name),
    /// Some of the people of a room, and how many are in it.
    Members(Name, usize, Vec<Name>),
    Room(Name, usize),
    Notice(Text),
    Refused(Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    Message(Name, Text),
    Action(Name, Text),
}

impl Spoken {
    pub fn name(&self) -> &Name {
        match self {
            Spoken::Message(name, _) | Spoken::Action(name, _) => name,
        }
    }

    pub fn text(&self) -> &Text {
        match self {
            Spoken::Message(_, text) | Spoken::Action(_, text) => text,
        }
    }

    fn parse(line: &str) -> Option<Spoken> {
        if let Some(action) = line.strip_prefix("* ") {
            let (name, text) = action.split_once(' ')?;
            return Some(Spoken::Action(Name::new(name).ok()?, Text::new(text)));
        }
        let (name, text) = named(line)?;
        Some(Spoken::Message(name, text))
    }
}

impl Event {
    pub fn notice(text: impl fmt::Display) -> Event {
        Event::Notice(Text::new(&text.to_string()))
    }

    pub fn refused(text: impl fmt::Display) -> Event {
        Event::Refused(Text::new(&text.to_string()))
    }

    /// The event that a line is; `None` if it is none. Texts are made inert, names with anything hidden
    /// in them make it no event.
    pub fn parse(line: &str) -> Option<Event> {
        let (sign, rest) = line.split_once(' ')?;
        let event = match sign {
            "~" => {
                let (age, spoken) = rest.split_once(' ')?;
                Event::Replayed(number(age)?, Spoken::parse(spoken)?)
            }
            "<" => {
                let (name, text) = named(rest)?;
                Event::Private(name, text)
            }
            "+" => {
                let (name, room) = rest.split_once(" joined ")?;
                Event::Joined(Name::new(name).ok()?, Name::new(room).ok()?)
            }
            "-" => {
                let (name, room) = rest.split_once(" left ")?;
                let (room, text) = match room.split_once(": ") {
                    Some((room, text)) => (room, Some(Text::new(text))),
                    None => (room, None),
                };
                Event::Left(Name::new(name).ok()?, Name::new(room).ok()?, text)
            }
            "=" => {
                let (before, after) = rest.split_once(" is now ")?;
                Event::Renamed(Name::new(before).ok()?, Name::new(after).ok()?)
            }
            "@" => {
                let (room, names) = rest.split_once(':')?;
                let (room, count) = room.split_once(' ')?;
                let mut names = names.split(' ');
                names.next().filter(|blank| blank.is_empty())?;
                let names = names.map(Name::new).collect::<Result<_, _>>().ok()?;
                Event::Members(Name::new(room).ok()?, number(count)?.try_into().ok()?, names)
            }
            "%" => {
                let (room, count) = rest.split_once(' ')?;
                Event::Room(Name::new(room).ok()?, number(count)?.try_into().ok()?)
            }
            "#" => Event::Notice(Text::new(rest)),
            "!" => Event::Refused(Text::new(rest)),
            _ => Event::Spoken(Spoken::parse(line)?),
        };
        Some(event)
    }

    /// Who is in a room, in as many lines as it takes, one at least.
    pub fn members(room: &Name, names: &[Name]) -> Vec<Event> {
        let line = |some: &[Name]| Event::Members(room.clone(), names.len(), some.to_vec());
        let none = names.is_empty().then(|| line(&[]));
        names.chunks(MEMBERS_PER_LINE).map(line).chain(none).collect()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Spoken(spoken) => spoken.fmt(f),
            Event::Replayed(age, spoken) => write!(f, "~ {age} {spoken}"),
            Event::Private(name, text) => write!(f, "< {name}: {text}"),
            Event::Joined(name, room) => write!(f, "+ {name} joined {room}"),
            Event::Left(name, room, None) => write!(f, "- {name} left {room}"),
            Event::Left(name, room, Some(text)) => write!(f, "- {name} left {room}: {text}"),
            Event::Renamed(before, after) => write!(f, "= {before} is now {after}"),
            Event::Members(room, count, names) => {
                write!(f, "@ {room} {count}:")?;
                names.iter().try_for_each(|name| write!(f, " {name}"))
            }
            Event::Room(room, count) => write!(f, "% {room} {count}"),
            Event::Notice(text) => write!(f, "# {text}"),
            Event::Refused(text) => write!(f, "! {text}"),
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spoken::Message(name, text) => write!(f, "{name}: {text}"),
            Spoken::Action(name, text) => write!(f, "* {name} {text}"),
        }
    }
}

fn named(line: &str) -> Option<(Name, Text)> {
    let (name, text) = line.split_once(": ")?;
    Some((Name::new(name).ok()?, Text::new(text)))
}

/// Digits as they are printed, so that a number has one spelling.
fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Of the longest names, these fit into half of the longest line.
const MEMBERS_PER_LINE: usize = 40;
