//! What may be given where an endpoint, or a host and a port, is wanted.

use super::{Endpoint, HostPort, ParseEndpointError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A host and a port: text such as `"localhost:7000"` or `"*:http"`, an address of std, or a port
/// alone, which means loopback: a server is not to be reachable from outside by accident.
///
/// ```
/// use sockeye::addr::IntoHostPort;
/// assert_eq!(7000.into_host_port()?.to_string(), "127.0.0.1:7000");
/// assert!(":7000".into_host_port().is_err());
/// # Ok::<(), sockeye::addr::ParseEndpointError>(())
/// ```
pub trait IntoHostPort {
    /// The host and the port.
    ///
    /// # Errors
    ///
    /// The text is none: the error says which part is wrong and what was expected.
    fn into_host_port(self) -> Result<HostPort, ParseEndpointError>;
}

/// An endpoint: text such as `"udp://localhost:7000"`, an [`Endpoint`] or a reference to one.
pub trait IntoEndpoint {
    /// The endpoint.
    ///
    /// # Errors
    ///
    /// The text is none: the error says which part is wrong and what was expected.
    fn into_endpoint(self) -> Result<Endpoint, ParseEndpointError>;
}

macro_rules! texts {
    ($($text:ty),*) => {$(
        impl IntoHostPort for $text {
            fn into_host_port(self) -> Result<HostPort, ParseEndpointError> {
                self.parse()
            }
        }

        impl IntoEndpoint for $text {
            fn into_endpoint(self) -> Result<Endpoint, ParseEndpointError> {
                self.parse()
            }
        }
    )*};
}

texts!(&str, &String, String);

macro_rules! addresses {
    ($($address:ty),*) => {$(
        impl IntoHostPort for $address {
            fn into_host_port(self) -> Result<HostPort, ParseEndpointError> {
                Ok(HostPort::from(SocketAddr::from(self)))
            }
        }
    )*};
}

addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl IntoHostPort for HostPort {
    fn into_host_port(self) -> Result<HostPort, ParseEndpointError> {
        Ok(self)
    }
}

impl IntoHostPort for u16 {
    fn into_host_port(self) -> Result<HostPort, ParseEndpointError> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self)).into())
    }
}

impl IntoEndpoint for Endpoint {
    fn into_endpoint(self) -> Result<Endpoint, ParseEndpointError> {
        Ok(self)
    }
}

impl IntoEndpoint for &Endpoint {
    fn into_endpoint(self) -> Result<Endpoint, ParseEndpointError> {
        Ok(self.clone())
    }
}
