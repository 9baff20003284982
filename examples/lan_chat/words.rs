//! Nicks, and text from strangers made inert.

/// A nick: one to 24 characters that are all seen; no blank, no `:`, and letters or digits first.
///
/// # Errors
///
/// Which rule it breaks.
pub fn nick(nick: &str) -> Result<String, &'static str> {
    match nick.chars().next() {
        Some(first) if first.is_alphanumeric() => {}
        _ => return Err("a nick begins with a letter or a digit"),
    }
    if nick.chars().count() > 24 {
        return Err("a nick has at most 24 characters");
    }
    if nick.contains(':') || nick.chars().any(|c| c.is_whitespace() || is_hidden(c)) {
        return Err("a nick has no blanks, no `:` and nothing hidden in it");
    }
    Ok(nick.to_owned())
}

/// The text with everything spelled out that would steer a terminal, or is not seen: `\u{1b}` for ESC.
/// Character by character, so that a sequence split over several messages is inert too.
pub fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Control characters (C0, DEL, C1), marks and overrides of direction, what has no width, separators of
/// lines, tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{180b}'..='\u{180f}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}
