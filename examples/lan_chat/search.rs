//! The search for others: beacons, and the chat's clock.

use super::beacon::{self, Beacon, Ether};
use super::chat::text::inert;
use super::links::Chat;
use super::{COMPANY, random};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Sends beacons, and listens for them.
pub fn look(chat: &Arc<Chat>, port: u16, at: IpAddr, tcp: u16) -> io::Result<()> {
    let mut ether = match Ether::bind(port, at) {
        Ok(ether) => ether,
        Err(error) => {
            chat.tell(|circle, _| {
                circle.notice(format!(
                    "no beacons: UDP port {port}: {error}; use --connect HOST:PORT"
                ));
            });
            return Ok(());
        }
    };
    let hearing = chat.clone();
    ether.listen(move |datagram, from| {
        if let Some(beacon) = Beacon::parse(datagram) {
            hearing.tell(|circle, now| circle.sighted(beacon, from, now));
        }
    });
    let chat = chat.clone();
    thread::Builder::new().name("beacons".to_owned()).spawn(move || {
        let mut before = None;
        loop {
            let beacon =
                chat.ask(|circle| Beacon { id: circle.id, port: tcp, nick: circle.nick.clone() });
            let sent = ether.send(&beacon).map_err(|error| error.to_string());
            if before.as_ref() != Some(&sent) {
                chat.tell(|circle, _| circle.notice(looking(port, &sent)));
                before = Some(sent);
            }
            // Not all at once.
            thread::sleep(Duration::from_millis(750 + random() % 500));
        }
    })?;
    Ok(())
}

fn looking(port: u16, sent: &Result<Vec<String>, String>) -> String {
    let (v4, v6) = (beacon::GROUP_V4, beacon::GROUP_V6);
    let places = match sent {
        Err(error) => format!("on no interface: {error}"),
        Ok(names) if names.is_empty() => "on no interface: none is up".to_owned(),
        Ok(names) => format!("on {}", inert(&names.join(", "))),
    };
    format!("looking for others: UDP port {port}, groups {v4} and {v6}, {places}")
}

/// The chat's clock. Says what to do if nobody is found.
pub fn tick(chat: &Arc<Chat>, beacon_port: Option<u16>, tcp: u16) {
    let began = Instant::now();
    let mut hint = beacon_port;
    loop {
        thread::sleep(TICK);
        chat.tell(|circle, now| {
            circle.tick(random(), now);
            if circle.has_company() {
                hint = None;
            }
            if let Some(port) = hint.filter(|_| began.elapsed() >= COMPANY) {
                hint = None;
                let (v4, v6) = (beacon::GROUP_V4, beacon::GROUP_V6);
                circle.notice(format!(
                    "nobody found yet. On every machine UDP port {port} must be open to the groups {v4} \
                     and {v6}, and multicast must pass between them (guest Wi-Fi often stops it)"
                ));
                circle.notice(format!(
                    "without multicast: there --connect THIS-MACHINE:{tcp}, or here --connect HOST:PORT"
                ));
            }
        });
    }
}

const TICK: Duration = Duration::from_millis(100);
