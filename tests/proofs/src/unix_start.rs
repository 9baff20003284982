//! Starting on a Unix socket, again and again: one owner, nobody else gets in, no descriptor stays.
//!
//! - Two processes start a thousand times at once over a file that a dead server has left, or over a live
//!   one. The owner is asked for its process id through the file.
//! - A process of another user connects as fast as it can while a server starts a thousand times with umask 0
//!   and mode 0600, and then with mode 0666, which shows that it would get in. As root.
//! - Ten thousand messages with descriptors, to servers that pass them and to servers that do not.

use crate::table::Table;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::handler::Context;
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::{
    Existing, SocketFileOptions, UnixDatagram, UnixListener, UnixSeqPacket, UnixStream,
};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const STARTS: usize = 1_000;
const MESSAGES: usize = 10_000;
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether every row holds.
pub fn prove() -> Result<bool, String> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let (role, path) = match arguments.as_slice() {
        [] => return run().map_err(|error| error.to_string()),
        [role, path] => (role.as_str(), Path::new(path)),
        _ => return Err("usage: proofs unix_start".to_owned()),
    };
    let done = match role {
        "start" => start(path),
        "hammer" => hammer(path),
        _ => Err("no such role".into()),
    };
    done.map(|()| true).map_err(|error| format!("{role}: {error}"))
}

fn run() -> Outcome<bool> {
    let dir = Dir::new()?;
    let mut table = Table::new();
    races(&dir, &mut table)?;
    if is_root() {
        strangers(&dir, &mut table)?;
    } else {
        note_not_run()?;
        table.note(
            "NOT RUN: another user who connects during the starts, which takes root".to_owned(),
        );
    }
    messages(&dir, &mut table)?;
    Ok(table.end())
}

// ---- Two that start at once ---------------------------------------------------------------------

fn races(dir: &Dir, table: &mut Table) -> Outcome<()> {
    let path = dir.0.join("raced");
    let mut starters =
        [Role::begin(dir, "start", &path, None)?, Role::begin(dir, "start", &path, None)?];
    let (mut dead, mut live) = (0, 0);
    let (mut no_owner, mut two_owners, mut wrong_owner, mut live_lost) = (0, 0, 0, 0);
    let mut of_each = [0; 2];
    let began = Instant::now();
    for round in 0..STARTS {
        // Every fourth time somebody is there, and must be there still.
        let holder = match round % 4 {
            3 => Some(UnixListener::bind_file(&path, &replace_stale())?),
            _ => {
                leave_behind(&path)?;
                None
            }
        };
        let before = fs::symlink_metadata(&path)?.ino();
        for starter in &mut starters {
            starter.say("start")?;
        }
        let mut owners = Vec::new();
        for (number, starter) in starters.iter_mut().enumerate() {
            if starter.hear()? == "owner" {
                owners.push(number);
            }
        }
        if let Some((listener, file)) = holder {
            live += 1;
            let same = fs::symlink_metadata(&path).is_ok_and(|file| file.ino() == before);
            let reached = UnixStream::connect(path.as_path()).is_ok();
            live_lost += usize::from(!same || !reached || !owners.is_empty());
            drop((file, listener));
        } else {
            dead += 1;
            no_owner += usize::from(owners.is_empty());
            two_owners += usize::from(owners.len() > 1);
            if let [owner] = owners[..] {
                of_each[owner] += 1;
                wrong_owner += usize::from(who_answers(&path)? != starters[owner].child.id());
            }
        }
        for starter in &mut starters {
            starter.say("stop")?;
        }
        for starter in &mut starters {
            starter.hear()?;
        }
    }
    let all = format!("{dead} starts");
    let both = of_each.iter().all(|count| *count > 0);
    table.row(
        "two start over a dead file: both had it",
        two_owners,
        format!("0 of {all}"),
        two_owners == 0,
    );
    table.row("neither had it", no_owner, format!("0 of {all}"), no_owner == 0);
    table.row(
        "another answers than who has it",
        wrong_owner,
        format!("0 of {all}"),
        wrong_owner == 0,
    );
    let share = format!("{} and {}", of_each[0], of_each[1]);
    table.row("each had it at times: it was a race", share, "both above 0", both);
    table.row(
        "a live socket was removed",
        live_lost,
        format!("0 of {live} starts"),
        live_lost == 0,
    );
    let took = began.elapsed();
    table.row("time", format!("{took:.1?}"), "120 s", took < Duration::from_secs(120));
    starters.into_iter().try_for_each(Role::end)
}

fn replace_stale() -> SocketFileOptions {
    SocketFileOptions::new().existing(Existing::ReplaceStale)
}

/// The file of a server that was killed.
fn leave_behind(path: &Path) -> Outcome<()> {
    let (listener, file) = UnixListener::bind_file(path, &replace_stale())?;
    file.keep();
    drop(listener);
    Ok(())
}

fn who_answers(path: &Path) -> Outcome<u32> {
    let mut client = UnixStream::connect(path)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"who?\n")?;
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line)?;
    Ok(line.trim().parse()?)
}

/// Starts and stops a server as it is told, on one engine after the other.
fn start(path: &Path) -> Outcome<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut server: Option<ServerHandle> = None;
    let mut engines = AnyEngine::all().into_iter().cycle();
    for line in io::stdin().lines() {
        let line = line?;
        match line.as_str() {
            "stop" => {
                if let Some(server) = server.take() {
                    server.stop(PATIENCE);
                    server.join()?;
                }
                println!("stopped");
            }
            mode => {
                let mode = u32::from_str_radix(mode, 8).unwrap_or(0o600);
                let started = Server::unix(path)
                    .socket_files(replace_stale().mode(mode))
                    .engine(engines.next().ok_or("there are engines")?)
                    .codec(Lines::default())
                    .serve(|_, cx| cx.send(&std::process::id().to_string()));
                match started {
                    Ok(started) => {
                        server = Some(started);
                        println!("owner");
                    }
                    Err(error) if error.kind() == sockeye::ErrorKind::AddressInUse => {
                        println!("refused")
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

// ---- Somebody else ------------------------------------------------------------------------------

fn strangers(dir: &Dir, table: &mut Table) -> Outcome<()> {
    let kinds = ["stream", "datagram"].map(|kind| [(kind, 0o600), (kind, 0o666)]);
    for (kind, mode) in kinds.into_iter().flatten() {
        let path = dir.0.join(format!("{kind}-{mode:o}"));
        let mut stranger = Role::begin(dir, "hammer", &path, Some(NOBODY))?;
        let mut starter = Role::begin(dir, "start", &path, None)?;
        stranger.hear()?;
        // With the mask of the starter; the datagram socket is this process's own.
        let mask = rustix::process::umask(rustix::fs::Mode::empty());
        let (mut starts, began) = (0, Instant::now());
        // A thousand are over before the other process has had its turn.
        while starts < STARTS || began.elapsed() < Duration::from_secs(2) {
            starts += 1;
            if kind == "stream" {
                starter.say(&format!("{mode:o}"))?;
                starter.hear()?;
                starter.say("stop")?;
                starter.hear()?;
            } else {
                drop(UnixDatagram::bind_file(&path, &replace_stale().mode(mode))?);
            }
        }
        rustix::process::umask(mask);
        stranger.say("enough")?;
        let (heard, mut counts) = (stranger.hear()?, Vec::new());
        for count in heard.split(' ') {
            counts.push(count.parse::<u64>()?);
        }
        let [tried, refused, admitted] = counts[..] else { return Err("three counts".into()) };
        let what =
            format!("another user, {starts} starts of a {kind} socket with mode {mode:o}: got in");
        if mode == 0o600 {
            table.row(&what, admitted, format!("0 of {tried} tries"), admitted == 0);
            table.row("was refused by the mode", refused, "above 0: it was there", refused > 0);
        } else {
            table.row(&what, admitted, "above 0: it would have", admitted > 0);
        }
        stranger.end()?;
        starter.end()?;
    }
    Ok(())
}

/// Connects without end, and says at the end how often it tried, was refused and got in.
fn hammer(path: &Path) -> Outcome<()> {
    let enough = std::thread::spawn(|| io::stdin().read_line(&mut String::new()));
    println!("ready");
    let (mut tried, mut refused, mut admitted) = (0_u64, 0_u64, 0_u64);
    let address = socket2::SockAddr::unix(path)?;
    while !enough.is_finished() {
        for kind in [socket2::Type::STREAM, socket2::Type::DGRAM] {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, kind, None)?;
            socket.set_nonblocking(true)?;
            tried += 1;
            match socket.connect(&address) {
                // A full backlog would have let it in later.
                Ok(()) => admitted += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => admitted += 1,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
                Err(_) => {}
            }
        }
    }
    println!("{tried} {refused} {admitted}");
    Ok(())
}

// ---- Messages with descriptors ------------------------------------------------------------------

fn messages(dir: &Dir, table: &mut Table) -> Outcome<()> {
    for engine in AnyEngine::all() {
        for transport in ["unix", "unix+seqpacket"] {
            for pass in [true, false] {
                let before = open_descriptors()?;
                let path = dir.0.join("messages");
                let server = Server::on(format!("{transport}://{}", path.display()))
                    .engine(engine.clone())
                    .descriptors(pass)
                    .codec(Lines::default())
                    .serve(|line: &str, cx: &mut Context<'_, Lines>| {
                        // Every second time they are left where they are.
                        if line == "take" {
                            let count = cx.take_descriptors().into_iter().count();
                            cx.send(&format!("took {count}"));
                        } else {
                            cx.send("left");
                        }
                    })?;
                let took = talk(&path, transport)?;
                server.stop(PATIENCE);
                server.join()?;
                drop(server);
                let after = open_descriptors()?;
                let what = format!(
                    "{engine}, {transport}, passing {}: descriptors open after {MESSAGES} messages",
                    if pass { "on" } else { "off" }
                );
                table.row(&what, after, before, after == before);
                let expected = if pass { MESSAGES / 2 * 3 } else { 0 };
                table.row("of which handlers took", took, expected, took == expected);
            }
        }
    }
    Ok(())
}

/// Sends messages with three descriptors each; how many were taken.
fn talk(path: &Path, transport: &str) -> Outcome<usize> {
    let null = File::open("/dev/null")?;
    let lent: [BorrowedFd<'_>; 3] = [null.as_fd(); 3];
    let (mut taken, mut answer) = (0, [0; 64]);
    let mut count = |answer: &[u8]| {
        let answer = String::from_utf8_lossy(answer);
        let number = answer.trim().strip_prefix("took ").and_then(|count| count.parse().ok());
        taken += number.unwrap_or(0);
    };
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    if transport == "unix" {
        let client = UnixStream::connect(path)?;
        client.set_read_timeout(Some(PATIENCE))?;
        for number in 0..MESSAGES {
            let line: &[u8] = if number % 2 == 0 { b"take\n" } else { b"leave\n" };
            match client.send_with_descriptors(line, &lent) {
                Ok(_) => {}
                // Told by the kernel that none are taken.
                Err(error) if refused(&error) => (&client).write_all(line)?,
                Err(error) => return Err(error.into()),
            }
            let length = (&client).read(&mut answer)?;
            count(&answer[..length]);
        }
    } else {
        let client = UnixSeqPacket::connect(path)?;
        client.set_read_timeout(Some(PATIENCE))?;
        for number in 0..MESSAGES {
            let line: &[u8] = if number % 2 == 0 { b"take" } else { b"leave" };
            match client.send_with_descriptors(line, &lent) {
                Ok(_) => {}
                Err(error) if refused(&error) => drop(client.send(line)?),
                Err(error) => return Err(error.into()),
            }
            let length = client.recv(&mut answer)?.ok_or("the server has closed")?.len;
            count(&answer[..length]);
        }
    }
    Ok(taken)
}

fn open_descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

// ---- Processes ----------------------------------------------------------------------------------

/// Another process of this program.
struct Role {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Role {
    fn begin(dir: &Dir, role: &str, path: &Path, uid: Option<u32>) -> Outcome<Role> {
        let mut command = Command::new(dir.program()?);
        command.args(["unix_start", role]).arg(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("a pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("a pipe")?);
        Ok(Role { child, input, output })
    }

    fn say(&mut self, line: &str) -> Outcome<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    fn hear(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process of the proof has ended early".into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    fn end(mut self) -> Outcome<()> {
        drop(self.input);
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err("a process of the proof has failed".into()),
        }
    }
}

/// A directory that every user can look into, with this program in it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Outcome<Dir> {
        let dir = Dir(std::env::temp_dir().join(format!("sockeye-proof-{}", std::process::id())));
        fs::create_dir(&dir.0)?;
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755))?;
        Ok(dir)
    }

    fn program(&self) -> Outcome<PathBuf> {
        let program = self.0.join("proofs");
        if !program.exists() {
            fs::copy(std::env::current_exe()?, &program)?;
        }
        Ok(program)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For the last line of the gate.
fn note_not_run() -> io::Result<()> {
    let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") else { return Ok(()) };
    writeln!(File::options().append(true).create(true).open(path)?, "unix_start: another user")
}
