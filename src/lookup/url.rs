//! The port that a URL means.

use url::Url;

use super::error::{LookupError, LookupErrorKind};
use super::service::{Protocol, service};

/// The port that a URL or a bare scheme means: `smtp://mail.google.com` is 25, and so is `smtp`.
///
/// The explicit port; else the default that the URL standard gives the scheme (http, https, ws, wss,
/// ftp); else that of the [`service`] with the name of the scheme, TCP before UDP. The host is not
/// looked up. Does not block, but as [`service`] may.
///
/// ```
/// use sockeye::lookup;
/// assert_eq!(lookup::port_of("smtp://mail.google.com")?, 25);
/// assert_eq!(lookup::port_of("https://example.org:8443/path")?, 8443);
/// assert_eq!(lookup::port_of("wss")?, 443);
/// assert!(lookup::port_of("http://example.org:80junk").is_err());
/// # Ok::<(), lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`BadName`](LookupErrorKind::BadName) if the text is neither, also if blanks stand around it, or
/// if a number follows the scheme's colon at once, as in `localhost:80`;
/// [`NotFound`](LookupErrorKind::NotFound) if nobody knows a port for the scheme.
#[doc(alias = "urlparse")]
#[doc(alias = "getservbyname")]
pub fn port_of(url: &str) -> Result<u16, LookupError> {
    let bad = |words: String| LookupError::with_words(LookupErrorKind::BadName, url, words);
    // The URL standard would strip them.
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad("blanks and control characters have no place in a URL".to_owned()));
    }
    let parsed = match url.split_once(':') {
        Some((_, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            return Err(bad("a host with its port is no URL: `tcp://` is missing".to_owned()));
        }
        Some(_) => Url::parse(url),
        None if !url.bytes().all(is_scheme_byte) => {
            return Err(bad("expected a URL, or its scheme alone".to_owned()));
        }
        // A host that stands for any: the scheme is what matters.
        None if url.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Url::parse(&format!("{url}://host"))
        }
        // A service whose name no scheme can have, such as `9pfs`.
        None if url.bytes().any(|byte| byte.is_ascii_alphabetic()) => {
            return port_of_service(url, url);
        }
        None => return Err(bad("expected a URL, or its scheme alone".to_owned())),
    };
    let parsed = parsed.map_err(|error| bad(error.to_string()))?;
    if let Some(port) = parsed.port_or_known_default() {
        return Ok(port);
    }
    port_of_service(parsed.scheme(), url)
}

fn port_of_service(name: &str, asked: &str) -> Result<u16, LookupError> {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        match service(name, protocol) {
            Err(error) if error.kind() == LookupErrorKind::NotFound => {}
            answer => return answer.map(|service| service.port),
        }
    }
    let words = format!("no port is known for `{name}`");
    Err(LookupError::with_words(LookupErrorKind::NotFound, asked, words))
}

/// RFC 3986, section 3.1.
fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_scheme() {
        for (name, port, ..) in TABLE {
            assert_eq!(port_of(name).unwrap(), *port, "{name}");
            // No URL can have that one: schemes begin with a letter.
            if *name != "9pfs" {
                assert_eq!(port_of(&format!("{name}://host")).unwrap(), *port, "{name}");
            }
        }
        let error = port_of("9pfs://host").unwrap_err();
        assert_eq!(error.kind(), LookupErrorKind::BadName);
    }

    #[test]
    fn what_is_no_url_is_an_error() {
        for bad in [
            "",
            "25",
            ":",
            "://h",
            " smtp",
            "smtp ",
            "smtp\n",
            "smtp junk",
            "smtp/",
            "smtp!",
            "http://h:80junk",
            "http://h:65536",
            "http://h:-1",
            "http://",
            "localhost:80",
            "http:8080",
            "smtp://h:25 ",
            "http://a b",
            "\u{fc}ber://h",
            "smtp\0://h",
        ] {
            let error = port_of(bad).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad:?}: {error}");
        }
        for unknown in ["no-such-scheme", "no-such-scheme://h", "file:///etc", "mailto:a@b"] {
            let error = port_of(unknown).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::NotFound, "{unknown:?}: {error}");
        }
    }
}
