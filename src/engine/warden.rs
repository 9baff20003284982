//! The thread of the threads engine that accepts, and that wakes the others when the server stops.

use super::accept::{ACCEPTS_PER_TURN, Accepted, Accepts};
use super::listeners::REFUSED;
use super::refuse::Leaving;
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
use std::task::Waker;
use std::time::{Duration, Instant};

/// The thread that accepts, and that wakes the others when the server stops.
pub(super) struct Warden {
    pub(super) house: Arc<House>,
    pub(super) poll: Poll,
    pub(super) listeners: Vec<Listening>,
    /// These are in no poll: they ring the bell.
    pub(super) memory: Vec<MemoryListening>,
    /// Connections that are told why they are refused.
    pub(super) leaving: Option<Leaving>,
    pub(super) again: Option<Instant>,
    pub(super) accepting: bool,
}

impl Warden {
    pub(super) fn run(mut self) {
        while !self.house.is_stopping() {
            self.house.bell.doze();
            if self.accepting {
                let waker = Waker::from(self.house.bell.clone());
                self.memory.iter().for_each(|listening| listening.listener.watch(&waker));
            }
            // The stop may have begun before the announcement.
            let timeout = if self.house.is_stopping() || self.can_reopen() {
                Some(Duration::ZERO)
            } else {
                let leaving = self.leaving.as_ref().and_then(Leaving::next);
                let next = [self.again, leaving].into_iter().flatten().min();
                next.map(|next| next.saturating_duration_since(Instant::now()))
            };
            let waited = self.poll.wait(timeout);
            self.house.bell.rise();
            if waited.is_err() {
                break;
            }
            for index in 0..self.poll.ready() {
                let event = self.poll.event(index);
                match (event.token, &mut self.leaving) {
                    (REFUSED, Some(leaving)) => leaving.look(),
                    (u64::MAX, _) => {}
                    _ => self.accept(event),
                }
            }
            self.accept_memory();
            if let Some(leaving) = &mut self.leaving {
                leaving.expire(Instant::now());
            }
            if self.can_reopen() {
                self.set_accepting(true);
            }
        }
        // The program may have the sockets as well: letting go of them does not end their events.
        self.set_accepting(false);
        self.listeners.clear();
        self.memory.clear();
        self.stop();
    }

    fn accept(&mut self, event: Event) {
        let (index, now) = (event.token as usize, Instant::now());
        let mut accepts = Accepts::new();
        while accepts.another(self.listeners[index].socket.as_fd()) {
            let listening = &self.listeners[index];
            let common = &self.house.common;
            match common.accept(listening, false, self.leaving.as_mut(), now) {
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
                common.refuse(socket, peer.as_ref(), why, self.leaving.as_mut(), now);
            }
            Some(Socket::Memory(socket)) => common.refuse_memory(&socket, why),
            None => common.tally.refused(peer.as_ref(), why),
        }
        let until = common.back_off(door, &error, now);
        self.leave_alone(Some(until));
    }

    fn accept_memory(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let next = self.memory.iter().find(|listening| listening.listener.has_waiting());
            let (true, Some(listening)) = (self.accepting, next) else { return };
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
        self.set_accepting(false);
        self.again = until;
    }

    fn can_reopen(&self) -> bool {
        !self.accepting
            && self.again.is_none_or(|again| again <= Instant::now())
            && self.house.common.gate.has_room()
    }

    fn set_accepting(&mut self, accepting: bool) {
        if std::mem::replace(&mut self.accepting, accepting) == accepting {
            return;
        }
        self.again = None;
        let (from, to) = match accepting {
            true => (Interest::NONE, Interest::READ),
            false => (Interest::READ, Interest::NONE),
        };
        for (index, listening) in self.listeners.iter().enumerate() {
            let _ = self.poll.change(listening.socket.as_fd(), index as u64, from, to);
        }
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
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.poll.wait(Some(left)).is_err() {
                break;
            }
        }
        for berth in self.house.all_berths() {
            berth.force(&self.house.common.stop);
        }
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
