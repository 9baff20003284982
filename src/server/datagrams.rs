//! What is special about servers of datagrams.

use super::Server;
use crate::engine::Engine;
use crate::limits::{Replies, ReplyGuard};
use std::sync::Mutex;

/// How a server's datagrams are served, and not its streams.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub(super) stateless: bool,
    reply_guard: Option<ReplyGuard>,
}

impl Datagrams {
    pub(super) fn replies(&self) -> Option<Mutex<Replies>> {
        self.reply_guard.clone().map(|guard| Mutex::new(Replies::new(guard)))
    }
}

/// # UDP servers
///
/// | you have | choose |
/// |---|---|
/// | peers that talk for a while, or a state for each of them | nothing: a session for each peer, up to [`peers_max`](crate::limits::Limits::peers_max) of them, until it is silent for [`peer_idle_timeout`](crate::limits::Limits::peer_idle_timeout) |
/// | questions and answers that stand alone | [`stateless`](Server::stateless) |
/// | more datagrams than one thread can take | [`Events::workers`](crate::engine::Events::workers) |
/// | strangers, and answers longer than questions or servers that answer each other | [`reply_guard`](Server::reply_guard) |
///
/// **Amplification.** UDP does not prove who sent a datagram. A server on the open internet that answers
/// ten bytes with a thousand can be made to flood whoever an attacker names as the sender, and two servers
/// that answer everything can be made to talk with each other for ever. Without a guard a server answers
/// as its handler says, and only these never: port 0, a group, broadcast, and its own socket. No error is
/// ever answered of its own accord. Ask for as many bytes as you answer, or set a guard.
///
/// On all addresses (`udp://*:7000`, `0.0.0.0`, `[::]`) each answer leaves from the address that was
/// asked, also one that is sent later (`IP_PKTINFO`, `IPV6_PKTINFO`): a peer that asks two of them has two
/// sessions. What went to a group or to everybody is answered from the interface's own address.
///
/// Where the kernel can, it hands over many datagrams of one peer as one buffer and takes many answers so
/// (`UDP_GRO` since Linux 5.0, `UDP_SEGMENT` since 4.18). A handler does not notice: each is still one
/// frame or more, and each answer is a datagram. One that cannot be sent loses no other.
///
/// With several workers each has a socket of its own for a UDP endpoint that the server binds
/// (`SO_REUSEPORT`), and a peer stays with one. The first of them is bound without that option, so that a
/// port which another socket has is in use (`AddrInUse`), with that option or without. From then on only a
/// program of the same user that sets it, too, could join.
impl<C, E: Engine> Server<C, E> {
    /// One handler for all datagrams that a worker hears on an endpoint, in place of one for each peer:
    /// no table, and nothing to expire. For protocols of a question and its answer, such as DNS or NTP.
    ///
    /// [`Context::peer`](crate::handler::Context::peer) is the sender of the datagram at hand, and
    /// [`send`](crate::handler::Context::send) answers it. Timers and wakes work as ever, but have no
    /// peer: it is `udp://0.0.0.0:0` then (over Unix the unnamed one), and what is sent is dropped, as is
    /// what a [`Remote`](crate::handler::Remote) sends. What the kernel does not take at once is dropped
    /// too. All of it is counted as
    /// [`replies_dropped`](crate::engine::Counters::replies_dropped).
    ///
    /// The handler is made when the worker starts, with no peer, and again with the next datagram after
    /// one has ended: `finish`, an error, a panic. [`Threads`](crate::engine::Threads) have one worker a
    /// datagram socket. [`admit`](Server::admit) is asked whenever the sender changes. Streams of the
    /// same server are served as ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::client::Client;
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// let mut asked = 0;
    /// let server = Server::udp("127.0.0.1:0").stateless().codec(Lines::default()).serve(
    ///     move |_line, cx| {
    ///         asked += 1; // by anybody
    ///         cx.send(&asked.to_string());
    ///     },
    /// )?;
    /// let at = server.local_endpoints()[0].clone();
    /// for answer in ["1", "2"] {
    ///     let mut client = Client::to(&at).codec(Lines::default()).connect()?;
    ///     client.send("how many?")?;
    ///     assert_eq!(client.receive()?, answer);
    /// }
    /// # server.stop(Duration::from_secs(1));
    /// server.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stateless(mut self) -> Server<C, E> {
        self.settings.datagrams.stateless = true;
        self
    }

    /// Limits what is sent over UDP to each source, whichever session sends it; none by default.
    ///
    /// For servers that strangers can reach and whose answers are longer than the questions: without it
    /// a forged datagram has this server flood somebody else, or talk with another server without end.
    /// Programs that send much to peers that say little need higher limits, or must not have it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::limits::ReplyGuard;
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// let server = Server::udp("127.0.0.1:0")
    ///     .reply_guard(ReplyGuard::default())
    ///     .codec(Lines::default())
    ///     .serve(|line, cx| cx.send(line))?;
    /// # server.stop(Duration::from_secs(1));
    /// assert_eq!(server.join()?.counters.replies_guarded, 0);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn reply_guard(mut self, guard: ReplyGuard) -> Server<C, E> {
        self.settings.datagrams.reply_guard = Some(guard);
        self
    }
}
