//! From a typed family to one known at run time: `Ipv4`, `Ipv6` → `Ip` → `Any` ← `Unix`.
//!
//! Free: the descriptor moves, only the type changes. The steps to `Ip` are written out because one
//! impl over all pairs would, for the compiler, overlap with "everything is `From` itself". Back the
//! way is `TryFrom<OwnedFd>`, which asks the kernel.

use super::Socket;
use crate::addr::{Any, EraseTo, Ip, Ipv4, Ipv6, Kind, Supports};

macro_rules! erase_to_ip {
    ($from:ty) => {
        impl<K: Kind> From<Socket<$from, K>> for Socket<Ip, K>
        where
            $from: Supports<K>,
            Ip: Supports<K>,
        {
            fn from(typed: Socket<$from, K>) -> Self {
                Self::from_raw(typed.raw)
            }
        }
    };
}

erase_to_ip!(Ipv4);
erase_to_ip!(Ipv6);

impl<F: EraseTo<Any> + Supports<K>, K: Kind> From<Socket<F, K>> for Socket<Any, K>
where
    Any: Supports<K>,
{
    fn from(typed: Socket<F, K>) -> Self {
        Self::from_raw(typed.raw)
    }
}
