//! What passes between a server and its engine. Public by name only: the traits of the public engines
//! mention it, and nobody outside can reach it.

use super::{Gate, Stop, Tally};
use crate::addr::{Endpoint, Peer, Transport};
use crate::contain::contain;
use crate::handler::{Letter, Outcome};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::memory;
use crate::observer::{Door, Entry, Refusal};
use crate::poll::Trigger;
use crate::session::Session;
use crate::socket::Options;
use crate::sys::{self, rights};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What a server hands to its engine.
pub struct Plan {
    pub(crate) sockets: Vec<Listening>,
    pub(crate) memory: Vec<MemoryListening>,
    pub(crate) common: Arc<Common>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("sockets", &self.sockets)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// A bound socket, and what is served on it.
pub(crate) struct Listening {
    pub(crate) socket: Arc<OwnedFd>,
    pub(crate) transport: Transport,
    pub(crate) endpoint: Endpoint,
    pub(crate) service: Service,
    /// What an accepted socket is yet to be given, because it does not inherit it.
    pub(crate) accepted: Option<Options>,
    /// How what is accepted is polled.
    pub(crate) trigger: Trigger,
    /// The program made the socket, and may share it with others.
    pub(crate) lent: bool,
}

impl Listening {
    pub(crate) fn new(
        socket: OwnedFd,
        endpoint: Endpoint,
        service: Service,
        accepted: Option<Options>,
    ) -> Listening {
        let transport = endpoint.transport();
        // On a Unix socket a read ends where a descriptor rode.
        let trigger = match transport {
            Transport::Tcp => Trigger::Edge,
            Transport::Unix if rights::are_refused(&socket) => Trigger::Edge,
            _ => Trigger::Level,
        };
        let socket = Arc::new(socket);
        Listening { socket, transport, endpoint, service, accepted, trigger, lent: false }
    }

    /// Gives an accepted socket its options. It goes on without one that it cannot have: they tune a
    /// connection and guard nothing, and if the peer is gone already, the first read says so.
    pub(crate) fn tune(&self, socket: &OwnedFd) {
        if let Some(options) = &self.accepted {
            let _ = options.set_on(socket, self.transport);
        }
    }

    /// The same socket, for another worker.
    pub(crate) fn share(&self) -> Listening {
        Listening {
            socket: self.socket.clone(),
            transport: self.transport,
            endpoint: self.endpoint.clone(),
            service: self.service.clone(),
            accepted: self.accepted.clone(),
            trigger: self.trigger,
            lent: self.lent,
        }
    }

    /// What shuts it, if nobody else can have it.
    pub(crate) fn shutter(&self) -> Option<Shutter> {
        let is_ours = !self.lent && !self.transport.is_datagram();
        is_ours.then(|| Shutter(Arc::downgrade(&self.socket)))
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listening({})", self.endpoint)
    }
}

/// Shuts a listener from any thread. It does not keep it open.
#[derive(Debug)]
pub(crate) struct Shutter(Weak<OwnedFd>);

impl Shutter {
    /// Connects are refused from now on, and those who wait in the backlog are sent away, as when it is
    /// closed: shutdown(2).
    pub(crate) fn shut(&self) {
        if let Some(socket) = self.0.upgrade() {
            // It fails where it was done before.
            let _ = sys::io::shutdown_both(socket.as_fd());
        }
    }
}

/// A listener in memory, and what is served on it. Clones are the same, for other workers.
#[derive(Clone)]
pub(crate) struct MemoryListening {
    pub(crate) listener: Arc<memory::Listener>,
    /// How many sockets come before it among the server's endpoints.
    pub(crate) place: usize,
    pub(crate) service: Service,
}

impl fmt::Debug for MemoryListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.fmt(f)
    }
}

/// What carries the bytes of one session.
#[derive(Debug)]
pub(crate) enum Socket {
    Descriptor(OwnedFd),
    Memory(memory::Stream),
}

/// What becomes of a connection or a datagram peer.
#[derive(Clone)]
pub(crate) struct Service {
    /// Asked before anything is made for a peer.
    pub(crate) admit: Option<Arc<Admit>>,
    pub(crate) serve: Serve,
    /// Counts who comes in by this listener.
    pub(crate) door: Arc<Door>,
}

#[derive(Clone)]
pub(crate) enum Serve {
    /// A session for each.
    Sessions(Arc<MakeSession>),
    /// A function that has the connected socket to itself, on a thread of its own.
    Blocking(Arc<ServeBlocking>),
}

pub(crate) type Admit = dyn Fn(&Peer) -> bool + Send + Sync;
pub(crate) type MakeSession = dyn Fn(Peer, Instant) -> Box<Session> + Send + Sync;
pub(crate) type ServeBlocking = dyn Fn(OwnedFd) -> Outcome + Send + Sync;

impl Service {
    pub(crate) fn new(admit: Option<Arc<Admit>>, serve: Serve) -> Service {
        Service { admit, serve, door: Arc::new(Door::new(Endpoint::memory())) }
    }

    /// The same, behind a door of its own.
    pub(crate) fn at(&self, endpoint: &Endpoint) -> Service {
        Service { door: Arc::new(Door::new(endpoint.clone())), ..self.clone() }
    }

    /// Whether this peer may come in. Counts those who may not; a hook that panics admits nobody.
    pub(crate) fn admits(&self, peer: &Peer, tally: &Tally) -> bool {
        let Some(admit) = &self.admit else { return true };
        let admitted = contain(|| admit(peer)).unwrap_or_else(|panic| {
            tally.watch.panicked(Some(peer), &panic);
            false
        });
        if !admitted {
            Tally::add(&tally.refused);
            tally.watch.tell(|observer| observer.refused(peer, Refusal::NotAdmitted));
        }
        admitted
    }

    /// A session for this peer, if it is admitted and its handler can be made.
    pub(crate) fn session(&self, peer: Peer, now: Instant, tally: &Tally) -> Option<Box<Session>> {
        let Serve::Sessions(make) = &self.serve else { return None };
        if !self.admits(&peer, tally) {
            return None;
        }
        // Who is to be told of a panic needs the name of the peer, which the session takes.
        let named = tally.watch.is_set().then(|| peer.clone());
        match contain(|| make(peer, now)) {
            Ok(mut session) => {
                let entry = self.enter(session.peer(), now, tally);
                session.seen(Some(entry));
                Some(session)
            }
            Err(panic) => {
                tally.watch.panicked(named.as_ref(), &panic);
                if let Some(peer) = &named {
                    tally.watch.tell(|observer| observer.refused(peer, Refusal::NoHandler));
                }
                None
            }
        }
    }

    /// A peer comes in, until the entry is dropped.
    pub(crate) fn enter(&self, peer: &Peer, now: Instant, tally: &Tally) -> Entry {
        tally.watch.tell(|observer| observer.accepted(peer, self.door.endpoint()));
        self.door.enter(tally.watch.over(now))
    }
}

/// What all threads of a server share.
pub(crate) struct Common {
    pub(crate) limits: Arc<Limits>,
    pub(crate) tally: Tally,
    pub(crate) gate: Gate,
    pub(crate) stop: Arc<Stop>,
}

impl Common {
    /// A listener will never accept again. It is one of the ways to learn of a stop.
    pub(crate) fn broken(&self, door: &Door) {
        if self.stop.deadline().is_none() {
            door.broken();
        }
    }
}

/// An engine that was started, and its first loop.
///
/// A program that has nothing else to do runs that loop on its main thread: a process with a single
/// thread spares the kernel some locking with every system call.
pub struct Launch {
    pub(crate) running: Arc<dyn Running>,
    pub(crate) first: FirstLoop,
}

/// Runs until the server has stopped.
pub(crate) type FirstLoop = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("running", &self.running).finish_non_exhaustive()
    }
}

/// A running engine.
pub trait Running: Send + Sync + fmt::Debug {
    /// Runs a connection that the engine did not accept. `make` is given the mailbox of the worker
    /// that will own it.
    fn adopt(&self, connection: Adoption<'_>) -> io::Result<()>;
    /// Tells every thread that [`Stop`] has begun.
    fn stop(&self);
}

/// A connected stream, and how its session is made once its worker is known.
pub struct Adoption<'a> {
    pub(crate) socket: Socket,
    pub(crate) make: &'a mut (dyn FnMut(&Arc<Mailbox<Letter>>) -> Box<Session> + 'a),
}

impl fmt::Debug for Adoption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{TcpListener, TcpStream};
    use std::io::{Read, Write};

    #[test]
    fn an_accepted_socket_goes_on_without_an_option_that_it_cannot_have() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let refused = Options::new().send_buffer(20_000).hop_limit(0);
        assert!(refused.apply_to(&accepted).is_err());
        let endpoint = "tcp://127.0.0.1:0".parse().unwrap();
        let service = Service::new(None, Serve::Blocking(Arc::new(|_| Ok(()))));
        let listening = Listening::new(listener.into(), endpoint, service, Some(refused));
        let other = accepted.try_clone().unwrap().into();
        listening.share().tune(&other);
        client.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }
}
