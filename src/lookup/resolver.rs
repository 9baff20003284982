//! Who turns names into addresses: a trait, so that it can be somebody else than the system.
//!
//! Literals and numbers never come here: who has one asks nobody. Services do not either: they are
//! in a table of the system, see [`service`](super::service).

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::error::{LookupError, LookupErrorKind};
use crate::addr::IpVersion;

/// At most this many addresses come of one name: more is a mistake or an attack, and every one may
/// cost a caller a connection attempt.
pub const ADDRESSES_MAX: usize = 64;

/// Finds the addresses of names.
///
/// The system's is [`SystemResolver`](super::SystemResolver); [`StaticResolver`] has a list, for tests.
/// One of your own may wrap another. This one keeps answers for a fixed time, failures too:
///
/// ```
/// use sockeye::addr::IpVersion;
/// use sockeye::lookup::{LookupError, Resolver, StaticResolver};
/// use std::collections::HashMap;
/// use std::net::SocketAddr;
/// use std::sync::{Mutex, PoisonError};
/// use std::time::{Duration, Instant};
///
/// type Answer = Result<Vec<SocketAddr>, LookupError>;
///
/// #[derive(Debug)]
/// struct Cache<R> {
///     inner: R,
///     age_max: Duration,
///     answers: Mutex<HashMap<(String, IpVersion), (Instant, Answer)>>,
/// }
///
/// impl<R: Resolver> Resolver for Cache<R> {
///     fn resolve(&self, name: &str, version: IpVersion, deadline: Option<Instant>) -> Answer {
///         let key = (name.to_owned(), version);
///         let lock = || self.answers.lock().unwrap_or_else(PoisonError::into_inner);
///         if let Some((at, answer)) = lock().get(&key) {
///             if at.elapsed() < self.age_max {
///                 return answer.clone();
///             }
///         }
///         let answer = self.inner.resolve(name, version, deadline);
///         let mut answers = lock();
///         answers.retain(|_, (at, _)| at.elapsed() < self.age_max);
///         if answers.len() < 1_000 {
///             answers.insert(key, (Instant::now(), answer.clone()));
///         }
///         answer
///     }
/// }
///
/// let hosts = StaticResolver::new().with("printer", ["192.0.2.7".parse()?]);
/// let cache = Cache { inner: hosts, age_max: Duration::from_secs(60), answers: Mutex::default() };
/// let addresses = cache.resolve("printer", IpVersion::Any, None)?;
/// assert_eq!(cache.resolve("printer", IpVersion::Any, None)?, addresses);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Resolver: Send + Sync + Debug {
    /// The addresses of `name`, of that version, in order of preference.
    ///
    /// Their ports are zero, IPv6 scope ids are kept, none is there twice; at least one, and at most
    /// [`ADDRESSES_MAX`]. **Blocks** until there is an answer or the deadline has passed; no deadline
    /// is as long as it takes.
    ///
    /// `name` is well-formed as the host of an endpoint is, and no literal; an implementation that is
    /// also called by others checks it.
    ///
    /// # Errors
    ///
    /// The kinds of [`LookupErrorKind`]; [`TimedOut`](LookupErrorKind::TimedOut) at the deadline.
    fn resolve(
        &self,
        name: &str,
        version: IpVersion,
        deadline: Option<Instant>,
    ) -> Result<Vec<SocketAddr>, LookupError>;
}

macro_rules! pass_on {
    ($($pointer:ty),*) => { $(
        impl<R: Resolver + ?Sized> Resolver for $pointer {
            fn resolve(
                &self, name: &str, version: IpVersion, deadline: Option<Instant>
            ) -> Result<Vec<SocketAddr>, LookupError> {
                (**self).resolve(name, version, deadline)
            }
        }
    )* };
}
pass_on!(&R, Arc<R>, Box<R>);

/// A list of hosts, for tests and for programs that know theirs.
///
/// Names are compared without regard to case and to a final dot. Never blocks, asks nobody; what is
/// not in the list is [`NotFound`](LookupErrorKind::NotFound).
///
/// ```
/// use sockeye::addr::IpVersion;
/// use sockeye::lookup::{Resolver, StaticResolver};
/// let hosts = StaticResolver::new()
///     .with("printer", ["192.0.2.7".parse()?, "2001:db8::7".parse()?])
///     .with("nas", ["192.0.2.8".parse()?]);
/// let addresses = hosts.resolve("PRINTER.", IpVersion::V6, None)?;
/// assert_eq!(addresses, ["[2001:db8::7]:0".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct StaticResolver {
    hosts: Vec<(String, Vec<SocketAddr>)>,
}

impl StaticResolver {
    /// An empty list: every name is unknown.
    pub fn new() -> Self {
        StaticResolver::default()
    }

    /// The same list with this host. Addresses of a name that is there already are added to it.
    pub fn with(self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.with_scoped(name, addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)))
    }

    /// The same for addresses with scope ids; their ports are of no interest.
    pub fn with_scoped(
        mut self,
        name: &str,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let name = fold(name);
        let index = match self.hosts.iter().position(|(known, _)| *known == name) {
            Some(index) => index,
            None => {
                self.hosts.push((name, Vec::new()));
                self.hosts.len() - 1
            }
        };
        let known = &mut self.hosts[index].1;
        *known = gather(known.iter().copied().chain(addresses), IpVersion::Any);
        self
    }
}

impl Resolver for StaticResolver {
    fn resolve(
        &self,
        name: &str,
        version: IpVersion,
        _deadline: Option<Instant>,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let folded = fold(name);
        let Some((_, addresses)) = self.hosts.iter().find(|(known, _)| *known == folded) else {
            return Err(LookupError::new(LookupErrorKind::NotFound, name));
        };
        let addresses = gather(addresses.iter().copied(), version);
        match addresses.is_empty() {
            true => Err(LookupError::new(LookupErrorKind::NoData, name)),
            false => Ok(addresses),
        }
    }
}

fn fold(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What a resolver answers: without ports and repetition, of one version, not too many.
pub(super) fn gather(
    found: impl IntoIterator<Item = SocketAddr>,
    version: IpVersion,
) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for mut address in found {
        if addresses.len() == ADDRESSES_MAX {
            break;
        }
        let fits = match version {
            IpVersion::Any => true,
            IpVersion::V4 => address.is_ipv4(),
            IpVersion::V6 => address.is_ipv6(),
        };
        address.set_port(0);
        // Quadratic, over at most 64 that are kept.
        if fits && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_list_answers_for_its_hosts_and_no_others() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let hosts = StaticResolver::new()
            .with("a", [ip("192.0.2.1"), ip("192.0.2.1")])
            .with("A.", [ip("::1")])
            .with("empty", []);
        let ask = |name, version| hosts.resolve(name, version, None);
        let both: [SocketAddr; 2] = ["192.0.2.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        assert_eq!(ask("a", IpVersion::Any).unwrap(), both);
        assert_eq!(ask("A", IpVersion::V4).unwrap(), both[..1]);
        assert_eq!(ask("a.", IpVersion::V6).unwrap(), both[1..]);
        let kind = |name| ask(name, IpVersion::Any).unwrap_err().kind();
        assert_eq!(kind("empty"), LookupErrorKind::NoData);
        assert_eq!(kind("b"), LookupErrorKind::NotFound);
    }

    #[test]
    fn no_more_addresses_are_kept_than_the_maximum() {
        for (count, kept) in [(63, 63), (64, 64), (65, 64), (2_000, 64)] {
            let found = (0..count).map(|n| SocketAddr::from((Ipv4Addr::from(n), 9)));
            let addresses = gather(found, IpVersion::Any);
            assert_eq!(addresses.len(), kept);
            assert!(addresses.iter().all(|address| address.port() == 0));
        }
    }
}
