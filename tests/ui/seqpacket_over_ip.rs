//! Seqpacket exists on Unix sockets only.

use sockeye::addr::{Ipv4, SeqPacket};
use sockeye::socket::{Listener, Socket};

fn takes(_: Socket<Ipv4, SeqPacket>) {}
fn listens(_: Listener<Ipv4, SeqPacket>) {}

fn main() {}
