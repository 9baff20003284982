//! What a message and an idle connection cost in memory, on an event loop.
//!
//! A binary of its own, because it counts every allocation of the process; the clients are sockets
//! of std, which allocate nothing. The tests take turns.
#![allow(unsafe_code, reason = "a global allocator that counts can be had in no other way")]

use sockeye::codec::{LengthDelimited, Lines};
use sockeye::engine::Events;
use sockeye::handler::Context;
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::{Ecn, Outgoing, ReceiveBatch, SendBatch, UdpSocket};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The system's allocator, with a count of calls and of bytes in use.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

fn taken(bytes: i64) {
    PEAK.fetch_max(BYTES.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is handed on to `System` as it came, which keeps the contract; counting is
// atomic and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        taken(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: `memory` came from `System` by one of the calls here, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        taken(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is that of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        taken(size as i64 - layout.size() as i64);
        // SAFETY: `memory` came from `System` by one of the calls here, with this layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALONE: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(30);

fn echo_server() -> ServerHandle {
    Server::tcp("127.0.0.1:0")
        .engine(Events::workers(1))
        .codec(Lines::default())
        .serve(|line: &str, cx: &mut Context<'_, Lines>| cx.send(line))
        .unwrap()
}

fn connect(server: &ServerHandle) -> TcpStream {
    let at = server.local_endpoints()[0].to_addr().unwrap();
    let client = TcpStream::connect(at.as_ip().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Sends a line of 64 bytes and waits for it to come back.
fn echo(client: &mut TcpStream) {
    let mut line = [b'x'; 64];
    line[63] = b'\n';
    client.write_all(&line).unwrap();
    let mut reply = [0; 64];
    client.read_exact(&mut reply).unwrap();
    assert!(reply == line);
}

fn stop(server: ServerHandle) {
    server.stop(PATIENCE);
    server.join().unwrap();
}

#[test]
fn an_echoed_line_allocates_nothing() {
    const MESSAGES: u64 = 10_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = echo_server();
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    for _ in 0..100 {
        clients.iter_mut().for_each(echo);
    }
    let before = CALLS.load(Relaxed);
    for _ in 0..MESSAGES / 4 {
        clients.iter_mut().for_each(echo);
    }
    let calls = CALLS.load(Relaxed) - before;
    // The test harness may print meanwhile, and start the threads of the other tests.
    assert!(calls < MESSAGES / 50, "{calls} allocations for {MESSAGES} messages");
    drop(clients);
    stop(server);
}

#[test]
fn batches_of_datagrams_allocate_nothing() {
    const ROUNDS: u64 = 1000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let (one, other) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        let to = other.local_addr().unwrap();
        let mut outgoing = SendBatch::new(16, 20_000);
        let mut incoming = ReceiveBatch::new(16, 65_535);
        other.set_gro(true).unwrap();
        let before = CALLS.load(Relaxed);
        for _ in 0..ROUNDS {
            outgoing.push(b"plain", &to).unwrap();
            outgoing.push_segments(&[7; 2500], 1000, &to).unwrap();
            let datagram = Outgoing::new(b"with more", &to).from(to.ip()).ecn(Ecn::Ect0);
            outgoing.push_with(&datagram).unwrap();
            let sent = one.send_batch(&mut outgoing).unwrap();
            assert_eq!((sent.datagrams, sent.errors.len()), (5, 0));
            let mut came = 0;
            while came < 5 {
                came += other.receive_batch(&mut incoming).unwrap();
                for (payload, arrival) in &incoming {
                    assert!(!arrival.truncated && payload.len() == arrival.full_len);
                }
            }
        }
        let calls = CALLS.load(Relaxed) - before;
        assert!(calls < ROUNDS / 50, "{calls} allocations for {ROUNDS} batches");
    }
}

#[test]
fn an_idle_connection_keeps_at_most_256_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Both ends are in this process. Numbers that just fit into tables which double.
    let room = descriptors_max() / 2 - 30;
    let count = [2000, 1000, 480].into_iter().find(|count| *count <= room);
    let count = count.expect("the limit of open files is 1024 or more");
    let server = echo_server();
    let mut clients = Vec::with_capacity(count);
    let mut first = connect(&server);
    echo(&mut first);
    let before = BYTES.load(Relaxed);
    for _ in 0..count {
        let mut client = connect(&server);
        echo(&mut client);
        clients.push(client);
    }
    let deadline = Instant::now() + PATIENCE;
    while server.counters().open <= count as u64 {
        assert!(Instant::now() < deadline, "{:?}", server.counters());
        thread::yield_now();
    }
    let bytes = BYTES.load(Relaxed) - before;
    let each = bytes as f64 / count as f64;
    println!("{each:.0} bytes for each of {count} idle connections");
    assert!(each <= 256.0, "{each:.0} bytes for each of {count} idle connections");
    drop((first, clients));
    stop(server);
}

/// A peer promises a frame and sends nothing of it.
#[test]
fn a_promised_length_takes_no_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let serve = |width, frame_bytes_max| {
        let codec = LengthDelimited::builder().width(width).build(frame_bytes_max).unwrap();
        let server = Server::tcp("127.0.0.1:0").engine(Events::workers(1)).codec(codec);
        server.serve(|frame: &[u8], cx: &mut Context<'_, LengthDelimited>| cx.send(frame)).unwrap()
    };
    // As much as the field can say is over the limit, or is allowed.
    for (width, frame_bytes_max) in [(4, 1 << 20), (8, 1 << 20), (4, u32::MAX as usize)] {
        let server = serve(width, frame_bytes_max);
        let mut one = vec![0; width];
        one.push(b'x');
        one[width - 1] = 1;
        let mut reply = vec![0; one.len()];
        let (mut client, mut other) = (connect(&server), connect(&server));
        for client in [&mut client, &mut other] {
            client.write_all(&one).unwrap();
            client.read_exact(&mut reply).unwrap();
        }
        let before = BYTES.load(Relaxed);
        PEAK.store(before, Relaxed);
        client.write_all(&vec![0xFF; width]).unwrap();
        if frame_bytes_max == 1 << 20 {
            assert_eq!(client.read(&mut reply).unwrap(), 0, "it is refused");
        }
        // The worker has read the length once it answers what came behind it.
        for _ in 0..10 {
            other.write_all(&one).unwrap();
            other.read_exact(&mut reply).unwrap();
        }
        let taken = PEAK.load(Relaxed) - before;
        assert!(taken <= 64 * 1024, "{taken} bytes were taken for {width} bytes of length");
        drop((client, other));
        stop(server);
    }
}

fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line["Max open files".len()..].split_whitespace().next().unwrap().parse().unwrap_or(1 << 20)
}
