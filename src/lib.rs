//! Sockets without an async runtime: typed, synchronous, fast.
//!
//! sockeye takes up where `std::net` stops, for servers, clients and tools that do without `async`.
//! It is not a runtime, not an HTTP framework and not a message broker.
//!
//! # The cube
//!
//! A socket has two properties, and a server a third; each combination is served by the same handler.
//!
//! | address family | x socket type | x engine |
//! |---|---|---|
//! | [`Ipv4`], [`Ipv6`], [`Unix`]; [`Ip`] and [`Any`] for what is known only at run time | stream, datagram, seqpacket (Unix only) | [`Threads`](engine::Threads) (default), [`Events`](engine::Events) |
//!
//! # The way in
//!
//! A handler is written once, against frames. This one reverses lines, over TCP, UDP and Unix sockets
//! at once, and a changed line moves it from threads to an event loop:
//!
//! ```
//! use sockeye::client::Client;
//! use sockeye::codec::Lines;
//! use sockeye::engine::Events;
//! use sockeye::server::Server;
//! use std::time::Duration;
//!
//! let server = Server::tcp("127.0.0.1:0")
//!     .and("udp://127.0.0.1:0")
//!     .and("unix://@sockeye-tour") // a name of Linux's abstract namespace
//!     .engine(Events::workers(1)) // without this line: threads
//!     .codec(Lines::default())
//!     .serve(|line, cx| cx.send(&line.chars().rev().collect::<String>()))?;
//!
//! for endpoint in server.local_endpoints() {
//!     let mut client = Client::to(endpoint).codec(Lines::default()).connect()?;
//!     client.send("stressed")?;
//!     assert_eq!(client.receive()?, "desserts");
//! }
//!
//! server.stop(Duration::from_secs(5));
//! let report = server.join()?;
//! assert_eq!(report.forced, 0);
//! # Ok::<(), sockeye::Error>(())
//! ```
//!
//! # The picture
//!
//! ```text
//!  roof     server   client   testing         builders: what most people touch
//!  stair    engine                            moves bytes between the wings
//!           ┌──────────────────┐ ┌──────────────────────────────┐
//!  wings    │ I/O              │ │ pure: no descriptor, no clock │
//!           │ connect  lookup  │ │ session   (all decisions)     │
//!           │ socket   memory  │ │ handler  codec  limits        │
//!           └──────────────────┘ └──────────────────────────────┘
//!  ground   addr  error  descriptors          plain values
//! ```
//!
//! Bytes go up the stair as the kernel gives them, frames come out at the handler, and what it sends
//! goes down again with one system call for each turn:
//!
//! ```text
//!  kernel ─► engine ─► session ─► codec finds a frame ─► on_frame(frame, cx)
//!         ◄─        ◄─         ◄─ codec encodes       ◄─ cx.send(..)
//! ```
//!
//! # Rooms
//!
//! - [`server`]: endpoints, codec, handler, engine and limits put together; [`ServerHandle`] stops it.
//! - [`client`]: connects under one deadline; a stream, or frames with a codec.
//! - [`connect`]: all addresses of a name in a race, and the report of it.
//! - [`handler`]: what a protocol does; [`Remote`](handler::Remote) reaches a session from elsewhere,
//!   [`Group`](handler::Group) many at once.
//! - [`codec`]: [`Lines`](codec::Lines), [`Bytes`](codec::Bytes), or your own.
//! - [`engine`]: threads or event loops, chosen by load and not by handler.
//! - [`observer`]: who came, who was refused, how it ended; the feature `log` adds
//!   `logging`, which writes it through the crate of that name.
//! - [`limits`]: every queue, buffer, table and wait has one, with a default.
//! - [`socket`]: typed sockets, for straight-line code and for sockets configured by hand, and their
//!   [`Options`](socket::Options), which servers and clients take too; multicast, and datagrams in batches;
//!   [socket files](socket::SocketFileOptions), peer credentials and descriptors over Unix sockets.
//! - [`lookup`]: hosts, services and the ports of URLs; a [`Resolver`](lookup::Resolver) with a deadline.
//! - [`memory`] and [`testing`]: streams without descriptors, servers for one test, and conversations at
//!   times of your choosing.
//! - [`addr`]: families, addresses, the text of [endpoints](Endpoint), and a
//!   [`Policy`](addr::Policy) of networks.
//!
//! # What holds everywhere
//!
//! - A bad peer ends its own session and no other; a panic in a handler too.
//! - Every descriptor is close-on-exec from its first instant, and no write raises SIGPIPE.
//! - An [`Error`] names the operation and the endpoint, and hints at the way out.
//! - `unsafe` is confined to one private module, `sys`, each block with its reason.
//!
//! Linux on x86-64 is tested; other Unix systems are not yet.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod addr;
mod buffer;
pub mod client;
pub mod codec;
pub mod connect;
mod contain;
mod descriptors;
pub mod engine;
pub mod error;
pub mod handler;
pub mod limits;
#[cfg(feature = "log")]
#[cfg_attr(docsrs, doc(cfg(feature = "log")))]
pub mod logging;
pub mod lookup;
mod mailbox;
pub mod memory;
pub mod observer;
mod poll;
pub mod server;
mod session;
pub mod socket;
mod sync;
mod sys;
pub mod testing;
mod timers;

pub use addr::{Any, AnyAddr, Endpoint, HostPort, Ip, Ipv4, Ipv6, Peer, Transport, Unix, UnixAddr};
pub use client::Client;
pub use error::{Error, ErrorKind};
pub use server::{Server, ServerHandle};

/// The README's code, compiled and run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeDoctests;
