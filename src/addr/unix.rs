//! Unix addresses, in every form that the kernel knows.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;

use super::{ParseEndpointError, Part, parse};

/// A Unix address: a path, an abstract name, or none.
///
/// 16 bytes; clones share what they point to. Unlike a path, it is known to fit: nothing is ever
/// cut to make it fit.
///
/// Prints percent-encoded, as in an [`Endpoint`](super::Endpoint): a path as `/run/app`, an
/// abstract name as `@app`, an unnamed address as `(unnamed)`, which does not parse.
///
/// ```
/// use sockeye::UnixAddr;
/// use std::path::Path;
/// let addr = UnixAddr::from_path("/run/app.sock")?;
/// assert_eq!(addr.as_path(), Some(Path::new("/run/app.sock")));
/// assert!(UnixAddr::from_path("x".repeat(108)).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
// The bytes are those of `sun_path` without the final NUL: a leading NUL means an abstract name,
// no bytes at all (`None`, so that unnamed peers, the common ones, allocate nothing) unnamed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixAddr(Option<Arc<[u8]>>);

/// Bytes of `sun_path`, the field of `sockaddr_un`: 108 on Linux, 104 on the BSDs and macOS.
const SUN_PATH_BYTES: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 108 } else { 104 };

impl UnixAddr {
    /// The longest path and the longest abstract name, in bytes: 107 on Linux.
    ///
    /// A path ends with a NUL and an abstract name begins with one; it is not counted here.
    pub const BYTES_MAX: usize = SUN_PATH_BYTES - 1;

    /// The address of the socket file at `path`, absolute or relative to the working directory.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the path is empty, holds a NUL, or is longer than
    /// [`BYTES_MAX`](Self::BYTES_MAX).
    pub fn from_path(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::path_from_bytes(path.as_ref().as_os_str().as_bytes())?)
    }

    /// The abstract address `name`, given without its leading NUL; it may hold any bytes.
    ///
    /// Abstract names have no file, live in a network namespace, vanish with their socket, and know
    /// no permissions: every process in the namespace may connect. Linux only.
    ///
    /// ```
    /// use sockeye::UnixAddr;
    /// let addr = UnixAddr::from_abstract("app")?;
    /// assert_eq!(addr.as_abstract_name(), Some(&b"app"[..]));
    /// assert_eq!(addr.to_string(), "@app");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the name is longer than [`BYTES_MAX`](Self::BYTES_MAX); `Unsupported` on
    /// systems without abstract names. An empty name is a name: the kernel takes it.
    pub fn from_abstract(name: impl AsRef<[u8]>) -> io::Result<Self> {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self::abstract_from_bytes(name.as_ref())?)
    }

    /// The address of a socket that was never bound.
    ///
    /// Most clients have it. Nothing can be sent to it; binding to it lets Linux choose an abstract
    /// name.
    pub const fn unnamed() -> Self {
        UnixAddr(None)
    }

    /// The address that the kernel reports in `sun_path`, cut to the reported length.
    ///
    /// Nothing is unnamed, a leading NUL begins an abstract name, all else is a path up to its NUL.
    /// Takes one byte more of path than [`from_path`](Self::from_path): programs in C can bind a
    /// path that fills `sun_path` with no room for the NUL, and such a peer has a name too.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there are more bytes than `sun_path` and a NUL hold.
    pub fn from_sun_path(bytes: &[u8]) -> io::Result<Self> {
        let name = match bytes.first() {
            None => return Ok(Self::unnamed()),
            Some(0) => bytes,
            Some(_) => bytes.split(|&byte| byte == 0).next().unwrap_or(bytes),
        };
        if name.len() > SUN_PATH_BYTES {
            return Err(too_long(bytes).into());
        }
        Ok(UnixAddr(Some(name.into())))
    }

    /// The path, if the address has one.
    pub fn as_path(&self) -> Option<&Path> {
        match self.sun_path() {
            [] | [0, ..] => None,
            path => Some(Path::new(OsStr::from_bytes(path))),
        }
    }

    /// The abstract name without its leading NUL, if the address is abstract.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match self.sun_path() {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// Whether the address has neither path nor name.
    pub fn is_unnamed(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn path_from_bytes(path: &[u8]) -> Result<Self, ParseEndpointError> {
        let expected = if path.is_empty() {
            "a path, or `@` and an abstract name"
        } else if path.contains(&0) {
            "a path without NUL bytes"
        } else if path.len() > Self::BYTES_MAX {
            return Err(too_long(path));
        } else {
            return Ok(UnixAddr(Some(path.into())));
        };
        Err(ParseEndpointError::new(Part::Path, &String::from_utf8_lossy(path), expected))
    }

    pub(super) fn abstract_from_bytes(name: &[u8]) -> Result<Self, ParseEndpointError> {
        if name.len() > Self::BYTES_MAX {
            return Err(too_long(name));
        }
        let sun_path: Arc<[u8]> = std::iter::once(0).chain(name.iter().copied()).collect();
        Ok(UnixAddr(Some(sun_path)))
    }

    fn sun_path(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

fn too_long(bytes: &[u8]) -> ParseEndpointError {
    let max = UnixAddr::BYTES_MAX;
    let expected = format!("at most {max} bytes, not {}", bytes.len());
    ParseEndpointError::new(Part::Path, &String::from_utf8_lossy(bytes), expected)
}

impl fmt::Display for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sun_path() {
            [] => f.write_str(parse::UNNAMED),
            [0, name @ ..] => {
                f.write_str("@")?;
                parse::percent_encode(name, f)
            }
            // An `@` of the path itself, in front, must not look like an abstract name.
            [b'@', rest @ ..] => {
                f.write_str("%40")?;
                parse::percent_encode(rest, f)
            }
            path => parse::percent_encode(path, f),
        }
    }
}

impl fmt::Debug for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixAddr({self})")
    }
}

impl TryFrom<&net::SocketAddr> for UnixAddr {
    type Error = io::Error;

    /// # Errors
    ///
    /// `InvalidInput` for an address of a form that std does not show.
    fn try_from(addr: &net::SocketAddr) -> io::Result<Self> {
        if let Some(path) = addr.as_pathname() {
            return Self::from_sun_path(path.as_os_str().as_bytes());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = abstract_name_of(addr) {
            return Self::from_abstract(name);
        }
        if addr.is_unnamed() {
            return Ok(Self::unnamed());
        }
        Err(io::ErrorKind::InvalidInput.into())
    }
}

impl TryFrom<net::SocketAddr> for UnixAddr {
    type Error = io::Error;

    fn try_from(addr: net::SocketAddr) -> io::Result<Self> {
        Self::try_from(&addr)
    }
}

#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name_of(addr: &net::SocketAddr) -> Option<&[u8]> {
    addr.as_abstract_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_up_to_the_last_byte_and_are_never_cut() {
        let longest = "x".repeat(UnixAddr::BYTES_MAX);
        assert_eq!(UnixAddr::from_path(&longest).unwrap().as_path(), Some(Path::new(&longest)));
        let error = UnixAddr::from_path(longest + "x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("at most 107 bytes, not 108"), "{error}");
    }

    #[test]
    fn empty_paths_and_paths_with_nul_are_refused() {
        assert!(UnixAddr::from_path("").is_err());
        assert!(UnixAddr::from_path("/tmp/a\0b").is_err());
    }

    #[test]
    fn abstract_names_hold_any_bytes_up_to_the_limit() {
        let name = [0u8; UnixAddr::BYTES_MAX];
        assert_eq!(UnixAddr::from_abstract(name).unwrap().as_abstract_name(), Some(&name[..]));
        assert!(UnixAddr::from_abstract([0u8; UnixAddr::BYTES_MAX + 1]).is_err());
        assert_eq!(UnixAddr::from_abstract("").unwrap().as_abstract_name(), Some(&b""[..]));
    }

    #[test]
    fn what_the_kernel_reports_is_told_apart() {
        assert!(UnixAddr::from_sun_path(b"").unwrap().is_unnamed());
        let path = UnixAddr::from_sun_path(b"/a\0\0").unwrap();
        assert_eq!(path, UnixAddr::from_path("/a").unwrap());
        let name = UnixAddr::from_sun_path(b"\0a\0").unwrap();
        assert_eq!(name, UnixAddr::from_abstract(b"a\0").unwrap());
        assert!(UnixAddr::from_sun_path(&[b'x'; SUN_PATH_BYTES]).is_ok());
        assert!(UnixAddr::from_sun_path(&[b'x'; SUN_PATH_BYTES + 1]).is_err());
    }

    #[test]
    fn addresses_of_std_are_taken_over() {
        let (one, _other) = net::UnixStream::pair().unwrap();
        assert!(UnixAddr::try_from(one.local_addr().unwrap()).unwrap().is_unnamed());
        let path = net::SocketAddr::from_pathname("/run/x").unwrap();
        assert_eq!(UnixAddr::try_from(path).unwrap(), UnixAddr::from_path("/run/x").unwrap());
        #[cfg(target_os = "linux")]
        {
            let name = net::SocketAddr::from_abstract_name(b"n\0m").unwrap();
            let ours = UnixAddr::from_abstract(b"n\0m").unwrap();
            assert_eq!(UnixAddr::try_from(name).unwrap(), ours);
        }
    }
}
