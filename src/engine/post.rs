//! Post: the letters of a batch, brought to the sessions of a worker.
//!
//! A batch is put in order by session first. So a session gets all its letters in one turn, in their order,
//! and what they have it say leaves with one system call: a member of a busy group costs no more calls
//! than the owner of a busy [`Remote`](crate::handler::Remote).
//!
//! If the whole batch is for the members of one group, its frames are put together once, and each member
//! writes them from there.

use super::worker::Worker;
use crate::handler::Letter;
use crate::session::Batch;

/// Who gets which letter: the session's token and the letter's place in the batch.
pub(super) type Rounds = Vec<(u64, u32)>;

impl Worker {
    pub(super) fn deliver(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut rounds = std::mem::take(&mut self.rounds);
        let mut chorus = std::mem::take(&mut self.chorus);
        while !batch.is_empty() {
            let letters = plan(&batch, &mut rounds, &mut chorus);
            for mut round in rounds.chunk_by(|one, next| one.0 == next.0) {
                while let [(token, _), ..] = round {
                    let mut done = round.len();
                    // If the session is over, its letters are done with.
                    self.with_session_given(*token, &chorus, |session, turn| {
                        if session.say_together(&chorus, turn) {
                            return;
                        }
                        let refused = round.iter().position(|(_, letter)| {
                            !session.deliver(&batch[*letter as usize], turn)
                        });
                        done = refused.unwrap_or(round.len());
                    });
                    round = &round[done..];
                }
            }
            batch.drain(..letters);
        }
        self.rounds = rounds;
        self.batch = batch;
        self.chorus = chorus;
    }
}

/// Plans the rounds for the first letters of the batch and says for how many. What they all say to all
/// of the same members goes to `chorus`.
fn plan(batch: &Batch, rounds: &mut Rounds, chorus: &mut Vec<u8>) -> usize {
    rounds.clear();
    chorus.clear();
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
    if let (true, Letter::All(publication)) = (together, &batch[0]) {
        // A group that talks: there is nothing to sort.
        for line in publication.receivers() {
            let token = line.token();
            rounds.extend((0..letters).map(|letter| (token, letter)));
        }
        for letter in batch.iter().take(letters as usize) {
            if let Letter::All(publication) = letter {
                chorus.extend_from_slice(&publication.frame.bytes);
            }
            if chorus.len() > CHORUS_BYTES_MAX {
                chorus.clear();
                break;
            }
        }
        return letters as usize;
    }
    for (letter, number) in batch.iter().zip(0..letters) {
        match letter {
            Letter::To(line, _) => rounds.push((line.token(), number)),
            Letter::All(publication) => {
                rounds.extend(publication.receivers().map(|line| (line.token(), number)));
            }
        }
    }
    rounds.sort_unstable();
    letters as usize
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
