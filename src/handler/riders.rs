//! What a session has from a Unix connection besides bytes: who the peer is, and descriptors.
//!
//! ```text
//!   read ─► fresh ─► (a frame is unfinished) ─► older ─► closed
//!             └────────── taken ─────────────────┘
//! ```
//!
//! A stream does not say on which of the bytes of a read a descriptor rode. So those that came are there
//! for every frame of that read, and if its last frame is not whole, for that one too: until a later turn
//! has handled a frame.

use crate::addr::Credentials;
use crate::descriptors::Descriptors;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(crate) struct UnixSide {
    pub(crate) credentials: Option<Credentials>,
    /// Whether descriptors are passed at all.
    pub(crate) riders: Option<Riders>,
}

impl UnixSide {
    pub(crate) fn new(credentials: Option<Credentials>, descriptors: bool) -> UnixSide {
        UnixSide { credentials, riders: descriptors.then(Riders::default) }
    }
}

/// Descriptors in both directions.
#[derive(Debug, Default)]
pub(crate) struct Riders {
    fresh: Descriptors,
    older: Descriptors,
    /// A frame was handled since the fresh ones came.
    handled: bool,
    /// Each with what is to be sent before it: bytes, or messages where there are messages.
    out: VecDeque<(usize, Descriptors)>,
}

impl Riders {
    /// Takes what came with a read. False if that is more than may wait for one frame.
    #[must_use]
    pub(crate) fn arrive(&mut self, descriptors: Descriptors) -> bool {
        self.fresh.append(descriptors);
        self.fresh.len() + self.older.len() <= DESCRIPTORS_WAITING_MAX
    }

    pub(crate) fn take(&mut self) -> Descriptors {
        let mut taken = std::mem::take(&mut self.older);
        taken.append(std::mem::take(&mut self.fresh));
        taken
    }

    /// A turn is over: closes what no frame can want any more. `pending`: whole frames of the last read
    /// wait for another turn; `unfinished`: it ends within a frame.
    pub(crate) fn part(&mut self, handled: bool, pending: bool, unfinished: bool) {
        self.handled |= handled;
        if pending {
            return;
        }
        if std::mem::take(&mut self.handled) {
            self.older = Descriptors::default();
        }
        let fresh = std::mem::take(&mut self.fresh);
        match unfinished {
            true => self.older.append(fresh),
            false => self.older = Descriptors::default(),
        }
    }

    /// Whether there is room for so many more to be sent.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let waiting: usize = self.out.iter().map(|(_, descriptors)| descriptors.len()).sum();
        waiting + more <= DESCRIPTORS_WAITING_MAX
    }

    /// Sends these with the byte, or the message, that has so many before it.
    pub(crate) fn attach(&mut self, before: usize, descriptors: Descriptors) {
        self.out.push_back((before, descriptors));
    }

    /// As much of `bytes`, the first to be sent, as may be written at once, and what rides on it.
    pub(crate) fn cut<'a, 'b>(
        &'b self,
        bytes: &'a [u8],
        messages: bool,
    ) -> (&'a [u8], Option<&'b Descriptors>) {
        let first = self.out.front().filter(|(before, _)| *before == 0);
        let next = self.out.get(usize::from(first.is_some()));
        let end = match next {
            Some((before, _)) if !messages => bytes.len().min(*before),
            _ => bytes.len(),
        };
        (&bytes[..end], first.map(|(_, descriptors)| descriptors))
    }

    /// So much was sent.
    pub(crate) fn sent(&mut self, count: usize) {
        if count > 0 && self.out.front().is_some_and(|(before, _)| *before == 0) {
            self.out.pop_front();
        }
        self.out.iter_mut().for_each(|(before, _)| *before = before.saturating_sub(count));
    }

    /// Whether none wait to be sent.
    pub(crate) fn have_left(&self) -> bool {
        self.out.is_empty()
    }
}

/// Descriptors that one message can have.
pub(crate) const DESCRIPTORS_MAX: usize = 16;

/// Descriptors that may wait in each direction: four messages full.
const DESCRIPTORS_WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize) -> Descriptors {
        (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn bytes_are_cut_where_descriptors_ride() {
        let mut riders = Riders::default();
        riders.attach(3, some(1));
        riders.attach(5, some(2));
        let cut = |riders: &Riders, bytes: &'static [u8]| {
            let (piece, with) = riders.cut(bytes, false);
            (piece, with.map(Descriptors::len))
        };
        assert_eq!(cut(&riders, b"abcDEFG"), (&b"abc"[..], None));
        riders.sent(2);
        assert_eq!(cut(&riders, b"cDEFG"), (&b"c"[..], None));
        riders.sent(1);
        // They go with the first byte, and what is behind it may have to wait.
        assert_eq!(cut(&riders, b"DEFG"), (&b"DE"[..], Some(1)));
        riders.sent(0);
        assert_eq!(cut(&riders, b"DEFG"), (&b"DE"[..], Some(1)));
        riders.sent(1);
        assert_eq!(cut(&riders, b"EFG"), (&b"E"[..], None));
        riders.sent(1);
        assert_eq!(cut(&riders, b"FG"), (&b"FG"[..], Some(2)));
        assert!(!riders.have_left());
        riders.sent(2);
        assert!(riders.have_left());
        assert_eq!(cut(&riders, b"more"), (&b"more"[..], None));
    }

    #[test]
    fn messages_are_whole_and_counted() {
        let mut riders = Riders::default();
        riders.attach(1, some(1));
        riders.attach(2, some(2));
        for with in [None, Some(1), Some(2), None] {
            let (piece, descriptors) = riders.cut(b"message", true);
            assert_eq!((piece, descriptors.map(Descriptors::len)), (&b"message"[..], with));
            riders.sent(1);
        }
    }

    #[test]
    fn what_came_is_there_until_its_frame_was_handled() {
        let mut riders = Riders::default();
        let held = |riders: &Riders| riders.fresh.len() + riders.older.len();
        // Read, and nothing but whole frames.
        assert!(riders.arrive(some(1)));
        riders.part(true, false, false);
        assert_eq!(held(&riders), 0);
        // The end of a read is half a frame, then it is whole, with the next half behind it.
        assert!(riders.arrive(some(1)));
        riders.part(true, false, true);
        assert_eq!(held(&riders), 1);
        riders.part(false, false, true);
        assert_eq!(held(&riders), 1, "nothing was handled");
        assert!(riders.arrive(some(2)));
        riders.part(true, false, true);
        assert_eq!(held(&riders), 2, "the older ones are closed");
        assert_eq!(riders.take().len(), 2);
        // Whole frames wait for their turn: so do their descriptors, through all of these.
        assert!(riders.arrive(some(1)));
        for _ in 0..3 {
            riders.part(true, true, true);
            assert_eq!(held(&riders), 1);
        }
        riders.part(true, false, true);
        assert_eq!(held(&riders), 1, "they may belong to the frame that has begun");
        riders.part(true, false, false);
        assert_eq!(held(&riders), 0);
    }
}
