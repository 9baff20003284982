//! A client that connects again.

use super::call::Call;
use super::framed::Framed;
use crate::codec::Codec;
use crate::connect::{Backoff, Report, cancelled};
use crate::error::{Error, ErrorKind};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::thread;

/// A client that connects when it is used and is not connected: at first at once, then with the pauses
/// of a [`Backoff`].
///
/// It hides no loss. The call that meets the end of a connection returns the error, and whether the
/// frame that was sent last, or any before it, has arrived is not known: only answers say so. The next
/// call connects again, and nothing is sent a second time unless the program does it.
///
/// The back-off begins anew with the first frame that is received: a server that accepts connections
/// and closes them at once does not count as one that is back.
///
/// ```
/// use sockeye::connect::Backoff;
/// use sockeye::{Client, Server, codec::Lines};
/// # use std::time::Duration;
///
/// let server = Server::tcp("127.0.0.1:0").codec(Lines::default()).serve(|line, cx| cx.send(line))?;
/// let mut client = Client::to(&server.local_endpoints()[0])
///     .codec(Lines::default())
///     .reconnecting(Backoff::default().tries(10))
///     .on_connect(|framed| framed.send("I am Ann")); // each time
/// assert_eq!(client.receive()?, "I am Ann");
/// client.send("hello")?;
/// assert_eq!(client.receive()?, "hello");
/// # server.stop(Duration::from_secs(1));
/// # Ok::<(), sockeye::Error>(())
/// ```
pub struct Reconnecting<C: Codec> {
    call: Result<Call, Error>,
    codec: C,
    backoff: Backoff,
    on_connect: Option<Box<OnConnect<C>>>,
    framed: Option<Framed<C>>,
    /// A pause is due: this is not the first connect since the last frame.
    again: bool,
    random: u64,
}

type OnConnect<C> = dyn FnMut(&mut Framed<C>) -> Result<(), Error> + Send;

impl<C: Codec> Reconnecting<C> {
    pub(super) fn new(call: Result<Call, Error>, codec: C, backoff: Backoff) -> Reconnecting<C> {
        // Seeded anew by std each time, from the system's randomness. Zero would stay zero.
        let random = RandomState::new().build_hasher().finish() | 1;
        Reconnecting { call, codec, backoff, on_connect: None, framed: None, again: false, random }
    }

    /// Calls this on every new connection before it is used: to log in, to subscribe. An error makes
    /// it a failed try.
    #[must_use]
    pub fn on_connect(
        mut self,
        hook: impl FnMut(&mut Framed<C>) -> Result<(), Error> + Send + 'static,
    ) -> Reconnecting<C> {
        self.on_connect = Some(Box::new(hook));
        self
    }

    /// Sends a frame. Blocks; connects first, with pauses, if there is no connection.
    ///
    /// # Errors
    ///
    /// As [`Framed::send`]; the connection is then given up. A frame that the codec refuses leaves it.
    /// As [`Client::connect`](super::Client::connect) once the back-off is used up.
    pub fn send(&mut self, item: &C::Item) -> Result<(), Error> {
        let sent = self.framed()?.send(item);
        if sent.as_ref().is_err_and(|error| error.kind() != ErrorKind::BadFrame) {
            self.disconnect();
        }
        sent
    }

    /// Waits for the next frame. Connects first, with pauses, if there is no connection.
    ///
    /// # Errors
    ///
    /// As [`Framed::receive`]; the connection is then given up, but for a timeout. As
    /// [`Client::connect`](super::Client::connect) once the back-off is used up.
    pub fn receive(&mut self) -> Result<C::Frame<'_>, Error> {
        match self.framed()?.next() {
            Ok(body) => {
                self.backoff.reset();
                self.again = false;
                self.framed()?.view(body)
            }
            Err(error) => {
                if error.kind() != ErrorKind::TimedOut {
                    self.disconnect();
                }
                Err(error)
            }
        }
    }

    /// The connection, made now if there is none. Blocks, with pauses.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`](super::Client::connect) once the back-off is used up: the error of the
    /// last try. Another call begins anew. At once for what no waiting helps: a bad endpoint, one that
    /// cannot be connected to ([`Unsupported`](ErrorKind::Unsupported)), or
    /// [`Cancelled`](ErrorKind::Cancelled).
    pub fn framed(&mut self) -> Result<&mut Framed<C>, Error> {
        let mut last = None;
        while self.framed.is_none() {
            if std::mem::replace(&mut self.again, true) {
                self.pause(last.take())?;
            }
            match self.connect() {
                Ok(framed) => self.framed = Some(framed),
                Err(error) if is_hopeless(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Ok(self.framed.as_mut().expect("the loop has seen to it"))
    }

    /// Closes the connection. The next call makes another one: at once if a frame was received from this
    /// one, else after a pause.
    pub fn disconnect(&mut self) {
        self.framed = None;
    }

    fn connect(&mut self) -> Result<Framed<C>, Error> {
        let call = match &self.call {
            Ok(call) => call,
            Err(error) => return Err(error.again()),
        };
        let (mut framed, _) = call.framed(self.codec.clone())?;
        if let Some(hook) = &mut self.on_connect {
            hook(&mut framed)?;
        }
        Ok(framed)
    }

    /// Waits before the next try, or gives up with the error of the last one.
    fn pause(&mut self, last: Option<Error>) -> Result<(), Error> {
        let Ok(call) = &self.call else { return Ok(()) };
        self.random = xorshift(self.random);
        let Some(pause) = self.backoff.pause(self.random) else {
            self.backoff.reset();
            self.again = false;
            let lost = || io::Error::new(io::ErrorKind::ConnectionReset, "lost again and again");
            return Err(last.unwrap_or_else(|| call.failed(lost())));
        };
        match &call.cancel {
            Some(cancel) => match cancel.sleep(pause) {
                Ok(false) => Ok(()),
                Ok(true) => Err(cancelled(&call.endpoint)),
                Err(error) => Err(call.failed(error)),
            },
            None => {
                thread::sleep(pause);
                Ok(())
            }
        }
    }
}

impl<C: Codec> fmt::Debug for Reconnecting<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("call", &self.call)
            .field("backoff", &self.backoff)
            .field("connected", &self.framed.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether to try again is in vain.
fn is_hopeless(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::BadEndpoint | ErrorKind::Cancelled => true,
        // If it came to attempts, another address may do.
        ErrorKind::Unsupported => Report::of(error).is_none(),
        _ => false,
    }
}

/// Marsaglia's generator, enough to spread clients.
fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}
