//! The generic heart of a session: codec and handler behind two virtual calls.

use crate::codec::{Codec, Edge, Found, FrameError};
use crate::handler::{CloseReason, Context, Handler, State, Turn};
use std::sync::atomic::Ordering;

/// What a session knows of its protocol.
pub(crate) trait Protocol: Send {
    /// Handles frames at the start of `input`, until the input, the turn or the session ends.
    fn frames(
        &mut self,
        input: &[u8],
        edge: Edge,
        state: &mut State,
        turn: &mut Turn<'_>,
    ) -> Progress;
    fn call(&mut self, call: Call, state: &mut State, turn: &mut Turn<'_>);
    fn closed(&mut self, reason: &CloseReason);
}

/// How far [`Protocol::frames`] got.
pub(crate) struct Progress {
    /// Bytes of whole frames that were handled, and bytes that the codec skipped.
    pub(crate) used: usize,
    /// The rest is no whole frame: more input is wanted. If false, the session could not go on.
    pub(crate) hungry: bool,
    /// How long the unfinished frame will be, zero if unknown.
    pub(crate) need: usize,
}

/// The callbacks that have nothing but a context.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Open,
    Drain,
    Idle,
    Timer,
    Wake,
    Eof,
    Stop,
}

/// A codec and its handler.
pub(crate) struct Speech<C, H> {
    pub(crate) codec: C,
    pub(crate) handler: H,
}

impl<C: Codec, H: Handler<C>> Protocol for Speech<C, H> {
    fn frames(
        &mut self,
        input: &[u8],
        edge: Edge,
        state: &mut State,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let mut used = 0;
        // A datagram is at least one frame, even an empty one.
        let mut first = edge == Edge::Message;
        while first || used < input.len() {
            if !state.can_take(turn) {
                return Progress { used, hungry: false, need: 0 };
            }
            let rest = &input[used..];
            let found = match self.codec.find(rest, edge) {
                Ok(Found::Frame { body, used }) => match rest.get(body) {
                    Some(body) if used <= rest.len() && (used > 0 || first) => Ok((body, used)),
                    _ => Err(broken_promise()),
                },
                Ok(Found::Skip { used: skipped, first: begins })
                    if (1..=rest.len()).contains(&skipped) =>
                {
                    used += skipped;
                    first = false;
                    // It counts as a frame does, so that others have their turn.
                    turn.frames_left -= 1;
                    turn.skipped.fetch_add(begins.into(), Ordering::Relaxed);
                    continue;
                }
                Ok(Found::Skip { .. }) => Err(broken_promise()),
                Ok(Found::Need(need)) if edge == Edge::Open => {
                    return Progress { used, hungry: true, need };
                }
                Ok(Found::Nothing) if edge == Edge::Open => {
                    return Progress { used, hungry: true, need: 0 };
                }
                Ok(Found::Need(_) | Found::Nothing) => Err(FrameError::truncated(rest)),
                Err(error) => Err(error),
            };
            let handled = found.and_then(|(body, frame_used)| {
                let frame = self.codec.view(body)?;
                used += frame_used;
                turn.frames_left -= 1;
                state.note_frame(turn.now);
                let mut cx = Context::new(state, &self.codec, turn);
                Ok(self.handler.on_frame(frame, &mut cx))
            });
            first = false;
            match handled {
                Ok(Ok(())) => {}
                Ok(Err(error)) => state.finish(CloseReason::Handler(error)),
                // A datagram may be forged: a bad one is dropped, the session goes on.
                Err(_) if state.is_datagram() => return Progress { used, hungry: false, need: 0 },
                Err(error) if self.codec.cuts(&error) => state.abort(CloseReason::Frame(error)),
                Err(error) => state.finish(CloseReason::Frame(error)),
            }
        }
        Progress { used, hungry: true, need: 0 }
    }

    fn call(&mut self, call: Call, state: &mut State, turn: &mut Turn<'_>) {
        let mut cx = Context::new(state, &self.codec, turn);
        let outcome = match call {
            Call::Open => self.handler.on_open(&mut cx),
            Call::Drain => self.handler.on_drain(&mut cx),
            Call::Idle => self.handler.on_idle(&mut cx),
            Call::Timer => self.handler.on_timer(&mut cx),
            Call::Wake => self.handler.on_wake(&mut cx),
            Call::Eof => self.handler.on_eof(&mut cx),
            Call::Stop => self.handler.on_stop(&mut cx),
        };
        if let Err(error) = outcome {
            state.finish(CloseReason::Handler(error));
        }
    }

    fn closed(&mut self, reason: &CloseReason) {
        self.handler.on_close(reason);
    }
}

fn broken_promise() -> FrameError {
    FrameError::Protocol("the codec found a frame outside of its input".into())
}
