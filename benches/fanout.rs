//! One speaks, all hear it: `cargo bench --bench fanout`.
//!
//! One element is one line of 64 bytes, delivered to one member of a group; an iteration is one line,
//! from the moment that it is sent to the moment that the last of the members, the sender among them,
//! has it. What is timed is wall-clock time. The bench's own thread reads for all members, behind one
//! `epoll`: one read for each costs less than what the server does for it.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

#[path = "common/room.rs"]
mod room;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use sockeye::codec::Lines;
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::handler::{Context, Group, Handler, Membership, OnSlow, Outcome};
use sockeye::{Server, ServerHandle};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Whatever a member says is heard by all; who has come in is told so by an empty line.
struct Member {
    group: Group<Lines>,
    membership: Option<Membership>,
}

impl Handler<Lines> for Member {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.membership = Some(self.group.join(&cx.remote()));
        cx.send("");
        Ok(())
    }

    fn on_frame(&mut self, line: &str, _: &mut Context<'_, Lines>) -> Outcome {
        self.group.send(line)?;
        Ok(())
    }
}

fn serve(engine: AnyEngine) -> ServerHandle {
    let group = Group::new(Lines::default(), OnSlow::Close);
    let server = Server::tcp("127.0.0.1:0").engine(engine).codec(Lines::default());
    let server = server.serve_with(move |_| Member { group: group.clone(), membership: None });
    server.expect("a free port on loopback")
}

/// The members' other ends; the first of them is who speaks.
struct Crowd {
    streams: Vec<TcpStream>,
    epoll: OwnedFd,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

impl Crowd {
    fn enter(server: &ServerHandle, count: usize) -> Crowd {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("a descriptor is left");
        let addr = server.local_endpoints()[0].to_addr().expect("a bound endpoint is an address");
        let addr = *addr.as_ip().expect("it is TCP");
        let mut streams: Vec<TcpStream> = Vec::with_capacity(count);
        for token in 0..count {
            let mut stream = TcpStream::connect(addr).expect("the server listens");
            stream.set_nodelay(true).expect("it is TCP");
            stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
            stream.read_exact(&mut [0]).expect("the server greets");
            stream.set_nonblocking(true).expect("it is a socket");
            let (token, flags) = (EventData::new_u64(token as u64), EventFlags::IN);
            epoll::add(&epoll, &stream, token, flags).expect("it is not there yet");
            streams.push(stream);
        }
        Crowd { streams, epoll, events: Vec::with_capacity(256), buffer: vec![0; 64 * 1024] }
    }

    /// Says it to all, and reads until all have it.
    fn say(&mut self, line: &[u8]) {
        (&self.streams[0]).write_all(line).expect("one line fits into a socket's buffer");
        let mut awaited = line.len() * self.streams.len();
        while awaited > 0 {
            self.events.clear();
            let patience = Timespec::try_from(PATIENCE).expect("it is a few seconds");
            let events = spare_capacity(&mut self.events);
            epoll::wait(&self.epoll, events, Some(&patience)).expect("the epoll is ours");
            assert!(!self.events.is_empty(), "{awaited} bytes do not come");
            for event in &self.events {
                let mut stream = &self.streams[event.data.u64() as usize];
                match stream.read(&mut self.buffer) {
                    Ok(0) => panic!("the server leaves a member out"),
                    Ok(length) => awaited -= length,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        }
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut line = [b'm'; 64];
    line[63] = b'\n';
    for wanted in [10, 100, 1000] {
        // A thread that somebody else may wake has a descriptor for that.
        let count = room::connections(wanted, 3);
        let mut group = criterion.benchmark_group("fanout");
        group.throughput(Throughput::Elements(count as u64));
        for (name, engine) in [
            ("sockeye threads", AnyEngine::Threads(Threads::default())),
            ("sockeye events", AnyEngine::Events(Events::workers(1))),
        ] {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                let server = serve(engine.clone());
                let mut crowd = Crowd::enter(&server, count);
                bencher.iter(|| crowd.say(&line));
                drop(crowd);
                server.stop(PATIENCE);
                server.join().expect("the server has stopped");
            });
        }
        group.finish();
    }
}

/// How long anything here may take; a bench that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(10);

criterion_group! {
    name = members;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = fanout
}
criterion_main!(members);
