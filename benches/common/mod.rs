//! Echo servers, each with three implementations, and blocking clients for them.

use sockeye::codec::Bytes;
use sockeye::engine::{AnyEngine, Events, Threads};
use sockeye::{Endpoint, Server, ServerHandle, Transport};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long anything here may take; a bench that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(10);

/// The raw server's read buffer for each connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// Who echoes.
#[derive(Clone, Copy)]
pub enum Implementation {
    /// `std::net` and a thread for each connection, by hand.
    Raw,
    /// The crate's threads engine.
    Threads,
    /// The crate's events engine, one worker.
    Events,
}

impl Implementation {
    pub const ALL: [Implementation; 3] =
        [Implementation::Raw, Implementation::Threads, Implementation::Events];

    /// Starts an echo server on a free port or a temporary path.
    pub fn serve(self, transport: Transport) -> Running {
        let at = match transport {
            Transport::Unix => format!("unix://{}", socket_path().display()),
            ip => format!("{ip}://127.0.0.1:0"),
        };
        let engine = match self {
            Implementation::Raw => return raw(transport, &at),
            Implementation::Threads => AnyEngine::Threads(Threads::default()),
            Implementation::Events => AnyEngine::Events(Events::workers(1)),
        };
        let server = Server::on(at.as_str()).engine(engine).codec(Bytes::default());
        let server = server.serve(|bytes, cx| cx.send(bytes)).expect("a free endpoint on loopback");
        let endpoint = server.local_endpoints()[0].clone();
        Running { endpoint, end: End::Sockeye(server) }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Implementation::Raw => "raw std threads",
            Implementation::Threads => "sockeye threads",
            Implementation::Events => "sockeye events",
        })
    }
}

/// A server that ends when it is dropped.
pub struct Running {
    endpoint: Endpoint,
    end: End,
}

enum End {
    Sockeye(ServerHandle),
    Raw { stop: Arc<AtomicBool>, accepting: Option<JoinHandle<()>> },
}

/// A connected stream of either family.
pub trait Connection: Read + Write {}
impl<S: Read + Write> Connection for S {}

impl Running {
    /// A stream to the server.
    pub fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let addr = self.endpoint.to_addr().expect("a bound endpoint is an address");
        if let Some(unix) = addr.as_unix() {
            let stream = UnixStream::connect(unix.as_path().expect("we bound a path"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            return Ok(Box::new(stream));
        }
        let stream = TcpStream::connect(self.ip())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Box::new(stream))
    }

    /// A datagram socket connected to the server.
    #[allow(dead_code, reason = "not every bench speaks datagrams")]
    pub fn connect_udp(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.ip())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn ip(&self) -> SocketAddr {
        *self.endpoint.to_addr().as_ref().and_then(|addr| addr.as_ip()).expect("an IP endpoint")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let accepting = match &mut self.end {
            End::Sockeye(server) => {
                server.stop(PATIENCE);
                server.join().expect("the server has stopped");
                return;
            }
            End::Raw { stop, accepting } => {
                stop.store(true, Ordering::Relaxed);
                accepting.take().expect("it is dropped once")
            }
        };
        // A blocked accept or receive is woken by what it waits for.
        if self.endpoint.transport() == Transport::Udp {
            let woken = self.connect_udp().and_then(|socket| socket.send(b""));
            woken.expect("the server still listens");
        } else {
            drop(self.connect().expect("the server still listens"));
        }
        accepting.join().expect("the raw server does not panic");
        if let Some(path) = self.endpoint.unix_addr().and_then(|unix| unix.as_path()) {
            std::fs::remove_file(path).expect("the raw server made it");
        }
    }
}

/// What most people write first: a thread for each connection, around read and write.
fn raw(transport: Transport, at: &str) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let (endpoint, accepting) = match transport {
        Transport::Unix => {
            let path = at.trim_start_matches("unix://");
            let listener = UnixListener::bind(path).expect("a free path");
            let accepting = thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::spawn(|| echo(stream));
                }
            });
            (at.to_owned(), accepting)
        }
        Transport::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let endpoint = format!("udp://{}", socket.local_addr().expect("it is bound"));
            let accepting = thread::spawn(move || {
                let mut buffer = [0; BUFFER_BYTES];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let _ = socket.send_to(&buffer[..length], from);
                }
            });
            (endpoint, accepting)
        }
        _ => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let endpoint = format!("tcp://{}", listener.local_addr().expect("it is bound"));
            let accepting = thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let _ = stream.set_nodelay(true);
                    thread::spawn(|| echo(stream));
                }
            });
            (endpoint, accepting)
        }
    };
    let endpoint = endpoint.parse().expect("we wrote it");
    Running { endpoint, end: End::Raw { stop, accepting: Some(accepting) } }
}

/// Ends when the client does.
fn echo(mut stream: impl Read + Write) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn socket_path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sockeye-bench-{}-{number}.sock", process::id()))
}
