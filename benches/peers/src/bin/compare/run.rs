//! Starts a server and a load, and reads what the load says.

use super::Failure;
use super::cells::{Cell, Server};
use peers::protocol::Service;
use peers::{Transport, cpu};
use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What one load has measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub server_ns: f64,
    pub client_ns: f64,
    pub server_share: f64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub lost: f64,
}

/// Where the binaries are, what the processes run on, and a directory for sockets.
pub struct Bench {
    binaries: PathBuf,
    sockets: PathBuf,
    seconds: f64,
    /// All processors, as it was; the server's; the load's.
    cpus: Vec<usize>,
    server_cpu: Option<usize>,
    load_cpu: Option<usize>,
    started: usize,
}

/// A process that is killed and waited for when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a load may take beyond its own time: connecting, and a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

impl Bench {
    pub fn new(seconds: f64) -> Result<Bench, Failure> {
        let binaries = std::env::current_exe()?.parent().ok_or("compare has no folder")?.to_owned();
        let sockets = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
        fs::create_dir(&sockets)?;
        let cpus = cpu::allowed();
        let (server_cpu, load_cpu) = match cpus.as_slice() {
            [first, second, ..] => (Some(*first), Some(*second)),
            _ => (None, None),
        };
        Ok(Bench { binaries, sockets, seconds, cpus, server_cpu, load_cpu, started: 0 })
    }

    /// Which processors server and load have for themselves.
    pub fn pinned(&self) -> Option<(usize, usize)> {
        self.server_cpu.zip(self.load_cpu)
    }

    /// Fails unless the server answers right, in everything that it is measured in.
    pub fn check(&mut self, server: &Server) -> Result<(), Failure> {
        let checks = [
            (Transport::Tcp, Service::Echo),
            (Transport::Tcp, Service::Reverse),
            (Transport::Tcp, Service::Fan),
            (Transport::Unix, Service::Echo),
            (Transport::Udp, Service::Echo),
            (Transport::Udp, Service::Reverse),
        ];
        for (transport, service) in checks {
            if !server.knows(transport) {
                continue;
            }
            let (_process, at) = self.serve(server, transport, service, 8 * 1024)?;
            let (over, name) = (transport.name(), service.name());
            let arguments = ["check", &at, "--over", over, "--service", name];
            self.load(&arguments, Duration::ZERO)
                .map_err(|error| format!("{}, {name} over {over}: {error}", server.name))?;
        }
        Ok(())
    }

    pub fn measure(&mut self, cell: &Cell, server: &Server) -> Result<Outcome, Failure> {
        let (process, at) = self.serve(server, cell.transport, cell.service, cell.buffer)?;
        let (pid, seconds) = (process.0.id().to_string(), self.seconds.to_string());
        let mut arguments: Vec<&str> = cell.load.split(' ').collect();
        arguments.insert(1, &at);
        arguments.extend(["--pid", &pid, "--seconds", &seconds]);
        let json = self.load(&arguments, Duration::from_secs_f64(self.seconds))?;
        Ok(Outcome {
            server_ns: number(&json, "server_ns")?,
            client_ns: number(&json, "client_ns")?,
            server_share: number(&json, "server_share")?,
            rate: number(&json, "rate")?,
            p50_us: number(&json, "p50_us")?,
            p99_us: number(&json, "p99_us")?,
            lost: number(&json, "lost")?,
        })
    }

    /// How many connections were open, and the bytes that each took of the server's memory.
    pub fn idle(&mut self, server: &Server) -> Result<(usize, f64), Failure> {
        let count = peers::raise_descriptors().saturating_sub(100).clamp(1, server.idle);
        let (process, at) = self.serve(server, Transport::Tcp, Service::Echo, 8 * 1024)?;
        let (pid, connections) = (process.0.id().to_string(), count.to_string());
        let arguments = ["idle", &at, "--pid", &pid, "--connections", &connections];
        let json = self.load(&arguments, Duration::from_secs(60))?;
        Ok((count, number(&json, "bytes_each")?))
    }

    /// Starts a server on an endpoint that is free.
    fn serve(
        &mut self,
        server: &Server,
        transport: Transport,
        service: Service,
        buffer: usize,
    ) -> Result<(Process, String), Failure> {
        self.started += 1;
        let at = match transport {
            Transport::Unix => {
                let path = self.sockets.join(format!("{}.sock", self.started));
                path.to_str().ok_or("the temporary folder's name is no text")?.to_owned()
            }
            Transport::Tcp => TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string(),
            Transport::Udp => UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string(),
        };
        let mut command = Command::new(self.binaries.join(server.binary));
        command.args([transport.name(), at.as_str(), service.name()]).args(server.engine);
        command.env("BUF", buffer.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = self.start_on(self.server_cpu, command)?;
        Ok((process, at))
    }

    /// Runs a load to its end, and returns the line that it prints.
    fn load(&self, arguments: &[&str], takes: Duration) -> Result<String, Failure> {
        let mut command = Command::new(self.binaries.join("load"));
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.start_on(self.load_cpu, command)?;
        let deadline = Instant::now() + takes + PATIENCE;
        let status = loop {
            if let Some(status) = process.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err("the load does not end".into());
            }
            thread::sleep(Duration::from_millis(10));
        };
        // Both are a line long, so that the load has not waited for us to read them.
        let (mut line, mut error) = (String::new(), String::new());
        process.0.stdout.take().ok_or("there is a pipe")?.read_to_string(&mut line)?;
        process.0.stderr.take().ok_or("there is a pipe")?.read_to_string(&mut error)?;
        if status.success() { Ok(line) } else { Err(error.trim().into()) }
    }

    /// A process inherits the processors of the thread that starts it.
    fn start_on(&self, cpu: Option<usize>, mut command: Command) -> Result<Process, Failure> {
        if let Some(cpu) = cpu {
            cpu::pin(&[cpu])?;
        }
        let started = command.spawn();
        if cpu.is_some() {
            cpu::pin(&self.cpus)?;
        }
        let program = command.get_program().to_string_lossy();
        Ok(Process(started.map_err(|error| format!("{program}: {error}"))?))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

/// The number behind a key of one flat JSON object.
fn number(json: &str, key: &str) -> Result<f64, Failure> {
    let (_, rest) = json.split_once(&format!("\"{key}\":")).ok_or(format!("no {key} in {json}"))?;
    let end = rest.find([',', '}']).ok_or("the line is cut")?;
    Ok(rest[..end].parse()?)
}
