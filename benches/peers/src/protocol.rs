//! The services, for the peers that have no framing of their own.

/// What a server does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Every byte, or datagram, comes back.
    Echo,
    /// Every line comes back with its bytes in reverse order. A datagram is a line.
    Reverse,
    /// Every line goes to every connection, in the same order, to the one that it came from too. Streams
    /// only. Whoever connects is told by an empty line, [`GREETING`], that all lines are theirs from then
    /// on; who does not read them is cut off.
    Fan,
}

impl Service {
    pub fn parse(text: &str) -> Option<Service> {
        match text {
            "echo" => Some(Service::Echo),
            "reverse" => Some(Service::Reverse),
            "fan" => Some(Service::Fan),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Reverse => "reverse",
            Service::Fan => "fan",
        }
    }

    /// Turns a datagram into its answer, in place, and says how long that is.
    pub fn answer_datagram(self, datagram: &mut [u8]) -> usize {
        let length = match (self, datagram.last()) {
            (Service::Reverse, Some(b'\n')) => datagram.len() - 1,
            _ => datagram.len(),
        };
        if self == Service::Reverse {
            datagram[..length].reverse();
        }
        length
    }
}

/// What [`Service::Fan`] begins with.
pub const GREETING: &[u8] = b"\n";

/// Unsent bytes at which it cuts a connection off, as sockeye's limits have it.
pub const UNSENT_MAX: usize = 1024 * 1024;

/// The longest line, as in sockeye's `Lines`.
pub const LINE_MAX: usize = 8 * 1024;

/// A connection's state.
#[derive(Debug)]
pub struct Session {
    service: Service,
    /// The start of a line whose end has not come.
    begun: Vec<u8>,
}

/// A line is over the maximum: the connection ends.
#[derive(Debug)]
pub struct TooLong;

impl Session {
    pub fn new(service: Service) -> Session {
        Session { service, begun: Vec::new() }
    }

    /// What to write for this input: for an echo the input itself, which is not copied, and for a fan
    /// the whole lines in it, copied only if the first of them had begun before; otherwise what was put
    /// into `out`.
    pub fn answer<'a>(
        &mut self,
        input: &'a [u8],
        out: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], TooLong> {
        if self.service == Service::Echo {
            return Ok(input);
        }
        out.clear();
        if self.service == Service::Fan {
            let (mut lines, rest) =
                input.split_at(memchr::memrchr(b'\n', input).map_or(0, |at| at + 1));
            if !lines.is_empty() && !self.begun.is_empty() {
                out.append(&mut self.begun);
                out.extend_from_slice(lines);
                lines = out;
            }
            self.begun.extend_from_slice(rest);
            return if self.begun.len() > LINE_MAX { Err(TooLong) } else { Ok(lines) };
        }
        let mut rest = input;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            out.extend(rest[..end].iter().rev());
            if !self.begun.is_empty() {
                out.extend(self.begun.iter().rev());
                self.begun.clear();
            }
            out.push(b'\n');
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() > LINE_MAX { Err(TooLong) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_reversed_however_they_are_cut() {
        let mut session = Session::new(Service::Reverse);
        let mut said = Vec::new();
        for input in ["ab\n\ncd", "", "e", "f\ng", "\n"] {
            let mut out = Vec::new();
            said.extend_from_slice(session.answer(input.as_bytes(), &mut out).unwrap());
        }
        assert_eq!(String::from_utf8(said).unwrap(), "ba\n\nfedc\ng\n");
    }

    #[test]
    fn a_fan_hands_on_whole_lines() {
        let mut session = Session::new(Service::Fan);
        let mut answers = Vec::new();
        for input in ["ab\n\ncd", "", "e", "f\ng", "\n", "h\n"] {
            let mut out = Vec::new();
            answers.push(session.answer(input.as_bytes(), &mut out).unwrap().to_owned());
        }
        assert_eq!(answers, [&b"ab\n\n"[..], b"", b"", b"cdef\n", b"g\n", b"h\n"]);
    }

    #[test]
    fn a_line_over_the_maximum_is_refused() {
        for service in [Service::Reverse, Service::Fan] {
            let mut session = Session::new(service);
            let mut out = Vec::new();
            assert!(session.answer(&[b'x'; LINE_MAX], &mut out).is_ok());
            assert!(session.answer(b"x", &mut out).is_err());
        }
    }
}
