//! Iterations from cursor 0 to their end: complete on both sides, whatever the cursors are.

use std::collections::BTreeSet;

use crate::compare::children;
use crate::connection::is_monitored;
use crate::program::{Words, line};
use crate::wire::{PATIENCE, Wire, encode, frame_end, show};

/// A whole iteration on both sides, and what it finds. Cursors differ, and so may the order and how often an element
/// comes.
pub(crate) fn scan(plain: &mut Wire, other: &mut Wire, words: &Words) -> Result<BTreeSet<Vec<u8>>, String> {
    let expected = iterate(plain, words);
    let found = iterate(other, words);
    if expected == found {
        return Ok(found);
    }
    let shown = |set: &BTreeSet<Vec<u8>>| set.iter().map(|item| show(item)).collect::<Vec<_>>().join(" ");
    Err(format!(
        "{}\n  plain      {}\n  ambassador {}",
        line(words),
        shown(&expected),
        shown(&found)
    ))
}

fn iterate(wire: &mut Wire, words: &Words) -> BTreeSet<Vec<u8>> {
    let mut words = words.clone();
    let cursor_at = if words[0].eq_ignore_ascii_case(b"scan") {
        1
    } else {
        2
    };
    let width = if words[0].len() == 5 && !words[0].eq_ignore_ascii_case(b"sscan") {
        2
    } else {
        1
    };
    let width = if words.iter().any(|word| word.eq_ignore_ascii_case(b"novalues")) {
        1
    } else {
        width
    };
    let mut found = BTreeSet::new();
    // A thousand keys at one a round, with room for a table that is being resized.
    for _ in 0..10_000 {
        let mut bytes = Vec::new();
        encode(&mut bytes, &words);
        wire.send(&bytes);
        let reply = loop {
            let frame = wire.wait_frame(PATIENCE);
            if !frame.as_ref().is_some_and(|frame| is_monitored(frame)) {
                break frame;
            }
        };
        let Some(reply) = reply else {
            found.insert(b"(no reply)".to_vec());
            return found;
        };
        let [cursor, items] = children(&reply)[..] else {
            found.insert(reply);
            return found;
        };
        found.extend(children(items).chunks(width).map(<[&[u8]]>::concat));
        let start = cursor
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let next = &cursor[start..frame_end(cursor).unwrap_or(2) - 2];
        if next == b"0" || words.len() <= cursor_at {
            return found;
        }
        words[cursor_at] = next.to_vec();
    }
    found.insert(b"(no end)".to_vec());
    found
}
