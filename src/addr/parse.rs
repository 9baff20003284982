//! The text of endpoints: what is wrong with one, splitting, percent-encoding.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use std::io;

/// The part of an endpoint that an error is about.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What stands before `://`.
    Scheme,
    /// The host name or address.
    Host,
    /// The port number or service name.
    Port,
    /// The path or abstract name of a Unix socket.
    Path,
    /// The zone of an IPv6 address, behind its `%`.
    Zone,
    /// A [`Network`](super::Network): an address and a prefix.
    Network,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Scheme => "scheme",
            Part::Host => "host",
            Part::Port => "port",
            Part::Path => "path",
            Part::Zone => "zone",
            Part::Network => "network",
        })
    }
}

/// Why a text is no endpoint, or a path no Unix address.
///
/// Prints on one line which part is wrong, the text and what was expected. The text is escaped and
/// cut, so that the error may be logged whoever wrote the text.
///
/// ```
/// use sockeye::Endpoint;
/// let error = "tcp://127.1:80".parse::<Endpoint>().unwrap_err();
/// assert_eq!(error.part(), sockeye::addr::Part::Host);
/// assert!(error.to_string().starts_with("bad host `127.1`: expected "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseEndpointError {
    part: Part,
    text: Box<str>,
    expected: Cow<'static, str>,
    /// The whole text that was parsed, where it was more than the part.
    input: Box<str>,
}

impl ParseEndpointError {
    pub(super) fn new(part: Part, text: &str, expected: impl Into<Cow<'static, str>>) -> Self {
        let text = quote(text).into_boxed_str();
        ParseEndpointError { part, input: text.clone(), text, expected: expected.into() }
    }

    /// The same error, about a part of this text.
    pub(super) fn within(self, input: &str) -> Self {
        ParseEndpointError { input: quote(input).into(), ..self }
    }

    /// The part that is wrong.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The text of that part, control characters escaped, cut with `…` when it is long.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole text that is no endpoint, escaped and cut likewise.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// What should stand there, in words for the person who wrote the text.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            write!(f, "no {}: expected {}", self.part, self.expected)
        } else {
            write!(f, "bad {} `{}`: expected {}", self.part, self.text, self.expected)
        }
    }
}

impl Error for ParseEndpointError {}

/// Kind `InvalidInput`, with the error inside.
impl From<ParseEndpointError> for io::Error {
    fn from(error: ParseEndpointError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// How an unnamed Unix address prints; as the text of an endpoint it is refused.
pub(super) const UNNAMED: &str = "(unnamed)";

/// Enough to recognise a text by, short enough for a line of a log.
const QUOTED_CHARS_MAX: usize = 64;

/// `text` cut to a length that suits a log line, its control characters escaped.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == QUOTED_CHARS_MAX {
            quoted.push('…');
            break;
        }
        match c {
            // Quotes read well as they are; `escape_debug` would put a backslash before them.
            '"' | '\'' => quoted.push(c),
            c => quoted.extend(c.escape_debug()),
        }
    }
    quoted
}

/// Host and port of `HOST:PORT`; the host keeps its brackets.
pub(super) fn split_host_port(text: &str) -> Result<(&str, &str), ParseEndpointError> {
    if text.starts_with('[') {
        let Some(end) = text.find(']') else {
            let expected = "a `]` after the IPv6 address";
            return Err(ParseEndpointError::new(Part::Host, text, expected));
        };
        let (host, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Err(no_port(host)),
            None => Err(ParseEndpointError::new(Part::Port, rest, "`:PORT` right after the `]`")),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match text {
            "" => ParseEndpointError::new(Part::Host, "", "HOST:PORT"),
            host => no_port(host),
        });
    };
    if host.contains(':') {
        let expected = "brackets around an IPv6 address, as in `[::1]:7000`";
        return Err(ParseEndpointError::new(Part::Host, text, expected));
    }
    if host.is_empty() {
        // Everywhere or here alone: the one is unsafe to assume, the other useless on a server.
        let port = quote(port);
        let expected = format!(
            "`127.0.0.1:{port}` (this machine only) or `*:{port}` (every address); an empty host \
             could mean either"
        );
        return Err(ParseEndpointError::new(Part::Host, "", expected));
    }
    Ok((host, port))
}

fn no_port(host: &str) -> ParseEndpointError {
    let expected = format!("a port after the host, as in `{}:7000`", quote(host));
    ParseEndpointError::new(Part::Port, "", expected)
}

/// Writes `bytes` so that every reader of URLs reads them back the same.
pub(super) fn percent_encode(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => f.write_char(char::from(byte))?,
            b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b',' | b'=' | b':' | b'@' => {
                f.write_char(char::from(byte))?;
            }
            _ => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

/// The bytes of a percent-encoded path. All that need not be encoded may be, and a space or a
/// letter of another script may stand as it is.
pub(super) fn percent_decode(text: &str) -> Result<Vec<u8>, ParseEndpointError> {
    let error = |expected| Err(ParseEndpointError::new(Part::Path, text, expected));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return error("two hex digits after `%`; `%` itself is `%25`");
                };
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return error("two hex digits after `%`; `%` itself is `%25`");
                };
                bytes.push(high << 4 | low);
                rest = after;
            }
            // In URLs these end the path. Refused rather than taken for bytes of it, so that they
            // may mean something later.
            b'?' | b'#' => return error("`%3F` for `?` and `%23` for `#`"),
            byte => bytes.push(*byte),
        }
    }
    Ok(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_one_short_line() {
        assert_eq!(quote("a\n\x1b[31m'"), "a\\n\\u{1b}[31m'");
        let long = quote(&"x".repeat(1000));
        assert_eq!(long.chars().count(), QUOTED_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn hosts_and_ports_are_split_at_the_right_colon() {
        assert_eq!(split_host_port("a:1"), Ok(("a", "1")));
        assert_eq!(split_host_port("[::1]:1"), Ok(("[::1]", "1")));
        for bad in ["", "a", "[::1]", "[::1", "[::1]1", "::1", "::1:80", ":80"] {
            assert!(split_host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn malformed_percent_encoding_is_refused() {
        for bad in ["%", "%4", "%zz", "%+1", "a?b", "a#b"] {
            assert!(percent_decode(bad).is_err(), "{bad}");
        }
        assert_eq!(percent_decode("%2Fa%00%fF b"), Ok(b"/a\0\xff b".to_vec()));
    }
}
