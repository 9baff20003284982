//! The thread of the threads engine that accepts, and that wakes the others when the server stops.

use super::accept::{ACCEPTS_PER_TURN, Accepted, Accepts};
use super::listeners::{Doors, REFUSED};
use super::thread::{Berth, Job};
use super::threads::{House, Unlodged};
use super::{Listening, MemoryListening, Serve, Socket};
use crate::addr::Peer;
use crate::observer::{Door, Refusal};
use crate::poll::{Event, Interest, Poll};
use crate::sys;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread that accepts, and that wakes the others when the server stops.
pub(super) struct Warden {
    house: Arc<House>,
    poll: Poll,
    listeners: Vec<Listening>,
    doors: Doors,
}

impl Warden {
    /// For listeners that are bound. The poll is the one that the bell of the house wakes.
    pub(super) fn new(
        house: Arc<House>,
        poll: Poll,
        listeners: Vec<Listening>,
        memory: Vec<MemoryListening>,
    ) -> io::Result<Warden> {
        for (index, listening) in listeners.iter().enumerate() {
            let socket = listening.socket.as_fd();
            sys::io::set_nonblocking(socket, true)?;
            poll.change(socket, index as u64, Interest::NONE, Interest::READ)?;
        }
        let mut doors = Doors::new(memory);
        doors.reply(&house.common.gate.on_full, &poll)?;
        Ok(Warden { house, poll, listeners, doors })
    }

    pub(super) fn run(mut self) {
        while !self.house.is_stopping() {
            let timeout = self.timeout();
            let waited = self.poll.wait(timeout);
            self.house.bell.rise();
            if waited.is_err() {
                break;
            }
            for index in 0..self.poll.ready() {
                match self.poll.event(index) {
                    Event { token: REFUSED, .. } => self.doors.look_after_refused(),
                    Event { token: u64::MAX, .. } => {}
                    event => self.accept(event),
                }
            }
            self.accept_memory();
            self.doors.expire(Instant::now());
            if self.can_reopen() {
                self.reopen();
            }
        }
        // The program may have the sockets as well: letting go of them does not end their events.
        self.leave_alone(None);
        self.listeners.clear();
        self.doors.memory.clear();
        self.stop();
    }

    /// How long to sleep, which it announces.
    fn timeout(&mut self) -> Option<Duration> {
        self.house.bell.doze();
        self.doors.watch_memory(&self.house.bell);
        // The stop may have begun before the announcement.
        if self.house.is_stopping() || self.can_reopen() {
            return Some(Duration::ZERO);
        }
        let next = self.doors.next()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self, event: Event) {
        let (index, now) = (event.token as usize, Instant::now());
        let mut accepts = Accepts::new();
        while accepts.another(self.listeners[index].socket.as_fd()) {
            let listening = &self.listeners[index];
            let common = &self.house.common;
            match common.accept(listening, false, self.doors.leaving.as_mut(), now) {
                Accepted::Guest(socket, peer) => {
                    let named = common.tally.watch.is_set().then(|| peer.clone());
                    if let Err(homeless) = self.receive(socket, peer, index) {
                        let door = listening.service.door.clone();
                        return self.turn_away(homeless, named, &door, now);
                    }
                    common.goes_well(now);
                }
                Accepted::Settled => {}
                Accepted::Nobody if !event.more => return,
                Accepted::NotNow(until) => return self.leave_alone(until),
                broken @ (Accepted::Nobody | Accepted::Broken(_)) => {
                    common.broken(listening, broken.error());
                    let (read, none) = (Interest::READ, Interest::NONE);
                    let _ = self.poll.change(listening.socket.as_fd(), index as u64, read, none);
                    return;
                }
            }
        }
    }

    /// Gives an accepted connection its thread. If that cannot be, its place is given back.
    fn receive(&self, socket: OwnedFd, peer: Peer, index: usize) -> Result<(), Homeless> {
        let Warden { house, listeners, .. } = self;
        let service = listeners[index].service.clone();
        let (job, socket) = match &service.serve {
            Serve::Sessions(_) => (Job::Accepted(service, peer), socket),
            // The handler owns its descriptor; the berth needs one to wake it by.
            Serve::Blocking(_) => match socket.try_clone() {
                Ok(second) => (Job::Blocking(socket, service, peer), second),
                Err(error) => {
                    house.common.gate.leave_from(peer.ip());
                    let socket = Some(Socket::Descriptor(socket));
                    return Err(Homeless { socket, why: Refusal::NoDescriptor, error });
                }
            },
        };
        let blocking = matches!(job, Job::Blocking(..));
        let berth = Berth::new(Socket::Descriptor(socket), blocking, &house.common.limits);
        house.lodge(berth, job).map_err(Homeless::from)
    }

    /// Refuses a connection that there is something missing for, and waits for it to come.
    fn turn_away(
        &mut self,
        homeless: Homeless,
        peer: Option<Peer>,
        door: &Arc<Door>,
        now: Instant,
    ) {
        let common = &self.house.common;
        let Homeless { socket, why, error } = homeless;
        match socket {
            Some(Socket::Descriptor(socket)) => {
                common.refuse(socket, peer.as_ref(), why, self.doors.leaving.as_mut(), now);
            }
            Some(Socket::Memory(socket)) => common.refuse_memory(&socket, why),
            None => common.tally.refused(peer.as_ref(), why),
        }
        let until = common.back_off(door, &error, now);
        self.leave_alone(Some(until));
    }

    fn accept_memory(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.doors.waiting_in_memory() else { return };
            let (common, now) = (&self.house.common, Instant::now());
            match common.accept_memory(listening, now) {
                Accepted::Guest(socket, peer) => {
                    let job = Job::Accepted(listening.service.clone(), peer);
                    let berth = Berth::new(Socket::Memory(socket), false, &common.limits);
                    if let Err(unlodged) = self.house.lodge(berth, job) {
                        let door = listening.service.door.clone();
                        return self.turn_away(unlodged.into(), Some(Peer::memory()), &door, now);
                    }
                    common.goes_well(now);
                }
                Accepted::NotNow(until) => return self.leave_alone(until),
                Accepted::Settled => {}
                Accepted::Nobody | Accepted::Broken(_) => return,
            }
        }
    }

    fn leave_alone(&mut self, until: Option<Instant>) {
        if self.doors.close(until) {
            for (index, listening) in self.listeners.iter().enumerate() {
                // One that could not be put there is not there.
                let socket = listening.socket.as_fd();
                let _ = self.poll.change(socket, index as u64, Interest::READ, Interest::NONE);
            }
        }
    }

    /// As workers do: see [`Worker::reopen`](super::worker::Worker::reopen).
    fn reopen(&mut self) {
        self.doors.open = true;
        let failed = self.listeners.iter().enumerate().find_map(|(index, listening)| {
            let socket = listening.socket.as_fd();
            let put = self.poll.change(socket, index as u64, Interest::NONE, Interest::READ);
            let (error, door) = (put.err()?, &listening.service.door);
            Some(self.house.common.back_off(door, &error, Instant::now()))
        });
        if failed.is_some() {
            self.leave_alone(failed);
        }
    }

    fn can_reopen(&mut self) -> bool {
        self.doors.can_reopen(&self.house.common.gate, Instant::now())
    }

    /// Wakes every thread, also those that come late, until all are gone or patience ends.
    fn stop(mut self) {
        sys::io::signal(&self.house.stopped);
        loop {
            self.house.bell.doze();
            // Read each time: a later stop may have shortened it.
            let Some(deadline) = self.house.common.stop.deadline() else { return };
            let berths: Vec<Arc<Berth>> = self.house.all_berths();
            if berths.is_empty() {
                return;
            }
            berths.iter().for_each(|berth| berth.stop());
            drop(berths);
            let now = Instant::now();
            let next = self.doors.next().map_or(deadline, |next| next.min(deadline));
            let left = next.saturating_duration_since(now);
            if deadline <= now || self.poll.wait(Some(left)).is_err() {
                break;
            }
            // Those who were refused have their time still.
            self.doors.look_after_refused();
            self.doors.expire(Instant::now());
        }
        self.house.all_berths().iter().for_each(|berth| berth.force());
    }
}

/// An accepted connection that something is missing for.
struct Homeless {
    /// Its socket, if its peer is to be told.
    socket: Option<Socket>,
    why: Refusal,
    error: io::Error,
}

impl From<Unlodged> for Homeless {
    fn from(unlodged: Unlodged) -> Homeless {
        let Unlodged { error, socket } = unlodged;
        Homeless { socket, why: Refusal::NoThread, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Common, Gate, Service, Stop, Tally};
    use crate::mailbox::Bell;
    use crate::poll::EventWaker;
    use std::task::Waker;

    /// A listener whose place in the poll cannot be had is played by a file, of which there is none.
    #[test]
    fn a_listener_without_a_place_in_the_poll_is_tried_again() {
        let (mut warden, common) = warden();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let service = Service::new(Serve::Blocking(Arc::new(|_| Ok(()))));
        let endpoint = "tcp://127.0.0.1:0".parse().unwrap();
        warden.listeners.push(Listening::new(file.into(), endpoint, service, None));
        warden.leave_alone(None);
        warden.reopen();
        assert_eq!((warden.doors.open, common.tally.snapshot().accept_failed), (false, 1));
        let pause = warden.timeout().unwrap();
        assert!(pause > Duration::ZERO && pause <= Duration::from_millis(10), "{pause:?}");
        warden.listeners[0].socket = Arc::new(listener.into());
        warden.reopen();
        assert!(warden.doors.open);
    }

    #[test]
    fn a_warden_waits_for_the_gate_and_not_for_a_time_that_is_past() {
        let (mut warden, common) = warden();
        common.gate.pause(true);
        warden.leave_alone(Some(Instant::now()));
        assert_eq!(warden.timeout(), None);
        common.gate.pause(false);
        warden.poll.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!((warden.poll.ready(), warden.timeout()), (1, Some(Duration::ZERO)));
    }

    fn warden() -> (Warden, Arc<Common>) {
        let common = Arc::new(Common {
            gate: Gate::new(1),
            limits: Arc::default(),
            tally: Tally::default(),
            stop: Arc::new(Stop::default()),
            stateless: false,
            replies: None,
        });
        let (waker, poll) = (Arc::new(EventWaker::new().unwrap()), Poll::new().unwrap());
        poll.watch(&waker, u64::MAX).unwrap();
        let bell = Bell::new(Waker::from(waker));
        common.gate.notify(bell.clone());
        let house = Arc::new(House::new(common.clone(), bell, 0).unwrap());
        (Warden::new(house, poll, Vec::new(), Vec::new()).unwrap(), common)
    }
}
