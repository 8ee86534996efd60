//! Random replies as a server writes them, in RESP2 and RESP3.
//!
//! Only what redis-protocol can read: keys of maps and members of sets are not aggregates, nothing describes a null
//! by an attribute, and nesting stays shallow, because its decoders recurse.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::bytes::{Bytes, blob};

/// The protocol version of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Resp2,
    Resp3,
}

/// Both versions.
pub(crate) fn version() -> impl Strategy<Value = Version> {
    proptest::sample::select(vec![Version::Resp2, Version::Resp3])
}

/// One reply of any type.
pub(crate) fn frame(version: Version) -> impl Strategy<Value = Bytes> {
    let nested = item(version).prop_recursive(5, 40, 6, move |inner| match version {
        Version::Resp2 => array(b'*', &inner),
        Version::Resp3 => prop_oneof![
            array(b'*', &inner),
            array(b'>', &inner),
            array(b'~', &item(version)),
            pairs(b'%', inner.clone()),
            (pairs(b'|', inner.clone()), inner)
                .prop_filter("not a null, no second attribute", |(_, described)| !matches!(
                    described[0],
                    b'_' | b'|'
                ))
                .prop_map(|(attribute, described)| [attribute, described].concat()),
        ]
        .boxed(),
    });
    // Arrays of one, deeper than any command nests.
    let deep = (0..60usize, item(version)).prop_map(|(depth, item)| [b"*1\r\n".repeat(depth), item].concat());
    prop_oneof![8 => nested, 1 => deep].prop_map(Bytes)
}

/// A reply that holds no other.
fn item(version: Version) -> BoxedStrategy<Vec<u8>> {
    let both = prop_oneof![
        (prop_oneof![Just('+'), Just('-')], text()).prop_map(|(kind, text)| line(kind, &text)),
        any::<i64>().prop_map(|number| line(':', &number.to_string())),
        blob().prop_map(|blob| sized('$', &blob)),
    ];
    match version {
        Version::Resp2 => prop_oneof![4 => both, 1 => null2()].boxed(),
        Version::Resp3 => prop_oneof![
            both,
            Just(b"_\r\n".to_vec()),
            prop_oneof![Just(b"#t\r\n".to_vec()), Just(b"#f\r\n".to_vec())],
            double().prop_map(|double| line(',', &double)),
            "-?[1-9][0-9]{0,60}".prop_map(|number| line('(', &number)),
            ("txt|mkd", blob())
                .prop_map(|(format, blob)| sized('=', &[format.as_bytes(), b":", &blob].concat())),
            blob().prop_map(|blob| sized('!', &blob)),
        ]
        .boxed(),
    }
}

fn null2() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"$-1\r\n".to_vec()), Just(b"*-1\r\n".to_vec())]
}

fn double() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|double| double.to_string()),
        any::<f64>().prop_map(|double| format!("{double:e}")),
        proptest::sample::select(vec!["3", "3.0", "-0", "inf", "-inf", "nan"]).prop_map(str::to_owned),
    ]
}

/// The text of a line: short, or longer than any first look at it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[^\r\n]{0,20}", "[ -~]{60,200}"]
}

fn line(kind: char, text: &str) -> Vec<u8> {
    format!("{kind}{text}\r\n").into_bytes()
}

fn sized(kind: char, content: &[u8]) -> Vec<u8> {
    [&line(kind, &content.len().to_string())[..], content, b"\r\n"].concat()
}

fn array(kind: u8, items: &BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    vec(items.clone(), 0..6)
        .prop_map(move |items| [line(char::from(kind), &items.len().to_string()), items.concat()].concat())
        .boxed()
}

fn pairs(kind: u8, values: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    vec((item(Version::Resp3), values), 0..4)
        .prop_map(move |pairs| {
            let mut bytes = line(char::from(kind), &pairs.len().to_string());
            for (key, value) in pairs {
                bytes.extend(key);
                bytes.extend(value);
            }
            bytes
        })
        .boxed()
}
