//! One speaks, all hear it: C members, and D lines of the first of them under way.

use super::meter::Meter;
use super::streams::{connect, message};
use super::{Failure, Options, SILENCE};
use peers::Transport;
use peers::protocol::{GREETING, Service};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::Timespec;
use socket2::Socket;
use std::collections::VecDeque;
use std::io::Read;
use std::time::Instant;

/// A line under way.
struct Line {
    since: Instant,
    /// To so many members.
    to: usize,
}

/// The next line is said when all members have the oldest one under way. So a server gains nothing by
/// serving the one who speaks first.
pub fn run(options: &Options) -> Result<String, Failure> {
    let Options { size, depth, .. } = *options;
    let members = enter(&options.at, options.connections)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (token, member) in members.iter().enumerate() {
        member.set_nonblocking(true)?;
        epoll::add(&epoll, member, EventData::new_u64(token as u64), EventFlags::IN)?;
    }
    let lines = message(Service::Fan, size).repeat(depth);
    let say = |count: usize| -> Result<(), Failure> {
        let sent = send(&members[0], &lines[..count * size], SendFlags::NOSIGNAL)?;
        if sent < count * size {
            Err("the lines do not fit into a socket's buffer".into())
        } else {
            Ok(())
        }
    };
    let mut meter = Meter::new(options)?;
    let mut under_way: VecDeque<Line> = VecDeque::with_capacity(depth);
    let line = |since| Line { since, to: members.len() };
    under_way.extend((0..depth).map(|_| line(Instant::now())));
    say(depth)?;
    // Lines that all members have, and the bytes that each has.
    let mut finished = 0;
    let mut received = vec![0; members.len()];
    let mut buffer = vec![0; 256 * 1024];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    while meter.goes_on(Instant::now())? {
        events.clear();
        let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&tenth))?;
        for event in &events {
            let token = event.data.u64() as usize;
            // Thrown away uncopied: `check` is who looks at them.
            let length = match recv(&members[token], buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err("the server closed a connection".into()),
                Ok((_, length)) => length.min(buffer.len()),
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            let before = received[token] / size;
            received[token] += length;
            for number in before..received[token] / size {
                let line = under_way.get_mut(number - finished);
                let line = line.ok_or("more came back than was sent")?;
                line.to -= 1;
                meter.message(line.since, now);
            }
            let through = under_way.iter().take_while(|line| line.to == 0).count();
            if through > 0 {
                finished += through;
                under_way.drain(..through);
                under_way.extend((0..through).map(|_| line(now)));
                say(through)?;
            }
        }
    }
    meter.json("fan")
}

/// Connects so many members, who have all been greeted: nothing that is said now escapes them.
pub fn enter(at: &str, count: usize) -> Result<Vec<Socket>, Failure> {
    let connect = |_| connect(Transport::Tcp, at);
    let mut members = (0..count).map(connect).collect::<Result<Vec<_>, _>>()?;
    for member in &mut members {
        member.set_read_timeout(Some(SILENCE))?;
        let mut greeting = [0; GREETING.len()];
        member.read_exact(&mut greeting)?;
        if greeting != GREETING {
            return Err("the server does not greet".into());
        }
    }
    Ok(members)
}
