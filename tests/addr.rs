//! Addresses and endpoints through the public API.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sockeye::addr::{
    Address, Family, Host, IntoAddress, IpVersion, Network, ParseEndpointError, Part, Policy, Port,
    Zone,
};
use sockeye::{Any, AnyAddr, Endpoint, HostPort, Ip, Ipv4, Ipv6, Peer, Transport, Unix, UnixAddr};

fn refused(text: &str) -> ParseEndpointError {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{text:?} parsed as {endpoint:?}"),
        Err(error) => error,
    }
}

#[test]
fn endpoints_of_every_form_print_as_they_were_written() {
    for text in [
        "tcp://localhost:7000",
        "tcp://www.example.org.:80",
        "tcp4://my_host-1:http",
        "tcp6://[::1]:7000",
        "tcp://[fe80::1%eth0]:7000",
        "tcp://[fe80::1%3]:7000",
        "udp://127.0.0.1:0",
        "udp4://*:65535",
        "udp6://*:53",
        "tcp://xn--bcher-kva.example:x11-1",
        "unix:///run/app.sock",
        "unix://relative/path",
        "unix://@abstract",
        "unix://@",
        "unix://@%00%FF",
        "unix://%40not-abstract",
        "unix+dgram:///run/a%20b%25c%3F",
        "unix+seqpacket:///run/%C3%BC",
    ] {
        let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(endpoint.to_string(), text);
    }
}

#[test]
fn what_is_more_than_one_way_to_write_is_read_leniently_where_it_is_clear() {
    let parse = |text: &str| text.parse::<Endpoint>().unwrap();
    assert_eq!(parse("TCP://127.0.0.1:80"), parse("tcp://127.0.0.1:80"));
    assert_eq!(parse("unix:///run/ü b"), parse("unix:///run/%C3%BC%20b"));
    assert_eq!(parse("tcp://[0:0::1]:80"), parse("tcp://[::1]:80"));
    assert_ne!(parse("unix://@x"), parse("unix://%40x"));
}

#[test]
fn parsed_parts_can_be_read() {
    let endpoint: Endpoint = "udp6://[fe80::1%eth0]:domain".parse().unwrap();
    assert_eq!(endpoint.transport(), Transport::Udp);
    let at = endpoint.host_port().unwrap();
    assert_eq!(at.version(), IpVersion::V6);
    let zone = Zone::Name("eth0".to_owned());
    assert_eq!(at.host(), &Host::V6("fe80::1".parse().unwrap(), Some(zone)));
    assert_eq!(at.port(), &Port::Service("domain".to_owned()));
    assert_eq!(endpoint.to_addr(), None);

    let endpoint: Endpoint = "unix://@a%00b".parse().unwrap();
    assert_eq!(endpoint.unix_addr().unwrap().as_abstract_name(), Some(&b"a\0b"[..]));
    assert!(endpoint.host_port().is_none());
}

#[test]
fn text_that_libc_would_read_as_a_number_is_neither_an_address_nor_a_name() {
    for host in [
        "010.8.8.8",
        "0x7f.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0X7F",
        "0x",
        "1.2.3.4.5",
        "1.2.3.4.",
        "256.1.1.1",
        "a.b.0x1f",
        "example.007",
        "127.0.0.01",
    ] {
        let error = refused(&format!("tcp://{host}:80"));
        assert_eq!(error.part(), Part::Host, "{host}");
        assert!(error.to_string().contains(host), "{error}");
        let made = HostPort::new(Host::Name(host.to_owned()), Port::Number(80));
        assert!(made.is_err(), "{host} can be smuggled in as a name");
    }
}

#[test]
fn malformed_hosts_are_refused() {
    let long_label = "a".repeat(64);
    let long_name = vec!["a".repeat(63); 4].join(".");
    for host in [
        "",
        "a b",
        "a\0b",
        "a/b",
        "user@host",
        "*.example.org",
        "a..b",
        ".a",
        ".",
        "bücher.example",
        "[",
        "[::1",
        "::1",
        "[1.2.3.4]",
        "[::1]x",
        "[]",
        "[::1]%eth0",
        &long_label,
        &long_name,
    ] {
        let error = refused(&format!("tcp://{host}:80"));
        assert!(matches!(error.part(), Part::Host | Part::Port), "{host}: {error}");
    }
    assert!(refused("tcp://bücher.example:80").to_string().contains("xn--"));
    assert!(refused("tcp://::1:80").to_string().contains("brackets"));
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert!(format!("tcp://{longest}:80").parse::<Endpoint>().is_ok());
    assert_eq!(refused(&format!("tcp://{longest}d:80")).part(), Part::Host);
}

#[test]
fn an_empty_host_is_refused_with_both_ways_out() {
    for error in [refused("tcp://:7000"), ":7000".parse::<HostPort>().unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("`127.0.0.1:7000`") && text.contains("`*:7000`"), "{text}");
    }
}

#[test]
fn ports_are_exact_numbers_or_services() {
    for port in ["", "65536", "99999999999", "9pfs", "-1", "+80", " 80", "080", "00", "80/", "8 0"]
    {
        assert_eq!(refused(&format!("tcp://localhost:{port}")).part(), Part::Port, "{port}");
    }
    for text in ["tcp://localhost", "tcp://[::1]", "tcp://127.0.0.1", "tcp://[::1]80"] {
        assert_eq!(refused(text).part(), Part::Port, "{text}");
    }
}

#[test]
fn zones_are_names_of_interfaces_or_numbers_but_not_zero() {
    for zone in ["", "0", "00", "01", "4294967296", "a/b", "..", "sixteen_bytes_ab", "a b", "é"] {
        assert_eq!(refused(&format!("tcp://[fe80::1%{zone}]:80")).part(), Part::Zone, "{zone}");
    }
    assert!("tcp://[fe80::1%4294967295]:80".parse::<Endpoint>().is_ok());
    let digits = Host::V6(Ipv6Addr::LOCALHOST, Some(Zone::Name("7".to_owned())));
    assert!(HostPort::new(digits, Port::Number(1)).is_err());
}

#[test]
fn schemes_must_be_known_and_agree_with_the_address() {
    for text in ["127.0.0.1:80", "http://a:80", "tcp:a:80", "/run/app", "", "://", "unix+x:///a"] {
        assert_eq!(refused(text).part(), Part::Scheme, "{text}");
    }
    assert_eq!(refused("tcp4://[::1]:80").part(), Part::Host);
    assert_eq!(refused("udp6://127.0.0.1:80").part(), Part::Host);
}

#[test]
fn unix_paths_that_cannot_be_are_refused() {
    let long = format!("unix:///{}", "x".repeat(107));
    let long_name = format!("unix://@{}", "x".repeat(108));
    for text in ["unix://", "unix:///a%00b", "unix:///a%", "unix:///a?b", "unix:///a#b", &long] {
        assert_eq!(refused(text).part(), Part::Path, "{text}");
    }
    assert_eq!(refused(&long_name).part(), Part::Path);
    assert!(format!("unix://@{}", "x".repeat(107)).parse::<Endpoint>().is_ok());
}

#[test]
fn an_unnamed_address_prints_and_does_not_parse() {
    for transport in Transport::ALL.into_iter().filter(|transport| transport.is_unix()) {
        let endpoint = Endpoint::from_addr(transport, UnixAddr::unnamed()).unwrap();
        assert_eq!(endpoint.to_string(), format!("{transport}://(unnamed)"));
        assert_eq!(refused(&endpoint.to_string()).part(), Part::Path);
    }
    assert_eq!(Endpoint::memory().to_string(), "memory://(unnamed)");
    assert_eq!(refused("memory://(unnamed)").part(), Part::Scheme);
    let named_so = Endpoint::unix(UnixAddr::from_path("(unnamed)").unwrap());
    assert_eq!(named_so.to_string().parse(), Ok(named_so));
}

#[test]
fn errors_say_which_part_is_wrong_on_one_short_line() {
    let error = refused(&format!("tcp://a\n\x1b{}:80", "x".repeat(10_000)));
    let text = error.to_string();
    assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
    let io = io::Error::from(error.clone());
    assert_eq!(io.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(io.to_string(), text);
}

#[test]
fn wildcards_become_loopback_to_connect_to() {
    for (listening, connectable) in [
        ("tcp://*:80", "tcp://127.0.0.1:80"),
        ("tcp4://*:80", "tcp4://127.0.0.1:80"),
        ("tcp6://*:80", "tcp6://[::1]:80"),
        ("udp://0.0.0.0:80", "udp://127.0.0.1:80"),
        ("udp://[::]:80", "udp://[::1]:80"),
        ("tcp://192.0.2.1:80", "tcp://192.0.2.1:80"),
        ("tcp://localhost:http", "tcp://localhost:http"),
        ("unix://@a", "unix://@a"),
    ] {
        let endpoint: Endpoint = listening.parse().unwrap();
        assert_eq!(endpoint.connectable().to_string(), connectable);
    }
}

#[test]
fn the_family_follows_from_the_address() {
    fn family<F: Family, A: IntoAddress<Family = F>>(address: A) -> F::Address {
        address.into_address().unwrap()
    }
    let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
    let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 3);
    assert_eq!(family::<Ipv4, _>(v4), v4);
    assert_eq!(family::<Ipv4, _>((Ipv4Addr::LOCALHOST, 80)), v4);
    assert_eq!(family::<Ipv6, _>(&v6), v6);
    assert_eq!(family::<Ipv6, _>((Ipv6Addr::LOCALHOST, 80)).scope_id(), 0);
    assert_eq!(family::<Ip, _>("127.0.0.1:80"), v4.into());
    assert_eq!(family::<Ip, _>(&"[::1%3]:80".to_owned()), v6.into());
    assert_eq!(family::<Ip, _>((IpAddr::from(Ipv4Addr::LOCALHOST), 80)), v4.into());
    let unix = UnixAddr::from_path("/run/x").unwrap();
    assert_eq!(family::<Unix, _>(Path::new("/run/x")), unix);
    assert_eq!(family::<Unix, _>(&PathBuf::from("/run/x")), unix);
    assert_eq!(family::<Any, _>(unix.to_any()), AnyAddr::Unix(unix));
}

#[test]
fn text_as_an_address_is_a_literal_and_the_error_says_what_it_is_instead() {
    for (text, part) in [
        ("localhost:80", Part::Host),
        ("*:80", Part::Host),
        ("127.1:80", Part::Host),
        ("127.0.0.1:http", Part::Port),
        ("127.0.0.1", Part::Port),
        ("[fe80::1%eth0]:80", Part::Zone),
        ("tcp://127.0.0.1:80", Part::Scheme),
    ] {
        let error = text.into_address().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ParseEndpointError>());
        assert_eq!(inner.map(ParseEndpointError::part), Some(part), "{text}: {error}");
    }
}

#[test]
fn a_peer_says_who_it_is() {
    let peer = Peer::udp(SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 7, 2));
    assert_eq!(peer.to_string(), "udp://[fe80::1%2]:53");
    assert_eq!(peer.ip(), Some("fe80::1".parse().unwrap()));
    assert_eq!(Endpoint::from(peer.clone()).to_string(), peer.to_string());
    let peer = Peer::unix(UnixAddr::unnamed());
    assert_eq!((peer.transport(), peer.ip()), (Transport::Unix, None));
    assert_eq!(peer.to_string(), "unix://(unnamed)");
}

fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    let v6 = (any::<Ipv6Addr>(), any::<u16>(), any::<u32>(), prop_oneof![Just(0), any::<u32>()])
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip, port, flow, scope).into());
    prop_oneof![any::<(Ipv4Addr, u16)>().prop_map(SocketAddr::from), v6]
}

fn unix_addr() -> impl Strategy<Value = UnixAddr> {
    // Weighted towards what the grammar gives a meaning to.
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(&b"@%/?#() \n:.\0"[..])];
    let bytes = || prop::collection::vec(byte(), 0..=UnixAddr::BYTES_MAX);
    let path = bytes().prop_filter_map("neither empty nor with NUL", |bytes| {
        let bytes: Vec<u8> = bytes.into_iter().filter(|&byte| byte != 0).collect();
        UnixAddr::from_path(OsString::from_vec(bytes)).ok()
    });
    prop_oneof![path, bytes().prop_map(|bytes| UnixAddr::from_abstract(bytes).unwrap())]
}

fn host_port() -> impl Strategy<Value = HostPort> {
    let zone = prop_oneof![
        (1..=u32::MAX).prop_map(Zone::Index),
        "[a-z][!-$&-.0-9;-Z^-~]{0,14}".prop_map(Zone::Name),
    ];
    let host = prop_oneof![
        Just(Host::Everywhere),
        any::<Ipv4Addr>().prop_map(Host::V4),
        (any::<Ipv6Addr>(), prop::option::of(zone)).prop_map(|(ip, zone)| Host::V6(ip, zone)),
        "([A-Za-z0-9_-]{1,63}\\.){0,3}[a-z_-][A-Za-z0-9_-]{0,40}\\.?".prop_map(Host::Name),
    ];
    let port = prop_oneof![
        any::<u16>().prop_map(Port::Number),
        "[a-zA-Z][a-zA-Z0-9+._-]{0,20}".prop_map(Port::Service),
    ];
    (host, port).prop_map(|(host, port)| HostPort::new(host, port).unwrap())
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let version = prop::sample::select(&[IpVersion::Any, IpVersion::V4, IpVersion::V6][..]);
    prop_oneof![
        (host_port(), version, any::<bool>()).prop_map(|(at, version, udp)| {
            let at = at.clone().with_version(version).unwrap_or(at);
            if udp { Endpoint::udp(at) } else { Endpoint::tcp(at) }
        }),
        socket_addr().prop_map(Endpoint::tcp),
        (unix_addr(), 2..5usize).prop_map(|(addr, transport)| {
            Endpoint::from_addr(Transport::ALL[transport], addr).unwrap()
        }),
    ]
}

proptest! {
    #[test]
    fn networks_hold_what_shares_their_prefix(ip in any::<IpAddr>(), other in any::<IpAddr>(), bits in 0u8..=128) {
        let (ip, other) = (ip.to_canonical(), other.to_canonical());
        let bits = if ip.is_ipv4() { bits / 4 } else { bits };
        // The same said with letters: the first digits of the binary notation.
        let digits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => format!("{:032b}", ip.to_bits()),
            IpAddr::V6(ip) => format!("{:0128b}", ip.to_bits()),
        };
        let count = usize::from(bits);
        let zeros = |ip: IpAddr| digits(ip)[count..].contains('1');
        prop_assert_eq!(Network::new(ip, bits).is_err(), zeros(ip));
        let first = match ip {
            IpAddr::V4(_) => {
                let text = format!("{:0<32}", &digits(ip)[..count]);
                IpAddr::from(u32::from_str_radix(&text, 2).unwrap().to_be_bytes())
            }
            IpAddr::V6(_) => {
                let text = format!("{:0<128}", &digits(ip)[..count]);
                IpAddr::from(u128::from_str_radix(&text, 2).unwrap().to_be_bytes())
            }
        };
        let network = Network::new(first, bits).unwrap();
        prop_assert!(network.contains(ip));
        prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        let shares = ip.is_ipv4() == other.is_ipv4() && digits(ip)[..count] == digits(other)[..count];
        prop_assert_eq!(network.contains(other), shares);
        let policy = Policy::allow_all().deny(network);
        prop_assert_eq!(policy.allows(other), !shares);
        if let IpAddr::V4(v4) = ip {
            prop_assert!(!policy.allows(v4.to_ipv6_mapped().into()));
        }
    }

    #[test]
    fn no_text_makes_a_network_or_the_port_of_a_url_panic(text in "\\PC{0,30}|[a-z0-9:/.+%\\[\\]@-]{0,30}") {
        if let Ok(network) = text.parse::<Network>() {
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
        let _ = sockeye::lookup::port_of(&text);
        let _ = sockeye::lookup::service(&text, sockeye::lookup::Protocol::Udp);
    }

    #[test]
    fn endpoints_that_print_parse_back(endpoint in endpoint()) {
        let text = endpoint.to_string();
        prop_assert!(text.is_ascii() && !text.contains(|c: char| c.is_control() || c == ' '));
        prop_assert_eq!(text.parse::<Endpoint>(), Ok(endpoint));
    }

    #[test]
    fn addresses_survive_as_endpoints_but_for_the_flow_label(addr in socket_addr()) {
        let mut expected = addr;
        if let SocketAddr::V6(v6) = &mut expected {
            v6.set_flowinfo(0);
        }
        let endpoint = Endpoint::from_addr(Transport::Udp, addr).unwrap();
        prop_assert_eq!(endpoint.to_addr(), Some(AnyAddr::Ip(expected)));
        let peer = Peer::udp(addr);
        prop_assert_eq!(peer.addr(), &AnyAddr::Ip(addr));
        prop_assert_eq!(peer.to_string(), endpoint.to_string());
    }

    #[test]
    fn no_text_makes_parsing_panic_and_what_parses_prints_and_parses_again(
        text in prop_oneof![
            any::<String>(),
            "(tcp|udp|unix|unix[+]dgram)[46]?://[a-c0-9x@%*:./\\[\\]()_-]{0,40}",
            "[ -~]{0,30}:[ -~]{0,8}",
        ],
    ) {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
        }
        if let Ok(at) = text.parse::<HostPort>() {
            prop_assert_eq!(at.to_string().parse::<HostPort>(), Ok(at));
        }
        let _ = text.as_str().into_address();
    }

    #[test]
    fn literals_agree_with_those_of_std(addr in socket_addr()) {
        let text = addr.to_string();
        prop_assert_eq!(text.as_str().into_address().ok(), text.parse::<SocketAddr>().ok());
    }
}
