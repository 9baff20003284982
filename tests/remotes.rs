//! Remotes and adopted connections: speaking to a session from elsewhere, and relays.

mod matrix;

use matrix::{Cell, Random, Wire, eventually, name, next, on_engines, on_kinds, on_streams, stop};
use sockeye::addr::AnyAddr;
use sockeye::codec::{Bytes, Lines};
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote, SendError, Side};
use sockeye::limits::Limits;
use sockeye::server::ServerHandle;
use sockeye::socket::{AnyStream, TcpStream, UnixStream};
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

on_streams! {
    a_remote_keeps_the_order_of_its_calls,
    a_full_remote_says_so_and_on_drain_tells_when_there_is_room,
    wakes_are_merged_and_none_is_lost,
    a_remote_of_a_session_that_is_over_says_so,
    a_remote_can_end_what_is_sent_and_the_session,
    a_relay_passes_everything_both_ways,
}
// The kernel enlarges the buffers of TCP.
on_kinds! { what_waits_for_a_session_never_exceeds_the_limit [unix Unix, memory Memory] }
on_engines! {
    an_adopted_connection_has_its_own_codec_and_handler,
}

/// Hands its remote out.
struct Reachable {
    remotes: mpsc::Sender<Remote<Lines>>,
    told: mpsc::Sender<&'static str>,
    wakes: Arc<AtomicUsize>,
}

impl Handler<Lines> for Reachable {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.remotes.send(cx.remote())?;
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_drain(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.told.send("drain")?;
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = self.told.send(name(reason));
    }
}

struct Reached {
    server: ServerHandle,
    remotes: mpsc::Receiver<Remote<Lines>>,
    told: mpsc::Receiver<&'static str>,
    wakes: Arc<AtomicUsize>,
}

fn reachable(cell: &Cell) -> Reached {
    let ((remotes_in, remotes), (told_in, told)) = (mpsc::channel(), mpsc::channel());
    let wakes = Arc::new(AtomicUsize::new(0));
    let shared = wakes.clone();
    let server = cell
        .server()
        .codec(Lines::at_most(100_000))
        .serve_with(move |_| Reachable {
            remotes: remotes_in.clone(),
            told: told_in.clone(),
            wakes: shared.clone(),
        })
        .unwrap();
    Reached { server, remotes, told, wakes }
}

fn a_remote_keeps_the_order_of_its_calls(cell: &Cell) {
    const EACH: usize = 5_000;
    let Reached { server, remotes, told, .. } = reachable(cell);
    let client = cell.connect(&server);
    let remote = next(&remotes);
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let remote = remote.clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    let line = format!("{sender} {n}");
                    eventually("there is room", || match remote.send(&line) {
                        Ok(()) => true,
                        Err(SendError::Full) => false,
                        Err(other) => panic!("{other}"),
                    });
                }
            })
        })
        .collect();
    let mut lines = io::BufRead::lines(io::BufReader::new(client));
    let mut expected = [0; 4];
    for _ in 0..4 * EACH {
        let Some(line) = lines.next() else { panic!("it ended: {:?}", told.try_iter().last()) };
        let line = line.unwrap();
        let (sender, n) = line.split_once(' ').unwrap();
        let sender: usize = sender.parse().unwrap();
        assert_eq!(n.parse(), Ok(expected[sender]), "from sender {sender}");
        expected[sender] += 1;
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    drop(lines);
    stop(&server);
}

fn a_full_remote_says_so_and_on_drain_tells_when_there_is_room(cell: &Cell) {
    let Reached { server, remotes, told, wakes } = reachable(cell);
    let limit = Limits::default().output_bytes_max;
    let mut client = cell.connect(&server);
    let remote = next(&remotes);
    assert_eq!(remote.room(), limit);
    let line = "x".repeat(9_999);
    let mut sent = 0;
    // Until the kernel's buffers and ours are full and stay so.
    let full = || matches!(remote.send(&line), Err(SendError::Full));
    while !(full() && remote.room() < line.len() && stays_full(&remote, &wakes, &line, &mut sent)) {
        if remote.send(&line).is_ok() {
            sent += 1;
        }
    }
    assert!(remote.room() < 10_000);
    told.try_iter().for_each(drop);
    let too_long = remote.send(&"x".repeat(100_001));
    assert!(matches!(too_long, Err(SendError::Frame(_))), "{too_long:?}");
    let reader = thread::spawn(move || client.rest());
    assert_eq!(next(&told), "drain");
    remote.send("the end").unwrap();
    remote.close();
    let text = reader.join().unwrap();
    assert!(text.ends_with("x\nthe end\n"));
    let total = text.len() - "the end\n".len();
    assert_eq!(total % 10_000, 0, "a line was torn");
    assert!(total / 10_000 >= sent, "{total} bytes of {sent} lines");
    stop(&server);
}

fn what_waits_for_a_session_never_exceeds_the_limit(cell: &Cell) {
    let Reached { server, remotes, told, wakes } = reachable(cell);
    let limit = Limits::default().output_bytes_max;
    // A socket pair of Unix holds this much at most, so what is beyond waits with the server.
    const KERNEL: usize = 512 * 1024;
    let line = "x".repeat(99_999);
    for _ in 0..10 {
        let client = cell.connect(&server);
        let remote = next(&remotes);
        let (mut taken, mut refused) = (0, 0);
        // As fast as it goes: what counts is the moment at which the server takes it over.
        while refused < 300 {
            match remote.send(&line) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            thread::yield_now();
        }
        while !stays_full(&remote, &wakes, &line, &mut taken) {}
        assert!(taken * 100_000 <= limit + KERNEL, "{taken} lines of 100 kB were taken");
        drop(client);
        eventually("it is over", || remote.is_closed());
    }
    drop(told);
    stop(&server);
}

/// Whether a line that the server does not take is not taken for a while either, in which the session
/// had many turns.
fn stays_full(remote: &Remote<Lines>, wakes: &AtomicUsize, line: &str, sent: &mut usize) -> bool {
    for _ in 0..50 {
        let before = wakes.load(Ordering::SeqCst);
        remote.wake();
        eventually("it wakes", || wakes.load(Ordering::SeqCst) > before);
        thread::sleep(std::time::Duration::from_millis(1));
        if remote.send(line).is_ok() {
            *sent += 1;
            return false;
        }
    }
    true
}

/// Notes at each wake what had been asked for by then.
struct Woken {
    remotes: mpsc::Sender<Remote<Lines>>,
    asked: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Handler<Lines> for Woken {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        self.remotes.send(cx.remote())?;
        Ok(())
    }
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_wake(&mut self, _: &mut Context<'_, Lines>) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.seen.store(self.asked.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }
}

fn wakes_are_merged_and_none_is_lost(cell: &Cell) {
    const THREADS: usize = 8;
    const EACH: usize = 5_000;
    let (remotes_in, remotes) = mpsc::channel();
    let counts = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let [asked, seen, calls] = counts.clone();
    let server = cell
        .server()
        .codec(Lines::default())
        .serve_with(move |_| {
            let [asked, seen, calls] = counts.clone();
            Woken { remotes: remotes_in.clone(), asked, seen, calls }
        })
        .unwrap();
    let client = cell.connect(&server);
    let remote = next(&remotes);
    // In bursts, so that the session falls asleep between them; the last wake of each is the one that
    // nothing comes after.
    for burst in 1..=20 {
        let wakers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (remote, asked) = (remote.clone(), asked.clone());
                thread::spawn(move || {
                    for _ in 0..EACH / 20 {
                        asked.fetch_add(1, Ordering::SeqCst);
                        remote.wake();
                    }
                })
            })
            .collect();
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        let all = burst * THREADS * (EACH / 20);
        eventually("all is seen", || seen.load(Ordering::SeqCst) == all);
    }
    assert!(calls.load(Ordering::SeqCst) <= THREADS * EACH);
    // Two at once, without a pause between them, are one.
    let before = calls.load(Ordering::SeqCst);
    (0..10_000).for_each(|_| remote.wake());
    asked.fetch_add(1, Ordering::SeqCst);
    remote.wake();
    eventually("all is seen", || seen.load(Ordering::SeqCst) == asked.load(Ordering::SeqCst));
    let calls = calls.load(Ordering::SeqCst) - before;
    assert!(calls < 10_000, "woken {calls} times");
    drop(client);
    stop(&server);
}

fn a_remote_of_a_session_that_is_over_says_so(cell: &Cell) {
    let Reached { server, remotes, told, .. } = reachable(cell);
    let client = cell.connect(&server);
    let remote = next(&remotes);
    assert!(!remote.is_closed());
    drop(client);
    assert_eq!(next(&told), "peer closed");
    assert!(remote.is_closed(), "on_close comes after");
    assert!(matches!(remote.send("hello"), Err(SendError::Closed)));
    remote.wake();
    remote.shutdown_write();
    remote.close();
    // Another session, perhaps in the same place, hears nothing of it.
    let mut client = cell.connect(&server);
    next(&remotes).send("welcome").unwrap();
    assert_eq!(client.hear().unwrap(), "welcome");
    assert!(matches!(remote.send("hello"), Err(SendError::Closed)));
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), "");
    stop(&server);
}

fn a_remote_can_end_what_is_sent_and_the_session(cell: &Cell) {
    let Reached { server, remotes, told, .. } = reachable(cell);
    let mut client = cell.connect(&server);
    let remote = next(&remotes);
    remote.send("first").unwrap();
    remote.shutdown_write();
    assert!(matches!(remote.send("too late"), Err(SendError::Closed)));
    assert_eq!(client.rest(), "first\n");
    client.say("heard, and nothing can be said\n");
    assert!(!remote.is_closed());
    drop(client);
    assert_eq!(next(&told), "peer closed");

    let mut client = cell.connect(&server);
    let remote = next(&remotes);
    remote.send("last").unwrap();
    remote.close();
    assert!(matches!(remote.send("too late"), Err(SendError::Closed)));
    assert_eq!(client.rest(), "last\n");
    drop(client);
    assert_eq!(next(&told), "finished");
    stop(&server);
}

fn an_adopted_connection_has_its_own_codec_and_handler(cell: &Cell) {
    let echo = |bytes: &[u8], cx: &mut Context<'_, Bytes>| cx.send(bytes);
    let server = cell.server().codec(Bytes::default()).serve(echo).unwrap();
    let tcp = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (AnyStream::from(ours), Wire::Tcp(listener.accept().unwrap().0))
    };
    let unix = {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = UnixStream::try_from(std::os::fd::OwnedFd::from(ours)).unwrap();
        (AnyStream::from(ours), Wire::Unix(theirs))
    };
    for (ours, mut theirs) in [tcp, unix] {
        theirs.patient();
        let (told_in, told) = mpsc::channel();
        let (remotes, _) = mpsc::channel();
        // Its receiver is gone: on_open fails, and says why the session ended.
        let handler = Reachable { remotes, told: told_in, wakes: Arc::new(AtomicUsize::new(0)) };
        server.adopt(ours.try_clone().unwrap(), Lines::default(), handler).unwrap();
        assert_eq!(next(&told), "handler");
        assert_eq!(theirs.rest(), "");
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut theirs = Wire::Unix(theirs);
    theirs.patient();
    let ours = UnixStream::try_from(std::os::fd::OwnedFd::from(ours)).unwrap();
    let remote = server
        .adopt(ours, Lines::default(), |line: &str, cx: &mut Context<'_, Lines>| {
            assert_eq!(cx.side(), Side::Adopted);
            cx.send(&line.to_uppercase());
        })
        .unwrap();
    remote.send("from outside").unwrap();
    assert_eq!(theirs.hear().unwrap(), "from outside");
    theirs.say("hello\n");
    assert_eq!(theirs.hear().unwrap(), "HELLO");
    assert_eq!(server.counters().adopted, 3);
    drop(theirs);
    stop(&server);
}

// ---- A relay ------------------------------------------------------------------------------------

/// One side of a relay: hands everything to the other side, holds its peer back while that is full.
struct Half {
    other: Option<Remote<Bytes>>,
    /// Where the accepted side connects to, and through which server.
    dial: Option<(AnyAddr, ServerHandle)>,
    held: Vec<u8>,
    eof: bool,
}

impl Half {
    /// Hands on what is held, as far as there is room.
    fn pass(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        let Some(other) = &self.other else { return Ok(()) };
        while !self.held.is_empty() {
            // At least one byte, so that a full side notes that somebody waits.
            let length = other.room().clamp(1, 64 * 1024).min(self.held.len());
            match other.send(&self.held[..length]) {
                Ok(()) => drop(self.held.drain(..length)),
                Err(SendError::Full) => {
                    cx.pause();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        cx.resume();
        if self.eof {
            other.shutdown_write();
        }
        Ok(())
    }
}

impl Handler<Bytes> for Half {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        let Some((to, server)) = self.dial.take() else { return Ok(()) };
        let stream = AnyStream::connect(to)?;
        let other = Half { other: Some(cx.remote()), dial: None, held: Vec::new(), eof: false };
        self.other = Some(server.adopt(stream, Bytes::default(), other)?);
        Ok(())
    }
    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Bytes>) -> Outcome {
        self.held.extend_from_slice(bytes);
        self.pass(cx)
    }
    fn on_drain(&mut self, _: &mut Context<'_, Bytes>) -> Outcome {
        // Our own output has room again: the side that fills it may go on.
        if let Some(other) = &self.other {
            other.wake();
        }
        Ok(())
    }
    fn on_wake(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        self.pass(cx)
    }
    fn on_eof(&mut self, cx: &mut Context<'_, Bytes>) -> Outcome {
        self.eof = true;
        self.pass(cx)
    }
    fn on_close(&mut self, _: &CloseReason) {
        if let Some(other) = &self.other {
            other.close();
        }
    }
}

fn a_relay_passes_everything_both_ways(cell: &Cell) {
    const LENGTH: usize = 32 * 1024 * 1024;
    // The far end: takes all and sends all, each on a thread of its own, by std alone.
    let far = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = AnyAddr::from(far.local_addr().unwrap());
    let server = cell.server().codec(Bytes::default());
    let handle = server.handle();
    let server = server
        .serve_with(move |_| Half {
            other: None,
            dial: Some((to.clone(), handle.clone())),
            held: Vec::new(),
            eof: false,
        })
        .unwrap();
    let near = cell.connect(&server);
    let far = Wire::Tcp(far.accept().unwrap().0);
    far.patient();
    let (there, back) = (Random(1).bytes(LENGTH), Random(2).bytes(LENGTH));
    let send = |mut wire: Wire, bytes: Vec<u8>, seed: u64| {
        thread::spawn(move || {
            let (mut random, mut rest) = (Random(seed), &bytes[..]);
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(1 + random.below(500_000)));
                wire.write_all(piece).unwrap();
                rest = more;
            }
            wire.shutdown(Shutdown::Write);
            bytes
        })
    };
    let receive = |mut wire: Wire| thread::spawn(move || wire.end().unwrap());
    let (sent_there, sent_back) =
        (send(near.try_clone(), there, 3), send(far.try_clone(), back, 4));
    let (got_there, got_back) = (receive(far.try_clone()), receive(near.try_clone()));
    assert!(got_there.join().unwrap() == sent_there.join().unwrap(), "there");
    assert!(got_back.join().unwrap() == sent_back.join().unwrap(), "back");
    drop((near, far));
    eventually("both sides are over", || server.counters().closed.total() == 2);
    assert_eq!(server.counters().closed.finished, 2, "{:?}", server.counters());
    stop(&server);
}
