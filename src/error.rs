//! One error for all that can fail from `lookup` upward: what was tried, where, and why it failed.
//!
//! `io::Error` says "Permission denied" and leaves the reader to find out of what. This one prints
//! the operation, the endpoint, the system's words, and the way out where there is a usual one.
//! What is no failure (would-block, end of stream, need more) is a value elsewhere, not an error.

use std::fmt::{Debug, Display};
use std::io;

use crate::addr::{Endpoint, ParseEndpointError, Port};

/// Why an operation failed, where, and what can be done about it.
///
/// Prints on one line: `listen on tcp://127.0.0.1:80: Permission denied (os error 13); ports below
/// 1024 need CAP_NET_BIND_SERVICE`. Match on [`kind`](Self::kind), not on the text. The
/// [`io::Error`] is its `source`. One pointer in size, so that a `Result` stays small.
///
/// ```
/// use sockeye::{ErrorKind, lookup};
/// let error = lookup::resolve(&"[fe80::1%nosuch0]:80".parse()?, false).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.endpoint(), "tcp://[fe80::1%nosuch0]:80");
/// # Ok::<(), sockeye::addr::ParseEndpointError>(())
/// ```
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Report>);

/// The same line as `Display`: what a `main` that returns an error prints is for people.
impl Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{operation} {endpoint}: {source}{}{}{}",
    bytes_sent.filter(|sent| *sent > 0).map_or(String::new(), |sent| format!(", after {sent} bytes")),
    if hint.is_some() { "; " } else { "" },
    hint.unwrap_or_default()
)]
struct Report {
    operation: &'static str,
    endpoint: String,
    kind: ErrorKind,
    bytes_sent: Option<usize>,
    hint: Option<&'static str>,
    source: io::Error,
}

/// What sort of failure it was, to match on.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is no endpoint, or the endpoint cannot be used for this: the caller's mistake.
    BadEndpoint,
    /// No such host, service, interface or socket file.
    NotFound,
    /// The name server gave no answer, or a faulty one, or too many lookups are under way; asking again
    /// may help.
    LookupFailed,
    /// The deadline passed.
    TimedOut,
    /// Another thread said that it is no longer wanted, or the server that wanted it has stopped.
    Cancelled,
    /// Nobody listens there.
    Refused,
    /// No way to that host or network.
    Unreachable,
    /// Another socket has the address, or a socket file is in the way.
    AddressInUse,
    /// The address is not one of this machine, or its ports are used up.
    AddressNotAvailable,
    /// The system forbids it.
    PermissionDenied,
    /// The connection has ended: closed, reset, aborted or broken.
    Closed,
    /// What came is no frame, or what was to be sent cannot be one.
    BadFrame,
    /// The system has no more descriptors, buffers or memory to give.
    LimitReached,
    /// The system or the socket does not have it.
    Unsupported,
    /// Anything else; see the source.
    Other,
}

impl Error {
    /// `operation` is a verb with its preposition, such as `listen on`, that reads on with the
    /// endpoint. The kind follows from the source.
    pub(crate) fn new(operation: &'static str, endpoint: impl Display, source: io::Error) -> Self {
        let kind = ErrorKind::of(&source);
        Error::with_kind(kind, operation, endpoint, source)
    }

    /// The same where the source does not tell the kind, as with `getaddrinfo`.
    pub(crate) fn with_kind(
        kind: ErrorKind,
        operation: &'static str,
        endpoint: impl Display,
        source: io::Error,
    ) -> Self {
        let endpoint = one_line(&endpoint.to_string());
        // Parsed back rather than passed in: an error may also be about a text or an address, and
        // failing is not what has to be fast.
        let hint = hint(kind, operation, endpoint.parse().ok().as_ref());
        Error(Box::new(Report { operation, endpoint, kind, bytes_sent: None, hint, source }))
    }

    /// A text that is no endpoint.
    pub(crate) fn bad_endpoint(operation: &'static str, error: ParseEndpointError) -> Self {
        let input = error.input().to_owned();
        Error::new(operation, input, error.into())
    }

    /// The same error once more: the source as its number or its words.
    pub(crate) fn again(&self) -> Self {
        let source = &self.0.source;
        let source = match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        let mut error = Error::with_kind(self.kind(), self.operation(), self.endpoint(), source);
        error.0.bytes_sent = self.0.bytes_sent;
        error
    }

    /// The same of a send, of whose bytes the kernel has taken so many.
    pub(crate) fn after(mut self, bytes: usize) -> Self {
        self.0.bytes_sent = Some(bytes);
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was tried, as a verb: `listen on`, `connect to`, `look up`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Where it was tried: an endpoint or an address, as text.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// Of a send that failed or ran out of time: how many bytes the kernel had taken by then, the marks of
    /// the codec included. Zero means that the peer will see nothing of the frame, and it may be sent
    /// again; otherwise the connection ends within a frame. `None` if nothing was to be sent, or could be.
    ///
    /// ```
    /// use sockeye::{client::Client, codec::Bytes, memory, ErrorKind};
    /// use std::time::Duration;
    /// let listener = memory::Listener::new(10); // takes ten bytes, and nobody reads them
    /// let mut client = Client::memory(&listener.dialer())
    ///     .timeout(Duration::from_millis(10))
    ///     .codec(Bytes::default())
    ///     .connect()?;
    /// let error = client.send(b"seventeen letters").unwrap_err();
    /// assert_eq!((error.kind(), error.bytes_sent()), (ErrorKind::TimedOut, Some(10)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes_sent(&self) -> Option<usize> {
        self.0.bytes_sent
    }

    /// The usual way out, in words for whoever runs the program; part of what is printed.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }

    /// The error of the system.
    pub fn io_error(&self) -> &io::Error {
        &self.0.source
    }
}

/// Keeps the kind of the system's error, with the whole [`Error`] inside
/// ([`io::Error::get_ref`]); `raw_os_error` is to be asked of [`Error::io_error`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.0.source.kind(), error)
    }
}

impl ErrorKind {
    /// The kind of an error of the system, or of a bad endpoint or path.
    pub(crate) fn of(error: &io::Error) -> ErrorKind {
        if error.get_ref().is_some_and(|inner| inner.is::<ParseEndpointError>()) {
            return ErrorKind::BadEndpoint;
        }
        // First the numbers that std has no kind for, or not in every version that we build with.
        match error.raw_os_error() {
            Some(EMFILE | ENFILE | ENOBUFS) => return ErrorKind::LimitReached,
            Some(EAFNOSUPPORT | EPROTONOSUPPORT | EOPNOTSUPP) => return ErrorKind::Unsupported,
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => ErrorKind::Unreachable,
            io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
            io::ErrorKind::AddrNotAvailable => ErrorKind::AddressNotAvailable,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => ErrorKind::Closed,
            io::ErrorKind::InvalidData => ErrorKind::BadFrame,
            io::ErrorKind::OutOfMemory => ErrorKind::LimitReached,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

/// `text` without control characters and without end, for a log: it may be what somebody typed.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        if index == ENDPOINT_CHARS_MAX {
            line.push('…');
            break;
        }
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Room for the longest endpoint that parses: a scheme and 108 bytes, each percent-encoded.
const ENDPOINT_CHARS_MAX: usize = 400;

/// What to do about it; `at` is the endpoint, if the error is about one.
fn hint(kind: ErrorKind, operation: &str, at: Option<&Endpoint>) -> Option<&'static str> {
    // Needs no endpoint.
    if kind == ErrorKind::LimitReached {
        return Some("raise the limit of open files (ulimit -n), or keep fewer sockets open");
    }
    let at = at?;
    let listens = matches!(operation, "listen on" | "bind" | "bind to");
    if let Some(unix) = at.unix_addr() {
        let is_path = unix.as_path().is_some();
        return match kind {
            ErrorKind::AddressInUse if is_path => Some(
                "stop what has it, remove what is left over, or have `SocketFileOptions` replace it",
            ),
            ErrorKind::AddressInUse => Some("a live process has this abstract name"),
            ErrorKind::Refused if is_path => Some("the socket file is left over: nobody listens"),
            ErrorKind::Refused => {
                Some("nobody in this network namespace listens on this abstract name")
            }
            ErrorKind::NotFound if listens => Some("the directory does not exist"),
            ErrorKind::NotFound => Some("there is no such socket file: is the server running?"),
            ErrorKind::PermissionDenied if listens => {
                Some("making a socket file needs write permission on its directory")
            }
            ErrorKind::PermissionDenied => {
                Some("connecting needs write permission on the socket file")
            }
            _ => None,
        };
    }
    match kind {
        ErrorKind::AddressInUse => {
            Some("another socket has the port (ss -lnp shows whose); port 0 takes a free one")
        }
        ErrorKind::AddressNotAvailable if listens => Some("no interface here has this address"),
        ErrorKind::AddressNotAvailable => {
            Some("no local port is left for this destination, or no local address fits it")
        }
        ErrorKind::PermissionDenied if listens && may_be_privileged(at) => {
            Some("ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        ErrorKind::Refused => Some("nobody listens there, or a firewall says so"),
        _ => None,
    }
}

/// Services are taken for privileged: those that people name are the well-known ones.
fn may_be_privileged(at: &Endpoint) -> bool {
    match at.host_port().map(|at| at.port()) {
        Some(Port::Number(number)) => (1..1024).contains(number),
        Some(Port::Service(_)) => true,
        None => false,
    }
}

// From errno.h: the ground knows no libc, and these numbers are part of each system's ABI.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));
const ENOBUFS: i32 = if LINUX { 105 } else { 55 };
const EAFNOSUPPORT: i32 = if LINUX { 97 } else { 47 };
const EPROTONOSUPPORT: i32 = if LINUX { 93 } else { 43 };
const EOPNOTSUPP: i32 = if LINUX { 95 } else { 45 };

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn os(operation: &'static str, endpoint: &str, errno: i32) -> Error {
        Error::new(operation, endpoint, io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn prints_operation_endpoint_cause_and_way_out_on_one_line() {
        assert_eq!(
            os("listen on", "tcp://127.0.0.1:80", 13).to_string(),
            "listen on tcp://127.0.0.1:80: Permission denied (os error 13); \
             ports below 1024 need CAP_NET_BIND_SERVICE"
        );
        assert_eq!(
            os("connect to", "udp://127.0.0.1:80", 13).to_string(),
            "connect to udp://127.0.0.1:80: Permission denied (os error 13)"
        );
    }

    #[test]
    fn kinds_follow_from_the_errors_of_the_system() {
        use ErrorKind::*;
        let kinds = [
            (2, NotFound),
            (110, TimedOut),
            (111, Refused),
            (113, Unreachable),
            (101, Unreachable),
            (98, AddressInUse),
            (99, AddressNotAvailable),
            (1, PermissionDenied),
            (104, Closed),
            (32, Closed),
            (24, LimitReached),
            (105, LimitReached),
            (12, LimitReached),
            (97, Unsupported),
            (95, Unsupported),
            (5, Other),
        ];
        #[cfg(target_os = "linux")]
        for (errno, kind) in kinds {
            assert_eq!(os("x", "y", errno).kind(), kind, "{errno}");
        }
        let bad = io::Error::from(":1".parse::<Endpoint>().unwrap_err());
        assert_eq!(Error::new("listen on", ":1", bad).kind(), BadEndpoint);
    }

    #[test]
    fn hints_suit_the_kind_of_address() {
        let hint = |endpoint, errno| os("listen on", endpoint, errno).hint().unwrap_or("none");
        assert!(hint("tcp://127.0.0.1:7000", 98).contains("another socket has the port"));
        assert!(hint("unix:///run/x", 98).contains("left over"));
        assert!(hint("unix://@x", 98).contains("abstract"));
        assert!(hint("unix:///no/x", 2).contains("directory"));
        assert!(hint("tcp://*:7000", 24).contains("ulimit"));
        assert_eq!(hint("tcp://*:7000", 13), "none");
        assert!(hint("tcp://*:http", 13).contains("1024"));
    }

    #[test]
    fn keeps_its_source_and_its_kind_as_an_io_error() {
        let error = os("connect to", "tcp://127.0.0.1:1", 111);
        assert_eq!(error.io_error().raw_os_error(), Some(111));
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
        let text = error.to_string();
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(io.to_string(), text);
        assert!(io.get_ref().is_some_and(|inner| inner.is::<Error>()));
    }

    #[test]
    fn text_that_somebody_typed_stays_one_line() {
        let error = os("connect to", &format!("a\r\n{}", "x".repeat(1000)), 5).to_string();
        assert!(error.starts_with("connect to a\\r\\nxxx") && error.len() < 500, "{error}");
    }

    #[test]
    fn is_one_pointer_in_size() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
