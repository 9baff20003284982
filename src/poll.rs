//! Readiness: which of many sockets can be read or written.
//!
//! By epoll(7). Level-triggered, the kernel looks at each socket once more after it was served;
//! edge-triggered ([`Trigger::Edge`]) it does not, which is 2 to 6 % of an echo. In both ways a short read
//! is the last one: a loop needs no read that says "nothing more". A socket in which nobody is interested
//! is taken out of the set, because epoll reports hang-ups even then, again and again.
//!
//! [`wait_for`] is the same for one socket and a wake-up, by poll(2), for threads; [`wait_for_any`] for a
//! few that are being connected.

use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What a socket is polled for, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Interest(u8);

impl Interest {
    pub(crate) const NONE: Interest = Interest(0);
    pub(crate) const READ: Interest = Interest(1);

    pub(crate) fn new(read: bool, write: bool) -> Interest {
        Interest(u8::from(read) | u8::from(write) << 1)
    }

    pub(crate) fn read(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) fn write(self) -> bool {
        self.0 & 2 != 0
    }

    fn flags(self, trigger: Trigger) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.read());
        flags.set(epoll::EventFlags::OUT, self.write());
        if trigger == Trigger::Edge {
            flags |= epoll::EventFlags::ET | epoll::EventFlags::PRI | epoll::EventFlags::RDHUP;
        } else if self.read() {
            flags |= epoll::EventFlags::RDHUP;
        }
        flags
    }
}

/// When a socket is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// As long as it is ready.
    Level,
    /// When something comes, and whenever its interest is set. For streams whose short reads are the
    /// last ones, but for those that [`Event::more`] tells of.
    Edge,
}

/// One socket is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: u64,
    /// Reading will not block: bytes, the end, or an error.
    pub(crate) read: bool,
    /// Writing will not block.
    pub(crate) write: bool,
    /// A short read is not the last: behind it is an urgent byte, where reads end, or the end.
    pub(crate) more: bool,
    /// Its reading side is shut: behind what is there, nothing comes any more.
    pub(crate) shut: bool,
}

/// A set of sockets.
pub(crate) struct Poll {
    epoll: OwnedFd,
    ready: Vec<Event>,
    alarm: Option<Alarm>,
}

/// Ends a wait: a timer with a descriptor.
struct Alarm {
    clock: OwnedFd,
    rings_at: Option<Instant>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poll { epoll, ready: Vec::with_capacity(EVENTS_PER_WAIT), alarm: None })
    }

    /// Moves a level-triggered socket from one interest to another, with at most one system call.
    pub(crate) fn change(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        from: Interest,
        to: Interest,
    ) -> io::Result<()> {
        self.change_by(Trigger::Level, socket, token, from, to)
    }

    /// As [`change`](Poll::change), for sockets that are reported in this way.
    pub(crate) fn change_by(
        &self,
        trigger: Trigger,
        socket: BorrowedFd<'_>,
        token: u64,
        from: Interest,
        to: Interest,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        match (from == Interest::NONE, to == Interest::NONE) {
            _ if from == to => {}
            (true, _) => epoll::add(&self.epoll, socket, data, to.flags(trigger))?,
            (_, true) => epoll::delete(&self.epoll, socket)?,
            _ => epoll::modify(&self.epoll, socket, data, to.flags(trigger))?,
        }
        Ok(())
    }

    /// Has an edge-triggered socket reported again if it is ready still.
    pub(crate) fn again(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, socket, data, interest.flags(Trigger::Edge))?)
    }

    /// Adds a listener that several workers poll: one of them is woken for a connection, not all.
    pub(crate) fn share(&self, listener: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.epoll, listener, epoll::EventData::new_u64(token), flags)?)
    }

    /// Adds a waker. It is edge-triggered, so nobody needs to reset it.
    pub(crate) fn watch(&self, waker: &EventWaker, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, waker.counter.as_fd(), data, flags)?)
    }

    /// Gives it an alarm: see [`time_until`](Poll::time_until).
    pub(crate) fn with_alarm(self) -> io::Result<Poll> {
        let clock = sys::io::alarm_clock()?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &clock, epoll::EventData::new_u64(ALARM), flags)?;
        Ok(Poll { alarm: Some(Alarm { clock, rings_at: None }), ..self })
    }

    /// How long to [`wait`](Poll::wait) until then; `None` if the alarm will end the wait. For what is far
    /// off it is set once, so that most waits need neither a look at the clock nor a timer of the kernel's
    /// own. `now` may be a little out of date.
    pub(crate) fn time_until(&mut self, then: Instant, now: Instant) -> Option<Duration> {
        if let Some(alarm) = &mut self.alarm {
            // One that rings before will do: it is no harm to look.
            if alarm.rings_at.is_some_and(|at| now < at && at <= then) {
                return None;
            }
            let is_far = then.saturating_duration_since(now) >= FAR;
            let left = || then.saturating_duration_since(Instant::now());
            if is_far && sys::io::ring_after(&alarm.clock, left()).is_ok() {
                alarm.rings_at = Some(then);
                return None;
            }
        }
        Some(then.saturating_duration_since(Instant::now()))
    }

    /// Waits until a socket is ready or the time has passed; `None` waits for ever.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        let timeout = timeout.map(timespec);
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_PER_WAIT];
        match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((events, _)) => {
                let of_sockets = events.iter().filter(|event| event.data.u64() != ALARM);
                self.ready.extend(of_sockets.map(Event::from));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How many sockets the last [`wait`](Poll::wait) found ready.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// One of them.
    pub(crate) fn event(&self, index: usize) -> Event {
        self.ready[index]
    }
}

/// Readable when one of its sockets is ready: a set may be in another one.
impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl From<&epoll::Event> for Event {
    fn from(event: &epoll::Event) -> Event {
        let (flags, data) = (event.flags, event.data);
        // An error or a hang-up shows itself to whoever reads or writes next.
        let failed = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        let behind = epoll::EventFlags::PRI | epoll::EventFlags::RDHUP;
        Event {
            token: data.u64(),
            read: flags.intersects(epoll::EventFlags::IN | failed),
            write: flags.intersects(epoll::EventFlags::OUT | failed),
            more: flags.intersects(behind | failed),
            shut: flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP),
        }
    }
}

/// Wakes one [`Poll`].
#[derive(Debug)]
pub(crate) struct EventWaker {
    counter: OwnedFd,
}

impl EventWaker {
    pub(crate) fn new() -> io::Result<EventWaker> {
        Ok(EventWaker { counter: sys::io::event_counter()? })
    }
}

impl Wake for EventWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        sys::io::signal(&self.counter);
    }
}

/// Wakes one thread in [`wait_for`], or in [`park_timeout`](thread::park_timeout) if it has no socket
/// to wait for. Its descriptor is made when it first sleeps in the former: a thread that never does,
/// costs none.
#[derive(Debug, Default)]
pub(crate) struct ThreadWaker {
    counter: OnceLock<OwnedFd>,
    parked: OnceLock<Thread>,
}

impl ThreadWaker {
    /// What to wait for.
    pub(crate) fn counter(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(counter) = self.counter.get() {
            return Ok(counter.as_fd());
        }
        let counter = sys::io::event_counter()?;
        Ok(self.counter.get_or_init(|| counter).as_fd())
    }

    /// Takes all wake-ups so far for heard.
    pub(crate) fn quiet(&self) {
        if let Some(counter) = self.counter.get() {
            sys::io::quiet(counter);
        }
    }

    /// From now on the calling thread is woken from its sleep in [`park_timeout`](thread::park_timeout).
    pub(crate) fn settle(&self) {
        self.parked.get_or_init(thread::current);
    }
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(thread) = self.parked.get() {
            thread.unpark();
        }
        if let Some(counter) = self.counter.get() {
            sys::io::signal(counter);
        }
    }
}

/// Waits until one socket is ready, the counter is not zero, or the time has passed. Says for what
/// the socket is ready, and whether the counter was.
pub(crate) fn wait_for(
    socket: BorrowedFd<'_>,
    interest: Interest,
    counter: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<(Interest, bool)> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.read());
    flags.set(PollFlags::OUT, interest.write());
    // Where there is no counter, its place is not polled.
    let bell = PollFd::from_borrowed_fd(counter.unwrap_or(socket), PollFlags::IN);
    let mut polled = [PollFd::from_borrowed_fd(socket, flags), bell];
    // As above: without interest a hang-up would be reported for ever.
    let from = usize::from(interest == Interest::NONE);
    let to = 1 + usize::from(counter.is_some());
    match rustix::event::poll(&mut polled[from..to.max(from)], timeout.map(timespec).as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((Interest::NONE, false)),
        Err(error) => return Err(error.into()),
    }
    let [socket, counter] = polled.map(|polled| polled.revents());
    let rung = counter.contains(PollFlags::IN);
    let failed = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let ready = Interest::new(
        interest.read() && socket.intersects(PollFlags::IN | failed),
        interest.write() && socket.intersects(PollFlags::OUT | failed),
    );
    Ok((ready, rung))
}

/// Waits until one of these sockets can be written or has failed, one of the counters is not zero, or
/// the time has passed. Says of each socket whether it is ready. By poll(2), for a handful of sockets
/// that live for a moment.
pub(crate) fn wait_for_any(
    sockets: &[BorrowedFd<'_>],
    counters: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let writing = sockets.iter().map(|socket| PollFd::from_borrowed_fd(*socket, PollFlags::OUT));
    let ringing = counters.iter().map(|counter| PollFd::from_borrowed_fd(*counter, PollFlags::IN));
    let mut polled: Vec<PollFd<'_>> = writing.chain(ringing).collect();
    match rustix::event::poll(&mut polled, timeout.map(timespec).as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(vec![false; sockets.len()]),
        Err(error) => return Err(error.into()),
    }
    polled.truncate(sockets.len());
    Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
}

/// Rounded up to a millisecond: waking early would only mean to sleep again.
fn timespec(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}

const EVENTS_PER_WAIT: usize = 256;

/// What is as far off as this is left to the alarm: to set it anew now and then costs little beside it.
const FAR: Duration = Duration::from_secs(1);

/// No socket has this token.
const ALARM: u64 = u64::MAX - 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_ends_a_wait_for_what_is_far_off_and_is_set_no_oftener_than_need_be() {
        let mut poll = Poll::new().unwrap().with_alarm().unwrap();
        let now = Instant::now();
        let soon = poll.time_until(now + FAR / 2, now).expect("without the alarm");
        assert!(soon <= FAR / 2 && poll.alarm.as_ref().unwrap().rings_at.is_none());
        for (far, rings) in [(90, 90), (99, 90), (70, 70), (80, 70)] {
            assert_eq!(poll.time_until(now + FAR * far, now), None);
            let rings_at = poll.alarm.as_ref().unwrap().rings_at;
            assert_eq!(rings_at, Some(now + FAR * rings));
        }
        let then = Instant::now() + FAR;
        assert_eq!(poll.time_until(then, then - FAR), None);
        poll.wait(None).unwrap();
        assert_eq!(poll.ready(), 0, "it is no socket");
        assert!(Instant::now() >= then);
        // What has rung is set anew, and what is past is not waited for.
        assert_eq!(poll.time_until(then + FAR * 9, then), None);
        assert_eq!(poll.alarm.as_ref().unwrap().rings_at, Some(then + FAR * 9));
        assert_eq!(poll.time_until(then, then), Some(Duration::ZERO));
    }

    #[test]
    fn without_an_alarm_every_wait_has_its_time() {
        let (mut poll, now) = (Poll::new().unwrap(), Instant::now());
        assert!(poll.time_until(now + FAR * 9, now).is_some_and(|left| left <= FAR * 9));
    }
}
