//! Proofs: what takes long, measures time or needs root, each by its name.
//!
//!     cargo run --release -p proofs -- abuse
//!     cargo run --release -p proofs -- connect
//!     cargo run --release -p proofs -- datagrams
//!     cargo run --release -p proofs -- lan_chat
//!     cargo run --release -p proofs -- unix_start
//!     cargo run --release -p proofs -- shortage
//!     cargo run --release -p proofs -- races
//!
//! A proof prints a table of what it measured beside what it allows, and fails if a row does.

mod abuse;
mod chat;
mod connect;
mod datagrams;
mod hosts;
mod lan_chat;
#[path = "../../namespace/mod.rs"]
mod namespace;
mod races;
mod shortage;
mod table;
mod unix_start;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let proved = match name.as_str() {
        "abuse" => abuse::prove(),
        "chat" => chat::prove(),
        "connect" => connect::prove(),
        "datagrams" => datagrams::prove(),
        "lan_chat" => lan_chat::prove(),
        "races" => races::prove(),
        "shortage" => shortage::prove(),
        "unix_start" => unix_start::prove(),
        _ => Err("usage: cargo run --release -p proofs -- \
             abuse|chat|connect|datagrams|lan_chat|races|shortage|unix_start"
            .to_owned()),
    };
    match proved {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("proofs: {why}");
            ExitCode::from(2)
        }
    }
}
