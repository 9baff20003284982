//! Why a session ended.

use crate::codec::FrameError;
use std::error::Error;
use std::fmt;
use std::io;

/// Why a session ended: the first cause, whatever followed from it.
///
/// The peer's doing, the handler's, the server's and the network's are told apart.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The handler finished, or a [`Remote`](super::Remote) closed the session.
    Finished,
    /// The peer closed its side, in an orderly way, and the handler had nothing to add.
    PeerClosed,
    /// The network failed, for example by a reset from the peer.
    Transport(io::Error),
    /// The peer's bytes are no frame: too long, not UTF-8, cut short. Or an item to be sent is none.
    Frame(FrameError),
    /// A callback returned this error.
    Handler(Box<dyn Error + Send + Sync>),
    /// A callback panicked.
    Panicked,
    /// More output was to be kept, in bytes, than the hard limit.
    OutputFull {
        /// How much it would have been.
        bytes: usize,
        /// [`Limits::output_bytes_max`](crate::limits::Limits::output_bytes_max), or what a
        /// [`Group`](super::Group) lets wait for a worker.
        limit: usize,
    },
    /// No whole frame came within the first-message timeout.
    FirstMessageTimeout,
    /// Silence in both directions for the idle timeout.
    IdleTimeout,
    /// Nothing came for the idle-read timeout.
    IdleReadTimeout,
    /// Nothing was sent for the idle-write timeout.
    IdleWriteTimeout,
    /// A frame was begun and not whole within the frame timeout.
    FrameTimeout,
    /// The connection has lasted for the life timeout.
    LifeTimeout,
    /// The peer took no output for the write-stall timeout.
    WriteStall,
    /// The peer took some output within the write-stall timeout, but less than
    /// [`Limits::write_stall_bytes_min`](crate::limits::Limits::write_stall_bytes_min).
    SlowReader,
    /// The handler aborted.
    Aborted,
    /// The server stopped and the session did not finish by the deadline.
    Stopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Finished => f.write_str("finished"),
            CloseReason::PeerClosed => f.write_str("closed by the peer"),
            CloseReason::Transport(error) => write!(f, "connection lost: {error}"),
            CloseReason::Frame(error) => write!(f, "bad frame: {error}"),
            CloseReason::Handler(error) => write!(f, "handler failed: {error}"),
            CloseReason::Panicked => f.write_str("handler panicked"),
            CloseReason::OutputFull { bytes, limit } => {
                write!(f, "peer reads too slowly: {bytes} bytes of output, the limit is {limit}")
            }
            CloseReason::FirstMessageTimeout => f.write_str("no first message in time"),
            CloseReason::IdleTimeout => f.write_str("idle for too long"),
            CloseReason::IdleReadTimeout => f.write_str("peer said nothing for too long"),
            CloseReason::IdleWriteTimeout => f.write_str("nothing to say for too long"),
            CloseReason::FrameTimeout => f.write_str("frame not whole in time"),
            CloseReason::LifeTimeout => f.write_str("open for too long"),
            CloseReason::SlowReader => f.write_str("peer reads too slowly"),
            CloseReason::WriteStall => f.write_str("peer stopped reading"),
            CloseReason::Aborted => f.write_str("aborted"),
            CloseReason::Stopped => f.write_str("server stopped"),
        }
    }
}
