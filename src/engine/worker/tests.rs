//! Workers without threads: the test takes their steps.

use super::*;

#[test]
fn a_slot_stays_small() {
    // An idle connection is a slot, a session and a timer, and all three must fit 256 bytes.
    assert!(size_of::<Actor>() <= 48, "{} bytes", size_of::<Actor>());
    assert!(size_of::<crate::handler::State>() <= 112);
}

use crate::codec::Lines;
use crate::engine::{Gate, Serve, Service, Stop, Tally};
use crate::handler::{Context, Group, Handler, Line, OnSlow, Outcome, Remote};
use crate::limits::Limits;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

fn worker(connections_max: usize) -> Worker {
    worker_with(connections_max, Limits { frames_per_turn: 1, ..Limits::default() })
}

fn worker_with(connections_max: usize, limits: Limits) -> Worker {
    Worker::new(Arc::new(Common {
        gate: Gate::new(connections_max),
        limits: Arc::new(limits),
        tally: Tally::default(),
        stop: Arc::new(Stop::default()),
        stateless: false,
        replies: None,
    }))
    .unwrap()
}

struct Counted(Arc<AtomicUsize>);

impl Handler<Lines> for Counted {
    fn on_frame(&mut self, _: &str, _: &mut Context<'_, Lines>) -> Outcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A session that is on its way to the worker, its remote, its peer, and how many frames it saw.
fn adoption(worker: &Worker) -> (Order, Remote<Lines>, UnixStream, Arc<AtomicUsize>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut session = Session::new(
        Lines::default(),
        Counted(seen.clone()),
        crate::addr::Peer::unix(crate::addr::UnixAddr::unnamed()),
        Side::Adopted,
        worker.common.limits.clone(),
    );
    let line = session.state().line(&worker.address.letters, Line::NOWHERE);
    let remote = Remote::new(line, Lines::default());
    (Order::Adopt(Socket::Descriptor(ours.into()), session), remote, theirs, seen)
}

#[test]
fn a_session_that_is_not_through_has_one_turn_more_and_not_several() {
    let mut worker = worker(1);
    let (order, remote, mut peer, seen) = adoption(&worker);
    worker.address.orders.push_beyond(order);
    worker.obey();
    peer.write_all(b"1\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    worker.poll.wait(None).unwrap();
    for index in 0..worker.poll.ready() {
        worker.react(worker.poll.event(index));
    }
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let token = worker.actors.tokens()[0];
    for _ in 0..3 {
        remote.wake();
        worker.collect();
        assert!(worker.actors.get(token).is_some());
    }
    worker.grant_turns();
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    worker.grant_turns();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[test]
fn a_worker_waits_for_the_gate_and_not_for_a_time_that_is_past() {
    let mut worker = worker(1);
    assert!(worker.common.gate.knock(Instant::now()).is_ok());
    worker.close_doors(Some(Instant::now()));
    worker.desk.turn.it_is(Instant::now());
    worker.reopen();
    assert_eq!(worker.timeout(), None);
    worker.common.gate.leave();
    // It was rung, or sees it for itself: what it does not do is sleep.
    worker.poll.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(worker.poll.ready(), 1);
    assert_eq!(worker.timeout(), Some(Duration::ZERO));
}

/// A listener whose place in the poll cannot be had is played by a file, of which there is none.
#[test]
fn a_listener_without_a_place_in_the_poll_is_tried_again() {
    let mut worker = worker(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let service = Service::new(Serve::Blocking(Arc::new(|_| Ok(()))));
    let endpoint = "tcp://127.0.0.1:0".parse().unwrap();
    let listening = Listening::new(file.into(), endpoint, service, None);
    let token = worker.actors.insert(Actor::Listener(Box::new(listening)));
    worker.listeners.push(token);
    worker.close_doors(None);
    worker.desk.turn.it_is(Instant::now());
    worker.reopen();
    assert_eq!((worker.doors.open, worker.common.tally.snapshot().accept_failed), (false, 1));
    let pause = worker.timeout().unwrap();
    assert!(pause > Duration::ZERO && pause <= Duration::from_millis(10), "{pause:?}");
    let Some(Actor::Listener(listening)) = worker.actors.get_mut(token) else {
        panic!("it is gone")
    };
    listening.socket = Arc::new(listener.into());
    worker.desk.turn.it_is(worker.desk.turn.now() + Duration::from_millis(10));
    worker.reopen();
    assert!(worker.doors.open);
}

#[test]
fn a_stop_right_behind_an_adoption_overtakes_no_letter() {
    let mut worker = worker(1);
    let (first, one, mut peer, _) = adoption(&worker);
    worker.address.orders.push_beyond(first);
    worker.obey();
    let (second, two, _theirs, _) = adoption(&worker);
    worker.address.orders.push_beyond(second);
    two.wake();
    one.send("sent before the stop").unwrap();
    worker.common.stop.begin(Instant::now() + Duration::from_secs(1), 0);
    worker.address.orders.push_beyond(Order::Stop);
    worker.collect();
    peer.set_nonblocking(true).unwrap();
    let mut got = [0; 64];
    let length = std::io::Read::read(&mut peer, &mut got).unwrap();
    assert_eq!(&got[..length], b"sent before the stop\n");
}

/// What a remote was promised room for is not crowded out by a group, nor is the limit passed: the frame
/// of the group, which the kernel would not take, is missed.
#[test]
fn a_group_takes_no_room_that_was_promised() {
    let mut worker = worker_with(1, Limits { output_bytes_max: 8000, ..Limits::default() });
    let (order, remote, mut peer, _) = adoption(&worker);
    worker.address.orders.push_beyond(order);
    worker.obey();
    let Some(Actor::Stream(stream)) = worker.actors.get(worker.actors.tokens()[0]) else {
        panic!("it was adopted");
    };
    let mut length = 0;
    while let Ok(count) = crate::sys::io::send_now(stream.socket.as_fd(), &[b'-'; 4096]) {
        length += count;
    }
    let group = Group::new(Lines::default(), OnSlow::Drop);
    let _membership = group.join(&remote);
    group.send(&"g".repeat(2999)).unwrap();
    let Worker { batch, address, .. } = &mut worker;
    address.letters.take(batch);
    remote.send(&"r".repeat(5999)).unwrap();
    worker.deliver();
    worker.collect();
    assert_eq!((remote.missed(), remote.room()), (1, 2000));

    let mut got = vec![0; length];
    std::io::Read::read_exact(&mut peer, &mut got).unwrap();
    worker.poll.wait(None).unwrap();
    for index in 0..worker.poll.ready() {
        worker.react(worker.poll.event(index));
    }
    got.resize(6000, 0);
    std::io::Read::read_exact(&mut peer, &mut got).unwrap();
    assert!(got.iter().all(|byte| [b'r', b'\n'].contains(byte)));
}
