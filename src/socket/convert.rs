//! To and from descriptors and the sockets of the standard library.
//!
//! Out it always goes. In, the kernel is asked whether the descriptor is what the type says: also
//! for sockets of the standard library, which can be made of any descriptor.

use std::net;
use std::os::fd::OwnedFd;
use std::os::unix::net as unix;

use super::mismatch::{self, Mismatch, Role};
use super::{Listener, RawSocket, Socket, open};
use crate::addr::{
    Connected, ConnectedDatagram, Datagram, IpFamily, Kind, SocketType, Stream, Supports, Unix,
};

impl<F: Supports<K>, K: Kind> From<Socket<F, K>> for OwnedFd {
    fn from(socket: Socket<F, K>) -> Self {
        socket.raw.into()
    }
}

impl<F: Supports<K>, K: Kind> From<Listener<F, K>> for OwnedFd {
    fn from(listener: Listener<F, K>) -> Self {
        listener.raw.into()
    }
}

impl<F: Supports<K>, K: Kind> TryFrom<OwnedFd> for Socket<F, K> {
    type Error = Mismatch;

    /// Takes a descriptor that is such a socket already, inherited perhaps. Does not block. Changes no
    /// option but `SO_PASSCRED` on seqpacket, by which the end is told from an empty message.
    ///
    /// # Errors
    ///
    /// It is none, of another family or type, listens, or (datagrams) has a peer where the type has
    /// none or the other way round. The descriptor comes back in the error.
    fn try_from(fd: OwnedFd) -> Result<Self, Mismatch> {
        let raw = mismatch::check::<F, K>(fd, Role::Socket)?;
        // It cannot fail on a socket of the kind that it is for.
        let _ = open::prepare(&raw, K::TYPE);
        Ok(Self::from_raw(raw))
    }
}

impl<F: Supports<K>, K: Connected> TryFrom<OwnedFd> for Listener<F, K> {
    type Error = Mismatch;

    /// Takes a descriptor that listens already, passed down by a service manager perhaps. Does not
    /// block. Changes one option: `TCP_NODELAY` is set, for what it accepts to inherit.
    ///
    /// # Errors
    ///
    /// It is no socket, of another family or type, or does not listen. The descriptor comes back in
    /// the error.
    fn try_from(fd: OwnedFd) -> Result<Self, Mismatch> {
        let raw = mismatch::check::<F, K>(fd, Role::Listener)?;
        set_nodelay::<K>(&raw);
        Ok(Self::from_raw(raw))
    }
}

fn set_nodelay<K: Kind>(raw: &RawSocket) {
    if K::TYPE == SocketType::Stream {
        // A Unix listener has no such option and says so; a stream is good without it.
        let _ = raw.set_tcp_nodelay(true);
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
