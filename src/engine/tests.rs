//! Models: what threads do to each other at mailboxes, bells, remotes, the gate, the counters and the
//! stop, in every order up to three preemptions, by loom (see [`crate::sync`]):
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --lib engine::tests
//! ```
//!
//! A wake-up that is lost shows as a deadlock. Not here: what goes through a system call, and `Once`s,
//! which loom does not know.

use super::*;
use crate::addr::Peer;
use crate::codec::Lines;
use crate::handler::{CloseReason, Letter, Line, Remote, What};
use crate::mailbox::{Bell, Mailbox};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// Where a worker sleeps, in place of an epoll with a counter in it.
#[derive(Default)]
struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Bed {
    fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = self.changed.wait(woken).unwrap();
        }
    }
}

impl Wake for Bed {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

fn enters(gate: &Gate) -> bool {
    gate.knock(Instant::now()).is_ok_and(|entry| gate.sit_down(entry))
}

fn bed() -> (Arc<Bed>, Arc<Bell>) {
    let bed = Arc::new(Bed::default());
    let bell = Bell::new(Waker::from(bed.clone()));
    (bed, bell)
}

/// Announces the sleep and looks once more, as a worker does.
fn sleep_unless(bed: &Bed, bell: &Bell, news: impl FnOnce() -> bool) {
    bell.doze();
    if !news() {
        bed.sleep();
    }
    bell.rise();
}

#[test]
fn what_is_put_into_either_of_two_mailboxes_wakes_the_worker() {
    every_order(|| {
        let (bed, bell) = bed();
        let letters = Mailbox::new(bell.clone(), 10);
        let orders = Mailbox::new(bell.clone(), 10);
        let (to, other) = (letters.clone(), orders.clone());
        let senders = [
            thread::spawn(move || (0..2).for_each(|number| to.push(number).unwrap())),
            thread::spawn(move || other.push_beyond(2)),
        ];
        let (mut seen, mut batch) = (Vec::new(), VecDeque::new());
        while seen.len() < 3 {
            sleep_unless(&bed, &bell, || !letters.is_empty() || !orders.is_empty());
            for mailbox in [&letters, &orders] {
                mailbox.take(&mut batch);
                seen.extend(batch.drain(..));
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(seen.iter().position(|one| *one == 0) < seen.iter().position(|one| *one == 1));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert!(letters.is_empty() && orders.is_empty());
    });
}

#[test]
fn a_full_mailbox_never_holds_more_and_a_closed_one_nothing() {
    every_order(|| {
        let (_, bell) = bed();
        let (mailbox, item) = (Mailbox::new(bell, 1), Arc::new(()));
        let senders = [0, 1].map(|_| {
            let (mailbox, item) = (mailbox.clone(), item.clone());
            thread::spawn(move || {
                // Who comes too late, or is one too many, is dropped here.
                let _ = mailbox.push(item);
            })
        });
        let mut batch = VecDeque::new();
        mailbox.take(&mut batch);
        assert!(batch.len() <= 1);
        mailbox.close();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(mailbox.is_empty());
        // The mailbox lives on, in remotes; the items are gone, each once.
        assert_eq!(Arc::strong_count(&item), 1 + batch.len());
    });
}

#[test]
fn a_wake_is_merged_with_others_and_never_lost() {
    every_order(|| {
        let (bed, bell) = bed();
        let letters = Mailbox::new(bell.clone(), 10);
        let line = Arc::new(Line::new(0, letters.clone(), Peer::memory(), 100));
        let reasons = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let wakers = [0, 1].map(|index| {
            let (line, reasons) = (line.clone(), reasons.clone());
            thread::spawn(move || {
                let remote = Remote::new(line, Lines::default());
                reasons[index].store(1, Ordering::Release);
                remote.wake();
            })
        });
        let (mut calls, mut batch) = (0, VecDeque::new());
        let mut seen = 0;
        while seen < 2 {
            sleep_unless(&bed, &bell, || !letters.is_empty());
            letters.take(&mut batch);
            for letter in batch.drain(..) {
                assert!(matches!(letter, Letter::To(_, What::Wake)));
                // What a session does, and then its handler.
                line.woken();
                calls += 1;
                seen = reasons.iter().map(|reason| reason.load(Ordering::Acquire)).sum();
            }
        }
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert!(calls <= 2, "woken {calls} times");
    });
}

#[test]
fn who_leaves_makes_room_and_rings_for_who_waits() {
    every_order(|| {
        let (bed, bell) = bed();
        let gate = Arc::new(Gate::new(1));
        gate.notify(bell.clone());
        assert!(enters(&gate));
        let leaver = gate.clone();
        let (leaver, other) = (thread::spawn(move || leaver.leave()), gate.clone());
        // Another acceptor, which knocks and finds nobody, whom it would have let in.
        let other = thread::spawn(move || {
            if enters(&other) {
                other.leave();
            }
        });
        while !enters(&gate) {
            sleep_unless(&bed, &bell, || gate.has_room());
        }
        leaver.join().unwrap();
        other.join().unwrap();
        assert_eq!(gate.inside(), 1);
        gate.leave();
    });
}

#[test]
fn no_more_are_inside_than_there_are_places() {
    every_order(|| {
        let gate = Arc::new(Gate::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let comers = [0, 1].map(|_| {
            let (gate, inside) = (gate.clone(), inside.clone());
            thread::spawn(move || {
                if enters(&gate) {
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    gate.leave();
                }
            })
        });
        comers.into_iter().for_each(|comer| comer.join().unwrap());
        assert!(gate.inside() == 0 && enters(&gate));
    });
}

#[test]
fn a_gate_that_opens_again_or_gets_wider_rings_for_who_waits() {
    every_order(|| {
        let (bed, bell) = bed();
        let gate = Arc::new(Gate::new(1));
        gate.notify(bell.clone());
        assert!(enters(&gate));
        gate.pause(true);
        let (opener, widener) = (gate.clone(), gate.clone());
        let others = [
            thread::spawn(move || opener.pause(false)),
            thread::spawn(move || widener.set_connections_max(2)),
        ];
        while !enters(&gate) {
            sleep_unless(&bed, &bell, || gate.has_room());
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(gate.inside(), 2);
    });
}

#[test]
fn who_waits_for_sessions_to_leave_learns_of_the_last() {
    every_order(|| {
        let tally = Arc::new(Tally::default());
        (0..2).for_each(|_| tally.opened());
        let leavers = [0, 1].map(|_| {
            let tally = tally.clone();
            thread::spawn(move || tally.closed(&CloseReason::Finished, false))
        });
        assert!(tally.wait_until_open(0, None));
        leavers.into_iter().for_each(|leaver| leaver.join().unwrap());
        assert_eq!(tally.snapshot().closed.finished, 2);
    });
}

#[test]
fn two_stops_are_one_and_who_joins_waits_for_every_thread() {
    every_order(|| {
        let stop = Arc::new(Stop::default());
        let soon = Instant::now() + Duration::from_secs(3600);
        let later = soon + Duration::from_secs(3600);
        let ended = Arc::new(AtomicUsize::new(0));
        let (one, other) = (stop.clone(), stop.clone());
        let (at_work, count) = (stop.enter(), ended.clone());
        let threads = [
            thread::spawn(move || {
                one.begin(later, 0);
                count.fetch_add(1, Ordering::Relaxed);
                drop(at_work);
            }),
            thread::spawn(move || other.begin(soon, 0)),
        ];
        assert_eq!(stop.wait(), 0);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        assert!(stop.flag().load(Ordering::Relaxed), "it has begun");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(stop.deadline(), Some(soon));
    });
}
