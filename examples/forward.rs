//! Forwards streams: `forward tcp://127.0.0.1:7001 unix:///run/app.sock [--engine threads|events]`.
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote, SendError};
use sockeye::{Client, Server, ServerHandle, codec::Bytes, engine::AnyEngine, limits::Limits};

/// One side of a connection: what it receives, it sends to the other.
#[derive(Clone, Default)]
struct Side {
    dial: Option<(ServerHandle, String)>,
    other: Option<Remote<Bytes>>,
    held: Vec<u8>,
}

impl Handler<Bytes> for Side {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        let Some((server, target)) = self.dial.take() else { return Ok(()) };
        let far = Side { other: Some(cx.remote()), ..Side::default() };
        self.other = Some(server.adopt(Client::to(&target).connect()?, Bytes::default(), far)?);
        Ok(())
    }
    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Bytes>) -> Outcome {
        let sent = self.other.as_ref().map_or(Err(SendError::Closed), |other| other.send(bytes));
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
        self.other.iter().for_each(Remote::wake);
        Ok(())
    }
    fn on_eof(&mut self, _: &mut Context<'_, Bytes>) -> Outcome {
        self.other.iter().for_each(Remote::shutdown_write);
        Ok(())
    }
    fn on_close(&mut self, _: &CloseReason) {
        self.other.iter().for_each(Remote::close);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (listen, target, engine) = match &arguments[..] {
        [listen, target] => (listen, target, AnyEngine::default()),
        [listen, target, flag, name] if flag == "--engine" => (listen, target, name.parse()?),
        _ => {
            eprintln!("usage: forward LISTEN_ENDPOINT TARGET_ENDPOINT [--engine threads|events]");
            return Ok(());
        }
    };
    let server = Server::on(listen).engine(engine).limits(Limits::interactive());
    let near = Side { dial: Some((server.handle(), target.clone())), ..Side::default() };
    let server = server.on_start(|endpoints| println!("listening on {}", endpoints[0]));
    server.codec(Bytes::default()).run_with(move |_| near.clone())?;
    Ok(())
}
