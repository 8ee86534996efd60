//! Where a client's requests end: the command's name and its second argument, and nothing more.
//!
//! Reads what Redis reads (`processMultibulkBuffer` in networking.c) with the same error texts, but insists
//! on CR LF where Redis skips two bytes unseen: what is accepted here must mean the same to any server that
//! it is forwarded to over a link which other clients share.

use std::ops::Range;

use super::number;

/// Redis's `PROTO_INLINE_MAX_SIZE`: the longest inline request, and the longest wait for a length line.
const MAX_LINE: usize = 64 * 1024;

/// What follows every length and every argument.
const LINE_END: &[u8; 2] = b"\r\n";

/// What a request may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most arguments.
    pub arguments: usize,
    /// The longest argument in bytes.
    pub bulk: usize,
}

/// A request that can never become a valid one. The texts are Redis's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    MultibulkLength,
    /// The length of an argument is no number, negative or too large.
    BulkLength,
    /// An argument does not start with `$`.
    ExpectedDollar(u8),
    /// The line with the number of arguments does not end.
    BigMultibulkCount,
    /// The line with an argument's length does not end.
    BigBulkCount,
    /// An inline request does not end.
    BigInline,
    /// Quotes in an inline request do not balance.
    UnbalancedQuotes,
    /// CR LF was expected.
    ExpectedLineEnd,
}

impl ProtocolError {
    /// Appends the error reply that Redis sends before it closes the connection.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        match self {
            ProtocolError::MultibulkLength => out.extend_from_slice(b"invalid multibulk length"),
            ProtocolError::BulkLength => out.extend_from_slice(b"invalid bulk length"),
            ProtocolError::ExpectedDollar(got) => {
                out.extend_from_slice(b"expected '$', got '");
                // A reply is one line: what would end it is shown as a blank.
                out.push(if got == b'\r' || got == b'\n' { b' ' } else { got });
                out.push(b'\'');
            }
            ProtocolError::BigMultibulkCount => out.extend_from_slice(b"too big mbulk count string"),
            ProtocolError::BigBulkCount => out.extend_from_slice(b"too big bulk count string"),
            ProtocolError::BigInline => out.extend_from_slice(b"too big inline request"),
            ProtocolError::UnbalancedQuotes => out.extend_from_slice(b"unbalanced quotes in request"),
            ProtocolError::ExpectedLineEnd => out.extend_from_slice(b"expected CRLF after an argument"),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A whole request; ranges count from its first byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Its length in bytes.
    pub len: usize,
    /// Number of arguments, the name included.
    pub argc: usize,
    /// The command's name.
    pub name: Range<usize>,
    /// The second argument; empty when there is none.
    pub second: Range<usize>,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A whole request.
    Complete(Request),
    /// An empty request of so many bytes: Redis skips it without a reply.
    Empty(usize),
    /// A whole inline request: its length with the line end, and without it.
    Inline(usize, usize),
    /// More bytes are needed.
    Incomplete,
}

/// Where a scan stands in an incomplete request.
#[derive(Debug, Clone, Default)]
pub struct RequestScanner {
    /// The next byte to look at, counted from the request's first; 0: at its beginning.
    position: usize,
    /// Arguments still to come.
    left: usize,
    request: Request,
}

impl RequestScanner {
    /// Looks for the end of the request that begins at `bytes[0]`. After `Incomplete` call it again with the
    /// same bytes and more behind them; what was seen is not looked at again.
    pub fn scan(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Step, ProtocolError> {
        if self.position == 0 {
            match bytes.first() {
                None => return Ok(Step::Incomplete),
                Some(b'*') => {}
                Some(_) => return inline(bytes),
            }
            let Some((count, after)) = length_line(
                bytes,
                0,
                ProtocolError::BigMultibulkCount,
                ProtocolError::MultibulkLength,
            )?
            else {
                return Ok(Step::Incomplete);
            };
            if count <= 0 {
                return Ok(Step::Empty(after));
            }
            self.left = usize::try_from(count)
                .ok()
                .filter(|count| *count <= bounds.arguments)
                .ok_or(ProtocolError::MultibulkLength)?;
            self.request = Request {
                argc: self.left,
                ..Request::default()
            };
            self.position = after;
        }
        while self.left > 0 {
            match bytes.get(self.position) {
                None => return Ok(Step::Incomplete),
                Some(b'$') => {}
                Some(other) => return Err(ProtocolError::ExpectedDollar(*other)),
            }
            let Some((len, start)) = length_line(
                bytes,
                self.position,
                ProtocolError::BigBulkCount,
                ProtocolError::BulkLength,
            )?
            else {
                return Ok(Step::Incomplete);
            };
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= bounds.bulk)
                .ok_or(ProtocolError::BulkLength)?;
            let end = start + len;
            // The name and the second argument are known as soon as they are there, for requests
            // that are passed on before they are complete.
            let Some(line_end) = bytes.get(end..end + 2) else {
                return Ok(Step::Incomplete);
            };
            if line_end != b"\r\n" {
                return Err(ProtocolError::ExpectedLineEnd);
            }
            match self.request.argc - self.left {
                0 => self.request.name = start..end,
                1 => self.request.second = start..end,
                _ => {}
            }
            self.left -= 1;
            self.position = end + 2;
        }
        let request = Request {
            len: self.position,
            ..std::mem::take(&mut self.request)
        };
        self.position = 0;
        Ok(Step::Complete(request))
    }

    /// What is known of a request that is not complete: its name once that has been seen.
    pub fn partial(&self) -> Option<&Request> {
        (self.position > 0 && !self.request.name.is_empty()).then_some(&self.request)
    }

    /// Forgets an incomplete request.
    pub fn reset(&mut self) {
        *self = RequestScanner::default();
    }

    /// For a request that is passed on before it is complete: what is still to come from byte
    /// [`RequestScanner::position`] on.
    pub fn passage(&self) -> Passage {
        Passage {
            skip: 0,
            left: self.left,
            line: Line::default(),
        }
    }

    /// The first byte that was not looked at yet, counted from the request's first.
    pub fn position(&self) -> usize {
        self.position
    }
}

/// The rest of a request whose bytes are passed on as they come: arguments to go, bytes to skip.
#[derive(Debug, Clone, Default)]
pub struct Passage {
    /// Bytes of an argument and its line end still to come.
    skip: usize,
    left: usize,
    line: Line,
}

/// A length line that may have been cut.
#[derive(Debug, Clone, Default)]
struct Line {
    bytes: [u8; number::MAX_LENGTH_LINE],
    len: usize,
}

impl Passage {
    /// Looks at the next bytes: how many belong to the request, and whether it is complete with them.
    pub fn advance(&mut self, bytes: &[u8], bounds: Bounds) -> Result<(usize, bool), ProtocolError> {
        let mut at = 0;
        loop {
            let content = self.skip.saturating_sub(LINE_END.len());
            let skipped = content.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            while self.skip > 0 {
                let Some(byte) = bytes.get(at) else {
                    return Ok((at, false));
                };
                if *byte != LINE_END[LINE_END.len() - self.skip] {
                    return Err(ProtocolError::ExpectedLineEnd);
                }
                self.skip -= 1;
                at += 1;
            }
            if self.left == 0 {
                return Ok((at, true));
            }
            let Some(byte) = bytes.get(at) else {
                return Ok((at, false));
            };
            if self.line.len == 0 && *byte != b'$' {
                return Err(ProtocolError::ExpectedDollar(*byte));
            }
            at += 1;
            let after_cr = self.line.bytes[..self.line.len].ends_with(b"\r");
            *self
                .line
                .bytes
                .get_mut(self.line.len)
                .ok_or(ProtocolError::BigBulkCount)? = *byte;
            self.line.len += 1;
            if *byte == b'\n' || after_cr {
                let (len, _) = length_line(
                    &self.line.bytes[..self.line.len],
                    0,
                    ProtocolError::BigBulkCount,
                    ProtocolError::BulkLength,
                )?
                .ok_or(ProtocolError::ExpectedLineEnd)?;
                let len = usize::try_from(len)
                    .ok()
                    .filter(|len| *len <= bounds.bulk)
                    .ok_or(ProtocolError::BulkLength)?;
                self.line.len = 0;
                self.left -= 1;
                self.skip = len + LINE_END.len();
            }
        }
    }
}

/// The integer of the length line at `at` (after its type byte), and where the next line begins.
fn length_line(
    bytes: &[u8],
    at: usize,
    too_long: ProtocolError,
    invalid: ProtocolError,
) -> Result<Option<(i64, usize)>, ProtocolError> {
    let line = &bytes[at + 1..];
    // Nearly every length has one to four digits; a byte loop beats a vector search there.
    for (index, byte) in line.iter().take(number::MAX_LENGTH_LINE).enumerate() {
        if *byte == b'\r' {
            let value = number::parse(&line[..index]).ok_or(invalid)?;
            return match line.get(index + 1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some((value, at + index + 3))),
                Some(_) => Err(ProtocolError::ExpectedLineEnd),
            };
        }
    }
    if line.len() < number::MAX_LENGTH_LINE {
        return Ok(None);
    }
    // Too long for a number. Redis finds out when the line ends, or gives up on it after 64 KiB.
    match memchr::memchr(b'\r', line) {
        Some(_) => Err(invalid),
        None if line.len() > MAX_LINE => Err(too_long),
        None => Ok(None),
    }
}

fn inline(bytes: &[u8]) -> Result<Step, ProtocolError> {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end > MAX_LINE => Err(ProtocolError::BigInline),
        Some(end) => {
            let line = if end > 0 && bytes[end - 1] == b'\r' {
                end - 1
            } else {
                end
            };
            Ok(Step::Inline(end + 1, line))
        }
        None if bytes.len() > MAX_LINE => Err(ProtocolError::BigInline),
        None => Ok(Step::Incomplete),
    }
}

/// The arguments of a whole request, one after the other.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments of `request`, a whole request that a scanner found, the name first.
    pub fn of(request: &'a [u8]) -> Self {
        let header = length_line(
            request,
            0,
            ProtocolError::BigMultibulkCount,
            ProtocolError::MultibulkLength,
        );
        match header {
            Ok(Some((count, after))) => Arguments {
                bytes: &request[after..],
                left: usize::try_from(count).unwrap_or(0),
            },
            _ => Arguments { bytes: &[], left: 0 },
        }
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let header = length_line(
            self.bytes,
            0,
            ProtocolError::BigBulkCount,
            ProtocolError::BulkLength,
        );
        let (len, start) = header.ok().flatten()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let argument = self.bytes.get(start..end)?;
        self.bytes = self.bytes.get(end + 2..)?;
        Some(argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        arguments: 1 << 20,
        bulk: 512 << 20,
    };

    #[test]
    fn finds_name_second_argument_and_end() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nbb\r\n*1\r\n";
        let Ok(Step::Complete(request)) = RequestScanner::default().scan(bytes, BOUNDS) else {
            panic!("a whole request");
        };
        assert_eq!(&bytes[request.name.clone()], b"SET");
        assert_eq!(&bytes[request.second.clone()], b"a");
        assert_eq!((request.len, request.argc), (28, 3));
        let arguments: Vec<_> = Arguments::of(&bytes[..request.len]).collect();
        assert_eq!(arguments, [&b"SET"[..], b"a", b"bb"]);
    }

    #[test]
    fn goes_on_where_it_stopped() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nbb\r\n";
        let mut scanner = RequestScanner::default();
        for end in 0..bytes.len() {
            assert_eq!(scanner.scan(&bytes[..end], BOUNDS), Ok(Step::Incomplete), "{end}");
        }
        assert!(matches!(scanner.scan(bytes, BOUNDS), Ok(Step::Complete(_))));
    }

    #[test]
    fn a_passage_ends_where_the_request_ends_however_it_is_cut() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$12\r\nbbbbbbbbbbbb\r\n";
        for kept in 14..bytes.len() {
            let mut scanner = RequestScanner::default();
            assert_eq!(scanner.scan(&bytes[..kept], BOUNDS), Ok(Step::Incomplete));
            let seen = scanner.position();
            for piece in 1..6 {
                let mut passage = scanner.passage();
                let mut rest = [&bytes[seen..], b"*1\r\n"].concat();
                let mut taken = 0;
                let mut done = false;
                while !done {
                    let now = piece.min(rest.len());
                    let (took, complete) = passage.advance(&rest[..now], BOUNDS).expect("valid");
                    taken += took;
                    done = complete;
                    rest.drain(..took);
                }
                assert_eq!(seen + taken, bytes.len(), "kept {kept}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_passage_is_as_strict_as_the_scanner() {
        let cases: [(&[u8], ProtocolError); 4] = [
            (b"$1\r\nab", ProtocolError::ExpectedLineEnd),
            (b"$1\r\na\rb", ProtocolError::ExpectedLineEnd),
            (b"$1\rx", ProtocolError::ExpectedLineEnd),
            (b":", ProtocolError::ExpectedDollar(b':')),
        ];
        for (rest, error) in cases {
            let mut scanner = RequestScanner::default();
            assert_eq!(scanner.scan(b"*1\r\n", BOUNDS), Ok(Step::Incomplete));
            let mut passage = scanner.passage();
            let (last, before) = rest.split_last().expect("not empty");
            for byte in before {
                assert!(
                    passage
                        .advance(&[*byte], BOUNDS)
                        .is_ok_and(|(taken, complete)| taken == 1 && !complete)
                );
            }
            let found = passage.advance(&[*last], BOUNDS);
            assert_eq!(found, Err(error), "{rest:?}");
            assert_eq!(scanner.passage().advance(rest, BOUNDS), Err(error), "{rest:?}");
        }
    }

    #[test]
    fn errors_read_as_redis_writes_them() {
        let long = [b"*".to_vec(), vec![b'1'; 70_000]].concat();
        let inline = vec![b'a'; 70_000];
        let cases: [(&[u8], &str); 10] = [
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$1\r\nabc", "expected CRLF after an argument"),
            (&long, "too big mbulk count string"),
            (&inline, "too big inline request"),
            (b"*1\r\n$1\r$", "expected CRLF after an argument"),
        ];
        for (bytes, text) in cases {
            let error = RequestScanner::default().scan(bytes, BOUNDS).expect_err(text);
            let mut reply = Vec::new();
            error.write(&mut reply);
            assert_eq!(
                String::from_utf8_lossy(&reply),
                format!("-ERR Protocol error: {text}\r\n")
            );
        }
    }

    #[test]
    fn skips_what_redis_skips() {
        for (bytes, len) in [(&b"*0\r\n"[..], 4), (b"*-1\r\n", 5), (b"*-5\r\nx", 5)] {
            assert_eq!(
                RequestScanner::default().scan(bytes, BOUNDS),
                Ok(Step::Empty(len))
            );
        }
        assert_eq!(
            RequestScanner::default().scan(b"\r\n", BOUNDS),
            Ok(Step::Inline(2, 0))
        );
        assert_eq!(
            RequestScanner::default().scan(b"PING\n", BOUNDS),
            Ok(Step::Inline(5, 4))
        );
    }
}
