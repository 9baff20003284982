//! Limits: every queue, buffer, table and wait of a server has one, and here it is.

use std::time::Duration;

/// How much a server gives to one peer, and to all of them.
///
/// Every field is a plain number that can be read and changed; times are wall-clock spans measured
/// on the monotonic clock, `None` means without limit. Three presets say who the peers are:
///
/// | preset | for | first message | idle | write stall |
/// |---|---|---|---|---|
/// | [`Limits::default`] | people and programs | 60 s | 10 min | 30 s |
/// | [`Limits::strict`] | the open internet | 10 s | 60 s | 10 s |
/// | [`Limits::interactive`] | long quiet connections | never | never | 30 s |
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
    /// see [`Server::on_full`](crate::server::Server::on_full).
    ///
    /// `None`: what the engine takes for sane, 1,024 on threads and 10,000 on events.
    /// [`ServerHandle::set_connections_max`](crate::server::ServerHandle::set_connections_max) changes
    /// it while the server runs.
    pub connections_max: Option<usize>,
    /// Connections that one source may have at once: an IPv4 address, or the /64 network of an IPv6
    /// address, since one subscriber has all of that. More are refused. `None`, the default, is without
    /// limit: many clients may be behind one address. Unix and in-memory peers are not counted.
    pub connections_per_source_max: Option<usize>,
    /// Connections that a server accepts in a second, after as many at once; more wait in the system's
    /// backlog. `None`, the default, is without limit; zero counts as one.
    pub accepts_per_second_max: Option<u32>,
    /// How long an accepted peer may take for its first whole frame.
    pub first_message_timeout: Option<Duration>,
    /// How long a connection may be silent in both directions before `on_idle`, which ends it unless
    /// the handler says otherwise.
    pub idle_timeout: Option<Duration>,
    /// How long the kernel may refuse output because the peer does not read.
    pub write_stall_timeout: Option<Duration>,
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
    /// Peers that one datagram socket keeps sessions for; datagrams of further ones are dropped and
    /// counted.
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
            idle_timeout: Some(Duration::from_secs(600)),
            write_stall_timeout: Some(Duration::from_secs(30)),
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
    /// For servers that face the open internet.
    pub fn strict() -> Limits {
        Limits {
            first_message_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(60)),
            write_stall_timeout: Some(Duration::from_secs(10)),
            ..Limits::default()
        }
    }

    /// For connections that may be quiet for hours, such as a chat: no idle limit.
    ///
    /// Peers that vanished are still found, by TCP keepalive.
    pub fn interactive() -> Limits {
        Limits { idle_timeout: None, first_message_timeout: None, ..Limits::default() }
    }
}
