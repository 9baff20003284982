//! Socket files: their mode and owner, what becomes of a file that is there already, and their removal.
//!
//! Who may connect to a Unix socket is what the mode of its file says, and a server that died leaves its
//! file behind. Both are settled without a moment in which somebody gets in or loses a live socket; how, is
//! in `bind`.

mod bind;

pub(super) use bind::set_first_mode;

use super::{Listener, Options, Socket};
use crate::addr::{Connected, Datagram, SocketType, Supports, Unix, UnixAddr};
use crate::sys::files::{Directory, Found};
use bind::{Lock, PATIENCE_TO_REMOVE, bind};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

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
    /// A live one is replaced too, in one step: a client meets the old server or the new one. Let the old
    /// one listen a moment longer, for who has just found it. It keeps the connections that it has, and
    /// its file is not missed when it stops.
    ///
    /// The kernel then knows the new socket by a name that is gone (`.` and a number), and says it for its
    /// address: to `local_addr`, to clients, and as the sender of datagrams.
    Replace,
}

/// How a socket file is made and what becomes of it.
///
/// For [`Server::socket_files`](crate::Server::socket_files) and
/// [`bind_file`](super::Socket::bind_file).
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
    /// [`bind_file`](Socket::bind_file) of listeners.
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
