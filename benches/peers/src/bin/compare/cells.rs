//! What is compared with what.

use peers::Transport;
use peers::protocol::Service;

/// One load.
pub struct Cell {
    pub name: &'static str,
    pub about: &'static str,
    pub transport: Transport,
    pub service: Service,
    /// What `load` is told: the mode, and the numbers.
    pub load: &'static str,
    /// Bytes of a read buffer, in servers that have one for each connection.
    pub buffer: usize,
}

/// One server.
pub struct Server {
    /// As tables have it.
    pub name: &'static str,
    pub binary: &'static str,
    /// What follows the address and the service.
    pub engine: Option<&'static str>,
    /// With how many idle connections its memory is looked at.
    pub idle: usize,
    /// What it knows.
    pub transports: &'static [Transport],
}

impl Server {
    /// Whether it can be measured in a cell.
    pub fn knows(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }
}

/// The cell that measures memory and not time.
pub const IDLE: &str = "idle";

const SMALL: usize = 8 * 1024;
const LARGE: usize = 64 * 1024;

const fn echo(
    name: &'static str,
    about: &'static str,
    transport: Transport,
    load: &'static str,
) -> Cell {
    Cell { name, about, transport, service: Service::Echo, load, buffer: SMALL }
}

const fn fan(name: &'static str, about: &'static str, load: &'static str) -> Cell {
    Cell { service: Service::Fan, ..echo(name, about, Transport::Tcp, load) }
}

pub const CELLS: [Cell; 13] = [
    echo("tcp-c1", "TCP, 1 connection, 64 bytes", Transport::Tcp, "tcp --connections 1 --size 64"),
    echo(
        "tcp-c64",
        "TCP, 64 connections, 64 bytes",
        Transport::Tcp,
        "tcp --connections 64 --size 64",
    ),
    echo(
        "tcp-c64d16",
        "TCP, 64 connections, 16 messages of 64 bytes under way on each",
        Transport::Tcp,
        "tcp --connections 64 --depth 16 --size 64",
    ),
    Cell {
        buffer: LARGE,
        ..echo(
            "bulk-c8",
            "TCP, 8 connections, 4 messages of 64 KiB under way on each",
            Transport::Tcp,
            "tcp --connections 8 --depth 4 --size 65536",
        )
    },
    echo(
        "unix-c64",
        "Unix, 64 connections, 64 bytes",
        Transport::Unix,
        "unix --connections 64 --size 64",
    ),
    echo(
        "churn",
        "TCP, connect, 64 bytes, close; 32 connections at a time",
        Transport::Tcp,
        "churn --connections 32 --size 64",
    ),
    echo(
        "udp64-w1",
        "UDP, 1 socket, 1 datagram of 64 bytes under way",
        Transport::Udp,
        "udp --connections 1 --depth 1 --size 64",
    ),
    echo(
        "udp64-w32",
        "UDP, 4 sockets, 32 datagrams of 64 bytes under way on each",
        Transport::Udp,
        "udp --connections 4 --depth 32 --size 64",
    ),
    echo(
        "udp1200-gso",
        "UDP, 4 sockets, 32 datagrams of 1,200 bytes under way on each, 16 or more in one send",
        Transport::Udp,
        "udp --connections 4 --depth 32 --size 1200 --segmented",
    ),
    Cell {
        service: Service::Reverse,
        ..echo(
            "lines-c64",
            "TCP, 64 connections, lines of 64 bytes, reversed",
            Transport::Tcp,
            "tcp --connections 64 --size 64 --service reverse",
        )
    },
    fan(
        "fan-10",
        "TCP, lines of 64 bytes from one to 10, 16 under way; a message is a line to one",
        "fan --connections 10 --depth 16 --size 64",
    ),
    fan(
        "fan-100",
        "TCP, lines of 64 bytes from one to 100, 16 under way; a message is a line to one",
        "fan --connections 100 --depth 16 --size 64",
    ),
    fan(
        "fan-1000",
        "TCP, lines of 64 bytes from one to 1,000, 16 under way; a message is a line to one",
        "fan --connections 1000 --depth 16 --size 64",
    ),
];

/// Idle connections of an event loop, and of a server with a thread for each.
const MANY: usize = 10_000;
const FEW: usize = 1000;

const ALL: &[Transport] = &[Transport::Tcp, Transport::Unix, Transport::Udp];

const fn server(name: &'static str, binary: &'static str, idle: usize) -> Server {
    Server { name, binary, engine: None, idle, transports: ALL }
}

/// Ours first.
pub const SERVERS: [Server; 7] = [
    Server { engine: Some("events"), ..server("sockeye events", "peer-sockeye", MANY) },
    Server { engine: Some("threads"), ..server("sockeye threads", "peer-sockeye", FEW) },
    server("epoll", "peer-epoll", MANY),
    server("mio", "peer-mio", MANY),
    server("tokio", "peer-tokio", MANY),
    server("std", "peer-std", FEW),
    Server { transports: &[Transport::Udp], ..server("quinn-udp", "peer-quinn", 0) },
];

/// The servers as a round takes them. None is always first, or always behind the same one, whose end may
/// keep the kernel busy for a while: seven is a prime number, so every step goes through all.
pub fn order(round: usize) -> impl Iterator<Item = &'static Server> {
    let step = 1 + round % (SERVERS.len() - 1);
    (0..SERVERS.len()).map(move |turn| &SERVERS[(round + turn * step) % SERVERS.len()])
}

/// How many of [`SERVERS`] are ours.
pub const OURS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_server_comes_as_often_at_each_place_and_behind_each_other() {
        let (mut places, mut pairs) = (BTreeMap::new(), BTreeMap::new());
        for round in 0..42 {
            let names: Vec<&str> = order(round).map(|server| server.name).collect();
            for place in names.iter().enumerate() {
                *places.entry((place.0, *place.1)).or_insert(0) += 1;
            }
            for pair in names.windows(2) {
                *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
            }
        }
        assert_eq!((places.len(), pairs.len()), (7 * 7, 7 * 6));
        assert!(places.values().chain(pairs.values()).all(|times| *times == 6));
    }
}
