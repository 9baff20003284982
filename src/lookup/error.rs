//! Why a name could not be looked up.
//!
//! Finer than [`ErrorKind`]: "there is no such name" and "the name has no address" are different
//! news to who looks names up, and the same to who connects. It converts into [`Error`].

use std::fmt;
use std::io;
use std::sync::Arc;

use dns_lookup::LookupErrorKind as Gai;

use crate::addr::{HostPort, ParseEndpointError};
use crate::error::{Error, ErrorKind, one_line};

/// A lookup that failed: of what, and why.
///
/// Prints on one line: `look up nosuch.example: no such name`. The name is escaped and cut, so that it
/// may be logged whoever wrote it. Cheap to clone: who shares a lookup shares its error.
///
/// ```
/// use sockeye::lookup::{self, LookupErrorKind};
/// let error = lookup::addresses("127.1").unwrap_err();
/// assert_eq!(error.kind(), LookupErrorKind::BadName);
/// assert_eq!(sockeye::Error::from(error).kind(), sockeye::ErrorKind::BadEndpoint);
/// ```
#[derive(Debug, Clone)]
pub struct LookupError {
    kind: LookupErrorKind,
    name: Box<str>,
    source: Arc<io::Error>,
}

/// What sort of failure it was, to match on.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupErrorKind {
    /// There is no such name, address or service: the answer is certain.
    NotFound,
    /// The name is there, and has no address of the wanted version.
    NoData,
    /// The name server did not answer, or was in trouble (SERVFAIL); asking again may help.
    TryAgain,
    /// The name server refused, or what came back is no good: no message, or no host name.
    Failed,
    /// The deadline passed before there was an answer.
    TimedOut,
    /// The text is no name: nobody was asked.
    BadName,
    /// Too many lookups are under way: nobody was asked.
    Busy,
    /// Anything else; see the source, which has its `errno` where there is one.
    Other,
}

impl LookupErrorKind {
    /// Whether the same lookup may succeed later: [`TryAgain`](Self::TryAgain),
    /// [`TimedOut`](Self::TimedOut) and [`Busy`](Self::Busy).
    pub fn is_temporary(self) -> bool {
        use LookupErrorKind::{Busy, TimedOut, TryAgain};
        matches!(self, TryAgain | TimedOut | Busy)
    }

    fn words(self) -> &'static str {
        match self {
            LookupErrorKind::NotFound => "no such name",
            LookupErrorKind::NoData => "the name has no such address",
            LookupErrorKind::TryAgain => "the name server did not answer",
            LookupErrorKind::Failed => "the name server refused, or its answer is no good",
            LookupErrorKind::TimedOut => "no answer in time",
            LookupErrorKind::BadName => "not a name",
            LookupErrorKind::Busy => "too many lookups are under way",
            LookupErrorKind::Other => "the lookup failed",
        }
    }

    fn io_kind(self) -> io::ErrorKind {
        match self {
            LookupErrorKind::NotFound | LookupErrorKind::NoData => io::ErrorKind::NotFound,
            LookupErrorKind::TimedOut => io::ErrorKind::TimedOut,
            LookupErrorKind::BadName => io::ErrorKind::InvalidInput,
            LookupErrorKind::Busy => io::ErrorKind::ResourceBusy,
            LookupErrorKind::TryAgain | LookupErrorKind::Failed | LookupErrorKind::Other => {
                io::ErrorKind::Other
            }
        }
    }
}

impl LookupError {
    /// A failure of this kind, in its usual words: for resolvers of your own.
    ///
    /// ```
    /// use sockeye::lookup::{LookupError, LookupErrorKind};
    /// let error = LookupError::new(LookupErrorKind::NotFound, "printer");
    /// assert_eq!(error.to_string(), "look up printer: no such name");
    /// ```
    pub fn new(kind: LookupErrorKind, name: &str) -> Self {
        Self::with_words(kind, name, kind.words())
    }

    /// A failure of this kind, and the error that it comes from.
    pub fn with_source(kind: LookupErrorKind, name: &str, source: io::Error) -> Self {
        LookupError { kind, name: one_line(name).into(), source: Arc::new(source) }
    }

    pub(super) fn with_words(kind: LookupErrorKind, name: &str, words: impl Into<String>) -> Self {
        Self::with_source(kind, name, io::Error::new(kind.io_kind(), words.into()))
    }

    pub(super) fn bad_name(name: &str, error: ParseEndpointError) -> Self {
        Self::with_source(LookupErrorKind::BadName, name, error.into())
    }

    /// An error of `getaddrinfo(3)` or `getnameinfo(3)`.
    pub(super) fn of_gai(name: &str, error: dns_lookup::LookupError) -> Self {
        let kind = match error.kind() {
            Gai::NoName | Gai::Service => LookupErrorKind::NotFound,
            Gai::NoData => LookupErrorKind::NoData,
            Gai::Again => LookupErrorKind::TryAgain,
            Gai::Fail => LookupErrorKind::Failed,
            _ => LookupErrorKind::Other,
        };
        let memory = matches!(error.kind(), Gai::Memory);
        match kind {
            LookupErrorKind::Other if memory => {
                Self::with_source(kind, name, io::ErrorKind::OutOfMemory.into())
            }
            LookupErrorKind::Other => Self::with_source(kind, name, error.into()),
            _ => Self::new(kind, name),
        }
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> LookupErrorKind {
        self.kind
    }

    /// What was looked up, control characters escaped, cut when it is long.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The error of the system, or the usual words for the kind.
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// The crate's error, about the endpoint that the name belongs to.
    pub(super) fn at(self, endpoint: impl fmt::Display) -> Error {
        let source = self.to_io();
        match self.kind {
            LookupErrorKind::NotFound | LookupErrorKind::NoData => {
                Error::with_kind(ErrorKind::NotFound, "look up", endpoint, source)
            }
            LookupErrorKind::TryAgain | LookupErrorKind::Failed | LookupErrorKind::Busy => {
                Error::with_kind(ErrorKind::LookupFailed, "look up", endpoint, source)
            }
            LookupErrorKind::TimedOut => {
                Error::with_kind(ErrorKind::TimedOut, "look up", endpoint, source)
            }
            LookupErrorKind::BadName => {
                Error::with_kind(ErrorKind::BadEndpoint, "look up", endpoint, source)
            }
            LookupErrorKind::Other => Error::new("look up", endpoint, source),
        }
    }

    /// The source once more: it is shared, and `io::Error` does not clone.
    fn to_io(&self) -> io::Error {
        match self.source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look up {}: {}", self.name, self.source)
    }
}

impl std::error::Error for LookupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Operation `look up`; both kinds of "not found" become one, and so does what the name
/// server is to blame for.
impl From<LookupError> for Error {
    fn from(error: LookupError) -> Self {
        let name = error.name.clone();
        error.at(name)
    }
}

/// The whole [`LookupError`] inside.
impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}

/// Refuses what libc would cut, read a number into, or ask a name server in vain: names as in
/// endpoints.
pub(super) fn check_name(name: &str) -> Result<(), LookupError> {
    use crate::addr::{Host, Port};
    match HostPort::new(Host::Name(name.to_owned()), Port::Number(0)) {
        Ok(_) => Ok(()),
        Err(error) => Err(LookupError::bad_name(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_becomes_one_of_the_crate() {
        let kinds = [
            (LookupErrorKind::NotFound, ErrorKind::NotFound, false),
            (LookupErrorKind::NoData, ErrorKind::NotFound, false),
            (LookupErrorKind::TryAgain, ErrorKind::LookupFailed, true),
            (LookupErrorKind::Failed, ErrorKind::LookupFailed, false),
            (LookupErrorKind::TimedOut, ErrorKind::TimedOut, true),
            (LookupErrorKind::BadName, ErrorKind::BadEndpoint, false),
            (LookupErrorKind::Busy, ErrorKind::LookupFailed, true),
            (LookupErrorKind::Other, ErrorKind::Other, false),
        ];
        for (kind, expected, temporary) in kinds {
            let error = Error::from(LookupError::new(kind, "host"));
            assert_eq!((error.kind(), error.operation()), (expected, "look up"), "{kind:?}");
            assert_eq!(kind.is_temporary(), temporary, "{kind:?}");
        }
    }

    #[test]
    fn an_error_of_the_system_keeps_its_number() {
        let source = io::Error::from_raw_os_error(24);
        let error = LookupError::with_source(LookupErrorKind::Other, "host", source);
        assert_eq!(error.clone().io_error().raw_os_error(), Some(24));
        let error = Error::from(error);
        assert_eq!(error.io_error().raw_os_error(), Some(24));
        assert_eq!(error.kind(), ErrorKind::LimitReached);
    }

    #[test]
    fn names_that_somebody_typed_stay_on_one_line() {
        let error = LookupError::new(LookupErrorKind::BadName, &format!("a\n{}", "b".repeat(999)));
        let text = error.to_string();
        assert!(text.starts_with("look up a\\nbbb") && text.len() < 500, "{text}");
    }

    #[test]
    fn names_are_refused_that_no_resolver_should_see() {
        let (label, long) = ("a".repeat(64), "abc.".repeat(64));
        for bad in ["", "a b", "a\0b", "a..b", ".", &label, &long, "127.1", "0x7f.1", "010.8.8.8"] {
            let error = check_name(bad).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad:?}");
        }
        let (label, long) = ("a".repeat(63), format!("{}a", "abc.".repeat(63)));
        assert_eq!(long.len(), 253);
        for good in ["localhost", "a.b.", "_sip._tcp.example", &label, &long] {
            check_name(good).unwrap();
        }
        assert!(check_name(&format!("{long}b")).is_err());
    }
}
