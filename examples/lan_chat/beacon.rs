//! Beacons: who is there and on which TCP port, said to everybody on the network once a second.
//!
//! A beacon is a line of text in a datagram, `lan-chat 1 ID PORT NICK`: the version, the instance in 16
//! hexadecimal digits, the TCP port. The address is not in it: it is that of the datagram's sender, so
//! nobody can advertise one that does not work from here.
//!
//! It is sent to both groups on every interface that is up, because the system's choice is one interface
//! and often the wrong one. Interfaces come and go: they are listed anew every time.

use super::chat::name::Name;
use super::circle::Id;
use sockeye::addr::{IpFamily, Ipv4, Ipv6};
use sockeye::lookup::{Interface, interfaces};
use sockeye::socket::{Options, UdpSocket};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

/// Of the block that is for one site only (RFC 2365). It never leaves the network: one hop.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 76, 67);
/// For one link, and assigned to nobody (RFC 4291).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x6c61, 0x6e63);
pub const PORT: u16 = 17474;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    pub id: Id,
    pub port: u16,
    pub nick: Name,
}

impl fmt::Display for Beacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lan-chat 1 {} {} {}", self.id, self.port, self.nick)
    }
}

impl Beacon {
    pub fn parse(datagram: &[u8]) -> Option<Beacon> {
        let text = std::str::from_utf8(datagram).ok()?;
        let mut words = text.strip_prefix("lan-chat 1 ")?.splitn(3, ' ');
        let id = words.next()?.parse().ok()?;
        let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
        let nick = Name::new(words.next()?).ok()?;
        Some(Beacon { id, port, nick })
    }
}

/// The sockets, one for each version of IP that this host has.
pub struct Ether {
    v4: Option<Arc<UdpSocket<Ipv4>>>,
    v6: Option<Arc<UdpSocket<Ipv6>>>,
    port: u16,
    /// Only where the chat listens.
    at: IpAddr,
    joined: HashSet<(bool, u32)>,
}

impl Ether {
    /// Binds the port of the beacons, which all instances of a host share.
    pub fn bind(port: u16, at: IpAddr) -> io::Result<Ether> {
        let shared = Options::new().reuse_address(true);
        // A chat that listens at one address of one version is not to be found by the other.
        let (v4, v6) = (at.is_ipv4(), at.is_ipv6());
        let everywhere = at.is_unspecified() && v6;
        let v4 = (v4 || everywhere).then(|| {
            UdpSocket::<Ipv4>::bind_with((Ipv4Addr::UNSPECIFIED, port), &shared).map(Arc::new)
        });
        let v6 = v6.then(|| {
            UdpSocket::<Ipv6>::bind_with((Ipv6Addr::UNSPECIFIED, port), &shared).map(Arc::new)
        });
        match (v4, v6) {
            (Some(Err(error)), None | Some(Err(_))) | (None, Some(Err(error))) => Err(error),
            (v4, v6) => {
                let (v4, v6) = (v4.and_then(Result::ok), v6.and_then(Result::ok));
                Ok(Ether { v4, v6, port, at, joined: HashSet::new() })
            }
        }
    }

    /// Starts to listen, on a thread for each version: `heard` is told of each datagram.
    pub fn listen(&self, heard: impl Fn(&[u8], SocketAddr) + Clone + Send + 'static) {
        if let Some(socket) = self.v4.clone() {
            let heard = heard.clone();
            std::thread::spawn(move || receive(&socket, |datagram, from| heard(datagram, from)));
        }
        if let Some(socket) = self.v6.clone() {
            std::thread::spawn(move || receive(&socket, |datagram, from| heard(datagram, from)));
        }
    }

    /// Joins the groups where that was not done yet, and sends the beacon, on every interface. The names
    /// of those by which it left.
    pub fn send(&mut self, beacon: &Beacon) -> io::Result<Vec<String>> {
        let text = beacon.to_string();
        let mut all = interfaces()?;
        all.retain(|interface| {
            interface.is_up
                && (self.at.is_unspecified()
                    || interface.addresses.iter().any(|at| at.ip() == self.at))
        });
        // One that comes back, perhaps with its old index, is joined anew.
        self.joined.retain(|(_, index)| all.iter().any(|interface| interface.index == *index));
        let mut sent = Vec::new();
        for interface in &all {
            // Either may fail, for want of an address or of a link: the next time it may not.
            let v4 = self.send_v4(interface, text.as_bytes()).is_ok();
            let v6 = self.send_v6(interface, text.as_bytes()).is_ok();
            if v4 || v6 {
                sent.push(interface.name.clone());
            }
        }
        Ok(sent)
    }

    fn send_v4(&mut self, interface: &Interface, text: &[u8]) -> io::Result<()> {
        let socket = self.v4.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // Without one of its own the beacon would come from the address of another network.
        if !interface.addresses.iter().any(SocketAddr::is_ipv4) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if self.joined.insert((true, interface.index)) {
            let joined = socket.join_multicast(GROUP_V4, interface);
            joined.or_else(already).inspect_err(|_| {
                self.joined.remove(&(true, interface.index));
            })?;
        }
        socket.set_multicast_interface(interface)?;
        socket.send_to(text, &SocketAddrV4::new(GROUP_V4, self.port)).map(drop)
    }

    fn send_v6(&mut self, interface: &Interface, text: &[u8]) -> io::Result<()> {
        let socket = self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        if !interface.addresses.iter().any(SocketAddr::is_ipv6) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if self.joined.insert((false, interface.index)) {
            let joined = socket.join_multicast(GROUP_V6, interface);
            joined.or_else(already).inspect_err(|_| {
                self.joined.remove(&(false, interface.index));
            })?;
        }
        socket.send_to(text, &SocketAddrV6::new(GROUP_V6, self.port, 0, interface.index)).map(drop)
    }
}

/// The interface was away and is back, with its membership.
fn already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AddrInUse { Ok(()) } else { Err(error) }
}

fn receive<F>(socket: &UdpSocket<F>, heard: impl Fn(&[u8], SocketAddr))
where
    F: IpFamily,
    F::Address: Into<SocketAddr>,
{
    let mut buffer = [0; 512];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok(received) if !received.truncated => {
                heard(&buffer[..received.len], received.from.into());
            }
            Ok(_) => {}
            // Such as a network that went down: what comes later is heard.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}
