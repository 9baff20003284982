//! The system's resolver, under a deadline.
//!
//! `getaddrinfo(3)` can neither be told when to stop nor be interrupted. So a lookup with a deadline
//! runs on a thread of a small pool, and who waits leaves at the deadline; the lookup goes on until libc
//! gives up. Lookups are *flights*: whoever asks the same boards the same one.
//!
//! ```text
//!  resolve(..) ─► flight ─► queue ─► thread: getaddrinfo ─► answer ─► all who wait
//!                   ▲                           each of them leaves at a deadline of its own
//!          the same question
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, SockType};

use super::error::{LookupError, LookupErrorKind, check_name};
use super::resolver::{Resolver, gather};
use crate::addr::IpVersion;
use crate::sys::netdb;

/// The system's resolver: `getaddrinfo(3)`, which asks hosts files and name servers as the machine is
/// set up to.
///
/// With a deadline it returns in time, whatever the name server does. Without one it asks on the
/// calling thread.
///
/// What keeps a dead name server from taking the program with it: at most 32 threads (or as many as
/// [`with_threads_max`](Self::with_threads_max) says) look names up, and they end after 10 s without
/// work; the same name is looked up once for all who ask at the same time, each with a deadline of its
/// own; at most 1,024 names wait for a thread. Lookups that nobody waits for any more are abandoned:
/// they hold their threads until libc gives up. While every thread is held so, and while the queue is
/// full, a new lookup is refused with [`Busy`](LookupErrorKind::Busy) at once.
///
/// Cheap to clone; clones share their threads.
///
/// ```
/// use sockeye::addr::IpVersion;
/// use sockeye::lookup::{Resolver, SystemResolver};
/// use std::time::{Duration, Instant};
/// let deadline = Instant::now() + Duration::from_secs(5);
/// let found = SystemResolver::shared().resolve("localhost", IpVersion::Any, Some(deadline))?;
/// assert!(found.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), sockeye::lookup::LookupError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SystemResolver {
    pool: Arc<Pool>,
}

impl SystemResolver {
    /// The one that the whole process shares: what servers and clients use unless told otherwise.
    pub fn shared() -> Self {
        static SHARED: LazyLock<SystemResolver> =
            LazyLock::new(|| SystemResolver::with_threads_max(THREADS_MAX));
        SHARED.clone()
    }

    /// One with threads of its own, at most so many, and at least one.
    pub fn with_threads_max(threads_max: usize) -> Self {
        SystemResolver::asking(threads_max, Box::new(ask))
    }

    fn asking(threads_max: usize, ask: Ask) -> Self {
        let (state, work) = (Mutex::default(), Condvar::new());
        SystemResolver {
            pool: Arc::new(Pool { state, work, threads_max: threads_max.max(1), ask }),
        }
    }

    /// How many threads there are now.
    pub fn threads(&self) -> usize {
        self.pool.lock().threads
    }

    /// How many lookups go on that nobody waits for any more.
    pub fn abandoned(&self) -> usize {
        self.pool.lock().abandoned
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str, version: IpVersion, deadline: Option<Instant>) -> Answer {
        check_name(name)?;
        match deadline {
            None => self.pool.asked(name, version),
            // Else a thread might start for somebody who has left.
            Some(deadline) if deadline <= Instant::now() => {
                Err(LookupError::new(LookupErrorKind::TimedOut, name))
            }
            Some(deadline) => self.pool.resolve((name.to_owned(), version), deadline),
        }
    }
}

type Answer = Result<Vec<SocketAddr>, LookupError>;
type Question = (String, IpVersion);
type Ask = Box<dyn Fn(&str, IpVersion) -> Answer + Send + Sync>;

struct Pool {
    state: Mutex<State>,
    /// Rung when there is something in the queue.
    work: Condvar,
    threads_max: usize,
    ask: Ask,
}

#[derive(Default)]
struct State {
    /// Every question that is queued or being asked.
    flights: HashMap<Question, Flight>,
    /// Those that no thread has taken yet.
    queue: VecDeque<Question>,
    threads: usize,
    idle: usize,
    abandoned: usize,
}

struct Flight {
    landing: Arc<Landing>,
    waiters: usize,
    departed: bool,
}

/// Where they wait who share a flight. Set and rung under the lock of the pool.
#[derive(Default)]
struct Landing {
    answer: OnceLock<Answer>,
    landed: Condvar,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(self: &Arc<Self>, question: Question, deadline: Instant) -> Answer {
        let mut state = self.lock();
        let landing = self.board(&mut state, &question)?;
        loop {
            if let Some(answer) = landing.answer.get() {
                return answer.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.leave(&question);
                return Err(LookupError::new(LookupErrorKind::TimedOut, &question.0));
            }
            let waited = landing.landed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A place on the flight with this question; a new one if there is none.
    fn board(
        self: &Arc<Self>,
        state: &mut State,
        question: &Question,
    ) -> Result<Arc<Landing>, LookupError> {
        if let Some(flight) = state.flights.get_mut(question) {
            if flight.waiters == 0 {
                state.abandoned -= 1;
            }
            flight.waiters += 1;
            return Ok(Arc::clone(&flight.landing));
        }
        if state.abandoned >= self.threads_max || state.queue.len() >= QUEUE_MAX {
            return Err(LookupError::new(LookupErrorKind::Busy, &question.0));
        }
        let landing = Arc::new(Landing::default());
        let flight = Flight { landing: Arc::clone(&landing), waiters: 1, departed: false };
        state.flights.insert(question.clone(), flight);
        state.queue.push_back(question.clone());
        if state.queue.len() > state.idle && state.threads < self.threads_max {
            if let Err(error) = self.spawn() {
                // Others may come to it, if there are any.
                if state.threads == 0 {
                    state.leave(question);
                    let kind = LookupErrorKind::Other;
                    return Err(LookupError::with_source(kind, &question.0, error));
                }
            } else {
                state.threads += 1;
            }
        }
        self.work.notify_one();
        Ok(landing)
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let pool = Arc::clone(self);
        thread::Builder::new().name("sockeye-lookup".to_owned()).spawn(move || pool.work())?;
        Ok(())
    }

    /// What a thread does until it has been idle for long enough.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some(question) = state.depart() else {
                state.idle += 1;
                let waited = self.work.wait_timeout(state, IDLE_MAX);
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = guard;
                state.idle -= 1;
                if timeout.timed_out() && state.queue.is_empty() {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            drop(state);
            let (name, version) = &question;
            let answer = self.asked(name, *version);
            state = self.lock();
            state.land(&question, answer);
        }
    }

    /// The answer, whatever becomes of the lookup: a thread that died would leave its flight in the air
    /// for ever, and `dns_lookup` panics if libc's words for an error are not UTF-8, as in some locales.
    fn asked(&self, name: &str, version: IpVersion) -> Answer {
        catch_unwind(AssertUnwindSafe(|| (self.ask)(name, version))).unwrap_or_else(|_| {
            Err(LookupError::with_words(LookupErrorKind::Other, name, "the lookup panicked"))
        })
    }
}

impl State {
    /// The next question to ask.
    fn depart(&mut self) -> Option<Question> {
        let question = self.queue.pop_front()?;
        if let Some(flight) = self.flights.get_mut(&question) {
            flight.departed = true;
        }
        Some(question)
    }

    fn land(&mut self, question: &Question, answer: Answer) {
        let Some(flight) = self.flights.remove(question) else { return };
        if flight.waiters == 0 {
            self.abandoned -= 1;
        }
        let _ = flight.landing.answer.set(answer); // nobody else sets it
        flight.landing.landed.notify_all();
    }

    /// One waiter goes. A flight without any is abandoned, or if it still stands, cancelled.
    fn leave(&mut self, question: &Question) {
        let Some(flight) = self.flights.get_mut(question) else { return };
        flight.waiters -= 1;
        match (flight.waiters, flight.departed) {
            (0, true) => self.abandoned += 1,
            (0, false) => {
                self.flights.remove(question);
                // Near the front, as a rule: who came first leaves first.
                if let Some(index) = self.queue.iter().position(|queued| queued == question) {
                    self.queue.remove(index);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads_max", &self.threads_max).finish_non_exhaustive()
    }
}

/// No flags: above all not the canonical name, on which `dns_lookup` panics if it is not UTF-8.
/// (`AI_ADDRCONFIG` would hide `::1` on a machine without IPv6 elsewhere.)
fn ask(name: &str, version: IpVersion) -> Answer {
    let family = match version {
        IpVersion::Any => 0,
        IpVersion::V4 => AddrFamily::Inet.into(),
        IpVersion::V6 => AddrFamily::Inet6.into(),
    };
    let socktype = SockType::Stream.into(); // else every address comes once for each type
    let hints = AddrInfoHints { address: family, socktype, ..AddrInfoHints::default() };
    netdb::clear_errno();
    let infos = dns_lookup::getaddrinfo(Some(name), None, Some(hints)).map_err(|error| {
        // glibc says "no such name" also if it could not open the hosts file, or a socket.
        let system = io::Error::last_os_error();
        match netdb::is_exhausted(&system) {
            true => LookupError::with_source(LookupErrorKind::Other, name, system),
            false => LookupError::of_gai(name, error),
        }
    })?;
    // An error here is an entry of a family that nobody asked for.
    let found = gather(infos.filter_map(Result::ok).map(|info| info.sockaddr), version);
    match found.is_empty() {
        true => Err(LookupError::new(LookupErrorKind::NoData, name)),
        false => Ok(found),
    }
}

/// Enough for a busy program with a healthy name server, and no burden where it is dead.
const THREADS_MAX: usize = 32;
/// A queue so long is a flood.
const QUEUE_MAX: usize = 1024;
/// Lookups come in bursts; a thread costs little until the next.
const IDLE_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

#[cfg(test)]
mod tests;
