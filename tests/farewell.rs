//! The last words of a stopping server reach a client that goes on talking.

mod matrix;
use matrix::{Cell, PATIENCE, join};
use sockeye::codec::Lines;
use sockeye::handler::{Context, Handler, Outcome};
use sockeye::limits::Limits;
use std::io::{Read, Write};
use std::time::Duration;
matrix::on_streams! { farewell_while_the_client_talks }
struct Farewell;
impl Handler<Lines> for Farewell {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        Ok(())
    }
    fn on_stop(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        for n in 0..100 {
            cx.send(&format!("{n:05000}"));
        }
        cx.finish();
        Ok(())
    }
}
fn farewell_while_the_client_talks(cell: &Cell) {
    for round in 0..20 {
        let mut limits = Limits::default();
        limits.linger_timeout = PATIENCE; // the client may be slow to take it
        let server = cell.server().limits(limits).codec(Lines::default());
        let server = server.serve_with(|_| Farewell).unwrap();
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        server.stop(Duration::from_secs(60));
        let (mut total, mut piece) = (0, [0; 10_000]);
        let error = loop {
            match client.read(&mut piece) {
                Ok(0) => break None,
                Ok(n) => total += n,
                Err(e) => break Some(e),
            }
            let _ = client.write_all(b"too late\n");
        };
        assert_eq!(total, 500_100, "round {round}: {error:?}");
        drop(client);
        join(&server);
    }
}
