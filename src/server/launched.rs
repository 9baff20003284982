//! A server between its start and its first loop: on a thread of its own, or on the caller's.

use super::accepting::Accepting;
use super::bind::Bound;
use super::unix::UnixSettings;
use super::{Server, ServerHandle, Settings};
use crate::addr::Endpoint;
use crate::engine::{
    AtWork, Common, Engine, FirstLoop, Gate, Launch, Listening, Plan, Report, Serve, Service, Stop,
    Tally,
};
use crate::error::Error;
use crate::observer::Watch;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A server whose first loop is yet to run.
pub(super) struct Launched {
    pub(super) handle: ServerHandle,
    pub(super) first: FirstLoop,
    pub(super) at_work: AtWork,
    pub(super) on_start: Option<Box<OnStart>>,
}

pub(super) type OnStart = dyn FnOnce(&[Endpoint]) + Send;

impl<C, E: Engine> Server<C, E> {
    /// Binds the endpoints and starts all of the engine but its first loop.
    pub(super) fn launch(self, serve: Serve) -> Result<Launched, Error> {
        let Server { sources, engine, settings, .. } = self;
        let Settings { limits, options, observer, handle, on_start, datagrams, .. } = settings;
        let Settings { accepting, unix, .. } = settings;
        let UnixSettings { files, admit: admit_unix, descriptors } = unix;
        let Accepting { admit, on_full } = accepting;
        let service = Service { admit, admit_unix, descriptors, ..Service::new(serve) };
        let mut bound = Bound::new(service, options, files, engine.datagram_workers());
        for source in sources {
            bound.add(source?)?;
        }
        let Bound { sockets, memory, files, .. } = bound;
        let gate = Gate::new(engine.connections_max(limits.connections_max));
        let gate = gate.with(&limits, on_full);
        handle.early().tell(&gate);
        let common = Arc::new(Common {
            gate,
            limits: Arc::new(limits),
            tally: Tally::new(Watch::new(observer)),
            stop: Arc::new(Stop::default()),
            stateless: datagrams.stateless,
            replies: datagrams.replies(),
        });
        let mut doors: Vec<_> =
            sockets.iter().map(|listening| listening.service.door.clone()).collect();
        for (before, listening) in memory.iter().enumerate() {
            doors.insert(before + listening.place, listening.service.door.clone());
        }
        let shutters = sockets.iter().filter_map(Listening::shutter).collect();
        let plan = Plan { sockets, memory, common: common.clone() };
        let Launch { running, first } = engine.start(plan).map_err(not_started)?;
        let at_work = common.stop.enter();
        handle.started(running, common, doors, shutters, files);
        Ok(Launched { handle, first, at_work, on_start })
    }
}

impl Launched {
    pub(super) fn spawn(self) -> Result<ServerHandle, Error> {
        let Launched { handle, first, at_work, on_start } = self;
        let spawned = thread::Builder::new().name("sockeye".to_owned()).spawn(move || {
            let _at_work = at_work;
            first();
        });
        if let Err(error) = spawned {
            handle.stop(Duration::ZERO);
            return Err(not_started(error));
        }
        if let Some(on_start) = on_start {
            on_start(handle.local_endpoints());
        }
        Ok(handle)
    }

    pub(super) fn run(self) -> Result<Report, Error> {
        let Launched { handle, first, at_work, on_start } = self;
        if let Some(on_start) = on_start {
            on_start(handle.local_endpoints());
        }
        first();
        drop(at_work);
        handle.join()
    }
}

pub(super) fn not_started(error: io::Error) -> Error {
    Error::new("start", "a server's engine", error)
}
