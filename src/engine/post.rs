//! Post: the letters of a batch, brought to the sessions of a worker.
//!
//! A batch is put in order by session first. So a session gets all its letters in one turn, in their order,
//! and what they have it say leaves with one system call: a member of a busy group costs no more calls
//! than the owner of a busy [`Remote`](crate::handler::Remote).
//!
//! If the whole batch is for the members of one group, there is nothing to sort: its frames are put
//! together once, and each member writes them from there. The members are gone through from the first to
//! the last and the next time back again: those that were last are still in the processor's caches.

use super::connection::{Song, Wire};
use super::stream::Stream;
use super::worker::{Actor, Worker};
use crate::handler::Letter;
use crate::session::Batch;
use std::os::fd::AsFd;

/// Whom a letter goes to, and which one it is.
pub(super) type Rounds = Vec<(u64, u32)>;

/// What all members of a group are to say.
#[derive(Default)]
pub(super) struct Chorus {
    frames: Vec<u8>,
    /// The last member is the next to begin.
    backwards: bool,
}

impl Worker {
    /// Delivers the batch.
    pub(super) fn deliver(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        while !batch.is_empty() {
            let (letters, together) = portion(&batch);
            match &batch[0] {
                Letter::All(publication) if together => {
                    let mut memory = std::mem::take(&mut self.chorus.frames);
                    let frames = match publication.bytes() {
                        [only, []] if letters == 1 => only,
                        _ => put_together(&batch, letters, &mut memory),
                    };
                    let whole = letters as usize == batch.len();
                    let bytes_max = self.common.limits.low_mark();
                    let moment = self.desk.turn.moment();
                    let mut song = Song { frames, alone: false, bytes_max, moment };
                    for token in publication.receivers().iter(self.chorus.backwards) {
                        // Else a remote may have been promised room, meanwhile too.
                        song.alone = whole && self.address.letters.is_empty();
                        if !self.sing(token, &song) {
                            self.give(token, &batch, 0..letters);
                        }
                    }
                    let backwards = !self.chorus.backwards;
                    self.chorus = Chorus { frames: memory, backwards };
                }
                _ => {
                    let mut rounds = std::mem::take(&mut self.rounds);
                    sort(&batch, letters, &mut rounds);
                    for round in rounds.chunk_by(|one, next| one.0 == next.0) {
                        let letters = round.iter().map(|(_, letter)| *letter);
                        self.give(round[0].0, &batch, letters);
                    }
                    self.rounds = rounds;
                }
            }
            (0..letters).for_each(|_| drop(batch.pop_front()));
        }
        self.batch = batch;
    }

    /// Gives a session its letters, in as few turns as can be. If it is over, they are done with.
    fn give(&mut self, token: u64, batch: &Batch, letters: impl Iterator<Item = u32>) {
        let mut letters = letters.peekable();
        let mut done = 0;
        let mut is_there = true;
        while is_there && letters.peek().is_some() {
            is_there = false;
            self.with_session(token, |session, turn| {
                is_there = true;
                while letters
                    .next_if(|letter| session.deliver(&batch[*letter as usize], &mut done, turn))
                    .is_some()
                {}
            });
        }
    }

    /// Has a stream's session say the frames of a group. False if it needs the letters.
    fn sing(&mut self, token: u64, song: &Song<'_>) -> bool {
        let Worker { actors, desk, .. } = self;
        let Some(Actor::Stream(Stream { socket, session, sings, .. })) = actors.get_mut(token)
        else {
            return false;
        };
        let promised = if song.alone { 0 } else { session.promised() };
        let bytes = promised + song.frames.len();
        if !*sings || song.frames.is_empty() || bytes > song.bytes_max {
            return false;
        }
        if !desk.sing(session, token, Wire::Stream(socket.as_fd()), song) {
            self.update(token);
        }
        true
    }
}

/// How many letters to bring now, and whether all of them are for the same members of one group.
fn portion(batch: &Batch) -> (u32, bool) {
    let (mut letters, mut visits, mut together) = (0, 0, true);
    for letter in batch {
        let receivers = match letter {
            Letter::To(..) => 1,
            Letter::All(publication) => publication.receivers_max(),
        };
        if letters > 0 && visits + receivers > ROUNDS_MAX {
            break;
        }
        together = together && letter.goes_with(&batch[0]);
        visits += receivers;
        letters += 1;
    }
    (letters, together)
}

/// Puts the frames of letters together. Nothing if that would be too much.
fn put_together<'a>(batch: &Batch, letters: u32, frames: &'a mut Vec<u8>) -> &'a [u8] {
    frames.clear();
    for letter in batch.iter().take(letters as usize) {
        if let Letter::All(publication) = letter {
            publication.bytes().iter().for_each(|bytes| frames.extend_from_slice(bytes));
        }
        if frames.len() > CHORUS_BYTES_MAX {
            return &[];
        }
    }
    frames
}

/// Puts letters in order by session.
fn sort(batch: &Batch, letters: u32, rounds: &mut Rounds) {
    rounds.clear();
    for (letter, number) in batch.iter().zip(0..letters) {
        match letter {
            Letter::To(line, _) => rounds.push((line.token(), number)),
            Letter::All(publication) => {
                rounds.extend(publication.receivers().iter(false).map(|token| (token, number)));
            }
        }
    }
    rounds.sort_unstable();
}

impl Letter {
    /// Whether both go to the same members of a group.
    fn goes_with(&self, other: &Letter) -> bool {
        match (self, other) {
            (Letter::All(one), Letter::All(other)) => one.goes_with(other),
            _ => false,
        }
    }
}

/// Visits that are planned at once, unless a single letter has more receivers.
const ROUNDS_MAX: usize = 16 * 1024;

/// What is put together at most.
const CHORUS_BYTES_MAX: usize = 64 * 1024;
