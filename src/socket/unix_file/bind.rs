//! Making a socket file without a moment in which somebody gets in or loses a live socket.
//!
//! - **Mode.** The socket has at most 0600 before it is bound, so the file is made with that, less the
//!   umask. It is then given to its owner, then its exact mode, through a handle to the very inode, and
//!   only then listens. The umask of the process is never changed.
//! - **Dead or alive.** A file is dead if no socket is bound to its inode, which the kernel says when it is
//!   asked through a handle to that inode: no link is followed, and no listener sees a connection. A socket
//!   that is bound and does not listen yet counts as alive. A dead inode never comes to life, because
//!   every bind makes its own: what was found dead stays so.
//! - **One owner.** Between finding a file dead and removing it, another may have put a live one there. So
//!   whoever replaces or removes a file holds the lock of the directory (flock(2)) meanwhile. It leaves no
//!   file behind, and goes with the process that dies. Programs that remove files without asking are
//!   outside of this; nothing can be done about them.
//! - **Taking over** from a live server is one rename(2), of a socket that listens already.

use super::{Existing, SocketFile, SocketFileOptions};
use crate::addr::{AnyAddr, SocketType, UnixAddr};
use crate::socket::{Options, RawSocket, open};
use crate::sys::address;
use crate::sys::files::{Directory, Found, Kind};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// A socket bound to a file at this path, listening with this backlog if it has one.
pub(in crate::socket) fn bind(
    at: &UnixAddr,
    kind: SocketType,
    file: &SocketFileOptions,
    options: &Options,
    backlog: Option<i32>,
) -> io::Result<(RawSocket, SocketFile)> {
    let path = at.as_path().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let (locked, unlocked);
    let directory = match lock(parent, file.existing)? {
        Ok(lock) => {
            locked = lock;
            &locked.0
        }
        Err(directory) => {
            unlocked = directory;
            &unlocked
        }
    };
    let any = AnyAddr::Unix(at.clone());
    let raw = open::open(&any, kind, options)?;
    set_first_mode(&raw, file.mode & 0o600)?;
    let mut stand_in = None;
    for attempt in 0.. {
        match raw.bind(&address::to_sock_addr(&any)?) {
            Ok(()) => break,
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            // Others bind and go in between, all the time.
            Err(error) if attempt == ATTEMPTS_MAX => return Err(error),
            Err(_) => {}
        }
        if make_way(directory, name, file.existing)? == Way::Over {
            stand_in = Some(bind_beside(&raw, directory, parent)?);
            break;
        }
    }
    let made = stand_in.as_deref().unwrap_or(name);
    let found = directory.find(made)?.filter(|found| found.kind == Kind::Socket);
    let found = found.ok_or_else(|| lost(path))?;
    let mut made = SocketFile {
        path: path.to_owned(),
        directory: std::path::absolute(parent)?,
        name: made.to_owned(),
        device: found.device,
        inode: found.inode,
        keep: false,
    };
    // From here on an error removes what was made; but not while the lock is held, which that takes.
    let settled = settle(&raw, &found, file, backlog).and_then(|()| match stand_in {
        Some(_) => take_over(directory, &made.name, name),
        None => Ok(()),
    });
    if let Err(error) = settled {
        if directory.find(&made.name)?.is_some_and(|found| made.is(&found)) {
            directory.remove(&made.name)?;
        }
        made.keep = true;
        return Err(error);
    }
    made.name = name.to_owned();
    made.keep = file.keep;
    Ok((raw, made))
}

/// The directory, locked. Who replaces nothing can do without.
fn lock(parent: &Path, existing: Existing) -> io::Result<Result<Lock, Directory>> {
    let replaces = existing != Existing::Fail;
    let directory = match Directory::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !replaces => {
            return Directory::open_unread(parent).map(Err);
        }
        directory => directory?,
    };
    let patience = if replaces { PATIENCE_TO_REPLACE } else { PATIENCE_TO_BIND };
    match Lock::take(directory, patience)? {
        Err(_) if replaces => {
            let text =
                "somebody keeps the lock of the directory (flock): nothing in it is replaced";
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        lock => Ok(lock),
    }
}

/// The mode that the file is made with, less the umask: nobody else can connect at any instant.
pub(in crate::socket) fn set_first_mode(raw: &RawSocket, mode: u32) -> io::Result<()> {
    let socket = fs::File::from(raw.as_fd().try_clone_to_owned()?);
    socket.set_permissions(fs::Permissions::from_mode(mode))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There is no file, or there was none for a moment.
    Free,
    /// A live socket is there, and is to be replaced.
    Over,
}

/// Removes a dead socket, if it may go.
fn make_way(directory: &Directory, name: &OsStr, existing: Existing) -> io::Result<Way> {
    let Some(found) = directory.find(name)? else { return Ok(Way::Free) };
    let in_use = |what: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    match found.kind {
        Kind::Socket => {}
        Kind::Symlink => {
            return in_use("a symbolic link is there: it is neither followed nor replaced");
        }
        Kind::Directory => return in_use("a directory is there, which is never replaced"),
        Kind::Other => return in_use("a file that is no socket is there, which is never replaced"),
    }
    match (existing, is_alive(directory, name, &found)) {
        (Existing::Fail | Existing::ReplaceStale, Ok(true)) => {
            in_use("a live socket is there: somebody is bound to it")
        }
        (Existing::Fail, Ok(false)) => in_use(
            "a dead socket is there: nobody is bound to it, it is left over; \
             Existing::ReplaceStale would replace it",
        ),
        (Existing::Replace, Ok(true) | Err(_)) => Ok(Way::Over),
        (Existing::ReplaceStale | Existing::Replace, Ok(false)) => {
            // Ours are kept out by the lock; another program may have been quicker.
            let same = |now: &Found| (now.device, now.inode) == (found.device, found.inode);
            if directory.find(name)?.is_some_and(|now| same(&now)) {
                directory.remove(name)?;
            }
            Ok(Way::Free)
        }
        (_, Err(error)) => {
            in_use(&format!("a socket is there that cannot be asked whether it is alive: {error}"))
        }
    }
}

fn is_alive(directory: &Directory, name: &OsStr, found: &Found) -> io::Result<bool> {
    if found.is_bound()? {
        return Ok(true);
    }
    // The file of a bind is there an instant before its socket is found by it. Once that bind is through,
    // the answer is final.
    directory.pass(name);
    found.is_bound()
}

/// Binds to a new name in the directory, to be renamed.
fn bind_beside(raw: &RawSocket, directory: &Directory, parent: &Path) -> io::Result<OsString> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for number in 0..BESIDE_MAX {
        let name = format!(".{:x}-{number:x}", std::process::id());
        let path = parent.join(&name);
        // The path of the socket may be as long as paths can be, and its name shorter than this one.
        let at = UnixAddr::from_path(path)
            .or_else(|_| UnixAddr::from_path(directory.short_path(&name)))?;
        match raw.bind(&address::to_sock_addr(&AnyAddr::Unix(at))?) {
            Ok(()) => return Ok(name.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Gives the file its owner, then its mode, and only then listens.
fn settle(
    raw: &RawSocket,
    found: &Found,
    file: &SocketFileOptions,
    backlog: Option<i32>,
) -> io::Result<()> {
    let gives_away = file.owner.is_some() || file.group.is_some();
    if gives_away {
        found.set_owner(file.owner, file.group)?;
    }
    if gives_away || found.mode != file.mode {
        found.set_mode(file.mode)?;
    }
    match backlog {
        Some(backlog) => raw.listen(backlog),
        None => Ok(()),
    }
}

/// Puts the new file in the place of a socket.
fn take_over(directory: &Directory, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match directory.find(to)? {
        Some(found) if found.kind != Kind::Socket => {
            let text = "a file that is no socket has come there, which is never replaced";
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        _ => directory.rename(from, to),
    }
}

fn lost(path: &Path) -> io::Error {
    let text = format!("{} was removed or replaced while it was made", path.display());
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// A directory whose lock is ours.
pub(super) struct Lock(pub(super) Directory);

impl Lock {
    /// The directory comes back if somebody else keeps the lock for so long.
    pub(super) fn take(
        directory: Directory,
        patience: Duration,
    ) -> io::Result<Result<Lock, Directory>> {
        let until = Instant::now() + patience;
        while !directory.try_lock()? {
            if Instant::now() >= until {
                return Ok(Err(directory));
            }
            // It is held for as long as a few system calls take. A lock that waits has no deadline.
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Ok(Lock(directory)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// How long to wait for the lock of a directory, which is held for microseconds unless somebody means harm
/// or has it for purposes of their own.
const PATIENCE_TO_REPLACE: Duration = Duration::from_secs(5);
/// Who only makes a file goes on without it.
const PATIENCE_TO_BIND: Duration = Duration::from_millis(100);
/// Who only removes one leaves it.
pub(super) const PATIENCE_TO_REMOVE: Duration = Duration::from_secs(1);

/// How often a file may appear again in the moment after it was found dead and removed.
const ATTEMPTS_MAX: u32 = 16;

/// Names beside the socket's that are tried.
const BESIDE_MAX: u32 = 64;
