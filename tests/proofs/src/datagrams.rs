//! Datagrams between two machines: two namespaces joined by a link, with three addresses each.
//!
//! What a group hears, and from whom; from which address a server answers; and what a forged datagram
//! starts, with and without a guard. Needs root.

use crate::hosts::Host;
use crate::table::Table;
use sockeye::codec::Lines;
use sockeye::engine::AnyEngine;
use sockeye::handler::Context;
use sockeye::limits::ReplyGuard;
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::{Options, UdpSocket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Whether all of it holds.
pub fn prove() -> Result<bool, String> {
    let (left, right) = (Host::new()?, Host::new()?);
    join(&left, &right)?;
    let mut table = Table::new();
    for net in [V4, V6] {
        groups(&mut table, net, &left, &right)?;
        sources(&mut table, net, &left, &right)?;
    }
    broadcast(&mut table, &left, &right)?;
    for engine in ENGINES {
        for (at, nets) in [("0.0.0.0", &[V4][..]), ("[::]", &[V6]), ("*", &[V4, V6])] {
            addresses(&mut table, engine, at, nets, &left, &right)?;
        }
        asked_by_group(&mut table, engine, &left, &right)?;
        for guarded in [false, true] {
            a_loop(&mut table, engine, guarded, &left, &right)?;
        }
        forged(&mut table, engine, &left, &right)?;
    }
    Ok(table.end())
}

/// The addresses of one family.
#[derive(Clone, Copy)]
struct Net {
    name: &'static str,
    any: &'static str,
    left: [&'static str; 3],
    right: [&'static str; 3],
    groups: [&'static str; 3],
    prefix: u8,
}

const V4: Net = Net {
    name: "IPv4",
    any: "0.0.0.0",
    left: ["192.0.2.1", "192.0.2.11", "192.0.2.21"],
    right: ["192.0.2.2", "192.0.2.12", "192.0.2.22"],
    groups: ["239.255.1.1", "239.255.1.2", "232.1.1.3"],
    prefix: 24,
};
const V6: Net = Net {
    name: "IPv6",
    any: "::",
    left: ["2001:db8::1", "2001:db8::11", "2001:db8::21"],
    right: ["2001:db8::2", "2001:db8::12", "2001:db8::22"],
    groups: ["ff15::1:1", "ff15::1:2", "ff35::1:3"],
    prefix: 64,
};
const ENGINES: [(&str, usize); 3] = [("threads", 1), ("events", 1), ("events", 2)];
const LINK: &str = "data0";
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

fn join(left: &Host, right: &Host) -> Result<(), String> {
    let other = &right.thread;
    left.ip(&format!("link add {LINK} type veth peer name {LINK} netns {other}"))?;
    for (host, addresses) in [(left, [V4.left, V6.left]), (right, [V4.right, V6.right])] {
        host.ip("link set lo up")?;
        host.ip(&format!("link set {LINK} up"))?;
        for (net, addresses) in [V4, V6].iter().zip(addresses) {
            for address in addresses {
                host.add_address(&format!("{address}/{}", net.prefix), LINK)?;
            }
        }
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of this file")
}

/// A socket of sockeye's on this host.
fn socket(host: &Host, at: SocketAddr, shared: bool) -> Result<UdpSocket, String> {
    host.run(move || {
        let options = Options::new().reuse_address(shared);
        let socket = UdpSocket::bind_with(at, &options).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(socket)
    })
}

/// What a socket hears next, and where that came from.
fn next(socket: &UdpSocket) -> (String, Option<SocketAddr>) {
    let mut bytes = [0; 1500];
    match socket.receive(&mut bytes) {
        Ok(it) => (String::from_utf8_lossy(&bytes[..it.len]).into_owned(), Some(it.from)),
        Err(error) => (format!("nothing: {error}"), None),
    }
}

fn say(socket: &UdpSocket, text: &str, to: SocketAddr) -> Result<(), String> {
    socket.send_to(text.as_bytes(), &to).map(drop).map_err(failed)
}

/// Each of two groups is heard by who joined it, on one port of one host.
fn groups(table: &mut Table, net: Net, left: &Host, right: &Host) -> Result<(), String> {
    let [one, other, _] = net.groups.map(ip);
    let hears_one = socket(right, SocketAddr::new(ip(net.any), 0), true)?;
    let port = hears_one.local_addr().map_err(failed)?.port();
    let hears_other = socket(right, SocketAddr::new(ip(net.any), port), true)?;
    // The namespace is that of the socket, wherever the call is made; names of interfaces are not.
    let index = right.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    hears_one.join_multicast(one, index).map_err(failed)?;
    hears_other.join_multicast(other, index).map_err(failed)?;
    let sender = socket(left, SocketAddr::new(ip(net.left[0]), 0), false)?;
    let index = left.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    sender.set_multicast_interface(index).map_err(failed)?;
    for (text, group) in [("to one", one), ("to the other", other), ("end", one), ("end", other)] {
        say(&sender, text, SocketAddr::new(group, port))?;
    }
    for (socket, group, text) in
        [(&hears_one, one, "to one"), (&hears_other, other, "to the other")]
    {
        let heard = [next(socket).0, next(socket).0];
        let what = format!("{}: who joined {group} hears", net.name);
        table.row(&what, heard.join(", "), format!("{text}, end"), heard == [text, "end"]);
    }
    Ok(())
}

/// A source-specific member hears its source, until it leaves.
fn sources(table: &mut Table, net: Net, left: &Host, right: &Host) -> Result<(), String> {
    let group = ip(net.groups[2]);
    let member = socket(right, SocketAddr::new(ip(net.any), 0), false)?;
    let port = member.local_addr().map_err(failed)?.port();
    let index = right.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    let source = ip(net.left[0]);
    member.join_multicast_source(group, source, index).map_err(failed)?;
    let there = left.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    let wanted = socket(left, SocketAddr::new(source, 0), false)?;
    let unwanted = socket(left, SocketAddr::new(ip(net.left[1]), 0), false)?;
    for sender in [&unwanted, &wanted] {
        sender.set_multicast_interface(there).map_err(failed)?;
    }
    say(&unwanted, "unwanted", SocketAddr::new(group, port))?;
    say(&wanted, "wanted", SocketAddr::new(group, port))?;
    let heard = next(&member).0;
    let what = format!("{}: a member for one source hears first", net.name);
    table.row(&what, &heard, "wanted", heard == "wanted");
    member.leave_multicast_source(group, source, index).map_err(failed)?;
    say(&wanted, "after it left", SocketAddr::new(group, port))?;
    say(&wanted, "to itself", SocketAddr::new(ip(net.right[0]), port))?;
    let heard = next(&member).0;
    let what = format!("{}: and after it left", net.name);
    table.row(&what, &heard, "to itself", heard == "to itself");
    Ok(())
}

fn broadcast(table: &mut Table, left: &Host, right: &Host) -> Result<(), String> {
    let receiver = socket(right, SocketAddr::new(ip("0.0.0.0"), 0), false)?;
    let port = receiver.local_addr().map_err(failed)?.port();
    let sender = socket(left, SocketAddr::new(ip(V4.left[0]), 0), false)?;
    let everybody = SocketAddr::new(ip("192.0.2.255"), port);
    let refused =
        sender.send_to(b"x", &everybody).map_or_else(|e| e.kind().to_string(), |_| "sent".into());
    table.row(
        "broadcast, not switched on",
        &refused,
        "permission denied",
        refused == "permission denied",
    );
    sender.set_broadcast(true).map_err(failed)?;
    say(&sender, "everybody", everybody)?;
    let heard = next(&receiver).0;
    table.row("broadcast, switched on", &heard, "everybody", heard == "everybody");
    Ok(())
}

/// What an echo has handled.
type Handled = Arc<AtomicU64>;

/// An echo, which says `later` a little later.
fn echo(
    host: &Host,
    (engine, workers): (&'static str, usize),
    server: impl FnOnce() -> Result<Server, String> + Send + 'static,
    guard: Option<ReplyGuard>,
    times: usize,
) -> Result<(ServerHandle, Handled), String> {
    let handled = Handled::default();
    let counted = handled.clone();
    let server = host.run(move || {
        let server =
            server()?.engine(engine.parse::<AnyEngine>().map_err(failed)?.workers(workers));
        let server = match guard {
            Some(guard) => server.reply_guard(guard),
            None => server,
        };
        let echo = move |line: &str, cx: &mut Context<'_, Lines>| {
            counted.fetch_add(1, SeqCst);
            if line == "later" {
                let (remote, text) = (cx.remote(), line.to_owned());
                thread::spawn(move || remote.send(&text));
            } else {
                (0..times).for_each(|_| cx.send(line));
            }
        };
        server.codec(Lines::default()).serve(echo).map_err(failed)
    })?;
    Ok((server, handled))
}

fn port(server: &ServerHandle) -> Result<u16, String> {
    let at = server.local_endpoints()[0].to_string();
    at.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or(format!("{at} has no port"))
}

fn end(server: &ServerHandle) -> Result<sockeye::engine::Counters, String> {
    server.stop(Duration::from_secs(1));
    Ok(server.join().map_err(failed)?.counters)
}

/// A connected socket drops what comes from elsewhere than it asked.
fn addresses(
    table: &mut Table,
    engine: (&'static str, usize),
    at: &'static str,
    nets: &[Net],
    left: &Host,
    right: &Host,
) -> Result<(), String> {
    let (server, _) =
        echo(right, engine, move || Ok(Server::on(format!("udp://{at}:0"))), None, 1)?;
    let port = port(&server)?;
    let (mut answered, mut asked) = (0, 0);
    for net in nets {
        for address in net.right {
            let to = SocketAddr::new(ip(address), port);
            let any = SocketAddr::new(ip(net.any), 0);
            let client = left.run(move || {
                let client = std::net::UdpSocket::bind(any).map_err(failed)?;
                client.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
                client.connect(to).map_err(failed)?;
                Ok(client)
            })?;
            for text in ["at once", "later"] {
                client.send(text.as_bytes()).map_err(failed)?;
                let mut bytes = [0; 100];
                asked += 1;
                if client.recv(&mut bytes).is_ok_and(|length| &bytes[..length] == text.as_bytes()) {
                    answered += 1;
                }
            }
        }
    }
    let what =
        format!("{}, {} workers, udp://{at}: answers from the address asked", engine.0, engine.1);
    table.row(&what, answered, asked, answered == asked);
    end(&server).map(drop)
}

/// A group is no address to answer from.
fn asked_by_group(
    table: &mut Table,
    engine: (&'static str, usize),
    left: &Host,
    right: &Host,
) -> Result<(), String> {
    let index = right.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    let group = ip(V4.groups[0]);
    let bound = socket(right, SocketAddr::new(ip(V4.any), 0), false)?;
    bound.join_multicast(group, index).map_err(failed)?;
    let (server, _) = echo(right, engine, move || Ok(Server::on(bound)), None, 1)?;
    let client = socket(left, SocketAddr::new(ip(V4.left[0]), 0), false)?;
    let there = left.run(|| sockeye::lookup::interface_index(LINK).map_err(failed))?;
    client.set_multicast_interface(there).map_err(failed)?;
    say(&client, "all of you", SocketAddr::new(group, port(&server)?))?;
    let (heard, from) = next(&client);
    let from = from.map_or_else(|| "nowhere".to_owned(), |from| from.ip().to_string());
    let what = format!("{}, {} workers: asked by a group, answers from", engine.0, engine.1);
    let holds = heard == "all of you" && V4.right.contains(&from.as_str());
    table.row(&what, from, "an address of its own", holds);
    end(&server).map(drop)
}

/// Two servers, and one datagram that neither has sent.
fn a_loop(
    table: &mut Table,
    engine: (&'static str, usize),
    guarded: bool,
    left: &Host,
    right: &Host,
) -> Result<(), String> {
    let guard = || guarded.then(ReplyGuard::default);
    let at = |address: &'static str| move || Ok(Server::udp((ip(address), 0)));
    let (one, handled_one) = echo(left, engine, at(V4.left[0]), guard(), 1)?;
    let (other, handled_other) = echo(right, engine, at(V4.right[0]), guard(), 1)?;
    let handled = || handled_one.load(SeqCst) + handled_other.load(SeqCst);
    let ends = [(V4.right[0], port(&other)?), (V4.left[0], port(&one)?)];
    forge(right, ends[0], ends[1], "for ever")?;
    let since = Instant::now();
    let dropped = || one.counters().replies_guarded + other.counters().replies_guarded;
    while handled() < LOOP && dropped() == 0 && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let before = handled();
    // One that has died out stays where it is.
    thread::sleep(Duration::from_millis(300));
    let after = handled();
    let what = format!("{}, {} workers: a forged datagram between two servers", engine.0, engine.1);
    if guarded {
        let what = format!("{what}, guarded, is handled");
        let holds = (100..=LOOP_MAX).contains(&after) && before == after && dropped() == 1;
        table.row(
            &what,
            format!("{after} times, and no more"),
            format!("at most {LOOP_MAX}"),
            holds,
        );
    } else {
        let what = format!("{what} is handled");
        let holds = before >= LOOP && after > before;
        table.row(&what, format!("{after} times, and goes on"), format!("{LOOP} and more"), holds);
    }
    end(&one)?;
    end(&other).map(drop)
}

/// So often means for ever.
const LOOP: u64 = 2000;
/// A burst of each server, and what a second gives back to both.
const LOOP_MAX: u64 = 300;

/// How much a stranger is sent, and who is never answered.
fn forged(
    table: &mut Table,
    engine: (&'static str, usize),
    left: &Host,
    right: &Host,
) -> Result<(), String> {
    let (engine_name, workers) = engine;
    let at = move || Ok(Server::udp((ip(V4.right[0]), 0)));
    let (server, handled) = echo(right, engine, at, Some(ReplyGuard::default()), 10)?;
    let server_at = (V4.right[0], port(&server)?);
    let client = socket(left, SocketAddr::new(ip(V4.left[0]), 0), false)?;
    say(&client, "0123456789", SocketAddr::new(ip(server_at.0), server_at.1))?;
    let mut heard = 0;
    while heard < 30 && next(&client).0 == "0123456789" {
        heard += 10;
    }
    let since = Instant::now();
    while server.counters().replies_guarded < 7 && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let dropped = server.counters().replies_guarded;
    let what = format!("{engine_name}, {workers} workers: for 10 bytes a stranger is sent, of 100");
    table.row(
        &what,
        format!("{heard} bytes, {dropped} replies dropped"),
        "30 bytes, 7",
        (heard, dropped) == (30, 7),
    );
    let before = handled.load(SeqCst);
    for (host, from) in [(left, (V4.left[0], 0)), (left, ("239.255.1.1", 9)), (right, server_at)] {
        forge(host, from, server_at, "nobody")?;
    }
    // What comes after them says that they came, or never will.
    say(&client, "", SocketAddr::new(ip(server_at.0), server_at.1))?;
    let since = Instant::now();
    while handled.load(SeqCst) == before && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let handled = handled.load(SeqCst) - before;
    let what =
        format!("{engine_name}, {workers} workers: from port 0, a group and itself is handled");
    table.row(&what, handled - 1, 0, handled == 1);
    // The kernel itself drops what comes from a group.
    let dropped = end(&server)?.datagrams_dropped;
    let what = format!("{engine_name}, {workers} workers: of those the server saw and dropped");
    table.row(&what, dropped, "2 or 3", (2..=3).contains(&dropped));
    Ok(())
}

/// Sends a datagram that claims to come from there, with an IPv4 header of our own.
fn forge(
    host: &Host,
    (from, from_port): (&str, u16),
    (to, to_port): (&str, u16),
    text: &'static str,
) -> Result<(), String> {
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(failed);
    let (from, to) = (address(from)?, address(to)?);
    let length = (28 + text.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    for number in [from_port, to_port, length - 20, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(text.as_bytes());
    host.run(move || {
        use socket2::{Domain, Protocol, SockAddr, Socket, Type};
        // IPPROTO_RAW: the header is ours, and the kernel writes its checksum.
        let raw =
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).map_err(failed)?;
        let to = SockAddr::from(SocketAddr::new(to.into(), 0));
        raw.send_to(&packet, &to).map(drop).map_err(failed)
    })
}
