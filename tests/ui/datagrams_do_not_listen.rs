//! A datagram socket hears everybody, and accepts nobody.

use sockeye::addr::{Datagram, Ipv4};
use sockeye::socket::Listener;

fn takes(_: Listener<Ipv4, Datagram>) {}

fn main() {}
