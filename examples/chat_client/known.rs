//! What Tab completes: commands, nicks and rooms that were heard of.

use crate::chat::event::Event;
use crate::chat::name::Name;
use crate::chat::request::COMMANDS;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
pub struct Known {
    nicks: BTreeSet<Name>,
    rooms: BTreeSet<Name>,
}

impl Known {
    pub fn learn(&mut self, event: &Event) {
        // A server that makes names up does not fill our memory.
        if self.nicks.len() + self.rooms.len() > NAMES_MAX {
            (self.nicks, self.rooms) = Default::default();
        }
        match event {
            Event::Spoken(spoken) => self.nicks.extend([spoken.name().clone()]),
            Event::Private(name, _) => self.nicks.extend([name.clone()]),
            Event::Joined(name, room) => {
                self.nicks.insert(name.clone());
                self.rooms.insert(room.clone());
            }
            Event::Left(name, ..) => {
                self.nicks.remove(name);
            }
            Event::Renamed(before, after) => {
                self.nicks.remove(before);
                self.nicks.insert(after.clone());
            }
            Event::Members(_, _, names) => self.nicks.extend(names.iter().cloned()),
            Event::Room(room, _) => self.rooms.extend([room.clone()]),
            Event::Replayed(..) | Event::Notice(_) | Event::Refused(_) => {}
        }
    }

    /// Where the word before the cursor begins, and what it may become.
    pub fn complete(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(' ').map_or(0, |blank| blank + 1);
        let word = before[start..].to_lowercase();
        let of = |names: &BTreeSet<Name>, end: &str| {
            let fits = names.iter().filter(|name| name.key().starts_with(&word));
            fits.map(|name| format!("{name}{end}")).collect()
        };
        let completed = match before.split(' ').next() {
            _ if start == 0 && word.starts_with('/') => {
                let fits = COMMANDS.iter().filter(|command| command.name.starts_with(&word));
                fits.map(|command| format!("{} ", command.name)).collect()
            }
            Some("/join" | "/who") => of(&self.rooms, " "),
            _ if start == 0 => of(&self.nicks, ": "),
            _ => of(&self.nicks, " "),
        };
        (start, completed)
    }
}

const NAMES_MAX: usize = 10_000;

/// What the line editor asks.
pub struct Assistant(pub Arc<Mutex<Known>>);

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.complete(&line[..cursor]))
    }
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
