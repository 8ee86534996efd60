//! Where a client's requests end: the command's name and its second argument, and nothing more.
//!
//! Reads what Redis reads (`processMultibulkBuffer` in networking.c) with the same error texts, but insists
//! on CR LF where Redis skips two bytes unseen: what is accepted here must mean the same to any server that
//! it is forwarded to over a link which other clients share.

use std::ops::Range;

use super::line::{MAX_LINE, length_line};
use super::passage::Passage;
use super::protocol_error::{Bounds, ProtocolError};

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
        Passage::of(self.left)
    }

    /// The first byte that was not looked at yet, counted from the request's first.
    pub fn position(&self) -> usize {
        self.position
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
