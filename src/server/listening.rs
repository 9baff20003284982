//! What a server can listen on.

use super::loopback;
use crate::addr::{
    Any, AnyAddr, Datagram, Endpoint, HostPort, Stream, Supports, Transport, UnixAddr,
};
use crate::error::Error;
use crate::socket::{Listener, Socket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

/// A host and a port: text such as `"localhost:7000"` or `"*:http"`, an address of std, or a port
/// alone, which means loopback.
pub trait IntoHostPort {
    /// The host and the port.
    ///
    /// # Errors
    ///
    /// The text is none: the error says which part is wrong and what was expected.
    fn into_host_port(self) -> Result<HostPort, Error>;
}

impl IntoHostPort for &str {
    fn into_host_port(self) -> Result<HostPort, Error> {
        let parsed = self.parse::<HostPort>();
        parsed.map_err(|error| Error::new("parse", self.escape_debug(), error.into()))
    }
}

impl IntoHostPort for String {
    fn into_host_port(self) -> Result<HostPort, Error> {
        self.as_str().into_host_port()
    }
}

impl IntoHostPort for &String {
    fn into_host_port(self) -> Result<HostPort, Error> {
        self.as_str().into_host_port()
    }
}

impl IntoHostPort for HostPort {
    fn into_host_port(self) -> Result<HostPort, Error> {
        Ok(self)
    }
}

impl IntoHostPort for u16 {
    fn into_host_port(self) -> Result<HostPort, Error> {
        Ok(loopback(self))
    }
}

macro_rules! addresses {
    ($($address:ty),*) => {$(
        impl IntoHostPort for $address {
            fn into_host_port(self) -> Result<HostPort, Error> {
                Ok(HostPort::from(SocketAddr::from(self)))
            }
        }
    )*};
}

addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

/// What a server can listen on: an endpoint (`"udp://*:7000"`, `"unix:///run/app.sock"`, an
/// [`Endpoint`]), or a typed socket that was made and configured before. Sealed.
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
}

impl Source {
    pub(super) fn tcp(at: impl IntoHostPort) -> Result<Source, Error> {
        Ok(Source(Origin::Endpoint(Endpoint::tcp(at.into_host_port()?))))
    }

    pub(super) fn udp(at: impl IntoHostPort) -> Result<Source, Error> {
        Ok(Source(Origin::Endpoint(Endpoint::udp(at.into_host_port()?))))
    }

    pub(super) fn unix(at: Result<UnixAddr, Error>) -> Result<Source, Error> {
        Ok(Source(Origin::Endpoint(Endpoint::unix(at?))))
    }
}

impl IntoListening for Result<Source, Error> {
    fn into_listening(self) -> Result<Source, Error> {
        self
    }
}

impl IntoListening for Endpoint {
    fn into_listening(self) -> Result<Source, Error> {
        Ok(Source(Origin::Endpoint(self)))
    }
}

impl IntoListening for &str {
    fn into_listening(self) -> Result<Source, Error> {
        let parsed = self.parse::<Endpoint>();
        let endpoint =
            parsed.map_err(|error| Error::new("listen on", self.escape_debug(), error.into()))?;
        endpoint.into_listening()
    }
}

impl IntoListening for &String {
    fn into_listening(self) -> Result<Source, Error> {
        self.as_str().into_listening()
    }
}

impl IntoListening for String {
    fn into_listening(self) -> Result<Source, Error> {
        self.as_str().into_listening()
    }
}

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
    impl Sealed for Endpoint {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
    impl<F: Supports<Stream>> Sealed for Listener<F, Stream> {}
    impl<F: Supports<Datagram>> Sealed for Socket<F, Datagram> {}
}
