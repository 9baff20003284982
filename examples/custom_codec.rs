//! A codec of its own: typed messages of four kinds, each behind two bytes of length, served over TCP,
//! Unix and UDP by one server, first on threads, then on event loops.
//!
//!     cargo run --example custom_codec
//!
//! There is nothing to type. For each engine and each kind of socket two lines appear, such as
//!     events   udp://127.0.0.1:39211                    Add(40, 2) -> Sum(42)

use sockeye::client::Client;
use sockeye::codec::{Codec, Edge, Found, FrameError, LengthDelimited};
use sockeye::engine::AnyEngine;
use sockeye::server::Server;
use std::error::Error;
use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

/// On the wire: the length in two bytes, a letter for the kind, and what belongs to it.
#[derive(Debug)]
enum Message {
    Hello(String),
    Add(i32, i32),
    Sum(i32),
    Refused,
}

/// Framing is left to a codec that is there; this one says what the bytes of a frame mean.
#[derive(Clone, Debug)]
struct Messages(LengthDelimited);

impl Codec for Messages {
    type Frame<'a> = Message;
    type Item = Message;
    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        self.0.find(input, edge)
    }
    fn view(&self, body: &[u8]) -> Result<Message, FrameError> {
        Ok(match *body {
            [b'H', ref name @ ..] => Message::Hello(String::from_utf8_lossy(name).into_owned()),
            [b'A', a, b, c, d, e, f, g, h] => {
                Message::Add(i32::from_be_bytes([a, b, c, d]), i32::from_be_bytes([e, f, g, h]))
            }
            [b'S', a, b, c, d] => Message::Sum(i32::from_be_bytes([a, b, c, d])),
            [b'R'] => Message::Refused,
            _ => return Err(FrameError::Protocol("no such message".into())),
        })
    }
    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let body = match message {
            Message::Hello(name) => [b"H", name.as_bytes()].concat(),
            Message::Add(a, b) => [&b"A"[..], &a.to_be_bytes(), &b.to_be_bytes()].concat(),
            Message::Sum(sum) => [&b"S"[..], &sum.to_be_bytes()].concat(),
            Message::Refused => b"R".to_vec(),
        };
        self.0.encode(&body, out)
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("custom_codec: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    if let Some(argument) = lexopt::Parser::from_env().next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => return Ok(writeln!(out, "usage: custom_codec")?),
            other => return Err(other.unexpected().into()),
        }
    }
    let messages = Messages(LengthDelimited::builder().width(2).build(1024)?);
    for engine in AnyEngine::all() {
        let name = engine.to_string();
        let path = std::env::temp_dir().join(format!("sockeye-{}-{name}", std::process::id()));
        let server = Server::tcp("127.0.0.1:0").and("udp://127.0.0.1:0").engine(engine);
        let server = server.and(sockeye::Endpoint::unix(sockeye::UnixAddr::from_path(path)?));
        let server = server.codec(messages.clone()).serve(|message, cx| match message {
            Message::Add(a, b) => cx.send(&a.checked_add(b).map_or(Message::Refused, Message::Sum)),
            other => cx.send(&other),
        })?;
        for endpoint in server.local_endpoints() {
            let client = Client::to(endpoint).timeout(Duration::from_secs(5));
            let mut client = client.codec(messages.clone()).connect()?;
            for message in [Message::Hello("fish".into()), Message::Add(40, 2)] {
                client.send(&message)?;
                let reply = client.receive()?;
                writeln!(out, "{name:<8} {:<40} {message:?} -> {reply:?}", endpoint.to_string())?;
            }
        }
        server.stop(Duration::from_secs(5));
        server.join()?;
    }
    Ok(())
}
