//! `chat_server` and `chat_client` as they are run, on both engines, and others who speak the same
//! lines: a socket, `nc`, a browser.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// For every wait, however slow the machine.
const DEADLINE: Duration = Duration::from_secs(30);
const ENGINES: [&str; 2] = ["threads", "events"];

/// An example, which cargo has built for the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.exists(), "build it first: cargo build --example {name} ({path:?} is not there)");
    Command::new(path)
}

struct Server {
    child: Child,
    /// HOST:PORT.
    at: String,
    rest: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Server {
    fn on(engine: &str, test: &str, options: &[&str]) -> Server {
        let log = std::env::temp_dir().join(format!("chat-{test}-{engine}-{}", std::process::id()));
        let mut child = example("chat_server")
            .args(["tcp://127.0.0.1:0", "--engine", engine, "--verbose"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        rest.read_line(&mut line).unwrap();
        let at = line.trim_end().strip_prefix("listening on tcp://").unwrap().to_owned();
        Server { child, at, rest, log }
    }

    /// Somebody who is in already.
    fn person(&self, nick: &str) -> Person {
        let mut person = self.stranger();
        person.says(nick);
        person.until(&format!("+ {nick} joined lobby"));
        person.until_begin("# "); // how many are there
        person
    }

    fn stranger(&self) -> Person {
        let stream = TcpStream::connect(&self.at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut person = Person { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        person.until_begin("# welcome");
        person
    }

    fn client(&self, nick: &str) -> Command {
        let mut client = example("chat_client");
        client.args([&format!("tcp://{}", self.at), "--plain", "--nick", nick]);
        client
    }

    /// Ends it by a signal; its report and its log.
    fn stop(mut self) -> (String, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut report = String::new();
        self.rest.read_to_string(&mut report).unwrap();
        assert!(self.child.wait().unwrap().success());
        (report, fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

struct Person {
    lines: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Person {
    fn says(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; nothing at the end.
    fn hears(&mut self) -> String {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(_) => line.trim_end_matches('\n').to_owned(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// What comes before this line.
    fn until(&mut self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let heard = self.hears();
            if heard == line {
                return before;
            }
            assert!(!heard.is_empty(), "the end came before {line:?}: {before:?}");
            before.push(heard);
        }
    }

    fn until_begin(&mut self, begin: &str) -> String {
        loop {
            let heard = self.hears();
            if heard.starts_with(begin) {
                return heard;
            }
            assert!(!heard.is_empty(), "the end came before {begin:?}");
        }
    }

    /// The server has closed, and said nothing more.
    fn is_cut(&mut self) {
        assert_eq!(self.hears(), "");
    }
}

/// Runs a program to its end, with this to read.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = piped(command);
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn piped(command: &mut Command) -> Child {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.spawn().unwrap()
}

fn says(pipe: &mut ChildStdin, line: &str) {
    pipe.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn an_http_request_is_cut_without_being_broadcast() {
    for engine in ENGINES {
        let server = Server::on(engine, "http", &[]);
        let mut ann = server.person("ann");
        for request in ["GET / HTTP/1.1", "POST /x HTTP/1.1"] {
            let mut browser = server.stranger();
            browser.says(&format!("{request}\r\nHost: {}\r\n\r\neve\r\nhello all", server.at));
            browser.is_cut();
        }
        let mut ben = server.person("ben");
        ben.says("hello");
        assert_eq!(ann.until("ben: hello"), ["+ ben joined lobby"], "{engine}");
        let (report, _) = server.stop();
        assert!(report.contains("2 who spoke HTTP"), "{engine}: {report}");
    }
}

#[test]
fn hostile_lines_reach_others_and_the_log_inert() {
    for engine in ENGINES {
        let server = Server::on(engine, "hostile", &[]);
        let mut ann = server.person("ann");
        let mut eve = server.stranger();
        eve.says("\x1b]0;eve\x07");
        assert!(eve.hears().starts_with("! a name has no hidden"));
        eve.says("eve");
        eve.until("+ eve joined lobby");
        eve.says("a\x1b[2J\u{9b}31m\u{202e}\u{200b}\0\rz");
        eve.says("\x1b");
        eve.says("[2J");
        let shown = r"eve: a\u{1b}[2J\u{9b}31m\u{202e}\u{200b}\u{0}\u{d}z";
        assert_eq!(ann.until(shown), ["+ eve joined lobby"], "{engine}");
        ann.until(r"eve: \u{1b}");
        ann.until("eve: [2J");
        let (_, log) = server.stop();
        assert!(log.contains(r"a\u{1b}[2J\u{9b}31m\u{202e}\u{200b}\u{0}\u{d}z"), "{engine}: {log}");
        let hidden = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(c));
        assert!(!log.contains(hidden), "{engine}: {log:?}");
    }
}

#[test]
fn each_message_reaches_everybody_once_and_in_the_order_of_its_sender() {
    const PEOPLE: usize = 8;
    const MESSAGES: usize = 50;
    for engine in ENGINES {
        let server = Server::on(engine, "order", &["--burst", "1000"]);
        let people: Vec<Person> =
            (0..PEOPLE).map(|who| server.person(&format!("p{who}"))).collect();
        let talkers = people.into_iter().enumerate().map(|(who, mut person)| {
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    person.says(&number.to_string());
                }
                let mut next = [0; PEOPLE];
                next[who] = MESSAGES; // one does not hear oneself
                while next != [MESSAGES; PEOPLE] {
                    let line = person.until_begin("p");
                    let (from, number) = line[1..].split_once(": ").unwrap();
                    let next = &mut next[from.parse::<usize>().unwrap()];
                    assert_eq!(number, next.to_string(), "{engine}: p{who} hears {line:?}");
                    *next += 1;
                }
            })
        });
        // All talk before any is waited for.
        let talkers: Vec<_> = talkers.collect();
        talkers.into_iter().for_each(|talker| talker.join().unwrap());
    }
}

#[test]
fn the_list_of_members_is_exact_after_many_came_and_went() {
    for engine in ENGINES {
        let server = Server::on(engine, "churn", &["--burst", "1000000"]);
        let mut stay = thread::scope(|scope| {
            let server = &server;
            let crowds: Vec<_> = (0..4)
                .map(|crowd| {
                    scope.spawn(move || {
                        let come = |number| server.person(&format!("p{crowd}-{number:02}"));
                        let come = (0..50).map(come).enumerate();
                        let stay = come.filter_map(|(number, mut person)| match number % 5 {
                            0 => Some(person),
                            1 => {
                                person.says("/quit");
                                None
                            }
                            _ => None, // with something unread: a reset, or without: an end
                        });
                        stay.collect::<Vec<Person>>()
                    })
                })
                .collect();
            crowds.into_iter().flat_map(|crowd| crowd.join().unwrap()).collect::<Vec<_>>()
        });
        let count = stay.len() + 1;
        let mut ann = server.person("ann");
        let deadline = Instant::now() + DEADLINE;
        // That somebody is gone is learnt when the kernel says so.
        loop {
            ann.says("/who");
            let heard = ann.until_begin("@ lobby ");
            if heard.starts_with(&format!("@ lobby {count}: ")) {
                break;
            }
            assert!(Instant::now() < deadline, "{engine}: {count} stayed: {heard}");
        }
        // Everybody on the list is there to be spoken to.
        for person in &mut stay {
            person.says("/me is here");
        }
        for _ in &stay {
            ann.until_begin("* p");
        }
        let (report, _) = server.stop();
        assert!(report.contains(&format!("people:  {count} now")), "{engine}: {report}");
        assert!(report.contains("201 came, 201 had a nick"), "{engine}: {report}");
    }
}

#[test]
fn who_does_not_read_is_cut_and_others_do_not_wait() {
    for engine in ENGINES {
        let options = ["--burst", "1000000", "--unread-bytes", "65536", "--history", "5"];
        let server = Server::on(engine, "slow", &options);
        let mut slow = server.person("slow");
        let (mut ann, mut ben) = (server.person("ann"), server.person("ben"));
        let text = "x".repeat(4000);
        let deadline = Instant::now() + DEADLINE;
        // What the kernel's buffers take comes first.
        let cut = loop {
            ann.says(&text);
            let heard = ben.until_begin("");
            if heard.starts_with("- slow left") {
                break heard;
            }
            assert!(Instant::now() < deadline, "{engine}: it is not cut");
        };
        assert_eq!(cut, "- slow left lobby: reads too slowly", "{engine}");
        let mut rest = Vec::new();
        let _ = slow.stream.read_to_end(&mut rest); // then a reset, or the end
        let (report, _) = server.stop();
        assert!(report.contains("1 who read too slowly"), "{engine}: {report}");
    }
}

#[test]
fn a_plain_client_takes_lines_and_ends_once_all_is_answered() {
    for engine in ENGINES {
        let server = Server::on(engine, "plain", &[]);
        let mut ann = server.person("ann");
        let input = b"/who\n/leave\nhello\nno \xff text\r\n/who";
        let ben = run(server.client("ben").args(["--room", "rust"]), input);
        assert!(ben.status.success(), "{engine}: {ben:?}");
        let out = String::from_utf8(ben.stdout).unwrap();
        let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "+ ben joined lobby",
            "+ ben joined rust",
            "@ rust 1: ben",
            "+ ben joined lobby",
            "@ lobby 2: ann ben",
        ];
        assert_eq!(lines, expected, "{engine}");
        ann.until("ben: hello");
        ann.until("ben: no \u{fffd} text");
        ann.until("- ben left lobby");
    }
}

#[test]
fn a_plain_client_says_what_is_wrong_on_one_line() {
    let server = Server::on("threads", "wrong", &[]);
    let ann = server.person("ann");
    let wrong = |command: &mut Command, why: &str| {
        let ended = run(command, b"");
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{error}");
        assert!(error.starts_with("chat_client: ") && error.contains(why), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    wrong(&mut server.client("ann"), "somebody is called ann already");
    wrong(&mut server.client("b:b"), "a name has no : in it");
    wrong(&mut example("chat_client"), "no ENDPOINT");
    let long = format!("one\n{}\nthree", "x".repeat(9_000));
    let ended = run(&mut server.client("lou"), long.as_bytes());
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("8192"), "{error}");
    drop(ann);

    // The server goes while the input is still open.
    let mut ben = piped(&mut server.client("ben"));
    let mut out = BufReader::new(ben.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("+ ben joined") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
    }
    let mut input = ben.stdin.take().unwrap();
    says(&mut input, "hello");
    let at = server.at.clone();
    server.stop();
    let ended = ben.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let mut gone = example("chat_client");
    wrong(gone.args([&format!("tcp://{at}"), "--plain"]), "Connection refused");
}

#[test]
fn a_signal_ends_the_chat_for_everybody_and_is_not_waited_out() {
    for engine in ENGINES {
        let server = Server::on(engine, "signal", &[]);
        let (mut ann, mut ben) = (server.person("ann"), server.person("ben"));
        ann.says("hello");
        ben.until("ann: hello");
        let leave = thread::spawn(move || {
            for person in [&mut ann, &mut ben] {
                person.until("# the server stops; good-bye");
            }
        });
        let (report, log) = server.stop();
        leave.join().unwrap();
        assert!(report.starts_with("stopped: 2 finished, 0 cut off"), "{engine}: {report}");
        assert!(report.contains("1 in rooms") && report.contains("2 now, 2 at most"), "{report}");
        assert_eq!(log.matches("is gone").count(), 2, "{engine}: {log}");
    }
}

#[test]
fn nc_joins_talks_and_leaves() {
    let Ok(help) = Command::new("nc").arg("-h").output() else {
        return not_run("there is no nc");
    };
    let help = [help.stdout, help.stderr].concat();
    for engine in ENGINES {
        let server = Server::on(engine, "nc", &[]);
        let mut ann = server.person("ann");
        let (host, port) = server.at.split_once(':').unwrap();
        let mut nc = piped(Command::new("nc").args([host, port]));
        let mut keys = nc.stdin.take().unwrap();
        says(&mut keys, "ben\r"); // as some of them end lines
        ann.until("+ ben joined lobby");
        says(&mut keys, "hello from nc");
        ann.until("ben: hello from nc");
        ann.says("hello ben");
        says(&mut keys, "/quit bye");
        ann.until("- ben left lobby: bye");
        drop(keys);
        let out = nc.wait_with_output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[0], "+ ben joined lobby", "{engine}, {}", String::from_utf8_lossy(&help));
    }
}

/// Nothing is left out in silence: past what the harness captures.
fn not_run(why: &str) {
    let line = format!("\n******** NOT RUN: nc_joins_talks_and_leaves: {why} ********\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") {
        let mut list = fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(list, "nc_joins_talks_and_leaves").unwrap();
    }
}
