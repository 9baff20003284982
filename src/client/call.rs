//! What to connect, and how: a client without its types.

use super::channel::Channel;
use super::framed::Framed;
use crate::addr::{
    Any, AnyAddr, ConnectedDatagram, Endpoint, SeqPacket, SocketType, Transport, UnixAddr,
};
use crate::codec::Codec;
use crate::connect::{
    CancelHandle, Dial, Fate, Manner, Report, Times, Unconnected, cancelled, drive,
};
use crate::error::{Error, ErrorKind};
use crate::memory::Dialer;
use crate::observer::Watch;
use crate::poll::{ThreadWaker, wait_for_any};
use crate::socket::{AnyStream, Options, Socket, UnixDatagram};
use crate::timers::LONGEST;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

/// An endpoint, a time limit, and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    /// What connects to an endpoint in memory.
    pub(super) dialer: Option<Dialer>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) manner: Manner,
    pub(crate) cancel: Option<CancelHandle>,
    pub(crate) watch: Watch,
}

impl Call {
    pub(super) fn new(endpoint: Endpoint) -> Call {
        Call {
            endpoint,
            dialer: None,
            timeout: None,
            manner: Manner::default(),
            cancel: None,
            watch: Watch::default(),
        }
    }

    /// The end of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.unwrap_or(CONNECT_TIMEOUT).min(LONGEST)
    }

    pub(crate) fn options(&self) -> Options {
        self.manner.options.clone().with_keepalive()
    }

    /// The attempts on these addresses.
    pub(crate) fn dial(&self, addresses: Vec<SocketAddr>, times: Times) -> Dial {
        let literal = self.is_literal();
        let manner = Manner { options: self.options(), ..self.manner.clone() };
        Dial::new(manner, self.endpoint.transport().socket_type(), addresses, literal, times)
    }

    /// The socket of this endpoint, as frames.
    pub(super) fn framed<C: Codec>(&self, codec: C) -> Result<(Framed<C>, Report), Error> {
        let (channel, report) = self.open()?;
        Ok((Framed::new(channel, self.endpoint.clone(), codec, self.timeout), report))
    }

    /// Connects, and waits for it.
    pub(super) fn open(&self) -> Result<(Channel, Report), Error> {
        let (began, deadline) = (Instant::now(), self.deadline());
        if self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled) {
            return Err(cancelled(&self.endpoint));
        }
        if self.endpoint.host_port().is_none() {
            let channel = self.apart("connect to", deadline, Call::open_local)?;
            return Ok((channel, Report::none(began.elapsed())));
        }
        let addresses = match self.is_literal() {
            true => self.look_up(deadline)?,
            false => self.apart("look up", deadline, Call::look_up)?,
        };
        let times = Times { began, looked_up: Instant::now(), deadline };
        let dialed = drive(self.dial(addresses, times), self.cancel.as_ref());
        let (socket, report) = dialed
            .map_err(|error| self.failed(error))?
            .map_err(|unconnected| self.unconnected(unconnected))?;
        self.tell(&report);
        let channel = match self.endpoint.transport().is_datagram() {
            true => Channel::Datagram(Socket::<Any, ConnectedDatagram>::of_begun(socket)),
            false => Channel::Stream(AnyStream::of_begun(socket)),
        };
        Ok((channel, report))
    }

    /// The addresses of an IP endpoint. **Blocks**, until the deadline if the resolver keeps to it.
    pub(crate) fn look_up(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
        let at = self.endpoint.host_port().ok_or(io::ErrorKind::InvalidInput);
        let at = at.map_err(|kind| self.failed(kind.into()))?;
        let began = Instant::now();
        let found = self.manner.look_up(at, self.endpoint.transport().socket_type(), deadline);
        if !self.is_literal() {
            let lasted = began.elapsed();
            let found = found.as_ref().map(Vec::as_slice);
            self.watch.tell(|observer| observer.resolved(&self.endpoint, found, lasted));
        }
        found
    }

    /// Tells the observer what was tried.
    pub(crate) fn tell(&self, report: &Report) {
        for attempt in report.attempts() {
            let fate: &dyn std::fmt::Display = attempt.fate();
            let failure = match attempt.fate() {
                Fate::NotTried => continue,
                Fate::Won => None,
                _ => Some(fate),
            };
            let (to, lasted) = (attempt.address(), attempt.elapsed());
            self.watch.tell(|observer| observer.attempted(to, failure, lasted));
        }
    }

    /// The error of attempts that came to nothing; the observer is told of them.
    pub(crate) fn unconnected(&self, unconnected: Unconnected) -> Error {
        let error = unconnected.into_error(&self.endpoint);
        if let Some(report) = Report::of(&error) {
            self.tell(report);
        }
        error
    }

    /// What blocks: on this thread, or on another one if somebody may cancel it. That one is then left
    /// behind, and what it comes by is closed.
    fn apart<T: Send + 'static>(
        &self,
        operation: &'static str,
        deadline: Instant,
        act: fn(&Call, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(cancel) = &self.cancel else { return act(self, deadline) };
        let failed = |error| self.failed(error);
        let (sender, receiver) = mpsc::channel();
        let waker = Arc::new(ThreadWaker::default());
        let counters = [waker.counter().map_err(failed)?, cancel.counter().map_err(failed)?];
        let (call, bell) = (self.clone(), waker.clone());
        let spawned = thread::Builder::new().name("sockeye-helper".to_owned()).spawn(move || {
            // Nobody may be there any more.
            let _ = sender.send(act(&call, deadline));
            bell.wake();
        });
        spawned.map_err(failed)?;
        loop {
            if cancel.is_cancelled() {
                return Err(cancelled(&self.endpoint));
            }
            match receiver.try_recv() {
                Ok(found) => return found,
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => {
                    return Err(failed(io::Error::other("the thread for it panicked")));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                return Err(Error::with_kind(ErrorKind::TimedOut, operation, &self.endpoint, late));
            }
            wait_for_any(&[], &counters, Some(left)).map_err(failed)?;
        }
    }

    /// What is on this machine: a Unix socket, or a stream in memory. **Blocks** while there is no room
    /// in the backlog, until the deadline.
    fn open_local(&self, deadline: Instant) -> Result<Channel, Error> {
        let opened = match &self.dialer {
            Some(dialer) => dialer
                .connect_timeout(deadline.saturating_duration_since(Instant::now()))
                .map(Channel::Memory),
            None => self.open_unix(deadline),
        };
        opened.map_err(|error| self.failed(error))
    }

    fn open_unix(&self, deadline: Instant) -> io::Result<Channel> {
        let (deadline, options) = (Some(deadline), self.options());
        let Some(to) = self.endpoint.unix_addr().cloned() else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "only its dialer reaches it"));
        };
        match self.endpoint.transport() {
            Transport::UnixSeqPacket => {
                let to = AnyAddr::from(to);
                let socket = Socket::<Any, SeqPacket>::connect_until(&to, deadline, &options)?;
                Ok(Channel::Record(socket))
            }
            Transport::UnixDatagram => {
                // A name of its own, or the server could not answer. The kernel picks one.
                let socket = UnixDatagram::bind_with(UnixAddr::unnamed(), &options)?.connect(to)?;
                Ok(Channel::Datagram(socket.into()))
            }
            _ => {
                let to = AnyAddr::from(to);
                Ok(Channel::Stream(AnyStream::connect_until(&to, deadline, &options)?))
            }
        }
    }

    /// A Unix stream. **Blocks** while its backlog is full.
    pub(crate) fn open_unix_stream(&self, deadline: Instant) -> Result<AnyStream, Error> {
        match self.open_unix(deadline).map_err(|error| self.failed(error))? {
            Channel::Stream(stream) => Ok(stream),
            other => other.into_typed(&self.endpoint),
        }
    }

    /// Whether it is an address, and no name.
    fn is_literal(&self) -> bool {
        self.endpoint.host_port().is_none_or(|at| at.name().is_none())
    }

    /// Whether it is of a kind that engines connect to. What is in memory connects at once, and is
    /// adopted.
    pub(crate) fn is_stream(&self) -> bool {
        self.dialer.is_none() && self.endpoint.transport().socket_type() == SocketType::Stream
    }

    pub(crate) fn failed(&self, error: io::Error) -> Error {
        Error::new("connect to", &self.endpoint, error)
    }
}

/// How long connecting may take unless the builder says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
