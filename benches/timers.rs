//! What idle sessions cost those that talk: `cargo bench --bench timers`.
//!
//! One element is one message and its echo, over a connection in memory, on one worker that has n more
//! connections. Each of those has its limit of time in the worker's queue and says nothing. Connections
//! in memory need no descriptor, so there can be a million: with both ends each takes some 750 bytes.
//!
//! Both ends run on one processor: else the time is that of waking another one, which depends on what the
//! scheduler thinks of the threads and not on timers.
//!
//! A message makes no entry in the queue and moves none, however many there are: the line must be flat.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sockeye::Server;
use sockeye::codec::Bytes;
use sockeye::engine::Events;
use sockeye::limits::Limits;
use sockeye::memory::{Listener, Stream};
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

fn timers(criterion: &mut Criterion) {
    stay_on_one_processor();
    let mut group = criterion.benchmark_group("timers");
    group.throughput(Throughput::Elements(1));
    for idle in [0, 1_000, 100_000, 1_000_000] {
        group.bench_function(BenchmarkId::new("idle sessions", idle), |bencher| {
            let listener = Listener::new(4096).backlog(1024);
            let dialer = listener.dialer();
            let mut limits = Limits::default();
            limits.connections_max = Some(idle + 1);
            // Armed from the start, and none runs out meanwhile.
            limits.first_message_timeout = Some(Duration::from_secs(3600));
            let server = Server::on(listener).engine(Events::workers(1)).limits(limits);
            let server = server.codec(Bytes::default()).serve(|bytes, cx| cx.send(bytes));
            let server = server.expect("nothing is bound");
            let connect = || dialer.connect().expect("the server accepts");
            let others: Vec<Stream> = (0..idle).map(|_| connect()).collect();
            let mut talking = connect();
            let (message, mut echo) = ([b'm'; 64], [0; 64]);
            let mut talk = || {
                talking.write_all(&message).expect("the server reads");
                talking.read_exact(&mut echo).expect("the server echoes");
            };
            // All are accepted, and the talking one with them.
            talk();
            let patience = Instant::now() + PATIENCE;
            while server.counters().open <= idle as u64 {
                assert!(Instant::now() < patience, "the server does not accept them");
                thread::sleep(Duration::from_millis(1));
            }
            bencher.iter(talk);
            drop((others, talking));
            server.stop(PATIENCE);
            server.join().expect("the server has stopped");
        });
    }
    group.finish();
}

fn stay_on_one_processor() {
    let allowed = sched_getaffinity(None).expect("it can be asked");
    let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("it runs somewhere");
    let mut only = CpuSet::new();
    only.set(first);
    // The threads that are made from now on stay there too.
    sched_setaffinity(None, &only).expect("it is allowed already");
}

/// How long anything here may take; a bench that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

criterion_group! {
    name = queue;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = timers
}
criterion_main!(queue);
