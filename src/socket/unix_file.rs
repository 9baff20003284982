//! Socket files: their mode and owner, what becomes of a file that is there already, and their removal.
//!
//! Who may connect to a Unix socket is what the mode of its file says, and a server that died leaves its
//! file behind. Both are settled here without a moment in which somebody gets in or loses a live socket:
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

use super::{Listener, Options, RawSocket, Socket, open};
use crate::addr::{AnyAddr, Connected, Datagram, SocketType, Supports, Unix, UnixAddr};
use crate::sys::address;
use crate::sys::files::{Directory, Found, Kind};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of a file that is at the path already.
///
/// Only a socket is ever replaced: never a plain file, a directory or a symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Existing {
    /// It stays: an error (`AddrInUse`) that says what it is.
    #[default]
    Fail,
    /// A socket to which nobody is bound, as one that died leaves behind, is replaced. A live one is an
    /// error: of two that start at once over one such file, one has it.
    ReplaceStale,
    /// A live one is replaced too, in one step: a client meets the old server or the new one. The old one
    /// keeps the connections that it has, and its file is not missed when it stops.
    ///
    /// The kernel then knows the new socket by a name that is gone (`.` and a number), and says it for its
    /// address: to `local_addr`, to clients, and as the sender of datagrams.
    Replace,
}

/// How a socket file is made and what becomes of it.
///
/// For [`Server::socket_files`](crate::Server::socket_files) and
/// [`bind_file`](super::Socket::<crate::addr::Unix, crate::addr::Datagram>::bind_file).
///
/// ```
/// use sockeye::socket::{Existing, SocketFileOptions, UnixListener, UnixStream};
///
/// # let directory = std::env::temp_dir().join(format!("sockeye-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("app.sock");
/// let options = SocketFileOptions::new().mode(0o660).existing(Existing::ReplaceStale);
/// let (listener, file) = UnixListener::bind_file(&path, &options)?;
/// let _client = UnixStream::connect(path.as_path())?;
/// let (_stream, _) = listener.accept()?;
/// drop(file); // and the file is gone
/// assert!(!path.exists());
/// # std::fs::remove_dir(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct SocketFileOptions {
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
    existing: Existing,
    keep: bool,
}

impl SocketFileOptions {
    /// Mode 0600, the owner and group that the system gives, [`Existing::Fail`], and removed in the end.
    pub fn new() -> SocketFileOptions {
        SocketFileOptions {
            mode: 0o600,
            owner: None,
            group: None,
            existing: Existing::Fail,
            keep: false,
        }
    }

    /// Who may connect: whoever may write. Exactly this mode, whatever the umask: 0o600 for the owner
    /// (default), 0o660 for a group as well, 0o666 for everybody. Bits beyond 0o777 do not count.
    pub fn mode(mut self, mode: u32) -> SocketFileOptions {
        self.mode = mode & 0o777;
        self
    }

    /// The user who has the file, by number. To give it away takes root, or `CAP_CHOWN`.
    pub fn owner(mut self, uid: u32) -> SocketFileOptions {
        self.owner = Some(uid);
        self
    }

    /// The group that has the file, by number: one of the process's own, unless it is root.
    pub fn group(mut self, gid: u32) -> SocketFileOptions {
        self.group = Some(gid);
        self
    }

    /// What becomes of a file that is there already; [`Existing::Fail`] by default.
    ///
    /// To replace one, the directory must be readable: it is locked for a moment, and the start fails
    /// (`TimedOut`) if somebody else keeps the lock for five seconds.
    pub fn existing(mut self, existing: Existing) -> SocketFileOptions {
        self.existing = existing;
        self
    }

    /// Leaves the file where it is in the end; off by default.
    pub fn keep(mut self, keep: bool) -> SocketFileOptions {
        self.keep = keep;
        self
    }
}

impl Default for SocketFileOptions {
    fn default() -> SocketFileOptions {
        SocketFileOptions::new()
    }
}

/// The file of a socket that was bound. Dropped, it removes the file, if that is still the one that was
/// made: one that has taken its place stays, and one that is gone already is no error.
///
/// Keep it as long as the socket, and drop it first: nobody then finds a file of which nobody listens.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    directory: PathBuf,
    name: OsString,
    device: u64,
    inode: u64,
    keep: bool,
}

impl SocketFile {
    /// Where it is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is.
    pub fn keep(mut self) {
        self.keep = true;
    }

    fn is(&self, found: &Found) -> bool {
        (found.device, found.inode) == (self.device, self.inode)
    }

    fn remove(&self) -> io::Result<()> {
        let directory = match Directory::open(&self.directory) {
            Ok(directory) => match Lock::take(directory, PATIENCE_TO_REMOVE)? {
                Ok(lock) => Some(lock),
                // It is better left behind than taken from another.
                Err(_) => return Ok(()),
            },
            // Who may not lock it may not replace anything in it either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error),
        };
        let unread;
        let directory = match &directory {
            Some(lock) => &lock.0,
            None => {
                unread = Directory::open_unread(&self.directory)?;
                &unread
            }
        };
        match directory.find(&self.name)? {
            Some(found) if self.is(&found) => directory.remove(&self.name),
            _ => Ok(()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.keep {
            // There is nobody to tell; what is left behind is dead.
            let _ = self.remove();
        }
    }
}

impl<K: Connected> Listener<Unix, K>
where
    Unix: Supports<K>,
{
    /// Listens at a path, with a file that has a mode, an owner and an end: `socket(2)`, `bind(2)`,
    /// `chmod(2)` if need be, `listen(2)`. Does not block, unless the lock of the directory is held:
    /// see [`SocketFileOptions::existing`].
    ///
    /// The file is removed when the [`SocketFile`] is dropped.
    ///
    /// # Errors
    ///
    /// The path is too long or is none (`InvalidInput`); something is there that is not to be replaced
    /// (`AddrInUse`, and the text says what); the directory does not exist (`NotFound`), may not be
    /// written (`PermissionDenied`), or its lock is held (`TimedOut`).
    pub fn bind_file(
        path: impl AsRef<Path>,
        file: &SocketFileOptions,
    ) -> io::Result<(Self, SocketFile)> {
        Self::bind_file_with(path, file, &Options::new())
    }

    /// [`bind_file`](Self::bind_file) with [`Options`].
    ///
    /// # Errors
    ///
    /// As there; the kernel refuses an option.
    pub fn bind_file_with(
        path: impl AsRef<Path>,
        file: &SocketFileOptions,
        options: &Options,
    ) -> io::Result<(Self, SocketFile)> {
        let at = UnixAddr::from_path(path)?;
        let (raw, file) = bind(&at, K::TYPE, file, options, Some(i32::MAX))?;
        Ok((Self::from_raw(raw), file))
    }
}

impl Socket<Unix, Datagram> {
    /// A socket at a path, with a file that has a mode, an owner and an end: as
    /// [`bind_file`](Listener::<Unix>::bind_file) of listeners.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// ```
    /// use sockeye::socket::{SocketFileOptions, UnixDatagram};
    /// # let path = std::env::temp_dir().join(format!("sockeye-doc-dgram-{}", std::process::id()));
    /// let (log, file) = UnixDatagram::bind_file(&path, &SocketFileOptions::new().mode(0o622))?;
    /// # drop((file, log));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_file(
        path: impl AsRef<Path>,
        file: &SocketFileOptions,
    ) -> io::Result<(Self, SocketFile)> {
        Self::bind_file_with(path, file, &Options::new())
    }

    /// [`bind_file`](Self::bind_file) with [`Options`].
    ///
    /// # Errors
    ///
    /// As there; the kernel refuses an option.
    pub fn bind_file_with(
        path: impl AsRef<Path>,
        file: &SocketFileOptions,
        options: &Options,
    ) -> io::Result<(Self, SocketFile)> {
        let at = UnixAddr::from_path(path)?;
        let (raw, file) = bind(&at, SocketType::Datagram, file, options, None)?;
        Ok((Self::from_raw(raw), file))
    }
}

/// A directory whose lock is ours.
struct Lock(Directory);

impl Lock {
    /// The directory comes back if somebody else keeps the lock for so long.
    fn take(directory: Directory, patience: Duration) -> io::Result<Result<Lock, Directory>> {
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

/// A socket bound to a file at this path, listening with this backlog if it has one.
pub(super) fn bind(
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
pub(super) fn set_first_mode(raw: &RawSocket, mode: u32) -> io::Result<()> {
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

/// How long to wait for the lock of a directory, which is held for microseconds unless somebody means harm
/// or has it for purposes of their own.
const PATIENCE_TO_REPLACE: Duration = Duration::from_secs(5);
/// Who only makes a file goes on without it.
const PATIENCE_TO_BIND: Duration = Duration::from_millis(100);
/// Who only removes one leaves it.
const PATIENCE_TO_REMOVE: Duration = Duration::from_secs(1);

/// How often a file may appear again in the moment after it was found dead and removed.
const ATTEMPTS_MAX: u32 = 16;

/// Names beside the socket's that are tried.
const BESIDE_MAX: u32 = 64;
