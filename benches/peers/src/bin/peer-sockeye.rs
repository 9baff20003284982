//! sockeye, with the engine as a further argument: `.. echo|reverse events|threads`.

use peers::protocol::Service;
use peers::{Arguments, Transport};
use sockeye::Server;
use sockeye::codec::{Bytes, Lines};
use sockeye::engine::AnyEngine;
use sockeye::handler::Outcome;
use sockeye::limits::Limits;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read();
    let engine = arguments.rest.first().map_or("events", String::as_str);
    let engine = engine.parse::<AnyEngine>()?.workers(1);
    let mut limits = Limits::default();
    // No peer has a limit of connections.
    limits.connections_max = Some(1_000_000);
    let server = match arguments.transport {
        Transport::Tcp => Server::tcp(arguments.at.as_str()),
        Transport::Unix => Server::unix(&arguments.at),
        Transport::Udp => Server::udp(arguments.at.as_str()),
    };
    let server = server.engine(engine).limits(limits);
    match arguments.service {
        Service::Echo => server.codec(Bytes::default()).run(|bytes, cx| cx.send(bytes))?,
        Service::Reverse => {
            let mut reply = Vec::new();
            server.codec(Lines::default()).run(move |line, cx| {
                reply.clear();
                reply.extend(line.bytes().rev());
                // The bytes of ASCII text, in any order, are text; the load sends no other.
                cx.send(std::str::from_utf8(&reply)?);
                Outcome::Ok(())
            })?
        }
    };
    Ok(())
}
