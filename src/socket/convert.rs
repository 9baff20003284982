//! To and from descriptors and the sockets of the standard library.
//!
//! Out it always goes. In, the kernel is asked whether the descriptor is what the type says: also
//! for sockets of the standard library, which can be made of any descriptor.

use std::net;
use std::os::fd::OwnedFd;
use std::os::unix::net as unix;

use super::mismatch::{self, Mismatch};
use super::{Listener, Socket, open};
use crate::addr::{
    ConnectedDatagram, Datagram, IpFamily, Kind, SocketType, Stream, Supports, Unix,
};

impl<F: Supports<K>, K: Kind> From<Socket<F, K>> for OwnedFd {
    fn from(socket: Socket<F, K>) -> Self {
        socket.raw.into()
    }
}

impl<F: Supports<K>, K: Kind> TryFrom<OwnedFd> for Socket<F, K> {
    type Error = Mismatch;

    /// Takes a descriptor that is such a socket already, inherited or passed down by a service manager
    /// perhaps. Does not block. Changes few options: `TCP_NODELAY` is set on listeners, for what they
    /// accept to inherit, `SO_PASSCRED` on seqpacket, by which the end is told from an empty message, and
    /// on UDP what [`receive`](Socket::receive) needs.
    ///
    /// # Errors
    ///
    /// It is none, of another family or type, listens where the type does not or the other way round,
    /// or (datagrams) has a peer where the type has none or the other way round. The descriptor comes
    /// back in the error.
    fn try_from(fd: OwnedFd) -> Result<Self, Mismatch> {
        let raw = mismatch::check::<F, K>(fd)?;
        let _ = match (K::TYPE, K::LISTENS) {
            // A Unix listener has no such option and says so; a stream is good without it.
            (SocketType::Stream, true) => raw.set_tcp_nodelay(true),
            (_, true) => Ok(()),
            // It cannot fail on a socket of the kind that it is for.
            (SocketType::Datagram, false) => open::note_arrivals(&raw),
            (kind, false) => open::prepare(&raw, kind),
        };
        Ok(Self::from_raw(raw))
    }
}

/// Between a type of the standard library and one of ours, for every IP family or for Unix.
macro_rules! std_type {
    ($std:ty, $ours:ident<F: IpFamily, $kind:ident>) => {
        impl<F: IpFamily> From<$ours<F, $kind>> for $std {
            fn from(ours: $ours<F, $kind>) -> Self {
                OwnedFd::from(ours).into()
            }
        }

        impl<F: IpFamily> TryFrom<$std> for $ours<F, $kind> {
            type Error = Mismatch;

            /// As from `OwnedFd`.
            fn try_from(std: $std) -> Result<Self, Mismatch> {
                OwnedFd::from(std).try_into()
            }
        }
    };
    ($std:ty, $ours:ident<Unix, $kind:ident>) => {
        impl From<$ours<Unix, $kind>> for $std {
            fn from(ours: $ours<Unix, $kind>) -> Self {
                OwnedFd::from(ours).into()
            }
        }

        impl TryFrom<$std> for $ours<Unix, $kind> {
            type Error = Mismatch;

            /// As from `OwnedFd`.
            fn try_from(std: $std) -> Result<Self, Mismatch> {
                OwnedFd::from(std).try_into()
            }
        }
    };
}

std_type!(net::TcpStream, Socket<F: IpFamily, Stream>);
std_type!(net::TcpListener, Listener<F: IpFamily, Stream>);
std_type!(net::UdpSocket, Socket<F: IpFamily, Datagram>);
std_type!(net::UdpSocket, Socket<F: IpFamily, ConnectedDatagram>);
std_type!(unix::UnixStream, Socket<Unix, Stream>);
std_type!(unix::UnixListener, Listener<Unix, Stream>);
std_type!(unix::UnixDatagram, Socket<Unix, Datagram>);
std_type!(unix::UnixDatagram, Socket<Unix, ConnectedDatagram>);
