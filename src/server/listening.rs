//! What a server can listen on.

use crate::addr::{
    Any, AnyAddr, Datagram, Endpoint, IntoEndpoint, ParseEndpointError, SeqPacket, Stream,
    Supports, Transport, UnixAddr,
};
use crate::error::Error;
use crate::memory;
use crate::socket::{Listener, Socket};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What a server can listen on: an endpoint (`"udp://*:7000"`, `"unix:///run/app.sock"`, an
/// [`Endpoint`]), a typed socket that was made and configured before, or a
/// [listener in memory](memory::Listener). Sealed.
pub trait IntoListening: sealed::Sealed {
    #[doc(hidden)]
    fn into_listening(self) -> Result<Source, Error>;
}

/// Where a server's socket comes from.
#[derive(Debug)]
pub struct Source(pub(super) Origin);

#[derive(Debug)]
pub(super) enum Origin {
    /// To be bound.
    Endpoint(Endpoint),
    /// Bound already.
    Socket(OwnedFd, Endpoint),
    /// Not a socket at all.
    Memory(memory::Listener),
}

impl Source {
    pub(super) fn new(endpoint: Result<Endpoint, ParseEndpointError>) -> Result<Source, Error> {
        let endpoint = endpoint.map_err(|error| Error::bad_endpoint("listen on", error))?;
        Ok(Source(Origin::Endpoint(endpoint)))
    }

    pub(super) fn unix(path: &Path) -> Result<Source, Error> {
        let failed =
            |error| Error::new("listen on", format_args!("unix://{}", path.display()), error);
        let at = UnixAddr::from_path(path).map_err(failed)?;
        Ok(Source(Origin::Endpoint(Endpoint::unix(at))))
    }
}

impl IntoListening for Result<Source, Error> {
    fn into_listening(self) -> Result<Source, Error> {
        self
    }
}

macro_rules! endpoints {
    ($($endpoint:ty),*) => {$(
        impl IntoListening for $endpoint {
            fn into_listening(self) -> Result<Source, Error> {
                Source::new(self.into_endpoint())
            }
        }

        impl sealed::Sealed for $endpoint {}
    )*};
}

endpoints!(Endpoint, &Endpoint, &str, &String, String);

impl<F> IntoListening for Listener<F, Stream>
where
    F: Supports<Stream>,
    Listener<Any, Stream>: From<Listener<F, Stream>>,
{
    fn into_listening(self) -> Result<Source, Error> {
        let listener = Listener::<Any, Stream>::from(self);
        let local = listener.local_addr();
        bound(listener.into(), local, Transport::Tcp, Transport::Unix)
    }
}

impl<F> IntoListening for Socket<F, Datagram>
where
    F: Supports<Datagram>,
    Socket<Any, Datagram>: From<Socket<F, Datagram>>,
{
    fn into_listening(self) -> Result<Source, Error> {
        let socket = Socket::<Any, Datagram>::from(self);
        let local = socket.local_addr();
        bound(socket.into(), local, Transport::Udp, Transport::UnixDatagram)
    }
}

impl<F> IntoListening for Listener<F, SeqPacket>
where
    F: Supports<SeqPacket>,
    Listener<Any, SeqPacket>: From<Listener<F, SeqPacket>>,
{
    fn into_listening(self) -> Result<Source, Error> {
        let listener = Listener::<Any, SeqPacket>::from(self);
        let local = listener.local_addr();
        // There is no IP seqpacket, so the first transport is never taken.
        bound(listener.into(), local, Transport::UnixSeqPacket, Transport::UnixSeqPacket)
    }
}

impl IntoListening for memory::Listener {
    fn into_listening(self) -> Result<Source, Error> {
        Ok(Source(Origin::Memory(self)))
    }
}

fn bound(
    socket: OwnedFd,
    local: io::Result<AnyAddr>,
    ip: Transport,
    unix: Transport,
) -> Result<Source, Error> {
    let local = local.map_err(|error| Error::new("listen on", "a ready-made socket", error))?;
    let transport = if local.as_ip().is_some() { ip } else { unix };
    let endpoint = Endpoint::from_addr(transport, local).ok_or_else(|| {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        Error::new("listen on", "a ready-made socket", error)
    })?;
    Ok(Source(Origin::Socket(socket, endpoint)))
}

mod sealed {
    use super::*;

    pub trait Sealed {}
    impl Sealed for Result<Source, Error> {}
    impl Sealed for memory::Listener {}
    impl<F: Supports<Stream>> Sealed for Listener<F, Stream> {}
    impl<F: Supports<Datagram>> Sealed for Socket<F, Datagram> {}
    impl<F: Supports<SeqPacket>> Sealed for Listener<F, SeqPacket> {}
}
