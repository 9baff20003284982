//! Reverses each line, on any number of endpoints of any kind at once.
//!
//!     cargo run --example reverse_server -- tcp://127.0.0.1:7000 udp://127.0.0.1:7000 unix:///tmp/reverse
//!
//! It prints `listening on ENDPOINT` for each. Type lines into `nc 127.0.0.1 7000`, `nc -U
//! /tmp/reverse` or the `reverse_client` example: `stressed` comes back as `desserts`. What is
//! reversed are the characters that a reader sees (grapheme clusters), so that accents stay on their
//! letters and families of emoji together. Ctrl-C or SIGTERM lets what is under way finish, for five
//! seconds at most, and prints what was served. `--engine events` serves all connections on event
//! loops, `--workers N` says on how many.

use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Report};
use sockeye::server::Server;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;
use unicode_segmentation::UnicodeSegmentation;

const USAGE: &str = "usage: reverse_server [ENDPOINT...] [--engine threads|events] [--workers N]
endpoints: tcp://127.0.0.1:7000 (default), tcp://[::1]:7000, udp://*:7000, unix:///tmp/reverse, ...";

fn main() {
    if let Err(error) = run() {
        eprintln!("reverse_server: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let mut endpoints = Vec::new();
    let (mut engine, mut workers) = ("threads".parse::<AnyEngine>()?, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("engine") => engine = arguments.value()?.parse()?,
            Long("workers") => workers = Some(arguments.value()?.parse()?),
            Long("help") | Short('h') => return Ok(writeln!(out, "{USAGE}")?),
            Value(endpoint) => endpoints.push(endpoint.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if endpoints.is_empty() {
        endpoints.push("tcp://127.0.0.1:7000".to_owned());
    }
    if let Some(workers) = workers {
        engine = engine.workers(workers);
    }

    // Before anybody can know that we run.
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals = signal_hook::iterator::Signals::new(signals)?;

    let server = endpoints.iter().fold(Server::new(), |server, endpoint| server.and(endpoint));
    let server = server
        .engine(engine)
        .codec(Lines::default())
        .serve(|line, cx| cx.send(&line.graphemes(true).rev().collect::<String>()))?;
    for endpoint in server.local_endpoints() {
        writeln!(out, "listening on {endpoint}")?;
    }
    out.flush()?;

    signals.forever().next();
    server.stop(Duration::from_secs(5));
    print(&server.join()?, &mut out)?;
    Ok(())
}

fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let (counters, closed) = (&report.counters, &report.counters.closed);
    writeln!(out, "stopped: {} finished, {} cut off", report.finished, report.forced)?;
    writeln!(out, "served:  {} connections", counters.accepted)?;
    writeln!(out, "         {} datagram peers", counters.datagram_peers)?;
    writeln!(out, "bytes:   {} in, {} out", counters.bytes_read, counters.bytes_written)?;
    writeln!(out, "closed:  {} by the peer", closed.peer_closed)?;
    writeln!(out, "         {} by the stop or by us", closed.finished + closed.stopped)?;
    writeln!(out, "         {} for bad lines", closed.frame)?;
    let others = closed.total() - closed.peer_closed - closed.finished - closed.stopped;
    writeln!(out, "         {} for other reasons", others - closed.frame)?;
    out.flush()
}
