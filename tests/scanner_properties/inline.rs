//! How an inline line is split: `split_inline` against real servers, which are the only reference there is.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_ambassador::resp::split_inline;

use crate::bytes::Bytes;
use crate::property;
use crate::support::{Client, Flavor, Reply, Server};

/// Prepended to a random line, this gives back its words.
const ECHO: &[u8] = b"EVAL \"return ARGV\" 0 ";

#[test]
fn inline_lines_are_split_as_the_servers_split_them() {
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);
        property(&line(), |Bytes(line)| {
            let line = [ECHO, &line].concat();
            let shown = Bytes(line.clone());
            let mut client = server.client();
            client.send_raw(&[&line, &b"\r\n"[..]].concat());
            match (split_inline(&line), client.read_reply()) {
                (Ok(words), Reply::Array(echoed)) => {
                    let words: Vec<_> = words[3..].iter().map(Reply::bulk).collect();
                    prop_assert_eq!(words, echoed, "{}: {:?}", flavor, shown);
                }
                (Err(_), Reply::Error(error)) => {
                    prop_assert_eq!(&error, "ERR Protocol error: unbalanced quotes in request");
                    prop_assert_eq!(closed(client), b"", "{}: {:?}", flavor, shown);
                }
                (ours, theirs) => prop_assert!(false, "{flavor}: {shown:?}: {ours:?}, {theirs:?}"),
            }
            Ok(())
        });
    }
}

/// A bug of Valkey 8.1 (its splitter marks "no byte" by -1): the one byte about which the servers differ. We keep it.
#[test]
fn only_valkey_loses_byte_ff_from_an_inline_line() {
    let line = [ECHO, b"a\xffb"].concat();
    assert_eq!(
        split_inline(&line).map(|words| words[3].clone()),
        Ok(b"a\xffb".to_vec())
    );
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);
        let mut client = server.client();
        client.send_raw(&[&line, &b"\r\n"[..]].concat());
        let word: &[u8] = if flavor == Flavor::Valkey8 {
            b"ab"
        } else {
            b"a\xffb"
        };
        assert_eq!(
            client.read_reply(),
            Reply::Array(vec![Reply::bulk(word)]),
            "{flavor}"
        );
    }
}

/// What comes before the server closes.
fn closed(mut client: Client) -> Vec<u8> {
    client
        .read_to_close()
        .expect("the server closes after a protocol error")
}

/// Words, blanks and quotes in any order. No line end; no NUL, at which a server stops reading the line; no 0xff.
fn line() -> impl Strategy<Value = Bytes> {
    let piece = prop_oneof![
        4 => proptest::sample::select(&b" \t\r\x0b\x0c\"'\\"[..]).prop_map(|byte| vec![byte]),
        2 => proptest::sample::select(vec![&b"\\\""[..], b"\\'", b"\\x4a", b"\\xG1", b"\\n", b"\\r", b"\\t", b"\\b", b"\\a", b"\\\\", b"\\q"])
            .prop_map(<[u8]>::to_vec),
        2 => "[a-z0-9]{1,4}".prop_map(String::into_bytes),
        1 => "\"[a-z ]{0,4}\" ".prop_map(String::into_bytes),
        1 => "'[a-z ]{0,4}' ".prop_map(String::into_bytes),
        1 => (1..=254u8).prop_filter("no line end", |byte| *byte != b'\n').prop_map(|byte| vec![byte]),
    ];
    vec(piece, 0..16).prop_map(|pieces| Bytes(pieces.concat()))
}
