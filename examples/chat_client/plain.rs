//! Line in, line out: for pipes, scripts and screens that cannot be written on at will.

use crate::chat::event::Event;
use crate::chat::text::inert;
use crate::session::{News, Session};
use sockeye::ErrorKind;
use sockeye::client::FramedReader;
use sockeye::codec::Lines;
use std::error::Error;
use std::io::{self, BufRead, Write};
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
    let mut input = io::stdin().lock();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match input.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => fail(&format!("standard input: {error}")),
        }
        let line = String::from_utf8_lossy(&bytes);
        match session.send(line.trim_end_matches(['\r', '\n'])) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::BadFrame => fail(&error.to_string()),
            // A lost connection is seen, and told, by who reads from it.
            Err(_) => return,
        }
    }
    if session.quit().is_ok() {
        thread::sleep(DRAIN);
        fail(&format!("the server did not end the chat within {} s", DRAIN.as_secs()));
    }
}

fn fail(why: &str) -> ! {
    eprintln!("chat_client: {why}");
    std::process::exit(1);
}

const DRAIN: Duration = Duration::from_secs(10);
