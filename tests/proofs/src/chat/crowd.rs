//! Many clients in one thread: each line that comes is checked as it comes.
//!
//! A client is `p` and its number. What it says is its count of lines so far, the time at which the line
//! was due, in microseconds, and a filling: so what comes back tells who missed what, and how late it is.
//! The time is the one of the plan: if the sender is late, the line is.

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub struct Crowd {
    pub people: Vec<Person>,
    pub tally: Tally,
    server: SocketAddr,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// The room of each, and the place there.
    places: Vec<(usize, usize)>,
    begin: Instant,
    filling: String,
}

pub struct Person {
    /// None when it has ended.
    stream: Option<TcpStream>,
    /// It does not read, and was told by the system that the connection is over.
    pub is_cut: bool,
    /// What the system kept for it at most, on the server's side, of what it did not read.
    pub kept_by_system: u64,
    nick: String,
    pub room: usize,
    reads: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    pub said: u32,
    /// Of each place in the room, how many lines.
    pub heard: Vec<u32>,
    /// What it has read since the talk began.
    bytes: u64,
    /// How often it was told that it has come into a room, the lobby apart; others are, for who does not
    /// read.
    pub entries: u32,
    asked_at: Instant,
}

/// What all of them found.
#[derive(Default)]
pub struct Tally {
    /// Lines of those who read.
    pub heard: u64,
    pub missed: u64,
    /// Or out of order, which looks the same.
    pub doubled: u64,
    /// What should not have come; some of it is kept.
    pub strange: u64,
    pub examples: Vec<String>,
    /// In microseconds.
    pub delays: Vec<u32>,
    /// How long after its time a line was handed to the kernel.
    pub own_delays: Vec<u32>,
    /// How long it took into another room.
    pub entry_delays: Vec<u32>,
    /// Whom others saw go, with what word, and how much had been said there until then, in bytes.
    pub left: BTreeMap<usize, (String, u64)>,
    /// Lines that answer `/who`: by room, the size and the people.
    pub who: BTreeMap<String, (usize, Vec<String>)>,
}

impl Crowd {
    pub fn new(server: SocketAddr) -> Result<Crowd, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| e.to_string())?;
        let (people, places, tally) = (Vec::new(), Vec::new(), Tally::default());
        let (events, begin, filling) = (Vec::with_capacity(256), Instant::now(), String::new());
        Ok(Crowd { people, tally, server, epoll, events, places, begin, filling })
    }

    /// Somebody comes and goes into this room, where `seats` people will be.
    pub fn enter(&mut self, room: usize, seats: usize, reads: bool) -> Result<usize, String> {
        let id = self.people.len();
        let stream = connect(self.server, reads).map_err(|error| format!("p{id}: {error}"))?;
        // Ends by force are told to who does not read, too.
        let interest = if reads { EventFlags::IN } else { EventFlags::RDHUP };
        let data = EventData::new_u64(id as u64);
        epoll::add(&self.epoll, &stream, data, interest).map_err(|error| error.to_string())?;
        let seat = self.places.iter().filter(|place| place.0 == room).count();
        self.places.push((room, seat));
        let nick = format!("p{id}");
        let first = format!("{nick}\n/join r{room}\n");
        self.people.push(Person {
            stream: Some(stream),
            is_cut: false,
            kept_by_system: 0,
            nick,
            room,
            reads,
            input: Vec::new(),
            output: Vec::new(),
            said: 0,
            heard: vec![0; seats],
            bytes: 0,
            entries: 0,
            asked_at: Instant::now(),
        });
        self.write(id, first.as_bytes());
        Ok(id)
    }

    /// A command, or whatever.
    pub fn type_line(&mut self, id: usize, line: &str) {
        self.write(id, format!("{line}\n").as_bytes());
    }

    pub fn change_room(&mut self, id: usize, room: usize) {
        self.people[id].room = room;
        self.people[id].asked_at = Instant::now();
        self.type_line(id, &format!("/join r{room}"));
    }

    /// Goes without a word.
    pub fn hang_up(&mut self, id: usize) {
        self.people[id].stream = None;
    }

    pub fn is_connected(&self, id: usize) -> bool {
        self.people[id].stream.is_some()
    }

    /// Everybody who is connected says a line a second, evenly spread, for so many seconds.
    pub fn talk(&mut self, rounds: u32, filling: usize) -> Result<(), String> {
        self.filling = "x".repeat(filling);
        self.people.iter_mut().for_each(|person| person.bytes = 0);
        let begin = Instant::now();
        let people = u32::try_from(self.people.len()).expect("there are not so many");
        let gap = Duration::from_secs(1) / people;
        let mut line = String::new();
        for step in 0..rounds * people {
            let due = begin + gap * step;
            loop {
                let now = Instant::now();
                if now >= due {
                    break;
                }
                self.turn(due - now)?;
            }
            let id = (step % people) as usize;
            if id == 0 {
                self.look_what_is_kept();
            }
            if self.people[id].is_cut {
                continue;
            }
            let micros = (due - self.begin).as_micros();
            line.clear();
            writeln!(line, "{} {micros} {}", self.people[id].said, self.filling)
                .expect("a string takes everything");
            self.people[id].said += 1;
            self.write(id, line.as_bytes());
            self.tally.own_delays.push(micros_of(due.elapsed()));
        }
        Ok(())
    }

    /// By the system's table of connections, where what one has not taken stands.
    fn look_what_is_kept(&mut self) {
        let deaf = self.people.iter_mut().filter(|person| !person.reads);
        let mut deaf: BTreeMap<u16, &mut Person> =
            deaf.filter_map(|person| Some((person.port()?, person))).collect();
        if deaf.is_empty() {
            return;
        }
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
        for line in table.lines() {
            let mut fields = line.split_whitespace();
            let port = |addr: &str| u16::from_str_radix(addr.rsplit(':').next()?, 16).ok();
            let (local, remote) = (fields.nth(1).and_then(port), fields.next().and_then(port));
            let kept = fields.nth(1).and_then(|queues| queues.split(':').next());
            let kept = kept.and_then(|kept| u64::from_str_radix(kept, 16).ok());
            if local == Some(self.server.port()) {
                if let Some(person) = remote.and_then(|remote| deaf.get_mut(&remote)) {
                    person.kept_by_system = person.kept_by_system.max(kept.unwrap_or(0));
                }
            }
        }
    }

    /// Serves all until this holds; whether it does in time.
    pub fn serve_until(
        &mut self,
        limit: Duration,
        mut holds: impl FnMut(&Crowd) -> bool,
    ) -> Result<bool, String> {
        let deadline = Instant::now() + limit;
        loop {
            if holds(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.turn(Duration::from_millis(10))?;
        }
    }

    /// Serves what there is, waiting so long for it at most.
    pub fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let wait = Timespec::try_from(wait).map_err(|error| error.to_string())?;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, buffer, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("epoll_wait: {error}")),
        }
        for event in &events {
            let (id, flags) = (event.data.u64() as usize, event.flags);
            let is_over = flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP);
            if !self.people[id].reads && is_over {
                if let Some(stream) = &self.people[id].stream {
                    let _ = epoll::delete(&self.epoll, stream);
                    self.people[id].is_cut = true;
                }
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                self.write(id, b"");
            }
            if self.people[id].reads {
                self.read(id);
            }
        }
        self.events = events;
        Ok(())
    }

    /// All that a client that did not read still finds, and how it ends.
    pub fn drain(&mut self, id: usize) -> (u64, String) {
        let Some(mut stream) = self.people[id].stream.take() else { return (0, "gone".into()) };
        let (mut bytes, mut chunk) = (0, [0; 16 * 1024]);
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return (bytes, "end".to_owned()),
                Ok(count) => bytes += count as u64,
                Err(error) => return (bytes, format!("{:?}", error.kind())),
            }
        }
    }

    fn write(&mut self, id: usize, bytes: &[u8]) {
        let person = &mut self.people[id];
        let Some(stream) = &mut person.stream else { return };
        let was_blocked = !person.output.is_empty();
        person.output.extend_from_slice(bytes);
        let written = match stream.write(&person.output) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // Reading tells.
            Err(_) => person.output.len(),
        };
        person.output.drain(..written);
        let is_blocked = !person.output.is_empty();
        if was_blocked != is_blocked {
            let mut interest = if person.reads { EventFlags::IN } else { EventFlags::RDHUP };
            interest.set(EventFlags::OUT, is_blocked);
            let data = EventData::new_u64(id as u64);
            let _ = epoll::modify(&self.epoll, &*stream, data, interest);
        }
    }

    fn read(&mut self, id: usize) {
        let Some(stream) = &mut self.people[id].stream else { return };
        let mut chunk = [0; 16 * 1024];
        let count = match stream.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                self.tally.note(&format!("p{id}: {error}"));
                0
            }
        };
        if count == 0 {
            self.people[id].stream = None;
            return;
        }
        let (now, mut input) = (Instant::now(), std::mem::take(&mut self.people[id].input));
        input.extend_from_slice(&chunk[..count]);
        let mut begin = 0;
        while let Some(end) = memchr::memchr(b'\n', &input[begin..]) {
            let line = &input[begin..begin + end];
            begin += end + 1;
            self.people[id].bytes += line.len() as u64 + 1;
            if self.hear(id, line, now).is_none() {
                let line = String::from_utf8_lossy(line);
                self.tally.note(&format!("p{id} got: {line:.100}"));
            }
        }
        input.drain(..begin);
        self.people[id].input = input;
    }

    /// None if this line should not have come.
    fn hear(&mut self, id: usize, line: &[u8], now: Instant) -> Option<()> {
        let person = &mut self.people[id];
        let line = std::str::from_utf8(line).ok()?;
        if !line.starts_with('p') {
            return self.learn(id, line, now);
        }
        let (speaker, text) = line.strip_prefix('p')?.split_once(": ")?;
        let speaker: usize = speaker.parse().ok()?;
        let (number, text) = text.split_once(' ')?;
        let (micros, filling) = text.split_once(' ')?;
        let (room, seat) = *self.places.get(speaker)?;
        if room != person.room || speaker == id || filling != self.filling {
            return None;
        }
        let (number, expected): (u32, _) = (number.parse().ok()?, &mut person.heard[seat]);
        if number < *expected {
            self.tally.doubled += 1;
            return Some(());
        }
        self.tally.missed += u64::from(number - *expected);
        *expected = number + 1;
        self.tally.heard += 1;
        let due = Duration::from_micros(micros.parse().ok()?);
        self.tally.delays.push(micros_of((now - self.begin).saturating_sub(due)));
        Some(())
    }

    /// Everything but what people say.
    fn learn(&mut self, id: usize, line: &str, now: Instant) -> Option<()> {
        let person = &mut self.people[id];
        let (sign, rest) = line.split_once(' ')?;
        match sign {
            "+" => {
                let (who, room) = rest.split_once(" joined ")?;
                if who == person.nick && room != "lobby" {
                    person.entries += 1;
                    self.tally.entry_delays.push(micros_of(now - person.asked_at));
                } else if room != "lobby" {
                    let who: usize = who.strip_prefix('p')?.parse().ok()?;
                    let who = self.people.get_mut(who).filter(|who| !who.reads);
                    who.into_iter().for_each(|who| who.entries = 1);
                }
            }
            "-" => {
                let (who, place) = rest.split_once(" left ")?;
                if let Some((_, why)) = place.split_once(": ") {
                    let who = who.strip_prefix('p')?.parse().ok()?;
                    let left = self.tally.left.entry(who).or_insert((why.to_owned(), 0));
                    left.1 = left.1.max(person.bytes);
                }
            }
            "@" => {
                let (room, names) = rest.split_once(':')?;
                let (room, size) = room.split_once(' ')?;
                let (size_of, list) = self.tally.who.entry(room.to_owned()).or_default();
                *size_of = size.parse().ok()?;
                list.extend(names.split_whitespace().map(str::to_owned));
            }
            "#" => {}
            _ => return None,
        }
        Some(())
    }
}

impl Person {
    fn port(&self) -> Option<u16> {
        Some(self.stream.as_ref()?.local_addr().ok()?.port())
    }
}

impl Tally {
    fn note(&mut self, what: &str) {
        self.strange += 1;
        if self.examples.len() < 5 {
            self.examples.push(what.to_owned());
        }
    }
}

/// Who will not read gets little room for what it does not read, and segments as on Ethernet: those of
/// the loopback device make the server's system keep megabytes for it.
fn connect(server: SocketAddr, reads: bool) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if !reads {
        socket.set_recv_buffer_size(4096)?;
        socket.set_tcp_mss(1460)?;
    }
    socket.connect(&server.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    SockRef::from(&stream).set_tcp_nodelay(true)?;
    Ok(stream)
}

fn micros_of(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
