//! System calls that fail on demand, without a hook in the library.
//!
//! [`Faults::among`] runs its closure on a thread whose calls of some kinds, and those of all threads that it
//! starts, come to this process before they come to the kernel: seccomp(2) with user notification, Linux
//! 5.5. Each is failed with the error that the test chose, or let through. Where there is no right to
//! that, the test says so past the harness, as those do that need namespaces.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(unsafe_code, reason = "neither std nor rustix has seccomp")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

/// What system calls of some kinds do in the threads of one server.
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    over: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Plan {
    /// These first, one for each call,
    next: VecDeque<i32>,
    /// and then this one, until it is taken back,
    always: Option<i32>,
    /// or for every second call only.
    sparing: bool,
    spared: bool,
    failed: u64,
}

impl Faults {
    /// What `make` makes, and how to make calls with these numbers of its threads fail. `None` where the system does not
    /// allow it. The threads must be gone before the faults are dropped.
    pub fn among<T: Send + 'static>(
        test: &str,
        numbers: &'static [libc::c_long],
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Option<(T, Faults)> {
        let (tell, told) = mpsc::channel();
        let watched = thread::spawn(move || {
            let calls = watch(numbers);
            let allowed = calls.is_ok();
            tell.send(calls).unwrap();
            allowed.then(make)
        });
        let calls = match told.recv().unwrap() {
            Ok(calls) => calls,
            Err(error) => {
                watched.join().unwrap();
                not_run(test, &error);
                return None;
            }
        };
        let (plan, over) = (Arc::<Mutex<Plan>>::default(), Arc::<AtomicBool>::default());
        let (theirs, ends) = (plan.clone(), over.clone());
        let answering = Some(thread::spawn(move || answer(&calls, &theirs, &ends)));
        let faults = Faults { plan, over, answering };
        Some((watched.join().unwrap().expect("it was allowed"), faults))
    }

    /// Fails the next call with this error.
    pub fn once(&self, error: i32) {
        self.plan.lock().unwrap().next.push_back(error);
    }

    /// Fails all calls with this error, until told otherwise.
    pub fn always(&self, error: Option<i32>) {
        let mut plan = self.plan.lock().unwrap();
        (plan.always, plan.sparing) = (error, false);
    }

    /// Fails every second call with this error, the next one first.
    pub fn every_other(&self, error: i32) {
        let mut plan = self.plan.lock().unwrap();
        (plan.always, plan.sparing, plan.spared) = (Some(error), true, true);
    }

    /// How many calls have failed, and how many of those announced singly have not yet.
    pub fn counts(&self) -> (u64, usize) {
        let plan = self.plan.lock().unwrap();
        (plan.failed, plan.next.len())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let answered = self.answering.take().expect("it is taken here alone").join();
        assert!(answered.is_ok() || thread::panicking(), "the faults have failed");
    }
}

/// Has such calls of this thread, and of those that it starts, shown at the descriptor.
fn watch(numbers: &[libc::c_long]) -> io::Result<OwnedFd> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // The number of the call, which is the first field of `seccomp_data`.
    let mut steps = vec![step((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0)];
    for number in numbers {
        steps.push(step((libc::BPF_JMP | libc::BPF_JEQ) as u16, 0, 1, *number as u32));
        steps.push(step(libc::BPF_RET as u16, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    steps.push(step(libc::BPF_RET as u16, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: it takes numbers only, and gives up rights of this thread that the tests do not use.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program and its steps live until the call returns, which copies them.
    let descriptor = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has returned a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Answers calls until the last thread that makes them is gone, or the test is over.
fn answer(calls: &OwnedFd, plan: &Mutex<Plan>, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let mut polled = [PollFd::from_borrowed_fd(calls.as_fd(), PollFlags::IN)];
        let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        match poll(&mut polled, Some(&pause)) {
            Ok(1) if polled[0].revents().contains(PollFlags::IN) => answer_one(calls, plan),
            Ok(1) => return,
            _ => {}
        }
    }
}

fn answer_one(calls: &OwnedFd, plan: &Mutex<Plan>) {
    // SAFETY: a struct of numbers, of which zero is one. The kernel wants zeros.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the call writes one such struct.
    if unsafe { libc::ioctl(calls.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0
    {
        return; // the caller is gone
    }
    let error = {
        let mut plan = plan.lock().unwrap();
        plan.spared = plan.sparing && !plan.spared;
        let always = if plan.spared { None } else { plan.always };
        let error = plan.next.pop_front().or(always);
        plan.failed += u64::from(error.is_some());
        error
    };
    let flags = if error.is_none() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let answer =
        libc::seccomp_notif_resp { id: call.id, val: 0, error: -error.unwrap_or(0), flags };
    // SAFETY: the descriptor is open, and the call reads one such struct.
    unsafe { libc::ioctl(calls.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
}

fn not_run(test: &str, why: &io::Error) {
    let line = format!("\n******** NOT RUN: {test}: seccomp: {why} ********\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("SOCKEYE_NOT_RUN") {
        let mut list = File::options().append(true).create(true).open(path).unwrap();
        writeln!(list, "{test}").unwrap();
    }
    let required = std::env::var("SOCKEYE_NAMESPACES").is_ok_and(|value| value == "required");
    assert!(!required, "{test} needs seccomp: {why}");
}
