//! What lookups answer: on private hosts and services files, and against a name server that answers,
//! refuses, lies, floods and stays silent. Each test has namespaces of its own.

mod namespace;

use namespace::name_server::{A, AAAA, Answer, CNAME, NameServer, PTR, Record, name};
use namespace::{LINK, OWN_V4, OWN_V6, in_namespace, in_namespaces};
use sockeye::addr::IpVersion;
use sockeye::lookup::{
    self, ADDRESSES_MAX, HostInfo, LookupErrorKind, Protocol, Resolver, SystemResolver,
};
use sockeye::{Client, ErrorKind, Server, codec::Lines};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

const FILES: (&str, &str) = ("nsswitch.conf", "hosts: files\nservices: files\n");
const DNS: (&str, &str) = ("nsswitch.conf", "hosts: files dns\nservices: files\n");
/// One second and no second try: who waits for libc here waits for long enough.
const RESOLV: (&str, &str) =
    ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");

/// One host may stand on several lines, as most distributions have it.
const MULTI: (&str, &str) = ("host.conf", "multi on\n");

fn kind(name: &str) -> LookupErrorKind {
    lookup::addresses(name).unwrap_err().kind()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), 0)
}

fn in_ms(ms: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(ms))
}

/// As the kernel counts them.
fn lookup_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while we look.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "sockeye-lookup").count()
}

/// The most memory that this process ever had, as the kernel counts it.
fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

// ---- Hosts files --------------------------------------------------------------------------------

#[test]
fn every_name_of_a_host_gives_all_of_it() {
    let hosts = "\
        192.0.2.1 mail.example.test mail smtp mx1\n\
        192.0.2.2 two.example.test two\n\
        2001:db8::2 two.example.test two two6\n";
    let files = [FILES, MULTI, ("hosts", hosts)];
    in_namespaces(&files, || {
        for name in ["mail.example.test", "mail", "smtp", "mx1", "MAIL"] {
            let HostInfo { name, aliases, addresses, .. } = lookup::host(name).unwrap();
            assert_eq!(name, "mail.example.test");
            assert_eq!(sorted(aliases), ["mail", "mx1", "smtp"]);
            assert_eq!(addresses, [at("192.0.2.1")]);
        }
        let two = lookup::host("two").unwrap();
        assert_eq!(
            (two.name.as_str(), sorted(two.aliases)),
            ("two.example.test", vec!["two".to_owned(), "two6".to_owned()])
        );
        assert_eq!(sorted(two.addresses), [at("192.0.2.2"), at("2001:db8::2")]);
        // Of one version only, under a name that the other does not have.
        assert_eq!(lookup::host("two6").unwrap().addresses, [at("2001:db8::2")]);
        assert_eq!(kind("three"), LookupErrorKind::NotFound);
    });
}

#[test]
fn addresses_have_their_names_or_none() {
    let hosts = "\
        192.0.2.1 mail.example.test mail smtp\n\
        192.0.2.2 plain\n\
        2001:db8::1 six.example.test six\n\
        192.0.2.66 e\u{1b}[31mvil fine\n\
        192.0.2.67 \u{1b}]0;evil\u{7}\n\
        192.0.2.68 \"quoted\"\n\
        192.0.2.69 127.0.0.1\n\
        192.0.2.70 192.0.2.70\n";
    let files = [FILES, MULTI, ("hosts", hosts)];
    in_namespaces(&files, || {
        let names = |text| lookup::address(ip(text)).map(|host| (host.name, host.aliases));
        let expected = ("mail.example.test".to_owned(), vec!["mail".to_owned(), "smtp".to_owned()]);
        assert_eq!(names("192.0.2.1").unwrap(), expected);
        assert_eq!(names("::ffff:192.0.2.1").unwrap(), expected, "as what it is");
        assert_eq!(names("192.0.2.2").unwrap(), ("plain".to_owned(), vec![]));
        assert_eq!(names("2001:db8::1").unwrap().0, "six.example.test");
        assert_eq!(lookup::address(ip("192.0.2.2")).unwrap().addresses, [at("192.0.2.2")]);
        // An address that is called by its number has no name: so says musl.
        for unknown in ["192.0.2.99", "2001:db8::99", "192.0.2.70"] {
            assert_eq!(names(unknown).unwrap_err().kind(), LookupErrorKind::NotFound);
        }
        // What is no host name is left out, and if nothing is left, refused.
        assert_eq!(names("192.0.2.66").unwrap(), ("fine".to_owned(), vec![]));
        for evil in ["192.0.2.67", "192.0.2.68", "192.0.2.69"] {
            let error = names(evil).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::Failed, "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    });
}

#[test]
fn a_host_with_very_many_names_and_addresses_is_cut() {
    let mut hosts = String::new();
    (0..2_000).for_each(|n: u32| hosts += &format!("10.0.{}.{} many alias{n}\n", n / 256, n % 256));
    let files = [FILES, MULTI, ("hosts", hosts.as_str())];
    in_namespaces(&files, || {
        let started = Instant::now();
        let many = lookup::host("many").unwrap();
        assert_eq!((many.name.as_str(), many.addresses.len()), ("many", ADDRESSES_MAX));
        assert_eq!(many.aliases.len(), 64);
        assert!(started.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn the_own_name_is_asked_of_nobody() {
    let hosts = "192.0.2.1 box.example.test box\n";
    let files = [DNS, RESOLV, ("hosts", hosts)];
    in_namespaces(&files, || {
        let server = NameServer::start(vec![("lost", A, Answer::Silence)]);
        rustix::system::sethostname(b"lost").unwrap();
        assert_eq!(lookup::hostname().unwrap(), "lost");
        assert_eq!(server.questions(), 0);
        assert_eq!(lookup::fqdn().unwrap(), "lost", "as it is, if nobody knows better");
        assert_ne!(server.questions(), 0);
        rustix::system::sethostname(b"box").unwrap();
        assert_eq!(lookup::fqdn().unwrap(), "box.example.test");
        rustix::system::sethostname(b"box.example.org").unwrap();
        let before = server.questions();
        assert_eq!(lookup::fqdn().unwrap(), "box.example.org");
        assert_eq!(server.questions(), before);
    });
}

// ---- Name servers -------------------------------------------------------------------------------

#[test]
fn what_the_name_server_says_is_told_apart() {
    let files = [DNS, RESOLV];
    in_namespaces(&files, || {
        let six = ip("2001:db8::1");
        let IpAddr::V6(six_octets) = six else { unreachable!() };
        let records = |kind, data: &[u8]| Answer::Records(vec![Record(None, kind, data.to_vec())]);
        let alias = name(b"good.test");
        let server = NameServer::start(vec![
            ("good.test", A, records(A, &[192, 0, 2, 1])),
            ("good.test", AAAA, records(AAAA, &six_octets.octets())),
            ("four.test", A, records(A, &[192, 0, 2, 4])),
            (
                "alias.test",
                A,
                Answer::Records(vec![
                    Record(None, CNAME, alias.clone()),
                    Record(Some(alias), A, vec![192, 0, 2, 1]),
                ]),
            ),
            (
                "evil.test",
                A,
                Answer::Records(vec![
                    Record(None, CNAME, name(b"e\x1b[31mvil2.test")),
                    Record(Some(name(b"e\x1b[31mvil2.test")), A, vec![192, 0, 2, 6]),
                ]),
            ),
            ("empty.test", A, Answer::Records(vec![])),
            ("servfail.test", A, Answer::Code(2)),
            ("servfail.test", AAAA, Answer::Code(2)),
            ("refused.test", A, Answer::Code(5)),
            ("refused.test", AAAA, Answer::Code(5)),
            ("silent.test", A, Answer::Silence),
            ("silent.test", AAAA, Answer::Silence),
            ("1.2.0.192.in-addr.arpa", PTR, records(PTR, &name(b"good.test"))),
            (
                "2.2.0.192.in-addr.arpa",
                PTR,
                Answer::Records(vec![
                    Record(None, PTR, name(b"first.test")),
                    Record(None, PTR, name(b"second.test")),
                ]),
            ),
            ("3.2.0.192.in-addr.arpa", PTR, Answer::Code(2)),
            ("4.2.0.192.in-addr.arpa", PTR, records(PTR, &name(b"e\x1b[31mvil.test"))),
            ("5.2.0.192.in-addr.arpa", PTR, records(PTR, &name(b"a\nb.test"))),
            ("6.2.0.192.in-addr.arpa", PTR, records(PTR, &name(b"\"q\".test"))),
            ("7.2.0.192.in-addr.arpa", PTR, records(PTR, &name(b"nul\0.test"))),
        ]);
        let evil = lookup::host("evil.test"); // libc may refuse all of it, or the name alone
        let evil = evil.map_or_else(|error| error.to_string(), |host| format!("{host:?}"));
        assert!(!evil.contains("vil2"), "{evil}");
        let good = lookup::host("good.test").unwrap();
        assert_eq!(sorted(good.addresses), [at("192.0.2.1"), at("2001:db8::1")]);
        let alias = lookup::host("alias.test").unwrap();
        assert_eq!(
            (alias.name.as_str(), alias.aliases),
            ("good.test", vec!["alias.test".to_owned()])
        );

        assert_eq!(kind("nosuch.test"), LookupErrorKind::NotFound);
        assert_eq!(kind("empty.test"), LookupErrorKind::NoData);
        assert_eq!(kind("servfail.test"), LookupErrorKind::TryAgain);
        assert_eq!(kind("silent.test"), LookupErrorKind::TryAgain);
        let refused = kind("refused.test"); // libc's versions differ
        assert!(
            matches!(refused, LookupErrorKind::Failed | LookupErrorKind::TryAgain),
            "{refused:?}"
        );
        let system = SystemResolver::shared();
        let ask = |name, version| system.resolve(name, version, in_ms(200)).map_err(|e| e.kind());
        assert_eq!(ask("silent.test", IpVersion::Any), Err(LookupErrorKind::TimedOut));
        assert_eq!(ask("four.test", IpVersion::V6), Err(LookupErrorKind::NoData));
        assert_eq!(ask("four.test", IpVersion::V4), Ok(vec![at("192.0.2.4")]));
        assert_eq!(ask("nosuch.test", IpVersion::V4), Err(LookupErrorKind::NotFound));

        // The crate's error: what is wrong, with what, on one line.
        let error = lookup::resolve(&"servfail.test:http".parse().unwrap(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LookupFailed);
        let error = error.to_string();
        assert_eq!(error, "look up tcp://servfail.test:http: the name server did not answer");

        let reverse = |text| lookup::address(ip(text));
        assert_eq!(reverse("192.0.2.1").unwrap().name, "good.test");
        // Some versions of glibc give the others as aliases, some leave them out.
        assert_eq!(reverse("192.0.2.2").unwrap().name, "first.test");
        assert_eq!(reverse("192.0.2.3").unwrap_err().kind(), LookupErrorKind::TryAgain);
        assert_eq!(reverse("192.0.2.99").unwrap_err().kind(), LookupErrorKind::NotFound);
        for evil in ["192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"] {
            let error = reverse(evil).unwrap_err();
            assert!(!error.kind().is_temporary(), "{evil}: {error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }

        // Names and literals that nobody may be asked about.
        let before = server.questions();
        let (label, long) = (format!("{}.test", "a".repeat(64)), "abc.".repeat(70));
        for bad in
            ["", "a b.test", "a\0b.test", "a..test", &label, &long, "127.1", "0x7f.1", "1.2.3.4.5"]
        {
            assert_eq!(kind(bad), LookupErrorKind::BadName, "{bad:?}");
            assert_eq!(lookup::host(bad).unwrap_err().kind(), LookupErrorKind::BadName, "{bad:?}");
        }
        for literal in ["192.0.2.9", "2001:db8::9", "fe80::9%1"] {
            assert_eq!(lookup::host(literal).unwrap().addresses.len(), 1);
        }
        assert_eq!(server.questions(), before);
    });
}

#[test]
fn an_error_of_the_system_keeps_its_number() {
    in_namespaces(&[FILES, RESOLV, ("hosts", "192.0.2.1 box.test\n")], || {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        assert_eq!(kind("nosuch.test"), LookupErrorKind::NotFound); // what is loaded once is loaded
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: before.maximum }).unwrap();
        let errors = [
            lookup::address(ip("192.0.2.1")).unwrap_err(),
            lookup::service("nosuch", Protocol::Tcp).unwrap_err(),
            lookup::addresses("box.test").unwrap_err(), // which is there
            lookup::host("nosuch.test").unwrap_err(),
            lookup::interface_index("lo").unwrap_err(),
            lookup::interface_name(1).unwrap_err(),
            lookup::addresses("fe80::1%lo").unwrap_err(),
            lookup::port_of("nosuch://h").unwrap_err(),
        ];
        let endpoint = lookup::resolve(&"[fe80::1%lo]:80".parse().unwrap(), false).unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(endpoint.kind(), ErrorKind::LimitReached, "{endpoint}");
        assert_eq!(lookup::addresses("box.test").unwrap(), [at("192.0.2.1")]);
        for error in errors {
            assert_eq!(error.kind(), LookupErrorKind::Other, "{error}");
            assert_eq!(error.io_error().raw_os_error(), Some(24), "{error}");
            assert_eq!(sockeye::Error::from(error).kind(), ErrorKind::LimitReached);
        }
    });
}

#[test]
fn hostile_answers_cost_bounded_time_and_memory() {
    in_namespaces(&[DNS, RESOLV], || {
        let flood: Vec<Record> = (0..2_000_u32)
            .map(|n| Record(None, A, (0x0a00_0000 + n).to_be_bytes().to_vec()))
            .collect();
        let link = |n: u32| name(format!("c{n}.chain.test").as_bytes());
        let mut chain: Vec<Record> = vec![Record(None, CNAME, link(0))];
        chain.extend((0..1_000).map(|n| Record(Some(link(n)), CNAME, link(n + 1))));
        chain.push(Record(Some(link(1_000)), A, vec![192, 0, 2, 1]));
        let own = name(b"self.test");
        NameServer::start(vec![
            ("flood.test", A, Answer::Records(flood)),
            ("chain.test", A, Answer::Records(chain)),
            ("self.test", A, Answer::Records(vec![Record(None, CNAME, own)])),
            // The name of the record is a pointer to itself: 12 bytes of header, 11 of name, 4 of type.
            (
                "loop.test",
                A,
                Answer::Records(vec![Record(Some(vec![0xc0, 27]), A, vec![1, 2, 3, 4])]),
            ),
            ("short.test", A, Answer::Records(vec![Record(None, A, vec![1, 2])])),
        ]);
        let before = peak_kib();
        for name in ["flood.test", "chain.test", "self.test", "loop.test", "short.test"] {
            let started = Instant::now();
            let (host, found) = (lookup::host(name), lookup::addresses(name));
            assert!(started.elapsed() < Duration::from_secs(20), "{name}");
            assert!(host.is_err() || host.unwrap().addresses.len() <= ADDRESSES_MAX, "{name}");
            match name {
                "flood.test" => assert_eq!(found.unwrap().len(), ADDRESSES_MAX),
                "chain.test" => drop(found), // libc may follow it or give up
                _ => assert!(found.is_err(), "{name}: {found:?}"),
            }
        }
        let grown = peak_kib() - before;
        println!("{grown} KiB more");
        assert!(grown < 32 * 1024, "{grown} KiB");
    });
}

#[test]
fn a_silent_name_server_holds_up_nobody_for_longer_than_asked() {
    const LOOKUPS: usize = 1_000;
    const THREADS: usize = 32;
    in_namespaces(&[DNS, RESOLV], || {
        let names: Vec<String> = (0..LOOKUPS).map(|n| format!("silent{n}.test")).collect();
        let mut zone: Vec<_> =
            names.iter().map(|name| (name.as_str(), A, Answer::Silence)).collect();
        zone.extend(names.iter().map(|name| (name.as_str(), AAAA, Answer::Silence)));
        let good = vec![Record(None, A, vec![192, 0, 2, 1])];
        zone.push(("good.test", A, Answer::Records(good)));
        NameServer::start(zone);
        let system = SystemResolver::with_threads_max(THREADS);
        let slowest = thread::scope(|scope| {
            let ask = |name| {
                let started = Instant::now();
                let error = system.resolve(name, IpVersion::Any, in_ms(200)).unwrap_err();
                let took = started.elapsed();
                assert!(error.kind().is_temporary(), "{error}");
                assert!(system.threads() <= THREADS && system.abandoned() <= THREADS);
                took
            };
            let askers: Vec<_> = names.iter().map(|name| scope.spawn(move || ask(name))).collect();
            assert!((1..=THREADS).contains(&lookup_threads()));
            askers.into_iter().map(|asker| asker.join().unwrap()).max().unwrap()
        });
        println!("the slowest of {LOOKUPS} lookups with 200 ms took {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}"); // some 250 ms on two idle cores
        let deadline = Instant::now() + Duration::from_secs(60);
        while system.abandoned() > 0 {
            assert!(Instant::now() < deadline, "libc never gave up");
            thread::sleep(Duration::from_millis(10));
        }
        let found = system.resolve("good.test", IpVersion::Any, in_ms(10_000)).unwrap();
        assert_eq!(found, [at("192.0.2.1")]);
    });
}

// ---- Services -----------------------------------------------------------------------------------

#[test]
fn the_systems_services_have_the_first_word() {
    let services = "\
        http 8888/tcp www private-alias\n\
        private 40001/udp\n\
        9pfs 564/tcp\n\
        echo 7/tcp\n\
        echo 7/udp\n";
    let files = [FILES, ("services", services), ("hosts", "127.0.0.1 localhost\n")];
    in_namespaces(&files, || {
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let http = lookup::service("private-alias", Protocol::Tcp).unwrap();
                        assert_eq!((http.name.as_str(), http.port), ("http", 8888));
                        assert_eq!(http.aliases, ["www", "private-alias"]);
                        assert_eq!(lookup::service_at(8888, Protocol::Tcp).unwrap(), http);
                        assert_eq!(lookup::service("smtp", Protocol::Tcp).unwrap().port, 25);
                    }
                });
            }
        });
        let error = lookup::service("private", Protocol::Tcp).unwrap_err();
        assert_eq!(error.kind(), LookupErrorKind::NotFound);
        assert!(error.to_string().ends_with("only one of UDP"), "{error}");
        assert_eq!(lookup::service("9pfs", Protocol::Tcp).unwrap().port, 564);
        assert!(lookup::service("9pf", Protocol::Tcp).is_err());
        // The URL standard has its own word on http.
        assert_eq!(lookup::port_of("http://h").unwrap(), 80);
        assert_eq!(lookup::port_of("private://h").unwrap(), 40001);
        // Endpoints have the same services: those of the file, and those of the table.
        let resolved = |text: &str, udp| lookup::resolve(&text.parse().unwrap(), udp).unwrap();
        assert_eq!(resolved("127.0.0.1:http", false), ["127.0.0.1:8888".parse().unwrap()]);
        assert_eq!(resolved("127.0.0.1:private", true), ["127.0.0.1:40001".parse().unwrap()]);
        assert_eq!(resolved("127.0.0.1:ldap", false), ["127.0.0.1:389".parse().unwrap()]);
        // Of every kind and version, for servers and clients.
        for (endpoint, local) in [
            ("tcp://127.0.0.1:http", "tcp://127.0.0.1:8888"),
            ("tcp6://[::1]:private-alias", "tcp://[::1]:8888"),
            ("udp://127.0.0.1:private", "udp://127.0.0.1:40001"),
            ("udp6://[::1]:private", "udp://[::1]:40001"),
            ("tcp://*:whois", "tcp://*:43"), // of the table
        ] {
            let server = Server::on(endpoint).codec(Lines::default());
            let server = server.serve(|line, cx| cx.send(line)).unwrap();
            let own = server.local_endpoints()[0].to_string();
            assert_eq!(own.rsplit(':').next(), local.rsplit(':').next(), "{endpoint}: {own}");
            let to = endpoint.replace('*', "localhost");
            let mut client = Client::to(to.as_str()).codec(Lines::default()).connect().unwrap();
            client.send("by name").unwrap();
            assert_eq!(client.receive().unwrap(), "by name", "{endpoint}");
            drop(client);
            server.stop(Duration::from_secs(10));
            server.join().unwrap();
        }
        for bad in ["tcp://127.0.0.1:9pfs", "tcp://127.0.0.1:80a", "udp://127.0.0.1:0x50"] {
            let error = Client::to(bad).codec(Lines::default()).connect().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadEndpoint, "{bad}");
        }
    });
}

/// Each as a bare scheme, in URLs of all shapes, and as the port of an endpoint.
fn schemes_have_their_ports() {
    let ports = [
        ("http", 80),
        ("https", 443),
        ("ftp", 21),
        ("smtp", 25),
        ("imap", 143),
        ("pop3", 110),
        ("gopher", 70),
        ("ldap", 389),
        ("ssh", 22),
        ("telnet", 23),
        ("nntp", 119),
    ];
    for (scheme, port) in ports {
        let upper = scheme.to_uppercase();
        for url in [scheme, &upper, &format!("{upper}://h"), &format!("{scheme}://u@h/p?q#f")] {
            assert_eq!(lookup::port_of(url).unwrap(), port, "{url}");
        }
        assert_eq!(lookup::port_of(&format!("{scheme}://[::1]:7000/")).unwrap(), 7000);
        assert_eq!(lookup::port_of(&format!("{scheme}://h:{port}")).unwrap(), port);
        assert_eq!(lookup::service(scheme, Protocol::Tcp).unwrap().port, port);
        let at = format!("127.0.0.1:{scheme}").parse().unwrap();
        assert_eq!(lookup::resolve(&at, false).unwrap()[0].port(), port);
    }
    for (url, port) in [("ws", 80), ("wss://h", 443), ("tftp", 69), ("sip:alice@example.org", 5060)]
    {
        assert_eq!(lookup::port_of(url).unwrap(), port, "{url}");
    }
    assert_eq!(lookup::port_of("smtp://mail.google.com").unwrap(), 25);
}

#[test]
fn schemes_have_their_ports_here() {
    schemes_have_their_ports();
}

#[test]
fn schemes_have_their_ports_with_a_file_that_knows_a_few() {
    let services = "smtp 25/tcp mail\nimap2 143/tcp imap\npop3 110/tcp pop-3\ntftp 69/udp\n";
    in_namespaces(&[FILES, ("services", services)], || {
        assert_eq!(lookup::service("imap", Protocol::Tcp).unwrap().name, "imap2");
        schemes_have_their_ports();
    });
}

#[test]
fn services_are_known_without_a_file() {
    in_namespaces(&[FILES], || {
        assert!(!std::path::Path::new("/etc/services").exists());
        schemes_have_their_ports();
        let mut names = Vec::new();
        for (port, protocol) in
            (0..=u16::MAX).flat_map(|port| [(port, Protocol::Tcp), (port, Protocol::Udp)])
        {
            let Ok(found) = lookup::service_at(port, protocol) else { continue };
            assert_eq!((found.port, found.protocol), (port, protocol));
            for name in found.aliases.iter().chain([&found.name]) {
                assert_eq!(lookup::service(name, protocol).unwrap(), found);
                // No scheme begins with a digit.
                let url = lookup::port_of(&format!("{name}://h"));
                match name.starts_with(|first: char| first.is_ascii_digit()) {
                    true => assert_eq!(url.unwrap_err().kind(), LookupErrorKind::BadName),
                    false => assert_eq!(url.unwrap(), port, "{name}"),
                }
            }
            names.push(found.name);
        }
        names.sort();
        names.dedup();
        assert!(names.len() >= 120, "{}", names.len());
        let error = lookup::service("nosuch", Protocol::Udp).unwrap_err();
        assert_eq!(error.to_string(), "look up nosuch: no UDP service `nosuch` is known here");
    });
}

// ---- Interfaces and zones -----------------------------------------------------------------------

#[test]
fn link_local_addresses_keep_their_zone() {
    in_namespaces(&[FILES], || {
        namespace::add_address("fe80::1/64", "lo").unwrap();
        for zone in ["lo", "1"] {
            let server = Server::on(format!("tcp6://[fe80::1%{zone}]:0").as_str())
                .codec(Lines::default())
                .serve(|_, cx| cx.send(&cx.peer().to_string()))
                .unwrap();
            let local = server.local_endpoints()[0].to_string();
            assert!(local.starts_with("tcp://[fe80::1%1]:"), "{local}");
            let port = local.rsplit(':').next().unwrap();
            for to in ["lo", "1"] {
                let endpoint = format!("tcp://[fe80::1%{to}]:{port}");
                let mut client =
                    Client::to(endpoint.as_str()).codec(Lines::default()).connect().unwrap();
                client.send("who am I?").unwrap();
                let me = client.receive().unwrap().to_owned();
                assert!(me.starts_with("tcp://[fe80::1%1]:"), "{me}");
            }
            server.stop(Duration::from_secs(10));
            server.join().unwrap();
        }
        for endpoint in ["tcp://[fe80::1%nosuch0]:7", "tcp6://[fe80::1%nosuch0]:0"] {
            let error = Client::to(endpoint).codec(Lines::default()).connect().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let server =
                Server::on(endpoint).codec(Lines::default()).serve(|line, cx| cx.send(line));
            assert_eq!(server.unwrap_err().kind(), ErrorKind::NotFound);
        }
    });
}

#[test]
fn interfaces_have_their_names_indices_and_addresses() {
    in_namespace(|| {
        let all = lookup::interfaces().unwrap();
        let by_name = |name: &str| all.iter().find(|interface| interface.name == name).unwrap();
        let (lo, link) = (by_name("lo"), by_name(LINK));
        assert_eq!((lo.index, lo.is_up, lo.is_loopback), (1, true, true));
        assert_eq!(lo.addresses, [at("127.0.0.1"), at("::1")]);
        assert_eq!((link.is_up, link.is_loopback, link.is_multicast), (true, false, true));
        let scoped = link.addresses.iter().find(|address| match address {
            SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == link.index,
            SocketAddr::V4(_) => false,
        });
        assert!(scoped.is_some(), "{link:?}");
        assert!(link.addresses.contains(&at(OWN_V4)) && link.addresses.contains(&at(OWN_V6)));
        for interface in &all {
            assert_eq!(lookup::interface_index(&interface.name).unwrap(), interface.index);
            assert_eq!(lookup::interface_name(interface.index).unwrap(), interface.name);
        }
        // A label is no interface, and one without an address is there too.
        namespace::ip(["link", "set", "sock1", "down"]).unwrap();
        let label = format!("{LINK}:1");
        namespace::ip(["addr", "add", "192.0.2.3/24", "dev", LINK, "label", &label]).unwrap();
        let all = lookup::interfaces().unwrap();
        let names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(sorted(names), ["lo", LINK, "sock1"]);
        let link = all.iter().find(|interface| interface.name == LINK).unwrap();
        assert!(link.addresses.contains(&at("192.0.2.3")), "{link:?}");
        let behind = all.iter().find(|interface| interface.name == "sock1").unwrap();
        assert_eq!((behind.is_up, behind.addresses.len()), (false, 0));
    });
}
