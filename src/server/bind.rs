//! Binding endpoints: names to addresses, addresses to sockets.

use super::listening::{Origin, Source};
use crate::addr::{AnyAddr, Endpoint, Transport, UnixAddr};
use crate::engine::{Listening, MemoryListening, Serve, Service};
use crate::error::Error;
use crate::lookup;
use crate::socket::{
    Options, SocketFile, SocketFileOptions, TcpListener, UdpSocket, UnixDatagram, UnixListener,
    UnixSeqListener,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a server has bound so far. Dropped before it starts, it leaves no file behind.
pub(super) struct Bound {
    service: Service,
    options: Options,
    how: SocketFileOptions,
    /// How many sockets a UDP endpoint has.
    datagram_workers: usize,
    pub(super) sockets: Vec<Listening>,
    pub(super) memory: Vec<MemoryListening>,
    pub(super) files: Vec<SocketFile>,
}

impl Bound {
    pub(super) fn new(
        service: Service,
        options: Options,
        how: SocketFileOptions,
        datagram_workers: usize,
    ) -> Bound {
        let (sockets, memory, files) = (Vec::new(), Vec::new(), Vec::new());
        Bound { service, options, how, datagram_workers, sockets, memory, files }
    }

    /// Binds a source: to one socket, or to one for each address of its name.
    pub(super) fn add(&mut self, source: Source) -> Result<(), Error> {
        let endpoint = match source.0 {
            Origin::Endpoint(endpoint) => endpoint,
            Origin::Socket(socket, endpoint) => {
                check(&endpoint, &self.service)?;
                let set = self.options.set_on(&socket, endpoint.transport());
                set.map_err(|error| Error::new("listen on", &endpoint, error))?;
                self.push(socket, Vec::new(), endpoint);
                if let Some(listening) = self.sockets.last_mut() {
                    listening.lent = true;
                }
                return Ok(());
            }
            Origin::Memory(listener) => {
                check(&Endpoint::memory(), &self.service)?;
                let (listener, service) =
                    (Arc::new(listener), self.service.at(&Endpoint::memory()));
                let place = self.sockets.len();
                self.memory.push(MemoryListening { listener, place, service });
                return Ok(());
            }
        };
        check(&endpoint, &self.service)?;
        let failed = |error| Error::new("listen on", &endpoint, error);
        if let Some(at) = endpoint.unix_addr() {
            let socket = self.bind_unix(endpoint.transport(), at).map_err(failed)?;
            self.push(socket, Vec::new(), endpoint);
            return Ok(());
        }
        let Some(at) = endpoint.host_port() else {
            let error = "a listener in memory has no name: hand in the listener itself";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, error)));
        };
        let datagram = endpoint.transport() == Transport::Udp;
        let addresses = lookup::resolve(at, datagram)?;
        let options = self.options.clone().with_keepalive().with_only_v6(!at.is_dual_stack());
        let (mut bound, mut last) = (0, None);
        for address in &addresses {
            match bind_ip(*address, datagram, &options, self.datagram_workers) {
                Ok((socket, twins, local)) => {
                    bound += 1;
                    let local = Endpoint::from_addr(endpoint.transport(), local);
                    self.push(socket, twins, local.expect("an IP transport fits an IP address"));
                }
                // `localhost` has two addresses even where the machine has only one family.
                Err(error) if lookup::is_missing_here(&error) => last = Some(error),
                Err(error) => return Err(failed(error)),
            }
        }
        match (bound, last) {
            (0, Some(error)) => Err(failed(error)),
            _ => Ok(()),
        }
    }

    fn push(&mut self, socket: OwnedFd, twins: Vec<OwnedFd>, endpoint: Endpoint) {
        let is_unix = endpoint.transport().is_unix();
        // What is accepted over TCP inherits its options, which costs nothing per connection.
        let accepted = if is_unix { self.options.for_accepted_unix() } else { None };
        let service = self.service.at(&endpoint);
        let listening = Listening::new(socket, endpoint, service, accepted);
        self.sockets.push(Listening { twins, ..listening });
    }

    fn bind_unix(&mut self, transport: Transport, at: &UnixAddr) -> io::Result<OwnedFd> {
        let mut options = self.options.clone();
        let passes = self.service.descriptors && transport != Transport::UnixDatagram;
        if matches!(self.service.serve, Serve::Sessions(_)) && !passes {
            // Nobody would take a descriptor. A function that has the socket may.
            options = options.with_no_descriptors();
        }
        macro_rules! bind {
            ($socket:ty) => {
                match at.as_path() {
                    None => <$socket>::bind_with(at.clone(), &options)?.into(),
                    Some(path) => {
                        let (socket, file) = <$socket>::bind_file_with(path, &self.how, &options)?;
                        self.files.push(file);
                        socket.into()
                    }
                }
            };
        }
        Ok(match transport {
            Transport::UnixDatagram => bind!(UnixDatagram),
            Transport::UnixSeqPacket => bind!(UnixSeqListener),
            _ => bind!(UnixListener),
        })
    }
}

fn check(endpoint: &Endpoint, service: &Service) -> Result<(), Error> {
    let refused = |why: &'static str| {
        let error = io::Error::new(io::ErrorKind::Unsupported, why);
        Err(Error::new("listen on", endpoint, error))
    };
    match (endpoint.transport(), &service.serve) {
        (transport, Serve::Blocking(_)) if transport.keeps_messages() => {
            refused("a blocking handler is given a stream, and this endpoint has none")
        }
        (Transport::UnixDatagram, _) if service.admit_unix.is_some() => {
            refused("who sends a datagram is not known by its credentials: nobody could be let in")
        }
        (Transport::Memory, Serve::Blocking(_)) => {
            refused("a blocking handler is given a socket, and this endpoint has none")
        }
        _ => Ok(()),
    }
}

fn bind_ip(
    address: SocketAddr,
    datagram: bool,
    options: &Options,
    datagram_workers: usize,
) -> io::Result<(OwnedFd, Vec<OwnedFd>, AnyAddr)> {
    if datagram {
        let socket = UdpSocket::bind_with(address, options)?;
        let local = socket.local_addr()?;
        let twins = socket.twins(options, datagram_workers.saturating_sub(1))?;
        let twins = twins.into_iter().map(OwnedFd::from).collect();
        return Ok((socket.into(), twins, local.into()));
    }
    let listener = TcpListener::bind_with(address, options)?;
    let local = listener.local_addr()?;
    Ok((listener.into(), Vec::new(), local.into()))
}
