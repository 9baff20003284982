//! A network of the test's own: a namespace with one link, on which nobody answers but this host.
//!
//! The namespace belongs to one thread, and to the threads and programs that it starts. Behind the link
//! are neighbours that are known and silent ([`SILENT_V4`], [`SILENT_V6`]): what is sent to them is
//! lost. It needs the right to make a namespace, and `ip`: where there is none, the test says so on
//! standard error, past what the harness captures, and counts it, also in the file `SOCKEYE_NOT_RUN`;
//! with `SOCKEYE_NAMESPACES=required` it fails.
#![allow(unsafe_code, reason = "std cannot make a namespace, and rustix calls it unsafe")]
#![allow(dead_code, reason = "proofs and tests each use their own part")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// This host's addresses on the link.
pub const OWN_V4: &str = "192.0.2.1";
pub const OWN_V6: &str = "2001:db8::1";
/// Neighbours who never answer.
pub const SILENT_V4: &str = "192.0.2.9";
pub const SILENT_V6: &str = "2001:db8::9";
/// The link.
pub const LINK: &str = "sock0";

/// Runs a test in a namespace of its own. Where that cannot be, it says so loudly.
pub fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> Option<T> {
    static NOT_RUN: AtomicUsize = AtomicUsize::new(0);
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| make().map(|()| test()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let why = match result {
        Ok(value) => return Some(value),
        Err(why) => why,
    };
    let count = NOT_RUN.fetch_add(1, Ordering::SeqCst) + 1;
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("\n******** NOT RUN ({count}): {name}: {why} ********\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") {
        let mut list = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(list, "{name}").unwrap();
    }
    let required = std::env::var("SOCKEYE_NAMESPACES").is_ok_and(|value| value == "required");
    assert!(!required, "{name} needs a network namespace: {why}");
    None
}

/// Moves this thread, and the threads that it starts from now on, to a network of their own.
pub fn make() -> Result<(), String> {
    own_network()?;
    let lines = format!(
        "link set lo up
         link add {LINK} type veth peer name sock1
         addr add {OWN_V4}/24 dev {LINK}
         addr add {OWN_V6}/64 dev {LINK} nodad
         link set {LINK} addrgenmode eui64
         link set {LINK} up
         link set sock1 up
         neigh add {SILENT_V4} lladdr 02:00:00:00:00:09 nud permanent dev {LINK}
         neigh add {SILENT_V6} lladdr 02:00:00:00:00:09 nud permanent dev {LINK}"
    );
    lines.lines().try_for_each(|line| ip(line.split_whitespace()))
}

/// As [`make`], but with nothing in it: `lo` is down, and there is no link.
pub fn own_network() -> Result<(), String> {
    // SAFETY: the call has no argument but flags, and changes the network of this thread alone.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

/// Gives this thread, and the threads that it starts from now on, mounts of their own.
pub fn own_mounts() -> Result<(), String> {
    // SAFETY: as above; it changes what this thread sees of the file system.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

/// Runs `ip` in the namespace of this thread.
pub fn ip<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
