//! Text from strangers, made inert: what steers a terminal, or is not seen, is spelled out.
//!
//! Each such character becomes its escape as Rust writes it, `\u{1b}` for ESC. It is done character by
//! character, without state: so a sequence that is split over several messages is inert too. What has
//! been made inert stays as it is if it is done again, because backslashes are left alone; whoever
//! types `\u{1b}` by hand looks like somebody who sent an ESC, which harms nobody.
//!
//! Escaped are control characters (C0, DEL, C1), line and paragraph separators, interlinear marks, and
//! all that Unicode calls default-ignorable: marks and overrides of direction, zero-width characters,
//! variation selectors, tags, the byte order mark. Two of them stay inside emoji, where they are seen:
//! the joiner between two pictographs, and the selector that colours one. Combining marks stay,
//! because languages are written with them. That some letters look like others is not dealt with.

use std::fmt;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line of inert text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    pub fn new(text: &str) -> Text {
        Text(inert(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text with everything spelled out that is not to reach a terminal or a log.
pub fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    // The last character that was left as it is; an escape ends an emoji.
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let stays = match c {
            JOINER => ends_pictograph(before) && chars.peek().is_some_and(|&c| is_pictograph(c)),
            COLOURED => is_pictograph(before) || is_keycap(before),
            _ => !is_hidden(c),
        };
        if stays {
            shown.push(c);
            before = c;
        } else {
            shown.extend(c.escape_unicode());
            before = ' ';
        }
    }
    shown
}

/// Whether a character may not be shown as it is, outside of emoji.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control(); // which most text is
    }
    c.is_control() || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// How many columns of a terminal a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Whether a character takes no column of its own.
pub fn is_columnless(c: char) -> bool {
    c.width().unwrap_or(0) == 0
}

/// Near enough: the blocks that pictographs are in, without the letters that make flags.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}'
        | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1f1e5}' | '\u{1f200}'..='\u{1faff}')
        || matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}')
        || matches!(c, '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{24c2}')
}

fn is_keycap(c: char) -> bool {
    c.is_ascii_digit() || c == '#' || c == '*'
}

fn ends_pictograph(c: char) -> bool {
    is_pictograph(c) || c == COLOURED
}

const JOINER: char = '\u{200d}';
const COLOURED: char = '\u{fe0f}';

/// Default_Ignorable_Code_Point, and what else has no business in a line: separators, interlinear marks.
#[rustfmt::skip] // one list
const HIDDEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'), ('\u{34f}', '\u{34f}'), ('\u{61c}', '\u{61c}'), ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'), ('\u{180b}', '\u{180f}'), ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'), ('\u{2060}', '\u{206f}'), ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'), ('\u{feff}', '\u{feff}'), ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'), ('\u{1bca0}', '\u{1bca3}'), ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];
