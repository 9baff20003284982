//! Text from strangers, fit for a log or a terminal.

use std::fmt::{self, Write};

/// Prints a value on one line, with all characters spelled out that steer a terminal, end a line, or are
/// not seen.
///
/// Escaped, as Rust writes them (`\n`, `\u{1b}`), are control characters (C0, DEL, C1), line and
/// paragraph separators, marks and overrides of direction, and other characters that Unicode calls
/// ignorable. Backslashes stay as they are, so what is escaped twice reads the same. At most 1,000
/// characters of text are printed, and then `...`.
///
/// ```
/// use sockeye::observer::Escaped;
/// assert_eq!(Escaped("eve\n\u{1b}[2Kroot \u{202e}").to_string(), r"eve\n\u{1b}[2Kroot \u{202e}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter { f, left: CHARS_MAX }, "{}", self.0)
    }
}

struct Filter<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl fmt::Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.f.write_str("...")?,
                _ if !is_hidden(c) => self.f.write_char(c)?,
                _ => match c {
                    '\n' | '\r' | '\t' => write!(self.f, "{}", c.escape_default())?,
                    _ => write!(self.f, "{}", c.escape_unicode())?,
                },
            }
            self.left -= 1;
        }
        Ok(())
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || (!c.is_ascii() && HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c)))
}

/// A line of a log that is longer helps nobody.
const CHARS_MAX: usize = 1001;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let bad = "\0\u{7}\u{8}\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}";
        for c in bad.chars() {
            let shown = Escaped(c).to_string();
            assert!(
                shown.is_ascii() && shown.len() > 1 && shown.starts_with('\\'),
                "{c:?}: {shown}"
            );
            assert!(!shown.chars().any(char::is_control));
        }
        let good = "Grüße, 你好 🦀 \\ \"'";
        assert_eq!(Escaped(good).to_string(), good);
        let once = Escaped(bad).to_string();
        assert_eq!(Escaped(&once).to_string(), once);
    }

    #[test]
    fn a_thousand_characters_are_printed() {
        let length = |text: String| Escaped(text).to_string().len();
        assert_eq!(length("x".repeat(999)), 999);
        assert_eq!(length("x".repeat(1000)), 1000);
        assert_eq!(length("x".repeat(1001)), 1003);
        assert_eq!(length("x".repeat(100_000)), 1003);
    }
}
