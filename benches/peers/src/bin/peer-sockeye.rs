//! sockeye, with the engine as a further argument: `.. echo|reverse|fan events|threads`.

use peers::protocol::{LINE_MAX, Service};
use peers::{Arguments, Transport};
use sockeye::Server;
use sockeye::codec::{Bytes, Codec, Delimited, Runs};
use sockeye::engine::AnyEngine;
use sockeye::handler::{Context, Group, Handler, Membership, OnSlow, Outcome};
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
        // Bytes, as the peers take them: `Lines` would see to it that they are text.
        Service::Reverse if arguments.transport == Transport::Udp => {
            server.codec(Bytes::default()).run(reverse())?
        }
        Service::Reverse => server.codec(Delimited::by(b"\n", LINE_MAX)).run(reverse())?,
        Service::Fan => {
            // As in the peers, lines that came together are passed on together.
            let group = Group::new(Runs::of(b'\n', LINE_MAX), OnSlow::Close);
            let member = move |_: &_| Member { group: group.clone(), membership: None };
            server.codec(Runs::of(b'\n', LINE_MAX)).run_with(member)?
        }
    };
    Ok(())
}

/// Its lines go to all of the group.
struct Member {
    group: Group<Runs>,
    membership: Option<Membership>,
}

impl Handler<Runs> for Member {
    fn on_open(&mut self, cx: &mut Context<'_, Runs>) -> Outcome {
        self.membership = Some(self.group.join(&cx.remote()));
        // With its end this is `GREETING`.
        cx.send(b"");
        Ok(())
    }

    fn on_frame(&mut self, lines: &[u8], _: &mut Context<'_, Runs>) -> Outcome {
        self.group.send(lines)?;
        Ok(())
    }
}

/// Sends every frame back from its last byte to its first.
fn reverse<C: Codec<Item = [u8]>>() -> impl FnMut(&[u8], &mut Context<'_, C>) + Clone + Send {
    let mut reply = Vec::new();
    move |frame, cx| {
        reply.clear();
        reply.extend(frame.iter().rev());
        cx.send(&reply);
    }
}
