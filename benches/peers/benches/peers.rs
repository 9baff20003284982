//! Has cargo build every peer, and starts `compare` with the arguments behind `--`.

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    // What cargo adds for benches.
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--bench");
    let error = Command::new(env!("CARGO_BIN_EXE_compare")).args(arguments).exec();
    eprintln!("compare does not start: {error}");
    std::process::exit(1);
}
