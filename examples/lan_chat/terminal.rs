//! Keyboard and screen: on a terminal with a line editor, else plain lines.
//!
//! ```text
//!   reading thread    a line ─► circle
//!   printing thread   what the circle prints ─► standard output, above the line that is typed
//! ```
//!
//! The engine never waits for a terminal.

use super::COMPANY;
use super::circle::Circle;
use super::links::Chat;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{self, JoinHandle};

pub struct Keyboard {
    pub chat: Arc<Chat>,
    /// Told when the chat is to end.
    pub quit: Sender<()>,
}

pub struct Screen {
    printer: JoinHandle<()>,
    before: Option<Termios>,
}

impl Keyboard {
    /// Lines in and lines out.
    pub fn plain(self, lines: Receiver<String>) -> Screen {
        let quit = self.quit.clone();
        let printer = thread::spawn(move || {
            let mut out = io::stdout();
            for line in lines {
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    // Nobody reads any more.
                    let _ = quit.send(());
                    return;
                }
            }
        });
        thread::spawn(move || {
            if let Err(error) = self.read() {
                self.chat.tell(|circle, _| circle.notice(format!("standard input: {error}")));
            }
            let _ = self.quit.send(());
        });
        Screen { printer, before: None }
    }

    fn read(&self) -> io::Result<()> {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        let mut first = true;
        while input.read_until(b'\n', &mut line)? > 0 {
            if std::mem::take(&mut first) {
                // A program writes its line at once, when nobody can have been found yet.
                self.chat.wait(COMPANY, Circle::has_company);
            }
            let text = String::from_utf8_lossy(&line);
            if !self.typed(text.trim_end_matches(['\r', '\n'])) {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    /// With a line editor: what comes meanwhile appears above the line that is being typed.
    pub fn terminal(self, lines: Receiver<String>) -> Result<Screen, Box<dyn Error>> {
        let before = tcgetattr(io::stdin()).ok();
        let config = Config::builder().auto_add_history(true).max_history_size(1_000)?.build();
        let mut editor = Editor::<(), DefaultHistory>::with_config(config)?;
        let mut out = editor.create_external_printer()?;
        let printer = thread::spawn(move || {
            for line in lines {
                // It fails when the editor is gone: then the chat ends.
                let _ = out.print(format!("{line}\n"));
            }
        });
        thread::spawn(move || {
            loop {
                match editor.readline("> ") {
                    // What is pasted may have several lines.
                    Ok(typed) if typed.lines().all(|line| self.typed(line)) => {}
                    Ok(_) | Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
                    Err(error) => {
                        self.chat.tell(|circle, _| circle.notice(format!("terminal: {error}")));
                        break;
                    }
                }
            }
            let _ = self.quit.send(());
        });
        Ok(Screen { printer, before })
    }

    /// What one line does. False if it ends the chat.
    fn typed(&self, line: &str) -> bool {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/quit", _) => return false,
            ("/who", _) => self.chat.tell(|circle, _| circle.who()),
            ("/nick", nick) => self.chat.tell(|circle, _| circle.rename(nick.trim())),
            ("/help", _) => self.chat.tell(|circle, _| circle.notice(HELP)),
            ("" | "/me", "") => {}
            ("/me", action) => self.chat.tell(|circle, _| circle.act(action)),
            // Text that begins with a slash has two.
            (word, _) if word.starts_with("//") => {
                self.chat.tell(|circle, _| circle.say(&line[1..]));
            }
            (word, _) if word.starts_with('/') => {
                self.chat.tell(|circle, _| circle.notice(format!("no such command: {HELP}")));
            }
            _ => self.chat.tell(|circle, _| circle.say(line)),
        }
        true
    }
}

impl Screen {
    /// After the last line: it is printed, and the terminal is as it was.
    pub fn close(self) {
        let _ = self.printer.join();
        // The line editor may be waiting still, if a signal ends the chat: raw, and with brackets around
        // what is pasted.
        if let Some(before) = self.before {
            let _ = write!(io::stdout(), "\x1b[?2004l\r\x1b[K");
            let _ = io::stdout().flush();
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }
}

const HELP: &str = "/me ACTION, /who, /nick NAME, /help, /quit; //text is text that begins with /";
