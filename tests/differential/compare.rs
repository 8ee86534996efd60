//! Whether two replies to a command are the same, under the allow-list.

use crate::allowed::{Rule, rules};
use crate::program::Words;
use crate::wire::frame_end;

/// What a client-side cache is told of FLUSHALL and FLUSHDB.
const FLUSHED: [&[u8]; 2] = [
    b">2\r\n$10\r\ninvalidate\r\n_\r\n",
    b">2\r\n$10\r\ninvalidate\r\n$-1\r\n",
];

/// Whether two replies to a command are equal; `queued` are the commands that an EXEC runs.
pub(crate) fn same(words: Option<&Words>, queued: &[Words], plain: &[u8], other: &[u8]) -> bool {
    if plain == other || without_cached_count(plain) == without_cached_count(other) {
        return true;
    }
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        // A server writes it as the client that tracks would have it, to whomever it is redirected (`sendTrackingMessage`
        // in Redis's tracking.c); with two to one client the order is that of the server's connections.
        return [plain, other].iter().all(|frame| FLUSHED.contains(frame));
    };
    if plain[0] != other[0] || plain[0] == b'-' {
        return false;
    }
    if words[0].eq_ignore_ascii_case(b"exec") {
        let (plain, other) = (children(plain), children(other));
        return plain.len() == other.len()
            && plain.len() == queued.len()
            && queued
                .iter()
                .zip(plain.iter().zip(&other))
                .all(|(words, (plain, other))| same(Some(words), &[], plain, other));
    }
    rules(words).any(|rule| same_under(rule, plain, other))
}

/// A reply without the cached count in the header of a `HyperLogLog`'s string. PFCOUNT refreshes it where it runs, which
/// is a replica here; whoever reads the string raw sees it.
fn without_cached_count(frame: &[u8]) -> Vec<u8> {
    const MAGIC: &[u8] = b"HYLL";
    let mut frame = frame.to_vec();
    for at in 0..frame.len() {
        if frame[at..].starts_with(MAGIC)
            && let Some(count) = frame.get_mut(at + 8..at + 16)
        {
            count.fill(0);
        }
    }
    frame
}

fn same_under(rule: Rule, plain: &[u8], other: &[u8]) -> bool {
    match rule {
        Rule::SameType => true,
        Rule::Among(replies) => {
            let known = |frame: &[u8]| replies.iter().any(|reply| reply.as_bytes() == frame);
            known(plain) && known(other)
        }
        Rule::Near(distance) => {
            if plain[0] == b'*' {
                // The hash fields' forms answer one number for each field.
                let (plain, other) = (children(plain), children(other));
                return plain.len() == other.len()
                    && plain
                        .iter()
                        .zip(&other)
                        .all(|(plain, other)| near(plain, other, distance));
            }
            near(plain, other, distance)
        }
        Rule::Unordered => sorted(plain, 1).is_some_and(|plain| Some(plain) == sorted(other, 1)),
        Rule::UnorderedPairs => sorted(plain, 2).is_some_and(|plain| Some(plain) == sorted(other, 2)),
        Rule::Fields(but) => {
            let (plain, mut other) = (fields(plain, but), fields(other, but));
            for (plain, other) in plain.iter().zip(&mut other) {
                // A command that only other servers know has no name there.
                let of_another = *plain == (b"cmd", b"=NULL") && other.0 == b"cmd";
                // Valkey says 0 and not -1 on a connection that once had a transaction; flags say whether it has one.
                let none =
                    |field: &(&[u8], &[u8])| field.0 == b"multi" && [&b"=0"[..], b"=-1"].contains(&field.1);
                if of_another || none(plain) && none(other) {
                    *other = *plain;
                }
            }
            plain == other
        }
        Rule::Sections => sections(plain) == sections(other),
        Rule::Field(name) => without(plain, name).is_some_and(|plain| Some(plain) == without(other, name)),
    }
}

/// The fields of every line, without the values of those that may differ.
fn fields<'a>(frame: &'a [u8], but: &[&str]) -> Vec<(&'a [u8], &'a [u8])> {
    let mut lines: Vec<&[u8]> = text(frame).split(|byte| *byte == b'\n').collect();
    if lines
        .iter()
        .any(|line| line.windows(6).any(|word| word == b" capa="))
    {
        // Valkey lists clients in the order of a hash table.
        lines.sort_unstable();
    }
    let words = lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b' '));
    let fields = words.map(|field| {
        let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        let (name, value) = field.split_at(end);
        let differs = but.iter().any(|but| but.as_bytes() == name);
        (name, if differs { &[][..] } else { value })
    });
    fields.collect()
}

/// The titles of an INFO's sections, and the role.
fn sections(frame: &[u8]) -> Vec<&[u8]> {
    let lines = text(frame).split(|byte| *byte == b'\n');
    lines
        .filter(|line| line.starts_with(b"#") || line.starts_with(b"role:"))
        .collect()
}

/// What stands in a bulk or verbatim string.
fn text(frame: &[u8]) -> &[u8] {
    let start = frame
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    &frame[start..]
}

fn near(plain: &[u8], other: &[u8], distance: u64) -> bool {
    let number = |frame: &[u8]| -> Option<u64> {
        let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    plain == other
        || matches!((number(plain), number(other)), (Some(plain), Some(other))
            if plain > 0 && other > 0 && plain.abs_diff(other) <= distance)
}

/// The elements of an aggregate.
pub(crate) fn children(frame: &[u8]) -> Vec<&[u8]> {
    if !b"*~%>".contains(&frame[0]) {
        return Vec::new();
    }
    let mut rest = frame
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(frame, |end| &frame[end + 1..]);
    let mut found = Vec::new();
    while let Some(end) = frame_end(rest).filter(|_| !rest.is_empty()) {
        found.push(&rest[..end]);
        rest = &rest[end..];
    }
    found
}

fn sorted(frame: &[u8], width: usize) -> Option<Vec<Vec<&[u8]>>> {
    // Null and the like have no elements, and are the same only byte for byte.
    let children = Some(children(frame)).filter(|children| !children.is_empty())?;
    let mut groups: Vec<Vec<&[u8]>> = children.chunks(width).map(<[&[u8]]>::to_vec).collect();
    groups.sort();
    Some(groups)
}

fn without<'a>(frame: &'a [u8], name: &[u8]) -> Option<Vec<&'a [u8]>> {
    let mut children = children(frame);
    let bulk = [format!("${}\r\n", name.len()).as_bytes(), name, b"\r\n"].concat();
    let at = children.iter().position(|child| *child == bulk)?;
    children.remove(at + 1);
    Some(children)
}

#[test]
fn only_what_is_allowed_may_differ() {
    let words = |text: &str| -> Words { text.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let cases = [
        ("TTL a", ":10\r\n", ":9\r\n", true),
        ("TTL a", ":1000\r\n", ":9\r\n", false),
        ("TTL a", ":-1\r\n", ":9\r\n", false),
        ("STRLEN a", ":10\r\n", ":9\r\n", false),
        (
            "SMEMBERS a",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "*2\r\n$1\r\nb\r\n$1\r\na\r\n",
            true,
        ),
        (
            "SMEMBERS a",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "*1\r\n$1\r\nb\r\n",
            false,
        ),
        (
            "SMEMBERS a",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "~2\r\n$1\r\nb\r\n$1\r\na\r\n",
            false,
        ),
        (
            "LRANGE a",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "*2\r\n$1\r\nb\r\n$1\r\na\r\n",
            false,
        ),
        ("SMEMBERS a", "*0\r\n", "*-1\r\n", false),
        ("RANDOMKEY", "$1\r\na\r\n", "$1\r\nb\r\n", true),
        ("RANDOMKEY", "$1\r\na\r\n", "-ERR\r\n", false),
        ("OBJECT ENCODING s", "$3\r\nint\r\n", "$6\r\nembstr\r\n", true),
        ("OBJECT ENCODING s", "$3\r\nint\r\n", "$9\r\nquicklist\r\n", false),
        (
            "HELLO 3",
            "%2\r\n$2\r\nid\r\n:1\r\n+a\r\n+b\r\n",
            "%2\r\n$2\r\nid\r\n:7\r\n+a\r\n+b\r\n",
            true,
        ),
        (
            "HELLO 3",
            "%2\r\n$2\r\nid\r\n:1\r\n+a\r\n+b\r\n",
            "%2\r\n$2\r\nid\r\n:7\r\n+a\r\n+c\r\n",
            false,
        ),
    ];
    for (command, plain, other, expected) in cases {
        let found = same(Some(&words(command)), &[], plain.as_bytes(), other.as_bytes());
        assert_eq!(found, expected, "{command} {plain:?} {other:?}");
    }
    let queued = [words("TTL a"), words("STRLEN a")];
    let exec =
        |plain: &str, other: &str| same(Some(&words("EXEC")), &queued, plain.as_bytes(), other.as_bytes());
    assert!(exec("*2\r\n:10\r\n:3\r\n", "*2\r\n:9\r\n:3\r\n"));
    assert!(!exec("*2\r\n:10\r\n:3\r\n", "*2\r\n:10\r\n:4\r\n"));
}
