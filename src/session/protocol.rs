//! The generic heart of a session: codec and handler behind two virtual calls.

use crate::codec::{Codec, Edge, Found, FrameError};
use crate::handler::{CloseReason, Context, Handler, State, Turn};
use std::sync::atomic::Ordering;

/// What a session knows of its protocol.
pub(crate) trait Protocol: Send {
    /// Handles frames at the start of `input`, until the input, the turn or the session ends.
    fn frames(&mut self, input: &[u8], edge: Edge, state: &mut State, turn: &mut Turn) -> Progress;
    fn call(&mut self, call: Call, state: &mut State, turn: &mut Turn);
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
    fn frames(&mut self, input: &[u8], edge: Edge, state: &mut State, turn: &mut Turn) -> Progress {
        let mut used = 0;
        // A datagram is at least one frame, even an empty one.
        let mut first = edge == Edge::Message;
        while first || used < input.len() {
            if !state.can_take(turn) {
                return Progress { used, hungry: false, need: 0 };
            }
            let rest = &input[used..];
            let (body, length) = match self.codec.find(rest, edge) {
                Ok(Found::Frame { body, used }) => (body, used),
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
                Ok(Found::Need(need)) if edge == Edge::Open => {
                    return Progress { used, hungry: true, need };
                }
                Ok(Found::Nothing) if edge == Edge::Open => {
                    return Progress { used, hungry: true, need: 0 };
                }
                other => return self.no_frame(other, rest, used, state),
            };
            let promised = length <= rest.len() && (length > 0 || first);
            let Some(body) = rest.get(body).filter(|_| promised) else {
                return self.bad_frame(broken_promise(), used, state);
            };
            let frame = match self.codec.view(body) {
                Ok(frame) => frame,
                Err(error) => return self.bad_frame(error, used, state),
            };
            used += length;
            first = false;
            turn.frames_left -= 1;
            state.note_frame(turn.at);
            let mut cx = Context::new(state, &self.codec, turn);
            if let Err(error) = self.handler.on_frame(frame, &mut cx) {
                state.finish(CloseReason::Handler(error));
            }
        }
        Progress { used, hungry: true, need: 0 }
    }

    fn call(&mut self, call: Call, state: &mut State, turn: &mut Turn) {
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

impl<C: Codec, H> Speech<C, H> {
    /// The input is at its end, or the codec has failed.
    #[cold]
    fn no_frame(
        &self,
        found: Result<Found, FrameError>,
        rest: &[u8],
        used: usize,
        state: &mut State,
    ) -> Progress {
        let error = match found {
            Ok(Found::Need(_) | Found::Nothing) => FrameError::truncated(rest),
            Ok(Found::Frame { .. } | Found::Skip { .. }) => broken_promise(),
            Err(error) => error,
        };
        self.bad_frame(error, used, state)
    }

    #[cold]
    fn bad_frame(&self, error: FrameError, used: usize, state: &mut State) -> Progress {
        if state.is_datagram() {
            // It may be forged: it is dropped, the session goes on.
        } else if self.codec.cuts(&error) {
            state.abort(CloseReason::Frame(error));
        } else {
            state.finish(CloseReason::Frame(error));
        }
        Progress { used, hungry: false, need: 0 }
    }
}

fn broken_promise() -> FrameError {
    FrameError::Protocol("the codec found a frame outside of its input".into())
}
