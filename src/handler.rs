//! Handlers: what a protocol does, written once, for every engine and every kind of socket.
//!
//! A handler is a closure or a value with [`Handler::on_frame`]. One value serves one connection (or
//! one datagram peer), on one thread at a time and with `&mut self`: it needs no locks. It speaks
//! through its [`Context`]; other threads speak to its peer through a [`Remote`], and to many peers at
//! once through a [`Group`].
//!
//! ```text
//!   on_open ─► (on_frame | on_drain | on_wake | on_timer | on_idle)* ─► on_eof? ─► on_close(reason)
//! ```
//!
//! - `on_close` is called once for every `on_open` that returned.
//! - An error that a callback returns ends the session with [`CloseReason::Handler`]; replies to
//!   earlier frames are still sent.
//! - A panic ends the session with [`CloseReason::Panicked`]: replies of earlier frames are sent, the
//!   handler is dropped and none of its callbacks is called again, `on_close` neither. The server
//!   goes on. With `panic = "abort"` in the profile a panic ends the process, as it says.
//! - Callbacks should not block: on the threads engine that holds up only their own connection, on
//!   events all connections of a worker.

mod context;
mod group;
mod letter;
mod publication;
mod reason;
mod remote;
mod riders;
mod state;

pub use crate::descriptors::Descriptors;
pub use context::{Context, Idle, Side};
pub use group::{Group, Membership};
pub use letter::SendError;
pub(crate) use letter::{Letter, Line, What};
pub use publication::OnSlow;
pub(crate) use publication::Publication;
pub use reason::CloseReason;
pub use remote::Remote;
pub(crate) use state::{Flags, Phase, State, Turn};

use crate::codec::Codec;
use std::error::Error;

/// What a callback returns: `Ok(())`, or any error, which ends the session.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// A protocol, against frames of the codec `C`.
///
/// Every callback but [`on_frame`](Handler::on_frame) has a default. Closures of
/// `(frame, &mut Context)` are handlers too; they return `()` or an [`Outcome`].
///
/// # Examples
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::handler::{CloseReason, Context, Handler, Outcome};
///
/// /// Numbers the lines of its peer.
/// #[derive(Default)]
/// struct Numbered(u64);
///
/// impl Handler<Lines> for Numbered {
///     fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
///         self.0 += 1;
///         cx.send(&format!("{}: {line}", self.0));
///         Ok(())
///     }
///     fn on_close(&mut self, reason: &CloseReason) {
///         eprintln!("{} lines, then {reason}", self.0);
///     }
/// }
/// ```
pub trait Handler<C: Codec>: Send + 'static {
    /// The session begins: a connection was made, or a datagram peer was heard for the first time.
    fn on_open(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// A whole frame arrived.
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) -> Outcome;

    /// Unsent output has fallen to the low mark after having been above it, or a [`Remote`] of this
    /// session was told that it is full and there is room again.
    fn on_drain(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// An idle limit has run out: nothing went either way, or nothing came, or nothing was sent, as
    /// [`Context::idle`] says. By default the session ends. If the handler leaves it open, the time
    /// starts again, as if just now something had gone that way.
    fn on_idle(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        cx.close_idle();
        Ok(())
    }

    /// The timer that [`Context::set_timer`] set has run out.
    fn on_timer(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// [`Remote::wake`] was called, once or several times.
    fn on_wake(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// The peer will send nothing more; it may still read. By default the session finishes: what is
    /// to be sent is sent, then the connection is closed.
    fn on_eof(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        cx.finish();
        Ok(())
    }

    /// The server is stopping: no more frames will come. By default the session finishes; one that
    /// still has something to send may stay open, until the deadline of the stop ends it.
    fn on_stop(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        cx.finish();
        Ok(())
    }

    /// The session is over; nothing can be sent any more.
    fn on_close(&mut self, reason: &CloseReason) {
        let _ = reason;
    }
}

/// What a closure that is a handler may return: `()` or an [`Outcome`].
pub trait IntoOutcome: sealed::Sealed {
    /// The same as an [`Outcome`].
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Ok(())
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Outcome {}
}

impl<C, F, O> Handler<C> for F
where
    C: Codec,
    O: IntoOutcome,
    F: for<'f, 'c, 'd> FnMut(C::Frame<'f>, &'c mut Context<'d, C>) -> O + Send + 'static,
{
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) -> Outcome {
        self(frame, cx).into_outcome()
    }
}

impl<C: Codec> Handler<C> for Box<dyn Handler<C>> {
    fn on_open(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_open(cx)
    }
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_frame(frame, cx)
    }
    fn on_drain(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_drain(cx)
    }
    fn on_idle(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_idle(cx)
    }
    fn on_timer(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_timer(cx)
    }
    fn on_wake(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_wake(cx)
    }
    fn on_eof(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_eof(cx)
    }
    fn on_stop(&mut self, cx: &mut Context<'_, C>) -> Outcome {
        (**self).on_stop(cx)
    }
    fn on_close(&mut self, reason: &CloseReason) {
        (**self).on_close(reason);
    }
}
