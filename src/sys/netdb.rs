//! What libc knows about hosts and services beyond `getaddrinfo`: canonical names, aliases, reverse
//! records, `/etc/services`; and about [`interface`]s.
//!
//! The reentrant calls of `<netdb.h>`: each fills a buffer of the caller's and says `ERANGE` when it is
//! too small. What comes back is bytes, as files and name servers wrote them: callers check names before
//! they trust them. Only Linux has these calls in this form; elsewhere they are [`Unanswered::Absent`].

pub(crate) mod interface;

use std::io;
#[cfg(not(target_os = "linux"))]
use std::net::IpAddr;

/// `struct hostent`, without its addresses: those are `getaddrinfo`'s, which knows scope ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) aliases: Vec<Vec<u8>>,
}

/// `struct servent`, without its protocol: that is the one that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServiceEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) aliases: Vec<Vec<u8>>,
    pub(crate) port: u16,
}

/// Why there is no entry: the values of `h_errno`.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There is no such entry.
    NotFound,
    /// The name is there, without an address of this family.
    NoData,
    /// The name server did not answer, or was in trouble.
    TryAgain,
    /// The name server refused, or its answer is no good.
    NoRecovery,
    /// An error of the system.
    System(io::Error),
    /// This system does not have the call.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "made elsewhere only"))]
    Absent,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{host_by_address, host_by_name, service_by_name, service_by_port};

#[cfg(target_os = "linux")]
mod linux {
    use super::{HostEntry, ServiceEntry, Unanswered};
    use libc::{c_char, c_int, c_void, hostent, servent, size_t, socklen_t};
    use std::ffi::{CStr, CString};
    use std::io;
    use std::mem::MaybeUninit;
    use std::net::IpAddr;
    use std::ptr;

    // The same in glibc and musl; the libc crate has none of them.
    // SAFETY: the signatures are those of <netdb.h>.
    unsafe extern "C" {
        fn gethostbyname2_r(
            name: *const c_char,
            family: c_int,
            result: *mut hostent,
            buffer: *mut c_char,
            length: size_t,
            found: *mut *mut hostent,
            h_errno: *mut c_int,
        ) -> c_int;
        fn gethostbyaddr_r(
            address: *const c_void,
            address_length: socklen_t,
            family: c_int,
            result: *mut hostent,
            buffer: *mut c_char,
            length: size_t,
            found: *mut *mut hostent,
            h_errno: *mut c_int,
        ) -> c_int;
        fn getservbyname_r(
            name: *const c_char,
            protocol: *const c_char,
            result: *mut servent,
            buffer: *mut c_char,
            length: size_t,
            found: *mut *mut servent,
        ) -> c_int;
        fn getservbyport_r(
            port: c_int,
            protocol: *const c_char,
            result: *mut servent,
            buffer: *mut c_char,
            length: size_t,
            found: *mut *mut servent,
        ) -> c_int;
    }

    /// The names of a host: `gethostbyname2_r(3)`. Blocks as long as the resolver likes.
    pub(crate) fn host_by_name(name: &str, v6: bool) -> Result<HostEntry, Unanswered> {
        let name = c_string(name)?;
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let mut h_errno = 0;
        let entry = with_buffer(
            |result, at, length, found| {
                // SAFETY: `name` ends with a NUL; `result`, `found` and `h_errno` are places to write to,
                // and so are the `length` bytes at `at`. All outlive the call.
                unsafe {
                    gethostbyname2_r(name.as_ptr(), family, result, at, length, found, &mut h_errno)
                }
            },
            host_entry,
        );
        entry.map_err(|errno| host_unanswered(h_errno, errno))
    }

    /// The names of an address: `gethostbyaddr_r(3)`. Blocks as long as the resolver likes.
    pub(crate) fn host_by_address(ip: IpAddr) -> Result<HostEntry, Unanswered> {
        let (octets, family) = match ip {
            IpAddr::V4(ip) => (ip.octets().to_vec(), libc::AF_INET),
            IpAddr::V6(ip) => (ip.octets().to_vec(), libc::AF_INET6),
        };
        let mut h_errno = 0;
        let entry = with_buffer(
            |result, at, length, found| {
                let (from, size) = (octets.as_ptr().cast(), octets.len() as socklen_t);
                // SAFETY: `from` points to the `size` bytes that an address of `family` has; the rest is
                // as in `host_by_name`.
                unsafe {
                    gethostbyaddr_r(from, size, family, result, at, length, found, &mut h_errno)
                }
            },
            host_entry,
        );
        entry.map_err(|errno| host_unanswered(h_errno, errno))
    }

    /// A line of `/etc/services`, or of what stands in for it: `getservbyname_r(3)`.
    pub(crate) fn service_by_name(name: &str, protocol: &CStr) -> Result<ServiceEntry, Unanswered> {
        let name = c_string(name)?;
        let entry = with_buffer(
            |result, at, length, found| {
                // SAFETY: both strings end with a NUL; the rest is as in `host_by_name`.
                unsafe {
                    getservbyname_r(name.as_ptr(), protocol.as_ptr(), result, at, length, found)
                }
            },
            service_entry,
        );
        entry.map_err(service_unanswered)
    }

    /// The same by port: `getservbyport_r(3)`.
    pub(crate) fn service_by_port(port: u16, protocol: &CStr) -> Result<ServiceEntry, Unanswered> {
        let port = c_int::from(port.to_be());
        let entry = with_buffer(
            |result, at, length, found| {
                // SAFETY: `protocol` ends with a NUL; the rest is as in `host_by_name`.
                unsafe { getservbyport_r(port, protocol.as_ptr(), result, at, length, found) }
            },
            service_entry,
        );
        entry.map_err(service_unanswered)
    }

    /// Calls with ever larger buffers until one is large enough, and reads what was found; if that is
    /// nothing, the error is an `errno`, or 0.
    fn with_buffer<C, T>(
        mut call: impl FnMut(*mut C, *mut c_char, size_t, *mut *mut C) -> c_int,
        // SAFETY: a type alone; what it asks is that libc has filled the entry.
        read: unsafe fn(&C) -> T,
    ) -> Result<T, c_int> {
        let mut buffer = vec![0_u8; BUFFER_FIRST];
        loop {
            let mut result = MaybeUninit::<C>::zeroed();
            let mut found: *mut C = ptr::null_mut();
            let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
            let errno = call(result.as_mut_ptr(), at, length, &mut found);
            if errno == libc::ERANGE && buffer.len() < BUFFER_MAX {
                buffer.resize(buffer.len() * 4, 0);
                continue;
            }
            // SAFETY: null, or the place of `result`, which libc has filled.
            let entry = unsafe { found.as_ref() };
            // SAFETY: libc has just filled it, and what it points to is in `buffer`, which lives on.
            return entry.map(|entry| unsafe { read(entry) }).ok_or(errno);
        }
    }

    /// # Safety
    ///
    /// libc has filled the entry, and what it points to is alive.
    unsafe fn host_entry(entry: &hostent) -> HostEntry {
        // SAFETY: the pointers of an entry that libc has filled are a string and a list of strings.
        let (name, aliases) = unsafe { (string(entry.h_name), strings(entry.h_aliases)) };
        HostEntry { name, aliases }
    }

    /// # Safety
    ///
    /// libc has filled the entry, and what it points to is alive.
    unsafe fn service_entry(entry: &servent) -> ServiceEntry {
        // SAFETY: as in `host_entry`.
        let (name, aliases) = unsafe { (string(entry.s_name), strings(entry.s_aliases)) };
        ServiceEntry {
            name,
            aliases,
            port: u16::from_be(entry.s_port as u16), // an int whose lower half is in network order
        }
    }

    /// # Safety
    ///
    /// Null, or a string that ends with a NUL.
    unsafe fn string(at: *const c_char) -> Vec<u8> {
        if at.is_null() {
            return Vec::new();
        }
        // SAFETY: not null, so by this function's contract a string with its NUL.
        unsafe { CStr::from_ptr(at) }.to_bytes().to_vec()
    }

    /// A list of strings, as far as [`ALIASES_MAX`].
    ///
    /// # Safety
    ///
    /// Null, or a list of strings that ends with a null pointer.
    unsafe fn strings(list: *mut *mut c_char) -> Vec<Vec<u8>> {
        if list.is_null() {
            return Vec::new();
        }
        let mut strings = Vec::new();
        for index in 0..ALIASES_MAX {
            // SAFETY: no entry before this one was null, so the list goes on as far as here.
            let at = unsafe { *list.add(index) };
            if at.is_null() {
                break;
            }
            // SAFETY: an entry of the list, and so a string.
            strings.push(unsafe { string(at) });
        }
        strings
    }

    fn c_string(text: &str) -> Result<CString, Unanswered> {
        CString::new(text).map_err(|error| Unanswered::System(error.into()))
    }

    pub(super) fn host_unanswered(h_errno: c_int, errno: c_int) -> Unanswered {
        match h_errno {
            HOST_NOT_FOUND => Unanswered::NotFound,
            NO_DATA => Unanswered::NoData,
            TRY_AGAIN => Unanswered::TryAgain,
            NO_RECOVERY => Unanswered::NoRecovery,
            // Nothing found, and nothing wrong.
            _ if errno == 0 => Unanswered::NotFound,
            _ => Unanswered::System(io::Error::from_raw_os_error(errno)),
        }
    }

    /// A missing file says ENOENT, or something else: only what tells nothing of the service counts.
    fn service_unanswered(errno: c_int) -> Unanswered {
        let error = io::Error::from_raw_os_error(errno);
        match super::is_exhausted(&error) {
            true => Unanswered::System(error),
            false => Unanswered::NotFound,
        }
    }

    // From <netdb.h>.
    const HOST_NOT_FOUND: c_int = 1;
    const TRY_AGAIN: c_int = 2;
    const NO_RECOVERY: c_int = 3;
    const NO_DATA: c_int = 4;

    /// Enough for nearly every host.
    const BUFFER_FIRST: usize = 1024;
    /// More than the largest answer of DNS, 64 KiB, comes to.
    const BUFFER_MAX: usize = 1024 * 1024;
    /// More names than any host has in earnest.
    const ALIASES_MAX: usize = 64;
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn host_by_name(_name: &str, _v6: bool) -> Result<HostEntry, Unanswered> {
    Err(Unanswered::Absent)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn host_by_address(_ip: IpAddr) -> Result<HostEntry, Unanswered> {
    Err(Unanswered::Absent)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn service_by_name(
    _name: &str,
    _protocol: &std::ffi::CStr,
) -> Result<ServiceEntry, Unanswered> {
    Err(Unanswered::Absent)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn service_by_port(
    _port: u16,
    _protocol: &std::ffi::CStr,
) -> Result<ServiceEntry, Unanswered> {
    Err(Unanswered::Absent)
}

/// Whether the system had no descriptor or no memory left: such an answer says nothing of a name.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Before a call that may fail without setting `errno`: an old one is not to be taken for its.
pub(crate) fn clear_errno() {
    #[cfg(target_os = "linux")]
    // SAFETY: the place belongs to this thread, and is valid as long as it runs.
    unsafe {
        *libc::__errno_location() = 0;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_interior_nul_is_an_error_and_cuts_nothing() {
        assert!(matches!(host_by_name("localhost\0x", false), Err(Unanswered::System(_))));
        assert!(matches!(service_by_name("http\0x", c"tcp"), Err(Unanswered::System(_))));
    }

    #[test]
    fn nothing_wrong_is_no_error_of_the_system() {
        assert!(matches!(linux::host_unanswered(0, 0), Unanswered::NotFound));
        let Unanswered::System(error) = linux::host_unanswered(-1, libc::EMFILE) else {
            panic!("an errno is kept");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }

    #[test]
    fn unknown_services_are_not_found() {
        assert!(matches!(service_by_name("no-such-service", c"tcp"), Err(Unanswered::NotFound)));
        assert!(matches!(service_by_port(1, c"no-such-protocol"), Err(Unanswered::NotFound)));
    }
}
