//! What the numbers were measured on, and with.

use std::fs;
use std::process::Command;

/// How busy the machine is: the load average, and the ticks that other machines took from ours.
pub struct Load {
    average: String,
    stolen: u64,
    ticks: u64,
}

impl Load {
    pub fn now() -> Load {
        let average = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
        let stat = read("/proc/stat");
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .map(|line| line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect())
            .unwrap_or_default();
        Load { average, stolen: ticks.get(7).copied().unwrap_or(0), ticks: ticks.iter().sum() }
    }
}

/// One paragraph.
pub fn describe(before: &Load, pinned: Option<(usize, usize)>, arguments: &str) -> String {
    let now = Load::now();
    let ticks = now.ticks.saturating_sub(before.ticks).max(1);
    let stolen = 100.0 * now.stolen.saturating_sub(before.stolen) as f64 / ticks as f64;
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let uname = rustix::system::uname();
    let kernel =
        format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let placed = match pinned {
        Some((server, load)) => format!("server on CPU {server}, load on CPU {load}"),
        None => "one CPU for server and load".to_owned(),
    };
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "`cargo bench --manifest-path benches/peers/Cargo.toml{}{arguments}` on {processor}, \
         {processors} CPUs, {kernel}, {placed}; sockeye {}, mio {}, tokio {}, {}; load average {} before \
         and {} after, {stolen:.1} % stolen",
        if arguments.is_empty() { "" } else { " -- " },
        version_of("sockeye"),
        version_of("mio"),
        version_of("tokio"),
        rustc.unwrap_or_else(|_| "unknown rustc".to_owned()),
        before.average,
        now.average,
    )
}

/// The version in the lock file.
fn version_of(package: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    lock.split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("unknown")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
