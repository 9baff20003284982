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
