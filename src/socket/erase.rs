//! From a typed family to one known at run time: `Ipv4`, `Ipv6` → `Ip` → `Any` ← `Unix`.
//!
//! Free: the descriptor moves, only the type changes. The steps to `Ip` are written out because one
//! impl over all pairs would, for the compiler, overlap with "everything is `From` itself". Back the
//! way is `TryFrom<OwnedFd>`, which asks the kernel.

use super::{Listener, Socket};
use crate::addr::{Any, EraseTo, Ip, Ipv4, Ipv6, Kind, Supports};

macro_rules! erase {
    ($type:ident: $from:ty => $to:ty) => {
        impl<K: Kind> From<$type<$from, K>> for $type<$to, K>
        where
            $from: Supports<K>,
            $to: Supports<K>,
        {
            fn from(typed: $type<$from, K>) -> Self {
                Self::from_raw(typed.raw)
            }
        }
    };
}

erase!(Socket: Ipv4 => Ip);
erase!(Socket: Ipv6 => Ip);
erase!(Listener: Ipv4 => Ip);
erase!(Listener: Ipv6 => Ip);

impl<F: EraseTo<Any> + Supports<K>, K: Kind> From<Socket<F, K>> for Socket<Any, K>
where
    Any: Supports<K>,
{
    fn from(typed: Socket<F, K>) -> Self {
        Self::from_raw(typed.raw)
    }
}

impl<F: EraseTo<Any> + Supports<K>, K: Kind> From<Listener<F, K>> for Listener<Any, K>
where
    Any: Supports<K>,
{
    fn from(typed: Listener<F, K>) -> Self {
        Self::from_raw(typed.raw)
    }
}
