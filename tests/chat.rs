//! The chat's protocol, its sanitiser and its hall, as `examples/chat` has them: no socket, no clock.

#[path = "../examples/chat/mod.rs"]
mod chat;

use chat::event::{Event, Spoken};
use chat::flood::Flood;
use chat::hall::{Caps, Effect, Hall, Why};
use chat::name::{BadName, Name};
use chat::request::{COMMANDS, Request};
use chat::text::{Text, columns, inert, is_hidden};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

// ---- Text ---------------------------------------------------------------------------------------

const HOSTILE: &[&str] = &[
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07\x1b]52;c;Y2FsYw==\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\u{9b}31m\u{9d}0;x\u{9c}\u{90}q\u{9c}\u{85}",
    "a\rb\x08c\x07d\0e\x7ff\tg",
    "\u{202e}gnp.exe\u{202c}\u{2066}x\u{2069}\u{200e}\u{200f}\u{61c}",
    "a\u{200b}b\u{200c}c\u{200d}d\u{2060}e\u{feff}f\u{ad}g",
    "a\u{2028}b\u{2029}c\u{e0041}\u{e007f}\u{fe0f}\u{e0100}\u{fff9}",
];

#[test]
fn hostile_text_is_spelled_out() {
    assert_eq!(inert("\x1b[2J"), r"\u{1b}[2J");
    assert_eq!(inert("\u{202e}abc\u{9b}"), r"\u{202e}abc\u{9b}");
    assert_eq!(inert("a\u{200d}b\u{fe0f}"), r"a\u{200d}b\u{fe0f}");
    for hostile in HOSTILE {
        assert!(!inert(hostile).contains(is_hidden), "{hostile:?}");
    }
}

#[test]
fn text_that_people_write_stays_as_it_is() {
    let fine = [
        "xin chào, đảo ngược chuỗi",
        "e\u{301}",
        "日本語 한국어 עברית العربية ไทย हिन्दी",
        "👩‍👩‍👧‍👦 ❤️‍🔥 👍🏽 🏳️‍🌈 1️⃣ 🇻🇳 ☺️",
        r"C:\users \u{1b} 100 % <b> `x`",
    ];
    for text in fine {
        assert_eq!(inert(text), text);
    }
    assert_eq!(columns("日本"), 4);
}

#[test]
fn a_sequence_split_over_messages_is_inert_in_each() {
    let whole = "\x1b]52;c;Y2FsYw==\x07";
    for (at, _) in whole.char_indices() {
        let (one, other) = whole.split_at(at);
        assert_eq!(inert(one) + &inert(other), inert(whole));
    }
}

/// What may reach a terminal: nothing hidden, save what holds an emoji together.
fn is_inert(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or(' ');
    (0..chars.len()).all(|index| {
        let (before, after) = (at(index.wrapping_sub(1)), at(index + 1));
        let symbol = |c: char| !c.is_ascii() && !c.is_alphanumeric() && !is_hidden(c);
        match chars[index] {
            '\u{fe0f}' => symbol(before) || "0123456789#*".contains(before),
            '\u{200d}' => (symbol(before) || before == '\u{fe0f}') && symbol(after),
            c => !is_hidden(c),
        }
    })
}

/// Text with many characters that are looked at.
fn wild() -> impl Strategy<Value = String> {
    let special =
        "\x1b\u{9b}\u{7f}\u{200d}\u{fe0f}\u{202e}\u{2028}\u{e0041}\u{feff}👩❤1#:/\\ \r\tab";
    let special: Vec<char> = special.chars().collect();
    let piece = prop_oneof![proptest::sample::select(special), any::<char>()];
    proptest::collection::vec(piece, 0..40).prop_map(String::from_iter)
}

// ---- Lines --------------------------------------------------------------------------------------

fn name() -> impl Strategy<Value = Name> {
    "[a-zA-Zàđ日😀][^ \t:]{0,20}".prop_filter_map("a name", |name| Name::new(&name).ok())
}

fn text() -> impl Strategy<Value = Text> {
    wild().prop_map(|text| Text::new(&text))
}

/// As people type them: no blanks around.
fn typed() -> impl Strategy<Value = Text> {
    wild().prop_filter_map("blank", |text| {
        let text = inert(&text);
        Some(Text::new(text.trim())).filter(|text| !text.as_str().is_empty())
    })
}

fn spoken() -> impl Strategy<Value = Spoken> {
    prop_oneof![
        (name(), text()).prop_map(|(name, text)| Spoken::Message(name, text)),
        (name(), text()).prop_map(|(name, text)| Spoken::Action(name, text)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let names = proptest::collection::vec(name(), 0..5);
    prop_oneof![
        spoken().prop_map(Event::Spoken),
        (any::<u64>(), spoken()).prop_map(|(age, spoken)| Event::Replayed(age, spoken)),
        (name(), text()).prop_map(|(name, text)| Event::Private(name, text)),
        (name(), name()).prop_map(|(name, room)| Event::Joined(name, room)),
        (name(), name(), proptest::option::of(text()))
            .prop_map(|(name, room, text)| Event::Left(name, room, text)),
        (name(), name()).prop_map(|(before, after)| Event::Renamed(before, after)),
        (name(), any::<usize>(), names)
            .prop_map(|(room, count, names)| Event::Members(room, count, names)),
        (name(), any::<usize>()).prop_map(|(room, count)| Event::Room(room, count)),
        text().prop_map(Event::Notice),
        text().prop_map(Event::Refused),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        typed().prop_map(Request::Say),
        typed().prop_map(|text| Request::Say(Text::new(&format!("/{text}")))),
        typed().prop_map(Request::Me),
        (name(), typed()).prop_map(|(name, text)| Request::Msg(name, text)),
        name().prop_map(Request::Nick),
        proptest::option::of(name()).prop_map(Request::Who),
        name().prop_map(Request::Join),
        Just(Request::Leave),
        Just(Request::Rooms),
        Just(Request::Help),
        proptest::option::of(typed()).prop_map(Request::Quit),
    ]
}

proptest! {
    #[test]
    fn what_was_made_inert_is_inert_and_stays_so(text in wild()) {
        let once = inert(&text);
        prop_assert!(is_inert(&once), "{once:?}");
        prop_assert_eq!(&inert(&once), &once);
    }

    #[test]
    fn no_bytes_trouble_the_sanitiser_or_the_parsers(bytes: Vec<u8>) {
        let line = String::from_utf8_lossy(&bytes);
        prop_assert!(is_inert(&inert(&line)));
        if let Some(event) = Event::parse(&line) {
            let shown = event.to_string();
            prop_assert!(is_inert(&shown), "{shown:?}");
            prop_assert_eq!(Event::parse(&shown), Some(event));
        }
        if let Ok(request) = Request::parse(&line) {
            prop_assert!(is_inert(&request.to_string()));
        }
    }

    #[test]
    fn what_is_parsed_is_printed_as_it_was(sign in "[-~<+=@%#!*]? ?", name in name(), rest in wild()) {
        let line = format!("{sign}{name}{rest}");
        if let Some(event) = Event::parse(&line) {
            prop_assert_eq!(event.to_string(), inert(&line));
        }
    }

    #[test]
    fn events_come_back_as_they_were_sent(event in event()) {
        prop_assert_eq!(Event::parse(&event.to_string()), Some(event));
    }

    #[test]
    fn requests_come_back_as_they_were_sent(request in request()) {
        prop_assert_eq!(Request::parse(&request.to_string()), Ok(request));
    }

    /// A peer chooses its nick and its text; neither makes a line of another kind or of another person.
    #[test]
    fn no_text_passes_for_a_line_of_another_kind(name in name(), text in wild()) {
        let said = Event::Spoken(Spoken::Message(name.clone(), Text::new(&text))).to_string();
        match Event::parse(&said) {
            Some(Event::Spoken(Spoken::Message(who, _))) => prop_assert_eq!(who, name),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_hall_bears_any_lines(lines in proptest::collection::vec((0..4_u64, wild()), 0..60)) {
        let mut hall = Party::new(Caps::default());
        for id in 0..4 {
            hall.arrive(id);
        }
        for (id, line) in lines {
            hall.line(id, &line);
        }
        hall.is_consistent();
    }
}

#[test]
fn bad_names_are_refused() {
    let cases = [
        ("", BadName::Empty),
        ("   ", BadName::Blank),
        ("ann b", BadName::Blank),
        ("ann\u{a0}b", BadName::Blank),
        ("ann\n", BadName::Blank),
        ("ann: hello", BadName::Blank),
        ("ann:", BadName::Colon),
        ("an\x1bn", BadName::Hidden),
        ("an\u{9b}n", BadName::Hidden),
        ("an\u{202e}n", BadName::Hidden),
        ("an\u{200b}n", BadName::Hidden),
        ("👩\u{200d}👩", BadName::Hidden),
        ("*", BadName::Sign),
        ("~5", BadName::Sign),
        ("/me", BadName::Sign),
        ("\u{301}a", BadName::Sign),
        (&"a".repeat(25), BadName::Long),
        (&"日".repeat(13), BadName::Long),
        (&format!("a{}", "\u{301}".repeat(60)), BadName::Long),
        ("Server", BadName::Reserved),
    ];
    for (name, why) in cases {
        assert_eq!(Name::new(name), Err(why), "{name:?}");
    }
    for name in [&"a".repeat(24), &"日".repeat(12), "Ann_2", "đặng", "x😀"] {
        assert!(Name::new(name).is_ok(), "{name:?}");
    }
}

#[test]
fn lines_are_as_the_protocol_is_documented() {
    let lines = include_str!("../examples/chat/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .skip_while(|line| !line.starts_with("**What a server"))
        .skip_while(|line| *line != "```text")
        .skip(1)
        .take_while(|line| *line != "```");
    let mut count = 0;
    for line in lines {
        let line = line.split("   ").next().unwrap();
        let event = Event::parse(line).unwrap_or_else(|| panic!("no event: {line:?}"));
        assert_eq!(event.to_string(), line);
        count += 1;
    }
    assert_eq!(count, 12);
    for command in COMMANDS {
        let line = format!("{} {}", command.name, command.arguments.replace(['[', ']'], ""));
        assert!(Request::parse(&line).is_ok(), "{line}");
    }
}

// ---- The hall -----------------------------------------------------------------------------------

/// A hall, and the server's side of it: who hears which room, and what everybody was sent.
struct Party {
    hall: Hall,
    now: Instant,
    rooms: BTreeMap<Arc<str>, BTreeSet<u64>>,
    heard: HashMap<u64, Vec<String>>,
    cut: Vec<(u64, Why)>,
}

impl Party {
    fn new(caps: Caps) -> Party {
        let (rooms, heard, cut) = (BTreeMap::new(), HashMap::new(), Vec::new());
        Party { hall: Hall::new(caps), now: Instant::now(), rooms, heard, cut }
    }

    /// Everybody with a nick, in the lobby, and nothing heard yet.
    fn of(names: &[&str]) -> Party {
        let mut party = Party::new(Caps::default());
        for (id, name) in (1..).zip(names) {
            party.arrive(id);
            party.line(id, name);
        }
        party.wait(60);
        party.heard.clear();
        party
    }

    fn arrive(&mut self, id: u64) {
        let mut effects = Vec::new();
        self.hall.arrive(id, self.now, &mut effects);
        self.carry_out(effects);
    }

    fn line(&mut self, id: u64, line: &str) {
        let mut effects = Vec::new();
        self.hall.line(id, line, self.now, &mut effects);
        self.carry_out(effects);
    }

    fn depart(&mut self, id: u64) {
        let mut effects = Vec::new();
        self.hall.depart(id, "gone", &mut effects);
        self.carry_out(effects);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::To(id, line) => self.hear(id, line),
                Effect::Room { room, line, except } => {
                    for id in self.rooms[&room].clone() {
                        if Some(id) != except {
                            self.hear(id, line.clone());
                        }
                    }
                }
                Effect::Enter(id, room) => {
                    assert!(
                        self.rooms.entry(room).or_default().insert(id),
                        "{id} is there already"
                    );
                }
                Effect::Leave(id, room) => {
                    assert!(self.rooms.get_mut(&room).unwrap().remove(&id), "{id} is not there");
                }
                Effect::Forget(room) => assert_eq!(self.rooms.remove(&room), Some(BTreeSet::new())),
                Effect::Cut(id, why) => self.cut.push((id, why)),
            }
        }
    }

    fn hear(&mut self, id: u64, line: String) {
        assert!(is_inert(&line) && Event::parse(&line).is_some(), "{line:?}");
        self.heard.entry(id).or_default().push(line);
    }

    /// What somebody was sent since the last call.
    fn heard(&mut self, id: u64) -> Vec<String> {
        self.heard.remove(&id).unwrap_or_default()
    }

    /// The rooms are the same on both sides.
    fn is_consistent(&self) {
        for (room, people) in &self.rooms {
            let mut names: Vec<Name> =
                people.iter().map(|id| self.hall.name(*id).unwrap().clone()).collect();
            names.sort_by_key(Name::key);
            assert_eq!(self.hall.members(room), names);
        }
        let here: usize = self.rooms.values().map(BTreeSet::len).sum();
        assert!(here <= self.hall.statistics().people);
    }
}

#[test]
fn each_message_reaches_everybody_once_and_in_the_order_of_its_sender() {
    let names: Vec<String> = (0..20).map(|at| format!("p{at}")).collect();
    let mut party = Party::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for number in 0..50 {
        party.wait(1);
        for id in 1..=20 {
            party.line(id, &format!("{number}"));
        }
    }
    for id in 1..=20 {
        let heard = party.heard(id);
        assert_eq!(heard.len(), 19 * 50);
        for other in (1..=20).filter(|other| *other != id) {
            let from = format!("p{}: ", other - 1);
            let numbers: Vec<_> =
                heard.iter().filter_map(|line| line.strip_prefix(&from)).collect();
            assert_eq!(numbers, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
        }
    }
    assert_eq!(party.hall.statistics().messages, 1000);
}

#[test]
fn hostile_nicks_are_refused_and_hostile_texts_are_inert() {
    for hostile in HOSTILE {
        let mut party = Party::of(&["ann"]);
        party.arrive(7);
        party.line(7, hostile);
        assert_eq!(party.hall.name(7), None, "{hostile:?}");
        party.line(7, "eve");
        party.heard(1);
        // `Party::hear` looks at every line that goes to anybody.
        for line in ["", "/me ", "/msg ann ", "/quit ", "/nick ", "/join ", "/who ", "/"] {
            party.line(7, &format!("{line}{hostile}"));
        }
        assert!(party.heard(1).len() >= 4, "{hostile:?}");
    }
}

#[test]
fn a_nick_is_taken_once_whatever_its_case() {
    let mut party = Party::of(&["Ann"]);
    party.arrive(2);
    party.line(2, "aNN");
    assert_eq!(party.heard(2)[1], "! somebody is called aNN already; send another nick");
    party.line(2, "ann: I am ann");
    party.line(2, "");
    assert_eq!(party.cut, [(2, Why::Nameless)]);
    assert_eq!(party.heard(1), [""; 0]);

    party.line(1, "/nick ANN");
    assert_eq!(party.heard(1), ["= Ann is now ANN"]);
    party.depart(1);
    party.arrive(3);
    party.line(3, "ann");
    assert_eq!(party.hall.members("lobby"), [Name::new("ann").unwrap()]);
    party.is_consistent();
}

#[test]
fn a_name_that_was_changed_is_free_again() {
    let mut party = Party::of(&["ann", "ben"]);
    party.line(1, "/nick cid");
    party.line(2, "/nick ann");
    assert_eq!(party.heard(1), ["= ann is now cid", "= ben is now ann"]);
    party.line(2, "/nick cid");
    assert_eq!(party.hall.name(2).unwrap().as_str(), "ann");
    party.line(1, "/msg ann psst");
    assert_eq!(party.heard(2).last().unwrap(), "< cid: psst");
}

#[test]
fn history_is_bounded_marked_and_comes_before_what_is_live() {
    let mut party = Party::of(&["ann"]);
    for number in 0..30 {
        party.wait(1);
        party.line(1, &format!("/me counts {number}"));
    }
    party.wait(100);
    party.arrive(2);
    party.line(2, "ben");
    let heard = party.heard(2);
    assert_eq!(heard[1], "~ 119 * ann counts 10");
    assert_eq!(heard[20], "~ 100 * ann counts 29");
    assert_eq!(heard[21], "+ ben joined lobby");
    assert_eq!(party.heard(1), ["+ ben joined lobby"]);
}

#[test]
fn rooms_keep_to_themselves_and_end_with_their_last_member() {
    let mut party = Party::of(&["ann", "ben", "cid"]);
    party.line(1, "/join Rust");
    party.line(2, "/join rust");
    assert_eq!(party.heard(3), ["- ann left lobby", "- ben left lobby"]);
    party.line(1, "hello");
    assert_eq!(party.heard(2), ["- ann left lobby", "+ ben joined Rust", "ann: hello"]);
    assert_eq!(party.heard(3), [""; 0]);
    party.line(3, "/rooms");
    party.line(3, "/who rust");
    party.line(3, "/who lobby");
    assert_eq!(party.heard(3), ["% lobby 1", "% Rust 2", "@ Rust 2: ann ben", "@ lobby 1: cid"]);
    party.line(3, "/leave");
    party.line(1, "/leave");
    party.line(2, "/quit good night");
    assert_eq!(party.heard(3), ["! you are there already", "+ ann joined lobby"]);
    party.line(3, "/who rust");
    assert_eq!(party.heard(3), ["! there is no such room; /rooms lists them"]);
    party.is_consistent();
}

#[test]
fn the_flood_rule_counts_lines_and_says_so_once() {
    let mut party = Party::of(&["ann", "ben"]);
    for number in 0..15 {
        party.line(1, &format!("{number}"));
    }
    assert_eq!(party.heard(2).len(), 10);
    assert_eq!(party.heard(1), ["! too many lines at once: this one was dropped"]);
    party.now += Duration::from_millis(499);
    party.line(1, "too early");
    party.now += Duration::from_millis(1);
    party.line(1, "in time");
    assert_eq!(party.heard(2), ["ann: in time"]);
    for _ in 0..31 {
        party.line(1, &"x".repeat(3000));
    }
    assert_eq!(party.cut, [(1, Why::Flood)]);
    assert_eq!(party.heard(2), ["- ann left lobby: too many lines"]);
    assert_eq!(party.hall.statistics().lines_refused, 5 + 1 + 31);
    party.line(1, "after the cut");
    party.depart(1);
    assert_eq!(party.heard(2), [""; 0]);
}

#[test]
fn caps_hold_at_their_limit() {
    let caps = Caps {
        people_max: 3,
        rooms_max: 2,
        people_per_room_max: 2,
        text_bytes_max: 9,
        flood: Flood { burst: 100, interval: Duration::from_secs(1) },
        ..Caps::default()
    };
    let mut party = Party::new(caps);
    for id in 1..=4 {
        party.arrive(id);
    }
    assert_eq!(party.cut, [(4, Why::Full)]);
    party.line(1, "ann");
    party.line(2, "ben");
    party.line(3, "cid");
    assert_eq!(party.cut, [(4, Why::Full), (3, Why::Full)]);
    party.line(1, "/join x");
    party.line(2, "/join y");
    assert_eq!(party.heard(2).last().unwrap(), "! there are too many rooms already");
    party.line(2, "/join x");
    party.arrive(5);
    party.line(5, "eve");
    party.line(5, "/join x");
    assert_eq!(party.heard(5).last().unwrap(), "! this room is full");
    party.heard(1);
    party.line(2, "123456789");
    party.line(2, "1234567890");
    party.line(2, "12345\x1b"); // six characters for one
    party.line(2, "123\x1b");
    assert_eq!(party.heard(1), ["ben: 123456789", r"ben: 123\u{1b}"]);
    // The text counts, and not the command around it; and no text keeps anybody from leaving.
    party.line(2, "/msg ann 123456789");
    party.line(2, "/msg ann 1234567890");
    party.line(2, &format!("/quit {}", "\x01".repeat(2_000)));
    assert_eq!(party.heard(1), ["< ben: 123456789", "- ben left x"]);
    party.is_consistent();
}

#[test]
fn an_http_request_is_cut_and_not_broadcast() {
    let requests = [
        "GET / HTTP/1.1",
        "post /x HTTP/1.1",
        "PRI * HTTP/2.0",
        "OPTIONS rtsp://x RTSP/1.0",
        "HTTP/1.1 is no nick, but what came is HTTP/1.1",
    ];
    for request in requests {
        let mut party = Party::of(&["ann"]);
        party.arrive(2);
        party.line(2, request);
        for line in ["Host: 127.0.0.1:7000", "", "eve", "hello all"] {
            party.line(2, line);
        }
        assert_eq!(party.cut, [(2, Why::Http)], "{request}");
        assert_eq!(party.heard(1), [""; 0], "{request}");
        assert_eq!(party.hall.statistics().cut_for_http, 1);
    }
}

/// 60,000 people come and most of them go, as fast as can be: it takes seconds if each costs the same,
/// and minutes if each costs as much as there are people.
#[test]
fn the_list_of_members_is_exact_after_a_stampede() {
    let mut party =
        Party::new(Caps { people_max: 100_000, people_per_room_max: 100_000, ..Caps::default() });
    let mut effects = Vec::new();
    for id in 0..60_000_u64 {
        effects.clear();
        party.hall.arrive(id, party.now, &mut effects);
        party.hall.line(id, &format!("p{id:05}"), party.now, &mut effects);
        if id % 3 == 0 {
            party.hall.line(id, "/join other", party.now, &mut effects);
        }
        if id >= 1000 {
            // Whoever came a thousand before goes, unless it is a multiple of 100.
            let other = id - 1000;
            if other % 100 != 0 {
                party.hall.depart(other, "gone", &mut effects);
            }
        }
        let rooms = effects.iter().filter(|effect| matches!(effect, Effect::Room { .. })).count();
        assert!(rooms <= 4 && effects.len() < 16, "{effects:?}");
    }
    let stays = |id: &u64| id % 100 == 0 || *id >= 59_000;
    let expected = |other: bool| {
        (0..60_000)
            .filter(stays)
            .filter(move |id| (id % 3 == 0) == other)
            .map(|id| format!("p{id:05}"))
    };
    let members = |room: &str| -> Vec<String> {
        party.hall.members(room).iter().map(|name| name.to_string()).collect()
    };
    assert_eq!(members("lobby"), expected(false).collect::<Vec<_>>());
    assert_eq!(members("other"), expected(true).collect::<Vec<_>>());
}
