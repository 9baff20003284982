//! The pool of the system's resolver, asking somebody who answers when told to.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

fn in_ms(ms: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(ms))
}

fn one() -> Answer {
    Ok(vec!["192.0.2.1:0".parse().unwrap()])
}

/// Answers when told to, in any order of questions; counts what it was asked.
fn slow(threads_max: usize) -> (SystemResolver, mpsc::Sender<Answer>, Arc<AtomicUsize>) {
    let (tell, told) = mpsc::channel();
    let (told, asked) = (Mutex::new(told), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let ask = move |_: &str, _| {
        count.fetch_add(1, Ordering::SeqCst);
        told.lock().unwrap().recv().unwrap_or_else(|_| one())
    };
    (SystemResolver::asking(threads_max, Box::new(ask)), tell, asked)
}

fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "it never came to that");
        thread::sleep(Duration::from_millis(1));
    }
}

fn waiters(resolver: &SystemResolver, name: &str) -> usize {
    let key = (name.to_owned(), IpVersion::Any);
    resolver.pool.lock().flights.get(&key).map_or(0, |flight| flight.waiters)
}

#[test]
fn the_same_question_is_asked_once_and_each_waiter_keeps_its_deadline() {
    let (resolver, tell, asked) = slow(4);
    let resolve = |deadline| resolver.resolve("a", IpVersion::Any, deadline);
    thread::scope(|scope| {
        let patient: Vec<_> =
            (0..5).map(|_| scope.spawn(|| resolve(Some(Instant::now() + PATIENCE)))).collect();
        until(|| waiters(&resolver, "a") == 5);
        let started = Instant::now();
        assert_eq!(resolve(in_ms(50)).unwrap_err().kind(), LookupErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert_eq!(resolver.abandoned(), 0, "others wait on");
        tell.send(one()).unwrap();
        for waiter in patient {
            assert_eq!(waiter.join().unwrap().unwrap(), one().unwrap());
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!((resolver.threads(), waiters(&resolver, "a")), (1, 0));
}

#[test]
fn abandoned_lookups_are_counted_and_once_they_hold_every_thread_new_ones_are_refused() {
    let (resolver, tell, asked) = slow(3);
    let resolve = |name: &str, ms| resolver.resolve(name, IpVersion::Any, in_ms(ms));
    for (index, name) in ["a", "b", "c"].iter().enumerate() {
        // Again if the time was over before a thread had taken it: what nobody asks is not abandoned.
        until(|| {
            assert_eq!(resolve(name, 20).unwrap_err().kind(), LookupErrorKind::TimedOut);
            resolver.abandoned() == index + 1
        });
    }
    let started = Instant::now();
    assert_eq!(resolve("d", 60_000).unwrap_err().kind(), LookupErrorKind::Busy);
    assert!(started.elapsed() < PATIENCE);
    // Whoever asks an abandoned question again takes it up.
    thread::scope(|scope| {
        let again = scope.spawn(|| resolve("b", 60_000));
        until(|| resolver.abandoned() == 2);
        (0..3).for_each(|_| tell.send(one()).unwrap());
        again.join().unwrap().unwrap();
    });
    until(|| resolver.abandoned() == 0);
    tell.send(one()).unwrap();
    resolve("d", 60_000).unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), resolver.threads()), (4, 3));
}

#[test]
fn what_is_queued_and_left_is_never_asked() {
    let (resolver, tell, asked) = slow(1);
    let resolve = |name: &str, ms| resolver.resolve(name, IpVersion::Any, in_ms(ms));
    thread::scope(|scope| {
        let first = scope.spawn(|| resolve("first", 60_000));
        until(|| asked.load(Ordering::SeqCst) == 1);
        for n in 0..20 {
            let error = resolve(&format!("name{n}"), 2).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::TimedOut);
        }
        assert!(resolver.pool.lock().queue.is_empty());
        tell.send(one()).unwrap();
        first.join().unwrap().unwrap();
    });
    assert_eq!((asked.load(Ordering::SeqCst), resolver.abandoned()), (1, 0));
}

#[test]
fn the_queue_has_a_limit() {
    let (resolver, tell, asked) = slow(1);
    thread::scope(|scope| {
        scope.spawn(|| resolver.resolve("first", IpVersion::Any, in_ms(60_000)));
        until(|| asked.load(Ordering::SeqCst) == 1);
        let mut state = resolver.pool.lock();
        let ask = |state: &mut State, n: usize| {
            resolver.pool.board(state, &(format!("name{n}"), IpVersion::Any)).map(drop)
        };
        (0..QUEUE_MAX).for_each(|n| ask(&mut state, n).unwrap());
        let error = ask(&mut state, QUEUE_MAX).unwrap_err();
        assert_eq!(error.kind(), LookupErrorKind::Busy);
        ask(&mut state, 0).unwrap(); // what is asked already is shared
        (0..QUEUE_MAX).for_each(|n| state.leave(&(format!("name{n}"), IpVersion::Any)));
        assert_eq!(state.queue.len(), 1);
        drop(state);
        drop(tell);
    });
}

#[test]
fn a_panic_is_an_answer_and_idle_threads_end() {
    let resolver = SystemResolver::asking(2, Box::new(|_, _| panic!("on purpose")));
    for deadline in [in_ms(60_000), in_ms(60_000), None] {
        let error = resolver.resolve("a", IpVersion::Any, deadline).unwrap_err();
        assert_eq!(error.to_string(), "look up a: the lookup panicked");
    }
    assert_eq!(resolver.threads(), 1);
    until(|| resolver.threads() == 0);
    assert!(resolver.resolve("a", IpVersion::Any, in_ms(60_000)).is_err());
}

#[test]
fn numbers_bad_names_and_what_is_late_are_asked_of_nobody() {
    let resolver = SystemResolver::asking(1, Box::new(|_, _| panic!("asked")));
    for bad in ["127.0.0.1", "127.1", "::1", "", "a b"] {
        for deadline in [None, in_ms(60_000)] {
            let error = resolver.resolve(bad, IpVersion::Any, deadline).unwrap_err();
            assert_eq!(error.kind(), LookupErrorKind::BadName, "{bad:?}");
        }
    }
    let past = resolver.resolve("localhost", IpVersion::Any, Some(Instant::now())).unwrap_err();
    assert_eq!(past.kind(), LookupErrorKind::TimedOut);
    assert_eq!(resolver.threads(), 0);
}

#[test]
fn versions_are_different_questions() {
    let resolver = SystemResolver::shared();
    let found = resolver.resolve("localhost", IpVersion::V4, in_ms(60_000)).unwrap();
    assert_eq!(found, ["127.0.0.1:0".parse().unwrap()]);
}
