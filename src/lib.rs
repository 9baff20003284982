//! Sockets without an async runtime.
pub mod addr;
