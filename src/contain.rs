//! Foreign code that may panic, and what is left of a panic: a line of text.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code. If it panics, says what the panic said.
///
/// Whoever calls this gives up, on a panic, all that the code may have left half done.
pub(crate) fn contain<T>(act: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(act)).map_err(Panic::of)
}

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic(pub(crate) String);

impl Panic {
    /// Takes a payload apart. It is a value of the program's, whose `Drop` may panic in its turn, and so
    /// may what that panic carries: after that it is left alone.
    #[cold]
    pub(crate) fn of(payload: Box<dyn Any + Send>) -> Panic {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a text".to_owned(),
        };
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        Panic(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn says_what_the_panic_said() {
        let said = |act: fn()| contain(act).unwrap_err().0;
        assert_eq!(said(|| panic!("plain")), "plain");
        assert_eq!(said(|| panic!("with {}", 1)), "with 1");
        assert_eq!(said(|| std::panic::panic_any(7)), "a panic without a text");
        assert_eq!(contain(|| 7), Ok(7));
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_goes_no_further() {
        assert!(contain(|| std::panic::panic_any(Bomb)).is_err());
    }
}
