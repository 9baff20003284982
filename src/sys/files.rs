//! Socket files, seen from the directory that they are in: nothing here follows a symbolic link at the
//! name itself, and what is asked of a file is asked of the very inode that was found.

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// What is at a name, held so that it stays the same inode.
#[derive(Debug)]
pub(crate) struct Found {
    handle: OwnedFd,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Permissions, without the type.
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Socket,
    Symlink,
    Directory,
    Other,
}

impl Directory {
    /// Opens it for reading, which is what a lock needs.
    pub(crate) fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(fs::open(path, flags, Mode::empty())?))
    }

    /// The same without the right to read it: it cannot be locked.
    pub(crate) fn open_unread(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(fs::open(path, flags, Mode::empty())?))
    }

    /// Takes the directory's lock if nobody has it: flock(2). It goes with [`unlock`](Self::unlock), or
    /// with the last descriptor.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match fs::flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives it back, whether or not a child has a copy of the descriptor still.
    pub(crate) fn unlock(&self) {
        let _ = fs::flock(&self.0, FlockOperation::Unlock);
    }

    /// What is at this name, if anything is.
    pub(crate) fn find(&self, name: &OsStr) -> io::Result<Option<Found>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = fs::fstat(&handle)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Kind::Socket,
            FileType::Symlink => Kind::Symlink,
            FileType::Directory => Kind::Directory,
            _ => Kind::Other,
        };
        let (device, inode, mode) = (stat.st_dev as u64, stat.st_ino as u64, stat.st_mode & 0o7777);
        Ok(Some(Found { handle, device, inode, mode, kind }))
    }

    /// Comes back when nobody is in the middle of making this name: the kernel makes names one at a
    /// time. Changes nothing, because the name exists: it is what the link would be.
    pub(crate) fn pass(&self, name: &OsStr) {
        let _ = fs::linkat(&self.0, name, &self.0, name, AtFlags::empty());
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Gives a file another name, in place of the file that had it.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// A short path to a name in here, for as long as this is open.
    pub(crate) fn short_path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd())
    }
}

impl Found {
    /// Whether a socket is bound to this file, listening or not. A file of which none is will never have
    /// one again: every bind makes its own.
    ///
    /// Asked with a datagram socket, which a listener takes no notice of: it is refused for its type if
    /// there is a socket of another, and for want of one if there is none.
    pub(crate) fn is_bound(&self) -> io::Result<bool> {
        use rustix::net::{connect, socket_with};
        let asks = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, asks, None)?;
        let at = SocketAddrUnix::new(self.path())?;
        match connect(&socket, &at) {
            Err(Errno::CONNREFUSED) => Ok(false),
            // Of another type; or a datagram socket, which may be connected elsewhere or full.
            Ok(()) | Err(Errno::PROTOTYPE | Errno::PERM | Errno::AGAIN) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever is to have the file; what is not said stays.
    pub(crate) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(fs::chownat(self.handle.as_fd(), "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Exactly this mode, whatever the umask.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        Ok(fs::chmodat(fs::CWD, self.path(), mode, AtFlags::empty())?)
    }

    /// A path to this inode, wherever its name is now.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }
}
