//! A client's place in the chat, which outlives its connections.

use crate::chat::event::Event;
use crate::chat::name::Name;
use crate::chat::request::Request;
use sockeye::ErrorKind;
use sockeye::client::{Client, FramedReader, FramedWriter};
use sockeye::codec::Lines;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub struct Session {
    endpoint: String,
    state: Mutex<State>,
}

struct State {
    /// None while there is no connection.
    writer: Option<FramedWriter<Lines>>,
    nick: String,
    /// Where we are, or want to be.
    room: Option<Name>,
    has_entered: bool,
    /// The server did not take the nick: the next line is another one.
    is_refused: bool,
    is_over: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Yes,
    /// There is no connection.
    NotConnected,
    /// The server has not said yet that we are in.
    TooEarly,
}

/// What a line meant to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// We have our nick.
    Entered,
    /// We are in this room now.
    Moved,
    /// It was refused before we had entered.
    Shut,
    Other,
}

impl Session {
    pub fn new(endpoint: String, nick: Name, room: Option<Name>) -> Session {
        let (nick, has_entered, is_refused, is_over) = (nick.to_string(), false, false, false);
        let state = State { writer: None, nick, room, has_entered, is_refused, is_over };
        Session { endpoint, state: Mutex::new(state) }
    }

    /// Connects, and says who we are.
    pub fn connect(&self) -> Result<FramedReader<Lines>, sockeye::Error> {
        let client = Client::to(&self.endpoint).timeout(PATIENCE).codec(Lines::default());
        let (mut reader, mut writer) = client.connect()?.split();
        reader.set_timeout(None); // a chat may be quiet for hours
        let mut state = self.state();
        writer.send(&state.nick)?;
        (state.writer, state.has_entered, state.is_refused) = (Some(writer), false, false);
        Ok(reader)
    }

    /// Sends a line as it was typed.
    ///
    /// After an error the line may have been sent in part, so nothing follows it on this connection: it is
    /// closed, as whoever reads will see. Not so for a line that is none.
    pub fn send(&self, line: &str) -> Result<Sent, sockeye::Error> {
        let mut state = self.state();
        let quits = matches!(Request::parse(line), Ok(Request::Quit(_)));
        state.is_over |= quits;
        if state.writer.is_some() && !state.has_entered && !quits {
            if !state.is_refused {
                return Ok(Sent::TooEarly);
            }
            if !line.starts_with('/') {
                state.nick = line.trim().to_owned();
                state.is_refused = false;
            }
        }
        let Some(writer) = &mut state.writer else { return Ok(Sent::NotConnected) };
        match writer.send(line) {
            Ok(()) => Ok(Sent::Yes),
            Err(error) if error.kind() == ErrorKind::BadFrame => Err(error),
            Err(error) => {
                let _ = writer.shutdown_write();
                state.writer = None;
                Err(error)
            }
        }
    }

    /// Leaves: what is under way still comes, then the server closes.
    pub fn quit(&self) -> Result<Sent, sockeye::Error> {
        self.send(&Request::Quit(None).to_string())
    }

    /// A line has come.
    pub fn hear(&self, event: &Event) -> Result<News, sockeye::Error> {
        let mut state = self.state();
        match event {
            Event::Joined(name, room) if name.as_str() == state.nick => {
                if std::mem::replace(&mut state.has_entered, true) {
                    state.room = Some(room.clone());
                    return Ok(News::Moved);
                }
                let wanted = state.room.clone().filter(|wanted| wanted.key() != room.key());
                state.room.get_or_insert_with(|| room.clone());
                if let (Some(wanted), Some(writer)) = (wanted, &mut state.writer) {
                    writer.send(&Request::Join(wanted).to_string())?;
                }
                return Ok(News::Entered);
            }
            Event::Renamed(before, after) if before.as_str() == state.nick => {
                state.nick = after.to_string();
            }
            Event::Refused(_) if !state.has_entered => {
                state.is_refused = true;
                return Ok(News::Shut);
            }
            _ => {}
        }
        Ok(News::Other)
    }

    /// The connection is lost.
    pub fn lose(&self) {
        self.state().writer = None;
    }

    /// Whether this is where we are, or want to be.
    pub fn is_at(&self, room: &Name) -> bool {
        self.state().room.as_ref().is_some_and(|wanted| wanted.key() == room.key())
    }

    pub fn nick(&self) -> String {
        self.state().nick.clone()
    }

    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For connecting, and for a server that takes nothing.
const PATIENCE: Duration = Duration::from_secs(10);
