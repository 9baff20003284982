//! `chat_client` on a terminal: what is typed stays whole, what comes is inert, whatever it is.
//!
//! The terminal is a pseudo-terminal, `vt100` keeps its screen, and the server is a socket that the
//! test reads and writes by hand, so that it can be as hostile as it likes.
//!
//!     SOCKEYE_PICTURE=examples/chat_client.svg cargo test --test chat_screen picture
//!
//! draws the picture of the screen that `examples/README.md` shows.

use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthStr;

/// For every wait, however slow the machine.
const DEADLINE: Duration = Duration::from_secs(30);
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

// ---- The two ends -------------------------------------------------------------------------------

/// An example, which cargo has built for the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.exists(), "build it first: cargo build --example {name} ({path:?} is not there)");
    path
}

/// A terminal with a program on it.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

struct Seen {
    screen: vt100::Parser,
    /// Every byte that the program wrote.
    bytes: Vec<u8>,
}

impl Terminal {
    fn of_client(server: &Server, variables: &[(&str, &str)]) -> Terminal {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(example("chat_client"));
        command.args([&server.endpoint(), "--nick", "ann"]);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZero::new(size).unwrap());
        let screen = vt100::Parser::new(rows, columns, 1000);
        let seen = Arc::new((Mutex::new(Seen { screen, bytes: Vec::new() }), Condvar::new()));
        let ours = seen.clone();
        thread::spawn(move || {
            let _master = pair.master; // the terminal is there as long as somebody reads
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let mut seen = ours.0.lock().unwrap();
                seen.screen.process(&buffer[..length]);
                seen.bytes.extend_from_slice(&buffer[..length]);
                ours.1.notify_all();
            }
        });
        Terminal { child, keys, seen }
    }

    /// One key: rustyline 18 with a printer looks at the first of several only, until another comes.
    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// A text at the end of what was typed already, key by key.
    fn types(&mut self, before: &str, text: &str) {
        let mut typed = before.to_owned();
        for key in text.chars() {
            self.press(&key.to_string());
            typed.push(key);
            self.has_typed(&typed);
            // A blank is only to be seen by where the cursor is.
            let cursor = 2 + typed.width();
            self.wait("the cursor behind it", |seen| {
                usize::from(seen.screen.screen().cursor_position().1) == cursor
            });
        }
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = self.seen.0.lock().unwrap();
        while !is_so(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not on the screen: {what}\n{}", rows(&seen).join("\n"));
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits until the screen is as described.
    fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        self.wait(what, |seen| is_so(&rows(seen)));
    }

    fn shows(&self, text: &str) {
        self.until(text, |rows| rows.iter().any(|row| row.contains(text)));
    }

    /// The last row with anything in it is the prompt, with this behind it.
    fn has_typed(&self, typed: &str) {
        let prompt = format!("> {typed}");
        self.until(&prompt, |rows| {
            rows.last().is_some_and(|row| row.trim_end() == prompt.trim_end())
        });
    }

    fn bytes(&self) -> Vec<u8> {
        self.seen.0.lock().unwrap().bytes.clone()
    }

    /// Waits for the end of the program.
    fn status(&mut self) -> u32 {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            thread::sleep(Duration::from_millis(5)); // there is nothing to wait on
        }
        panic!("it does not end");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Without empty rows at the end.
fn rows(seen: &Seen) -> Vec<String> {
    let mut rows: Vec<String> = seen.screen.screen().rows(0, COLUMNS).collect();
    while rows.last().is_some_and(|row| row.trim().is_empty()) {
        rows.pop();
    }
    rows
}

/// A server that says what the test has it say.
struct Server {
    listener: TcpListener,
    talk: Option<(BufReader<TcpStream>, TcpStream)>,
}

impl Server {
    fn new() -> Server {
        Server { listener: TcpListener::bind("127.0.0.1:0").unwrap(), talk: None }
    }

    fn endpoint(&self) -> String {
        format!("tcp://{}", self.listener.local_addr().unwrap())
    }

    /// Takes a connection; `ann` comes in.
    fn let_ann_in(&mut self) {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        self.talk = Some((BufReader::new(stream.try_clone().unwrap()), stream));
        self.hears("ann");
        self.says("+ ann joined lobby");
    }

    fn says(&mut self, line: &str) {
        let (_, stream) = self.talk.as_mut().unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hears(&mut self, line: &str) {
        let mut heard = String::new();
        self.talk.as_mut().unwrap().0.read_line(&mut heard).unwrap();
        assert_eq!(heard, format!("{line}\n"));
    }
}

fn start(variables: &[(&str, &str)]) -> (Server, Terminal) {
    let mut server = Server::new();
    let terminal = Terminal::of_client(&server, variables);
    server.let_ann_in();
    server.hears("/who");
    terminal.shows("ann joined lobby");
    terminal.has_typed("");
    (server, terminal)
}

// ---- What is typed ------------------------------------------------------------------------------

#[test]
fn half_a_line_stays_whole_while_messages_arrive() {
    let (mut server, mut terminal) = start(&[]);
    let mut typed = String::from("half a ");
    terminal.types("", &typed);
    for (number, key) in "line, 日本 đ 😀 and so on".chars().enumerate() {
        server.says(&format!("ben: message {number}"));
        terminal.press(&key.to_string());
        typed.push(key);
        let message = format!("ben │ message {number}");
        terminal.until(&message, |rows| rows.iter().any(|row| row.ends_with(&message)));
        terminal.has_typed(&typed);
    }
    // Many at once, longer than the screen is high and wider than it is wide.
    for number in 0..100 {
        server.says(&format!("ben: {}{number}", "much ".repeat(20)));
    }
    terminal.shows("much 99");
    terminal.has_typed(&typed);
    terminal.press("\r");
    server.hears(&typed);
    // And in the middle of a line.
    terminal.types("", "ac");
    terminal.press("\x1b[D");
    server.says("ben: in the middle");
    terminal.shows("in the middle");
    terminal.press("b");
    terminal.has_typed("abc");
    terminal.press("\r");
    server.hears("abc");
}

#[test]
fn a_line_longer_than_the_screen_is_wide_stays_whole() {
    let (mut server, mut terminal) = start(&[]);
    let typed = "0123456789".repeat(20);
    let wrapped = |rows: &[String]| rows.concat().ends_with(&format!("> {typed}"));
    terminal.press(&format!("\x1b[200~{typed}\x1b[201~")); // as a terminal pastes
    terminal.until("the long line", wrapped);
    for number in 0..5 {
        server.says(&format!("ben: message {number}"));
        terminal.shows(&format!("message {number}"));
        terminal.until("the long line", wrapped);
    }
    terminal.press("\r");
    server.hears(&typed);
}

#[test]
fn tab_completes_and_the_arrow_brings_back() {
    let (mut server, mut terminal) = start(&[]);
    server.says("@ lobby 3: ann ben chloë");
    terminal.shows("3 here: ann ben chloë");
    terminal.types("", "ch");
    terminal.press("\t");
    terminal.has_typed("chloë: ");
    terminal.types("chloë: ", "hi to b");
    terminal.press("\t");
    terminal.has_typed("chloë: hi to ben");
    terminal.press("\r");
    server.hears("chloë: hi to ben ");
    terminal.types("", "/ni");
    terminal.press("\t");
    terminal.has_typed("/nick");
    terminal.press("\x15"); // Ctrl-U
    terminal.has_typed("");
    terminal.press("\x1b[A");
    terminal.has_typed("chloë: hi to ben");
}

#[test]
fn a_mention_rings_and_a_replayed_one_does_not() {
    let (mut server, terminal) = start(&[]);
    server.says("~ 60 ben: ann, are you there?");
    server.says("ben: annabel is somebody else");
    terminal.shows("annabel");
    assert!(!terminal.bytes().contains(&7));
    server.says("ben: where is Ann?");
    terminal.shows("where is Ann?");
    assert_eq!(terminal.bytes().iter().filter(|byte| **byte == 7).count(), 1);
    server.says("< ben: psst");
    terminal.shows("(to you) psst");
    assert_eq!(terminal.bytes().iter().filter(|byte| **byte == 7).count(), 2);
}

#[test]
fn a_lost_connection_is_made_again_with_nick_and_room() {
    let (mut server, mut terminal) = start(&[]);
    server.says("+ ann joined rust");
    server.hears("/who");
    server.says("= ann is now ann2");
    server.says("= ann2 is now ann");
    terminal.shows("ann2 is now ann");
    terminal.types("", "half");
    server.talk = None;
    terminal.until("what happened", |rows| rows.concat().contains("connecting again"));
    server.let_ann_in();
    server.hears("/join rust");
    server.says("+ ann joined rust");
    server.hears("/who");
    terminal.has_typed("half");
    terminal.types("half", " and half");
    terminal.press("\r");
    server.hears("half and half");
}

#[test]
fn what_is_typed_before_the_answer_is_neither_sent_nor_a_nick() {
    let mut server = Server::new();
    let mut terminal = Terminal::of_client(&server, &[]);
    let (stream, _) = server.listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    server.talk = Some((BufReader::new(stream.try_clone().unwrap()), stream));
    server.hears("ann");
    terminal.types("", "hello");
    terminal.press("\r");
    terminal.until("why not", |rows| rows.concat().contains("has not let us in yet"));
    server.says("+ ann joined lobby");
    server.hears("/who");
    terminal.types("", "now");
    terminal.press("\r");
    server.hears("now");
    // A nick that is refused is another matter.
    server.talk = None;
    let (stream, _) = server.listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    server.talk = Some((BufReader::new(stream.try_clone().unwrap()), stream));
    server.hears("ann");
    server.says("! somebody is called ann already; send another nick");
    terminal.until("the refusal", |rows| rows.concat().contains("somebody is called ann"));
    terminal.types("", "anna");
    terminal.press("\r");
    server.hears("anna");
    server.says("+ anna joined lobby");
    server.hears("/who");
}

#[test]
fn control_d_leaves() {
    let (mut server, mut terminal) = start(&[]);
    terminal.press("\x04");
    server.hears("/quit");
    server.talk = None;
    assert_eq!(terminal.status(), 0);
}

// ---- What comes ---------------------------------------------------------------------------------

/// What would do harm on a terminal, and what is to be seen of it.
const HOSTILE: &[(&str, &str)] = &[
    ("\x1b[2J\x1b[H", r"\u{1b}[2J\u{1b}[H"),
    ("\x1b]52;c;Y2FsYw==\x07", r"\u{1b}]52;c;Y2FsYw==\u{7}"),
    ("\x1b]0;title\x1b\\", r"\u{1b}]0;title\u{1b}\"),
    ("\x1bP+q544e\x1b\\", r"\u{1b}P+q544e\u{1b}\"),
    ("\u{9b}2J\u{9d}0;x\u{9c}", r"\u{9b}2J\u{9d}0;x\u{9c}"),
    ("\u{85}\r\x08\x7f\x0b", r"\u{85}\u{d}\u{8}\u{7f}\u{b}"),
    ("\u{202e}gnp\u{2066}\u{200f}", r"\u{202e}gnp\u{2066}\u{200f}"),
    ("a\u{200b}\u{200d}\u{feff}\u{2028}b", r"a\u{200b}\u{200d}\u{feff}\u{2028}b"),
];

#[test]
fn hostile_nicks_and_texts_are_shown_inert() {
    let (mut server, mut terminal) = start(&[("NO_COLOR", "1")]);
    terminal.types("", "half a line");
    for (hostile, shown) in HOSTILE {
        let lines = [
            format!("eve: {hostile}."),
            format!("{hostile}eve: 1."),
            format!("* {hostile} 2."),
            format!("* eve {hostile}3."),
            format!("< eve: {hostile}4."),
            format!("+ {hostile} joined lobby5."),
            format!("- eve left lobby: {hostile}6."),
            format!("~ 3 eve: {hostile}7."),
            format!("@ lobby 1: {hostile}8."),
            format!("# {hostile}9."),
            format!("! {hostile}10."),
            format!("{hostile}11."),
        ];
        for line in &lines {
            server.says(line);
        }
        terminal.shows(&format!("{shown}11."));
        terminal.until(shown, |rows| rows.iter().filter(|row| row.contains(shown)).count() >= 10);
        terminal.has_typed("half a line");
        // The same, a character a message.
        for c in hostile.chars() {
            server.says(&format!("eve: {c}"));
        }
        server.says("eve: that was it");
        let last = shown.rsplit(r"\u{").next().map(|last| format!(r"eve │ \u{{{last}"));
        terminal.shows("eve │ that was it");
        if hostile.chars().next_back().is_some_and(char::is_control) {
            terminal.shows(&last.unwrap());
        }
        server.says(&"# \n".repeat(usize::from(ROWS)));
        terminal
            .until("a clear screen", |rows| !rows.iter().any(|row| row.contains("that was it")));
    }
    terminal.press("\r");
    server.hears("half a line");
    assert_is_harmless(&terminal.bytes());
}

/// What the line editor writes, and nothing else: it moves the cursor and clears what it has written,
/// and brackets what is pasted. (Colours are off.)
fn assert_is_harmless(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("only whole characters are written");
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let sequence = &rest[at + 1..];
        let body =
            sequence.strip_prefix('[').unwrap_or_else(|| panic!("ESC {:?}", first(sequence)));
        let end = body.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let allowed = match &body[end..=end] {
            "A" | "B" | "C" | "D" | "K" => true,
            "J" => matches!(&body[..end], "" | "0"),
            "h" | "l" => matches!(&body[..end], "?2004" | "?2026" | "?25"),
            _ => false,
        };
        assert!(allowed, "CSI {:?}", first(body));
        rest = &body[end + 1..];
    }
    // Between a hundred private messages and as many mentions there are bells of our own.
    let is_ours = |c: char| matches!(c, '\x1b' | '\n' | '\r' | '\x07');
    let foreign = text.chars().find(|c| {
        (c.is_control() && !is_ours(*c))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || *c == '\u{feff}'
    });
    assert_eq!(foreign, None);
}

fn first(text: &str) -> String {
    text.chars().take(20).collect()
}

#[test]
fn a_picture_of_the_screen() {
    let (mut server, mut terminal) = start(&[]);
    let lines = [
        "# 4 in the chat; /who lists them, /help the commands",
        "~ 1500 ben: has anybody seen the datagram that I sent?",
        "~ 1440 * chloë shrugs: it was UDP",
        "@ lobby 4: ann ben chloë 小明",
        "小明: 早上好 ☕ wide characters line up",
        "chloë: good morning! ann, your turn to bring cake",
        "eve: \x1b[2J\x1b]0;owned\x07 and \u{202e}backwards",
        "< ben: psst, I have the cake",
        "! nobody is called bob",
        "- eve left lobby: too many lines",
        "ben: it has three layers 🎂",
    ];
    for line in lines {
        server.says(line);
    }
    terminal.shows("three layers");
    terminal.types("", "chloë: what is half typed stays wh");
    terminal.shows(r"eve │ \u{1b}[2J\u{1b}]0;owned\u{7} and \u{202e}backwards");
    terminal.shows("小明 │ 早上好 ☕ wide characters line up");
    if let Some(path) = std::env::var_os("SOCKEYE_PICTURE") {
        std::fs::write(path, picture(terminal.seen.0.lock().unwrap().screen.screen())).unwrap();
    }
}

// ---- The picture --------------------------------------------------------------------------------

/// The screen as SVG: a text for each run of cells that look the same.
fn picture(screen: &vt100::Screen) -> String {
    const CELL: (f32, f32) = (8.4, 18.0);
    let rows = (0..ROWS).filter(|row| (0..COLUMNS).any(|at| has_text(screen, *row, at))).max();
    let rows = rows.unwrap_or(0) + 1;
    let (width, height) = (f32::from(COLUMNS) * CELL.0 + 24.0, f32::from(rows) * CELL.1 + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>chat_client: messages above, and below them the line that is being typed</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1d1f21\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"14\" xml:space=\"preserve\">\n"
    );
    for row in 0..rows {
        let mut at = 0;
        while at < COLUMNS {
            let (start, style) = (at, style(screen, row, at));
            let mut run = String::new();
            // A wide character is a run of its own, so that what follows is in its column whatever
            // the font.
            let is_wide = screen.cell(row, at).is_some_and(vt100::Cell::is_wide);
            while at < COLUMNS && has_text(screen, row, at) && self::style(screen, row, at) == style
            {
                let cell = screen.cell(row, at).unwrap();
                if cell.is_wide() != is_wide || (is_wide && !run.is_empty()) {
                    break;
                }
                run.push_str(if cell.has_contents() { cell.contents() } else { " " });
                at += if cell.is_wide() { 2 } else { 1 };
            }
            if run.trim().is_empty() {
                at = at.max(start + 1);
                continue;
            }
            let run = run.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let (x, y) = (12.0 + f32::from(start) * CELL.0, 25.0 + f32::from(row) * CELL.1);
            let length = f32::from(at - start) * CELL.0;
            svg += &format!(
                "<text x=\"{x:.1}\" y=\"{y:.0}\" {style} textLength=\"{length:.1}\">{run}</text>\n"
            );
        }
    }
    let (row, at) = screen.cursor_position();
    let (x, y) = (12.0 + f32::from(at) * CELL.0, 11.0 + f32::from(row) * CELL.1);
    svg + &format!(
        "<rect x=\"{x:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"18\" fill=\"#c5c8c6\"/>\n</g>\n</svg>\n",
        CELL.0
    )
}

/// Blanks within a line count, wide characters' second halves too.
fn has_text(screen: &vt100::Screen, row: u16, at: u16) -> bool {
    let has = |at| screen.cell(row, at).is_some_and(|cell| cell.has_contents());
    has(at) || (at..COLUMNS).any(has)
}

fn style(screen: &vt100::Screen, row: u16, at: u16) -> String {
    const COLOURS: [&str; 16] = [
        "#1d1f21", "#cc6666", "#b5bd68", "#f0c674", "#81a2be", "#b294bb", "#8abeb7", "#c5c8c6",
        "#7c8084", "#d98080", "#c9d17c", "#f5d58a", "#95b6d2", "#c6a8cf", "#9ed2cb", "#ffffff",
    ];
    let cell = screen.cell(row, at).unwrap();
    let colour = match cell.fgcolor() {
        vt100::Color::Idx(index) => COLOURS.get(usize::from(index)).copied().unwrap_or("#c5c8c6"),
        _ => "#c5c8c6",
    };
    let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
    format!("fill=\"{colour}\"{weight}")
}
