//! Whom to talk to: networks that are allowed and denied.

use std::net::IpAddr;

use super::{Network, Peer};

/// An allow and deny list, judged on the address that is really accepted or connected to.
///
/// The **longest prefix wins**: the most exact rule that fits the address decides, in whatever order the
/// rules were given. If the same network is both allowed and denied, it is denied. Where no rule fits,
/// the list does what it was begun with. IPv4 addresses in IPv6 spelling are judged as IPv4, see
/// [`Network`]; a list that is to hold for both versions needs rules for both.
///
/// A server takes it as its [`admit`](crate::Server::admit) in one line:
///
/// ```
/// use sockeye::addr::Policy;
/// use sockeye::codec::Lines;
/// use sockeye::server::Server;
///
/// let policy = Policy::deny_all()
///     .allow("127.0.0.0/8".parse()?)
///     .allow("10.0.0.0/8".parse()?)
///     .deny("10.66.0.0/16".parse()?);
/// assert!(policy.allows("10.1.2.3".parse()?) && !policy.allows("10.66.2.3".parse()?));
///
/// let server = Server::tcp("127.0.0.1:0")
///     .admit(move |peer| policy.admits(peer))
///     .codec(Lines::default())
///     .serve(|line, cx| cx.send(line))?;
/// # server.stop(std::time::Duration::from_secs(1));
/// # server.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Longest prefix first, and of the same network the denial.
    rules: Vec<(Network, bool)>,
    otherwise: bool,
}

impl Policy {
    /// Everybody may, except whom a rule denies.
    pub fn allow_all() -> Self {
        Policy { rules: Vec::new(), otherwise: true }
    }

    /// Nobody may, except whom a rule allows.
    pub fn deny_all() -> Self {
        Policy { rules: Vec::new(), otherwise: false }
    }

    /// The same list, with this network allowed.
    pub fn allow(self, network: Network) -> Self {
        self.with(network, true)
    }

    /// The same list, with this network denied.
    pub fn deny(self, network: Network) -> Self {
        self.with(network, false)
    }

    fn with(mut self, network: Network, allowed: bool) -> Self {
        let key = |rule: &(Network, bool)| (u8::MAX - rule.0.prefix(), rule.1);
        let rule = (network, allowed);
        let at = self.rules.partition_point(|other| key(other) <= key(&rule));
        self.rules.insert(at, rule);
        self
    }

    /// Whether this address may be talked to. Takes a moment for each rule; does not block.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let rule = self.rules.iter().find(|(network, _)| network.contains(ip));
        rule.map_or(self.otherwise, |(_, allowed)| *allowed)
    }

    /// Whether this peer may come in. Unix peers may, always: they are on this machine, and the mode of
    /// the socket file says who may connect.
    pub fn admits(&self, peer: &Peer) -> bool {
        peer.ip().is_none_or(|ip| self.allows(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::UnixAddr;
    use std::net::SocketAddr;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn allows(policy: &Policy, ip: &str) -> bool {
        policy.allows(ip.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_wins_in_any_order() {
        let (wide, narrow) = (network("10.0.0.0/8"), network("10.1.0.0/16"));
        let policies = [
            Policy::deny_all().allow(wide).deny(narrow).allow(network("10.1.1.1")),
            Policy::deny_all().allow(network("10.1.1.1")).deny(narrow).allow(wide),
        ];
        for policy in &policies {
            assert!(allows(policy, "10.2.0.1") && !allows(policy, "10.1.0.1"), "{policy:?}");
            assert!(allows(policy, "10.1.1.1") && !allows(policy, "11.0.0.1"), "{policy:?}");
        }
    }

    #[test]
    fn of_two_rules_for_a_network_the_denial_counts() {
        let net = network("10.0.0.0/8");
        for policy in
            [Policy::allow_all().allow(net).deny(net), Policy::allow_all().deny(net).allow(net)]
        {
            assert!(!allows(&policy, "10.0.0.1") && allows(&policy, "192.0.2.1"), "{policy:?}");
        }
    }

    #[test]
    fn addresses_are_judged_as_what_they_are() {
        let policy = Policy::allow_all().deny(network("127.0.0.0/8")).deny(network("::1"));
        for ip in ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::1"] {
            assert!(!allows(&policy, ip), "{ip}");
        }
        assert!(allows(&policy, "::ffff:192.0.2.1") && allows(&policy, "::2"));
        let policy = Policy::deny_all().allow(network("::/0"));
        assert!(!allows(&policy, "::ffff:127.0.0.1") && allows(&policy, "2001:db8::1"));
    }

    #[test]
    fn unix_peers_are_admitted() {
        let policy = Policy::deny_all();
        assert!(policy.admits(&Peer::unix(UnixAddr::unnamed())));
        assert!(!policy.admits(&Peer::udp(SocketAddr::from(([127, 0, 0, 1], 1)))));
    }
}
