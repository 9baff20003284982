//! Sends lines to a server and prints its replies: the counterpart of `reverse_server`.
//!
//!     cargo run --example reverse_client -- tcp://127.0.0.1:7000 stressed "đảo ngược chuỗi"
//!
//! prints `desserts` and `iỗuhc cợưgn oảđ`. Without a text it sends each line of standard input as
//! soon as it is complete: type, press Enter, read the reply; Ctrl-D ends. Every kind of endpoint
//! works: `udp://127.0.0.1:7000`, `unix:///tmp/reverse`. With `--verbose` it says on standard error which
//! addresses it tried, what became of each, and how long it took. If nobody listens, or no reply comes within
//! five seconds, it says so on one line and exits with status 1.

use sockeye::client::{Client, Framed};
use sockeye::codec::Lines;
use sockeye::connect::Report;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

const USAGE: &str = "usage: reverse_client [--verbose] ENDPOINT [TEXT...]
without TEXT, the lines of standard input are sent; --verbose shows every address that was tried";

fn main() {
    if let Err(error) = run() {
        eprintln!("reverse_client: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut endpoint, mut texts, mut verbose) = (None, Vec::new(), false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => return Ok(writeln!(io::stdout(), "{USAGE}")?),
            Long("verbose") | Short('v') => verbose = true,
            Value(value) if endpoint.is_none() => endpoint = Some(value.string()?),
            Value(text) => texts.push(text.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let endpoint = endpoint.ok_or("no ENDPOINT; --help shows how to call it")?;
    let client = Client::to(&endpoint).timeout(Duration::from_secs(5)).codec(Lines::default());
    let connected = client.connect_with_report();
    let report = match &connected {
        Ok(connected) => Some(&connected.report),
        Err(error) => Report::of(error),
    };
    if let Some(report) = report.filter(|_| verbose) {
        eprintln!("{report}");
    }
    let mut client = connected?.stream;
    for text in &texts {
        ask(&mut client, text)?;
    }
    if texts.is_empty() {
        for line in io::stdin().lines() {
            ask(&mut client, &line?)?;
        }
    }
    Ok(())
}

fn ask(client: &mut Framed<Lines>, text: &str) -> Result<(), Box<dyn Error>> {
    client.send(text)?;
    // Standard output hands each line on at its end.
    writeln!(io::stdout(), "{}", client.receive()?)?;
    Ok(())
}
