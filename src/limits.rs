//! Limits: every queue, buffer, table and wait of a server has one, and here it is.

mod reply_guard;

pub(crate) use reply_guard::Replies;
pub use reply_guard::ReplyGuard;

use std::time::Duration;

/// How much a server gives to one peer, and to all of them.
///
/// Every field is a plain number that can be read and changed; times are wall-clock spans measured
/// on the monotonic clock, `None` means without limit. Three presets say who the peers are:
///
/// | limit | [`default`](Limits::default) | [`strict`](Limits::strict) | [`interactive`](Limits::interactive) | ends with |
/// |---|---|---|---|---|
/// | for | people and programs | the open internet | long quiet connections | |
/// | [`first_message_timeout`](Limits::first_message_timeout) | 60 s | 10 s | never | [`FirstMessageTimeout`] |
/// | [`frame_timeout`](Limits::frame_timeout) | 60 s | 10 s | never | [`FrameTimeout`] |
/// | [`idle_timeout`](Limits::idle_timeout) | 10 min | 60 s | never | [`IdleTimeout`] |
/// | [`idle_read_timeout`](Limits::idle_read_timeout) | never | never | never | [`IdleReadTimeout`] |
/// | [`idle_write_timeout`](Limits::idle_write_timeout) | never | never | never | [`IdleWriteTimeout`] |
/// | [`life_timeout`](Limits::life_timeout) | never | never | never | [`LifeTimeout`] |
/// | [`write_stall_timeout`](Limits::write_stall_timeout) | 30 s | 10 s | 30 s | [`WriteStall`] |
/// | [`write_stall_bytes_min`](Limits::write_stall_bytes_min) | any | 4 KiB | any | [`SlowReader`] |
/// | [`peer_idle_timeout`](Limits::peer_idle_timeout) | 60 s | 60 s | 60 s | [`IdleTimeout`] |
/// | [`linger_timeout`](Limits::linger_timeout) | 1 s | 1 s | 1 s | what ended it before |
///
/// Each is absolute: it ends at a moment that does not move because of single bytes. A limit of less
/// than a millisecond, zero too, counts as a millisecond. How long a connection may live at all, and
/// who has to say something when, only the protocol knows: so no preset has those.
///
/// [`FirstMessageTimeout`]: crate::handler::CloseReason::FirstMessageTimeout
/// [`FrameTimeout`]: crate::handler::CloseReason::FrameTimeout
/// [`IdleTimeout`]: crate::handler::CloseReason::IdleTimeout
/// [`IdleReadTimeout`]: crate::handler::CloseReason::IdleReadTimeout
/// [`IdleWriteTimeout`]: crate::handler::CloseReason::IdleWriteTimeout
/// [`LifeTimeout`]: crate::handler::CloseReason::LifeTimeout
/// [`WriteStall`]: crate::handler::CloseReason::WriteStall
/// [`SlowReader`]: crate::handler::CloseReason::SlowReader
///
/// # Examples
///
/// ```
/// use sockeye::limits::Limits;
/// use std::time::Duration;
///
/// let mut limits = Limits::strict();
/// limits.idle_timeout = Some(Duration::from_secs(5));
/// assert_eq!(limits.output_bytes_max, 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that a server serves at once; more wait in the system's backlog, or are refused:
    /// see [`Server::on_full`](crate::server::Server::on_full). Zero counts as one.
    ///
    /// `None`: what the engine takes for sane, 1,024 on threads and 10,000 on events.
    /// [`ServerHandle::set_connections_max`](crate::server::ServerHandle::set_connections_max) changes
    /// it while the server runs.
    pub connections_max: Option<usize>,
    /// Connections that one source may have at once: an IPv4 address, or the /64 network of an IPv6
    /// address, since one subscriber has all of that. More are refused; zero counts as one. `None`, the default, is
    /// without limit: many clients may be behind one address. Unix and in-memory peers are not counted.
    pub connections_per_source_max: Option<usize>,
    /// Connections that a server accepts in a second, after as many at once; more wait in the system's
    /// backlog. `None`, the default, is without limit; zero counts as one.
    pub accepts_per_second_max: Option<u32>,
    /// How long an accepted peer may take for its first whole frame.
    pub first_message_timeout: Option<Duration>,
    /// How long a frame that has begun may take until it is whole, however steadily its bytes come in:
    /// the first one too. It does not run while the session itself takes no input, as a paused one.
    ///
    /// It is also the least rate at which a peer must send: the longest frame of the codec within this
    /// time. Datagrams and the messages of seqpacket sockets come whole.
    pub frame_timeout: Option<Duration>,
    /// How long a connection may be silent in both directions before `on_idle`, which ends it unless
    /// the handler says otherwise. As the two below, it runs once the first message has come, and while
    /// no output waits.
    pub idle_timeout: Option<Duration>,
    /// The same, for silence of the peer. It does not run while the session takes no input, nor after
    /// the peer has closed its side.
    pub idle_read_timeout: Option<Duration>,
    /// The same, for silence of our own: for a handler that then says something, to keep the connection
    /// alive. It does not run after our side is closed.
    pub idle_write_timeout: Option<Duration>,
    /// How long a connection may last, whatever goes over it. Then the session takes no more frames,
    /// what is to be sent is sent, for as long as [`linger_timeout`](Limits::linger_timeout) at most,
    /// and the connection is closed. Datagram peers have none.
    pub life_timeout: Option<Duration>,
    /// How long output may wait that the kernel refuses because the peer does not read.
    pub write_stall_timeout: Option<Duration>,
    /// How many bytes of waiting output the peer must take within each
    /// [`write_stall_timeout`](Limits::write_stall_timeout), or else all of it; `None`: any will do.
    ///
    /// The time starts again when they are taken, and not before: a byte now and then does not help. What
    /// counts is what the kernel takes, which it does in pieces of many kilobytes.
    pub write_stall_bytes_min: Option<usize>,
    /// How long a finished connection may stay to let the peer take the last reply.
    pub linger_timeout: Duration,
    /// How many bytes of unwanted input a finished connection reads and throws away meanwhile. An
    /// unread rest would make the kernel reset the connection and lose the last reply.
    pub linger_bytes_max: usize,
    /// Unsent output, in bytes, down to which `on_drain` waits; half of
    /// [`output_bytes_max`](Limits::output_bytes_max) if that is less.
    pub output_low_mark: usize,
    /// Unsent output, in bytes, at which a turn stops taking input; half of
    /// [`output_bytes_max`](Limits::output_bytes_max) if that is less.
    pub output_high_mark: usize,
    /// Unsent output, in bytes, that a session may never exceed. `try_send` and remotes then say that it
    /// is full; a plain `send` ends the session.
    pub output_bytes_max: usize,
    /// Frames that one session handles before the others have their turn.
    pub frames_per_turn: u32,
    /// Messages by [`Remote`](crate::handler::Remote)s that may wait for one worker.
    pub mailbox_items_max: usize,
    /// Peers that one datagram endpoint keeps sessions for, on all of its workers together; datagrams of
    /// further ones are dropped and counted.
    pub peers_max: usize,
    /// How long a datagram peer may be silent before its session ends. There is no goodbye on
    /// datagrams, so this is what frees the table.
    pub peer_idle_timeout: Option<Duration>,
}

impl Default for Limits {
    /// For people and programs.
    fn default() -> Limits {
        Limits {
            connections_max: None,
            connections_per_source_max: None,
            accepts_per_second_max: None,
            first_message_timeout: Some(Duration::from_secs(60)),
            frame_timeout: Some(Duration::from_secs(60)),
            idle_timeout: Some(Duration::from_secs(600)),
            idle_read_timeout: None,
            idle_write_timeout: None,
            life_timeout: None,
            write_stall_timeout: Some(Duration::from_secs(30)),
            write_stall_bytes_min: None,
            linger_timeout: Duration::from_secs(1),
            linger_bytes_max: 64 * 1024,
            output_low_mark: 64 * 1024,
            output_high_mark: 256 * 1024,
            output_bytes_max: 1024 * 1024,
            frames_per_turn: 1024,
            mailbox_items_max: 64 * 1024,
            peers_max: 4096,
            peer_idle_timeout: Some(Duration::from_secs(60)),
        }
    }
}

impl Limits {
    /// The low mark, but never so near to the hard limit that a frame which was refused is asked for
    /// again at once, and refused again.
    pub(crate) fn low_mark(&self) -> usize {
        self.output_low_mark.min(self.output_bytes_max / 2)
    }

    /// For servers that face the open internet.
    pub fn strict() -> Limits {
        Limits {
            first_message_timeout: Some(Duration::from_secs(10)),
            frame_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(60)),
            write_stall_timeout: Some(Duration::from_secs(10)),
            write_stall_bytes_min: Some(4 * 1024),
            ..Limits::default()
        }
    }

    /// For connections that may be quiet for hours, such as a chat: no idle limit, and nobody is hurried
    /// over a line.
    ///
    /// Peers that vanished are still found, by TCP keepalive.
    pub fn interactive() -> Limits {
        Limits {
            first_message_timeout: None,
            frame_timeout: None,
            idle_timeout: None,
            ..Limits::default()
        }
    }
}
