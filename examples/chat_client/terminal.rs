//! On a terminal: what is typed below, what comes above it.
//!
//! ```text
//!   main thread      line editor ─► session.send
//!   another thread   reader ─► event ─► printer, which lets the line editor print it
//! ```

use crate::chat::event::Event;
use crate::chat::request::Request;
use crate::known::{Assistant, Known};
use crate::screen::{Screen, rings};
use crate::session::{News, Sent, Session};
use jiff::{SignedDuration, Zoned};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};
use sockeye::client::FramedReader;
use sockeye::codec::Lines;
use sockeye::connect::Backoff;
use std::collections::hash_map::RandomState;
use std::env;
use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

pub fn run(session: Arc<Session>, reader: FramedReader<Lines>) -> Result<(), Box<dyn Error>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .max_history_size(1000)?;
    let mut editor = Editor::<Assistant, DefaultHistory>::with_config(config.build())?;
    let known = Arc::new(Mutex::new(Known::default()));
    editor.set_helper(Some(Assistant(known.clone())));
    let mut complaints = Output::new(editor.create_external_printer()?);
    let output = Output::new(editor.create_external_printer()?);

    let (ended, end) = mpsc::channel();
    let receiver = Receiver { session: session.clone(), known, output };
    thread::spawn(move || {
        receiver.run(reader);
        let _ = ended.send(()); // nobody waits for it any more
    });

    loop {
        let typed = match editor.readline("> ") {
            Ok(typed) => typed,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(error.into()),
        };
        // What is pasted may have several.
        for line in typed.lines().filter(|line| !line.trim().is_empty()) {
            match session.send(line) {
                Ok(Sent::Yes) => {}
                Ok(Sent::NotConnected) => complaints.refuse("not sent: there is no connection"),
                Ok(Sent::TooEarly) => {
                    complaints.refuse("not sent: the server has not let us in yet")
                }
                Err(error) => complaints.refuse(&format!("not sent: {error}")),
            }
        }
        if session.is_over() {
            break;
        }
    }
    if session.is_over() || matches!(session.quit(), Ok(Sent::Yes)) {
        let _ = end.recv_timeout(FAREWELL); // late or never, we go
    }
    Ok(())
}

/// The other thread: what comes from the server.
struct Receiver<P> {
    session: Arc<Session>,
    known: Arc<Mutex<Known>>,
    output: Output<P>,
}

impl<P: ExternalPrinter> Receiver<P> {
    /// Until we leave.
    fn run(mut self, mut reader: FramedReader<Lines>) {
        let mut backoff = Backoff::default();
        loop {
            let error = self.receive(&mut reader, &mut backoff);
            self.session.lose();
            if self.session.is_over() {
                return;
            }
            self.output.refuse(&format!("{error}; connecting again"));
            let Some(found) = self.reconnect(&mut backoff) else { return };
            reader = found;
        }
    }

    fn reconnect(&mut self, backoff: &mut Backoff) -> Option<FramedReader<Lines>> {
        loop {
            // Seeded anew by std each time.
            thread::sleep(backoff.pause(RandomState::new().build_hasher().finish())?);
            if self.session.is_over() {
                return None;
            }
            match self.session.connect() {
                Ok(reader) => return Some(reader),
                Err(error) => self.output.refuse(&error.to_string()),
            }
        }
    }

    /// Shows what comes, until the connection is lost.
    fn receive(
        &mut self,
        reader: &mut FramedReader<Lines>,
        backoff: &mut Backoff,
    ) -> sockeye::Error {
        loop {
            let heard = reader.receive().and_then(|line| match Event::parse(line) {
                Some(event) => self.hear(&event),
                None => {
                    self.output.strange(line);
                    Ok(News::Other)
                }
            });
            match heard {
                // A server that closes at once does not count as one that is back.
                Ok(News::Entered) => backoff.reset(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    fn hear(&mut self, event: &Event) -> Result<News, sockeye::Error> {
        let news = self.session.hear(event)?;
        match event {
            // Whom Tab can complete, and who is there to talk to.
            Event::Joined(_, room) if news != News::Other && self.session.is_at(room) => {
                self.session.send(&Request::Who(None).to_string())?;
            }
            _ => {}
        }
        // First, so that what can be seen can be completed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner).learn(event);
        self.output.show(event, &self.session.nick());
        Ok(news)
    }
}

/// Where lines appear, above the one that is being typed.
///
/// A line that comes in the very moment in which Enter is pressed may change places with the next one:
/// the printer hands over to the editor, and the editor is not there just then.
struct Output<P> {
    printer: P,
    screen: Screen,
}

impl<P: ExternalPrinter> Output<P> {
    fn new(printer: P) -> Output<P> {
        let has_colours = env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Output { printer, screen: Screen { has_colours } }
    }

    fn show(&mut self, event: &Event, nick: &str) {
        let age = if let Event::Replayed(age, _) = event { *age } else { 0 };
        let mut line = self.screen.line(event, &clock(age), nick);
        if rings(event, nick) {
            line.insert(0, BELL);
        }
        self.print(line);
    }

    fn strange(&mut self, line: &str) {
        self.print(self.screen.strange(line, &clock(0)));
    }

    fn refuse(&mut self, text: &str) {
        self.print(self.screen.refused(&clock(0), text));
    }

    fn print(&mut self, line: String) {
        // It fails when the editor is gone, and then so is who would read it.
        let _ = self.printer.print(line);
    }
}

/// The local time so many seconds ago.
fn clock(age: u64) -> String {
    let now = Zoned::now();
    let age = i64::try_from(age).unwrap_or(i64::MAX);
    let then = now.checked_sub(SignedDuration::from_secs(age)).unwrap_or(now);
    then.strftime("%H:%M").to_string()
}

const BELL: char = '\x07';

/// How long the server may take to end the chat when we leave.
const FAREWELL: Duration = Duration::from_secs(1);
