//! Connecting: several addresses, one deadline, a report; and nothing left behind.
//!
//! Its tests count descriptors and measure time: they take turns.

mod matrix;
mod namespace;

use matrix::{PATIENCE, eventually, in_time, on_engines, stop};
use namespace::{LINK, OWN_V4, SILENT_V4, SILENT_V6, in_namespace};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sockeye::addr::{IpVersion, Policy};
use sockeye::codec::Lines;
use sockeye::connect::{Backoff, CancelHandle, Fate, Report};
use sockeye::handler::{Context, Remote};
use sockeye::lookup::{LookupError, LookupErrorKind, Resolver, StaticResolver};
use sockeye::server::Server;
use sockeye::{Client, Error, ErrorKind};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// Less than [`DELAY`], and more than a busy machine makes of nothing. The proof of the same name measures
/// more closely.
const AT_ONCE: Duration = Duration::from_millis(1_900);
/// The longest attempt delay: who waits for it does not do so by chance.
const DELAY: Duration = Duration::from_millis(2_000);
/// Half the time that a connect has unless it is told otherwise.
const SOON: Duration = Duration::from_millis(5_000);

fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What was opened since is closed again, if not at once: a thread may be on its way out.
fn closes_down_to(before: usize) {
    eventually("all descriptors are closed", || open_descriptors() <= before);
}

/// Connects that the kernel of this thread's network still tries: state 02 in its tables. For
/// namespaces: elsewhere others have theirs.
fn connects_under_way() -> usize {
    connects_under_way_to("")
}

/// The same, of those to addresses that end like this in the tables.
fn connects_under_way_to(end: &str) -> usize {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let text: String = tables.iter().map(|table| std::fs::read_to_string(table).unwrap()).collect();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| words[2].ends_with(end) && words[3] == "02").count()
}

/// A port of 127.0.0.1, 127.0.0.2 and ::1 on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A listener whose backlog is full: what else connects to it has no answer.
struct Full {
    at: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<TcpStream>,
}

impl Full {
    fn new() -> Full {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, 100 * MS) {
            waiting.push(stream);
        }
        Full { at, _listener: listener, _waiting: waiting }
    }

    /// How many connects wait for an answer.
    fn asked(&self) -> usize {
        connects_under_way_to(&format!(":{:04X}", self.at.port()))
    }
}

/// An abstract name that no other run of these tests has, and its endpoint.
fn own_name(what: &str) -> String {
    format!("sockeye-connect-{what}-{}", std::process::id())
}

fn at_name(what: &str) -> String {
    format!("unix://@{}", own_name(what))
}

/// A Unix listener at [`own_name`], and who fills its backlog.
fn full_unix(name: &str) -> (UnixListener, Vec<socket2::Socket>) {
    let socket =
        || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let (listener, at) =
        (socket(), socket2::SockAddr::unix(format!("\0{}", own_name(name))).unwrap());
    listener.bind(&at).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let one = socket();
        one.set_nonblocking(true).unwrap();
        if one.connect(&at).is_err() {
            return (UnixListener::from(OwnedFd::from(listener)), waiting);
        }
        waiting.push(one);
    }
}

/// Threads of this process that do what may block for one that must not.
fn helpers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.trim() == "sockeye-helper").count()
}

/// A lower limit of open files, as long as it lives.
struct DescriptorLimit(Rlimit);

impl DescriptorLimit {
    fn lower_to(count: usize) -> DescriptorLimit {
        let before = getrlimit(Resource::Nofile);
        let lower = Rlimit { current: Some(count as u64), ..before };
        setrlimit(Resource::Nofile, lower).unwrap();
        DescriptorLimit(before)
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

fn hosts(name: &str, addresses: &[&str]) -> StaticResolver {
    let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
    StaticResolver::new().with(name, addresses)
}

fn addresses(report: &Report) -> Vec<String> {
    report.attempts().iter().map(|attempt| attempt.address().ip().to_string()).collect()
}

fn fates(report: &Report) -> Vec<&'static str> {
    let name = |fate: &Fate| match fate {
        Fate::Won => "connected",
        Fate::Failed(_) => "failed",
        Fate::Denied => "denied",
        Fate::Unanswered => "unanswered",
        Fate::NotTried => "not tried",
        other => panic!("the tests do not know {other:?}"),
    };
    report.attempts().iter().map(|attempt| name(attempt.fate())).collect()
}

fn report(error: &Error) -> &Report {
    Report::of(error).expect("it came to attempts")
}

/// How long something took.
fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = act();
    (value, begin.elapsed())
}

#[track_caller]
fn assert_took(took: Duration, from: Duration, to: Duration) {
    assert!(took >= from && took <= to, "it took {took:?}, not {from:?} to {to:?}");
}

// ---- Failures -----------------------------------------------------------------------------------

#[test]
fn a_closed_port_is_told_at_once_in_the_words_of_the_system() {
    let _turn = my_turn();
    let port = free_port();
    let (error, took) = timed(|| Client::tcp(format!("127.0.0.1:{port}")).connect().unwrap_err());
    assert_took(took, Duration::ZERO, AT_ONCE);
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "connect to tcp://127.0.0.1:{port}: Connection refused (os error 111); \
             nobody listens there, or a firewall says so"
        )
    );
    let report = report(&error);
    assert_eq!((fates(report), report.lookup()), (vec!["failed"], Duration::ZERO));
    assert!(!report.to_string().contains("lookup"), "nothing was looked up: {report}");
}

#[test]
fn an_error_lists_every_address_with_its_cause_in_order() {
    let _turn = my_turn();
    let port = free_port();
    let resolver = hosts("many", &["127.0.0.1", "127.0.0.2", "::1"]);
    let client = Client::tcp(format!("many:{port}")).resolver(resolver).attempt_delay(DELAY);
    let (error, took) = timed(|| client.connect().unwrap_err());
    assert_took(took, Duration::ZERO, AT_ONCE);
    assert_eq!(error.kind(), ErrorKind::Refused);
    let refused = "Connection refused (os error 111)";
    let listed = format!(
        "connect to tcp://many:{port}: 127.0.0.1:{port}: {refused}, [::1]:{port}: {refused}, \
         127.0.0.2:{port}: {refused}; nobody"
    );
    assert!(error.to_string().starts_with(&listed), "{error}");
    let report = report(&error);
    assert_eq!(fates(report), ["failed"; 3]);
    let lines: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{report}");
    assert!(lines[0].starts_with("3 attempts in "), "{report}");
    assert!(lines[0].ends_with(" for the lookup"), "{report}");
    assert!(lines[2].starts_with(&format!("  [::1]:{port} after ")), "{report}");
    let attempts = report.attempts();
    assert!(attempts.windows(2).all(|two| two[0].began() <= two[1].began()), "{report}");
    assert!(attempts.iter().all(|attempt| attempt.elapsed() <= report.elapsed()), "{report}");
}

#[test]
fn a_refusal_starts_the_next_at_once() {
    let _turn = my_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("two:{}", listener.local_addr().unwrap().port());
    let client = Client::tcp(at).resolver(hosts("two", &["::1", "127.0.0.1"])).attempt_delay(DELAY);
    let (connected, took) = timed(|| client.connect_with_report().unwrap());
    assert_took(took, Duration::ZERO, AT_ONCE);
    assert_eq!(fates(&connected.report), ["failed", "connected"]);
    assert_eq!(connected.stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn silence_ends_at_the_deadline_and_leaves_no_socket() {
    let _turn = my_turn();
    let full = Full::new();
    let before = open_descriptors();
    let client = Client::tcp(full.at).timeout(300 * MS);
    let (error, took) = timed(|| client.connect().unwrap_err());
    assert_took(took, 300 * MS, SOON);
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains(": no answer in "), "{error}");
    assert_eq!(fates(report(&error)), ["unanswered"]);
    closes_down_to(before);
    assert_eq!(full.asked(), 0);
}

#[test]
fn a_socket_that_met_itself_is_no_connection() {
    let _turn = my_turn();
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let error = Client::tcp(at).from(at).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("met itself"), "{error}");
}

#[test]
fn the_kind_is_that_of_the_cause_that_says_most() {
    let _turn = my_turn();
    const NETUNREACH: i32 = 101;
    // Resolvers put addresses without a route at the end.
    for (no_way, expected) in
        [(&["::1"][..], ErrorKind::Refused), (&["::1", "127.0.0.1"], ErrorKind::Unreachable)]
    {
        let client = Client::tcp(format!("two:{}", free_port()));
        let client = client.resolver(hosts("two", &["127.0.0.1", "::1"]));
        let client = client.before_connect(move |_, to| match no_way {
            no_way if no_way.contains(&to.ip().to_string().as_str()) => {
                Err(std::io::Error::from_raw_os_error(NETUNREACH))
            }
            _ => Ok(()),
        });
        let error = client.connect().unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        assert_eq!(fates(report(&error)), ["failed"; 2]);
    }
}

#[test]
fn a_lookup_that_fails_is_no_attempt() {
    let _turn = my_turn();
    let client = Client::tcp("nobody:1").resolver(StaticResolver::new());
    let error = client.connect().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotFound, "look up"));
    assert!(Report::of(&error).is_none());
}

// ---- Settings -----------------------------------------------------------------------------------

#[test]
fn one_after_the_other_keeps_the_order_of_the_resolver() {
    let _turn = my_turn();
    let listed = ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.3"];
    let client = Client::tcp(format!("many:{}", free_port())).resolver(hosts("many", &listed));
    let error = client.sequential().connect().unwrap_err();
    assert_eq!(addresses(report(&error)), listed);
}

#[test]
fn a_preferred_version_is_tried_first_and_the_other_one_too() {
    let _turn = my_turn();
    let listed = ["::1", "127.0.0.1", "127.0.0.2"];
    let client = || Client::tcp(format!("many:{}", free_port())).resolver(hosts("many", &listed));
    let tried = |client: Client<sockeye::socket::TcpStream>| {
        addresses(report(&client.connect().unwrap_err()))
    };
    assert_eq!(tried(client()), listed);
    assert_eq!(tried(client().prefer(IpVersion::V6)), listed);
    let v4_first = client().prefer(IpVersion::V4);
    assert_eq!(tried(v4_first), ["127.0.0.1", "::1", "127.0.0.2"]);
    let v4_first = client().prefer(IpVersion::V4).sequential();
    assert_eq!(tried(v4_first), ["127.0.0.1", "127.0.0.2", "::1"]);
}

/// Answers every name with this address, again and again.
#[derive(Debug)]
struct Thousand(SocketAddr);

impl Resolver for Thousand {
    fn resolve(
        &self,
        _: &str,
        _: IpVersion,
        _: Option<Instant>,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        Ok(vec![self.0; 1_000])
    }
}

#[test]
fn a_thousand_addresses_do_not_trip_the_first() {
    let _turn = my_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let client = || Client::tcp(format!("many:{}", at.port())).resolver(Thousand(at));
    for client in [client(), client().sequential()] {
        let report = client.connect_with_report().unwrap().report;
        assert_eq!(report.attempts().len(), 1, "{report}");
    }
}

#[test]
fn a_fixed_local_port_serves_one_attempt_beside_another() {
    let _turn = my_turn();
    let full = Full::new();
    let listener = TcpListener::bind(("127.0.0.2", full.at.port())).unwrap();
    let client = Client::tcp(format!("two:{}", full.at.port()))
        .resolver(hosts("two", &["127.0.0.1", "127.0.0.2"]))
        .from(([127, 0, 0, 3], free_port()));
    let connected = client.attempt_delay(10 * MS).connect_with_report().unwrap();
    assert_eq!(fates(&connected.report), ["unanswered", "connected"], "{}", connected.report);
    assert_eq!(connected.stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn a_pinned_version_is_the_only_one_tried() {
    let _turn = my_turn();
    for (version, tried) in [(IpVersion::V4, "127.0.0.1"), (IpVersion::V6, "::1")] {
        let resolver = hosts("two", &["::1", "127.0.0.1"]);
        let client = Client::tcp(format!("two:{}", free_port())).resolver(resolver);
        let error = client.only(version).connect().unwrap_err();
        assert_eq!(addresses(report(&error)), [tried]);
    }
    let error = Client::tcp("127.0.0.1:9").only(IpVersion::V6).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEndpoint, "{error}");
}

#[test]
fn a_local_address_of_the_other_version_or_of_another_host_fails_before_any_packet() {
    let _turn = my_turn();
    let before = open_descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    for (local, tried) in [("[::1]:0", 0), ("192.0.2.77:0", 1)] {
        let local: SocketAddr = local.parse().unwrap();
        let error = Client::tcp(at).from(local).connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressNotAvailable, "{error}");
        assert_eq!(report(&error).attempts().len(), tried, "{error}");
    }
    listener.accept().unwrap_err();
    // Of two versions, the one that fits is tried.
    let client =
        Client::tcp(format!("two:{}", at.port())).resolver(hosts("two", &["::1", "127.0.0.1"]));
    let stream = client.from(([127, 0, 0, 5], 0)).connect().unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.5");
    drop((stream, listener));
    closes_down_to(before);
}

#[test]
fn a_hook_sees_each_socket_before_it_connects() {
    let _turn = my_turn();
    let before = open_descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("two:{}", listener.local_addr().unwrap().port());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let client = Client::tcp(at).resolver(hosts("two", &["::1", "127.0.0.1"]));
    let client = client.before_connect(move |socket, to| {
        let socket = socket2::SockRef::from(&socket);
        assert!(socket.peer_addr().is_err(), "it is connected already");
        note.lock().unwrap().push(to.ip().to_string());
        match to.is_ipv6() {
            true => Err(std::io::Error::other("not by this one")),
            false => socket.set_tos_v4(0x10),
        }
    });
    let connected = client.connect_with_report().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["::1", "127.0.0.1"]);
    assert!(connected.report.to_string().contains("not by this one"), "{}", connected.report);
    assert_eq!(socket2::SockRef::from(&connected.stream).tos_v4().unwrap(), 0x10);
    drop((connected, listener));
    closes_down_to(before);
}

#[test]
fn a_policy_judges_every_address_and_not_the_name() {
    let _turn = my_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let policy = || Policy::allow_all().deny("127.0.0.0/8".parse().unwrap());
    for host in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
        let client = Client::tcp(format!("sly:{port}")).resolver(hosts("sly", &[host]));
        let error = client.policy(policy()).connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{host}: {error}");
        assert!(error.to_string().contains("denied by the policy"), "{error}");
        assert_eq!(fates(report(&error)), ["denied"], "{host}");
    }
    let error = Client::udp(format!("127.0.0.1:{port}")).policy(policy()).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    listener.accept().unwrap_err();
    // What is denied is passed over.
    let resolver = hosts("two", &["::1", "127.0.0.1"]);
    let client = Client::tcp(format!("two:{port}")).resolver(resolver);
    let client = client.policy(Policy::allow_all().deny("::/0".parse().unwrap()));
    assert_eq!(fates(&client.connect_with_report().unwrap().report), ["denied", "connected"]);
}

#[test]
fn unix_and_udp_connect_as_before_and_have_their_report() {
    let _turn = my_turn();
    let server = Server::on(at_name("report")).and("udp://127.0.0.1:0");
    let server = server.codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
    for (endpoint, attempts) in server.local_endpoints().iter().zip([0, 1]) {
        let client = Client::to(endpoint).codec(Lines::default()).timeout(5_000 * MS);
        let mut connected = client.connect_with_report().unwrap();
        assert_eq!(connected.report.attempts().len(), attempts);
        let begins =
            if attempts == 0 { "no attempts on IP addresses in " } else { "1 attempt in " };
        assert!(connected.report.to_string().starts_with(begins), "{}", connected.report);
        connected.stream.send("hello").unwrap();
        assert_eq!(connected.stream.receive().unwrap(), "hello");
    }
    stop(&server);
}

// ---- Cancelling ---------------------------------------------------------------------------------

/// Answers nobody before the deadline, or before it is let go.
#[derive(Debug, Default)]
struct Silent {
    asked: AtomicUsize,
    over: Mutex<bool>,
    changed: Condvar,
}

impl Silent {
    fn new() -> Arc<Silent> {
        Arc::default()
    }

    fn let_go(&self) {
        *self.over.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Resolver for Silent {
    fn resolve(
        &self,
        name: &str,
        _version: IpVersion,
        deadline: Option<Instant>,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let deadline = deadline.expect("a client always has one");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let left = deadline.saturating_duration_since(Instant::now());
        let over = self.over.lock().unwrap();
        let _over = self.changed.wait_timeout_while(over, left, |over| !*over).unwrap();
        Err(LookupError::new(LookupErrorKind::TimedOut, name))
    }
}

#[test]
fn another_thread_ends_attempts_and_lookups() {
    let _turn = my_turn();
    let (full, silent) = (Full::new(), Silent::new());
    let before = open_descriptors();
    let slow = Client::tcp("slow:1").resolver(silent.clone());
    for (number, client) in [Client::tcp(full.at), slow].into_iter().enumerate() {
        let cancel = CancelHandle::new();
        let client = client.timeout(2 * PATIENCE).cancel_with(&cancel);
        let connect = thread::spawn(|| client.connect().unwrap_err());
        eventually("it is under way", || match number {
            0 => full.asked() == 1,
            _ => silent.asked.load(Ordering::SeqCst) > 0,
        });
        cancel.cancel();
        let error = in_time("a connect that was cancelled", || connect.join().unwrap());
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        let error = Client::tcp(full.at).cancel_with(&cancel).connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "it stays cancelled");
    }
    silent.let_go();
    closes_down_to(before);
}

#[test]
fn another_thread_ends_the_wait_for_room_in_a_backlog() {
    let _turn = my_turn();
    let before = open_descriptors();
    let (listener, waiting) = full_unix("full");
    let memory = sockeye::memory::Listener::new(16).backlog(1);
    let _first = memory.dialer().connect().unwrap();
    let cancel = CancelHandle::new();
    let (memory_cancel, unix_cancel) = (cancel.clone(), cancel.clone());
    let in_memory = Client::memory(&memory.dialer()).codec(Lines::default());
    let in_memory = thread::spawn(move || {
        in_memory.timeout(2 * PATIENCE).cancel_with(&memory_cancel).connect().unwrap_err()
    });
    let unix = thread::spawn(move || {
        let client = Client::to(at_name("full")).timeout(2 * PATIENCE);
        client.cancel_with(&unix_cancel).connect().unwrap_err()
    });
    eventually("both wait", || helpers() == 2);
    cancel.cancel();
    for connect in [in_memory, unix] {
        let error = in_time("a connect that was cancelled", || connect.join().unwrap());
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    }
    drop((listener, waiting, memory, cancel));
    eventually("nobody is left behind", || helpers() == 0);
    closes_down_to(before);
}

#[test]
fn one_deadline_covers_lookup_and_attempts() {
    let _turn = my_turn();
    let client = Client::tcp("slow:1").resolver(Silent::new()).timeout(200 * MS);
    let (error, took) = timed(|| client.connect().unwrap_err());
    assert_took(took, 200 * MS, SOON);
    assert_eq!((error.kind(), error.operation()), (ErrorKind::TimedOut, "look up"));
}

// ---- In a namespace -----------------------------------------------------------------------------

#[test]
fn a_silent_version_costs_the_attempt_delay() {
    let _turn = my_turn();
    in_namespace(|| {
        let before = open_descriptors();
        let listener = TcpListener::bind((OWN_V4, 0)).unwrap();
        let at = format!("two:{}", listener.local_addr().unwrap().port());
        // When the second attempt began.
        let second = |delay: Option<Duration>| {
            let mut client = Client::tcp(&at).resolver(hosts("two", &[SILENT_V6, OWN_V4]));
            if let Some(delay) = delay {
                client = client.attempt_delay(delay);
            }
            let report = client.connect_with_report().unwrap().report;
            assert_eq!(fates(&report), ["unanswered", "connected"]);
            assert_eq!(connects_under_way(), 0, "the loser is closed");
            report.attempts()[1].began()
        };
        for (delay, from) in [(None, 250), (Some(600 * MS), 600), (Some(MS), 10)] {
            assert_took(second(delay), from * MS, SOON);
        }
        eventually("a short delay is short", || second(Some(40 * MS)) < 200 * MS);
        drop(listener);
        closes_down_to(before);
    });
}

#[test]
fn all_dead_ends_at_the_deadline_with_every_cause() {
    let _turn = my_turn();
    in_namespace(|| {
        let before = open_descriptors();
        let resolver = hosts("dead", &[SILENT_V6, SILENT_V4, "198.51.100.1"]);
        let client = Client::tcp("dead:80").resolver(resolver).timeout(400 * MS);
        let (error, took) = timed(|| client.connect().unwrap_err());
        assert_took(took, 400 * MS, SOON);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // The third would have had its turn after half a second.
        let text = error.to_string();
        for part in [SILENT_V6, SILENT_V4, "198.51.100.1:80: not tried"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(connects_under_way(), 0);
        closes_down_to(before);
    });
}

#[test]
fn a_pinned_version_has_all_the_time() {
    let _turn = my_turn();
    in_namespace(|| {
        let client = Client::tcp("dead:80").resolver(hosts("dead", &[SILENT_V6, SILENT_V4]));
        let (only, limit) = (IpVersion::V4, 400 * MS);
        let error = client.only(only).sequential().timeout(limit).connect().unwrap_err();
        let [attempt] = report(&error).attempts() else { panic!("{error}") };
        assert_eq!(attempt.address().ip().to_string(), SILENT_V4);
        // The connect has the limit as a whole; what went before the attempt is a moment.
        assert_took(attempt.began() + attempt.elapsed(), limit, SOON);
        assert_took(attempt.began(), Duration::ZERO, limit / 2);
    });
}

#[test]
fn a_dead_route_is_told_at_once_by_its_kind() {
    let _turn = my_turn();
    in_namespace(|| {
        for (kind, expected) in [
            ("unreachable", ErrorKind::Unreachable),
            ("prohibit", ErrorKind::PermissionDenied),
            ("blackhole", ErrorKind::Other),
        ] {
            namespace::ip(["route", "replace", kind, "198.51.100.0/24"]).unwrap();
            let (error, took) = timed(|| Client::tcp("198.51.100.7:80").connect().unwrap_err());
            assert_took(took, Duration::ZERO, AT_ONCE);
            assert_eq!(error.kind(), expected, "{kind}: {error}");
            assert!(error.to_string().starts_with("connect to tcp://198.51.100.7:80: "), "{error}");
        }
        let error = Client::tcp("203.0.113.1:80").connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "no route: {error}");
    });
}

#[test]
fn a_zone_is_kept_by_name_and_by_number() {
    let _turn = my_turn();
    in_namespace(|| {
        let mut show = std::process::Command::new("ip");
        let output = show.args(["-6", "addr", "show", "dev", LINK]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let local = text.split_whitespace().find(|word| word.starts_with("fe80::")).expect(&text);
        let local = local.split('/').next().unwrap();
        eventually("the link-local address can be bound", || {
            Server::tcp(format!("[{local}%{LINK}]:0"))
                .codec(Lines::default())
                .serve(|line, cx| cx.send(line))
                .is_ok_and(|server| {
                    stop(&server);
                    true
                })
        });
        let server = Server::tcp(format!("[{local}%{LINK}]:0")).codec(Lines::default());
        let server = server.serve(|_, cx| cx.send(&cx.peer().to_string())).unwrap();
        let at = server.local_endpoints()[0].to_addr().unwrap().as_ip().copied().unwrap();
        let SocketAddr::V6(at) = at else { panic!("{at}") };
        assert_ne!(at.scope_id(), 0);
        for zone in [LINK.to_owned(), at.scope_id().to_string()] {
            let endpoint = format!("tcp://[{local}%{zone}]:{}", at.port());
            let stream = Client::to(&endpoint).connect().unwrap();
            let peer = stream.peer_addr().unwrap();
            let peer = peer.as_ip().unwrap();
            assert_eq!(*peer, SocketAddr::V6(at), "{endpoint}");
            let mut client = Client::to(&endpoint).codec(Lines::default()).connect().unwrap();
            client.send("who am I").unwrap();
            let me = client.receive().unwrap().to_owned();
            assert!(me.contains(&format!("%{}", at.scope_id())), "{me}");
        }
        let error = Client::tcp(format!("[{local}%nosuch]:1")).connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        stop(&server);
    });
}

#[test]
fn six_attempts_are_under_way_at_most() {
    let _turn = my_turn();
    in_namespace(|| {
        let silent: Vec<String> = (10..30).map(|host| format!("192.0.2.{host}")).collect();
        for host in &silent {
            let neighbour = ["neigh", "add", host, "lladdr", "02:00:00:00:00:09", "dev", LINK];
            namespace::ip(neighbour.into_iter().chain(["nud", "permanent"])).unwrap();
        }
        let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
        let client = Client::tcp("dead:80").resolver(hosts("dead", &silent));
        let client = client.attempt_delay(10 * MS).timeout(DELAY);
        let most = AtomicUsize::new(0);
        thread::scope(|scope| {
            let connect = scope.spawn(|| client.connect().unwrap_err());
            while !connect.is_finished() {
                most.fetch_max(connects_under_way(), Ordering::SeqCst);
                thread::sleep(MS);
            }
            let error = connect.join().unwrap();
            assert_eq!(report(&error).attempts().len(), 20);
            let tried = fates(report(&error)).iter().filter(|name| **name != "not tried").count();
            assert_eq!(tried, 6, "{error}");
        });
        assert_eq!(most.load(Ordering::SeqCst), 6);
    });
}

// ---- From a running server ----------------------------------------------------------------------

on_engines!(
    a_server_connects_and_its_engine_runs_the_handler,
    a_server_tells_of_what_cannot_be_connected,
    a_stop_cancels_what_is_not_connected,
    silent_ones_hold_up_nobody,
    a_handler_connects_from_its_loop,
    a_hook_that_panics_fails_its_own_connect,
    a_cancel_is_heard_at_any_instant,
    a_handle_may_cancel_hundreds,
    what_connects_after_the_stop_is_closed,
);

/// An idle server on this engine, and where connects are reported.
fn idle(cell: &matrix::Cell) -> sockeye::ServerHandle {
    Server::new().engine(cell.engine()).codec(Lines::default()).serve(|_: &str, _| {}).unwrap()
}

type News = Result<Remote<Lines>, Error>;

fn told() -> (impl FnOnce(News) + Send + 'static, mpsc::Receiver<News>) {
    let (sender, receiver) = mpsc::channel();
    (move |news| drop(sender.send(news)), receiver)
}

fn deaf(_: &str, _: &mut Context<'_, Lines>) {}

fn a_server_connects_and_its_engine_runs_the_handler(cell: &matrix::Cell) {
    let _turn = my_turn();
    let before = open_descriptors();
    {
        let far = Server::tcp("127.0.0.1:0").and(at_name("far"));
        let far = far.codec(Lines::default()).serve(|line, cx| cx.send(line)).unwrap();
        let server = idle(cell);
        let port = far.local_endpoints()[0].to_addr().unwrap().as_ip().unwrap().port();
        let targets =
            [format!("tcp://127.0.0.1:{port}"), format!("tcp://two:{port}"), at_name("far")];
        for target in targets {
            let (heard, hear) = mpsc::channel();
            let listen = move |line: &str, _: &mut Context<'_, Lines>| {
                let _ = heard.send(line.to_owned());
            };
            let client = Client::to(&target).resolver(hosts("two", &["::1", "127.0.0.1"]));
            let (tell, news) = told();
            server.connect(client.codec(Lines::default()), listen, tell).unwrap();
            let remote = matrix::next(&news).unwrap();
            remote.send("hello").unwrap();
            assert_eq!(matrix::next(&hear), "hello", "{target}");
        }
        assert_eq!(server.counters().adopted, 3);
        stop(&server);
        stop(&far);
    }
    closes_down_to(before);
}

fn a_server_tells_of_what_cannot_be_connected(cell: &matrix::Cell) {
    let _turn = my_turn();
    let server = idle(cell);
    let port = free_port();
    for (target, kind) in [
        (format!("tcp://127.0.0.1:{port}"), ErrorKind::Refused),
        (format!("tcp://two:{port}"), ErrorKind::Refused),
        ("tcp://nobody:1".to_owned(), ErrorKind::NotFound),
        (at_name("nobody"), ErrorKind::Refused),
    ] {
        let (tell, news) = told();
        let client = Client::to(&target).resolver(hosts("two", &["::1", "127.0.0.1"]));
        server.connect(client.codec(Lines::default()), deaf, tell).unwrap();
        let error = matrix::next(&news).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // What is known at once is told at once, and only there.
    for (target, kind) in
        [("udp://127.0.0.1:9", ErrorKind::Unsupported), ("nonsense", ErrorKind::BadEndpoint)]
    {
        let (tell, news) = told();
        let client = Client::to(target).codec(Lines::default());
        assert_eq!(server.connect(client, deaf, tell).unwrap_err().kind(), kind);
        assert!(matches!(news.recv(), Err(mpsc::RecvError)));
    }
    stop(&server);
    let client = Client::to("tcp://127.0.0.1:9").codec(Lines::default());
    assert_eq!(server.connect(client, deaf, told().0).unwrap_err().kind(), ErrorKind::Closed);
    let client = Client::to("tcp://127.0.0.1:9").codec(Lines::default());
    let unstarted = Server::new().handle();
    assert_eq!(unstarted.connect(client, deaf, told().0).unwrap_err().kind(), ErrorKind::Closed);
}

fn a_stop_cancels_what_is_not_connected(cell: &matrix::Cell) {
    let _turn = my_turn();
    let (full, silent) = (Full::new(), Silent::new());
    let before = open_descriptors();
    {
        let server = idle(cell);
        let mut news = Vec::new();
        for count in 0..30 {
            let (tell, told) = told();
            // Looked up, waiting for a look-up, and under way.
            let client = match count % 2 {
                0 => Client::to(format!("tcp://{}", full.at)),
                _ => Client::to("tcp://slow:1").resolver(silent.clone()),
            };
            let client = client.timeout(2 * PATIENCE).codec(Lines::default());
            server.connect(client, deaf, tell).unwrap();
            news.push(told);
        }
        eventually("all are in hand", || {
            full.asked() == 15 && silent.asked.load(Ordering::SeqCst) == 8
        });
        server.stop(PATIENCE);
        for told in &news {
            assert_eq!(matrix::next(told).unwrap_err().kind(), ErrorKind::Cancelled);
        }
        silent.let_go();
        let report = matrix::join(&server);
        assert_eq!((report.abandoned, report.forced), (0, 0), "{report:?}");
    }
    closes_down_to(before);
    assert_eq!(full.asked(), 0);
}

fn silent_ones_hold_up_nobody(cell: &matrix::Cell) {
    let _turn = my_turn();
    let (full, silent) = (Full::new(), Silent::new());
    let server = idle(cell);
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell_silent, silent_news) = mpsc::channel();
    for count in 0..60 {
        let client = match count % 10 {
            // Fewer than there are helpers.
            0 => Client::to("tcp://slow:1").resolver(silent.clone()),
            _ => Client::to(format!("tcp://{}", full.at)),
        };
        let client = client.timeout(2 * PATIENCE).codec(Lines::default());
        let tell = tell_silent.clone();
        server.connect(client, deaf, move |news: News| drop(tell.send(news))).unwrap();
    }
    let resolver = hosts("quick", &["127.0.0.1"]);
    let client =
        Client::tcp(format!("quick:{}", far.local_addr().unwrap().port())).resolver(resolver);
    let (tell, news) = told();
    server.connect(client.codec(Lines::default()), deaf, tell).unwrap();
    let remote = matrix::next(&news).unwrap();
    assert!(silent_news.try_recv().is_err(), "it waited for a silent one");
    assert!(!remote.is_closed());
    silent.let_go();
    drop(far);
    stop(&server);
}

fn a_cancel_is_heard_at_any_instant(cell: &matrix::Cell) {
    let _turn = my_turn();
    let full = Full::new();
    let server = idle(cell);
    for instant in 0..300 {
        let cancel = CancelHandle::new();
        let client = Client::to(format!("tcp://{}", full.at)).timeout(2 * PATIENCE);
        let (tell, news) = told();
        let client = client.cancel_with(&cancel).codec(Lines::default());
        server.connect(client, deaf, tell).unwrap();
        // Sooner or later: while the server begins the attempt, before it sleeps, and when it does.
        (0..instant * 20).for_each(|_| std::hint::spin_loop());
        cancel.cancel();
        assert_eq!(matrix::next(&news).unwrap_err().kind(), ErrorKind::Cancelled);
    }
    stop(&server);
}

fn a_handle_may_cancel_hundreds(cell: &matrix::Cell) {
    let _turn = my_turn();
    let full = Full::new();
    let (server, cancel) = (idle(cell), CancelHandle::new());
    // poll(2) takes no more entries than there may be descriptors: one for each call, and no second.
    let _limit = DescriptorLimit::lower_to(open_descriptors() + 400);
    let mut silent = Vec::new();
    for _ in 0..300 {
        let client = Client::to(format!("tcp://{}", full.at)).timeout(2 * PATIENCE);
        let (tell, news) = told();
        let client = client.cancel_with(&cancel).codec(Lines::default());
        server.connect(client, deaf, tell).unwrap();
        silent.push(news);
    }
    eventually("all are under way", || full.asked() == 300);
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, news) = told();
    let client = Client::tcp(far.local_addr().unwrap()).codec(Lines::default());
    server.connect(client, deaf, tell).unwrap();
    matrix::next(&news).unwrap();
    cancel.cancel();
    for news in silent {
        assert_eq!(matrix::next(&news).unwrap_err().kind(), ErrorKind::Cancelled);
    }
    drop(far);
    stop(&server);
}

fn what_connects_after_the_stop_is_closed(cell: &matrix::Cell) {
    let _turn = my_turn();
    let (listener, waiting) = full_unix("late");
    let server = idle(cell);
    let (tell, news) = told();
    let client = Client::to(at_name("late")).timeout(2 * PATIENCE);
    server.connect(client.codec(Lines::default()), deaf, tell).unwrap();
    eventually("a helper waits for room", || helpers() == 1);
    server.stop(PATIENCE);
    assert_eq!(matrix::next(&news).unwrap_err().kind(), ErrorKind::Cancelled);
    for _ in &waiting {
        listener.accept().unwrap();
    }
    let late = in_time("the last accept", move || listener.accept().unwrap().0);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!((&late).read(&mut [0]).unwrap(), 0, "nobody has it, so it is closed");
    matrix::join(&server);
}

fn a_handler_connects_from_its_loop(cell: &matrix::Cell) {
    let _turn = my_turn();
    let full = Full::new();
    let server = cell.server();
    let (handle, silent) = (server.handle(), format!("tcp://{}", full.at));
    let is_told = Arc::new(AtomicBool::new(false));
    let told = is_told.clone();
    let server = server.codec(Lines::default());
    let server = server
        .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
            let client = Client::to(&silent).timeout(2 * PATIENCE).codec(Lines::default());
            let told = told.clone();
            handle.connect(client, deaf, move |_: News| told.store(true, Ordering::SeqCst))?;
            cx.send(line);
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        })
        .unwrap();
    let mut wire = cell.connect(&server);
    wire.say("still there\n");
    assert_eq!(wire.hear().as_deref(), Some("still there"));
    assert!(!is_told.load(Ordering::SeqCst), "the handler waited for it");
    drop(wire);
    stop(&server);
}

fn a_hook_that_panics_fails_its_own_connect(cell: &matrix::Cell) {
    let _turn = my_turn();
    let server = idle(cell);
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", far.local_addr().unwrap());
    let (tell, news) = told();
    let client = Client::to(&at).before_connect(|_, _| matrix::expected_panic());
    server.connect(client.codec(Lines::default()), deaf, tell).unwrap();
    assert!(matrix::next(&news).unwrap_err().to_string().contains("panicked"));
    let (tell, news) = told();
    let late = |news| {
        tell(news);
        matrix::expected_panic()
    };
    server.connect(Client::to(&at).codec(Lines::default()), deaf, late).unwrap();
    matrix::next(&news).unwrap();
    let (tell, news) = told();
    server.connect(Client::to(&at).codec(Lines::default()), deaf, tell).unwrap();
    matrix::next(&news).unwrap();
    assert_eq!(server.counters().panics, 2);
    drop(far);
    stop(&server);
}

// ---- Connecting again ---------------------------------------------------------------------------

#[test]
fn a_client_connects_again_and_logs_in_again_and_hides_no_loss() {
    let _turn = my_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        // Says hello, hears who is there, answers, and goes.
        for round in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut login = [0; 4];
            stream.read_exact(&mut login).unwrap();
            assert_eq!(&login, b"Ann\n");
            writeln!(stream, "round {round}").unwrap();
        }
    });
    let backoff = Backoff::between(5 * MS, 20 * MS);
    let mut client = Client::tcp(at).codec(Lines::default()).timeout(10_000 * MS);
    client = client.cancel_with(&CancelHandle::new());
    let mut client = client.reconnecting(backoff).on_connect(|framed| framed.send("Ann"));
    in_time("reconnecting", move || {
        for round in 0..3 {
            assert_eq!(client.receive().unwrap(), format!("round {round}"));
            assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
    server.join().unwrap();
}

#[test]
fn a_client_gives_up_after_its_tries_with_the_last_cause() {
    let _turn = my_turn();
    let backoff = Backoff::between(10 * MS, 10 * MS).tries(3);
    let client = Client::tcp(format!("127.0.0.1:{}", free_port())).codec(Lines::default());
    let mut client = client.reconnecting(backoff);
    for _ in 0..2 {
        let (error, took) = timed(|| client.send("x").unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert_took(took, 15 * MS, SOON); // three pauses, each shortened by half at most
    }
    let mut hopeless =
        Client::tcp("no port").codec(Lines::default()).reconnecting(Backoff::default());
    for _ in 0..2 {
        assert_eq!(hopeless.receive().unwrap_err().kind(), ErrorKind::BadEndpoint);
    }
}

#[test]
fn what_cannot_be_connected_to_is_not_tried_again() {
    let _turn = my_turn();
    let listener = sockeye::memory::Listener::new(16);
    let server = Server::on(listener).codec(Lines::default()).serve(|_: &str, _| {}).unwrap();
    let client = Client::to(&server.local_endpoints()[0]).codec(Lines::default());
    let mut client = client.reconnecting(Backoff::default());
    let kind = in_time("a hopeless client", move || client.receive().unwrap_err().kind());
    assert_eq!(kind, ErrorKind::Unsupported);
    stop(&server);
}

#[test]
fn a_server_that_hangs_up_at_once_is_not_met_in_a_hurry() {
    let _turn = my_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst); // before the client can see the end
            drop(stream);
        }
    });
    let backoff = Backoff::between(100 * MS, 100 * MS).tries(3);
    let mut client = Client::tcp(at).codec(Lines::default()).reconnecting(backoff);
    let (_, took) = timed(|| {
        for _ in 0..4 {
            assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
    assert_took(took, 150 * MS, SOON); // as above
    assert_eq!(accepted.load(Ordering::SeqCst), 4);
    let error = client.receive().unwrap_err();
    assert!(error.to_string().contains("again and again"), "{error}");
}

#[test]
fn a_pause_can_be_cancelled() {
    let _turn = my_turn();
    let cancel = CancelHandle::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::tcp(listener.local_addr().unwrap()).cancel_with(&cancel);
    let hour = Duration::from_secs(3600);
    let mut client = client.codec(Lines::default()).reconnecting(Backoff::between(hour, hour));
    client.framed().unwrap();
    drop(listener); // resets it
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::Closed);
    // So the next call begins with a pause.
    let (tell, begins) = mpsc::channel();
    let waiting = thread::spawn(move || {
        tell.send(()).unwrap();
        client.receive().unwrap_err().kind()
    });
    matrix::next(&begins);
    cancel.cancel();
    let kind = in_time("a pause", move || waiting.join().unwrap());
    assert_eq!(kind, ErrorKind::Cancelled);
}
