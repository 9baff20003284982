//! What a client asks for: a line each, once it has its nick.
//!
//! `to_string` and [`Request::parse`] undo each other.

use super::name::{BadName, Name};
use super::text::Text;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Say(Text),
    Me(Text),
    Msg(Name, Text),
    Nick(Name),
    /// In this room, or where one is.
    Who(Option<Name>),
    Join(Name),
    Leave,
    Rooms,
    Help,
    Quit(Option<Text>),
}

/// A command, for help and for completion.
pub struct Command {
    pub name: &'static str,
    pub arguments: &'static str,
    pub what: &'static str,
}

pub const COMMANDS: &[Command] = &[
    command("/help", "", "lists the commands"),
    command("/join", "ROOM", "goes into another room"),
    command("/leave", "", "goes back to the lobby"),
    command("/me", "TEXT", "says what you do"),
    command("/msg", "NICK TEXT", "tells one person"),
    command("/nick", "NICK", "changes your nick"),
    command("/quit", "[TEXT]", "leaves the chat"),
    command("/rooms", "", "lists the rooms"),
    command("/who", "[ROOM]", "lists who is there"),
];

const fn command(name: &'static str, arguments: &'static str, what: &'static str) -> Command {
    Command { name, arguments, what }
}

impl Request {
    /// What a line asks for. Blanks at its end are nothing.
    ///
    /// # Errors
    ///
    /// Why it is not understood, in words for who typed it.
    pub fn parse(line: &str) -> Result<Request, BadRequest> {
        let line = line.trim_end();
        if line.is_empty() {
            return Err(BadRequest::Empty);
        }
        let Some(command) = line.strip_prefix('/') else {
            return Ok(Request::Say(Text::new(line)));
        };
        if command.starts_with('/') {
            return Ok(Request::Say(Text::new(command)));
        }
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.trim_start();
        let some = || if rest.is_empty() { Err(BadRequest::Missing) } else { Ok(rest) };
        Ok(match word {
            "me" => Request::Me(Text::new(some()?)),
            "msg" => {
                let (name, text) = some()?.split_once(' ').ok_or(BadRequest::Missing)?;
                Request::Msg(Name::new(name)?, Text::new(text.trim_start()))
            }
            "nick" => Request::Nick(Name::new(some()?)?),
            "who" if rest.is_empty() => Request::Who(None),
            "who" => Request::Who(Some(Name::new(rest)?)),
            "join" => Request::Join(Name::new(some()?)?),
            "quit" if rest.is_empty() => Request::Quit(None),
            "quit" => Request::Quit(Some(Text::new(rest))),
            "leave" => Request::Leave,
            "rooms" => Request::Rooms,
            "help" => Request::Help,
            _ => return Err(BadRequest::Unknown),
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Say(text) if text.as_str().starts_with('/') => write!(f, "/{text}"),
            Request::Say(text) => text.fmt(f),
            Request::Me(text) => write!(f, "/me {text}"),
            Request::Msg(name, text) => write!(f, "/msg {name} {text}"),
            Request::Nick(name) => write!(f, "/nick {name}"),
            Request::Who(None) => f.write_str("/who"),
            Request::Who(Some(room)) => write!(f, "/who {room}"),
            Request::Join(room) => write!(f, "/join {room}"),
            Request::Leave => f.write_str("/leave"),
            Request::Rooms => f.write_str("/rooms"),
            Request::Help => f.write_str("/help"),
            Request::Quit(None) => f.write_str("/quit"),
            Request::Quit(Some(text)) => write!(f, "/quit {text}"),
        }
    }
}

/// Why a line asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Nothing but blanks: not worth an answer.
    Empty,
    Unknown,
    Missing,
    Name(BadName),
}

impl From<BadName> for BadRequest {
    fn from(error: BadName) -> BadRequest {
        BadRequest::Name(error)
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRequest::Empty => f.write_str("there is nothing in this line"),
            BadRequest::Unknown => {
                f.write_str("no such command; /help lists them, // begins a text")
            }
            BadRequest::Missing => f.write_str("something is missing; /help shows what"),
            BadRequest::Name(error) => error.fmt(f),
        }
    }
}
