//! How what comes looks on a screen: when, who, what, in columns and colours.

use crate::chat::event::{Event, Spoken};
use crate::chat::text::{columns, inert};

pub struct Screen {
    /// Without, nothing but text is written.
    pub has_colours: bool,
}

impl Screen {
    /// A line for the screen, with its end. `clock` is when it was said; `nick` is ours.
    pub fn line(&self, event: &Event, clock: &str, nick: &str) -> String {
        match event {
            Event::Spoken(spoken) => self.spoken(spoken, clock, nick, false),
            Event::Replayed(_, spoken) => self.spoken(spoken, clock, nick, true),
            Event::Private(name, text) => {
                let name = self.name(name.as_str(), false);
                self.row(clock, &name, &self.paint(PRIVATE, &format!("(to you) {text}")))
            }
            Event::Joined(name, room) => self.news(clock, "-->", &format!("{name} joined {room}")),
            Event::Left(name, room, None) => {
                self.news(clock, "<--", &format!("{name} left {room}"))
            }
            Event::Left(name, room, Some(text)) => {
                self.news(clock, "<--", &format!("{name} left {room} ({text})"))
            }
            Event::Renamed(before, after) => {
                self.news(clock, "--", &format!("{before} is now {after}"))
            }
            Event::Members(room, count, names) => {
                let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                self.news(clock, "--", &format!("{room}, {count} here: {}", names.join(" ")))
            }
            Event::Room(room, count) => self.news(clock, "--", &format!("{room}: {count} there")),
            Event::Notice(text) => self.news(clock, "--", text.as_str()),
            Event::Refused(text) => self.refused(clock, text.as_str()),
        }
    }

    /// A line that is none of the protocol.
    pub fn strange(&self, line: &str, clock: &str) -> String {
        self.row(clock, &self.right("?"), &inert(line))
    }

    pub fn refused(&self, clock: &str, text: &str) -> String {
        self.row(clock, &self.right("!"), &self.paint(REFUSED, &inert(text)))
    }

    fn spoken(&self, spoken: &Spoken, clock: &str, nick: &str, is_replayed: bool) -> String {
        let (who, text) = match spoken {
            Spoken::Message(name, text) => {
                (self.name(name.as_str(), is_replayed), text.to_string())
            }
            Spoken::Action(name, text) => (self.right("*"), format!("{name} {text}")),
        };
        let text = match is_replayed {
            true => self.paint(QUIET, &text),
            false if mentions(spoken.text().as_str(), nick) => self.paint(MENTION, &text),
            false => text,
        };
        self.row(clock, &who, &text)
    }

    fn news(&self, clock: &str, sign: &str, text: &str) -> String {
        self.row(clock, &self.right(sign), &self.paint(QUIET, text))
    }

    fn row(&self, clock: &str, who: &str, text: &str) -> String {
        format!("{} {who} {} {text}\n", self.paint(QUIET, clock), self.paint(QUIET, "│"))
    }

    fn name(&self, name: &str, is_replayed: bool) -> String {
        // Everybody has one colour of these, the same on every screen.
        let sum = name
            .to_lowercase()
            .bytes()
            .fold(0_usize, |sum, byte| sum * 31 % 9973 + usize::from(byte));
        let colour = if is_replayed { QUIET } else { NICKS[sum % NICKS.len()] };
        let blanks = " ".repeat(WHO_COLUMNS.saturating_sub(columns(name)));
        blanks + &self.paint(colour, name)
    }

    fn right(&self, sign: &str) -> String {
        format!("{sign:>WHO_COLUMNS$}")
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{colour}m{text}\x1b[m") } else { text.to_owned() }
    }
}

/// Whether a bell is due: somebody spoke to us, and just now.
pub fn rings(event: &Event, nick: &str) -> bool {
    match event {
        Event::Private(..) => true,
        Event::Spoken(spoken) => mentions(spoken.text().as_str(), nick),
        _ => false,
    }
}

/// Whether a nick is in a text, as a word of its own.
fn mentions(text: &str, nick: &str) -> bool {
    let (text, nick) = (text.to_lowercase(), nick.to_lowercase());
    let mut found = text.match_indices(&nick);
    !nick.is_empty()
        && found.any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + nick.len()..].chars().next();
            ![before, after].into_iter().flatten().any(char::is_alphanumeric)
        })
}

/// Most nicks are shorter; a longer one pushes its own line to the right.
const WHO_COLUMNS: usize = 12;

// Parameters of SGR, the terminal's sequence for colours.
const QUIET: &str = "90";
const PRIVATE: &str = "35";
const REFUSED: &str = "31";
const MENTION: &str = "1;33";
const NICKS: &[&str] = &["32", "33", "34", "35", "36", "92", "94", "95", "96"];
