//! Typed messages with serde: a codec that puts any type that serde knows on a line of JSON, and a
//! handler that sees values and never text.
//!
//!     cargo run --example json_messages              # serves and asks itself, then ends
//!     cargo run --example json_messages -- 7000      # serves; then: nc 127.0.0.1 7000
//!
//! A line to type: {"add":[1,2,3]} or {"repeat":{"text":"ho","times":3}}

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sockeye::client::Client;
use sockeye::codec::{Codec, Edge, Found, FrameError, Lines};
use sockeye::handler::Context;
use sockeye::server::Server;
use std::error::Error;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// Lines of JSON: `In` comes, `Out` goes.
struct Json<In, Out>(Lines, PhantomData<fn(In) -> Out>);

impl<In, Out> Default for Json<In, Out> {
    fn default() -> Self {
        Json(Lines::at_most(64 * 1024), PhantomData)
    }
}

impl<In, Out> Clone for Json<In, Out> {
    fn clone(&self) -> Self {
        Json(self.0.clone(), PhantomData)
    }
}

impl<In: DeserializeOwned + 'static, Out: Serialize + 'static> Codec for Json<In, Out> {
    type Frame<'a> = In;
    type Item = Out;
    fn find(&mut self, input: &[u8], edge: Edge) -> Result<Found, FrameError> {
        self.0.find(input, edge)
    }
    fn view(&self, body: &[u8]) -> Result<In, FrameError> {
        serde_json::from_slice(body).map_err(|error| FrameError::Protocol(error.to_string().into()))
    }
    fn encode(&self, item: &Out, out: &mut Vec<u8>) -> Result<Range<usize>, FrameError> {
        let text = serde_json::to_string(item)
            .map_err(|error| FrameError::Protocol(error.to_string().into()))?;
        self.0.encode(&text, out)
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Add(Vec<i64>),
    Repeat { text: String, times: usize },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Sum(i64),
    Text(String),
    Refused(String),
}

fn answer(question: Question, cx: &mut Context<'_, Json<Question, Answer>>) {
    cx.send(&match question {
        Question::Add(numbers) => {
            match numbers.iter().try_fold(0_i64, |sum, n| sum.checked_add(*n)) {
                Some(sum) => Answer::Sum(sum),
                None => Answer::Refused("the sum is too large".to_owned()),
            }
        }
        Question::Repeat { text, times } if text.len().saturating_mul(times) <= 10_000 => {
            Answer::Text(text.repeat(times))
        }
        Question::Repeat { .. } => Answer::Refused("that would be too long".to_owned()),
    });
}

fn main() {
    if let Err(error) = run() {
        eprintln!("json_messages: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("--help") {
        println!("usage: json_messages [PORT]");
        return Ok(());
    }
    if let Some(port) = argument {
        let port: u16 = port.parse().map_err(|error| format!("the port {port:?}: {error}"))?;
        let server = Server::tcp(port).codec(Json::default());
        let server = server.on_start(|at| at.iter().for_each(|at| println!("listening on {at}")));
        server.run(answer)?;
        return Ok(());
    }
    let server = Server::tcp("127.0.0.1:0").codec(Json::default()).serve(answer)?;
    let mut client = Client::to(server.local_endpoints()[0].clone())
        .timeout(Duration::from_secs(5))
        .codec(Json::<Answer, Question>::default())
        .connect()?;
    let questions = [
        Question::Add(vec![40, 2]),
        Question::Repeat { text: "ho".to_owned(), times: 3 },
        Question::Add(vec![i64::MAX, 1]),
    ];
    for question in questions {
        client.send(&question)?;
        println!("{question:?} -> {:?}", client.receive()?);
    }
    drop(client);
    server.stop(Duration::from_secs(5));
    server.join()?;
    Ok(())
}
