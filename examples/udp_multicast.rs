//! Sends text to a multicast group, and shows what comes in one.
//!
//!     cargo run --example udp_multicast -- listen 239.255.1.2:7000
//!     cargo run --example udp_multicast -- send 239.255.1.2:7000 hello
//!
//! Several may listen on one machine. An address of IPv6 goes in brackets: `[ff12::1]:7000`. With `--source`
//! only one sender is heard: 232.0.0.0/8 and `ff3x::` are the groups for that.

use sockeye::addr::InterfaceId;
use sockeye::socket::{Options, UdpSocket};
use std::error::Error;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const USAGE: &str = "\
usage: udp_multicast listen GROUP:PORT [--interface I] [--source S] [--count N]
       udp_multicast send GROUP:PORT [--interface I] [--hops H] TEXT...

  --interface I   the network to use: a name such as eth0, an index, or an address of this machine;
                  the system's choice otherwise
  --source S      listen to this address and no other
  --count N       end after so many datagrams
  --hops H        how many routers to pass, and one more; 1, this network, otherwise";

fn main() {
    if let Err(error) = run() {
        eprintln!("udp_multicast: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut words = Vec::new();
    let (mut interface, mut source, mut count, mut hops) = (InterfaceId::Default, None, None, 1);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            Long("interface") => interface = interface_of(&arguments.value()?.string()?),
            Long("source") => source = Some(arguments.value()?.parse::<IpAddr>()?),
            Long("count") => count = Some(arguments.value()?.parse::<usize>()?),
            Long("hops") => hops = arguments.value()?.parse::<u8>()?,
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", at] => listen(group(at)?, &interface, source, count),
        ["send", at, _, ..] => send(group(at)?, &interface, hops, &words[2..].join(" ")),
        ["send", _] => Err("nothing to send: see --help".into()),
        _ => Err("expected `listen GROUP:PORT` or `send GROUP:PORT TEXT`: see --help".into()),
    }
}

fn group(text: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let wrong = |_| format!("`{}` is no address like 239.255.1.2:7000", text.escape_debug());
    let group: SocketAddr = text.parse().map_err(wrong)?;
    match group.ip().is_multicast() {
        true => Ok(group),
        false => Err(format!("{} is no multicast group", group.ip()).into()),
    }
}

fn interface_of(text: &str) -> InterfaceId {
    match (text.parse::<u32>(), text.parse::<IpAddr>()) {
        (Ok(index), _) => index.into(),
        (_, Ok(address)) => address.into(),
        _ => text.into(),
    }
}

fn listen(
    group: SocketAddr,
    interface: &InterfaceId,
    source: Option<IpAddr>,
    count: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    let any: IpAddr = match group {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // So that others on this machine can listen too.
    let shared = Options::new().reuse_address(true);
    let socket = UdpSocket::bind_with(SocketAddr::new(any, group.port()), &shared)?;
    let joined = match source {
        Some(source) => socket.join_multicast_source(group.ip(), source, interface.clone()),
        None => socket.join_multicast(group.ip(), interface.clone()),
    };
    joined.map_err(|error| format!("join {} on interface {interface}: {error}", group.ip()))?;
    let port = socket.local_addr()?.port();
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening to {} on interface {interface}", SocketAddr::new(group.ip(), port))?;
    let mut buffer = [0; 65_535];
    for _ in 0..count.unwrap_or(usize::MAX) {
        let arrival = socket.receive(&mut buffer)?;
        // What anybody may send is not to move the cursor.
        let text = String::from_utf8_lossy(&buffer[..arrival.len]);
        writeln!(out, "{}: {}", arrival.from, text.escape_debug())?;
    }
    Ok(())
}

fn send(
    group: SocketAddr,
    interface: &InterfaceId,
    hops: u8,
    text: &str,
) -> Result<(), Box<dyn Error>> {
    let any: IpAddr = match group {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_multicast_interface(interface.clone())?;
    socket.set_multicast_hops(hops)?;
    let sent = socket.send_to(text.as_bytes(), &group);
    sent.map_err(|error| format!("send to {group} by interface {interface}: {error}"))?;
    Ok(())
}
