//! Line in, line out: for pipes, scripts and screens that cannot be written on at will.

use crate::chat::event::Event;
use crate::chat::text::inert;
use crate::session::{News, Session};
use sockeye::client::FramedReader;
use sockeye::codec::Lines;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub fn run(session: &Arc<Session>, mut reader: FramedReader<Lines>) -> Result<(), Box<dyn Error>> {
    loop {
        let line = match reader.receive() {
            Ok(line) => inert(line),
            Err(_) if session.is_over() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Standard output hands each line on at its end.
        writeln!(io::stdout(), "{line}")?;
        let Some(event) = Event::parse(&line) else { continue };
        match (session.hear(&event)?, event) {
            // Sent before, a text could be taken for another nick.
            (News::Entered, _) => {
                let session = session.clone();
                thread::spawn(move || feed(&session));
            }
            (News::Shut, Event::Refused(why)) => return Err(why.as_str().into()),
            _ => {}
        }
    }
}

/// Sends what is typed or piped, then leaves.
fn feed(session: &Session) {
    let lines = io::stdin().lines().map_while(Result::ok);
    for line in lines {
        // A lost connection is seen, and told, by who reads from it.
        if session.send(&line).is_err() {
            return;
        }
    }
    if session.quit().is_ok() {
        thread::sleep(DRAIN);
        eprintln!("chat_client: the server did not end the chat within {} s", DRAIN.as_secs());
        std::process::exit(1);
    }
}

const DRAIN: Duration = Duration::from_secs(10);
