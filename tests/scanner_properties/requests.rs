//! Where requests end: `RequestScanner` and `Passage` against redis-protocol, whole and cut, valid and damaged.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use redis_ambassador::resp::{Arguments, Bounds, ProtocolError, RequestScanner, Step};

use crate::bytes::{Bytes, blob, cuts, pieces};
use crate::mutation::{damaged, mutations};
use crate::{oracle, property};

/// Redis's own bounds (`proto-max-bulk-len`, `1024*1024` in networking.c).
const BOUNDS: Bounds = Bounds {
    arguments: 1 << 20,
    bulk: 512 << 20,
};

#[test]
fn requests_are_found_with_their_arguments_however_they_are_cut() {
    property(&(vec(message(), 1..8), cuts()), |(messages, cuts)| {
        let stream: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        let expected = Fed {
            found: messages.iter().map(Message::found).collect(),
            error: None,
        };
        for message in &messages {
            if let Message::Request(arguments) = message {
                let bytes = message.encode();
                let arguments = arguments.iter().map(|argument| &argument[..]).collect();
                prop_assert_eq!(oracle::request(&bytes), Some((bytes.len(), arguments)));
            }
        }
        prop_assert_eq!(fed(&[&stream]), expected.clone(), "whole");
        prop_assert_eq!(fed(&pieces(&stream, &cuts)), expected, "cut");
        Ok(())
    });
}

#[test]
fn a_request_keeps_within_its_bounds() {
    property(
        &(arguments(), 1..8usize, 0..120usize),
        |(arguments, most, longest)| {
            let bounds = Bounds {
                arguments: most,
                bulk: longest,
            };
            let bytes = Message::Request(arguments.clone()).encode();
            let found = RequestScanner::default().scan(&bytes, bounds);
            if arguments.len() > most {
                prop_assert_eq!(found, Err(ProtocolError::MultibulkLength));
            } else if arguments.iter().any(|argument| argument.len() > longest) {
                prop_assert_eq!(found, Err(ProtocolError::BulkLength));
            } else {
                prop_assert!(matches!(found, Ok(Step::Complete(request)) if request.len == bytes.len()));
            }
            Ok(())
        },
    );
}

#[test]
fn damaged_requests_never_panic_and_mean_what_the_oracle_says_unless_explained() {
    let streams = (vec(message(), 1..4), mutations(), cuts());
    property(&streams, |(messages, mutations, cuts)| {
        let stream = damaged(messages.iter().flat_map(Message::encode).collect(), &mutations);
        let whole = fed(&[&stream]);
        prop_assert_eq!(
            &whole,
            &fed(&pieces(&stream, &cuts)),
            "a cut changes nothing: {:?}",
            Bytes(stream)
        );

        let mut rest = &stream[..];
        while oracle::is_safe(rest) {
            let theirs = oracle::request(rest).filter(|(_, arguments)| !arguments.is_empty());
            let shown = Bytes(rest.to_vec());
            match RequestScanner::default().scan(rest, BOUNDS) {
                Ok(Step::Complete(request)) => {
                    let arguments = Arguments::of(&rest[..request.len]).collect();
                    prop_assert_eq!(Some((request.len, arguments)), theirs, "{:?}", shown);
                    rest = &rest[request.len..];
                }
                Ok(Step::Empty(len)) => {
                    prop_assert_eq!(theirs, None, "{:?}", shown);
                    rest = &rest[len..];
                }
                Ok(Step::Inline(len, _)) => {
                    prop_assert!(rest[0] != b'*' && rest[len - 1] == b'\n', "{:?}", shown);
                    rest = &rest[len..];
                }
                Ok(Step::Incomplete) => {
                    prop_assert_eq!(theirs, None, "{:?}", shown);
                    break;
                }
                Err(error) => {
                    if let Some((len, arguments)) = theirs {
                        prop_assert!(
                            is_strictness(&rest[..len], &arguments),
                            "{:?}: {:?}, {:?}",
                            shown,
                            error,
                            arguments
                        );
                    }
                    break;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_passage_ends_where_its_request_ends_however_it_is_cut() {
    let requests = (arguments(), any::<Index>(), blob(), cuts());
    property(&requests, |(arguments, kept, behind, cuts)| {
        let request = Message::Request(arguments).encode();
        let stream = [&request[..], &behind].concat();
        let Some((kept, passed)) = passed(&stream, kept.index(request.len()), &cuts) else {
            return Ok(()); // Nothing of it was scanned yet: there is no passage.
        };
        prop_assert_eq!(passed, Ok(Some(request.len())), "after {} bytes", kept);
        Ok(())
    });
}

#[test]
fn a_passage_accepts_exactly_what_the_scanner_accepts() {
    let requests = (arguments(), mutations(), any::<Index>(), cuts());
    property(&requests, |(arguments, mutations, kept, cuts)| {
        let stream = damaged(Message::Request(arguments).encode(), &mutations);
        let Some((kept, passed)) = passed(&stream, kept.index(stream.len() + 1), &cuts) else {
            return Ok(());
        };
        let shown = Bytes(stream.clone());
        match (RequestScanner::default().scan(&stream, BOUNDS), passed) {
            (Ok(Step::Complete(request)), Ok(Some(end))) => prop_assert_eq!(request.len, end, "{:?}", shown),
            // What can never become valid, a passage may refuse a few bytes earlier.
            (Ok(Step::Incomplete), Err(error)) => {
                let ended = [&stream[..], b"\r\n"].concat();
                let found = RequestScanner::default().scan(&ended, BOUNDS);
                prop_assert!(
                    found.is_err(),
                    "{:?} after {}: {:?}, {:?}",
                    shown,
                    kept,
                    error,
                    found
                );
            }
            (Ok(Step::Incomplete), Ok(None)) | (Err(_), Ok(None) | Err(_)) => {}
            (scanned, passed) => prop_assert!(false, "{shown:?} after {kept}: {scanned:?}, {passed:?}"),
        }
        Ok(())
    });
}

/// What a client may send.
#[derive(Debug, Clone)]
enum Message {
    Request(Vec<Bytes>),
    /// An array of this many items, of which there are none: Redis skips it.
    Empty(i32),
    Inline(String, &'static str),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Message::Request(arguments) => {
                let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
                for argument in arguments {
                    bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
                    bytes.extend(&argument[..]);
                    bytes.extend(b"\r\n");
                }
                bytes
            }
            Message::Empty(count) => format!("*{count}\r\n").into_bytes(),
            Message::Inline(line, end) => format!("{line}{end}").into_bytes(),
        }
    }

    fn found(&self) -> Found {
        match self {
            Message::Request(arguments) => Found::Request(arguments.clone()),
            Message::Empty(_) => Found::Empty(self.encode().len()),
            Message::Inline(line, _) => Found::Inline(line.clone().into_bytes()),
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        6 => arguments().prop_map(Message::Request),
        1 => (-5..1).prop_map(Message::Empty),
        1 => ("([a-z][a-z ]{0,80})?", proptest::sample::select(vec!["\n", "\r\n"]))
            .prop_map(|(line, end)| Message::Inline(line, end)),
    ]
}

fn arguments() -> impl Strategy<Value = Vec<Bytes>> {
    prop_oneof![8 => vec(blob(), 1..8), 1 => vec(Just(Bytes(vec![b'a'])), 100..150)]
}

/// What a scanner made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Request(Vec<Bytes>),
    Empty(usize),
    Inline(Vec<u8>),
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fed {
    found: Vec<Found>,
    error: Option<ProtocolError>,
}

/// Feeds a stream in pieces, as a client's worker does: an incomplete request is shown again from its start.
fn fed(pieces: &[&[u8]]) -> Fed {
    let mut scanner = RequestScanner::default();
    let mut waiting: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            let (len, message) = match scanner.scan(&waiting, BOUNDS) {
                Ok(Step::Incomplete) => break,
                Err(error) => {
                    return Fed {
                        found,
                        error: Some(error),
                    };
                }
                Ok(Step::Empty(len)) => (len, Found::Empty(len)),
                Ok(Step::Inline(len, line)) => (len, Found::Inline(waiting[..line].to_vec())),
                Ok(Step::Complete(request)) => {
                    let arguments: Vec<_> = Arguments::of(&waiting[..request.len])
                        .map(|argument| Bytes(argument.to_vec()))
                        .collect();
                    let second = arguments.get(1).map_or(&b""[..], |second| second);
                    assert_eq!(arguments.len(), request.argc);
                    assert_eq!(waiting[request.name], arguments[0][..], "the name");
                    assert_eq!(&waiting[request.second], second, "the second argument");
                    (request.len, Found::Request(arguments))
                }
            };
            assert!(
                scanner.position() == 0 && scanner.partial().is_none(),
                "a new request begins"
            );
            waiting.drain(..len);
            found.push(message);
        }
        if let Some(partial) = scanner.partial() {
            assert!(partial.name.end <= waiting.len() && partial.second.end <= waiting.len());
        }
    }
    Fed { found, error: None }
}

/// Scans the first `kept` bytes and lets what was not looked at pass in pieces: `kept`, and where the request
/// ended, if it did. Nothing when the scanner has not begun with it or has its end.
fn passed(
    stream: &[u8],
    kept: usize,
    cuts: &[Index],
) -> Option<(usize, Result<Option<usize>, ProtocolError>)> {
    let mut scanner = RequestScanner::default();
    if scanner.scan(&stream[..kept], BOUNDS) != Ok(Step::Incomplete) || scanner.position() == 0 {
        return None;
    }
    let start = scanner.position();
    let mut passage = scanner.passage();
    let mut end = start;
    let mut shown = start;
    for piece in pieces(&stream[start..], cuts) {
        // What it did not take is shown again.
        shown += piece.len();
        match passage.advance(&stream[end..shown], BOUNDS) {
            Err((_, error)) => return Some((kept, Err(error))),
            Ok((taken, complete)) => {
                end += taken;
                if complete {
                    return Some((kept, Ok(Some(end))));
                }
            }
        }
    }
    Some((kept, Ok(None)))
}

/// Whether we refuse on purpose what the oracle takes for a request: a length that is not written as Redis's
/// `string2ll` reads it (a plus, a leading zero), or an argument that is not followed by CR LF.
fn is_strictness(request: &[u8], arguments: &[&[u8]]) -> bool {
    let strict = Message::Request(
        arguments
            .iter()
            .map(|argument| Bytes(argument.to_vec()))
            .collect(),
    )
    .encode();
    strict != request
}
