//! What a server can listen on.

use crate::addr::{
    Any, AnyAddr, Connected, Datagram, Endpoint, IntoEndpoint, ParseEndpointError, SocketType,
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

impl<F, K: Connected> IntoListening for Listener<F, K>
where
    F: Supports<K>,
    Any: Supports<K>,
    Listener<Any, K>: From<Listener<F, K>>,
{
    fn into_listening(self) -> Result<Source, Error> {
        let listener = Listener::<Any, K>::from(self);
        let local = listener.local_addr();
        let unix = match K::TYPE {
            SocketType::SeqPacket => Transport::UnixSeqPacket,
            _ => Transport::Unix,
        };
        // There is no seqpacket over IP.
        bound(listener.into(), local, Transport::Tcp, unix)
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
    impl<F: Supports<K>, K: Connected> Sealed for Listener<F, K> {}
    impl<F: Supports<Datagram>> Sealed for Socket<F, Datagram> {}
}
