//! Servers that stop when the process is told to end. One thread hears for all of them.

use super::ServerHandle;
use crate::error::Error;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

impl ServerHandle {
    /// Stops the server when the process is sent SIGINT (Ctrl-C) or SIGTERM.
    ///
    /// The first signal [stops](Self::stop) it with this patience, a second one cuts off at once what is
    /// left. A third, or one that comes when all such servers are over, ends the process, as it does
    /// without this. A program thus ends by returning from `main` after [`join`](Self::join).
    ///
    /// Returns at once; may be called before the server starts, so that no signal comes too early, and for
    /// several servers, which then stop together. The first call makes a thread, which lasts as long as
    /// the process. With the feature `signal`; it uses the crate `signal-hook`.
    ///
    /// # Errors
    ///
    /// No thread or no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// use std::time::Duration;
    ///
    /// let server = Server::tcp("127.0.0.1:7000").codec(Lines::default());
    /// server.handle().stop_on_signals(Duration::from_secs(5))?;
    /// let report = server.run(|line, cx| cx.send(line))?;
    /// println!("{} finished, {} cut off", report.finished, report.forced);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn stop_on_signals(&self, patience: Duration) -> Result<(), Error> {
        let failed = |error: io::Error| Error::new("wait for", "signals", error);
        let mut ward = ward();
        if !ward.hears {
            let signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
            let thread = thread::Builder::new().name("sockeye-signals".to_owned());
            thread.spawn(move || hear(signals)).map_err(failed)?;
            ward.hears = true;
        }
        ward.servers.retain(|server| !server.handle.is_over());
        ward.servers.push(Server { handle: self.clone(), patience, heard: 0 });
        Ok(())
    }
}

/// Who is to be stopped.
struct Ward {
    hears: bool,
    servers: Vec<Server>,
}

struct Server {
    handle: ServerHandle,
    patience: Duration,
    /// Signals so far.
    heard: u32,
}

static WARD: Mutex<Ward> = Mutex::new(Ward { hears: false, servers: Vec::new() });

fn ward() -> MutexGuard<'static, Ward> {
    WARD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(mut signals: Signals) {
    for signal in signals.forever() {
        let mut ward = ward();
        let mut waits = false;
        for server in &mut ward.servers {
            if server.heard < 2 && !server.handle.is_over() {
                waits = true;
                // One that the program is stopping already is told a second time.
                let again = server.handle.is_stopping();
                server.handle.stop(if again { Duration::ZERO } else { server.patience });
                server.heard += 1;
            }
        }
        if !waits {
            // It fails for signals that cannot be caught.
            let _ = emulate_default_handler(signal);
        }
    }
}
