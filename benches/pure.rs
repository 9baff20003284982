//! What needs no kernel: `cargo bench --bench pure`.
//!
//! | group | an iteration | throughput in |
//! |---|---|---|
//! | `find` | a buffer of 64 KiB is cut into its frames, and each is viewed | bytes of input |
//! | `encode` | 64 KiB are encoded behind each other, in lines of 64 bytes or at once | bytes of output |
//! | `parse`, `print` | one text, or one value | one endpoint or address is an element |
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sockeye::codec::{Bytes, Codec, Edge, Found, Lines};
use sockeye::{Endpoint, HostPort};
use std::fmt::{Display, Write};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

const BUFFER_BYTES: usize = 64 * 1024;

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    group.throughput(Throughput::Bytes(BUFFER_BYTES as u64));
    for line in [16, 64, 1024] {
        let input = lines(line);
        group.bench_function(format!("lines of {line}"), |bencher| {
            bencher.iter(|| frames(&mut Lines::default(), black_box(&input)));
        });
    }
    let input = lines(64);
    group.bench_function("bytes", |bencher| {
        bencher.iter(|| frames(&mut Bytes::default(), black_box(&input)));
    });
    group.finish();
}

/// As many lines of this length, their end counted, as the buffer holds.
fn lines(length: usize) -> Vec<u8> {
    let mut line = vec![b'x'; length];
    line[length - 1] = b'\n';
    line.repeat(BUFFER_BYTES / length)
}

fn frames<C: Codec>(codec: &mut C, mut input: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Found::Frame { body, used }) = codec.find(input, Edge::Open) {
        black_box(codec.view(&input[body]).is_ok());
        input = &input[used..];
        count += 1;
    }
    assert!(input.is_empty());
    count
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Bytes(BUFFER_BYTES as u64));
    let mut out = Vec::with_capacity(BUFFER_BYTES);
    let line = "x".repeat(63);
    group.bench_function("lines of 64", |bencher| {
        bencher.iter(|| {
            out.clear();
            while out.len() < BUFFER_BYTES {
                Lines::default().encode(black_box(&line), &mut out).expect("a short line");
            }
        });
    });
    let item = vec![b'x'; BUFFER_BYTES];
    group.bench_function("bytes", |bencher| {
        bencher.iter(|| {
            out.clear();
            Bytes::default().encode(black_box(&item), &mut out).expect("any bytes will do");
        });
    });
    group.finish();
}

const ENDPOINTS: [&str; 4] =
    ["tcp://127.0.0.1:7000", "udp://[2001:db8::1]:53", "tcp://example.org:http", "unix:///run/app"];

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for text in ENDPOINTS {
        group.bench_function(text, |bencher| {
            bencher.iter(|| black_box(text).parse::<Endpoint>().expect("a good endpoint"));
        });
    }
    group.bench_function("HostPort [::1]:7000", |bencher| {
        bencher.iter(|| black_box("[::1]:7000").parse::<HostPort>().expect("a good address"));
    });
    group.bench_function("std's SocketAddr [::1]:7000", |bencher| {
        bencher.iter(|| black_box("[::1]:7000").parse::<SocketAddr>().expect("a good address"));
    });
    group.finish();
}

fn print(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("print");
    group.throughput(Throughput::Elements(1));
    let mut out = String::with_capacity(100);
    let mut to_text = |value: &dyn Display| {
        out.clear();
        write!(out, "{value}").expect("a string takes anything");
        black_box(out.len());
    };
    for text in ENDPOINTS {
        let endpoint: Endpoint = text.parse().expect("a good endpoint");
        group.bench_function(text, |bencher| bencher.iter(|| to_text(black_box(&endpoint))));
    }
    let address: HostPort = "[::1]:7000".parse().expect("a good address");
    group.bench_function("HostPort [::1]:7000", |bencher| {
        bencher.iter(|| to_text(black_box(&address)));
    });
    let address: SocketAddr = "[::1]:7000".parse().expect("a good address");
    group.bench_function("std's SocketAddr [::1]:7000", |bencher| {
        bencher.iter(|| to_text(black_box(&address)));
    });
    group.finish();
}

criterion_group! {
    name = pure;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    targets = find, encode, parse, print
}
criterion_main!(pure);
