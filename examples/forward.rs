//! Forwards TCP and Unix connections: nothing is dropped, and each direction ends by itself.
//!     cargo run --example forward -- tcp://127.0.0.1:7001 tcp://127.0.0.1:7000
//! prints `listening on ENDPOINT`; what is typed into `nc 127.0.0.1 7001` the target answers.
use sockeye::handler::{CloseReason, Context as Cx, Handler, Outcome, Remote, SendError};
use sockeye::{client::Client, codec::Bytes, engine::AnyEngine, limits::Limits, server::*};
use std::{error::Error, io::Write, sync::Arc, sync::OnceLock, thread, time::Duration};
/// The other side, what it had no room for, and, on the near side, what makes the far one.
struct Relay(Arc<OnceLock<Remote<Bytes>>>, Vec<u8>, Option<(ServerHandle, String)>);
#[rustfmt::skip] // the shortest callbacks have a line each
impl Handler<Bytes> for Relay {
    fn on_open(&mut self, cx: &mut Cx<'_, Bytes>) -> Outcome {
        let Some((server, target)) = self.2.take() else { return Ok(()) };
        cx.pause(); // connecting blocks, so a thread does it, and wakes us
        let (near, other) = (cx.remote(), self.0.clone());
        let far = Relay(Arc::new(near.clone().into()), Vec::new(), None);
        let to = Client::to(&target).timeout(Duration::from_secs(5));
        let dial = move || server.adopt(to.connect()?, Bytes::default(), far);
        Ok(thread::Builder::new().spawn(move || match dial() {
            Ok(far) if other.set(far.clone()).is_ok() && near.is_closed() => far.close(),
            Ok(_) => near.wake(),
            Err(error) => { let _ = writeln!(std::io::stderr(), "forward: {error}"); near.close() }
        }).map(drop)?)
    }
    fn on_frame(&mut self, bytes: &[u8], cx: &mut Cx<'_, Bytes>) -> Outcome {
        let sent = self.0.get().ok_or("no other side")?.send(bytes);
        if let Err(SendError::Full) = sent { self.1 = bytes.to_vec(); cx.pause(); return Ok(()) }
        Ok(sent?)
    }
    fn on_wake(&mut self, cx: &mut Cx<'_, Bytes>) -> Outcome {
        let (held, ()) = (std::mem::take(&mut self.1), cx.resume());
        if held.is_empty() { Ok(()) } else { self.on_frame(&held, cx) }
    }
    fn on_drain(&mut self, _: &mut Cx<'_, Bytes>) -> Outcome { self.0.get().into_iter().for_each(Remote::wake); Ok(()) }
    fn on_eof(&mut self, _: &mut Cx<'_, Bytes>) -> Outcome { self.0.get().into_iter().for_each(Remote::shutdown_write); Ok(()) }
    fn on_close(&mut self, _: &CloseReason) { self.0.get().map_or((), Remote::close) }
}
fn main() {
    std::process::exit(run().map_or_else(|error| (eprintln!("forward: {error}"), 1).1, |()| 0))
}
fn run() -> Result<(), Box<dyn Error>> {
    let usage = "usage: forward LISTEN_ENDPOINT TARGET_ENDPOINT [--engine threads|events]";
    let (mut places, mut engine) = (Vec::new(), "threads".parse::<AnyEngine>()?);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") => return Ok(writeln!(std::io::stdout(), "{usage}")?),
            Long("engine") => engine = arguments.value()?.parse()?,
            Value(place) => places.push(place.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let [listen, target] = &places[..] else { return Err(usage.into()) };
    let on =
        Server::on(listen).engine(engine).limits(Limits::interactive()).codec(Bytes::default());
    let via = Some((on.handle(), target.clone()));
    let server = on.serve_with(move |_| Relay(Arc::default(), Vec::new(), via.clone()))?;
    writeln!(std::io::stdout(), "listening on {}", server.local_endpoints()[0])?;
    Ok(server.join().map(drop)?)
}
