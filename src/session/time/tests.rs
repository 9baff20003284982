//! Limits to the nanosecond: the clock is the test's.
//!
//! Long because: each limit has its own ways to be early, late or forgotten.

use super::super::tests::Rig;
use super::*;
use crate::addr::Peer;
use crate::codec::Lines;
use crate::handler::{Context, Side};
use crate::limits::Limits;
use std::sync::Arc;

const NANO: Duration = Duration::from_nanos(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn rig(change: impl FnOnce(&mut Limits)) -> Rig {
    Rig::new(change).0
}

/// None of the limits that would interfere.
fn bare(limits: &mut Limits) {
    *limits = Limits::interactive();
    limits.write_stall_timeout = None;
}

/// Nothing happens a nanosecond before, and everything then.
fn ends_after(rig: &mut Rig, time: Duration, reason: &str) {
    rig.wait(time - NANO);
    assert_eq!(rig.reason(), None, "too early");
    rig.wait(NANO);
    assert_eq!(rig.reason().as_deref(), Some(reason));
}

fn silent(_: &mut Rig) {}

fn quiet(rig: &mut Rig) {
    rig.read(b"hello\n");
}

fn halfway(rig: &mut Rig) {
    rig.read(b"hello\nhalf");
}

fn deaf(rig: &mut Rig) {
    rig.room = 0;
    rig.read(b"big\n");
}

fn slow(rig: &mut Rig) {
    rig.room = 0;
    rig.read(b"big\n");
    // All but the last byte of what the strict limits ask for, and that too late.
    rig.room = 4095;
    rig.turn(|_, _| ());
    assert_eq!(rig.room, 0);
}

#[test]
fn presets_are_what_their_table_says() {
    type Case = (fn(&mut Rig), &'static str, [Option<u64>; 3]);
    let cases: [Case; 5] = [
        (silent, "no first message in time", [Some(60), Some(10), None]),
        (quiet, "idle for too long", [Some(600), Some(60), None]),
        (halfway, "frame not whole in time", [Some(60), Some(10), None]),
        (deaf, "peer stopped reading", [Some(30), Some(10), Some(30)]),
        (slow, "peer reads too slowly", [None, Some(10), None]),
    ];
    for (prepare, reason, times) in cases {
        let presets = [Limits::default(), Limits::strict(), Limits::interactive()];
        for (preset, seconds) in presets.into_iter().zip(times) {
            let mut rig = rig(|limits| *limits = preset);
            prepare(&mut rig);
            match seconds {
                Some(seconds) => ends_after(&mut rig, secs(seconds), reason),
                None if reason == "peer reads too slowly" => {
                    ends_after(&mut rig, secs(30), "peer stopped reading");
                }
                None => assert_eq!(rig.deadline(), None, "{reason}"),
            }
        }
    }
}

#[test]
fn a_frame_has_its_time_however_its_bytes_trickle() {
    let mut rig = rig(|limits| limits.frame_timeout = Some(millis(300)));
    rig.read(b"hello\n");
    rig.wait(secs(5));
    for _ in 0..6 {
        assert_eq!(rig.reason(), None);
        rig.read(b"x");
        rig.wait(millis(50));
    }
    assert_eq!(rig.reason().as_deref(), Some("frame not whole in time"));
    assert!(rig.shut, "in an orderly way");
}

#[test]
fn the_first_frame_has_both_limits_and_the_sooner_one_ends_it() {
    for (first, frame, reason) in [
        (100, 99, "frame not whole in time"),
        (100, 100, "no first message in time"),
        (100, 101, "no first message in time"),
    ] {
        let mut rig = rig(|limits| {
            limits.first_message_timeout = Some(millis(first));
            limits.frame_timeout = Some(millis(frame));
        });
        rig.read(b"half");
        ends_after(&mut rig, millis(first.min(frame)), reason);
    }
}

#[test]
fn each_frame_has_a_time_of_its_own() {
    let mut rig = rig(|limits| limits.frame_timeout = Some(secs(10)));
    rig.read(b"one and a h");
    for _ in 0..5 {
        rig.wait(secs(10) - millis(1));
        rig.read(b"alf\nand another h");
    }
    assert_eq!(rig.reason(), None);
    ends_after(&mut rig, secs(10), "frame not whole in time");
}

#[test]
fn a_frame_behind_those_of_another_turn_has_its_time_too() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
        limits.frames_per_turn = 1;
    });
    rig.wait(secs(100));
    let taken = rig.turn(|session, turn| session.receive(b"one\ntwo\nhalf", turn));
    assert_eq!(taken, 4);
    rig.session.as_mut().unwrap().keep(b"two\nhalf");
    while rig.session.as_ref().unwrap().wants_turn() {
        rig.turn(Session::resume);
    }
    assert_eq!(rig.log().last().unwrap(), "frame two");
    ends_after(&mut rig, secs(10), "frame not whole in time");
}

#[test]
fn a_whole_frame_ends_its_limit() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
    });
    rig.read(b"half");
    assert!(rig.deadline().is_some());
    rig.read(b" a line\n");
    assert_eq!(rig.deadline(), None);
}

#[test]
fn the_engine_is_asked_once_to_watch_frames_and_not_for_each() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
    });
    let moved = |rig: &mut Rig| {
        let Rig { session, turn, .. } = rig;
        session.as_mut().unwrap().moved_deadline(turn)
    };
    rig.read(b"hello\n");
    assert_eq!(moved(&mut rig), None);
    // Which this handler has from the start, and most have not.
    rig.session.as_mut().unwrap().state().flags.clear(Flags::REMOTE);
    let begin = rig.turn.now();
    rig.read(b"half");
    assert_eq!(moved(&mut rig), Some(begin + secs(10)));
    for _ in 0..9 {
        rig.wait(secs(1));
        rig.read(b" a line\nhalf");
        assert_eq!(moved(&mut rig), None);
        assert!(rig.session.as_ref().unwrap().is_steady());
    }
    rig.turn.it_is(rig.turn.now() + secs(1));
    rig.turn(Session::tick);
    assert_eq!(rig.reason(), None);
    assert_eq!(moved(&mut rig), Some(begin + secs(19)));
}

#[test]
fn a_paused_session_blames_nobody_for_half_a_frame() {
    let (mut rig, remote) = Rig::new(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
        limits.idle_read_timeout = Some(secs(20));
    });
    rig.read(b"pause\nhalf");
    rig.wait(secs(100));
    assert_eq!((rig.reason(), rig.deadline()), (None, None));
    remote.wake();
    rig.deliver();
    rig.turn(Session::resume);
    ends_after(&mut rig, secs(10), "frame not whole in time");

    // The same where the half was there before the pause.
    let (mut rig, remote) = Rig::new(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
    });
    rig.read(b"half");
    rig.wait(secs(9));
    rig.session.as_mut().unwrap().state().flags.set(Flags::PAUSED);
    rig.wait(secs(100));
    assert_eq!((rig.reason(), rig.deadline()), (None, None));
    remote.wake();
    rig.deliver();
    ends_after(&mut rig, secs(10), "frame not whole in time");
}

#[test]
fn a_peer_that_is_held_up_has_its_time_anew() {
    let (mut rig, remote) = Rig::new(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
    });
    rig.room = 0;
    remote.send("not a reply").unwrap();
    rig.deliver();
    rig.read(b"hello\nhalf");
    rig.wait(secs(100));
    assert_eq!(rig.deadline(), None, "it is not read from");
    rig.room = usize::MAX;
    rig.turn(|_, _| ());
    while rig.session.as_ref().unwrap().wants_turn() {
        rig.turn(Session::resume);
    }
    ends_after(&mut rig, secs(10), "frame not whole in time");
}

#[test]
fn a_peer_that_is_held_up_by_its_replies_has_its_time_anew() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.frame_timeout = Some(secs(10));
    });
    rig.room = 0;
    rig.read(b"hello\nhalf");
    assert!(!rig.session.as_ref().unwrap().has(Flags::PENDING));
    rig.wait(secs(100));
    assert_eq!(rig.deadline(), None, "it is not read from");
    rig.room = usize::MAX;
    rig.turn(|_, _| ());
    ends_after(&mut rig, secs(10), "frame not whole in time");
}

#[test]
fn the_frame_clock_wraps_around_and_nobody_notices() {
    let wrap = Duration::from_millis(1 << 32);
    for before in [millis(1), millis(299), millis(300), millis(301)] {
        let mut rig = rig(|limits| {
            bare(limits);
            limits.frame_timeout = Some(millis(300));
        });
        rig.turn.it_is(rig.turn.now() + wrap - before);
        rig.read(b"half");
        ends_after(&mut rig, millis(300), "frame not whole in time");
    }
}

#[test]
fn idle_limits_go_by_direction() {
    let limits = |read: u64, write: u64| {
        move |limits: &mut Limits| {
            bare(limits);
            limits.idle_timeout = Some(secs(100));
            limits.idle_read_timeout = Some(secs(read));
            limits.idle_write_timeout = Some(secs(write));
        }
    };
    // Who only listens.
    let (mut rig, remote) = Rig::new(limits(30, 20));
    rig.read(b"hello\n");
    rig.wait(secs(15));
    remote.send("news").unwrap();
    rig.deliver();
    ends_after(&mut rig, secs(15), "peer said nothing for too long");
    assert_eq!(rig.log().last().unwrap(), "idle Read");

    // Who only talks.
    let (mut rig, _) = Rig::new(limits(20, 30));
    rig.read(b"hello\n");
    rig.wait(secs(15));
    rig.read(b"half");
    ends_after(&mut rig, secs(15), "nothing to say for too long");
    assert_eq!(rig.log().last().unwrap(), "idle Write");

    // Before the first message only its own limit runs, and the others begin with it.
    let (mut rig, _) = Rig::new(limits(30, 20));
    rig.wait(secs(50));
    rig.read(b"timer\n");
    ends_after(&mut rig, secs(20), "nothing to say for too long");
    let (mut rig, _) = Rig::new(limits(1, 1));
    rig.wait(secs(50));
    assert_eq!(rig.reason(), None);
    rig.read(b"hello\n");
    ends_after(&mut rig, secs(1), "peer said nothing for too long");
}

#[test]
fn an_idle_session_that_is_kept_has_the_time_again() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.idle_timeout = Some(secs(50));
        limits.idle_write_timeout = Some(secs(20));
    });
    rig.read(b"keep\n");
    for _ in 0..3 {
        rig.wait(secs(20));
        assert_eq!(rig.deadline(), Some(rig.turn.now() + secs(20)));
    }
    let log = rig.log();
    assert_eq!(log[2..], ["idle Write", "idle Write", "idle Write"]);
    assert_eq!(rig.reason(), None);
}

#[test]
fn a_direction_that_is_closed_is_not_idle() {
    let mut rig = rig(|limits| {
        bare(limits);
        limits.idle_write_timeout = Some(secs(20));
    });
    rig.read(b"half\n");
    assert!(rig.shut);
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_life_ends_in_an_orderly_way_whatever_goes_on() {
    let mut rig = rig(|limits| limits.life_timeout = Some(secs(100)));
    for _ in 0..100 {
        assert!(!rig.shut);
        rig.read(b"hello\n");
        rig.wait(secs(1));
    }
    assert_eq!(rig.reason().as_deref(), Some("open for too long"));
    assert!(rig.shut && !rig.is_over());
    let sent = rig.sent.len();
    rig.read(b"more\n");
    assert_eq!(rig.sent.len(), sent, "input has stopped");
    rig.wait(secs(1));
    assert!(rig.is_over() && !rig.session.as_ref().unwrap().wants_reset());
}

#[test]
fn a_life_that_ends_with_output_waiting_has_the_linger_time_for_it() {
    let life = |limits: &mut Limits| {
        bare(limits);
        limits.life_timeout = Some(secs(100));
        limits.linger_timeout = secs(5);
    };
    // It is taken in time.
    let mut taken = rig(life);
    deaf(&mut taken);
    ends_after(&mut taken, secs(100), "open for too long");
    assert!(!taken.shut && !taken.is_over());
    taken.wait(secs(4));
    taken.room = usize::MAX;
    taken.turn(|_, _| ());
    assert_eq!(taken.sent.len(), 100_000);
    assert!(taken.shut && !taken.is_over());
    taken.wait(secs(5));
    assert!(taken.is_over() && !taken.session.as_ref().unwrap().wants_reset());

    // It is not; that some of it was, does not help.
    let mut left = rig(life);
    deaf(&mut left);
    left.wait(secs(100));
    for _ in 0..4 {
        left.room = 1;
        left.turn(|_, _| ());
        left.wait(secs(1));
    }
    left.wait(secs(1) - NANO);
    assert!(!left.is_over());
    left.wait(NANO);
    assert!(left.is_over() && left.session.as_ref().unwrap().wants_reset());
    assert_eq!(left.reason().as_deref(), Some("open for too long"));
}

#[test]
fn a_reader_owes_its_bytes_within_each_window() {
    let strict = |limits: &mut Limits| {
        bare(limits);
        limits.write_stall_timeout = Some(secs(10));
        limits.write_stall_bytes_min = Some(1000);
    };
    let take = |rig: &mut Rig, bytes| {
        rig.room = bytes;
        rig.turn(|_, _| ());
    };
    // A byte now and then, as nobody would who wants the rest.
    let mut trickle = rig(strict);
    deaf(&mut trickle);
    trickle.wait(secs(9));
    take(&mut trickle, 1);
    ends_after(&mut trickle, secs(1), "peer reads too slowly");
    assert!(trickle.is_over() && trickle.session.as_ref().unwrap().wants_reset());

    // One byte less than it owes, and one byte more: the next window has begun.
    let mut less = rig(strict);
    deaf(&mut less);
    take(&mut less, 499);
    less.wait(secs(5));
    take(&mut less, 500);
    ends_after(&mut less, secs(5), "peer reads too slowly");
    let mut enough = rig(strict);
    deaf(&mut enough);
    take(&mut enough, 499);
    enough.wait(secs(5));
    take(&mut enough, 501);
    ends_after(&mut enough, secs(10), "peer stopped reading");

    // All that is left counts, however little.
    let mut all = rig(strict);
    deaf(&mut all);
    for _ in 0..99 {
        all.wait(secs(10) - NANO);
        take(&mut all, 1000);
    }
    all.wait(secs(10) - NANO);
    take(&mut all, usize::MAX);
    assert_eq!((all.reason(), all.deadline(), all.sent.len()), (None, None, 100_000));

    // Without it any byte is a new beginning.
    let mut any = rig(|limits| {
        bare(limits);
        limits.write_stall_timeout = Some(secs(10));
    });
    deaf(&mut any);
    for _ in 0..100 {
        any.wait(secs(9));
        take(&mut any, 1);
    }
    ends_after(&mut any, secs(10), "peer stopped reading");
}

#[test]
fn a_limit_of_less_than_a_tick_is_a_tick() {
    let tick = crate::timers::TICK;
    for tiny in [Duration::ZERO, NANO, Duration::from_micros(999), tick] {
        let tiny = Some(tiny);
        let limits = |change: fn(&mut Limits, Option<Duration>)| {
            rig(|limits| {
                bare(limits);
                change(limits, tiny);
            })
        };
        let mut rig = limits(|limits, tiny| limits.first_message_timeout = tiny);
        ends_after(&mut rig, tick, "no first message in time");
        let mut rig = limits(|limits, tiny| limits.idle_timeout = tiny);
        quiet(&mut rig);
        ends_after(&mut rig, tick, "idle for too long");
        let mut rig = limits(|limits, tiny| limits.idle_read_timeout = tiny);
        quiet(&mut rig);
        ends_after(&mut rig, tick, "peer said nothing for too long");
        let mut rig = limits(|limits, tiny| limits.idle_write_timeout = tiny);
        quiet(&mut rig);
        ends_after(&mut rig, tick, "nothing to say for too long");
        let mut rig = limits(|limits, tiny| limits.frame_timeout = tiny);
        halfway(&mut rig);
        ends_after(&mut rig, tick, "frame not whole in time");
        let mut rig = limits(|limits, tiny| limits.life_timeout = tiny);
        ends_after(&mut rig, tick, "open for too long");
        let mut rig = limits(|limits, tiny| limits.write_stall_timeout = tiny);
        deaf(&mut rig);
        ends_after(&mut rig, tick, "peer stopped reading");
    }
}

#[test]
fn limits_that_the_clock_cannot_express_never_run_out() {
    let mut rig = rig(|limits| {
        limits.first_message_timeout = Some(Duration::MAX);
        limits.frame_timeout = Some(Duration::MAX);
        limits.life_timeout = Some(Duration::MAX);
        limits.idle_timeout = Some(Duration::MAX);
    });
    rig.read(b"half");
    assert_eq!(rig.deadline(), None);
    rig.read(b" a line\nhalf");
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_datagram_peer_has_its_own_limit_and_no_other() {
    let tiny = Some(millis(1));
    let limits = Limits {
        first_message_timeout: tiny,
        frame_timeout: tiny,
        idle_timeout: tiny,
        idle_read_timeout: tiny,
        idle_write_timeout: tiny,
        life_timeout: tiny,
        peer_idle_timeout: Some(secs(60)),
        ..Limits::default()
    };
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    let peer = Peer::udp(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let session = Session::new(Lines::default(), echo, peer, Side::Accepted, Arc::new(limits));
    let mut rig = rig(|_| {});
    rig.session = Some(session);
    rig.turn(Session::open);
    for _ in 0..3 {
        rig.turn(|session, turn| session.receive_message(b"hello", turn));
        rig.wait(secs(60) - NANO);
    }
    rig.turn(|session, turn| session.receive_message(b"hello", turn));
    ends_after(&mut rig, secs(60), "idle for too long");
}
