//! The load: clients of a peer in a process of their own, and the processor time that it cost the
//! server. Prints one line of JSON.
//!
//!     load tcp|unix|udp|churn|fan|idle|check ADDR [--service echo|reverse|fan] [--pid PID]
//!          [--connections C] [--depth D] [--size S] [--seconds T] [--warm-up T] [--over tcp|unix|udp]
//!          [--segmented]
//!
//! All loops are closed: each of C connections has D messages of S bytes under way, and sends the next
//! when one is back. `churn` makes a connection for each message; `fan` has D lines under way on the first
//! connection, of which each comes back on all C, and counts what comes back; `idle` opens C connections
//! and reads how much memory they took; `check` says whether what comes back is right, `--over` a
//! transport.
//! Latency is from the moment that a message could have been sent to the moment its last byte is back.

mod check;
mod churn;
mod datagrams;
mod fan;
mod idle;
mod meter;
mod streams;

use peers::Transport;
use peers::protocol::Service;
use std::error::Error;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct Options {
    at: String,
    service: Service,
    /// The server's process, whose processor time and memory are read.
    pid: u32,
    connections: usize,
    depth: usize,
    size: usize,
    seconds: f64,
    warm_up: f64,
    over: Transport,
    /// Datagrams leave many to a send, and come in as many to a receive: GSO and GRO.
    segmented: bool,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    use lexopt::prelude::*;
    let mut arguments = lexopt::Parser::from_env();
    let mut words = Vec::new();
    let mut options = Options {
        at: String::new(),
        service: Service::Echo,
        pid: std::process::id(),
        connections: 1,
        depth: 1,
        size: 64,
        seconds: 1.0,
        warm_up: 0.2,
        over: Transport::Tcp,
        segmented: false,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("service") => {
                let name = arguments.value()?.string()?;
                options.service =
                    Service::parse(&name).ok_or("a service is echo, reverse or fan")?;
            }
            Long("over") => {
                let name = arguments.value()?.string()?;
                options.over = Transport::parse(&name).ok_or("over tcp, unix or udp")?;
            }
            Long("segmented") => options.segmented = true,
            Long("pid") => options.pid = arguments.value()?.parse()?,
            Long("connections") => options.connections = arguments.value()?.parse()?,
            Long("depth") => options.depth = arguments.value()?.parse()?,
            Long("size") => options.size = arguments.value()?.parse()?,
            Long("seconds") => options.seconds = arguments.value()?.parse()?,
            Long("warm-up") => options.warm_up = arguments.value()?.parse()?,
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let [mode, at] = words.as_slice() else { return Err("usage: load MODE ADDR [options]".into()) };
    options.at.clone_from(at);
    let sane = (1..=100_000).contains(&options.connections)
        && (1..=1024).contains(&options.depth)
        && (1..=1024 * 1024).contains(&options.size)
        && (0.0..=600.0).contains(&options.seconds)
        && (0.0..=60.0).contains(&options.warm_up);
    if !sane {
        return Err(format!("out of bounds: {options:?}").into());
    }
    peers::raise_descriptors();
    let line = match mode.as_str() {
        "tcp" => streams::run(&options, Transport::Tcp)?,
        "unix" => streams::run(&options, Transport::Unix)?,
        "udp" => datagrams::run(&options)?,
        "churn" => churn::run(&options)?,
        "fan" => fan::run(&options)?,
        "idle" => idle::run(&options)?,
        "check" => check::run(&options)?,
        _ => return Err("a mode is tcp, unix, udp, churn, fan, idle or check".into()),
    };
    println!("{line}");
    Ok(())
}

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(5);

/// How long a server may say nothing at all.
const SILENCE: Duration = Duration::from_secs(3);
