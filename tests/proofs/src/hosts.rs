//! Machines: network namespaces of this process's own.

use crate::namespace;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and a thread that lives in it.
pub struct Host {
    jobs: Sender<Job>,
    /// By which the kernel and `ip` know the namespace.
    pub thread: String,
}

impl Host {
    /// Needs root.
    pub fn new() -> Result<Host, String> {
        let (jobs, todo) = channel::<Job>();
        let (made, told) = channel();
        thread::spawn(move || {
            let thread = namespace::own_network().and_then(|()| {
                let path = std::fs::read_link("/proc/thread-self").map_err(|e| e.to_string())?;
                let name = path.file_name().ok_or("this thread has no number")?;
                Ok(name.to_string_lossy().into_owned())
            });
            let _ = made.send(thread);
            todo.iter().for_each(|job| job());
        });
        let thread = told.recv().map_err(|error| error.to_string())?;
        let thread = thread.map_err(|why| format!("this needs a network namespace: {why}"))?;
        Ok(Host { jobs, thread })
    }

    /// Runs this in the namespace.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (sender, done) = channel();
        let job = move || drop(sender.send(job()));
        self.jobs.send(Box::new(job)).map_err(|error| error.to_string())?;
        done.recv().map_err(|error| error.to_string())?
    }

    /// A command of ip(8), in the namespace.
    pub fn ip(&self, line: &str) -> Result<(), String> {
        let line = line.to_owned();
        self.run(move || namespace::ip(line.split_whitespace()))
    }

    /// Adds an address to a link of this host, ready to be sent to.
    pub fn add_address(&self, address: &str, link: &str) -> Result<(), String> {
        let (address, link) = (address.to_owned(), link.to_owned());
        self.run(move || namespace::add_address(&address, &link))
    }
}
