//! An echo server on any endpoints, to try things out with or to put a load on.
//!
//!     cargo run --release --example echo -- tcp://127.0.0.1:7000 --engine events
//!
//! It prints `listening on ENDPOINT` for each endpoint and sends back every byte, or every datagram,
//! that it is sent. Try it with `nc 127.0.0.1 7000`.

use sockeye::codec::Bytes;
use sockeye::engine::AnyEngine;
use sockeye::server::Server;

const USAGE: &str = "usage: echo ENDPOINT... [--engine threads|events] [--workers N]";

fn main() {
    if let Err(error) = run() {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut endpoints = Vec::new();
    let (mut engine, mut workers) = ("threads".parse::<AnyEngine>()?, 1);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("engine") => engine = arguments.value()?.parse()?,
            Long("workers") => workers = arguments.value()?.parse()?,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(endpoint) => endpoints.push(endpoint.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if endpoints.is_empty() {
        return Err(USAGE.into());
    }
    let mut server = Server::new().engine(engine.workers(workers));
    for endpoint in &endpoints {
        server = server.and(endpoint);
    }
    let server = server.codec(Bytes::default()).on_start(|endpoints| {
        endpoints.iter().for_each(|endpoint| println!("listening on {endpoint}"));
    });
    server.run(|bytes, cx| cx.send(bytes))?;
    Ok(())
}
