//! Socket files: who may connect, what becomes of a file that is there, what is removed in the end; and
//! who is at the other end.

mod matrix;

use matrix::{Cell, Dir, PATIENCE, Post, on_kinds, stop};
use sockeye::addr::{Credentials, UnixAddr};
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::{AnyEngine, Threads};
use sockeye::handler::{Context, Outcome};
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::{
    AnyStream, ConnectedUnixDatagram, Existing, SocketFile, SocketFileOptions, TcpListener,
    TcpStream, UnixDatagram, UnixListener, UnixSeqListener, UnixSeqPacket, UnixStream,
};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const KINDS: [&str; 3] = ["stream", "seqpacket", "datagram"];

/// A socket of this kind at this path, and its file.
fn bind(kind: &str, path: &Path, options: &SocketFileOptions) -> io::Result<(OwnedFd, SocketFile)> {
    match kind {
        "stream" => {
            UnixListener::bind_file(path, options).map(|(socket, file)| (socket.into(), file))
        }
        "seqpacket" => {
            UnixSeqListener::bind_file(path, options).map(|(socket, file)| (socket.into(), file))
        }
        _ => UnixDatagram::bind_file(path, options).map(|(socket, file)| (socket.into(), file)),
    }
}

fn connects(kind: &str, path: &Path) -> io::Result<()> {
    match kind {
        "stream" => UnixStream::connect(path).map(drop),
        "seqpacket" => UnixSeqPacket::connect(path).map(drop),
        _ => ConnectedUnixDatagram::connect(path).map(drop),
    }
}

/// A file of which nobody listens, as a server leaves it that is killed.
fn dead(kind: &str, path: &Path) {
    let (socket, file) = bind(kind, path, &SocketFileOptions::new()).unwrap();
    file.keep();
    drop(socket);
    assert_eq!(connects(kind, path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn replacing(existing: Existing) -> SocketFileOptions {
    SocketFileOptions::new().existing(existing)
}

const POLICIES: [Existing; 3] = [Existing::Fail, Existing::ReplaceStale, Existing::Replace];

// ---- Mode and owner -----------------------------------------------------------------------------

#[test]
fn the_mode_is_what_was_asked_for() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    for kind in KINDS {
        for asked in [0o600, 0o660, 0o666, 0o200, 0o777] {
            for existing in POLICIES {
                let files = replacing(existing).mode(asked);
                let (_socket, file) = bind(kind, &path, &files).unwrap();
                assert_eq!(mode(&path), asked, "{kind} {existing:?}");
                drop(file);
                assert!(!path.exists(), "{kind} {existing:?}");
            }
        }
    }
    let server = Server::unix(&path)
        .socket_files(SocketFileOptions::new().mode(0o662))
        .codec(Lines::default())
        .serve(|line, cx| cx.send(line))
        .unwrap();
    assert_eq!(mode(&path), 0o662);
    stop(&server);
    assert_eq!(SocketFileOptions::new(), SocketFileOptions::new().mode(0o600));
}

/// The mask belongs to the whole process, so each has one of its own.
#[test]
fn the_mode_is_what_was_asked_for_under_any_umask() {
    for umask in ["0", "077", "0777"] {
        let test = "the_mode_is_what_was_asked_for";
        let run = Command::new("sh")
            .args(["-c", "umask $1; mkdir -m 700 \"$2\"; TMPDIR=$2 exec \"$0\" --exact $3"])
            .arg(std::env::current_exe().unwrap())
            .args([umask, &*format!("{}", Dir::new().0.display()), test])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        // Directories of mode 0 are of use to root only.
        let may_fail = umask == "0777" && !rustix::process::geteuid().is_root();
        assert!(may_fail || (run.status.success() && text.contains("1 passed")), "{umask}: {text}");
    }
}

#[test]
fn the_group_is_what_was_asked_for() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    let root = rustix::process::geteuid().is_root();
    let gid = if root { 65534 } else { rustix::process::getegid().as_raw() };
    for kind in KINDS {
        let (_socket, _file) =
            bind(kind, &path, &SocketFileOptions::new().mode(0o660).group(gid)).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.gid(), mode(&path)), (gid, 0o660));
    }
    if !root {
        let error = bind("stream", &path, &SocketFileOptions::new().owner(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(!path.exists(), "what could not be finished is not left behind");
    }
}

// ---- What is there already ----------------------------------------------------------------------

#[test]
fn a_live_socket_is_left_alone_unless_it_is_to_be_replaced() {
    let dir = Dir::new();
    for live in KINDS {
        for kind in KINDS {
            let path = dir.0.join(format!("{live}-{kind}"));
            let (_socket, _file) = bind(live, &path, &SocketFileOptions::new()).unwrap();
            let before = inode(&path);
            for existing in [Existing::Fail, Existing::ReplaceStale] {
                let error = bind(kind, &path, &replacing(existing)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                assert!(error.to_string().contains("a live socket"), "{error}");
                assert_eq!(inode(&path), before);
                connects(live, &path).unwrap();
            }
        }
    }
}

/// Between `bind` and `listen` a connect is refused, as that of a dead one is.
#[test]
fn a_socket_that_does_not_listen_yet_is_alive() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    let early = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    early.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    assert!(connects("stream", &path).is_err());
    let error = bind("stream", &path, &replacing(Existing::ReplaceStale)).unwrap_err();
    assert!(error.to_string().contains("a live socket"), "{error}");
    early.listen(1).unwrap();
    connects("stream", &path).unwrap();
}

#[test]
fn a_full_backlog_is_alive_and_sees_nobody() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    let listener = UnixListener::bind_with_backlog(path.as_path(), 0).unwrap();
    let _first = UnixStream::connect(path.as_path()).unwrap();
    let error = bind("stream", &path, &replacing(Existing::ReplaceStale)).unwrap_err();
    assert!(error.to_string().contains("a live socket"), "{error}");
    listener.accept().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_dead_socket_is_replaced_if_it_may_be() {
    let dir = Dir::new();
    for was in KINDS {
        for kind in KINDS {
            let path = dir.0.join(format!("{was}-{kind}"));
            dead(was, &path);
            let error = bind(kind, &path, &SocketFileOptions::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("a dead socket"), "{error}");
            for existing in [Existing::ReplaceStale, Existing::Replace] {
                let (_socket, file) = bind(kind, &path, &replacing(existing)).unwrap();
                assert_eq!(mode(&path), 0o600);
                connects(kind, &path).unwrap();
                file.keep();
            }
        }
    }
}

/// Neither replaced, nor followed, nor removed.
#[test]
fn what_is_no_socket_is_never_replaced() {
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    dead("stream", &at("dead"));
    let (_socket, _file) = bind("stream", &at("live"), &SocketFileOptions::new()).unwrap();
    symlink(at("dead"), at("link to a dead one")).unwrap();
    symlink(at("live"), at("link to a live one")).unwrap();
    symlink(at("file"), at("link to a file")).unwrap();
    symlink(at("nowhere"), at("link to nothing")).unwrap();
    let there = [
        ("file", "no socket"),
        ("directory", "a directory"),
        ("link to a dead one", "symbolic link"),
        ("link to a live one", "symbolic link"),
        ("link to a file", "symbolic link"),
        ("link to nothing", "symbolic link"),
    ];
    let names = || {
        let names = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let before = names();
    for kind in KINDS {
        for existing in POLICIES {
            for (name, what) in there {
                let was = inode(&at(name));
                let error = bind(kind, &at(name), &replacing(existing)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{name}: {error}");
                assert!(error.to_string().contains(what), "{name}: {error}");
                assert_eq!(inode(&at(name)), was, "{name}");
            }
        }
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    assert_eq!(names(), before, "nothing was made on the way");
}

#[test]
fn a_live_socket_is_taken_over_in_one_step() {
    let dir = Dir::new();
    for kind in KINDS {
        let path = dir.0.join(kind);
        let (old, old_file) = bind(kind, &path, &SocketFileOptions::new()).unwrap();
        // Whoever connects all the while meets one of the two. Nobody accepts: a listener is given
        // no more connections than wait in its backlog, or the clients would stand still.
        let (turns, their_turns) = mpsc::sync_channel(2);
        let clients_path = path.clone();
        let clients = thread::spawn(move || {
            for () in their_turns {
                for _ in 0..16 {
                    connects(kind, &clients_path).unwrap();
                }
            }
        });
        turns.send(()).unwrap();
        // Who has found the old one a moment before is to be let in still, so none is closed yet.
        let mut all = vec![(old, old_file)];
        for _ in 0..200 {
            let files = replacing(Existing::Replace).mode(0o620);
            turns.send(()).unwrap();
            all.push(bind(kind, &path, &files).unwrap());
            assert_eq!(mode(&path), 0o620);
            assert_eq!(all.last().unwrap().1.path(), path);
        }
        drop(turns);
        clients.join().unwrap();
        let (last, was) = (all.pop().unwrap(), inode(&path));
        for old in all {
            drop(old);
            assert_eq!(inode(&path), was, "the file of an old one is not the one that is there");
        }
        drop(last);
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0, "all is removed");
    }
}

#[test]
fn of_many_that_start_over_a_dead_socket_one_has_it() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    for round in 0..100 {
        let kind = KINDS[round % 3];
        dead(kind, &path);
        let starters: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || bind(kind, &path, &replacing(Existing::ReplaceStale)))
            })
            .collect();
        let starts = starters.into_iter().map(|starter| starter.join().unwrap());
        let (owners, others): (Vec<_>, Vec<_>) = starts.partition(Result::is_ok);
        assert_eq!(owners.len(), 1, "round {round}");
        for other in others {
            let error = other.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        }
        connects(kind, &path).unwrap();
        drop(owners);
        assert!(!path.exists());
    }
}

#[test]
fn somebody_who_keeps_the_lock_of_the_directory_only_hinders_replacing() {
    let dir = Dir::new();
    let (path, fresh) = (dir.0.join("s"), dir.0.join("fresh"));
    dead("stream", &path);
    let held = File::open(&dir.0).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (socket, file) = bind("stream", &fresh, &SocketFileOptions::new()).unwrap();
    let began = Instant::now();
    let error = bind("stream", &path, &replacing(Existing::ReplaceStale)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(began.elapsed() >= Duration::from_secs(5));
    drop(held);
    drop((file, socket));
    assert!(!fresh.exists());
    drop(bind("stream", &path, &replacing(Existing::ReplaceStale)).unwrap());
}

// ---- What is removed ----------------------------------------------------------------------------

on_kinds! { only_the_file_of_the_server_is_removed [unix Unix, datagram UnixDatagram, seqpacket UnixSeqPacket] }
on_kinds! { a_server_takes_the_place_of_a_dead_one [unix Unix, datagram UnixDatagram, seqpacket UnixSeqPacket] }

fn path_of(server: &ServerHandle) -> PathBuf {
    let at = server.local_endpoints()[0].to_addr().unwrap();
    at.as_unix().unwrap().as_path().unwrap().to_owned()
}

fn serve(server: Server<(), AnyEngine>) -> ServerHandle {
    server.codec(Bytes::default()).serve(|bytes, cx| cx.send(bytes)).unwrap()
}

fn only_the_file_of_the_server_is_removed(cell: &Cell) {
    // There, and gone with it.
    let server = serve(cell.server());
    let path = path_of(&server);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    stop(&server);
    assert!(!path.exists());
    // Gone already.
    let server = serve(cell.server());
    fs::remove_file(path_of(&server)).unwrap();
    stop(&server);
    // Something else is there.
    let server = serve(cell.server());
    let path = path_of(&server);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "not ours").unwrap();
    stop(&server);
    assert_eq!(fs::read_to_string(&path).unwrap(), "not ours");
    // To be kept.
    let server = serve(cell.server().socket_files(SocketFileOptions::new().keep(true)));
    let path = path_of(&server);
    stop(&server);
    assert!(path.exists());
    // Who lets go of the last handle leaves the server running, with its file.
    let server = serve(cell.server());
    let path = path_of(&server);
    drop(server);
    assert!(path.exists());
}

fn a_server_takes_the_place_of_a_dead_one(cell: &Cell) {
    let first = serve(cell.server().socket_files(SocketFileOptions::new().keep(true)));
    let endpoint = first.local_endpoints()[0].clone();
    let again = |existing| {
        let server = Server::on(endpoint.clone()).engine(cell.engine());
        let server = server.socket_files(replacing(existing)).codec(Bytes::default());
        server.serve(|bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes))
    };
    let error = again(Existing::ReplaceStale).unwrap_err();
    assert!(error.to_string().contains("a live socket"), "{error}");
    stop(&first);
    let error = again(Existing::Fail).unwrap_err();
    assert!(error.to_string().contains("a dead socket"), "{error}");
    let second = again(Existing::ReplaceStale).unwrap();
    let third = again(Existing::Replace).unwrap();
    assert_eq!(third.local_endpoints(), std::slice::from_ref(&endpoint));
    stop(&second);
    // Whoever stops does not take the file of its successor along.
    match cell.kind {
        matrix::Kind::Unix => {
            let mut client = cell.connect(&third);
            client.say("hello\n");
            assert_eq!(client.hear().unwrap(), "hello");
        }
        _ => {
            let client = cell.post(&third);
            assert_eq!(client.ask("hello"), "hello");
        }
    }
    stop(&third);
    assert!(!path_of(&third).exists());
}

#[test]
fn the_longest_path_works_and_no_longer_one() {
    let dir = Dir::new();
    let fill = UnixAddr::BYTES_MAX - dir.0.as_os_str().len() - 1;
    // A long name, and a short one in a long directory.
    let deep = dir.0.join("d".repeat(fill - 2));
    fs::create_dir(&deep).unwrap();
    for longest in [dir.0.join("x".repeat(fill)), deep.join("s")] {
        assert_eq!(longest.as_os_str().len(), 107);
        for kind in KINDS {
            let (old, old_file) = bind(kind, &longest, &SocketFileOptions::new()).unwrap();
            connects(kind, &longest).unwrap();
            let (new, file) = bind(kind, &longest, &replacing(Existing::Replace)).unwrap();
            drop((old, old_file));
            connects(kind, &longest).unwrap();
            file.keep();
            drop(new);
            let (_socket, _file) =
                bind(kind, &longest, &replacing(Existing::ReplaceStale)).unwrap();
            connects(kind, &longest).unwrap();
        }
        let parent = longest.parent().unwrap();
        let before = fs::read_dir(parent).unwrap().count();
        let mut name = longest.file_name().unwrap().to_owned();
        name.push("x");
        for kind in KINDS {
            let error = bind(kind, &parent.join(&name), &SocketFileOptions::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("at most 107 bytes, not 108"), "{error}");
        }
        let error = Server::unix(parent.join(&name)).codec(Lines::default()).serve(|_, _| {});
        assert!(error.unwrap_err().to_string().contains("at most 107 bytes, not 108"));
        assert_eq!(fs::read_dir(parent).unwrap().count(), before, "nothing is cut and made");
    }
}

// ---- Who is at the other end --------------------------------------------------------------------

fn me() -> Credentials {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Credentials { uid, gid, pid: Some(std::process::id()) }
}

#[test]
fn the_kernel_says_who_is_at_the_other_end() {
    let (one, other) = UnixStream::pair().unwrap();
    assert_eq!((one.peer_credentials().unwrap(), other.peer_credentials().unwrap()), (me(), me()));
    let (one, _other) = UnixSeqPacket::pair().unwrap();
    assert_eq!(one.peer_credentials().unwrap(), me());
    let dir = Dir::new();
    let path = dir.0.join("s");
    let listener = UnixListener::bind(path.as_path()).unwrap();
    // A client whose own name looks like those of root.
    let name = dir.0.join("uid=0,gid=0,pid=1");
    let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    client.bind(&socket2::SockAddr::unix(&name).unwrap()).unwrap();
    client.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    let (stream, from) = listener.accept().unwrap();
    assert_eq!(from.as_path(), Some(name.as_path()));
    assert_eq!(stream.peer_credentials().unwrap(), me());
    assert_eq!(AnyStream::from(stream).peer_credentials().unwrap(), me());
    assert!(me().to_string().ends_with(&format!(", pid {}", std::process::id())));

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = AnyStream::from(TcpStream::connect(tcp.local_addr().unwrap()).unwrap());
    assert_eq!(tcp.peer_credentials().unwrap_err().kind(), io::ErrorKind::Unsupported);
}

on_kinds! { who_may_connect_is_a_matter_of_the_kernel [unix Unix, seqpacket UnixSeqPacket] }
on_kinds! { handlers_know_who_the_peer_is [unix Unix, seqpacket UnixSeqPacket] }

fn who_may_connect_is_a_matter_of_the_kernel(cell: &Cell) {
    type Admit = fn(&Credentials) -> bool;
    let cases: [(Admit, bool); 4] = [
        (|who| *who == me(), true),
        (|who| who.uid != me().uid, false),
        (|who| who.pid != me().pid, false),
        (|_| matrix::expected_panic(), false),
    ];
    for (admit, admitted) in cases {
        let server = cell.server().admit_unix(admit).codec(Bytes::default());
        let server = server.serve(|bytes, cx| cx.send(bytes)).unwrap();
        let heard = match cell.kind {
            matrix::Kind::Unix => {
                let mut client = cell.connect(&server);
                let _ = client.write_all(b"hello"); // who is refused may be gone already
                let _ = client.try_shutdown(std::net::Shutdown::Write);
                client.end().unwrap_or_default().len()
            }
            _ => {
                let Post::Record(client) = cell.post(&server) else { panic!("seqpacket") };
                let _ = client.send(b"hello");
                let message = client.recv(&mut [0; 64]);
                message.ok().flatten().map_or(0, |message| message.len)
            }
        };
        assert_eq!(heard, if admitted { 5 } else { 0 });
        let refused = u64::from(!admitted);
        matrix::eventually("it is counted", || server.counters().refused.not_admitted == refused);
        stop(&server);
    }
}

fn handlers_know_who_the_peer_is(cell: &Cell) {
    for asked in [true, false] {
        let mut server = cell.server();
        if asked {
            server = server.admit_unix(|_| true);
        }
        let server = server
            .codec(Lines::default())
            .serve(|_: &str, cx: &mut Context<'_, Lines>| {
                let who = cx.credentials().map(|who| who.to_string());
                cx.send(&who.unwrap_or_default());
            })
            .unwrap();
        let expected = if asked { me().to_string() } else { String::new() };
        match cell.kind {
            matrix::Kind::Unix => {
                let mut client = cell.connect(&server);
                client.say("who am I?\n");
                assert_eq!(client.hear().unwrap(), expected);
            }
            _ => assert_eq!(cell.post(&server).ask("who am I?"), expected),
        }
        stop(&server);
    }
}

#[test]
fn blocking_functions_are_guarded_too_and_tcp_is_not_asked() {
    let dir = Dir::new();
    let server = Server::unix(dir.0.join("s"))
        .and("tcp://127.0.0.1:0")
        .engine(Threads::default())
        .admit_unix(|who| who.uid == me().uid + 1)
        .serve_blocking(|mut stream| -> Outcome { Ok(stream.write_all(b"welcome")?) })
        .unwrap();
    let mut client = matrix::connect(&server).unwrap();
    client.patient();
    assert_eq!(client.rest(), "");
    let tcp = server.local_endpoints()[1].to_addr().unwrap();
    let tcp = *tcp.as_ip().unwrap();
    let mut heard = String::new();
    std::net::TcpStream::connect(tcp).unwrap().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "welcome");
    let report = stop(&server);
    assert_eq!(report.counters.refused.not_admitted, 1);
}

#[test]
fn datagrams_have_nobody_to_ask_about() {
    let dir = Dir::new();
    for engine in AnyEngine::all() {
        let path = dir.0.join("s");
        let error = Server::on(format!("unix+dgram://{}", path.display()))
            .engine(engine)
            .admit_unix(|_| true)
            .codec(Lines::default())
            .serve(|line, cx| cx.send(line))
            .unwrap_err();
        assert_eq!(error.kind(), sockeye::ErrorKind::Unsupported, "{error}");
        assert!(!path.exists());
    }
}

// ---- Datagrams without a name -------------------------------------------------------------------

on_kinds! { a_sender_without_a_name_is_heard_and_harms_nobody [datagram UnixDatagram] }

fn a_sender_without_a_name_is_heard_and_harms_nobody(cell: &Cell) {
    let (tell, told) = std::sync::mpsc::channel();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve(move |line: &str, cx: &mut Context<'_, Lines>| {
            cx.send(line); // to nobody, if it has no name
            tell.send(line.to_owned()).unwrap();
        })
        .unwrap();
    let nameless = std::os::unix::net::UnixDatagram::unbound().unwrap();
    for round in 0..20 {
        let line = format!("nameless {round}");
        nameless.send_to(line.as_bytes(), path_of(&server)).unwrap();
        assert_eq!(matrix::next(&told), line);
        let line = format!("named {round}");
        assert_eq!(cell.post(&server).ask(&line), line);
        assert_eq!(matrix::next(&told), line);
    }
    stop(&server);
}

#[test]
fn a_full_queue_of_datagrams_says_so_or_waits_to_the_limit() {
    let dir = Dir::new();
    let path = dir.0.join("s");
    let (_deaf, _file) = UnixDatagram::bind_file(&path, &SocketFileOptions::new()).unwrap();
    let sender = ConnectedUnixDatagram::connect(path.as_path()).unwrap();
    sender.set_nonblocking(true).unwrap();
    let full = (0..100_000).find_map(|_| sender.send(b"x").err()).expect("a queue has an end");
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    sender.set_nonblocking(false).unwrap();
    let limit = Duration::from_millis(50);
    sender.set_write_timeout(Some(limit)).unwrap();
    let began = Instant::now();
    assert_eq!(sender.send(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(began.elapsed() >= limit && began.elapsed() < PATIENCE);
}
