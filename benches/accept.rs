//! Short connections over loopback: `cargo bench --bench accept`.
//!
//! One element is one connection: connect, one message of 64 bytes and its echo, close. What is timed
//! is the client's wall-clock time.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod common;

use common::Implementation;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sockeye::Transport;
use std::time::Duration;

fn accept(criterion: &mut Criterion) {
    for transport in [Transport::Tcp, Transport::Unix] {
        let mut group = criterion.benchmark_group(format!("accept, {transport}"));
        group.throughput(Throughput::Elements(1));
        for implementation in Implementation::ALL {
            group.bench_function(implementation.to_string(), |bencher| {
                let server = implementation.serve(transport);
                let (message, mut echo) = ([b'm'; 64], [0; 64]);
                bencher.iter(|| {
                    let mut connection = server.connect().expect("the server listens");
                    connection.write_all(&message).expect("the server reads");
                    connection.read_exact(&mut echo).expect("the server echoes");
                });
                assert_eq!(message, echo);
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = short;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = accept
}
criterion_main!(short);
