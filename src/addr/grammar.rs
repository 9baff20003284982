//! What may stand for a host, a zone and a port.
//!
//! Strict on purpose. libc reads `127.1` and `0x7f.1` as 127.0.0.1 and `010.8.8.8` as 8.8.8.8,
//! which is how filters are fooled: what looks like a number here is an exact literal or an error,
//! and never reaches libc. The `parse_` functions tell the forms apart; the `check_` functions hold
//! for values made without parsing too.

use super::{Host, ParseEndpointError, Part, Port, Zone};

pub(super) fn parse_host(text: &str) -> Result<Host, ParseEndpointError> {
    if text == "*" {
        return Ok(Host::Everywhere);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (ip, zone) = match inside.split_once('%') {
            Some((ip, zone)) => (ip, Some(parse_zone(zone)?)),
            None => (inside, None),
        };
        return match ip.parse() {
            Ok(ip) => Ok(Host::V6(ip, zone)),
            Err(_) => {
                Err(ParseEndpointError::new(Part::Host, text, "an IPv6 address in the brackets"))
            }
        };
    }
    match text.parse() {
        Ok(ip) => Ok(Host::V4(ip)),
        Err(_) => Ok(Host::Name(text.to_owned())), // checked by `HostPort::new`
    }
}

fn parse_zone(text: &str) -> Result<Zone, ParseEndpointError> {
    if text.is_empty() || !is_digits(text) {
        return Ok(Zone::Name(text.to_owned())); // checked by `HostPort::new`
    }
    match text.parse() {
        Ok(index) if !text.starts_with('0') => Ok(Zone::Index(index)),
        _ => Err(bad_zone(text)),
    }
}

pub(super) fn parse_port(text: &str) -> Result<Port, ParseEndpointError> {
    if text.is_empty() || !is_digits(text) {
        return Ok(Port::Service(text.to_owned())); // checked by `HostPort::new`
    }
    match text.parse() {
        Ok(number) if text == "0" || !text.starts_with('0') => Ok(Port::Number(number)),
        Ok(_) => Err(ParseEndpointError::new(Part::Port, text, "no zeros in front")),
        Err(_) => Err(ParseEndpointError::new(Part::Port, text, "a number up to 65535")),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ParseEndpointError> {
    let error = |expected: &'static str| Err(ParseEndpointError::new(Part::Host, name, expected));
    if !name.is_ascii() {
        return error("ASCII; other scripts in punycode, as in `xn--bcher-kva.example`");
    }
    // A final dot makes a name absolute: no search domains are tried.
    let relative = name.strip_suffix('.').unwrap_or(name);
    if relative.len() > 253 {
        return error("at most 253 bytes");
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    for label in relative.split('.') {
        if label.is_empty() {
            return error("a name or address, without empty labels");
        }
        if label.len() > 63 {
            return error("labels of at most 63 bytes between the dots");
        }
        if !label.bytes().all(is_allowed) {
            return error("letters, digits, hyphens, underscores and dots");
        }
    }
    let last = relative.rsplit('.').next().unwrap_or(relative);
    if looks_like_a_number(last) {
        return error("four decimal numbers up to 255, as in `127.0.0.1`, or a name");
    }
    Ok(())
}

/// The rule of WHATWG's URL standard, "ends in a number": such a host is an IPv4 address or wrong,
/// never a name, since libc would read a number into it.
fn looks_like_a_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    is_digits(label) || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(super) fn check_zone_name(name: &str) -> Result<(), ParseEndpointError> {
    // What Linux allows in the name of an interface (up to 15 bytes), less what would confuse a
    // reader of endpoints. Digits alone would be an index.
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:%[]".contains(&byte);
    let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
    match fits && name.bytes().all(is_allowed) && !is_digits(name) {
        true => Ok(()),
        false => Err(bad_zone(name)),
    }
}

pub(super) fn bad_zone(text: &str) -> ParseEndpointError {
    let expected = "the name of an interface (1 to 15 bytes) or its number (not 0), as in `%eth0`";
    ParseEndpointError::new(Part::Zone, text, expected)
}

pub(super) fn check_service(name: &str) -> Result<(), ParseEndpointError> {
    // RFC 6335 has names of up to 15 letters, digits and hyphens; the tables of systems go beyond
    // it in all three. A digit in front is left out: no table has need of it here, and who writes
    // `9pfs` or `80a` is better told than looked up.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    match starts && name.len() <= 63 && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => {
            let expected = "a number from 0 to 65535 or a service such as `http`";
            Err(ParseEndpointError::new(Part::Port, name, expected))
        }
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
