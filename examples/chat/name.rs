//! Names: of people, and of rooms.

use super::text::{columns, is_columnless, is_hidden};
use std::fmt;

/// A name that can stand in a line of the protocol, and is what it looks like.
///
/// One to 24 columns; no blank, no `:`, nothing hidden; it begins with no sign of the protocol. Two
/// names that differ in upper and lower case only are the same person: see [`key`](Name::key).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub const COLUMNS_MAX: usize = 24;

    /// # Errors
    ///
    /// Which rule the name breaks, in words for its owner. The name is not repeated in them.
    pub fn new(name: &str) -> Result<Name, BadName> {
        // What a column holds is not bounded: combining marks have none.
        let is_long = columns(name) > Name::COLUMNS_MAX || name.len() > 4 * Name::COLUMNS_MAX;
        let key = name.to_lowercase();
        match name.chars().next() {
            None => Err(BadName::Empty),
            _ if name.chars().any(is_blank) => Err(BadName::Blank),
            _ if name.contains(':') => Err(BadName::Colon),
            _ if name.chars().any(is_hidden) => Err(BadName::Hidden),
            Some(first) if SIGNS.contains(first) || is_columnless(first) => Err(BadName::Sign),
            _ if is_long => Err(BadName::Long),
            _ if RESERVED.contains(&key.as_str()) => Err(BadName::Reserved),
            _ => Ok(Name(name.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What no two people at once may have in common.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    Empty,
    Blank,
    Colon,
    Hidden,
    Sign,
    Long,
    Reserved,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadName::Empty => f.write_str("a name has at least one character"),
            BadName::Blank => f.write_str("a name has no blanks in it"),
            BadName::Colon => f.write_str("a name has no : in it"),
            BadName::Hidden => f.write_str("a name has no hidden or control characters in it"),
            BadName::Sign => write!(f, "a name begins with none of {SIGNS}"),
            BadName::Long => write!(f, "a name has at most {} columns", Name::COLUMNS_MAX),
            BadName::Reserved => f.write_str("this name is reserved"),
        }
    }
}

impl std::error::Error for BadName {}

/// With the braille cell that has no dots.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

/// What lines of another kind than a message begin with, and what may once.
const SIGNS: &str = "!\"#$%&'()*+,-./;<=>?@[\\]^`{|}~";

/// Who could be taken for the server, or for everybody.
const RESERVED: &[&str] =
    &["all", "everybody", "everyone", "here", "me", "server", "system", "you"];
