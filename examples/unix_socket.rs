//! A Unix socket with all that it is good for: a file that has a mode, a server that knows who is
//! calling, and an open file that is passed to it.
//!
//!     cargo run --example unix_socket -- serve /tmp/counter
//!     cargo run --example unix_socket -- send /tmp/counter README.md
//!
//! The server prints `listening on unix:///tmp/counter`; the client prints who it is, as the server has it
//! from the kernel, and what the server read from the file that the client had opened:
//!
//!     you are uid 1000, gid 1000, pid 4711
//!     250 lines, 13305 bytes
//!
//! With `--mode 666` everybody may connect, with `--only UID` only that user is let in. End the server by
//! Ctrl-C and start it again: the socket file that it left behind is replaced. Start it twice, and the
//! second one says that a live socket is there.

use sockeye::codec::Lines;
use sockeye::handler::{Context, Outcome};
use sockeye::server::Server;
use sockeye::socket::{Existing, SocketFileOptions, UnixStream};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: unix_socket serve PATH [--mode 600] [--only UID] | send PATH FILE";

fn main() {
    if let Err(error) = run() {
        eprintln!("unix_socket: {error}");
        std::process::exit(1);
    }
}

fn run() -> Outcome {
    let (mut words, mut mode, mut only) = (Vec::<PathBuf>::new(), 0o600, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("mode") => mode = u32::from_str_radix(&arguments.value()?.string()?, 8)?,
            Long("only") => only = Some(arguments.value()?.parse()?),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(word) => words.push(word.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    match words.as_slice() {
        [command, path] if command == Path::new("serve") => serve(path, mode, only),
        [command, path, file] if command == Path::new("send") => send(path, file),
        _ => Err(USAGE.into()),
    }
}

fn serve(path: &Path, mode: u32, only: Option<u32>) -> Outcome {
    Server::unix(path)
        .socket_files(SocketFileOptions::new().mode(mode).existing(Existing::ReplaceStale))
        .admit_unix(move |peer| only.is_none_or(|uid| peer.uid == uid))
        .descriptors(true)
        .codec(Lines::default())
        .on_start(|endpoints| println!("listening on {}", endpoints[0]))
        .run(count)?;
    Ok(())
}

/// Counts what is in the files that come with a line.
fn count(_name: &str, cx: &mut Context<'_, Lines>) -> Outcome {
    let peer = cx.credentials().ok_or("asked for by `admit_unix`")?;
    cx.send(&format!("you are {peer}"));
    for descriptor in cx.take_descriptors() {
        let mut bytes = Vec::new();
        // A thread for each connection: this one may wait for its file.
        File::from(descriptor).take(10_000_000).read_to_end(&mut bytes)?;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        cx.send(&format!("{lines} lines, {} bytes", bytes.len()));
    }
    Ok(())
}

fn send(path: &Path, file: &Path) -> Outcome {
    let server = UnixStream::connect(path)?;
    println!("the server is {}", server.peer_credentials()?);
    // The server reads what we have opened: it needs no rights of its own.
    let opened = File::open(file)?;
    server.send_with_descriptors(b"this file\n", &[opened.as_fd()])?;
    server.shutdown(Shutdown::Write)?;
    for line in BufReader::new(&server).lines() {
        println!("{}", line?);
    }
    Ok(())
}
