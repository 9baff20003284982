//! Asks for names, addresses, services and ports, as tables.
//!
//!     cargo run --example lookup -- host localhost
//!     cargo run --example lookup -- port smtp://mail.google.com https://example.org:8443
//!
//! One line for each thing that is known: what it is, blanks, what it says.

use sockeye::lookup::{self, HostInfo, LookupErrorKind, Protocol, Service};
use std::error::Error;
use std::io::{self, Write};

const USAGE: &str = "\
usage: lookup host NAME                 canonical name, aliases, addresses
       lookup address IP                the same, by reverse lookup
       lookup service NAME|PORT [udp]   name, aliases, port, protocol
       lookup port URL...               the port of a URL or a scheme
       lookup me                        what this machine is called, and its addresses";

type Table = Vec<(String, String)>;

fn main() {
    if let Err(error) = run() {
        eprintln!("lookup: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut words = Vec::new();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("help") | Short('h') => return print(&[(USAGE.to_owned(), String::new())]),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let table = match words[..] {
        ["host", name] => host(lookup::host(name)?),
        ["address", ip] => {
            // A zone says on which link the address is, and nothing of its name.
            let plain = ip.split('%').next().unwrap_or(ip);
            let wrong = |_| format!("`{}` is no IP address, as in 192.0.2.1", ip.escape_debug());
            host(lookup::address(plain.parse().map_err(wrong)?)?)
        }
        ["service", name] => service(name, Protocol::Tcp)?,
        ["service", name, protocol] => service(name, protocol.parse()?)?,
        ["port", _, ..] => {
            let port = |url: &&str| Ok(((*url).to_owned(), lookup::port_of(url)?.to_string()));
            words[1..].iter().map(port).collect::<Result<Table, Box<dyn Error>>>()?
        }
        ["me"] => me()?,
        _ => return Err("expected host, address, service, port or me: see --help".into()),
    };
    print(&table)
}

fn host(host: HostInfo) -> Table {
    let mut table = vec![row("name", host.name)];
    table.extend(host.aliases.into_iter().map(|alias| row("alias", alias)));
    for address in host.addresses {
        let scope = match address {
            std::net::SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("%{}", v6.scope_id()),
            _ => String::new(),
        };
        table.push(row("address", format!("{}{scope}", address.ip())));
    }
    table
}

fn service(text: &str, protocol: Protocol) -> Result<Table, Box<dyn Error>> {
    let found = match text.parse() {
        Ok(port) => lookup::service_at(port, protocol)?,
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(format!("{text} is no port: the last is 65535").into());
        }
        Err(_) => lookup::service(text, protocol)?,
    };
    let Service { name, aliases, port, protocol, .. } = found;
    let mut table = vec![row("name", name)];
    table.extend(aliases.into_iter().map(|alias| row("alias", alias)));
    table.extend([row("port", port), row("protocol", protocol)]);
    Ok(table)
}

fn me() -> Result<Table, Box<dyn Error>> {
    let name = lookup::hostname()?;
    let mut table = vec![row("hostname", &name), row("fqdn", lookup::fqdn()?)];
    match lookup::host(&name) {
        Ok(known) => table.extend(host(known)),
        // Many a machine does not know itself.
        Err(error) if error.kind() != LookupErrorKind::Other => table.push(row("address", "none")),
        Err(error) => return Err(error.into()),
    }
    Ok(table)
}

fn row(what: &str, value: impl ToString) -> (String, String) {
    (what.to_owned(), value.to_string())
}

/// A reader that has seen enough, such as `head`, is no failure.
fn print(table: &[(String, String)]) -> Result<(), Box<dyn Error>> {
    let width = table.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for (what, value) in table {
        let line = format!("{what:width$}  {value}");
        match writeln!(out, "{}", line.trim_end()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}
