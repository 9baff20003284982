//! The way to an observer, if there is one.

use super::Observer;
use crate::addr::Peer;
use crate::contain::{Panic, contain};
use crate::handler::CloseReason;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An observer, or none. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    observer: Option<Arc<dyn Observer>>,
    /// Callbacks that panicked, observers included.
    panics: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Watch {
        Watch { observer, panics: Arc::default() }
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.observer.is_some()
    }

    /// This one if it is set, or else the other.
    pub(crate) fn or(self, other: &Watch) -> Watch {
        if self.is_set() { self } else { other.clone() }
    }

    #[inline]
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.observer {
            // Nobody is told of it: that might panic again.
            if contain(|| what(&**observer)).is_err() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A callback has panicked.
    #[cold]
    pub(crate) fn panicked(&self, peer: Option<&Peer>, panic: &Panic) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.tell(|observer| observer.panicked(peer, &panic.0));
    }

    /// What a session needs to be seen, if anybody looks.
    pub(crate) fn over(&self, now: impl FnOnce() -> Instant) -> Option<Watched> {
        self.is_set().then(|| Watched { watch: self.clone(), began: now() })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

/// A session that somebody looks at.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Watch,
    began: Instant,
}

impl Watched {
    pub(crate) fn adopted(&self, peer: &Peer) {
        self.watch.tell(|observer| observer.adopted(peer));
    }

    #[cold]
    pub(crate) fn stalled(&self, peer: &Peer, unsent: usize) {
        self.watch.tell(|observer| observer.stalled(peer, unsent));
    }

    #[cold]
    pub(crate) fn flowed(&self, peer: &Peer) {
        self.watch.tell(|observer| observer.flowed(peer));
    }

    /// It is counted when the session ends.
    #[cold]
    pub(crate) fn panicked(&self, peer: &Peer, panic: &Panic) {
        self.watch.tell(|observer| observer.panicked(Some(peer), &panic.0));
    }

    pub(crate) fn closed(&self, peer: &Peer, reason: &CloseReason, now: Instant) {
        let lasted = now.saturating_duration_since(self.began);
        self.watch.tell(|observer| observer.closed(peer, reason, lasted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panicking;

    impl Observer for Panicking {
        fn panicked(&self, _: Option<&Peer>, _: &str) {
            panic!("the observer too");
        }
    }

    #[test]
    fn a_panic_of_the_observer_is_counted_and_told_to_nobody() {
        let watch = Watch::new(Some(Arc::new(Panicking)));
        watch.panicked(None, &Panic("first".to_owned()));
        assert_eq!(watch.panics(), 2);
        assert!(Watch::default().over(Instant::now).is_none());
    }
}
