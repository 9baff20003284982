//! What rides on a stream and ends reads early: urgent bytes, and descriptors on Unix sockets. The bytes
//! around it all arrive.

mod matrix;

use matrix::{Cell, Kind, Wire, on_kinds, stop};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sockeye::codec::Lines;
use sockeye::handler::{Context, Handler, Outcome};
use sockeye::server::{Server, ServerHandle};
use sockeye::socket::UnixListener;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

on_kinds! { an_urgent_byte_loses_no_data_around_it [tcp4 Tcp4, tcp6 Tcp6, unix Unix] }
on_kinds! { an_urgent_byte_loses_no_data_while_the_handler_is_paused [tcp4 Tcp4, tcp6 Tcp6, unix Unix] }
on_kinds! { an_urgent_byte_loses_no_data_while_the_server_is_busy [tcp4 Tcp4, tcp6 Tcp6, unix Unix] }
on_kinds! { a_descriptor_loses_no_data_around_it [unix Unix] }
on_kinds! { a_descriptor_loses_no_data_where_it_is_let_through [unix Unix] }
on_kinds! { an_end_behind_data_is_seen [tcp4 Tcp4, tcp6 Tcp6, unix Unix, memory Memory] }

fn echo(cell: &Cell) -> ServerHandle {
    let echo = |line: &str, cx: &mut Context<'_, Lines>| cx.send(line);
    cell.server().codec(Lines::default()).serve(echo).unwrap()
}

/// Sends a byte that overtakes the others, if the kernel has such on this kind of socket.
fn urgent(client: &Wire, byte: u8) {
    let sent = match client {
        Wire::Tcp(stream) => socket2::SockRef::from(stream).send_out_of_band(&[byte]),
        Wire::Unix(stream) => socket2::SockRef::from(stream).send_out_of_band(&[byte]),
        Wire::Memory(_) => panic!("memory has no urgent data"),
    };
    match (sent, client) {
        (Ok(sent), _) => assert_eq!(sent, 1),
        // Since Linux 5.15, and only where the kernel is built with it.
        (Err(error), Wire::Unix(_)) => assert_eq!(error.raw_os_error(), Some(95), "{error}"),
        (Err(error), _) => panic!("{error}"),
    }
}

fn an_urgent_byte_loses_no_data_around_it(cell: &Cell) {
    let server = echo(cell);
    let mut client = cell.connect(&server);
    for round in 0..50 {
        client.say(&format!("before {round}, "));
        urgent(&client, b'!');
        client.say(&format!("after {round}\n"));
        assert_eq!(client.hear().unwrap(), format!("before {round}, after {round}"));
        if cell.kind != Kind::Unix {
            // Another one moves the mark; on Unix the old byte may turn into data by that.
            urgent(&client, b'!');
        }
    }
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), "");
    stop(&server);
}

struct Pausing;

impl Handler<Lines> for Pausing {
    fn on_frame(&mut self, line: &str, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.send(line);
        if line.starts_with("pause") {
            cx.pause();
            cx.set_timer(Duration::from_millis(5));
        }
        Ok(())
    }
    fn on_timer(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
        cx.resume();
        Ok(())
    }
}

fn an_urgent_byte_loses_no_data_while_the_handler_is_paused(cell: &Cell) {
    let server = cell.server().codec(Lines::default()).serve_with(|_| Pausing).unwrap();
    let mut client = cell.connect(&server);
    for round in 0..20 {
        client.say("pause\n");
        assert_eq!(client.hear().unwrap(), "pause");
        client.say(&format!("one {round}\ntw"));
        urgent(&client, b'!');
        client.say(&format!("o {round}\npause for {round}\nthree {round}\n"));
        for line in ["one", "two", "pause for", "three"] {
            assert_eq!(client.hear().unwrap(), format!("{line} {round}"));
        }
    }
    drop(client);
    stop(&server);
}

/// A server whose handlers wait at a gate, so that what others send meanwhile is found all at once.
fn gated(server: Server<(), sockeye::engine::AnyEngine>) -> (ServerHandle, Arc<Mutex<()>>) {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.clone();
    let server = server.codec(Lines::default()).serve(move |line, cx| {
        cx.send(line);
        if line == "wait" {
            drop(closed.lock());
        }
    });
    (server.unwrap(), gate)
}

/// Has every worker wait while `act` is done, then goes on.
fn while_busy<T>(
    cell: &Cell,
    server: &ServerHandle,
    gate: &Mutex<()>,
    act: impl FnOnce() -> T,
) -> T {
    let shut = gate.lock().unwrap();
    let mut others: Vec<_> = (0..8).map(|_| cell.connect(server)).collect();
    others.iter_mut().for_each(|other| other.say("wait\n"));
    let done = act();
    drop(shut);
    for other in &mut others {
        assert_eq!(other.hear().unwrap(), "wait");
    }
    done
}

fn an_urgent_byte_loses_no_data_while_the_server_is_busy(cell: &Cell) {
    let (server, gate) = gated(cell.server());
    let mut client = cell.connect(&server);
    for round in 0..10 {
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        while_busy(cell, &server, &gate, || {
            client.say(&format!("one {round}\ntw"));
            urgent(&client, b'!');
            client.say(&format!("o {round}\nthree {round}\n"));
        });
        for line in ["one", "two", "three"] {
            assert_eq!(client.hear().unwrap(), format!("{line} {round}"));
        }
    }
    drop(client);
    stop(&server);
}

/// Sends bytes with a descriptor, or without it if the kernel lets none through.
fn with_descriptor(client: &mut Wire, bytes: &[u8]) -> bool {
    let Wire::Unix(stream) = &*client else { panic!("only Unix sockets carry descriptors") };
    let stdin = io::stdin();
    let descriptors: [BorrowedFd<'_>; 1] = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut riders = SendAncillaryBuffer::new(&mut space);
    assert!(riders.push(SendAncillaryMessage::ScmRights(&descriptors)));
    match sendmsg(stream, &[IoSlice::new(bytes)], &mut riders, SendFlags::empty()) {
        Ok(sent) => assert_eq!(sent, bytes.len()),
        Err(rustix::io::Errno::PERM) => {
            client.write_all(bytes).unwrap();
            return false;
        }
        Err(error) => panic!("{error}"),
    }
    true
}

fn a_descriptor_loses_no_data_around_it(cell: &Cell) {
    let (server, gate) = gated(cell.server());
    riders(cell, &server, &gate);
    stop(&server);
}

/// The program's own listener keeps the settings that it has.
fn a_descriptor_loses_no_data_where_it_is_let_through(cell: &Cell) {
    let path = cell.endpoint().strip_prefix("unix://").unwrap().to_owned();
    let listener = UnixListener::bind(std::path::Path::new(&path)).unwrap();
    let (server, gate) = gated(Server::on(listener).engine(cell.engine()));
    assert_eq!(riders(cell, &server, &gate), 40, "every descriptor is let through");
    stop(&server);
}

fn riders(cell: &Cell, server: &ServerHandle, gate: &Mutex<()>) -> usize {
    let mut client = cell.connect(server);
    let mut passed = 0;
    for round in 0..10 {
        client.say(&format!("plain {round}, "));
        passed += usize::from(with_descriptor(&mut client, b"with one, "));
        client.say("plain again\n");
        assert_eq!(client.hear().unwrap(), format!("plain {round}, with one, plain again"));
        while_busy(cell, server, gate, || {
            for line in ["one", "two", "three"] {
                passed += usize::from(with_descriptor(&mut client, line.as_bytes()));
                client.say(&format!(" {round}\n"));
            }
        });
        for line in ["one", "two", "three"] {
            assert_eq!(client.hear().unwrap(), format!("{line} {round}"));
        }
    }
    passed
}

fn an_end_behind_data_is_seen(cell: &Cell) {
    let (server, gate) = gated(cell.server());
    for _ in 0..10 {
        let mut client = cell.connect(&server);
        client.say("hello\n");
        assert_eq!(client.hear().unwrap(), "hello");
        while_busy(cell, &server, &gate, || {
            client.say("one\ntwo\n");
            client.shutdown(Shutdown::Write);
        });
        assert_eq!(client.rest(), "one\ntwo\n");
    }
    let report = stop(&server);
    assert_eq!(report.counters.open, 0);
}
