//! Post: the letters of a batch, brought to the sessions of a worker.
//!
//! A batch is sorted by session first. So a session gets all its letters in one turn, in their order,
//! and what they have it say leaves with one system call: a member of a busy group costs no more calls
//! than the owner of a busy [`Remote`](crate::handler::Remote).

use super::worker::Worker;
use crate::handler::Letter;
use crate::session::Batch;

/// Who gets which letter: the session's token and the letter's place in the batch.
pub(super) type Rounds = Vec<(u64, u32)>;

impl Worker {
    pub(super) fn deliver(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut rounds = std::mem::take(&mut self.rounds);
        while !batch.is_empty() {
            let letters = plan(&batch, &mut rounds);
            for mut round in rounds.chunk_by(|one, next| one.0 == next.0) {
                while let [(token, _), ..] = round {
                    let mut done = round.len();
                    // If the session is over, its letters are done with.
                    self.with_session(*token, |session, turn| {
                        let full = round.iter().position(|(_, letter)| {
                            session.deliver(&batch[*letter as usize], turn);
                            turn.out.len() >= POST_BYTES
                        });
                        done = full.map_or(round.len(), |last| last + 1);
                    });
                    round = &round[done..];
                }
            }
            batch.drain(..letters);
        }
        self.rounds = rounds;
        self.batch = batch;
    }
}

/// Plans the rounds for the first letters of the batch and says for how many.
fn plan(batch: &Batch, rounds: &mut Rounds) -> usize {
    rounds.clear();
    let mut letters = 0;
    for letter in batch {
        let receivers = match letter {
            Letter::To(..) => 1,
            Letter::All(publication) => publication.receivers_max(),
        };
        if letters > 0 && rounds.len() + receivers > ROUNDS_MAX {
            break;
        }
        match letter {
            Letter::To(line, _) => rounds.push((line.token(), letters)),
            Letter::All(publication) => {
                rounds.extend(publication.receivers().map(|line| (line.token(), letters)));
            }
        }
        letters += 1;
    }
    rounds.sort_unstable();
    letters as usize
}

/// Output at which a session that has more letters writes first.
pub(super) const POST_BYTES: usize = 64 * 1024;

/// Visits that are planned at once, unless a single letter has more receivers.
const ROUNDS_MAX: usize = 16 * 1024;
