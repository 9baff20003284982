//! The thread of a server that connects: all of its races in one poll, lookups beside it.
//!
//! ```text
//!   connect(call) ─► orders ─► connector ── names, Unix ──► helpers, a few threads that may block
//!                                 ▲ │  ◄──── addresses ────┘
//!                     sockets ─ poll └─► told(stream), which the engine adopts
//! ```
//!
//! It starts with the first order and ends with the server. What it waits for has a deadline of its own,
//! and none waits for another but for a free helper.

use crate::addr::AnyAddr;
use crate::client::Call;
use crate::connect::{CancelHandle, Dial, Progress, Times, cancelled};
use crate::contain::contain;
use crate::engine::Common;
use crate::error::Error;
use crate::poll::{ThreadWaker, wait_for_any};
use crate::socket::AnyStream;
use std::collections::VecDeque;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

/// How to reach the connector of a server.
pub(super) struct Connector {
    shared: Arc<Shared>,
}

/// Called once, with what became of a call.
pub(super) type Told = dyn FnOnce(Result<AnyStream, Error>) + Send;

struct Shared {
    common: Arc<Common>,
    waker: Arc<ThreadWaker>,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    news: Vec<News>,
    /// Calls that are not over.
    pending: usize,
    running: bool,
    stopped: bool,
}

enum News {
    Order(Box<Order>),
    /// A helper is through with the order of this number.
    Answer(u64, Result<Answer, Error>),
}

struct Order {
    call: Call,
    told: Box<Told>,
    began: Instant,
    deadline: Instant,
}

enum Answer {
    Addresses(Vec<SocketAddr>),
    Stream(AnyStream),
}

impl Connector {
    pub(super) fn new(common: Arc<Common>) -> Connector {
        let (waker, desk) = (Arc::default(), Mutex::default());
        Connector { shared: Arc::new(Shared { common, waker, desk }) }
    }

    /// Takes a call. If it cannot, nobody is told.
    pub(super) fn connect(&self, call: Call, told: Box<Told>) -> io::Result<()> {
        let (began, deadline) = (Instant::now(), call.deadline());
        // Before the thread looks whether it was cancelled, for the same reason as its own counter.
        call.cancel.as_ref().map(CancelHandle::counter).transpose()?;
        let mut desk = self.shared.desk();
        if desk.stopped {
            return Err(super::handle::not_running());
        }
        if desk.pending >= PENDING_MAX {
            let text = format!("{PENDING_MAX} connects are under way already");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        if !desk.running {
            // Before the thread sleeps for the first time: a wake-up without a counter is lost.
            self.shared.waker.counter()?;
            let (shared, at_work) = (self.shared.clone(), self.shared.common.stop.enter());
            let line = Line::new(shared);
            thread::Builder::new().name("sockeye-connect".to_owned()).spawn(move || {
                let _at_work = at_work;
                line.run();
            })?;
            desk.running = true;
        }
        desk.pending += 1;
        desk.news.push(News::Order(Box::new(Order { call, told, began, deadline })));
        drop(desk);
        self.shared.waker.wake_by_ref();
        Ok(())
    }

    /// Cancels what is under way. Does not block.
    pub(super) fn stop(&self) {
        self.shared.desk().stopped = true;
        self.shared.waker.wake_by_ref();
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // No foreign code runs under this lock.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, order: Order, result: Result<AnyStream, Error>) {
        self.desk().pending -= 1;
        let Order { told, .. } = order;
        if let Err(panic) = contain(|| told(result)) {
            self.common.tally.watch.panicked(None, &panic);
        }
    }
}

/// What the connector's thread has in hand.
struct Line {
    shared: Arc<Shared>,
    dials: Vec<(Order, Dial)>,
    /// For a helper.
    waiting: VecDeque<Order>,
    /// With a helper, under a number. An order that is given up leaves its helper behind.
    asked: Vec<(u64, Order)>,
    numbers: u64,
    helpers: usize,
}

impl Line {
    fn new(shared: Arc<Shared>) -> Line {
        let (dials, waiting, asked) = (Vec::new(), VecDeque::new(), Vec::new());
        Line { shared, dials, waiting, asked, numbers: 0, helpers: 0 }
    }

    fn run(mut self) {
        loop {
            let (news, stopped) = {
                let mut desk = self.shared.desk();
                (std::mem::take(&mut desk.news), desk.stopped)
            };
            for news in news {
                self.receive(news);
            }
            if stopped {
                return self.cancel_all();
            }
            self.send_helpers();
            let next = [self.advance(), self.expire()].into_iter().flatten().min();
            self.wait(next);
        }
    }

    fn receive(&mut self, news: News) {
        let (order, answer) = match news {
            News::Order(order) => match order.call.endpoint.to_addr() {
                // Nothing to look up, so nothing that blocks.
                Some(AnyAddr::Ip(_)) => {
                    let answer = help(&order.call, order.deadline);
                    (*order, answer)
                }
                _ => return self.waiting.push_back(*order),
            },
            News::Answer(number, answer) => {
                self.helpers -= 1;
                let Some(at) = self.asked.iter().position(|(asked, _)| *asked == number) else {
                    return;
                };
                (self.asked.swap_remove(at).1, answer)
            }
        };
        match answer {
            Ok(Answer::Addresses(addresses)) => {
                let Order { began, deadline, .. } = order;
                let looked_up = Instant::now();
                let dial = order.call.dial(addresses, Times { began, looked_up, deadline });
                self.dials.push((order, dial));
            }
            Ok(Answer::Stream(stream)) => self.shared.tell(order, Ok(stream)),
            Err(error) => self.shared.tell(order, Err(error)),
        }
    }

    /// Lookups and Unix sockets may block: not here.
    fn send_helpers(&mut self) {
        while self.helpers < HELPERS_MAX {
            let Some(order) = self.waiting.pop_front() else { return };
            let (shared, at_work) = (self.shared.clone(), self.shared.common.stop.enter());
            let (number, call, deadline) = (self.numbers, order.call.clone(), order.deadline);
            let helper = move || {
                let _at_work = at_work;
                let answer = contain(|| help(&call, deadline)).unwrap_or_else(|panic| {
                    shared.common.tally.watch.panicked(None, &panic);
                    Err(call.failed(io::Error::other("the resolver panicked")))
                });
                let mut desk = shared.desk();
                // After a stop nobody reads the news: what was connected would stay open in there.
                if !desk.stopped {
                    desk.news.push(News::Answer(number, answer));
                }
                drop(desk);
                shared.waker.wake_by_ref();
            };
            self.numbers += 1;
            match thread::Builder::new().name("sockeye-helper".to_owned()).spawn(helper) {
                Ok(_) => {
                    self.helpers += 1;
                    self.asked.push((number, order));
                }
                Err(error) => {
                    let error = order.call.failed(error);
                    self.shared.tell(order, Err(error));
                }
            }
        }
    }

    /// Lets every race go on. When the next one has to.
    fn advance(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (order, mut dial) in std::mem::take(&mut self.dials) {
            if order.is_cancelled() {
                let error = order.call.unconnected(dial.cancel());
                self.shared.tell(order, Err(error));
                continue;
            }
            // A hook of the program's may panic in there.
            match contain(|| dial.advance(Instant::now())) {
                Ok(Progress::Wait(until)) => {
                    next = Some(next.map_or(until, |next| next.min(until)));
                    self.dials.push((order, dial));
                }
                Ok(Progress::Over(Ok((socket, report)))) => {
                    order.call.tell(&report);
                    self.shared.tell(order, Ok(AnyStream::of_begun(socket)));
                }
                Ok(Progress::Over(Err(unconnected))) => {
                    let error = order.call.unconnected(unconnected);
                    self.shared.tell(order, Err(error));
                }
                Err(panic) => {
                    self.shared.common.tally.watch.panicked(None, &panic);
                    let error = order.call.failed(io::Error::other("the hook panicked"));
                    self.shared.tell(order, Err(error));
                }
            }
        }
        next
    }

    /// Gives up who waits for a helper, or for its answer, until the deadline, or was cancelled. When the
    /// next deadline is.
    fn expire(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let goes_on = |order: &Order| order.deadline > now && !order.is_cancelled();
        let (asked, over): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.asked).into_iter().partition(|(_, order)| goes_on(order));
        let (waiting, never): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(goes_on);
        (self.asked, self.waiting) = (asked, waiting);
        for order in over.into_iter().map(|(_, order)| order).chain(never) {
            let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            let error = match order.is_cancelled() {
                true => cancelled(&order.call.endpoint),
                false => order.call.failed(late),
            };
            self.shared.tell(order, Err(error));
        }
        let asked = self.asked.iter().map(|(_, order)| order.deadline);
        asked.chain(self.waiting.iter().map(|order| order.deadline)).min()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let waker = self.shared.waker.clone();
        let counter = waker.counter().expect("it was made before this thread");
        let dialing = self.dials.iter().map(|(order, _)| order);
        let orders = dialing.chain(self.asked.iter().map(|(_, order)| order)).chain(&self.waiting);
        let cancels = orders.filter_map(|order| order.call.cancel.as_ref()?.counter().ok());
        let mut counters: Vec<BorrowedFd<'_>> = iter::once(counter).chain(cancels).collect();
        // One handle may cancel a thousand calls, and poll(2) refuses more entries than the process may
        // have descriptors.
        counters.sort_unstable_by_key(AsRawFd::as_raw_fd);
        counters.dedup_by_key(|counter| counter.as_raw_fd());
        let sockets: Vec<BorrowedFd<'_>> =
            self.dials.iter().flat_map(|(_, dial)| dial.sockets()).collect();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let ready = wait_for_any(&sockets, &counters, left);
        waker.quiet();
        let Ok(ready) = ready else {
            // For want of memory. The deadlines still hold.
            return thread::sleep(Duration::from_millis(10));
        };
        let mut ready = ready.into_iter();
        for (_, dial) in &mut self.dials {
            let count = dial.sockets().count();
            dial.settle(ready.by_ref().take(count));
        }
    }

    fn cancel_all(self) {
        let dials = self.dials.into_iter().map(|(order, _)| order);
        let asked = self.asked.into_iter().map(|(_, order)| order);
        for order in dials.chain(asked).chain(self.waiting) {
            let error = cancelled(&order.call.endpoint);
            self.shared.tell(order, Err(error));
        }
    }
}

impl Order {
    fn is_cancelled(&self) -> bool {
        self.call.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

/// The part that may block.
fn help(call: &Call, deadline: Instant) -> Result<Answer, Error> {
    match call.endpoint.host_port() {
        Some(_) => call.look_up(deadline).map(Answer::Addresses),
        None => call.open_unix_stream(deadline).map(Answer::Stream),
    }
}

/// Calls of one server that are under way: each may have six sockets.
const PENDING_MAX: usize = 1024;

/// Threads of one server that look up or wait for a Unix socket. The system's resolver bounds its own.
const HELPERS_MAX: usize = 8;
