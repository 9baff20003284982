//! What threads meet at: the atomics and locks of `std`, or those of the model checker loom when the
//! models in `engine/tests.rs` are built, so that these try the code itself and no copy of it.
//!
//! For what those models reach. Elsewhere `std::sync` is named directly.

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

/// The atomics of loom. It takes `SeqCst` of an access for `AcqRel`, and knows the one order of all
/// threads from fences only: so an access that asks for that order stands between two, and a store is a
/// swap. That orders weaker accesses beside it too, as the processors of x86 do and the language does not
/// promise; accesses that ask for less are tried as they are.
#[cfg(all(test, loom))]
#[allow(dead_code, reason = "not every atomic is used in every way")]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    fn ordered<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
        let fences = || {
            if order == Ordering::SeqCst {
                fence(order);
            }
        };
        fences();
        let result = access();
        fences();
        result
    }

    macro_rules! atomic {
        ($name:ident of $value:ty: $($arithmetic:ident)*) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> $name {
                    $name(loom::sync::atomic::$name::new(value))
                }
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    ordered(order, || self.0.load(order))
                }
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    ordered(order, || match order {
                        Ordering::SeqCst => drop(self.0.swap(value, order)),
                        _ => self.0.store(value, order),
                    })
                }
                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    ordered(order, || self.0.swap(value, order))
                }
                pub(crate) fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    ordered(set, || self.0.fetch_update(set, fetch, update))
                }
                $(pub(crate) fn $arithmetic(&self, by: $value, order: Ordering) -> $value {
                    ordered(order, || self.0.$arithmetic(by, order))
                })*
            }
        };
    }
    atomic!(AtomicBool of bool:);
    atomic!(AtomicU64 of u64: fetch_add fetch_sub);
    atomic!(AtomicUsize of usize: fetch_add fetch_sub);
}
