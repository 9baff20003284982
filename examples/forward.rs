//! Forwards streams: `forward tcp://127.0.0.1:7001 unix:///run/app.sock [--engine threads|events]`.
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote, SendError};
use sockeye::{Client, Server, ServerHandle, codec::Bytes, engine::AnyEngine, limits::Limits};
use std::sync::{Arc, OnceLock};
/// One side of a connection: what it receives, it sends to the other.
#[derive(Default)]
struct Side {
    dial: Option<(ServerHandle, String)>,
    other: Arc<OnceLock<Remote<Bytes>>>,
    held: Vec<u8>,
}
impl Handler<Bytes> for Side {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        let Some((server, target)) = self.dial.take() else { return Ok(()) };
        cx.pause(); // until the other side is there, and we are woken
        let (near, other) = (cx.remote(), self.other.clone());
        let far = Side { other: Arc::new(near.clone().into()), ..Side::default() };
        let client = Client::to(&target).codec(Bytes::default());
        Ok(server.connect(client, far, move |far| match far.map(|far| other.set(far)) {
            Ok(_) if !near.is_closed() => near.wake(),
            _ => other.get().into_iter().chain([&near]).for_each(Remote::abort),
        })?)
    }
    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Bytes>) -> Outcome {
        let sent = self.other.get().map_or(Err(SendError::Closed), |other| other.send(bytes));
        let Err(SendError::Full) = sent else { return Ok(sent?) };
        self.held = bytes.to_vec(); // until the other side drains, and wakes us
        cx.pause();
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        cx.resume();
        let held = std::mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { self.on_frame(&held, cx) }
    }
    fn on_drain(&mut self, _: &mut Context<'_, Bytes>) -> Outcome {
        self.other.get().into_iter().for_each(Remote::wake);
        Ok(())
    }
    fn on_eof(&mut self, _: &mut Context<'_, Bytes>) -> Outcome {
        self.other.get().into_iter().for_each(Remote::shutdown_write);
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        self.other.get().into_iter().for_each(Remote::close);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, engine @ ..] = &arguments[..] else {
        eprintln!("usage: forward LISTEN_ENDPOINT TARGET_ENDPOINT [--engine threads|events]");
        return Ok(());
    };
    let engine = engine.last().map_or_else(|| Ok(AnyEngine::default()), |name| name.parse())?;
    let relay = Server::on(listen).engine(engine).on_start(|at| println!("listening on {}", at[0]));
    let dial = Some((relay.handle(), target.clone()));
    let near = move |_: &_| Side { dial: dial.clone(), ..Side::default() };
    Ok(relay.limits(Limits::interactive()).codec(Bytes::default()).run_with(near).map(drop)?)
}
