//! What the peers share: the command line, the protocol, and the system calls that have no safe form.

pub mod cpu;
pub mod datagrams;
pub mod protocol;

use protocol::Service;
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// `BIN tcp|unix|udp ADDR [echo|reverse|fan]`: what every peer is told; `fan` over TCP only.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub transport: Transport,
    /// `127.0.0.1:7000`, or a path.
    pub at: String,
    pub service: Service,
    /// What else there was: options that one peer knows.
    pub rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
    Udp,
}

impl Transport {
    pub fn parse(text: &str) -> Option<Transport> {
        match text {
            "tcp" => Some(Transport::Tcp),
            "unix" => Some(Transport::Unix),
            "udp" => Some(Transport::Udp),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Unix => "unix",
            Transport::Udp => "udp",
        }
    }
}

impl Arguments {
    /// Reads the command line, or ends the process with the usage. From here on the process ends
    /// when the one that started it does, and may open as many descriptors as the system lets it.
    pub fn read() -> Arguments {
        // A peer that cannot have these works all the same, with fewer connections.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        raise_descriptors();
        let mut words = std::env::args().skip(1);
        let transport = words.next().and_then(|word| Transport::parse(&word));
        let (Some(transport), Some(at)) = (transport, words.next()) else {
            eprintln!("usage: BIN tcp|unix|udp ADDR [echo|reverse|fan]");
            std::process::exit(2);
        };
        let service = words.next().map_or(Some(Service::Echo), |word| Service::parse(&word));
        let service =
            service.filter(|service| *service != Service::Fan || transport == Transport::Tcp);
        let Some(service) = service else {
            eprintln!("the service is echo or reverse, or, over TCP, fan");
            std::process::exit(2);
        };
        Arguments { transport, at, service, rest: words.collect() }
    }

    pub fn address(&self) -> SocketAddr {
        self.at.parse().expect("an address such as 127.0.0.1:7000")
    }

    /// A listener with the longest backlog that the system allows; streams only.
    pub fn listen(&self) -> io::Result<Socket> {
        let (domain, addr) = match self.transport {
            Transport::Unix => (Domain::UNIX, SockAddr::unix(&self.at)?),
            _ => (Domain::for_address(self.address()), SockAddr::from(self.address())),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if self.transport == Transport::Tcp {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&addr)?;
        socket.listen(i32::MAX)?;
        Ok(socket)
    }
}

/// Bytes of the read buffer, in peers that have one for each connection. As large as the load's
/// messages where these are large: `BUF`.
pub fn connection_buffer() -> usize {
    let bytes = std::env::var("BUF").ok().and_then(|text| text.parse().ok());
    bytes.unwrap_or(8 * 1024)
}

/// Bytes of the read buffer that a loop shares among its connections: as many as sockeye's loop has.
pub const LOOP_BUFFER: usize = 256 * 1024;

/// The longest datagram.
pub const DATAGRAM_MAX: usize = 64 * 1024;

/// Raises the limit of descriptors as far as it goes, and says where that is.
pub fn raise_descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors).unwrap_or(usize::MAX)
}
