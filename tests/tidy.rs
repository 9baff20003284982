//! The order of the house, kept by a test: which module may import which, where `unsafe` may stand,
//! how long a file may grow.
//!
//! [`TABLE`] is the table of floors as data. To change the plan, change its row, and say why in the
//! commit. [`Source`] reads a file with a small lexer, so that comments, literals and test modules
//! do not count; a check is a function from a `Source` to the [`Breach`]es in it, so that each is
//! tried below on code that breaks it. It knows tokens, not types: a macro that builds a path out
//! of pieces, or a name brought in by a glob of another crate, is beyond it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

// ---- The table of floors ------------------------------------------------------------------------

/// Imports go down, never across the wings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floor {
    Roof,
    Stair,
    Io,
    Pure,
    Ground,
}
use Floor::{Ground, Io, Pure, Roof, Stair};

struct Row {
    module: &'static str,
    floor: Floor,
    /// Modules; a floor in capitals stands for all of its modules, `-name` takes one out.
    imports: &'static str,
    /// Outside crates, by the name that code uses. `std` goes without saying.
    crates: &'static str,
}

const fn row(
    module: &'static str,
    floor: Floor,
    imports: &'static str,
    crates: &'static str,
) -> Row {
    Row { module, floor, imports, crates }
}

#[rustfmt::skip] // one row a line, in columns
const TABLE: &[Row] = &[
    //  module     floor   may import                                          outside crates
    row("testing", Roof,   "server client STAIR IO PURE GROUND -sys",           ""),
    row("logging", Roof,   "observer handler GROUND",                          "log"),
    row("server",  Roof,   "client STAIR IO PURE GROUND -sys",                  "signal_hook"),
    row("client",  Roof,   "STAIR IO PURE GROUND -sys",                        ""),
    row("engine",  Stair,  "IO PURE GROUND",                                   ""),
    row("session", Pure,   "observer handler codec limits timers mailbox buffer GROUND", ""),
    row("observer", Pure,  "handler GROUND",                                   ""),
    row("handler", Pure,   "codec limits timers mailbox buffer GROUND",        ""),
    row("codec",   Pure,   "buffer GROUND",                                    "memchr"),
    row("limits",  Pure,   "GROUND",                                           ""),
    row("timers",  Pure,   "GROUND",                                           ""),
    row("mailbox", Pure,   "GROUND",                                           ""),
    row("buffer",  Pure,   "GROUND",                                           ""),
    row("connect", Io,     "lookup socket poll sys GROUND",                    ""),
    row("lookup",  Io,     "sys GROUND",                                       "dns_lookup url"),
    row("socket",  Io,     "sys GROUND",                                       "socket2"),
    row("memory",  Io,     "poll GROUND",                                      ""),
    row("poll",    Io,     "sys GROUND",                                       "rustix"),
    row("sys",     Io,     "GROUND",                                           "rustix libc socket2 io_uring"),
    row("contain", Ground, "",                                                 ""),
    row("error",   Ground, "addr",                                             "thiserror"),
    row("sync",    Ground, "",                                                 ""),
    row("descriptors", Ground, "",                                             ""),
    row("addr",    Ground, "",                                                 ""),
];

/// Every crate that the manifest depends on, or may one day; none of them is free for all.
const OUTSIDE: &[&str] = &[
    "dns_lookup",
    "io_uring",
    "libc",
    "log",
    "memchr",
    "rustix",
    "signal_hook",
    "socket2",
    "thiserror",
    "url",
];

/// What names a descriptor or a clock: not for the pure wing, which is told `now` and handed bytes.
/// The paths count wherever they stand in a longer one.
const IMPURE_NAMES: &[&str] = &[
    "AsFd",
    "AsRawFd",
    "BorrowedFd",
    "OwnedFd",
    "RawFd",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
];
const IMPURE_PATHS: &[&[&str]] = &[&["std", "fs"], &["std", "os"], &["Instant", "now"]];

/// Code and docs; unit tests and blank lines do not count.
const SRC_LINES_MAX: usize = 27_600;
const FILE_LINES_MAX: usize = 450;
/// Lines of code that may stand between a SAFETY comment and its `unsafe`: a statement's beginning.
const SAFETY_REACH: usize = 4;

impl Floor {
    fn word(self) -> &'static str {
        match self {
            Roof => "ROOF",
            Stair => "STAIR",
            Io => "IO",
            Pure => "PURE",
            Ground => "GROUND",
        }
    }

    fn height(self) -> u8 {
        match self {
            Roof => 3,
            Stair => 2,
            Io | Pure => 1,
            Ground => 0,
        }
    }
}

impl Row {
    fn of(module: &str) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.module == module)
    }

    fn may_import(&self, other: &Row) -> bool {
        let mut words = self.imports.split_whitespace();
        let taken_out = words.clone().any(|word| word.strip_prefix('-') == Some(other.module));
        !taken_out && words.any(|word| word == other.module || word == other.floor.word())
    }

    fn may_use(&self, outside: &str) -> bool {
        self.crates.split_whitespace().any(|name| name == outside)
    }
}

// ---- The scanner --------------------------------------------------------------------------------

/// One file, taken apart.
struct Source {
    /// From the package's root, with `/`: `src/codec/lines.rs`.
    path: String,
    lines: Vec<String>,
    /// Per line, its comment alone.
    comments: Vec<String>,
    /// Without comments; a literal is the one token `"`.
    tokens: Vec<Token>,
    /// `tokens` without the items under `#[cfg(test)]`.
    product: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    text: String,
    line: usize,
}

struct Breach {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let tokens = tokenize(&code);
        // A file of that name is declared `#[cfg(test)] mod tests;`.
        let product = if path.ends_with("/tests.rs") { Vec::new() } else { without_tests(&tokens) };
        Source {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            comments: comments.lines().map(str::to_owned).collect(),
            tokens,
            product,
        }
    }

    /// `src/codec/lines.rs` is `["codec", "lines"]`, `src/lib.rs` is `[]`.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        module
    }

    fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, what: what.into() }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
    /// A lifetime, or the `r#` of a raw name: neither matters to any check.
    Blank,
}

/// The code without comments and literals, and the comments without code, both line by line.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (kind, len) = piece(&chars[at..]);
        if kind == Kind::Literal {
            code.push('"');
        }
        for &c in chars.iter().skip(at).take(len) {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { c } else { blank });
            comments.push(if kind == Kind::Comment { c } else { blank });
        }
        at += len;
    }
    (code, comments)
}

/// What `rest` begins with, and how many characters belong to it.
fn piece(rest: &[char]) -> (Kind, usize) {
    let peek = |at: usize| rest.get(at).copied().unwrap_or('\0');
    match (peek(0), peek(1)) {
        ('/', '/') => {
            let end = rest.iter().position(|&c| c == '\n');
            return (Kind::Comment, end.unwrap_or(rest.len()));
        }
        ('/', '*') => return (Kind::Comment, block_comment(rest)),
        ('"', _) => return (Kind::Literal, quoted(rest, '"')),
        ('\'', next) if next == '\\' || peek(2) == '\'' => {
            return (Kind::Literal, quoted(rest, '\''));
        }
        ('\'', _) => return (Kind::Blank, 1 + word(&rest[1..])),
        _ => {}
    }
    let len = word(rest);
    let prefix: String = rest[..len].iter().collect();
    if matches!(prefix.as_str(), "r" | "br" | "cr") {
        let hashes = rest[len..].iter().take_while(|&&c| c == '#').count();
        if peek(len + hashes) == '"' {
            return (Kind::Literal, raw_string(rest, len + hashes + 1, hashes));
        }
        if hashes == 1 {
            return (Kind::Blank, len + 1);
        }
    }
    if matches!((prefix.as_str(), peek(len)), ("b" | "c", '"') | ("b", '\'')) {
        return (Kind::Literal, len + quoted(&rest[len..], peek(len)));
    }
    (Kind::Code, len.max(1))
}

fn word(rest: &[char]) -> usize {
    rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[char], body: usize, hashes: usize) -> usize {
    let closes = |at: usize| {
        let tail = &rest[at + 1..];
        rest[at] == '"' && tail.iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let end = (body..rest.len()).find(|&at| closes(at));
    end.map_or(rest.len(), |at| at + 1 + hashes)
}

fn tokenize(code: &str) -> Vec<Token> {
    const LONG: &[&str] = &[
        "..=", "::", "&&", "||", "==", "=>", "<=", ">=", "!=", "->", "+=", "-=", "*=", "/=", "%=",
        "^=", "&=", "|=",
    ];
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let long = LONG.iter().find(|op| rest.starts_with(**op));
            let len = match long {
                _ if word > 0 => word,
                Some(op) => op.len(),
                None => first.len_utf8(),
            };
            tokens.push(Token { text: rest[..len].to_owned(), line: index + 1 });
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// The text of a token, or nothing past the end: spares every caller the bound.
fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match attribute(tokens, at) {
            Some((end, content))
                if content == "cfg(test)" || content.starts_with("cfg(all(test,") =>
            {
                at = item(tokens, end);
            }
            _ => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// If an outer attribute begins here: where it ends, and what it says, without blanks.
fn attribute(tokens: &[Token], at: usize) -> Option<(usize, String)> {
    if text(tokens, at) != "#" || text(tokens, at + 1) != "[" {
        return None;
    }
    let mut content = String::new();
    let mut depth = 1;
    for (index, token) in tokens.iter().enumerate().skip(at + 2) {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((index + 1, content));
        }
        content.push_str(&token.text);
    }
    None
}

/// Where the item that begins here ends: after its `;` or its body, or before what encloses it.
fn item(tokens: &[Token], mut at: usize) -> usize {
    while let Some((end, _)) = attribute(tokens, at) {
        at = end;
    }
    let mut depth = 0;
    while at < tokens.len() {
        match text(tokens, at) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" => depth -= 1,
            "}" if depth == 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

// ---- Paths --------------------------------------------------------------------------------------

/// A path as the code spells it; the leaves of a `use` tree are one each.
struct Found {
    segments: Vec<String>,
    /// Begins with `::`.
    global: bool,
    /// The name that a `use` binds.
    binds: Option<String>,
    /// The inline modules around it.
    inside: Vec<String>,
    line: usize,
}

/// What a path leads to.
enum Target {
    /// A module of this crate; empty for the root itself, `*` for all that is in it.
    Module(String),
    Crate(String),
    Other,
}

fn paths(tokens: &[Token]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < tokens.len() {
        let before = if at == 0 { "" } else { text(tokens, at - 1) };
        match text(tokens, at) {
            "use" if text(tokens, at + 1) != "<" => {
                let first = found.len();
                at = use_tree(tokens, at + 1, &[], false, &mut found);
                for path in &mut found[first..] {
                    path.inside = inside.iter().map(|(name, _)| name.clone()).collect();
                }
                continue;
            }
            "mod" if text(tokens, at + 2) == "{" => {
                inside.push((text(tokens, at + 1).to_owned(), depth));
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inside.last().is_some_and(|(_, outer)| *outer == depth) {
                    inside.pop();
                }
            }
            "crate" if before == "extern" => {
                let name = text(tokens, at + 1).to_owned();
                found.push(Found {
                    segments: vec![name],
                    global: true,
                    binds: None,
                    inside: Vec::new(),
                    line: tokens[at].line,
                });
            }
            word if is_name(word) || (word == "::" && is_name(text(tokens, at + 1))) => {
                let global = word == "::";
                let start = at + usize::from(global);
                let mut segments = vec![text(tokens, start).to_owned()];
                let mut end = start + 1;
                while text(tokens, end) == "::" && is_name(text(tokens, end + 1)) {
                    segments.push(text(tokens, end + 1).to_owned());
                    end += 2;
                }
                // After `>::` it goes on from a type, after `.` it is a method.
                let goes_on = matches!((global, before), (true, ">") | (false, "."));
                if !goes_on && segments.len() > 1 {
                    found.push(Found {
                        segments,
                        global,
                        binds: None,
                        inside: inside.iter().map(|(name, _)| name.clone()).collect(),
                        line: tokens[at].line,
                    });
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one branch of a `use` tree and returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    stem: &[String],
    mut global: bool,
    found: &mut Vec<Found>,
) -> usize {
    let mut segments = stem.to_vec();
    if text(tokens, at) == "::" {
        global = true;
        at += 1;
    }
    while at < tokens.len() {
        let line = tokens[at].line;
        let word = text(tokens, at).to_owned();
        at += 1;
        if word == "{" {
            while at < tokens.len() && text(tokens, at) != "}" {
                at = use_tree(tokens, at, &segments, global, found);
                at += usize::from(text(tokens, at) == ",");
            }
            return at + 1;
        }
        if word != "*" && !is_name(&word) {
            return at;
        }
        segments.push(word);
        if text(tokens, at) == "::" {
            at += 1;
            continue;
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let mut binds = segments.last().cloned();
        if text(tokens, at) == "as" {
            binds = Some(text(tokens, at + 1).to_owned());
            at += 2;
        }
        found.push(Found { segments, global, binds, inside: Vec::new(), line });
        return at;
    }
    at
}

fn resolve(path: &Found, module: &[String], bound: &[String]) -> Target {
    let mut segments = path.segments.iter();
    let mut first = segments.next();
    let mut base: Vec<&String> = Vec::new();
    match first.map_or("", String::as_str) {
        "crate" => first = segments.next(),
        "self" | "super" => {
            base.extend(module.iter().chain(&path.inside));
            while let Some("self" | "super") = first.map(String::as_str) {
                if first.is_some_and(|step| step == "super") {
                    base.pop();
                }
                first = segments.next();
            }
        }
        name if !path.global && bound.iter().any(|other| other == name) => return Target::Other,
        name if OUTSIDE.contains(&name) => return Target::Crate(name.to_owned()),
        _ => return Target::Other,
    }
    let module = base.first().copied().or(first);
    Target::Module(module.cloned().unwrap_or_default())
}

/// Names of this file that hide an outside crate of the same name: `mod url;`, `use super::url;`.
fn bound(tokens: &[Token], found: &[Found]) -> Vec<String> {
    let declared =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.clone());
    let imported = found
        .iter()
        .filter(|path| path.segments.len() > 1 && !OUTSIDE.contains(&path.segments[0].as_str()))
        .filter_map(|path| path.binds.clone());
    declared.chain(imported).collect()
}

// ---- The checks ---------------------------------------------------------------------------------

/// A module imports only what its floor allows. `lib.rs` joins them and may import anything.
fn floors(source: &Source) -> Vec<Breach> {
    let module = source.module();
    let Some(name) = module.first() else {
        return Vec::new();
    };
    let Some(row) = Row::of(name) else {
        let what = format!("module `{name}` has no row in the table of floors");
        return vec![source.breach(1, what)];
    };
    let found = paths(&source.product);
    let bound = bound(&source.product, &found);
    let mut breaches = Vec::new();
    for path in &found {
        let what = match resolve(path, &module, &bound) {
            Target::Module(other) if other == row.module => continue,
            Target::Module(other) => match Row::of(&other) {
                Some(other) if row.may_import(other) => continue,
                Some(_) => format!("`{name}` may not import `{other}`"),
                None => "comes by way of the crate's root: name the module it lives in".to_owned(),
            },
            Target::Crate(outside) if row.may_use(&outside) => continue,
            Target::Crate(outside) => format!("`{name}` may not use the crate `{outside}`"),
            Target::Other => continue,
        };
        let what = format!("`{}`: {what}", path.segments.join("::"));
        breaches.push(source.breach(path.line, what));
    }
    breaches
}

/// The pure wing names no descriptor and no clock.
fn purity(source: &Source) -> Vec<Breach> {
    let module = source.module();
    let row = module.first().and_then(|name| Row::of(name));
    if row.is_none_or(|row| row.floor != Pure) {
        return Vec::new();
    }
    let names = source
        .product
        .iter()
        .filter(|token| IMPURE_NAMES.contains(&token.text.as_str()))
        .map(|token| (token.line, token.text.clone()));
    let found = paths(&source.product);
    let paths = found
        .iter()
        .filter(|path| {
            let holds = |impure: &&[&str]| {
                let mut windows = path.segments.windows(impure.len());
                windows.any(|window| window == *impure)
            };
            IMPURE_PATHS.iter().any(holds)
        })
        .map(|path| (path.line, path.segments.join("::")));
    names
        .chain(paths)
        .map(|(line, what)| source.breach(line, format!("`{what}` in the pure wing")))
        .collect()
}

/// `unsafe` stands in `sys` only, tests included, each with its reason above it.
fn safety(source: &Source) -> Vec<Breach> {
    let is_sys = source.module().first().is_some_and(|name| name == "sys");
    let mut breaches = Vec::new();
    let mut above = 0;
    for (index, token) in source.tokens.iter().enumerate() {
        if token.text != "unsafe" || token.line == above {
            continue;
        }
        let declares = text(&source.tokens, index + 1) == "fn";
        if !is_sys {
            breaches.push(source.breach(token.line, "`unsafe` outside `sys`"));
        } else if !justified(source, above, token.line, declares) {
            breaches.push(source.breach(token.line, "`unsafe` without `// SAFETY:` above it"));
        }
        above = token.line;
    }
    breaches
}

/// Whether a reason stands above `line`, and below the `unsafe` before it, which it may belong to.
fn justified(source: &Source, above: usize, line: usize, declares: bool) -> bool {
    let mut code_lines = 0;
    for number in (above + 1..line).rev() {
        let comment = source.comments[number - 1].trim();
        if comment.starts_with("// SAFETY:") || (declares && comment == "/// # Safety") {
            return true;
        }
        code_lines += usize::from(comment.is_empty());
        if code_lines > SAFETY_REACH {
            return false;
        }
    }
    false
}

/// A file is short, or its header says why not.
fn length(source: &Source) -> Vec<Breach> {
    let reason = source
        .lines
        .iter()
        .take_while(|line| line.starts_with("//!"))
        .filter_map(|line| line.strip_prefix("//! Long because: "))
        .any(|reason| !reason.trim().is_empty());
    let lines = source.lines.len();
    if lines <= FILE_LINES_MAX || reason {
        return Vec::new();
    }
    let what = format!("{lines} lines, over {FILE_LINES_MAX}, and no `//! Long because: ` line");
    vec![source.breach(lines, what)]
}

/// Nothing is left for later, nothing is skipped in silence.
fn unfinished(source: &Source) -> Vec<Breach> {
    let tokens = &source.tokens;
    let mut breaches = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let word = token.text.as_str();
        if matches!(word, "todo" | "unimplemented" | "dbg") && text(tokens, at + 1) == "!" {
            breaches.push(source.breach(token.line, format!("`{word}!`")));
        }
        let ignores = |(_, content): (usize, String)| {
            content == "ignore" || content.starts_with("ignore=") || content.ends_with(",ignore)")
        };
        if attribute(tokens, at).is_some_and(ignores) {
            breaches.push(source.breach(token.line, "`#[ignore]`"));
        }
    }
    breaches
}

/// `expect` states the invariant; `unwrap` states nothing.
fn unwraps(source: &Source) -> Vec<Breach> {
    source
        .product
        .windows(3)
        .filter(|three| three[0].text == "." && three[1].text == "unwrap" && three[2].text == "(")
        .map(|three| source.breach(three[1].line, "`.unwrap()` outside tests"))
        .collect()
}

/// Let chains came with Rust 1.88; the oldest compiler that we serve is 1.85.
fn let_chains(source: &Source) -> Vec<Breach> {
    let tokens = &source.tokens;
    let mut breaches = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let after = text(tokens, at + 1);
        let chained = match token.text.as_str() {
            "&&" => after == "let",
            "if" | "while" => after == "let" && goes_on_after_let(tokens, at + 2),
            _ => false,
        };
        if chained {
            breaches.push(source.breach(token.line, "a let chain needs Rust 1.88"));
        }
    }
    breaches
}

/// Whether `PATTERN = VALUE` is followed by `&&` rather than by the body.
fn goes_on_after_let(tokens: &[Token], pattern: usize) -> bool {
    let mut depth = 0;
    let mut in_value = false;
    for at in pattern..tokens.len() {
        match text(tokens, at) {
            "=" if depth == 0 => in_value = true,
            "{" if depth == 0 && in_value => return false,
            // After `=` it is a reference to a reference.
            "&&" if depth == 0 && in_value && text(tokens, at - 1) != "=" => return true,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    false
}

// ---- The house is tidy --------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).expect("a source file is UTF-8");
            let path = file.strip_prefix(root()).expect("found below the root");
            Source::new(&path.to_string_lossy().replace('\\', "/"), &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    // Not every folder is there from the start, nor in the published package.
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn keeps(check: fn(&Source) -> Vec<Breach>, folders: &[&str]) {
    let sources = sources(folders);
    assert!(!sources.is_empty(), "no source found in {folders:?}");
    let breaches: Vec<String> =
        sources.iter().flat_map(check).map(|breach| breach.to_string()).collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

const SRC: &[&str] = &["src"];
const EVERYWHERE: &[&str] = &["src", "tests", "examples", "benches"];

#[test]
fn modules_import_what_their_floor_allows() {
    keeps(floors, SRC);
}

#[test]
fn the_pure_wing_is_pure() {
    keeps(purity, SRC);
}

#[test]
fn unsafe_stays_in_sys_with_its_reason() {
    keeps(safety, SRC);
}

#[test]
fn files_are_short_or_say_why() {
    keeps(length, SRC);
}

#[test]
fn the_crate_stays_small() {
    let lines: usize = sources(SRC).iter().map(product_lines).sum();
    assert!(lines < SRC_LINES_MAX, "src has {lines} lines, {SRC_LINES_MAX} are too many");
}

#[test]
fn tests_and_blank_lines_are_no_product() {
    let count = |path, text| product_lines(&Source::new(path, text));
    assert_eq!(count("src/a.rs", "//! Doc.\n\nfn f() {}\n"), 2);
    assert_eq!(count("src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n"), 1);
    assert_eq!(count("src/a/tests.rs", "fn f() {}\n"), 0);
}

/// Lines of code and docs, those of the file's closing test module left out.
fn product_lines(source: &Source) -> usize {
    if source.path.ends_with("/tests.rs") {
        return 0;
    }
    let product = source.lines.iter().take_while(|line| *line != "#[cfg(test)]");
    let submodule = source.lines.iter().any(|line| line == "mod tests;");
    let counted: &mut dyn Iterator<Item = &String> =
        if submodule { &mut source.lines.iter() } else { &mut product.into_iter() };
    counted.filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn nothing_is_unfinished_or_ignored() {
    keeps(unfinished, EVERYWHERE);
}

#[test]
fn unwraps_stay_in_tests() {
    keeps(unwraps, SRC);
}

#[test]
fn the_oldest_compiler_can_read_it() {
    keeps(let_chains, EVERYWHERE);
}

#[test]
fn every_dependency_is_known_here() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the package has one");
    let unknown: Vec<String> = dependencies(&manifest)
        .into_iter()
        .filter(|name| !OUTSIDE.contains(&name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "in Cargo.toml, but not in OUTSIDE: {unknown:?}");
}

/// The keys of `[dependencies]` and of `[target.'..'.dependencies]`, as code spells them.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.ends_with(".dependencies]");
            if let Some(name) = line.strip_prefix("[dependencies.") {
                names.push(name.trim_end_matches(']').replace('-', "_"));
            }
        } else if inside && line.starts_with(|c: char| c.is_alphabetic()) {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.push(line[..end].replace('-', "_"));
        }
    }
    names
}

// ---- The table, the scanner and the checks are right --------------------------------------------

/// Each case: a path, what stands there, the lines on which `check` finds something.
fn finds(check: fn(&Source) -> Vec<Breach>, cases: &[(&str, &str, &[usize])]) {
    for (path, code, expected) in cases {
        let breaches = check(&Source::new(path, code));
        let lines: Vec<usize> = breaches.iter().map(|breach| breach.line).collect();
        let said: Vec<String> = breaches.iter().map(Breach::to_string).collect();
        assert_eq!(lines, *expected, "{path}: {code}: {said:?}");
    }
}

fn spell(tokens: &[Token]) -> String {
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    texts.join(" ")
}

#[test]
fn the_table_goes_down_and_has_no_circle() {
    fn reaches(from: &Row, to: &Row, steps: usize) -> bool {
        let mut next = TABLE.iter().filter(|row| from.may_import(row));
        steps > 0 && next.any(|row| row.module == to.module || reaches(row, to, steps - 1))
    }
    for row in TABLE {
        for word in row.imports.split_whitespace() {
            let known = |other: &Row| {
                word.trim_start_matches('-') == other.module || word == other.floor.word()
            };
            assert!(TABLE.iter().any(known), "{}: `{word}` is nothing", row.module);
        }
        for name in row.crates.split_whitespace() {
            assert!(OUTSIDE.contains(&name), "{}: `{name}` is not in OUTSIDE", row.module);
        }
        for other in TABLE.iter().filter(|other| row.may_import(other)) {
            let sideways = row.floor == other.floor;
            let down = row.floor.height() > other.floor.height();
            assert!(sideways || down, "{} imports {}", row.module, other.module);
        }
        assert!(!reaches(row, row, 6), "{} imports itself in a circle", row.module);
    }
}

#[test]
fn the_lexer_drops_comments_literals_and_lifetimes() {
    let cases = [
        ("a // b\nc /* d /* e */ f */ g", "a c g"),
        (r#"a "b \" // c" d"#, r#"a " d"#),
        (r###"r#"a " b"# br"\" cr##"x"# y"## z"###, r#"" " " z"#),
        (r"'a' '\'' '\u{41}' b'\\' 'a: 'static x", "\" \" \" \" : x"),
        (r#"b"a" c"b" abr"c" r#type"#, r#"" " abr " type"#),
        ("a::b&&c..=d>=e", "a :: b && c ..= d >= e"),
        ("/* never closed", ""),
        ("\"never closed", "\""),
        ("r#\"never closed\"", "\""),
        ("'", ""),
    ];
    for (code, expected) in cases {
        assert_eq!(spell(&tokenize(&split(code).0)), expected, "{code}");
    }
}

#[test]
fn the_lexer_keeps_lines_and_comments() {
    let source = Source::new("src/addr.rs", "a /* b\nc */ d\n\"e\nf\" g // h\n");
    let at: Vec<usize> = source.tokens.iter().map(|token| token.line).collect();
    assert_eq!(spell(&source.tokens), "a d \" g");
    assert_eq!(at, [1, 2, 3, 4]);
    assert_eq!(source.comments[1].trim(), "c */");
    assert_eq!(source.comments[3].trim(), "// h");
}

#[test]
fn test_items_are_left_out_and_nothing_else() {
    #[rustfmt::skip] // one case a line
    let cases = [
        ("a #[cfg(test)] mod tests { fn f() { } } b", "a b"),
        ("#[cfg(test)]\n#[allow(x)] mod tests; b", "b"),
        ("#[cfg(all(test, unix))] fn f(a: [u8; 4]) { g() } b", "b"),
        ("struct S { #[cfg(test)] x: u8 } b", "struct S { } b"),
        ("#[cfg(unix)] mod m { }", "# [ cfg ( unix ) ] mod m { }"),
        ("#[cfg(not(test))] f();", "# [ cfg ( not ( test ) ) ] f ( ) ;"),
    ];
    for (code, expected) in cases {
        assert_eq!(spell(&Source::new("src/addr.rs", code).product), expected, "{code}");
    }
    assert!(Source::new("src/codec/tests.rs", "a").product.is_empty());
}

#[test]
fn paths_are_read_from_trees_and_expressions() {
    let code = "use a::{b::{self, c as d}, e::*}; use ::f; pub(crate) fn g() -> h::I { x.j::<K>() }
        <L as m::N>::o::p; ::q::r(); impl use<'a, T>; extern crate s; pub(in t::u) v: w,";
    let found = paths(&tokenize(&split(code).0));
    let spelled: Vec<String> = found.iter().map(|path| path.segments.join("::")).collect();
    let expected = ["a::b", "a::b::c", "a::e::*", "f", "h::I", "m::N", "q::r", "s", "t::u"];
    assert_eq!(spelled, expected);
    assert_eq!(found[1].binds.as_deref(), Some("d"));
}

#[test]
fn a_forbidden_import_is_found() {
    #[rustfmt::skip] // one case a line
    let cases = [
        ("src/server.rs", "use crate::sys::cmsg;"),
        ("src/session/stream.rs", "use crate::socket::TcpStream;"),
        ("src/session/stream.rs", "use crate::{limits::Limits, engine};"),
        ("src/session/stream.rs", "fn f() { super::super::poll::wait() }"),
        ("src/handler.rs", "use super::session::Session;"),
        ("src/handler.rs", "mod inner { use super::super::session::Session; }"),
        ("src/handler.rs", "macro_rules! m { () => { $crate::client::x() } }"),
        ("src/lookup/host.rs", "use crate::connect::Race;"),
        ("src/addr/mod.rs", "use super::error::Error;"),
        ("src/error.rs", "type E = crate::limits::Limits;"),
        // Past the table: by the root, by a glob, by another name for the root.
        ("src/codec.rs", "use crate::Error;"),
        ("src/codec.rs", "use crate::*;"),
        ("src/codec.rs", "use super::*;"),
        ("src/codec.rs", "use crate as house;"),
        ("src/codec.rs", "use crate::{self as house};"),
        // A module that nobody entered.
        ("src/misc.rs", "fn f() {}"),
        // Outside crates.
        ("src/engine/events.rs", "use rustix::event::epoll;"),
        ("src/poll.rs", "fn f() { ::libc::close(3) }"),
        ("src/session/stream.rs", "use {std::io, memchr as m};"),
        ("src/codec/lines.rs", "extern crate url;"),
        ("src/limits.rs", "#[derive(thiserror::Error)] struct E;"),
        ("src/server.rs", "log::warn!()"),
        ("src/socket.rs", "let x = y as libc::c_int;"),
    ];
    for (path, code) in cases {
        finds(floors, &[(path, code, &[1])]);
    }
    let source = Source::new("src/limits.rs", "\n\nuse crate::codec::Lines;");
    let breaches = floors(&source);
    let expected = "src/limits.rs:3: `crate::codec::Lines`: `limits` may not import `codec`";
    assert_eq!(breaches[0].to_string(), expected);
}

#[test]
fn an_allowed_import_is_left_alone() {
    #[rustfmt::skip] // one case a line
    let cases = [
        ("src/lib.rs", "pub use sys::x; use crate::client; use libc::c_int;"),
        ("src/client.rs", "use crate::{connect::Race, engine::Events, session::Stream, addr, error::Error};"),
        ("src/engine/events.rs", "use crate::poll::Poll; use super::shutdown; use crate::engine::accept;"),
        ("src/session/stream.rs", "use super::super::handler::Context; pub(crate) use self::inner::X;"),
        ("src/session.rs", "mod inner { use super::*; pub(in crate::session) struct S; }"),
        ("src/codec/lines.rs", "use memchr::memchr; use crate::buffer::Buffer;"),
        ("src/codec.rs", "//! [`crate::server`]\nconst A: &str = \"crate::server::X\";"),
        ("src/codec.rs", "#[cfg(test)] mod tests { use super::*; use crate::server::Server; }"),
        ("src/lookup/mod.rs", "mod url; use ::url::Url; fn f() { url::port_of() }"),
        ("src/client.rs", "use crate::lookup::{url, host}; fn f() { url::port_of() }"),
        ("src/server.rs", "fn f(url: &str) { self.log::<u8>(url); x.log() }"),
        ("src/sys/mmsg.rs", "use libc::{self, mmsghdr}; use socket2::SockAddr; use io_uring as ring;"),
    ];
    for (path, code) in cases {
        finds(floors, &[(path, code, &[])]);
    }
}

#[test]
#[rustfmt::skip] // one case a line
fn impurity_is_found() {
    finds(purity, &[
        ("src/timers.rs", "use std::net::{TcpStream, SocketAddr};", &[1]),
        ("src/timers.rs", "\nuse std::fs;\nuse std::{io, os::fd as d};", &[2, 3]),
        ("src/limits.rs", "fn f(at: Instant) { std::time::Instant::now() }\nInstant::now()", &[1, 2]),
        ("src/session/stream.rs", "fn f(clock: SystemTime, fd: BorrowedFd<'_>) {}", &[1, 1]),
        ("src/poll.rs", "use std::fs; use std::os::fd::OwnedFd; Instant::now()", &[]),
        ("src/timers.rs", "use std::net::SocketAddr; use std::time::{Duration, Instant};", &[]),
        ("src/timers.rs", "#[cfg(test)] mod tests { fn f() { Instant::now() } }", &[]),
    ]);
}

#[test]
#[rustfmt::skip] // one case a line
fn stray_or_unexplained_unsafe_is_found() {
    finds(safety, &[
        ("src/socket.rs", "// SAFETY: x is open.\nunsafe { f(x) }", &[2]),
        ("src/addr.rs", "#[cfg(test)] mod tests { unsafe { f() } }", &[1]),
        ("src/sys.rs", "unsafe { f() }", &[1]),
        ("src/sys.rs", "// SAFETY: x is open.\nunsafe { f(x) };\nunsafe { g(x) };", &[3]),
        ("src/sys.rs", "// SAFETY: x\n\n\n\n\n\nunsafe impl Send for X {}", &[7]),
        ("src/sys.rs", "let s = \"// SAFETY: x\";\nunsafe { f() }", &[2]),
        ("src/sys.rs", "/// # Safety\nunsafe extern \"C\" {}", &[2]),
        ("src/sys/x.rs", "// SAFETY: x is open.\n// It stays so.\nlet n = check(\n  unsafe { f(x) },\n);", &[]),
        ("src/sys/x.rs", "/// F.\n///\n/// # Safety\n///\n/// x is open.\nunsafe fn f() {}", &[]),
        ("src/addr.rs", "#![deny(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";", &[]),
    ]);
}

#[test]
#[rustfmt::skip] // one case a line
fn a_long_file_is_found() {
    let long = "\n".repeat(FILE_LINES_MAX);
    let under = |header: &str| format!("{header}\n{long}");
    finds(length, &[
        ("src/addr.rs", &long, &[]),
        ("src/addr.rs", &under(""), &[FILE_LINES_MAX + 1]),
        ("src/addr.rs", &under("//! Addresses.\n//! Long because: one table."), &[]),
        ("src/addr.rs", &under("//! Long because:  "), &[FILE_LINES_MAX + 1]),
        ("src/addr.rs", &under("\n//! Long because: not in the header."), &[FILE_LINES_MAX + 2]),
    ]);
}

#[test]
#[rustfmt::skip] // one case a line
fn what_is_unfinished_is_found() {
    finds(unfinished, &[
        ("src/addr.rs", "todo!()\nunimplemented!(\"x\")\ndbg!(x)", &[1, 2, 3]),
        ("tests/server.rs", "#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]", &[1, 2, 3]),
        ("src/addr.rs", "// todo!()\nlet todo = \"dbg!\"; #[must_use] fn ignore() {}", &[]),
    ]);
}

#[test]
#[rustfmt::skip] // one case a line
fn an_unwrap_is_found() {
    finds(unwraps, &[
        ("src/addr.rs", "a.unwrap();\na\n  .unwrap()\n  .b();", &[1, 3]),
        ("src/addr.rs", "/// a.unwrap()\na.unwrap_or(b); a.expect(\"c\");", &[]),
        ("src/addr.rs", "#[cfg(test)] mod tests { fn f() { a.unwrap() } }", &[]),
    ]);
}

#[test]
fn a_let_chain_is_found() {
    let chains = [
        "if let Some(x) = y && z {}",
        "if let A { b, c } = d && e {}",
        "if a && let Some(x) = y {}",
        "while let Some(x) = f(y)?\n && x.g() {}",
        "if let \"a\" = b && c {}",
        "x => if let 0..=9 = y && z == 1 {}",
    ];
    for code in chains {
        finds(let_chains, &[("src/addr.rs", code, &[1])]);
    }
    let fine = "if let Some(x) = y { a && b } if let Some(x) = f(a && b) {} if let x = &&y {}
        if matches!(a, B) && c {} let d = a && b; let Some(x) = y else { return a && b }; // && let";
    finds(let_chains, &[("src/addr.rs", fine, &[])]);
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nio-uring = \"1\"\nurl.workspace = true\n
        [dev-dependencies]\nproptest = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc={}\n[dependencies.log]\nversion = \"1\"";
    assert_eq!(dependencies(manifest), ["io_uring", "url", "libc", "log"]);
}
