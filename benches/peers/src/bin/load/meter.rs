//! When to measure, and what was measured.

use super::{Failure, Options};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Counts messages from the end of the warm-up to the end of the run.
pub struct Meter {
    pid: u32,
    warm_until: Instant,
    end: Instant,
    begun: Option<Begun>,
    messages: u64,
    lost: u64,
    latencies: Histogram<u32>,
    heard: Instant,
}

/// The state of the clocks when measuring began.
struct Begun {
    at: Instant,
    server: Duration,
    client: Duration,
}

impl Meter {
    pub fn new(options: &Options) -> Result<Meter, Failure> {
        let now = Instant::now();
        let warm_until = now + Duration::from_secs_f64(options.warm_up);
        Ok(Meter {
            pid: options.pid,
            warm_until,
            end: warm_until + Duration::from_secs_f64(options.seconds),
            begun: None,
            messages: 0,
            lost: 0,
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            heard: now,
        })
    }

    /// A message that could have been sent at `since` is back.
    pub fn message(&mut self, since: Instant, now: Instant) {
        self.heard = now;
        if self.begun.is_some() {
            self.messages += 1;
            self.latencies.saturating_record((now - since).as_nanos() as u64);
        }
    }

    /// Messages that will not come back.
    pub fn lost(&mut self, count: usize) {
        if self.begun.is_some() {
            self.lost += count as u64;
        }
    }

    /// Whether to go on; begins measuring when the time has come.
    pub fn goes_on(&mut self, now: Instant) -> Result<bool, Failure> {
        if self.begun.is_none() && now >= self.warm_until {
            self.begun = Some(Begun {
                at: Instant::now(),
                server: peers::cpu::time_of(self.pid)?,
                client: peers::cpu::time_of(std::process::id())?,
            });
        }
        if now.duration_since(self.heard) > super::SILENCE {
            return Err("the server says nothing".into());
        }
        Ok(now < self.end)
    }

    pub fn json(self, mode: &str) -> Result<String, Failure> {
        let server = peers::cpu::time_of(self.pid)?;
        let client = peers::cpu::time_of(std::process::id())?;
        let begun = self.begun.ok_or("the run ended before it began")?;
        let took = begun.at.elapsed().as_secs_f64();
        let (server, client) = (server - begun.server, client - begun.client);
        if self.messages == 0 {
            return Err("no message came back".into());
        }
        let messages = self.messages as f64;
        let at = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(format!(
            "{{\"mode\":\"{mode}\",\"messages\":{},\"seconds\":{took:.4},\"rate\":{:.0},\
             \"server_ns\":{:.1},\"server_share\":{:.3},\"client_ns\":{:.1},\"lost\":{},\
             \"p50_us\":{:.1},\"p90_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1}}}",
            self.messages,
            messages / took,
            server.as_nanos() as f64 / messages,
            server.as_secs_f64() / took,
            client.as_nanos() as f64 / messages,
            self.lost,
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            self.latencies.max() as f64 / 1e3,
        ))
    }
}
