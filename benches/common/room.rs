//! How many connections a bench may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// As many connections as wanted, or as the limit of descriptors leaves room for, once raised as far
/// as it goes. If that is fewer, it says so. Both ends are ours; `each` counts what they open.
pub fn connections(wanted: usize, each: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, it is as it was.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(100) / each;
    let count = wanted.min(room);
    if count < wanted {
        println!("{count} connections in place of {wanted}: RLIMIT_NOFILE allows no more");
    }
    count
}
