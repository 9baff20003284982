//! The addresses of the families, and what can be given in their place.
//!
//! The family of a socket comes from the address it is made with, so these impls are also the
//! table of inference: `SocketAddrV6` makes a typed socket, a literal in a `&str` an `Ip` one.
//! No name is looked up here; names are for `Endpoint` and `lookup`.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

use super::sealed::Sealed;
use super::{Any, AnyAddr, Family, HostPort, Ip, Ipv4, Ipv6, Part, Unix, UnixAddr};
use super::{ParseEndpointError, parse};

/// An address of one family.
///
/// Sealed: [`SocketAddrV4`], [`SocketAddrV6`], [`SocketAddr`], [`UnixAddr`] and [`AnyAddr`].
///
/// ```
/// use sockeye::addr::{Address, AnyAddr};
/// use std::net::{SocketAddr, SocketAddrV4};
/// let any: AnyAddr = "127.0.0.1:80".parse::<SocketAddr>()?.to_any();
/// assert_eq!(SocketAddrV4::from_any(any).map(|v4| v4.port()), Ok(80));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub trait Address:
    Sealed + Clone + Debug + Display + PartialEq + Eq + Hash + Send + Sync + 'static
{
    /// The family that the address belongs to.
    type Family: Family<Address = Self>;

    /// The same address with its family known only at run time.
    fn to_any(&self) -> AnyAddr;

    /// The address back in its own type.
    ///
    /// # Errors
    ///
    /// Returns `addr` unchanged if it is of another family. IPv4 addresses written as IPv6
    /// (`::ffff:1.2.3.4`) are IPv6.
    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr>;
}

impl Sealed for SocketAddrV4 {}
impl Sealed for SocketAddrV6 {}
impl Sealed for SocketAddr {}
impl Sealed for UnixAddr {}
impl Sealed for AnyAddr {}

impl Address for SocketAddrV4 {
    type Family = Ipv4;

    fn to_any(&self) -> AnyAddr {
        AnyAddr::from(*self)
    }

    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr> {
        match addr {
            AnyAddr::Ip(SocketAddr::V4(v4)) => Ok(v4),
            other => Err(other),
        }
    }
}

impl Address for SocketAddrV6 {
    type Family = Ipv6;

    fn to_any(&self) -> AnyAddr {
        AnyAddr::from(*self)
    }

    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr> {
        match addr {
            AnyAddr::Ip(SocketAddr::V6(v6)) => Ok(v6),
            other => Err(other),
        }
    }
}

impl Address for SocketAddr {
    type Family = Ip;

    fn to_any(&self) -> AnyAddr {
        AnyAddr::from(*self)
    }

    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr> {
        match addr {
            AnyAddr::Ip(ip) => Ok(ip),
            other => Err(other),
        }
    }
}

impl Address for UnixAddr {
    type Family = Unix;

    fn to_any(&self) -> AnyAddr {
        AnyAddr::from(self.clone())
    }

    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr> {
        match addr {
            AnyAddr::Unix(unix) => Ok(unix),
            other => Err(other),
        }
    }
}

impl Address for AnyAddr {
    type Family = Any;

    fn to_any(&self) -> AnyAddr {
        self.clone()
    }

    fn from_any(addr: AnyAddr) -> Result<Self, AnyAddr> {
        Ok(addr)
    }
}

/// What can be given where an address is wanted; it decides the family of the socket.
///
/// | given | family |
/// |---|---|
/// | an address, or a reference to one | its own |
/// | `(Ipv4Addr, u16)`, `(Ipv6Addr, u16)`, `(IpAddr, u16)` | `Ipv4`, `Ipv6`, `Ip` |
/// | `&str`, `&String`: a literal such as `1.2.3.4:5` or `[::1]:5` | `Ip` |
/// | `&Path`, `&PathBuf` | `Unix` |
///
/// Text is a literal and nothing else: no name is looked up, so this never blocks. Sealed.
///
/// ```
/// use sockeye::addr::IntoAddress;
/// assert_eq!("[::1]:80".into_address()?.port(), 80);
/// assert!("localhost:80".into_address().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    label = "expected a `SocketAddr`, `\"127.0.0.1:7000\"`, `Path::new(\"/run/x\")` or the like",
    note = "names with their ports are looked up first: see `lookup` and `Endpoint`"
)]
pub trait IntoAddress: Sealed {
    /// The family of the address.
    type Family: Family;

    /// The address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the text is not a literal, or the path does not fit a Unix address.
    fn into_address(self) -> io::Result<<Self::Family as Family>::Address>;
}

/// Addresses stand for themselves, owned and borrowed. A blanket impl over `&A` would collide with
/// the one over `A`, since `&` is a fundamental type: hence a macro.
macro_rules! addresses_stand_for_themselves {
    ($($address:ty: $family:ty),*) => {$(
        impl IntoAddress for $address {
            type Family = $family;
            fn into_address(self) -> io::Result<$address> {
                Ok(self)
            }
        }
        impl Sealed for &$address {}
        impl IntoAddress for &$address {
            type Family = $family;
            fn into_address(self) -> io::Result<$address> {
                Ok(self.clone())
            }
        }
    )*};
}

addresses_stand_for_themselves!(
    SocketAddrV4: Ipv4,
    SocketAddrV6: Ipv6,
    SocketAddr: Ip,
    UnixAddr: Unix,
    AnyAddr: Any
);

impl Sealed for (Ipv4Addr, u16) {}
impl IntoAddress for (Ipv4Addr, u16) {
    type Family = Ipv4;

    fn into_address(self) -> io::Result<SocketAddrV4> {
        Ok(SocketAddrV4::new(self.0, self.1))
    }
}

impl Sealed for (Ipv6Addr, u16) {}
impl IntoAddress for (Ipv6Addr, u16) {
    type Family = Ipv6;

    fn into_address(self) -> io::Result<SocketAddrV6> {
        Ok(SocketAddrV6::new(self.0, self.1, 0, 0))
    }
}

impl Sealed for (IpAddr, u16) {}
impl IntoAddress for (IpAddr, u16) {
    type Family = Ip;

    fn into_address(self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(self))
    }
}

impl Sealed for &str {}
impl IntoAddress for &str {
    type Family = Ip;

    fn into_address(self) -> io::Result<SocketAddr> {
        if self.contains("://") {
            let expected = "an address without a scheme, such as `127.0.0.1:7000`";
            return Err(ParseEndpointError::new(Part::Scheme, self, expected).into());
        }
        let at: HostPort = self.parse()?;
        if let Some(addr) = at.to_socket_addr() {
            return Ok(addr);
        }
        // Why it is no literal decides what to say.
        let error = match parse::split_host_port(self) {
            Ok((host, _)) if at.is_everywhere() => ParseEndpointError::new(
                Part::Host,
                host,
                "one address, such as `0.0.0.0` or `[::]`",
            ),
            Ok((host, _)) if at.name().is_some() => ParseEndpointError::new(
                Part::Host,
                host,
                "an IPv4 or bracketed IPv6 literal; names are looked up first, with `lookup`",
            ),
            Ok((host, _)) if host.contains('%') && !at.port().is_service() => {
                ParseEndpointError::new(Part::Zone, host, "the interface by number")
            }
            _ => ParseEndpointError::new(Part::Port, self, "a number; services are looked up"),
        };
        Err(error.into())
    }
}

impl Sealed for &String {}
impl IntoAddress for &String {
    type Family = Ip;

    fn into_address(self) -> io::Result<SocketAddr> {
        self.as_str().into_address()
    }
}

impl Sealed for &Path {}
impl IntoAddress for &Path {
    type Family = Unix;

    fn into_address(self) -> io::Result<UnixAddr> {
        UnixAddr::from_path(self)
    }
}

impl Sealed for &PathBuf {}
impl IntoAddress for &PathBuf {
    type Family = Unix;

    fn into_address(self) -> io::Result<UnixAddr> {
        UnixAddr::from_path(self)
    }
}
