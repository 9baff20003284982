//! What passes between a server and its engine. Public by name only: the traits of the public engines
//! mention it, and nobody outside can reach it.

use super::{Gate, Stop, Tally};
use crate::addr::{Credentials, Endpoint, Peer, Transport};
use crate::contain::contain;
use crate::handler::{Letter, Outcome};
use crate::limits::{Limits, Replies};
use crate::mailbox::Mailbox;
use crate::memory;
use crate::observer::{Door, Entry, Refusal};
use crate::poll::Trigger;
use crate::session::Session;
use crate::socket::Options;
use crate::sys::{self, rights};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, Weak};
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
    /// More sockets at the same place (`SO_REUSEPORT`), each for another worker.
    pub(crate) twins: Vec<OwnedFd>,
    /// How many datagram peers all of them have.
    pub(crate) peers: Arc<AtomicUsize>,
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
        let (twins, peers) = (Vec::new(), Arc::default());
        let lent = false;
        Listening { socket, twins, peers, transport, endpoint, service, accepted, trigger, lent }
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
            twins: Vec::new(),
            peers: self.peers.clone(),
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

    /// One for each of its sockets, each for another worker.
    pub(crate) fn apart(mut self) -> Vec<Listening> {
        let twins = std::mem::take(&mut self.twins);
        let mut all: Vec<_> = (twins.into_iter())
            .map(|socket| Listening { socket: Arc::new(socket), ..self.share() })
            .collect();
        all.insert(0, self);
        all
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
    /// Asked about connections over Unix sockets.
    pub(crate) admit_unix: Option<Arc<AdmitUnix>>,
    /// Whether descriptors may ride on what sessions read and write over Unix connections.
    pub(crate) descriptors: bool,
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
pub(crate) type AdmitUnix = dyn Fn(&Credentials) -> bool + Send + Sync;
pub(crate) type MakeSession = dyn Fn(Peer) -> Box<Session> + Send + Sync;
pub(crate) type ServeBlocking = dyn Fn(OwnedFd) -> Outcome + Send + Sync;

impl Service {
    /// Everybody is let in, without descriptors.
    pub(crate) fn new(serve: Serve) -> Service {
        let door = Arc::new(Door::new(Endpoint::memory()));
        Service { admit: None, admit_unix: None, descriptors: false, serve, door }
    }

    /// The same, behind a door of its own.
    pub(crate) fn at(&self, endpoint: &Endpoint) -> Service {
        Service { door: Arc::new(Door::new(endpoint.clone())), ..self.clone() }
    }

    /// Whether this peer may come in. Counts those who may not; a hook that panics admits nobody.
    pub(crate) fn admits(&self, peer: &Peer, tally: &Tally) -> bool {
        let Some(admit) = &self.admit else { return true };
        ask(peer, tally, || admit(peer))
    }

    /// The same of a peer that is connected over this socket, and who it is if that matters.
    fn admits_on(
        &self,
        socket: BorrowedFd<'_>,
        peer: &Peer,
        tally: &Tally,
    ) -> Option<Option<Credentials>> {
        let (true, Some(admit)) = (peer.transport().is_unix(), &self.admit_unix) else {
            return self.admits(peer, tally).then_some(None);
        };
        let credentials = rights::credentials(socket).ok();
        let admitted = ask(peer, tally, || credentials.as_ref().is_some_and(|who| admit(who)));
        (admitted && self.admits(peer, tally)).then_some(credentials)
    }

    /// Whether the peer that is connected over this socket may have it for a blocking function.
    pub(crate) fn lends(&self, socket: BorrowedFd<'_>, peer: &Peer, tally: &Tally) -> bool {
        self.admits_on(socket, peer, tally).is_some()
    }

    /// A session for this peer, if it is admitted and its handler can be made.
    pub(crate) fn session(&self, peer: Peer, tally: &Tally) -> Option<Box<Session>> {
        if !matches!(self.serve, Serve::Sessions(_)) || !self.admits(&peer, tally) {
            return None;
        }
        self.unasked_session(peer, tally)
    }

    /// The same for a peer that is connected over this socket.
    pub(crate) fn session_on(
        &self,
        socket: BorrowedFd<'_>,
        peer: Peer,
        tally: &Tally,
    ) -> Option<Box<Session>> {
        let is_unix = peer.transport().is_unix();
        let credentials = self.admits_on(socket, &peer, tally)?;
        let mut session = self.unasked_session(peer, tally)?;
        if is_unix && (self.descriptors || credentials.is_some()) {
            session.state().set_unix(credentials, self.descriptors);
        }
        Some(session)
    }

    /// A session for whom nobody is asked.
    pub(crate) fn unasked_session(&self, peer: Peer, tally: &Tally) -> Option<Box<Session>> {
        let Serve::Sessions(make) = &self.serve else { return None };
        // Who is to be told of a panic needs the name of the peer, which the session takes.
        let named = tally.watch.is_set().then(|| peer.clone());
        match contain(|| make(peer)) {
            Ok(mut session) => {
                let entry = self.enter(session.peer(), tally);
                session.seen(Some(entry));
                Some(session)
            }
            Err(panic) => {
                tally.watch.panicked(named.as_ref(), &panic);
                tally.refused(named.as_ref(), Refusal::NoHandler);
                None
            }
        }
    }

    /// A peer comes in, until the entry is dropped.
    pub(crate) fn enter(&self, peer: &Peer, tally: &Tally) -> Entry {
        tally.watch.tell(|observer| observer.accepted(peer, self.door.endpoint()));
        self.door.enter(tally.watch.over(Instant::now))
    }
}

/// What a hook says; one that panics says no.
fn ask(peer: &Peer, tally: &Tally, hook: impl FnOnce() -> bool) -> bool {
    let admitted = contain(hook).unwrap_or_else(|panic| {
        tally.watch.panicked(Some(peer), &panic);
        false
    });
    if !admitted {
        tally.refused(Some(peer), Refusal::NotAdmitted);
    }
    admitted
}

/// What all threads of a server share.
pub(crate) struct Common {
    pub(crate) limits: Arc<Limits>,
    pub(crate) tally: Tally,
    pub(crate) gate: Gate,
    pub(crate) stop: Arc<Stop>,
    /// One handler for all that a worker hears on a datagram socket.
    pub(crate) stateless: bool,
    /// Guards what leaves over UDP.
    pub(crate) replies: Option<Mutex<Replies>>,
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
        let serve = Serve::Blocking(Arc::new(|_| Ok(())));
        let service = Service::new(serve);
        let listening = Listening::new(listener.into(), endpoint, service, Some(refused));
        let other = accepted.try_clone().unwrap().into();
        listening.share().tune(&other);
        client.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }
}
