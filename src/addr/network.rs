//! Networks: addresses with a common beginning, in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::{ParseEndpointError, Part};

/// A network: `10.0.0.0/8`, `2001:db8::/32`. An address without a prefix is a network of its own.
///
/// An IPv4 address that is written as IPv6, as dual-stack sockets show their peers (`::ffff:10.0.0.1`),
/// is taken for what it is, in networks and in what is compared with them. So `::/0` has every IPv6
/// address in it, and no IPv4 address in any spelling.
///
/// Exact, as endpoints are: no bits behind the prefix, no `10.1/16`, no zeros in front, no zone.
///
/// ```
/// use sockeye::addr::Network;
/// let private: Network = "10.0.0.0/8".parse()?;
/// assert!(private.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!private.contains("11.0.0.1".parse().unwrap()));
/// assert!("10.0.0.1/8".parse::<Network>().is_err());
/// # Ok::<(), sockeye::addr::ParseEndpointError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    ip: IpAddr, // canonical, and without bits behind the prefix
    prefix: u8,
}

impl Network {
    /// The network of all addresses that share their first `prefix` bits with `ip`.
    ///
    /// # Errors
    ///
    /// The prefix is longer than the address, or there are bits behind it: `10.0.0.1/8` may mean
    /// `10.0.0.0/8` or `10.0.0.1/32`.
    pub fn new(ip: IpAddr, prefix: u8) -> Result<Self, ParseEndpointError> {
        let error = |expected: String| {
            Err(ParseEndpointError::new(Part::Network, &format!("{ip}/{prefix}"), expected))
        };
        let bits = bits(ip);
        if prefix > bits {
            return error(format!("a prefix of at most {bits} bits"));
        }
        let first = masked(ip, prefix);
        if first != ip {
            return error(format!("no bits behind the prefix, as in `{first}/{prefix}`"));
        }
        match ip {
            IpAddr::V6(v6) if prefix >= MAPPED_BITS && v6.to_ipv4_mapped().is_some() => {
                Ok(Network { ip: ip.to_canonical(), prefix: prefix - MAPPED_BITS })
            }
            _ => Ok(Network { ip, prefix }),
        }
    }

    /// Its first address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// How many bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether this address is in it; never, if it is of the other version.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.ip.is_ipv4() && masked(ip, self.prefix) == self.ip
    }
}

/// A network of one address.
impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Network { ip, prefix: bits(ip) }
    }
}

impl FromStr for Network {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let bad = |_| {
            let expected = "an address and how many bits of it count, as in `10.0.0.0/8`";
            ParseEndpointError::new(Part::Network, text, expected)
        };
        let Some((ip, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Network::from).map_err(|_| bad(()));
        };
        let ip = ip.parse().map_err(|_| bad(()))?;
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        match prefix.parse() {
            Ok(number) if is_number && (prefix == "0" || !prefix.starts_with('0')) => {
                Network::new(ip, number)
            }
            _ => Err(bad(())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `ip` with zeros behind the prefix, which is no longer than it.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        // A shift by all bits is an overflow, and means that none count.
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// What `::ffff:0:0/96` has in front of an IPv4 address.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn what_prints_parses_back() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "fe80::/10", "::1/128"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.1"), network("192.0.2.1/32"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for bad in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.1/8",
            "10/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8 ",
            "010.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "fe80::%lo/10",
            "localhost",
            "[::1]/128",
        ] {
            let error = bad.parse::<Network>().unwrap_err();
            assert_eq!(error.part(), Part::Network, "{bad}");
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("`10.0.0.0/8`"), "{error}");
    }

    #[test]
    fn contains_the_addresses_up_to_its_edges() {
        let cases = [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.1/32", "::ffff:192.0.2.1", "192.0.2.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::/0", "ffff::", "::ffff:1.2.3.4"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::1/128", "::1", "::2"),
        ];
        for (text, inside, outside) in cases {
            assert!(network(text).contains(inside.parse().unwrap()), "{inside} in {text}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{outside} in {text}");
        }
    }
}
