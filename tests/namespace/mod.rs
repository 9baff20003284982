//! Namespaces of the tests' own: private networks, private names.
//!
//! [`in_namespace`] and [`in_namespaces`] run a test once more, as a child in fresh user, mount, network
//! and UTS namespaces: whom the kernel lets make them need not be root. Where there is no right to, or no
//! `unshare` and `ip`, the test says so on standard error, past what the harness captures, and counts it,
//! also in the file `SOCKEYE_NOT_RUN`; with `SOCKEYE_NAMESPACES=required` it fails.
//!
//! The link of [`in_namespace`] has nobody behind it but neighbours that are known and silent
//! ([`SILENT_V4`], [`SILENT_V6`]): what is sent to them is lost.
#![allow(unsafe_code, reason = "std cannot make a namespace, and rustix calls it unsafe")]
#![allow(dead_code, reason = "proofs and tests each use their own part")]

pub mod name_server;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// This host's addresses on the link.
pub const OWN_V4: &str = "192.0.2.1";
pub const OWN_V6: &str = "2001:db8::1";
/// Neighbours who never answer.
pub const SILENT_V4: &str = "192.0.2.9";
pub const SILENT_V6: &str = "2001:db8::9";
/// The link.
pub const LINK: &str = "sock0";

/// Far longer than any child takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// How a child ends that could not set up its namespaces: `unshare` itself, and the script behind it.
/// A test that fails ends with 101.
const NO_RIGHT: [i32; 2] = [1, 77];

/// Runs `body` in a network with one link. A test calls it itself, not through others.
pub fn in_namespace<F: FnOnce()>(body: F) {
    let set_up: Vec<String> = link().lines().map(|line| format!("ip {line}")).collect();
    again_in_namespaces(test_of::<F>(), &set_up.join(" && "), Path::new("/etc"), || {
        await_address(OWN_V6).unwrap();
        body();
    });
}

/// Runs `body` in a network with loopback alone, and with these files as all of `/etc`.
pub fn in_namespaces<F: FnOnce()>(files: &[(&str, &str)], body: F) {
    let test = test_of::<F>();
    let etc = std::env::temp_dir().join(format!("sockeye-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&etc).unwrap();
    for (name, text) in files {
        std::fs::write(etc.join(name), text).unwrap();
    }
    if Path::new("/etc/ld.so.cache").exists() {
        std::fs::copy("/etc/ld.so.cache", etc.join("ld.so.cache")).unwrap();
    }
    again_in_namespaces(test, "ip link set lo up && mount --bind \"$1\" /etc", &etc, body);
    std::fs::remove_dir_all(&etc).unwrap();
}

fn again_in_namespaces(test: &str, set_up: &str, etc: &Path, body: impl FnOnce()) {
    if std::env::var("SOCKEYE_INSIDE").is_ok_and(|inside| inside == test) {
        return body();
    }
    let script = format!("{{ {set_up}; }} || exit 77; exec \"$2\" --exact \"$3\" --nocapture");
    let log_path = std::env::temp_dir().join(format!("sockeye-{}-{test}.log", std::process::id()));
    let log = File::create(&log_path).unwrap();
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net", "--uts", "sh", "-c", &script, "sh"])
        .args([etc.as_os_str(), std::env::current_exe().unwrap().as_os_str(), test.as_ref()])
        .env("SOCKEYE_INSIDE", test)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    let status = child.map(|mut child| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        .or_else(|| {
            child.kill().unwrap();
            child.wait().unwrap();
            None
        })
    });
    let said = std::fs::read_to_string(&log_path).unwrap();
    std::fs::remove_file(&log_path).unwrap();
    let code = match status {
        Err(error) => return not_run(test, &format!("unshare: {error}")),
        Ok(status) => status.and_then(|status| status.code()),
    };
    if code.is_some_and(|code| NO_RIGHT.contains(&code)) {
        return not_run(test, said.trim());
    }
    println!("{said}");
    // Else a name that is no test's would be a test that always passes.
    let ran = said.contains("test result: ok. 1 passed");
    assert!(code == Some(0) && ran, "{test}, in namespaces: {status:?}");
}

/// The test that the closure `F` stands in: `crate::test::{{closure}}` without its ends.
fn test_of<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split("::{{closure}}").next().unwrap_or(path);
    path.split_once("::").map_or(path, |(_, test)| test)
}

fn not_run(test: &str, why: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    let line = format!("\n******** NOT RUN ({count}): {test}: {why} ********\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") {
        let mut list = File::options().append(true).create(true).open(path).unwrap();
        writeln!(list, "{test}").unwrap();
    }
    let required = std::env::var("SOCKEYE_NAMESPACES").is_ok_and(|value| value == "required");
    assert!(!required, "{test} needs namespaces: {why}");
}

/// Moves this thread, and the threads that it starts from now on, to a network with one link. As root.
pub fn make() -> Result<(), String> {
    own_network()?;
    link().lines().try_for_each(|line| ip(line.split_whitespace()))?;
    await_address(OWN_V6)
}

/// Adds an address to a link, `192.0.2.2/24`, ready to be sent to.
pub fn add_address(address: &str, link: &str) -> Result<(), String> {
    let nodad = if address.contains(':') { &["nodad"][..] } else { &[] };
    ip(["addr", "add", address, "dev", link].iter().chain(nodad).copied())?;
    await_address(address)
}

/// Waits until an IPv6 address has its route: the kernel adds it some time after the address, and what is
/// sent to the address meanwhile is lost.
fn await_address(address: &str) -> Result<(), String> {
    let host = address.split('/').next().unwrap_or(address);
    let route = format!("local {host} ");
    let deadline = Instant::now() + PATIENCE;
    while host.contains(':')
        && !ip_says(["-6", "route", "show", "table", "local"])?.contains(&route)
    {
        if Instant::now() > deadline {
            return Err(format!("{address} got no route"));
        }
    }
    Ok(())
}

/// What `ip` does for the link, a line each.
fn link() -> String {
    format!(
        "link set lo up
         link add {LINK} type veth peer name sock1
         addr add {OWN_V4}/24 dev {LINK}
         addr add {OWN_V6}/64 dev {LINK} nodad
         link set {LINK} addrgenmode eui64
         link set {LINK} up
         link set sock1 up
         neigh add {SILENT_V4} lladdr 02:00:00:00:00:09 nud permanent dev {LINK}
         neigh add {SILENT_V6} lladdr 02:00:00:00:00:09 nud permanent dev {LINK}"
    )
}

/// As [`make`], but with nothing in it: `lo` is down, and there is no link.
pub fn own_network() -> Result<(), String> {
    // SAFETY: the call has no argument but flags, and changes the network of this thread alone.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

/// Gives this thread, and the threads that it starts from now on, mounts of their own. As root.
pub fn own_mounts() -> Result<(), String> {
    // SAFETY: as above; it changes what this thread sees of the file system.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

/// Runs `ip` in the namespace of this thread.
pub fn ip<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    ip_says(arguments).map(drop)
}

fn ip_says<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
