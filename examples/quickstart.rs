//! Server and client in one process: the same closure over TCP v4, TCP v6, Unix and UDP, first on
//! threads, then on event loops.
//!
//!     cargo run --example quickstart
//!
//! There is nothing to type. For each engine and each kind of socket a line appears with what was
//! sent and what came back, such as
//!
//!     events   tcp://127.0.0.1:39211   "stressed" -> "desserts"
//!
//! and at the end how many connections each server had. Where the machine has no IPv6, it says so.

use sockeye::client::Client;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::server::Server;
use sockeye::socket::TcpListener;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

const USAGE: &str = "usage: quickstart";

fn main() {
    if let Err(error) = run() {
        eprintln!("quickstart: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    if let Some(argument) = lexopt::Parser::from_env().next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => return Ok(writeln!(out, "{USAGE}")?),
            other => return Err(other.unexpected().into()),
        }
    }
    for engine in AnyEngine::all() {
        exchange(engine, &mut out)?;
    }
    Ok(())
}

fn exchange(engine: AnyEngine, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let name = engine.to_string();
    let socket = std::env::temp_dir().join(format!("sockeye-{}-{name}", std::process::id()));

    // Port 0 takes a free one. A socket that was made before is served just as well.
    let mut server = Server::tcp("127.0.0.1:0").and("udp://127.0.0.1:0").engine(engine);
    match TcpListener::bind("[::1]:0") {
        Ok(listener) => server = server.and(listener),
        Err(error) => writeln!(out, "{name:<8} no IPv6 here, so not tcp://[::1]: {error}")?,
    }
    let server = server
        .and(sockeye::Endpoint::unix(sockeye::UnixAddr::from_path(socket)?))
        .codec(Lines::default())
        .serve(|line, cx| cx.send(&line.chars().rev().collect::<String>()))?;

    for endpoint in server.local_endpoints() {
        let mut client = Client::to(endpoint)
            .timeout(Duration::from_secs(5))
            .codec(Lines::default())
            .connect()?;
        let text = "stressed";
        client.send(text)?;
        let reply = client.receive()?;
        writeln!(out, "{name:<8} {:<40} {text:?} -> {reply:?}", endpoint.to_string())?;
        if reply != "desserts" {
            return Err(format!("{endpoint} answered {reply:?}").into());
        }
    }

    server.stop(Duration::from_secs(5));
    let counters = server.join()?.counters;
    let (connections, peers) = (counters.accepted, counters.datagram_peers);
    writeln!(out, "{name:<8} stopped: {connections} connections, {peers} datagram peer\n")?;
    Ok(())
}
