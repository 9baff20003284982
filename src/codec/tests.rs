//! What every codec keeps: the same frames however the input is cut, no more kept than the limit, and
//! what is sent is what arrives.
//!
//! Long because: all codecs are tried by the same reader, at each limit and at random.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// What a reader sees of an input.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Frame(Vec<u8>),
    Skipped,
    TooLong(usize),
    Truncated,
    Protocol,
}
use Seen::{Protocol, Skipped, Truncated};

fn frame(bytes: impl AsRef<[u8]>) -> Seen {
    Seen::Frame(bytes.as_ref().to_vec())
}

/// Reads as sessions do. Also says how much was kept for later at most.
fn read<C: Codec>(codec: &C, pieces: &[&[u8]], end: Edge) -> (Vec<Seen>, usize) {
    let (mut codec, mut kept, mut seen, mut kept_max) = (codec.clone(), Vec::new(), Vec::new(), 0);
    for step in 0..=pieces.len() {
        let edge = if step == pieces.len() { end } else { Edge::Open };
        kept.extend_from_slice(pieces.get(step).unwrap_or(&&[][..]));
        let mut fresh = edge == Edge::Message;
        while fresh || !kept.is_empty() {
            let found = codec.find(&kept, edge);
            fresh = false;
            let used = match found {
                Ok(Found::Frame { body, used }) => {
                    assert!(used <= kept.len() && body.end <= used);
                    seen.push(frame(&kept[body]));
                    used
                }
                Ok(Found::Skip { used, first }) => {
                    assert!((1..=kept.len()).contains(&used));
                    if first {
                        seen.push(Skipped);
                    }
                    used
                }
                Ok(Found::Need(need)) if edge == Edge::Open => {
                    assert!(need > kept.len());
                    break;
                }
                Ok(Found::Nothing) if edge == Edge::Open => break,
                Ok(Found::Need(_) | Found::Nothing) => panic!("an unfinished frame at the end"),
                Err(error) => {
                    seen.push(match error {
                        FrameError::TooLong { length, limit } => {
                            assert!(length > limit, "{length} over {limit}");
                            Seen::TooLong(limit)
                        }
                        FrameError::Truncated { bytes } => {
                            assert_eq!(bytes, kept);
                            Truncated
                        }
                        FrameError::Protocol(_) => Protocol,
                        other => panic!("{other}"),
                    });
                    return (seen, kept_max);
                }
            };
            kept.drain(..used);
        }
        kept_max = kept_max.max(kept.len());
    }
    (seen, kept_max)
}

fn all_at_once<C: Codec>(codec: &C, input: &[u8]) -> Vec<Seen> {
    read(codec, &[input], Edge::Eof).0
}

/// Whole, bytewise and in two pieces it is the same.
fn same<C: Codec>(codec: &C, input: &[u8], expected: &[Seen]) {
    assert_eq!(all_at_once(codec, input), expected);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(codec, &bytes, Edge::Eof).0, expected, "bytewise");
    for at in 0..=input.len() {
        let (one, two) = input.split_at(at);
        assert_eq!(read(codec, &[one, two], Edge::Eof).0, expected, "cut at {at}");
    }
}

fn message<C: Codec>(codec: &C, datagram: &[u8]) -> Vec<Seen> {
    read_message(&mut codec.clone(), datagram)
}

fn read_message<C: Codec>(codec: &mut C, datagram: &[u8]) -> Vec<Seen> {
    let (mut seen, mut at, mut fresh) = (Vec::new(), 0, true);
    while std::mem::take(&mut fresh) || at < datagram.len() {
        match codec.find(&datagram[at..], Edge::Message) {
            Ok(Found::Frame { body, used }) => {
                seen.push(frame(&datagram[at..][body]));
                at += used;
            }
            Ok(Found::Skip { used, first }) => {
                assert!(first && used > 0, "a datagram's frame is skipped at once");
                seen.push(Skipped);
                at += used;
            }
            Ok(other) => panic!("{other:?} at the end of a message"),
            Err(FrameError::TooLong { limit, .. }) => {
                return [seen, vec![Seen::TooLong(limit)]].concat();
            }
            Err(FrameError::Truncated { .. }) => return [seen, vec![Truncated]].concat(),
            Err(_) => return [seen, vec![Protocol]].concat(),
        }
    }
    seen
}

fn encode<C: Codec<Item = [u8]>>(codec: &C, items: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    for item in items {
        codec.encode(item, &mut out)?;
    }
    Ok(out)
}

// ---- Lines --------------------------------------------------------------------------------------

#[test]
fn lines_that_are_too_long_are_skipped_whatever_their_end() {
    let lines = Lines::at_most(4).oversize(Oversize::Skip);
    let input = b"abcd\nabcde\nabcd\r\nabcd\r\r\n0123456789\r\nend\n";
    let ends = [frame("abcd"), Skipped, frame("abcd"), Skipped, Skipped, frame("end")];
    same(&lines, input, &ends);
    same(&lines, b"a\n0123456789", &[frame("a"), Skipped]);
    same(&lines, b"a\n0123", &[frame("a"), Truncated]);
    same(&lines.clone().unterminated(true), b"a\n01234", &[frame("a"), Skipped]);
    let (seen, kept) = read(&lines, &[&b"x"[..]; 10_000], Edge::Eof);
    assert_eq!(seen, [Skipped]);
    assert!(kept <= 6, "{kept} bytes were kept");
    let mut lines = lines;
    assert_eq!(read_message(&mut lines, b"01234\nab"), [Skipped, frame("ab")]);
    assert_eq!(read_message(&mut lines, b"01234567"), [Skipped]);
    assert_eq!(read_message(&mut lines, b"ab"), [frame("ab")], "the next datagram is its own");
}

#[test]
fn only_lines_that_are_too_long_cut_a_connection() {
    let long = FrameError::TooLong { length: 5, limit: 4 };
    let lines = Lines::at_most(4);
    assert!(lines.clone().oversize(Oversize::Close).cuts(&long));
    assert!(!lines.clone().oversize(Oversize::Close).cuts(&FrameError::truncated(b"")));
    assert!(!lines.oversize(Oversize::Skip).cuts(&long));
    assert!(Delimited::by("\0", 4).oversize(Oversize::Close).cuts(&long));
    assert!(LengthDelimited::at_most(4).oversize(Oversize::Close).cuts(&long));
    assert!(!Fixed::of(4).cuts(&long));
}

// ---- Delimited ----------------------------------------------------------------------------------

#[test]
fn a_delimiter_ends_a_frame_of_up_to_the_limit() {
    for end in ["\0", "--", "<end>"] {
        let codec = Delimited::by(end, 4);
        let input = |body: &str| format!("{body}{end}rest{end}").into_bytes();
        for body in ["", "abc", "abcd"] {
            same(&codec, &input(body), &[frame(body), frame("rest")]);
        }
        same(&codec, &input("abcde"), &[Seen::TooLong(4)]);
        let skips = codec.clone().oversize(Oversize::Skip);
        for body in ["abcde", "abcdef", "abcdefghijklmnopqrst"] {
            same(&skips, &input(body), &[Skipped, frame("rest")]);
        }
        let kept = codec.keep(true);
        same(&kept, &input("abcd"), &[frame(format!("abcd{end}")), frame(format!("rest{end}"))]);
        same(&kept, &input("abcde"), &[Seen::TooLong(4)]);
    }
}

#[test]
fn the_delimiter_that_ends_first_wins_and_of_two_the_longer() {
    let codec = Delimited::by_any(["\n", "\r\n", "ab", "abc", "xab"], 8);
    same(&codec, b"1\r\n2\n\r3\n", &[frame("1"), frame("2"), frame("\r3")]);
    same(&codec, b"1ab2abc\n", &[frame("1"), frame("2"), frame("c")]);
    same(&codec, b"1xab\n", &[frame("1"), frame("")]);
    same(&Delimited::by("aa", 4), b"aaaaa", &[frame(""), frame(""), Truncated]);
}

#[test]
fn an_end_of_input_is_no_delimiter() {
    let codec = Delimited::by("\r\n", 4);
    same(&codec, b"abc", &[Truncated]);
    same(&codec, b"ab\r\nc\r", &[frame("ab"), Truncated]);
    same(&codec, b"", &[]);
    assert_eq!(message(&codec, b""), [Truncated]);
    assert_eq!(message(&codec, b"ab\r\n\r\nx"), [frame("ab"), frame(""), Truncated]);
    let skips = codec.oversize(Oversize::Skip);
    same(&skips, b"ab\r\nabcdefgh", &[frame("ab"), Skipped]);
    assert_eq!(message(&skips, b"abcdefgh\r\nab\r\n"), [Skipped, frame("ab")]);
    let mut skips = skips;
    assert_eq!(read_message(&mut skips, b"abcdefgh"), [Skipped]);
    assert_eq!(read_message(&mut skips, b"ab\r\n"), [frame("ab")], "the next datagram is its own");
}

#[test]
fn an_endless_frame_is_not_kept() {
    let codec = Delimited::by_any(["<end>", "\n"], 4).oversize(Oversize::Skip);
    let mut pieces = [&b"<en"[..]; 10_000];
    pieces[9_999] = b"<end>ab\n";
    let (seen, kept) = read(&codec, &pieces, Edge::Eof);
    assert_eq!(seen, [Skipped, frame("ab")]);
    assert!(kept <= 4 + 5, "{kept} bytes were kept");
}

#[test]
fn what_would_arrive_as_something_else_is_not_sent() {
    let codec = Delimited::by_any(["\n", "\r\n"], 4);
    assert_eq!(encode(&codec, &[b"abcd", b""]).unwrap(), b"abcd\n\n");
    assert!(matches!(encode(&codec, &[b"a\nb"]), Err(FrameError::Delimiter { at: 1 })));
    assert!(matches!(encode(&codec, &[b"abc\r"]), Err(FrameError::Delimiter { at: 3 })));
    assert!(matches!(
        encode(&codec, &[b"abcde"]),
        Err(FrameError::TooLong { length: 5, limit: 4 })
    ));
    let doubled = Delimited::by("aa", 4);
    assert!(matches!(encode(&doubled, &[b"xa"]), Err(FrameError::Delimiter { at: 1 })));
    let kept = codec.keep(true);
    assert_eq!(encode(&kept, &[b"abcd\r\n", b"\n"]).unwrap(), b"abcd\r\n\n");
    assert!(matches!(encode(&kept, &[b"abcd"]), Err(FrameError::Protocol(_))));
    assert!(matches!(encode(&kept, &[b"a\nb\n"]), Err(FrameError::Delimiter { at: 1 })));
    assert!(matches!(encode(&kept, &[b"abcde\n"]), Err(FrameError::TooLong { .. })));
}

#[test]
fn no_byte_is_looked_for_twice() {
    let mut input = vec![b'x'; 1 << 16];
    let mut lines = Lines::at_most(1 << 21);
    let mut one = Delimited::by("\r\n", 1 << 21);
    let mut two = Delimited::by_any(["\r\n", "\0"], 1 << 21);
    for end in 1..=input.len() {
        assert_eq!(lines.find(&input[..end], Edge::Open).unwrap(), Found::Nothing);
        assert_eq!(one.find(&input[..end], Edge::Open).unwrap(), Found::Nothing);
        assert_eq!(two.find(&input[..end], Edge::Open).unwrap(), Found::Nothing);
        // Every delimiter, where all have looked: who looks again finds it.
        if let Some(seen) = end.checked_sub(8) {
            input[seen..seen + 3].copy_from_slice(b"\r\n\0");
        }
    }
    for mut codec in [Delimited::by("\r\n", 1 << 21), Delimited::by("\0", 1 << 21)] {
        assert_ne!(codec.find(&input, Edge::Open).unwrap(), Found::Nothing);
    }
}

#[test]
#[should_panic(expected = "no delimiter is empty")]
fn an_empty_delimiter_is_refused() {
    let _ = Delimited::by_any(["\n", ""], 4);
}

// ---- LengthDelimited ----------------------------------------------------------------------------

#[test]
fn a_length_of_up_to_the_limit_passes() {
    let codec = LengthDelimited::at_most(4);
    for body in ["", "abc", "abcd"] {
        let input = encode(&codec, &[body.as_bytes(), b"z"]).unwrap();
        same(&codec, &input, &[frame(body), frame("z")]);
    }
    same(&codec, b"\0\0\0\x05abcde", &[Seen::TooLong(4)]);
    same(&codec, b"\0\0\0\x04abc", &[Truncated]);
    same(&codec, b"\0\0\0", &[Truncated]);
    assert!(matches!(
        encode(&codec, &[b"abcde"]),
        Err(FrameError::TooLong { length: 5, limit: 4 })
    ));
    let skips = codec.clone().oversize(Oversize::Skip);
    same(&skips, b"\0\0\0\x05abcde\0\0\0\x01z", &[Skipped, frame("z")]);
    same(&skips, b"\0\0\0\x05abc", &[Skipped]);
    assert_eq!(message(&codec, b"\0\0\0\x01a\0\0\0\0"), [frame("a"), frame("")]);
    assert_eq!(message(&codec, b""), [Truncated]);
    assert_eq!(message(&codec, b"\0\0\0\x02a"), [Truncated]);
    let mut skips = skips;
    assert_eq!(read_message(&mut skips, b"\0\0\0\x09a"), [Skipped]);
    assert_eq!(read_message(&mut skips, b"\0\0\0\x01a"), [frame("a")], "the next is its own");
}

#[test]
fn each_width_and_order_is_read_and_written() {
    for width in 1..=8 {
        for little in [false, true] {
            let builder = LengthDelimited::builder().width(width);
            let builder = if little { builder.little_endian() } else { builder };
            let codec = builder.build(100_000).unwrap();
            let longest = codec.frame_bytes_max();
            assert_eq!(longest, [255, 65_535, 100_000][width.min(3) - 1]);
            let body = vec![7; longest];
            let input = encode(&codec, &[&body, b"z"]).unwrap();
            assert_eq!(all_at_once(&codec, &input), [frame(&body), frame("z")]);
            let low_first: Vec<u8> = longest.to_le_bytes()[..width].to_vec();
            let high_first = low_first.iter().rev().copied().collect();
            assert_eq!(input[..width], if little { low_first } else { high_first });
            let long = vec![7; longest + 1];
            assert!(matches!(encode(&codec, &[&long]), Err(FrameError::TooLong { .. })));
        }
    }
}

#[test]
fn the_largest_lengths_do_not_overflow() {
    for adjustment in [i64::MIN, -13, -12, 0, 12, i64::MAX] {
        for (width, offset, strip) in [(8, 4, 0), (8, 4, 12), (4, 8, 20), (8, 4, 3)] {
            let builder = LengthDelimited::builder().width(width).offset(offset).strip(strip);
            for max in [0, 1000, usize::MAX] {
                let Ok(codec) = builder.adjustment(adjustment).build(max) else { continue };
                for byte in [0x00, 0x7F, 0x80, 0xFF] {
                    let input = [byte; 24];
                    all_at_once(&codec, &input);
                    all_at_once(&codec.clone().oversize(Oversize::Skip), &input);
                }
            }
        }
    }
    let widest = LengthDelimited::builder().width(8).build(usize::MAX).unwrap();
    assert_eq!(all_at_once(&widest, &[0xFF; 8]), [Seen::TooLong(isize::MAX as usize - 8)]);
    let most = widest.clone().find(&[0xFF; 8], Edge::Open);
    let Err(FrameError::TooLong { length, .. }) = most else { panic!("{most:?}") };
    assert_eq!(length, usize::try_from(u64::MAX).unwrap_or(usize::MAX));
}

#[test]
fn lengths_that_no_frame_can_have_are_errors() {
    // The length counts itself.
    let codec = LengthDelimited::builder().width(2).adjustment(-2).build(100).unwrap();
    same(&codec, b"\0\x02\0\x03a", &[frame(""), frame("a")]);
    same(&codec, b"\0\x01", &[Protocol]);
    // Two bytes behind the length are stripped too.
    let codec = LengthDelimited::builder().width(1).strip(3).build(100).unwrap();
    same(&codec, b"\x02--\x03--a", &[frame(""), frame("a")]);
    same(&codec, b"\x01-", &[Protocol]);
}

#[test]
fn headers_that_make_no_frames_are_refused() {
    let builder = LengthDelimited::builder();
    assert!(builder.width(0).build(10).is_err() && builder.width(9).build(10).is_err());
    assert!(builder.offset(1).strip(2).build(10).is_err(), "a part of the length");
    assert!(builder.strip(0).build(3).is_err(), "a header does not fit");
    assert!(builder.strip(0).build(4).is_ok());
    assert!(builder.width(1).adjustment(-256).build(10).is_err(), "less than the header");
    assert!(builder.adjustment(11).build(10).is_err(), "more than the limit");
    assert!(builder.offset(usize::MAX).build(usize::MAX).is_err(), "longer than memory");
    assert!(builder.strip(usize::MAX).build(usize::MAX).is_err(), "longer than memory");
    assert_eq!(LengthDelimited::at_most(0).frame_bytes_max(), 0);
}

#[test]
fn a_length_within_the_frame_is_filled_in() {
    let builder = LengthDelimited::builder().offset(2).width(2).adjustment(-4).strip(0);
    let codec = builder.build(100).unwrap();
    assert_eq!(encode(&codec, &[b"OK??body"]).unwrap(), b"OK\0\x08body");
    assert!(matches!(encode(&codec, &[b"OK?"]), Err(FrameError::Protocol(_))));
    let codec = builder.strip(1).build(100).unwrap();
    assert_eq!(encode(&codec, &[b"K??body"]).unwrap(), b"\0K\0\x08body");
}

// ---- Fixed --------------------------------------------------------------------------------------

#[test]
fn frames_of_one_length() {
    let codec = Fixed::of(3);
    same(&codec, b"abcdef", &[frame("abc"), frame("def")]);
    same(&codec, b"abcde", &[frame("abc"), Truncated]);
    assert_eq!(message(&codec, b"abc"), [frame("abc")]);
    assert_eq!(message(&codec, b"ab"), [Truncated]);
    assert_eq!(message(&codec, b""), [Truncated]);
    assert_eq!(message(&codec, b"abcdef"), [Seen::TooLong(3)]);
    assert_eq!(encode(&codec, &[b"abc"]).unwrap(), b"abc");
    assert!(matches!(encode(&codec, &[b"ab"]), Err(FrameError::Protocol(_))));
    assert!(matches!(encode(&codec, &[b"abcd"]), Err(FrameError::Protocol(_))));
}

// ---- All of them, at random ---------------------------------------------------------------------

fn oversize() -> impl Strategy<Value = Oversize> {
    prop_oneof![Just(Oversize::Error), Just(Oversize::Skip), Just(Oversize::Close)]
}

/// Bytes of few kinds, so that delimiters and small lengths are often met.
fn input() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![8 => 0u8..5, 1 => Just(b'\n'), 1 => Just(b'\r'), 1 => any::<u8>()], 0..120)
}

fn delimited() -> impl Strategy<Value = (Vec<Vec<u8>>, Delimited)> {
    let delimiters = vec(vec(0u8..3, 1..4), 1..4);
    (delimiters, 0usize..12, any::<bool>(), oversize()).prop_map(
        |(delimiters, max, keep, oversize)| {
            let codec = Delimited::by_any(&delimiters, max).keep(keep).oversize(oversize);
            (delimiters, codec)
        },
    )
}

fn length_delimited() -> impl Strategy<Value = LengthDelimited> {
    let layout =
        (0usize..4, 1usize..=8, any::<bool>(), -12i64..12, proptest::option::of(0usize..14));
    (layout, 0usize..40, oversize()).prop_filter_map(
        "a header that makes frames",
        |((offset, width, little, adjustment, strip), max, oversize)| {
            let mut builder = LengthDelimited::builder().offset(offset).width(width);
            builder = builder.adjustment(adjustment);
            builder = if little { builder.little_endian() } else { builder };
            builder = strip.map_or(builder, |strip| builder.strip(strip));
            builder.build(max).ok().map(|codec| codec.oversize(oversize))
        },
    )
}

/// The same in pieces as at once, with less kept than a frame of the longest kind.
fn holds<C: Codec>(codec: &C, input: &[u8], cuts: &[prop::sample::Index], kept_max: usize) {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
    let whole = all_at_once(codec, input);
    assert_eq!(read(codec, &pieces, Edge::Eof).0, whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    let (bytewise, kept) = read(codec, &bytes, Edge::Eof);
    assert_eq!(bytewise, whole);
    assert!(kept <= kept_max, "{kept} bytes were kept, not {kept_max}");
}

/// What delimiters mean, in the simplest words.
fn by_definition(delimiters: &[Vec<u8>], input: &[u8]) -> (Vec<(usize, usize)>, usize) {
    let (mut frames, mut start) = (Vec::new(), 0);
    for end in 1..=input.len() {
        let ends = delimiters.iter().filter(|one| input[start..end].ends_with(one));
        if let Some(length) = ends.map(Vec::len).max() {
            frames.push((end - length - start, end - start));
            start = end;
        }
    }
    (frames, start)
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_cuts(
        max in 0usize..12, open in any::<bool>(), oversize in oversize(),
        input in input(), cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let codec = Lines::at_most(max).unterminated(open).oversize(oversize);
        holds(&codec, &input, &cuts, max + 2);
    }

    #[test]
    fn delimited_frames_do_not_depend_on_cuts(
        (delimiters, codec) in delimited(),
        input in input(), cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        holds(&codec, &input, &cuts, 12 + 3);
        let codec = Delimited::by_any(&delimiters, 1000);
        let (frames, rest) = by_definition(&delimiters, &input);
        let mut expected = Vec::new();
        let mut at = 0;
        for (end, used) in frames {
            expected.push(frame(&input[at..at + end]));
            at += used;
        }
        if rest < input.len() {
            expected.push(Truncated);
        }
        prop_assert_eq!(all_at_once(&codec, &input), expected);
    }

    #[test]
    fn delimited_frames_arrive_as_they_were_sent((_, codec) in delimited(), item in input()) {
        let mut out = Vec::new();
        if codec.encode(&item, &mut out).is_ok() {
            prop_assert_eq!(all_at_once(&codec, &out), [frame(&item)]);
            prop_assert_eq!(message(&codec, &out), [frame(&item)]);
        }
    }

    #[test]
    fn what_was_found_between_delimiters_can_be_sent((all, codec) in delimited(), input in input()) {
        let single = all.iter().all(|one| *one == all[0]);
        for seen in all_at_once(&codec, &input) {
            let Seen::Frame(body) = seen else { continue };
            let mut out = Vec::new();
            match codec.encode(&body, &mut out) {
                Ok(_) => prop_assert_eq!(all_at_once(&codec, &out), [frame(&body)]),
                // It came with another delimiter than the one that is sent.
                Err(error) => prop_assert!(!single, "{}", error),
            }
        }
    }

    #[test]
    fn length_delimited_frames_do_not_depend_on_cuts(
        codec in length_delimited(),
        input in input(), cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        holds(&codec, &input, &cuts, 40 + 14);
    }

    #[test]
    fn length_delimited_frames_arrive_as_they_were_sent(
        codec in length_delimited(), input in input(), item in input(),
    ) {
        // Whatever could be found can be sent, and what was sent is found: in each layout.
        let found = all_at_once(&codec, &input).into_iter().filter_map(|seen| match seen {
            Seen::Frame(body) => Some((body, true)),
            _ => None,
        });
        for (item, legal) in found.chain([(item, false)]) {
            let mut out = Vec::new();
            match codec.encode(&item, &mut out) {
                Ok(range) => {
                    prop_assert_eq!(range, 0..out.len());
                    let sent = all_at_once(&codec, &out);
                    let Ok([Seen::Frame(body)]) = <[Seen; 1]>::try_from(sent) else {
                        return Err(TestCaseError::fail("it arrived as something else"));
                    };
                    prop_assert_eq!(body.len(), item.len());
                    if legal {
                        prop_assert_eq!(body, item);
                    }
                }
                Err(error) => prop_assert!(!legal, "{}", error),
            }
        }
    }

    #[test]
    fn each_layout_has_a_frame_that_can_be_sent(codec in length_delimited()) {
        let longest = vec![3; codec.frame_bytes_max()];
        let mut out = Vec::new();
        prop_assert!(codec.encode(&longest, &mut out).is_ok());
        prop_assert!(matches!(&all_at_once(&codec, &out)[..], [Seen::Frame(_)]));
    }

    #[test]
    fn fixed_frames_do_not_depend_on_cuts(
        bytes in 1usize..20,
        input in input(), cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        holds(&Fixed::of(bytes), &input, &cuts, bytes);
    }
}

/// Where runs end is up to how the input came; what they are put together is not.
#[test]
fn runs_are_whole_lines_however_the_input_is_cut() {
    let codec = Runs::of(b'\n', 8);
    let input = b"one\ntwo\n\n1234567\nlast\n";
    assert_eq!(
        all_at_once(&codec, input),
        [frame("one\ntwo\n"), frame("\n"), frame("1234567\n"), frame("last\n")]
    );
    for at in 0..=input.len() {
        for cut in at..=input.len() {
            let pieces = [&input[..at], &input[at..cut], &input[cut..]];
            let (seen, kept) = read(&codec, &pieces, Edge::Eof);
            let mut whole = Vec::new();
            for run in seen {
                let Seen::Frame(bytes) = run else { panic!("{run:?}") };
                assert!(bytes.ends_with(b"\n") && bytes.len() <= 8);
                whole.extend(bytes);
            }
            assert_eq!((&whole[..], kept < 8), (&input[..], true), "{at} {cut}");
        }
    }
}

#[test]
fn a_run_has_a_limit_and_an_end() {
    let codec = Runs::of(b'\n', 4);
    same(&codec, b"abc\nabcd\n", &[frame("abc\n"), Seen::TooLong(4)]);
    assert_eq!(all_at_once(&codec, b"a\nb"), [frame("a\n"), Truncated]);
    let mut fresh = codec.clone();
    assert_eq!(fresh.find(b"", Edge::Eof).unwrap(), Found::Nothing);
    assert_eq!(message(&codec, b"a\nb"), [frame("a\nb")]);
    assert_eq!(message(&codec, b""), [frame("")]);
    assert_eq!(message(&codec, b"12345"), [Seen::TooLong(4)]);
    assert_eq!(encode(&codec, &[b"", b"a", b"b\nc\n"]).unwrap(), b"\na\nb\nc\n");
    assert!(encode(&codec, &[b"abcd"]).is_err(), "with its end it is too long");
    assert_eq!(
        (codec.as_is(b"a\n"), codec.as_is(b"a"), codec.as_is(b"abcd\n")),
        (Some(&b"a\n"[..]), None, None)
    );
}
