//! A server between its start and its first loop: on a thread of its own, or on the caller's.

use super::ServerHandle;
use crate::addr::Endpoint;
use crate::engine::{AtWork, FirstLoop, Report};
use crate::error::Error;
use std::io;
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
