//! What an idle connection costs the server in memory of its own.

use super::streams::{connect, message};
use super::{Failure, Options, SILENCE};
use peers::Transport;
use socket2::Socket;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Opens the connections, each with one message there and back, so that what is made with the first
/// message is there; then the server's resident memory is compared with what it was before.
pub fn run(options: &Options) -> Result<String, Failure> {
    let message = message(options.service, options.size);
    // What the server makes once, with its first connection, is not counted.
    let _first = open(options, &message)?;
    settle();
    let before = peers::cpu::resident_bytes(options.pid)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        connections.push(open(options, &message)?);
        if Instant::now() > deadline {
            return Err("a minute was not enough to open the connections".into());
        }
    }
    settle();
    let after = peers::cpu::resident_bytes(options.pid)?;
    let each = (after as f64 - before as f64) / connections.len() as f64;
    Ok(format!(
        "{{\"mode\":\"idle\",\"connections\":{},\"resident_bytes\":{after},\"bytes_each\":{each:.0}}}",
        connections.len()
    ))
}

fn open(options: &Options, message: &[u8]) -> Result<Socket, Failure> {
    let mut socket = connect(Transport::Tcp, &options.at)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.write_all(message)?;
    let mut back = vec![0; message.len()];
    socket.read_exact(&mut back)?;
    Ok(socket)
}

/// Time for the server to go to rest.
fn settle() {
    thread::sleep(Duration::from_millis(200));
}
