//! Talks in a chat: the counterpart of `chat_server`.
//!
//!     cargo run --example chat_client -- tcp://127.0.0.1:7000 --nick ann
//!
//! Type text and press Enter; `/help` lists the commands, Tab completes them and the nicks, the arrow
//! keys bring back what was typed, Ctrl-D leaves. What others say appears above the line that is being
//! typed, which stays whole. Who mentions you rings the bell. When the connection is lost it connects
//! again, after pauses that grow, with the same nick and into the same room; nothing that was typed
//! meanwhile is sent later. Colours are left out if `NO_COLOR` is set.
//!
//! With `--plain`, or where there is no terminal, it takes lines and prints lines of the protocol,
//! which `chat/mod.rs` shows. At the end of the input it waits for what is still under way, and exits
//! with status 0; it does not connect again: a lost connection is an error, and so is a refused nick.
//!
//! With rustyline 18, which `Cargo.lock` has because 19 wants Rust 1.95, characters that arrive at once,
//! as from some input methods, show one late until Enter (rustyline#976); a paste is whole. With a newer
//! Rust, `cargo update -p rustyline --precise 19.0.0` mends that.
//!
//! Nothing from the network reaches the terminal unless `chat/text.rs` has made it inert.

#[path = "chat/mod.rs"]
mod chat;
#[path = "chat_client/known.rs"]
mod known;
#[path = "chat_client/plain.rs"]
mod plain;
#[path = "chat_client/screen.rs"]
mod screen;
#[path = "chat_client/session.rs"]
mod session;
#[path = "chat_client/terminal.rs"]
mod terminal;

use chat::name::Name;
use std::env;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

const USAGE: &str = "usage: chat_client ENDPOINT [--nick NAME] [--room NAME] [--plain]
endpoints: tcp://127.0.0.1:7000, unix:///tmp/chat, ...; the nick is your user name without --nick
--plain: line in, line out; by itself where standard input or output is no terminal";

fn main() {
    if let Err(error) = run() {
        // Never in the middle of a line of the terminal's, which is left by now.
        eprintln!("chat_client: {}", chat::text::inert(&error.to_string()));
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut endpoint, mut nick, mut room, mut is_plain) = (None, None, None, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => return Ok(writeln!(io::stdout(), "{USAGE}")?),
            Long("nick") => nick = Some(Name::new(&arguments.value()?.string()?)?),
            Long("room") => room = Some(Name::new(&arguments.value()?.string()?)?),
            Long("plain") => is_plain = true,
            Value(value) if endpoint.is_none() => endpoint = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let endpoint = endpoint.ok_or("no ENDPOINT; --help shows how to call it")?;
    let user = env::var("USER").ok().and_then(|user| Name::new(&user).ok());
    let nick = nick.or(user).map_or_else(|| Name::new("guest"), Ok)?;

    let session = Arc::new(session::Session::new(endpoint, nick, room));
    let reader = session.connect()?;
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if is_plain || !has_terminal || env::var("TERM").is_ok_and(|term| term == "dumb") {
        plain::run(&session, reader)
    } else {
        terminal::run(session, reader)
    }
}
