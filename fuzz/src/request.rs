//! Requests: where they end, what their arguments are, however they are cut.

use redis_ambassador::resp::{Arguments, Bounds, ProtocolError, RequestScanner, Step};
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use super::{cut_in_many_ways, cuts, is_shallow};

/// The bounds of the default configuration, and some that are easily exceeded.
const BOUNDS: [Bounds; 2] = [
    Bounds {
        arguments: 1 << 20,
        bulk: 512 << 20,
    },
    Bounds {
        arguments: 4,
        bulk: 16,
    },
];

/// Scans a client's stream.
pub fn check(stream: &[u8]) {
    for bounds in BOUNDS {
        let whole = fed(&[stream], bounds);
        for pieces in cut_in_many_ways(stream) {
            assert_eq!(fed(&pieces, bounds), whole, "a cut changes nothing");
        }
    }
    let mut rest = stream;
    while let Some(len) = agrees_with_oracle(rest) {
        passes(rest);
        rest = &rest[len..];
    }
    passes(rest);
}

/// What became of a stream: the requests with their arguments, empty ones as none, inline ones as one; then what
/// was left, and why.
type Fed = (Vec<Vec<Vec<u8>>>, usize, Option<ProtocolError>);

/// Feeds a stream in pieces, as a client's worker does: an incomplete request is shown again from its start.
fn fed(pieces: &[&[u8]], bounds: Bounds) -> Fed {
    let mut scanner = RequestScanner::default();
    let mut waiting: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    let mut position = 0;
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            let (len, arguments) = match scanner.scan(&waiting, bounds) {
                Ok(Step::Incomplete) => break,
                Ok(Step::Empty(len)) => (len, Vec::new()),
                Ok(Step::Inline(len, line)) => {
                    assert!(line < len && waiting[line..len].ends_with(b"\n"));
                    (len, vec![waiting[..line].to_vec()])
                }
                Ok(Step::Complete(request)) => {
                    let bytes = &waiting[..request.len];
                    let arguments: Vec<_> = Arguments::of(bytes).map(<[u8]>::to_vec).collect();
                    assert_eq!(arguments.len(), request.argc);
                    assert!(request.argc > 0 && request.argc <= bounds.arguments);
                    assert!(arguments.iter().all(|argument| argument.len() <= bounds.bulk));
                    assert_eq!(bytes[request.name], arguments[0][..], "the name");
                    let second = arguments.get(1).map_or(&b""[..], |second| second);
                    assert_eq!(&bytes[request.second], second, "the second argument");
                    assert_eq!(encoded(&arguments), bytes, "nothing is read but what is written");
                    (bytes.len(), arguments)
                }
                Err(error) => return (found, waiting.len().min(1), Some(error)),
            };
            assert!(len > 0 && len <= waiting.len(), "a request ends within the input");
            assert!(
                scanner.position() == 0 && scanner.partial().is_none(),
                "a new request begins"
            );
            waiting.drain(..len);
            found.push(arguments);
        }
        assert!(scanner.position() <= waiting.len());
        if let Some(partial) = scanner.partial() {
            assert!(partial.name.end <= waiting.len() && partial.second.end <= waiting.len());
        }
        position = scanner.position();
    }
    (found, waiting.len().max(position), None)
}

fn encoded<T: AsRef<[u8]>>(arguments: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments.iter().map(AsRef::as_ref) {
        bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The length of what was found at the beginning, when there is more to look at.
fn agrees_with_oracle(bytes: &[u8]) -> Option<usize> {
    let found = RequestScanner::default().scan(bytes, BOUNDS[0]);
    let theirs = is_shallow(bytes).then(|| oracle(bytes));
    match (found, theirs) {
        (Ok(Step::Complete(request)), theirs) => {
            if let Some(theirs) = theirs {
                let ours: Vec<_> = Arguments::of(&bytes[..request.len]).collect();
                assert_eq!(Some((request.len, ours)), theirs);
            }
            Some(request.len)
        }
        (Ok(Step::Empty(len) | Step::Inline(len, _)), _) => Some(len),
        (Ok(Step::Incomplete), Some(Some((_, arguments)))) if !arguments.is_empty() => {
            panic!("the oracle finds a whole request of {arguments:?}")
        }
        // Refused are lengths that are written otherwise than Redis reads them, and a missing CR LF.
        (Err(error), Some(Some((len, arguments)))) if !arguments.is_empty() => {
            assert_ne!(
                encoded(&arguments),
                bytes[..len],
                "refused without a reason: {error:?}"
            );
            None
        }
        (Ok(Step::Incomplete) | Err(_), _) => None,
    }
}

/// The length of the array of bulk strings at the beginning, and its arguments.
fn oracle(bytes: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let Ok(Some((RangeFrame::Array(items), len))) = decode_range(bytes) else {
        return None;
    };
    let arguments = items.iter().map(|item| match item {
        RangeFrame::BulkString((start, end)) => Some(&bytes[*start..*end]),
        _ => None,
    });
    Some((len, arguments.collect::<Option<_>>()?))
}

/// A request that is passed on before it is complete ends where the scanner says that it ends.
fn passes(bytes: &[u8]) {
    let whole = RequestScanner::default().scan(bytes, BOUNDS[0]);
    for cut in cuts(bytes) {
        let mut scanner = RequestScanner::default();
        if scanner.scan(&bytes[..cut], BOUNDS[0]) != Ok(Step::Incomplete) || scanner.position() == 0 {
            continue;
        }
        let start = scanner.position();
        for size in [1, 7, bytes.len()] {
            let mut passage = scanner.passage();
            let mut end = start;
            let mut outcome = Ok(false);
            for shown in
                (start + 1..=bytes.len()).filter(|shown| (shown - start) % size == 0 || *shown == bytes.len())
            {
                let piece = &bytes[end..shown];
                let advanced = passage.advance(piece, BOUNDS[0]).map_err(|(taken, error)| {
                    assert!(taken < piece.len());
                    error
                });
                outcome = advanced.map(|(taken, complete)| {
                    assert!(taken <= piece.len());
                    end += taken;
                    complete
                });
                if outcome != Ok(false) {
                    break;
                }
            }
            match (&whole, outcome) {
                (Ok(Step::Complete(request)), Ok(true)) => assert_eq!(request.len, end),
                // What can never become valid, a passage may refuse earlier, and the scanner when the line ends.
                (Ok(Step::Incomplete) | Err(_), Ok(false) | Err(_)) => {}
                (whole, outcome) => panic!("cut at {cut}: {whole:?}, passed on: {outcome:?}"),
            }
        }
    }
}
