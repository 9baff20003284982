//! A chat, without socket, terminal or clock: what goes over the wire, and what the server decides.
//!
//! `chat_server` and `chat_client` share it, and a chat without a server needs [`name`], [`text`] and
//! [`event`] only. With what follows a bot can be written, or `nc` be used.
//!
//! # The protocol
//!
//! Lines of UTF-8, ended by `\n` or `\r\n`, over any stream. A line beyond 8 KiB, or one that is not
//! UTF-8, ends the connection.
//!
//! **What a client sends** ([`request`]): first its nick, alone on a line. If that is refused (a line
//! with `!` comes), it sends another. From then on each line is text for the room where it is, or a
//! command:
//!
//! ```text
//! good morning         text; the sender does not get it back
//! //etc is full        text that begins with a slash: "/etc is full"
//! /me waves            an action
//! /msg ben see you     to one person, in whatever room
//! /nick annie          another nick
//! /join rust           into another room, which is made if it is not there; a person is in one room
//! /leave               back to the first room, the lobby
//! /who   /who rust     who is there
//! /rooms   /help   /quit   /quit good night
//! ```
//!
//! **What a server sends** ([`event`]): the first characters say what it is. Nicks and rooms have no
//! blank and no `:` in them and begin with no sign of this table, texts come last and have no newline
//! in them: so no text looks like a line of another kind.
//!
//! ```text
//! ann: good morning           a message
//! * ann waves                 an action
//! < ann: see you              a private message, to you alone
//! + ann joined lobby          also to ann herself: she has her nick, and is in that room
//! - ann left lobby            or: - ann left lobby: good night
//! = ann is now annie          also to herself
//! ~ 125 ann: good morning     replayed: said 125 seconds ago. A bot ignores these lines
//! ~ 80 * ann waves
//! @ lobby 3: ann ben cid      who is in a room of 3; more than a line holds come in several lines
//! % rust 12                   a room, and how many are in it
//! # text                      a word from the server
//! ! text                      what was asked is refused, and why
//! ```
//!
//! Who enters a room gets its last messages, replayed, then its own `+` line, then what is said. The
//! age is in seconds because then no clock needs to be set right, and nobody's time zone matters.
//!
//! Texts are inert: what would steer a terminal or hide is spelled out, as [`text`] says. A client
//! does it once more, because it cannot know to whom it speaks.
#![allow(dead_code, reason = "each program uses its part")]

pub mod event;
pub mod flood;
pub mod hall;
pub mod name;
pub mod request;
pub mod text;
