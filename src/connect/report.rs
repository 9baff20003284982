//! What was tried, what became of it, and how long it took.

use crate::addr::Endpoint;
use crate::error::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How a connect went: every address that was tried, in the order of the attempts.
///
/// Comes with the connection from [`Client::connect_with_report`](crate::Client::connect_with_report), and in the error of a
/// connect that came to attempts: see [`of`](Report::of). Prints one line for each attempt:
///
/// ```text
/// 2 attempts in 281.4ms, of which 20.2ms for the lookup
///   [2001:db8::7]:80 after 20.2ms: no answer in 261.2ms
///   192.0.2.7:80 after 270.3ms: connected in 11.1ms
/// ```
#[derive(Debug)]
pub struct Report {
    pub(super) attempts: Vec<Attempt>,
    pub(super) lookup: Duration,
    pub(super) elapsed: Duration,
}

impl Report {
    /// The report in an error of connecting, if it came to attempts: not if the lookup failed.
    ///
    /// ```
    /// use sockeye::Client;
    /// use sockeye::connect::Report;
    /// # let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    ///
    /// let error = Client::tcp(free).connect().unwrap_err(); // nobody listens there
    /// let report = Report::of(&error).expect("it was tried");
    /// assert_eq!(report.attempts()[0].address(), free);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(error: &Error) -> Option<&Report> {
        let inner = error.io_error().get_ref()?;
        inner.downcast_ref::<Unconnected>().map(|unconnected| &unconnected.report)
    }

    /// Of what has no IP address.
    pub(crate) fn none(elapsed: Duration) -> Report {
        Report { attempts: Vec::new(), lookup: Duration::ZERO, elapsed }
    }

    /// Every address that was tried, in order. In an error also those that it did not come to.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// How long the lookup of the name took; zero if the address was given.
    pub fn lookup(&self) -> Duration {
        self.lookup
    }

    /// How long everything took, the lookup included.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// One address, and what became of it.
#[derive(Debug)]
pub struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) began: Duration,
    pub(super) elapsed: Duration,
    pub(super) fate: Fate,
}

impl Attempt {
    /// The address that was tried.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it began, since the connect as a whole began.
    pub fn began(&self) -> Duration {
        self.began
    }

    /// How long it took until it was decided, or given up.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What became of it.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }
}

/// What became of an attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fate {
    /// This is the connection.
    Won,
    /// The system, the peer or a hook refused it.
    Failed(io::Error),
    /// The policy refused it: no packet was sent.
    Denied,
    /// There was no answer when its time was up, another attempt had connected, or it was cancelled.
    Unanswered,
    /// All was over before it began.
    NotTried,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { attempts, lookup, elapsed } = self;
        match attempts.len() {
            0 => write!(f, "no attempts on IP addresses in {elapsed:.1?}")?,
            1 => write!(f, "1 attempt in {elapsed:.1?}")?,
            count => write!(f, "{count} attempts in {elapsed:.1?}")?,
        }
        if !lookup.is_zero() {
            write!(f, ", of which {lookup:.1?} for the lookup")?;
        }
        for attempt in attempts {
            write!(f, "\n  {attempt}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt { address, began, elapsed, fate } = self;
        match fate {
            Fate::NotTried | Fate::Denied => write!(f, "{address}: ")?,
            _ => write!(f, "{address} after {began:.1?}: ")?,
        }
        match fate {
            Fate::Failed(error) => write!(f, "{error} in {elapsed:.1?}"),
            fate => fate.words(*elapsed, f),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Won => f.write_str("connected"),
            Fate::Unanswered => f.write_str("no answer"),
            fate => fate.words(Duration::ZERO, f),
        }
    }
}

impl Fate {
    /// How much it says about the peer.
    fn weight(&self) -> u8 {
        use ErrorKind::{AddressNotAvailable, Unreachable, Unsupported};
        match self {
            Fate::Failed(error) => match ErrorKind::of(error) {
                Unreachable | AddressNotAvailable | Unsupported => 1,
                _ => 3,
            },
            Fate::Unanswered => 2,
            Fate::Won | Fate::Denied | Fate::NotTried => 0,
        }
    }

    /// On a line that is about an error.
    fn words(&self, elapsed: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Won => write!(f, "connected in {elapsed:.1?}"),
            Fate::Failed(error) => write!(f, "{error}"),
            Fate::Denied => f.write_str("denied by the policy"),
            Fate::Unanswered => write!(f, "no answer in {elapsed:.1?}"),
            Fate::NotTried => f.write_str("not tried, it was over before"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Unconnected {
    pub(super) report: Report,
    pub(super) why: Why,
    /// The endpoint is an address: there is no need to name it once more.
    pub(super) literal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Every attempt failed, or the deadline passed.
    Attempts {
        timed_out: bool,
    },
    Cancelled,
    /// No address is of the family that the local address is of.
    NoAddress(SocketAddr),
}

impl Unconnected {
    pub(crate) fn into_error(self, endpoint: &Endpoint) -> Error {
        let (kind, io_kind) = self.kinds();
        Error::with_kind(kind, "connect to", endpoint, io::Error::new(io_kind, self))
    }

    fn kinds(&self) -> (ErrorKind, io::ErrorKind) {
        match self.why {
            Why::Attempts { timed_out: true } => (ErrorKind::TimedOut, io::ErrorKind::TimedOut),
            Why::Cancelled => (ErrorKind::Cancelled, io::ErrorKind::Interrupted),
            Why::NoAddress(_) => (ErrorKind::AddressNotAvailable, io::ErrorKind::AddrNotAvailable),
            Why::Attempts { .. } => {
                // The one that says most about the peer, and of several such the last: resolvers put
                // addresses to which there is no way at the end.
                let kind = |attempt: &Attempt| match &attempt.fate {
                    Fate::Failed(error) => (ErrorKind::of(error), error.kind()),
                    Fate::Unanswered => (ErrorKind::TimedOut, io::ErrorKind::TimedOut),
                    _ => (ErrorKind::PermissionDenied, io::ErrorKind::PermissionDenied),
                };
                let denied = (ErrorKind::PermissionDenied, io::ErrorKind::PermissionDenied);
                let attempts = self.report.attempts.iter();
                attempts.max_by_key(|attempt| attempt.fate.weight()).map_or(denied, kind)
            }
        }
    }
}

/// One line, for an error.
impl fmt::Display for Unconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = &self.report.attempts;
        match self.why {
            Why::NoAddress(from) => {
                return write!(
                    f,
                    "no address of it can be reached from {from}: another IP version"
                );
            }
            Why::Cancelled if attempts.is_empty() => return f.write_str("cancelled"),
            Why::Cancelled => f.write_str("cancelled; ")?,
            Why::Attempts { .. } if attempts.is_empty() => return f.write_str("no time is left"),
            Why::Attempts { .. } => {}
        }
        for (index, Attempt { address, elapsed, fate, .. }) in attempts.iter().enumerate() {
            if index == LISTED_MAX {
                return write!(f, ", and {} more", attempts.len() - LISTED_MAX);
            }
            if index > 0 {
                f.write_str(", ")?;
            }
            if !self.literal {
                write!(f, "{address}: ")?;
            }
            fate.words(*elapsed, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Unconnected {}

/// As many as a name may have addresses: a cause that is left out helps nobody.
const LISTED_MAX: usize = 64;
