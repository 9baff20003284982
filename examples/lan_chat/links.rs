//! The connections, and what all threads share: the [`Circle`] decides, here it is done.

use super::circle::{Circle, Effect, Link, TEXT_BYTES_MAX, Target};
use super::random;
use jiff::Zoned;
use sockeye::codec::Lines;
use sockeye::handler::{CloseReason, Context, Handler, Outcome, Remote};
use sockeye::socket::Options;
use sockeye::{AnyAddr, Client, Endpoint, Peer, ServerHandle};
use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What all threads share. Nothing blocks under its lock.
pub struct Chat {
    inner: Mutex<Inner>,
    changed: Condvar,
    server: ServerHandle,
}

struct Inner {
    circle: Circle,
    remotes: HashMap<Link, Remote<Lines>>,
    links: Link,
    out: Option<SyncSender<String>>,
    /// Lines for which a slow terminal had no room.
    unshown: usize,
}

impl Chat {
    pub fn new(circle: Circle, server: ServerHandle, out: SyncSender<String>) -> Arc<Chat> {
        let (remotes, out) = (HashMap::new(), Some(out));
        let inner = Inner { circle, remotes, links: 0, out, unshown: 0 };
        Arc::new(Chat { inner: Mutex::new(inner), changed: Condvar::new(), server })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the circle.
    pub fn ask<T>(&self, what: impl FnOnce(&Circle) -> T) -> T {
        what(&self.inner().circle)
    }

    /// Tells the circle what happened, and does what it wants done.
    pub fn tell(self: &Arc<Chat>, what: impl FnOnce(&mut Circle, Instant)) {
        let mut inner = self.inner();
        what(&mut inner.circle, Instant::now());
        while let Some(effect) = inner.circle.effects.pop_front() {
            match effect {
                Effect::Print(text) => inner.print(text),
                Effect::Send(link, line) => {
                    let remote = inner.remotes.get(&link);
                    // Who does not read is lost, and then told of.
                    if remote.is_some_and(|remote| remote.send(&line).is_err()) {
                        inner.end(link, Remote::abort);
                    }
                }
                Effect::Close(link) => inner.end(link, Remote::close),
                Effect::Abort(link) => inner.end(link, Remote::abort),
                Effect::Dial(target, endpoint) => {
                    if let Err(error) = self.dial(target, endpoint) {
                        let (error, now) = (error.to_string(), Instant::now());
                        inner.circle.dial_failed(target, &error, random(), now);
                    }
                }
            }
        }
        self.changed.notify_all();
    }

    fn dial(self: &Arc<Chat>, target: Target, endpoint: Endpoint) -> Result<(), sockeye::Error> {
        let client = Client::to(endpoint).codec(codec()).options(options()).timeout(DIAL);
        let (talk, chat) =
            (Talk { chat: self.clone(), target: Some(target), link: None }, self.clone());
        self.server.connect(client, talk, move |connected| {
            if let Err(error) = connected {
                let error = error.to_string();
                chat.tell(|circle, now| circle.dial_failed(target, &error, random(), now));
            }
        })
    }

    /// The chat is over: what was printed is all.
    pub fn end(&self) {
        self.inner().out = None;
    }

    /// Waits until it is so, or for as long.
    pub fn wait(&self, longest: Duration, is_so: impl Fn(&Circle) -> bool) {
        let not_yet = |inner: &mut Inner| !is_so(&inner.circle);
        let waited = self.changed.wait_timeout_while(self.inner(), longest, not_yet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Inner {
    fn print(&mut self, text: String) {
        let Some(out) = &self.out else { return };
        let time = Zoned::now().strftime("%H:%M:%S").to_string();
        if self.unshown > 0
            && out.try_send(format!("{time} * {} lines not shown", self.unshown)).is_ok()
        {
            self.unshown = 0;
        }
        if out.try_send(format!("{time} {text}")).is_err() {
            self.unshown += 1;
        }
    }

    fn end(&mut self, link: Link, end: impl FnOnce(&Remote<Lines>)) {
        if let Some(remote) = self.remotes.remove(&link) {
            end(&remote);
        }
    }
}

/// One connection, from here or from there.
pub struct Talk {
    chat: Arc<Chat>,
    target: Option<Target>,
    link: Option<Link>,
}

impl Talk {
    /// One that was made from there.
    pub fn accepted(chat: &Arc<Chat>) -> Talk {
        Talk { chat: chat.clone(), target: None, link: None }
    }
}

impl Handler<Lines> for Talk {
    fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        let (remote, at) = (cx.remote(), place(cx.peer()));
        let link = {
            let mut inner = self.chat.inner();
            inner.links += 1;
            let link = inner.links;
            inner.remotes.insert(link, remote);
            link
        };
        self.link = Some(link);
        self.chat.tell(|circle, now| circle.opened(link, self.target, at, now));
        Ok(())
    }

    fn on_frame(&mut self, line: &str, _: &mut Context<'_, Lines>) -> Outcome {
        if let Some(link) = self.link {
            self.chat.tell(|circle, now| circle.line(link, line, now));
        }
        Ok(())
    }

    fn on_close(&mut self, reason: &CloseReason) {
        let Some(link) = self.link else { return };
        self.chat.inner().remotes.remove(&link);
        self.chat.tell(|circle, now| circle.closed(link, &reason.to_string(), random(), now));
    }
}

/// An address as people write it; IPv4 on a dual-stack socket comes as IPv6.
fn place(peer: &Peer) -> String {
    match peer.addr() {
        AnyAddr::Ip(at) if at.ip().to_canonical().is_ipv4() => {
            format!("{}:{}", at.ip().to_canonical(), at.port())
        }
        at => at.to_string(),
    }
}

pub fn codec() -> Lines {
    Lines::at_most(TEXT_BYTES_MAX + 100)
}

pub fn options() -> Options {
    // What was said is to be known as lost about when the silence is noticed.
    Options::new().user_timeout(Some(Duration::from_secs(5)))
}

const DIAL: Duration = Duration::from_secs(2);
