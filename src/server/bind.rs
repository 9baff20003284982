//! Binding endpoints: names to addresses, addresses to sockets.

use super::listening::{Origin, Source};
use crate::addr::{AnyAddr, Endpoint, Transport, UnixAddr};
use crate::engine::{Listening, MemoryListening, Serve, Service};
use crate::error::Error;
use crate::lookup;
use crate::socket::{Options, TcpListener, UdpSocket, UnixDatagram, UnixListener, UnixSeqListener};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Binds a source: to one socket, or to one for each address of its name.
pub(super) fn bind(
    source: Source,
    service: &Service,
    options: &Options,
    sockets: &mut Vec<Listening>,
    memory: &mut Vec<MemoryListening>,
    files: &mut Vec<SocketFile>,
) -> Result<(), Error> {
    let place = sockets.len();
    let mut add = |socket: OwnedFd, endpoint: Endpoint| {
        let transport = endpoint.transport();
        let service = service.at(&endpoint);
        // What is accepted over TCP inherits its options, which costs nothing per connection.
        let accepted = if transport.is_unix() { options.for_accepted_unix() } else { None };
        sockets.push(Listening::new(socket, endpoint, service, accepted));
    };
    let endpoint = match source.0 {
        Origin::Endpoint(endpoint) => endpoint,
        Origin::Socket(socket, endpoint) => {
            check(&endpoint, service)?;
            let set = options.set_on(&socket, endpoint.transport());
            set.map_err(|error| Error::new("listen on", &endpoint, error))?;
            add(socket, endpoint);
            sockets.iter_mut().skip(place).for_each(|listening| listening.lent = true);
            return Ok(());
        }
        Origin::Memory(listener) => {
            check(&Endpoint::memory(), service)?;
            let (listener, service) = (Arc::new(listener), service.at(&Endpoint::memory()));
            memory.push(MemoryListening { listener, place, service });
            return Ok(());
        }
    };
    check(&endpoint, service)?;
    let failed = |error| Error::new("listen on", &endpoint, error);
    if let Some(at) = endpoint.unix_addr() {
        let socket = bind_unix(&endpoint, at, service, options).map_err(failed)?;
        if let Some(path) = at.as_path() {
            files.push(SocketFile::new(path.to_owned()).map_err(failed)?);
        }
        add(socket, endpoint);
        return Ok(());
    }
    let Some(at) = endpoint.host_port() else {
        let error = "a listener in memory has no name: hand in the listener itself";
        return Err(failed(io::Error::new(io::ErrorKind::Unsupported, error)));
    };
    let datagram = endpoint.transport() == Transport::Udp;
    let addresses = lookup::resolve(at, datagram)?;
    let options = options.clone().with_keepalive().with_only_v6(!at.is_dual_stack());
    let (mut bound, mut last) = (0, None);
    for address in &addresses {
        match bind_ip(*address, datagram, &options) {
            Ok((socket, local)) => {
                bound += 1;
                let local = Endpoint::from_addr(endpoint.transport(), local);
                add(socket, local.expect("an IP transport fits an IP address"));
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

fn check(endpoint: &Endpoint, service: &Service) -> Result<(), Error> {
    let refused = |why: &'static str| {
        let error = io::Error::new(io::ErrorKind::Unsupported, why);
        Err(Error::new("listen on", endpoint, error))
    };
    match (endpoint.transport(), &service.serve) {
        (transport, Serve::Blocking(_)) if transport.keeps_messages() => {
            refused("a blocking handler is given a stream, and this endpoint has none")
        }
        (Transport::Memory, Serve::Blocking(_)) => {
            refused("a blocking handler is given a socket, and this endpoint has none")
        }
        _ => Ok(()),
    }
}

fn bind_unix(
    endpoint: &Endpoint,
    at: &UnixAddr,
    service: &Service,
    options: &Options,
) -> io::Result<OwnedFd> {
    let (at, mut options) = (at.clone(), options.clone());
    if matches!(service.serve, Serve::Sessions(_)) {
        // Frames are bytes: nobody would take a descriptor. A function that has the socket may.
        options = options.with_no_descriptors();
    }
    let options = &options;
    match endpoint.transport() {
        Transport::UnixDatagram => Ok(UnixDatagram::bind_with(at, options)?.into()),
        Transport::UnixSeqPacket => Ok(UnixSeqListener::bind_with(at, options)?.into()),
        _ => Ok(UnixListener::bind_with(at, options)?.into()),
    }
}

fn bind_ip(
    address: std::net::SocketAddr,
    datagram: bool,
    options: &Options,
) -> io::Result<(OwnedFd, AnyAddr)> {
    if datagram {
        let socket = UdpSocket::bind_with(address, options)?;
        let local = socket.local_addr()?;
        return Ok((socket.into(), local.into()));
    }
    let listener = TcpListener::bind_with(address, options)?;
    let local = listener.local_addr()?;
    Ok((listener.into(), local.into()))
}

/// A socket file that this server has made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: PathBuf) -> io::Result<SocketFile> {
        let file = fs::symlink_metadata(&path)?;
        Ok(SocketFile { path, device: file.dev(), inode: file.ino() })
    }

    /// Removes the file, if it is still ours: another server may have taken the path over.
    pub(super) fn remove(&self) {
        let Ok(file) = fs::symlink_metadata(&self.path) else { return };
        if (file.dev(), file.ino()) == (self.device, self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
