//! Where replies end: `ReplyScanner` against redis-protocol, whole and cut, valid and damaged.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_ambassador::resp::ReplyScanner;

use crate::bytes::{Bytes, cuts, pieces};
use crate::mutation::{damaged, mutations};
use crate::oracle::{self, Verdict};
use crate::property;
use crate::reply_frames::{Version, frame, version};

#[test]
fn replies_end_where_the_oracle_says_however_they_are_cut() {
    let streams = version().prop_flat_map(|version| (Just(version), vec(frame(version), 1..8), cuts()));
    property(&streams, |(version, frames, cuts)| {
        let mut ends = Vec::new();
        let mut end = 0;
        for frame in &frames {
            let verdict = oracle::frame(version, frame);
            prop_assert_eq!(verdict, Verdict::Complete(frame.len()), "{:?}", frame);
            end += frame.len();
            ends.push(end);
        }
        let stream = concat(&frames);
        let expected = Fed { ends, refused: false };
        prop_assert_eq!(fed(&[&stream]), expected.clone(), "whole");
        prop_assert_eq!(fed(&pieces(&stream, &cuts)), expected, "cut");
        Ok(())
    });
}

#[test]
fn a_reply_cut_short_is_never_complete() {
    let replies = version().prop_flat_map(frame);
    property(&(replies, any::<proptest::sample::Index>()), |(reply, cut)| {
        let short = &reply[..cut.index(reply.len())];
        prop_assert_eq!(
            fed(&[short]),
            Fed {
                ends: vec![],
                refused: false
            }
        );
        Ok(())
    });
}

#[test]
fn damaged_replies_never_panic_and_end_where_the_oracle_says_unless_explained() {
    let streams = version().prop_flat_map(|version| {
        let stream = vec(frame(version), 1..4);
        (Just(version), stream, mutations(), cuts())
    });
    property(&streams, |(version, frames, mutations, cuts)| {
        let stream = damaged(concat(&frames), &mutations);
        let whole = fed(&[&stream]);
        prop_assert_eq!(
            &whole,
            &fed(&pieces(&stream, &cuts)),
            "a cut changes nothing: {:?}",
            Bytes(stream)
        );

        let mut rest = &stream[..];
        while oracle::is_safe(rest) {
            let ours = scan(rest);
            let theirs = oracle::frame(version, rest);
            let shown = Bytes(rest.to_vec());
            match (&ours, &theirs) {
                (Scan::Complete(ours), Verdict::Complete(theirs)) => {
                    prop_assert_eq!(ours, theirs, "{:?}", shown);
                }
                (Scan::Incomplete, Verdict::Incomplete) | (Scan::Refused(_), Verdict::Refused(_)) => break,
                (Scan::Incomplete, _) if is_short(rest) => break,
                (Scan::Refused(at), _) => {
                    prop_assert!(
                        is_strictness(&rest[*at..]),
                        "{:?}: {:?}, {:?}",
                        shown,
                        ours,
                        theirs
                    );
                    break;
                }
                (_, Verdict::Refused(reason)) => {
                    prop_assert!(is_content(reason), "{:?}: {:?}, {:?}", shown, ours, theirs);
                    break;
                }
                (Scan::Complete(len), Verdict::Incomplete) => {
                    prop_assert!(
                        is_short_verbatim(&rest[..*len]),
                        "{:?}: {:?}, {:?}",
                        shown,
                        ours,
                        theirs
                    );
                    break;
                }
                (Scan::Incomplete, Verdict::Complete(_)) => {
                    prop_assert!(false, "{:?}: {:?}, {:?}", shown, ours, theirs);
                }
            }
            let Scan::Complete(len) = ours else { break };
            rest = &rest[len..];
        }
        Ok(())
    });
}

/// Every known difference by an example, so that the list above cannot outlive its reasons.
#[test]
fn the_known_differences_from_the_oracle_are_these() {
    use Version::{Resp2, Resp3};
    let refused_here: [(Version, &[u8]); 10] = [
        // Lengths are written in one way only: no plus, no leading zero, no minus zero.
        (Resp2, b"$+1\r\na\r\n"),
        (Resp2, b"$01\r\na\r\n"),
        (Resp3, b"*-0\r\n"),
        (Resp3, b"~00000000000000000000000000000000001\r\n+a\r\n"),
        // Streamed strings and aggregates: no server sends them.
        (Resp3, b";1\r\na\r\n"),
        (Resp3, b".\r\n"),
        // A request, not a reply.
        (Resp3, b"HELLO 3\r\n"),
        // What can never become valid is refused before its line ends.
        (Resp2, b"*1\r\n$1\rx"),
        (Resp2, b"*1\r\n$11111111111111111111111111111111111"),
        // More items than any server has.
        (Resp3, b"%9999999999999\r\n"),
    ];
    for (version, bytes) in refused_here {
        let shown = Bytes(bytes.to_vec());
        assert!(
            matches!(scan(bytes), Scan::Refused(at) if is_strictness(&bytes[at..])),
            "{shown:?}"
        );
        assert!(
            !matches!(oracle::frame(version, bytes), Verdict::Refused(_)),
            "{shown:?}"
        );
    }
    let passed_here: [(Version, &[u8]); 18] = [
        // What is in a line is the client's business: only its end matters.
        (Resp2, b":one\r\n"),
        (Resp3, b":one\r\n"),
        (Resp3, b",1,5\r\n"),
        (Resp3, b"#yes\r\n"),
        (Resp3, b"#\xff\r\n"),
        (Resp3, b"=7\r\nhtm:abc\r\n"),
        (Resp3, b"=7\r\n\xff\xff\xff:abc\r\n"),
        (Resp3, b"=2\r\nab\r\n"),
        // RESP2's nulls in any length, in RESP3 too: a script's reply may hold them.
        (Resp3, b"$-1\r\n"),
        (Resp3, b"*1\r\n*-1\r\n"),
        (Resp3, b">-1\r\n"),
        // One scanner reads both versions.
        (Resp2, b"_\r\n"),
        // Aggregates as keys and members, which RESP3 allows and the oracle cannot hash.
        (Resp3, b"%1\r\n*0\r\n:1\r\n"),
        (Resp3, b"~1\r\n*0\r\n"),
        // Attributes of a null, and two in a row.
        (Resp3, b"|0\r\n_\r\n"),
        (Resp3, b"|0\r\n|0\r\n:1\r\n"),
        (Resp3, b"|0\r\n$-1\r\n"),
        (Resp3, b"*1\r\n|0\r\n_\r\n"),
    ];
    for (version, bytes) in passed_here {
        let shown = Bytes(bytes.to_vec());
        assert_eq!(scan(bytes), Scan::Complete(bytes.len()), "{shown:?}");
        let theirs = oracle::frame(version, bytes);
        assert!(
            matches!(&theirs, Verdict::Refused(reason) if is_content(reason)),
            "{shown:?}: {theirs:?}"
        );
    }
    // The oracle asks for four bytes of a verbatim string before it looks at its length.
    assert_eq!(scan(b"=0\r\n\r\n"), Scan::Complete(6));
    assert_eq!(oracle::frame(Resp3, b"=0\r\n\r\n"), Verdict::Incomplete);
}

fn concat(frames: &[Bytes]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.iter().copied()).collect()
}

/// What the scanner says about the first reply of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scan {
    Complete(usize),
    Incomplete,
    /// The item that is wrong begins here.
    Refused(usize),
}

/// Shows the bytes one by one, so that a refusal tells its place: what waits then is the item.
fn scan(bytes: &[u8]) -> Scan {
    let mut scanner = ReplyScanner::default();
    let mut start = 0;
    for end in 1..=bytes.len() {
        match scanner.scan(&bytes[start..end]) {
            Err(_) => return Scan::Refused(start),
            Ok(found) => {
                start += found.taken;
                if found.complete {
                    return Scan::Complete(start);
                }
            }
        }
    }
    Scan::Incomplete
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fed {
    ends: Vec<usize>,
    refused: bool,
}

/// Feeds a stream in pieces, as a link does: what was not taken is shown again.
fn fed(pieces: &[&[u8]]) -> Fed {
    let mut scanner = ReplyScanner::default();
    let mut waiting = Vec::new();
    let mut taken = 0;
    let mut ends = Vec::new();
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            let Ok(found) = scanner.scan(&waiting) else {
                return Fed { ends, refused: true };
            };
            waiting.drain(..found.taken);
            taken += found.taken;
            assert!(
                !found.complete || scanner.at_start(),
                "after a reply the next one begins"
            );
            if !found.complete {
                break;
            }
            ends.push(taken);
        }
    }
    Fed { ends, refused: false }
}

/// Whether `item` is one that we refuse on purpose and the oracle does not, or not yet.
fn is_strictness(item: &[u8]) -> bool {
    let (kind, rest) = (item[0], &item[1..]);
    if b";.H".contains(&kind) {
        return true;
    }
    // All others are length lines.
    if !b"$=!*~>%|".contains(&kind) {
        return false;
    }
    let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
        return true;
    };
    let Some(text) = std::str::from_utf8(&rest[..end]).ok() else {
        return false;
    };
    text.parse::<i64>()
        .is_ok_and(|length| length.to_string() != text || b"*~>%|".contains(&kind) && length > 1 << 39)
}

/// Whether the oracle refuses what a frame says, which we pass on unread, rather than where it ends.
fn is_content(reason: &str) -> bool {
    [
        // `:`, and a length of -1 where the oracle reads none below zero.
        "to_i64: ",
        "parse_as: ParseIntError",
        // `,`, `#`, any of the three, `=`.
        "parse_as: ParseFloatError",
        "to_bool: ",
        "parse_utf8: ",
        "to_verbatimstring_format: ",
        "parse_verbatimstring: Invalid prefix length.",
        // A length of -1, which the oracle takes for the beginning of a streamed aggregate.
        "Expected complete frame.",
        // The same within another; an aggregate as a map's key: the oracle has one word for both.
        "Decode Error: MapRes at ",
        // Aggregates as members of sets; attributes where the oracle keeps none.
        "to_set: Invalid hash key.",
        "attach_attributes: ",
        "parse_non_attribute_frame: Unexpected attribute frame.",
        // RESP3's types in RESP2; in RESP3 the oracle's words end in "prefix."
        "frame_type: Invalid frame type.",
    ]
    .iter()
    .any(|content| reason.contains(content))
}

/// Whether this is less than the scanner's first look at a reply wants: a line, or 64 bytes.
fn is_short(reply: &[u8]) -> bool {
    reply.len() < 64 && !reply.windows(2).any(|window| window == b"\r\n")
}

/// Whether a verbatim string without a format is in this reply.
fn is_short_verbatim(reply: &[u8]) -> bool {
    reply
        .windows(4)
        .any(|window| matches!(window, [b'=', b'0'..=b'3', b'\r', b'\n']))
}
