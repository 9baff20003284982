//! Tests of both buffers.

use super::*;

fn push(out: &mut Out, as_datagram: bool, bytes: &[u8]) {
    out.push(as_datagram, |to| {
        let start = to.len();
        to.extend_from_slice(bytes);
        Ok::<_, ()>(start..to.len())
    })
    .unwrap();
}

#[test]
fn buffers_start_on_a_page() {
    let mut scratch = Scratch::new(100);
    assert_eq!(scratch.as_mut().as_ptr() as usize % PAGE, 0);
    let mut out = Out::new(1024);
    push(&mut out, false, b"x");
    assert_eq!(out.unsent(&[]).as_ptr() as usize % PAGE, 0);
    out.clear();
    push(&mut out, false, b"y");
    assert_eq!(out.unsent(&[]).as_ptr() as usize % PAGE, 0);
    assert_eq!(out.unsent(&[]), b"y");
}

#[test]
fn a_failed_frame_leaves_nothing_behind() {
    let mut out = Out::new(1024);
    push(&mut out, false, b"good");
    let failed = out.push(false, |to| {
        to.extend_from_slice(b"half");
        Err::<Range<usize>, _>("no")
    });
    assert_eq!(failed.unwrap_err(), "no");
    assert_eq!(out.unsent(&[]), b"good");
}

#[test]
fn datagrams_keep_their_edges_when_output_moves() {
    let mut waiting = Out::new(1024);
    push(&mut waiting, true, b"one");
    push(&mut waiting, true, b"");
    assert_eq!(waiting.datagram(&[]), Some(&b"one"[..]));
    waiting.datagram_sent();
    let mut more = Out::new(1024);
    push(&mut more, true, b"dropped");
    push(&mut more, true, b"two");
    more.datagram_sent();
    waiting.append(&mut more);
    assert!(more.is_empty());
    assert_eq!(waiting.datagram(&[]), Some(&b""[..]));
    waiting.datagram_sent();
    assert_eq!(waiting.datagram(&[]), Some(&b"two"[..]));
    waiting.datagram_sent();
    assert!(waiting.is_empty());
    assert_eq!(waiting.datagram(&[]), None);
}

#[test]
fn bytes_of_the_input_are_lent_and_kept_when_it_goes() {
    let within = |bytes: &[u8]| bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len();
    let input: Vec<u8> = (0..300).map(|byte| byte as u8).collect();
    let lent = &input[10..210];
    let elsewhere = lent.to_vec();
    let mut out = Out::new(1024);
    assert!(!out.lend(&lent[..LOAN_BYTES_MIN - 1], &within(&input)), "too few");
    assert!(!out.lend(&elsewhere, &within(&input)), "bytes from elsewhere");
    assert!(!out.lend(&input, &within(lent)), "more than the input");
    assert!(out.is_empty());
    assert!(out.lend(lent, &within(&input)));
    assert!(!out.lend(lent, &within(&input)), "behind other output");
    assert_eq!((out.len(), out.unsent(&input)), (lent.len(), lent));
    out.sent(100);
    push(&mut out, false, b"more");
    assert_eq!(out.unsent(&input), &lent[100..]);
    out.join(&input);
    push(&mut out, false, b"and more");
    assert_eq!(out.unsent(&[]), [&lent[100..], b"more", b"and more"].concat());
    assert_eq!(out.unsent(&[]).len(), out.len());
    out.clear();
    assert!(out.lend(lent, &within(&input)));
    push(&mut out, false, b"more");
    out.sent(lent.len());
    assert_eq!(out.unsent(&input), b"more");
    out.sent(4);
    assert!(out.is_empty());
}

#[test]
fn a_datagram_that_is_lent_leaves_first_and_keeps_its_edges() {
    let input = [7; 100];
    let within = input.as_ptr() as usize..input.as_ptr() as usize + input.len();
    let mut out = Out::new(1024);
    push(&mut out, true, b"sent before");
    out.datagram_sent();
    assert!(out.lend(&input[..50], &within));
    push(&mut out, true, b"");
    push(&mut out, true, b"behind");
    assert!(!out.lend(&input, &within));
    out.join(&input);
    assert_eq!((out.datagrams(), out.datagram(&input)), (3, Some(&input[..50])));
    out.keep_loan(true, &input);
    for datagram in [&input[..50], b"", b"behind"] {
        assert_eq!(out.datagram(&[]), Some(datagram));
        out.datagram_sent();
    }
    assert!(out.is_empty());
    out.clear();
    assert!(out.lend(&input, &within));
    out.datagram_sent();
    assert!(out.is_empty() && out.datagrams() == 0);
}

#[test]
fn a_cut_keeps_whole_frames() {
    let mut out = Out::new(1024);
    push(&mut out, false, b"whole");
    let mark = out.mark();
    push(&mut out, false, b"half");
    out.cut(mark);
    assert_eq!(out.unsent(&[]), b"whole");
}

#[test]
fn output_that_never_runs_dry_keeps_no_more_than_what_waits() {
    let (mut waiting, mut more) = (Out::new(1024), Out::new(1024));
    push(&mut waiting, false, &[0; 1000]);
    for round in 0..10_000_u32 {
        waiting.sent(990);
        push(&mut more, false, &[round as u8; 990]);
        waiting.append(&mut more);
        assert_eq!(waiting.len(), 1000);
        assert_eq!(waiting.unsent(&[])[999], round as u8);
    }
    assert!(waiting.bytes.capacity() < 64 * 1024, "{} bytes", waiting.bytes.capacity());
    let mut waiting = Out::new(1024);
    push(&mut waiting, true, b"first");
    for round in 0..10_000_u32 {
        push(&mut more, true, &round.to_ne_bytes());
        waiting.append(&mut more);
        if round > 0 {
            assert_eq!(waiting.datagram(&[]), Some(&(round - 1).to_ne_bytes()[..]));
        }
        waiting.datagram_sent();
    }
    assert!(waiting.bytes.capacity() < 64 * 1024, "{} bytes", waiting.bytes.capacity());
    assert!(waiting.bodies.capacity() < 8192, "{} bodies", waiting.bodies.capacity());
}
