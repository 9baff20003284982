//! Letters: what other threads and other sessions have a session do.

use super::{Batch, Call, Session};
use crate::handler::{CloseReason, Flags, Letter, Phase, Publication, Turn, What};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl Session {
    /// Hands in a letter that is for this session, without the frames that are done with. False if what
    /// the session has said in this turn is to be written first: then the letter is to be handed in again.
    /// The first frame of a turn is taken.
    #[must_use]
    pub(crate) fn deliver(&mut self, letter: &Letter, done: &mut usize, turn: &mut Turn) -> bool {
        match letter {
            _ if turn.out.len() >= POST_BYTES => return false,
            Letter::To(_, what) => self.obey(what, turn),
            Letter::All(publication) => {
                while let Some((bytes, body)) = publication.frame(*done) {
                    if turn.out.len() >= POST_BYTES || !self.hear(publication, bytes, body, turn) {
                        return false;
                    }
                    *done += 1;
                }
            }
        }
        *done = 0;
        true
    }

    /// Hands in letters that are for this session, as many as are taken in this turn.
    pub(crate) fn deliver_from(&mut self, batch: &mut Batch, turn: &mut Turn) {
        while let Some(letter) = batch.front_mut() {
            let mut done = letter.done();
            if !self.deliver(letter, &mut done, turn) {
                return letter.set_done(done);
            }
            batch.pop_front();
        }
    }

    fn obey(&mut self, what: &What, turn: &mut Turn) {
        match what {
            What::Send(frame) => {
                if let Some(line) = &self.state.line {
                    // Counted as unsent first, so that it counts at every moment; the flush of this
                    // turn says how much really is.
                    line.unsent.fetch_add(frame.bytes.len(), Ordering::SeqCst);
                    line.queued.fetch_sub(frame.bytes.len(), Ordering::SeqCst);
                }
                if self.state.can_send() {
                    self.say(&frame.bytes, frame.body.clone(), turn);
                }
            }
            What::Wake => {
                if let Some(line) = &self.state.line {
                    line.woken();
                }
                self.call(Call::Wake, turn);
            }
            What::ShutdownWrite => self.state.flags.set(Flags::SHUTDOWN),
            What::Close => self.state.finish(CloseReason::Finished),
            What::Abort => self.state.abort(CloseReason::Aborted),
            What::Overflow { bytes, limit } => {
                self.state.abort(CloseReason::OutputFull { bytes: *bytes, limit: *limit });
            }
            What::Room => {}
        }
    }

    /// Says what all members of a group say, if there is room.
    fn hear(
        &mut self,
        publication: &Publication,
        frame: &[u8],
        body: Range<usize>,
        turn: &mut Turn,
    ) -> bool {
        if !self.state.can_send() {
            return true;
        }
        let Some(line) = &self.state.line else { return true };
        let promised = line.queued.load(Ordering::SeqCst);
        let bytes = self.state.unsent(&turn.out) + promised + frame.len();
        let limit = self.state.limits.output_bytes_max;
        if bytes <= limit {
            self.say(frame, body, turn);
            return true;
        }
        if !turn.out.is_empty() {
            // Perhaps the peer reads: it was not tried yet.
            return false;
        }
        let ends = publication.misses(line);
        self.state.flags.set(Flags::PRESSED);
        if ends {
            self.state.abort(CloseReason::OutputFull { bytes, limit });
        }
        true
    }

    /// Whether so many bytes can leave right now, with nothing before them and nothing to do behind them, if
    /// no remote was promised room. It stays so as long as the session [is steady](Session::is_steady).
    pub(crate) fn sings(&self, bytes: usize) -> bool {
        let state = &self.state;
        state.phase == Phase::Open
            && !state.flags.has(Flags::SHUTDOWN.and(Flags::PRESSED))
            && state.backlog.is_none()
            && !state.keeps_messages()
            && bytes <= state.limits.low_mark()
    }

    /// What remotes were promised room for and is still on its way.
    pub(crate) fn promised(&self) -> usize {
        self.state.line.as_ref().map_or(0, |line| line.queued.load(Ordering::SeqCst))
    }

    /// They have left.
    pub(crate) fn sang(&mut self, moment: u64) {
        self.state.write = moment;
    }

    /// Says frames of a stream that were put together.
    pub(crate) fn say_together(&mut self, frames: &[u8], turn: &mut Turn) {
        let pushed = turn.out.push(false, |out| {
            out.extend_from_slice(frames);
            Ok::<_, Infallible>(0..0)
        });
        debug_assert!(pushed.is_ok());
        turn.whole = turn.out.mark();
    }

    fn say(&mut self, frame: &[u8], body: Range<usize>, turn: &mut Turn) {
        let pushed = turn.out.push(self.state.keeps_messages(), |out| {
            let start = out.len();
            out.extend_from_slice(frame);
            Ok::<_, Infallible>(start + body.start..start + body.end)
        });
        debug_assert!(pushed.is_ok());
        turn.whole = turn.out.mark();
        if self.state.unsent(&turn.out) > self.state.limits.low_mark() {
            self.state.flags.set(Flags::PRESSED);
        }
    }
}

/// Output at which a session that has more letters writes first.
const POST_BYTES: usize = 64 * 1024;
