//! Services: names to ports and back, by the system's table and one that is built in.

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use super::error::{LookupError, LookupErrorKind};
use super::table::{On, Row, TABLE};
use crate::sys::netdb::{self, ServiceEntry, Unanswered};

/// What a service runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
// Not `#[non_exhaustive]`: it is what endpoints with ports run on.
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A service: what a line of `/etc/services` says.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its official name.
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// Its port.
    pub port: u16,
    /// What it runs on there.
    pub protocol: Protocol,
}

/// The service of that name, or of that alias.
///
/// Asks the system's table: `getservbyname_r(3)`, which reads `/etc/services`; and where that has no
/// answer or is missing, as in many containers, a table of some 120 services that is built in. Case
/// matters, as it does there. Does not block, unless the system is set up to ask a directory server.
///
/// ```
/// use sockeye::lookup::{self, Protocol};
/// let smtp = lookup::service("smtp", Protocol::Tcp)?;
/// assert_eq!((smtp.port, smtp.name.as_str()), (25, "smtp"));
/// assert!(lookup::service("25", Protocol::Tcp).is_err(), "a number is no name");
/// # Ok::<(), lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](LookupErrorKind::NotFound) if there is none, also if there is one on the other
/// protocol only: the text says so. [`BadName`](LookupErrorKind::BadName) for what is no name.
#[doc(alias = "getservbyname")]
pub fn service(name: &str, protocol: Protocol) -> Result<Service, LookupError> {
    check(name)?;
    if let Some(service) = find(name, protocol)? {
        return Ok(service);
    }
    let other = find(name, protocol.other())?;
    let words = match other {
        Some(_) => {
            let (this, other) = (protocol.words(), protocol.other().words());
            format!("no {this} service `{name}` is known here, only one of {other}")
        }
        None => format!("no {} service `{name}` is known here", protocol.words()),
    };
    Err(LookupError::with_words(LookupErrorKind::NotFound, name, words))
}

/// The service at that port: `getservbyport_r(3)`, and the built-in table as for [`service`].
///
/// ```
/// use sockeye::lookup::{self, Protocol};
/// assert_eq!(lookup::service_at(53, Protocol::Udp)?.name, "domain");
/// # Ok::<(), lookup::LookupError>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](LookupErrorKind::NotFound) if none is known.
#[doc(alias = "getservbyport")]
pub fn service_at(port: u16, protocol: Protocol) -> Result<Service, LookupError> {
    let text = port.to_string();
    let answer = netdb::service_by_port(port, protocol.c_str());
    if let Some(service) = accept(answer, &text, protocol)? {
        return Ok(service);
    }
    let row = TABLE.iter().find(|row| row.1 == port && protocol.is_in(row.2));
    row.map(|row| built_in(row, protocol)).ok_or_else(|| {
        let words = format!("no {} service is known at this port", protocol.words());
        LookupError::with_words(LookupErrorKind::NotFound, &text, words)
    })
}

impl Protocol {
    fn other(self) -> Self {
        match self {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }

    fn c_str(self) -> &'static CStr {
        match self {
            Protocol::Tcp => c"tcp",
            Protocol::Udp => c"udp",
        }
    }

    fn is_in(self, on: On) -> bool {
        matches!((self, on), (_, On::Both) | (Protocol::Tcp, On::Tcp) | (Protocol::Udp, On::Udp))
    }
}

/// `tcp` or `udp`, as in `/etc/services`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// `tcp` or `udp`.
impl FromStr for Protocol {
    type Err = LookupError;

    fn from_str(text: &str) -> Result<Self, LookupError> {
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => {
                let kind = LookupErrorKind::BadName;
                Err(LookupError::with_words(kind, text, "expected `tcp` or `udp`"))
            }
        }
    }
}

/// What the system says, or else the built-in table.
fn find(name: &str, protocol: Protocol) -> Result<Option<Service>, LookupError> {
    let answer = netdb::service_by_name(name, protocol.c_str());
    if let Some(service) = accept(answer, name, protocol)? {
        return Ok(Some(service));
    }
    let is_it = |row: &&Row| {
        let mut names = std::iter::once(row.0).chain(row.3.split_whitespace());
        protocol.is_in(row.2) && names.any(|known| known == name)
    };
    Ok(TABLE.iter().find(is_it).map(|row| built_in(row, protocol)))
}

/// The system's answer, if it has one; `asked` is for the error.
fn accept(
    answer: Result<ServiceEntry, Unanswered>,
    asked: &str,
    protocol: Protocol,
) -> Result<Option<Service>, LookupError> {
    match answer {
        Ok(ServiceEntry { name, aliases, port }) => {
            // A file is trusted more than a name server, but what is no text is no name.
            let text = |bytes| String::from_utf8(bytes).ok().filter(|text| check(text).is_ok());
            let aliases = aliases.into_iter().filter_map(text).collect();
            Ok(text(name).map(|name| Service { name, aliases, port, protocol }))
        }
        Err(Unanswered::System(error)) => {
            Err(LookupError::with_source(LookupErrorKind::Other, asked, error))
        }
        Err(_) => Ok(None),
    }
}

fn built_in(row: &Row, protocol: Protocol) -> Service {
    let aliases = row.3.split_whitespace().map(str::to_owned).collect();
    Service { name: row.0.to_owned(), aliases, port: row.1, protocol }
}

/// Names as tables have them, `9pfs` and `whois++` among them; a number is none, nor is what has one
/// in front of junk.
fn check(name: &str) -> Result<(), LookupError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+./*".contains(&byte);
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    match has_letter && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => {
            let words = "expected the name of a service, such as `http`";
            Err(LookupError::with_words(LookupErrorKind::BadName, name, words))
        }
    }
}

/// As in endpoints; RFC 6335 has 15.
const NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_junk_are_no_names() {
        let long = "a".repeat(64);
        for bad in ["", "9", "0080", "80 http", "http\0", "ht tp", "-", &long, "\u{fc}ber"] {
            let error = service(bad, Protocol::Tcp).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad:?}");
        }
    }

    #[test]
    fn a_digit_in_front_is_part_of_the_name() {
        assert_eq!(service("9pfs", Protocol::Tcp).unwrap().port, 564);
        assert_eq!(service("9pf", Protocol::Tcp).unwrap_err().kind(), LookupErrorKind::NotFound);
    }

    #[test]
    fn what_the_other_protocol_has_is_told() {
        let error = service("tftp", Protocol::Tcp).unwrap_err();
        assert_eq!(error.kind(), LookupErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "look up tftp: no TCP service `tftp` is known here, only one of UDP"
        );
    }

    #[test]
    fn every_row_of_the_table_is_found_by_name_alias_and_port() {
        for row in TABLE {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                if !protocol.is_in(row.2) {
                    continue;
                }
                for name in std::iter::once(row.0).chain(row.3.split_whitespace()) {
                    let found = service(name, protocol).unwrap();
                    assert_eq!((found.port, found.protocol), (row.1, protocol), "{name}");
                }
                assert_eq!(service_at(row.1, protocol).unwrap().port, row.1);
            }
        }
        assert!(service_at(0, Protocol::Tcp).is_err());
    }
}
