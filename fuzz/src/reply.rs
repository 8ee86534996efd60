//! Replies: where they end, in RESP2 and RESP3, however they are cut.

use redis_ambassador::resp::ReplyScanner;
use redis_protocol::{resp2, resp3};

use super::{cut_in_many_ways, is_shallow};

/// Scans a node's stream.
pub fn check(stream: &[u8]) {
    let whole = fed(&[stream]);
    for pieces in cut_in_many_ways(stream) {
        assert_eq!(fed(&pieces), whole, "a cut changes nothing");
    }
    let mut start = 0;
    for end in &whole.ends {
        agrees_with_oracle(&stream[start..], Some(end - start));
        let short = fed(&[&stream[start..end - 1]]);
        assert!(
            short.ends.is_empty() && !short.refused,
            "one byte less is incomplete"
        );
        start = *end;
    }
    if !whole.refused {
        agrees_with_oracle(&stream[start..], None);
    }
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Fed {
    ends: Vec<usize>,
    refused: bool,
}

/// Feeds a stream in pieces, as a link's worker does: only what was not taken is shown again.
fn fed(pieces: &[&[u8]]) -> Fed {
    let mut scanner = ReplyScanner::default();
    let mut waiting: Vec<u8> = Vec::new();
    let mut position = 0;
    let mut ends = Vec::new();
    for piece in pieces {
        waiting.extend_from_slice(piece);
        while !waiting.is_empty() {
            let Ok(found) = scanner.scan(&waiting) else {
                return Fed { ends, refused: true };
            };
            assert!(found.taken <= waiting.len(), "a reply ends within the input");
            assert_eq!(found.complete, found.complete && scanner.at_start());
            assert!(!found.complete || found.taken > 0);
            waiting.drain(..found.taken);
            position += found.taken;
            if !found.complete {
                break;
            }
            ends.push(position);
        }
        // What waits is part of one line, or the head of a reply: it cannot grow with the reply. Of an error it is more.
        let most = if waiting.first() == Some(&b'-') { 512 } else { 64 };
        assert!(waiting.len() < most, "{} bytes wait", waiting.len());
    }
    Fed { ends, refused: false }
}

/// Where redis-protocol finds a whole reply, it ends where ours does.
fn agrees_with_oracle(bytes: &[u8], end: Option<usize>) {
    if !is_shallow(bytes) {
        return;
    }
    let resp2 = resp2::decode::decode_range(bytes)
        .ok()
        .flatten()
        .map(|(_, len)| len);
    let resp3 = resp3::decode::complete::decode_range(bytes)
        .ok()
        .flatten()
        .map(|(_, len)| len);
    for theirs in [resp2, resp3].into_iter().flatten() {
        assert_eq!(end, Some(theirs), "the oracle finds an end");
    }
}
