//! Echoes over loopback: `cargo bench --bench echo`.
//!
//! One element is one message, sent by a client and received back whole; where a size is not named,
//! it has 64 bytes. What is timed is the client's wall-clock time: the server, the client and the
//! kernel's part of both, on a machine that is not pinned. That shows what a change does to one
//! implementation; for a comparison with other libraries, see `benches/README.md`.
//!
//! | group | an iteration |
//! |---|---|
//! | `one connection, messages` and `.., bytes` | one message of the size, by rate and by volume |
//! | `connections` | a message on each of n connections, then all the echoes |
//! | `pipelined` | 16 messages on one connection, then the 16 echoes |
//! | `unix` | one message on one Unix connection |
//! | `udp` | one datagram |
#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod common;
#[path = "common/room.rs"]
mod room;

use common::{Connection, Implementation};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use sockeye::Transport;
use std::time::Duration;

/// Bytes of a message, where the size is not the question.
const SMALL: usize = 64;

fn group<'c>(
    criterion: &'c mut Criterion,
    name: &str,
    throughput: Throughput,
) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(throughput);
    group
}

fn sizes(criterion: &mut Criterion) {
    for unit in ["messages", "bytes"] {
        let mut group = criterion.benchmark_group(format!("one connection, {unit}"));
        for size in [64, 1024, 64 * 1024] {
            group.throughput(match unit {
                "messages" => Throughput::Elements(1),
                _ => Throughput::Bytes(size as u64),
            });
            for implementation in Implementation::ALL {
                round_trips(&mut group, implementation, Transport::Tcp, size);
            }
        }
        group.finish();
    }
}

fn unix(criterion: &mut Criterion) {
    let mut group = group(criterion, "unix", Throughput::Elements(1));
    for implementation in Implementation::ALL {
        round_trips(&mut group, implementation, Transport::Unix, SMALL);
    }
    group.finish();
}

fn round_trips(
    group: &mut BenchmarkGroup<'_, WallTime>,
    implementation: Implementation,
    transport: Transport,
    size: usize,
) {
    group.bench_function(BenchmarkId::new(implementation.to_string(), size), |bencher| {
        let server = implementation.serve(transport);
        let mut connection = server.connect().expect("the server listens");
        let (message, mut echo) = (vec![b'm'; size], vec![0; size]);
        bencher.iter(|| {
            connection.write_all(&message).expect("the server reads");
            connection.read_exact(&mut echo).expect("the server echoes");
        });
        assert_eq!(message, echo);
        drop(connection);
    });
}

fn connections(criterion: &mut Criterion) {
    for wanted in [1, 64, 1000] {
        let count = room::connections(wanted, 2);
        let mut group = group(criterion, "connections", Throughput::Elements(count as u64));
        for implementation in Implementation::ALL {
            let id = BenchmarkId::new(implementation.to_string(), count);
            group.bench_function(id, |bencher| {
                let server = implementation.serve(Transport::Tcp);
                let mut connections: Vec<Box<dyn Connection>> =
                    (0..count).map(|_| server.connect().expect("the server listens")).collect();
                let (message, mut echo) = ([b'm'; SMALL], [0; SMALL]);
                bencher.iter(|| {
                    for connection in &mut connections {
                        connection.write_all(&message).expect("the server reads");
                    }
                    for connection in &mut connections {
                        connection.read_exact(&mut echo).expect("the server echoes");
                    }
                });
                drop(connections);
            });
        }
        group.finish();
    }
}

fn pipelined(criterion: &mut Criterion) {
    const DEPTH: usize = 16;
    let mut group = group(criterion, "pipelined", Throughput::Elements(DEPTH as u64));
    for implementation in Implementation::ALL {
        group.bench_function(BenchmarkId::new(implementation.to_string(), DEPTH), |bencher| {
            let server = implementation.serve(Transport::Tcp);
            let mut connection = server.connect().expect("the server listens");
            let (message, mut echoes) = ([b'm'; SMALL], [0; SMALL * DEPTH]);
            bencher.iter(|| {
                for _ in 0..DEPTH {
                    connection.write_all(&message).expect("the server reads");
                }
                connection.read_exact(&mut echoes).expect("the server echoes");
            });
            drop(connection);
        });
    }
    group.finish();
}

fn udp(criterion: &mut Criterion) {
    let mut group = group(criterion, "udp", Throughput::Elements(1));
    for implementation in Implementation::ALL {
        group.bench_function(BenchmarkId::new(implementation.to_string(), SMALL), |bencher| {
            let server = implementation.serve(Transport::Udp);
            let socket = server.connect_udp().expect("the server listens");
            let (message, mut echo) = ([b'm'; SMALL], [0; SMALL]);
            bencher.iter(|| {
                socket.send(&message).expect("loopback takes it");
                socket.recv(&mut echo).expect("loopback loses nothing of one datagram");
            });
            assert_eq!(message, echo);
        });
    }
    group.finish();
}

criterion_group! {
    name = echo;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = sizes, connections, pipelined, unix, udp
}
criterion_main!(echo);
