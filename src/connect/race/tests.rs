//! Races without sockets: time is a number, results come in any order.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const MS: Duration = Duration::from_millis(1);

fn race(count: usize, pace: Pace, limit: Duration) -> (Race, Instant) {
    let begin = Instant::now();
    (Race::new(count, pace, begin + limit), begin)
}

#[test]
fn the_next_starts_after_the_delay() {
    let (mut race, t) = race(2, Pace::default(), 10_000 * MS);
    assert_eq!(race.step(t), Step::Start(0));
    assert_eq!(race.step(t), Step::Wait(t + 250 * MS));
    assert_eq!(race.step(t + 249 * MS), Step::Wait(t + 250 * MS));
    assert_eq!(race.step(t + 250 * MS), Step::Start(1));
    assert_eq!(race.step(t + 250 * MS), Step::Wait(t + 10_000 * MS));
    assert!(race.connected(1));
    assert!(!race.connected(0), "there is one winner");
    assert_eq!(race.step(t + 300 * MS), Step::Over(End::Won(1)));
}

#[test]
fn the_next_starts_at_once_after_a_failure_and_the_delay_counts_anew() {
    let (mut race, t) = race(3, Pace::default(), 10_000 * MS);
    assert_eq!(race.step(t), Step::Start(0));
    race.failed(0);
    assert_eq!(race.step(t + 3 * MS), Step::Start(1));
    assert_eq!(race.step(t + 3 * MS), Step::Wait(t + 253 * MS));
    race.failed(1);
    assert_eq!(race.step(t + 4 * MS), Step::Start(2));
    race.failed(2);
    assert_eq!(race.step(t + 5 * MS), Step::Over(End::Failed));
}

#[test]
fn a_failure_that_was_told_twice_hurries_nobody() {
    let (mut race, t) = race(3, Pace::default(), 10_000 * MS);
    assert_eq!(race.step(t), Step::Start(0));
    race.failed(0);
    assert_eq!(race.step(t), Step::Start(1));
    race.failed(0);
    assert_eq!(race.step(t), Step::Wait(t + 250 * MS));
}

#[test]
fn delays_are_clamped_to_what_the_rfc_allows() {
    assert_eq!(Pace::staggered(Duration::ZERO), Pace::Staggered(10 * MS));
    assert_eq!(Pace::staggered(9 * MS), Pace::Staggered(10 * MS));
    assert_eq!(Pace::staggered(100 * MS), Pace::Staggered(100 * MS));
    assert_eq!(Pace::staggered(2_001 * MS), Pace::Staggered(2_000 * MS));
}

#[test]
fn no_more_than_six_are_under_way_and_the_first_makes_room_for_a_seventh() {
    let (mut race, t) = race(7, Pace::staggered(10 * MS), 14_000 * MS);
    for attempt in 0..6 {
        let now = t + 10 * MS * attempt;
        assert_eq!(race.step(now), Step::Start(attempt as usize));
    }
    // The seventh waits for a seat: 6/7 of the time are the first one's share.
    let Step::Wait(until) = race.step(t + 1_000 * MS) else { panic!("a seat too many") };
    assert!(until > t + 11_999 * MS && until < t + 12_001 * MS, "{:?}", until - t);
    assert_eq!(race.step(until), Step::GiveUp(0));
    assert_eq!(race.step(until), Step::Start(6));
    assert_eq!(race.step(until), Step::Wait(t + 14_000 * MS));
    assert_eq!(race.step(t + 14_000 * MS), Step::Over(End::TimedOut));
}

#[test]
fn one_after_the_other_each_has_its_share_of_what_is_left() {
    let (mut race, t) = race(3, Pace::Sequential, 30_000 * MS);
    assert_eq!(race.step(t), Step::Start(0));
    assert_eq!(race.step(t), Step::Wait(t + 10_000 * MS));
    race.failed(0);
    assert_eq!(race.step(t + 2_000 * MS), Step::Start(1));
    assert_eq!(race.step(t + 2_000 * MS), Step::Wait(t + 16_000 * MS));
    assert_eq!(race.step(t + 16_000 * MS), Step::GiveUp(1));
    assert_eq!(race.step(t + 16_000 * MS), Step::Start(2));
    assert_eq!(race.step(t + 16_000 * MS), Step::Wait(t + 30_000 * MS));
}

#[test]
fn a_share_is_two_seconds_at_least_and_a_thousand_do_not_trip_the_first() {
    let (mut race, t) = race(1_000, Pace::Sequential, 5_000 * MS);
    assert_eq!(race.step(t), Step::Start(0));
    assert_eq!(race.step(t), Step::Wait(t + 2_000 * MS));
    assert_eq!(race.step(t + 2_000 * MS), Step::GiveUp(0));
    assert_eq!(race.step(t + 2_000 * MS), Step::Start(1));
    assert!(race.connected(1));
    assert_eq!(race.step(t + 2_001 * MS), Step::Over(End::Won(1)));
}

#[test]
fn nobody_to_try_is_a_failure_and_no_time_is_too_late() {
    let (mut none, t) = race(0, Pace::default(), 1_000 * MS);
    assert_eq!(none.step(t), Step::Over(End::Failed));
    let (mut late, t) = race(1, Pace::default(), Duration::ZERO);
    assert_eq!(late.step(t), Step::Over(End::TimedOut));
}

#[test]
fn families_take_turns_after_the_first() {
    let order = |addresses: &str, first| {
        let address = |c: char| match c.is_ascii_lowercase() {
            true => SocketAddr::from(([10, 0, 0, 1], c as u16)),
            false => SocketAddr::from(([1, 0, 0, 0, 0, 0, 0, 1], c as u16)),
        };
        let ordered = interleave(addresses.chars().map(address).collect(), first);
        ordered.iter().map(|address| char::from(address.port() as u8)).collect::<String>()
    };
    assert_eq!(order("ABCab", 1), "AaBbC");
    assert_eq!(order("ABCab", 2), "ABaCb");
    assert_eq!(order("abAB", 1), "aAbB");
    assert_eq!(order("aABC", 0), "aABC");
    assert_eq!(order("abc", 1), "abc");
    assert_eq!(order("", 1), "");
}

/// What becomes of an attempt, and how long after its start.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Connects(u64),
    Fails(u64),
    Silent,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0..4_000_u64).prop_map(Fate::Connects),
        (0..4_000_u64).prop_map(Fate::Fails),
        Just(Fate::Silent),
    ]
}

proptest! {
    /// Any order of results: at most one winner, everybody else closed, the next at once after a
    /// failure, at most six under way, and the end no later than the deadline.
    #[test]
    fn any_order_of_results_ends_well(
        fates in prop::collection::vec(fate(), 0..20),
        delay in 0..3_000_u64,
        limit in 0..12_000_u64,
        sequential: bool,
    ) {
        let pace = match sequential {
            true => Pace::Sequential,
            false => Pace::staggered(delay as u32 * MS),
        };
        let (mut race, begin) = race(fates.len(), pace, limit as u32 * MS);
        let deadline = begin + limit as u32 * MS;
        let mut now = begin;
        // Attempts under way, with the instants at which they are decided.
        let mut open: BTreeSet<(Instant, usize)> = BTreeSet::new();
        let (mut started, mut closed) = (0, 0);
        let (mut failed_at, mut last_start) = (None, None);
        let end = loop {
            match race.step(now) {
                Step::Start(attempt) => {
                    prop_assert_eq!(attempt, started, "each once, in order");
                    started += 1;
                    if let (Some(last), None) = (last_start, failed_at) {
                        prop_assert!(sequential || now - last >= pace.delay(), "too early");
                    }
                    (last_start, failed_at) = (Some(now), None);
                    let at = match fates[attempt] {
                        Fate::Connects(ms) | Fate::Fails(ms) => now + ms as u32 * MS,
                        Fate::Silent => deadline + MS,
                    };
                    open.insert((at, attempt));
                    prop_assert!(open.len() <= pace.seats());
                }
                Step::GiveUp(attempt) => {
                    let before = open.len();
                    open.retain(|(_, other)| *other != attempt);
                    prop_assert_eq!(open.len(), before - 1);
                    closed += 1;
                    failed_at = Some(now);
                }
                Step::Wait(until) => {
                    prop_assert!(until > now && until <= deadline);
                    let waits = started < fates.len() && open.len() < pace.seats();
                    prop_assert!(failed_at.is_none() || !waits, "a failure starts the next at once");
                    failed_at = None;
                    match open.first().copied() {
                        Some((at, attempt)) if at <= until => {
                            open.pop_first();
                            now = at;
                            if let Fate::Connects(_) = fates[attempt] {
                                prop_assert!(race.connected(attempt));
                                prop_assert!(!race.connected(attempt), "a second winner");
                            } else {
                                race.failed(attempt);
                                closed += 1;
                                failed_at = Some(now);
                            }
                        }
                        _ => now = until,
                    }
                }
                Step::Over(end) => break end,
            }
        };
        prop_assert!(now <= deadline);
        let winners = usize::from(matches!(end, End::Won(_)));
        prop_assert_eq!(started, closed + open.len() + winners, "none is forgotten");
        match end {
            End::Won(winner) => prop_assert!(matches!(fates[winner], Fate::Connects(_))),
            End::Failed => {
                prop_assert_eq!(started, fates.len());
                prop_assert!(open.is_empty());
            }
            End::TimedOut => prop_assert_eq!(now, deadline),
        }
        for (_, late) in open {
            prop_assert!(!race.connected(late), "the race is over");
            race.failed(late);
        }
        prop_assert_eq!(race.step(now), Step::Over(end));
    }
}
