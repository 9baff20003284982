//! Proofs: what takes long, measures time or needs root, each by its name.
//!
//!     cargo run --release -p proofs -- connect
//!     cargo run --release -p proofs -- lan_chat
//!
//! A proof prints a table of what it measured beside what it allows, and fails if a row does.

mod chat;
mod connect;
mod lan_chat;
#[path = "../../namespace/mod.rs"]
mod namespace;
mod races;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let proved = match name.as_str() {
        "chat" => chat::prove(),
        "connect" => connect::prove(),
        "lan_chat" => lan_chat::prove(),
        "races" => races::prove(),
        _ => Err("usage: cargo run --release -p proofs -- chat|connect|lan_chat|races".to_owned()),
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
