//! Who is accepted: what a builder says about it, and what a handle changes while the server runs.

use super::handle::Early;
use super::{Server, ServerHandle};
use crate::addr::Peer;
use crate::engine::{Admit, Engine, Gate, OnFull};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Accepting {
    pub(super) admit: Option<Arc<Admit>>,
    pub(super) on_full: OnFull,
}

impl<C, E: Engine> Server<C, E> {
    /// Asks this before anything is made for a peer. If it says no, the connection is closed at once,
    /// or the datagram dropped, and counted as
    /// [`not_admitted`](crate::engine::Refused::not_admitted). A panic in it is a no.
    ///
    /// By network: `.admit(move |peer| policy.admits(peer))` with a [`Policy`](crate::addr::Policy).
    pub fn admit(mut self, admit: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Server<C, E> {
        self.settings.accepting.admit = Some(Arc::new(admit));
        self
    }

    /// What becomes of connections that the server has no place for; they wait by default. See
    /// [`OnFull`].
    pub fn on_full(mut self, on_full: OnFull) -> Server<C, E> {
        self.settings.accepting.on_full = on_full;
        self
    }
}

impl ServerHandle {
    /// Accepts no more connections until [`resume_accepting`](Self::resume_accepting). The server goes
    /// on listening, so that its addresses stay its own and clients wait in the backlog, whatever
    /// [`OnFull`] says; those that are connected are served. One that is being accepted at this very
    /// moment may still come in. Datagrams and adopted connections are not held up.
    ///
    /// Does not block, and may be called from any thread, a handler included. Before the start it holds
    /// from the start on.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// let server = Server::tcp("127.0.0.1:0").codec(Lines::default());
    /// let handle = server.handle();
    /// handle.pause_accepting();
    /// let server = server.serve(|line, cx| cx.send(line))?;
    /// // It listens; whatever else has to be ready is made here.
    /// handle.resume_accepting();
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn pause_accepting(&self) {
        self.tell_gate(|early| early.paused = true, |gate| gate.pause(true));
    }

    /// Goes on accepting, first of all those that wait. See [`pause_accepting`](Self::pause_accepting).
    pub fn resume_accepting(&self) {
        self.tell_gate(|early| early.paused = false, |gate| gate.pause(false));
    }

    /// How many connections the server serves at once from now on, in place of
    /// [`Limits::connections_max`](crate::limits::Limits::connections_max) and of what the engine says;
    /// zero counts as one. Those that wait come in at once if there are more places; if there are fewer,
    /// nobody is cut, and nobody comes in until enough have left.
    ///
    /// Does not block, and may be called from any thread, before the start too.
    pub fn set_connections_max(&self, connections: usize) {
        self.tell_gate(
            |early| early.connections_max = Some(connections),
            |gate| gate.set_connections_max(connections),
        );
    }

    fn tell_gate(&self, before: impl FnOnce(&mut Early), after: impl FnOnce(&Gate)) {
        let mut early = self.early();
        match self.gate() {
            Some(gate) => after(gate),
            None => before(&mut early),
        }
    }
}

impl Early {
    /// Tells the gate what was said.
    pub(super) fn tell(&self, gate: &Gate) {
        if let Some(connections_max) = self.connections_max {
            gate.set_connections_max(connections_max);
        }
        gate.pause(self.paused);
    }
}
