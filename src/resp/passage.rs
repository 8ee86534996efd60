//! The rest of a request that is passed on before it is complete.

use super::line::{LINE_END, length_line};
use super::number;
use super::protocol_error::{Bounds, ProtocolError};

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
    /// What is to come of a request when so many of its arguments are still to be seen, the next one's length line
    /// first.
    pub(super) fn of(left: usize) -> Self {
        Passage {
            left,
            ..Passage::default()
        }
    }

    /// Looks at the next bytes: how many belong to the request, and whether it is complete with them. `Err`: how many
    /// stand before the one that is wrong, and what is wrong.
    pub fn advance(&mut self, bytes: &[u8], bounds: Bounds) -> Result<(usize, bool), (usize, ProtocolError)> {
        let mut at = 0;
        match self.take(bytes, bounds, &mut at) {
            Ok(complete) => Ok((at, complete)),
            Err(error) => Err((at, error)),
        }
    }

    fn take(&mut self, bytes: &[u8], bounds: Bounds, at: &mut usize) -> Result<bool, ProtocolError> {
        loop {
            let content = self.skip.saturating_sub(LINE_END.len());
            let skipped = content.min(bytes.len() - *at);
            self.skip -= skipped;
            *at += skipped;
            while self.skip > 0 {
                let Some(byte) = bytes.get(*at) else {
                    return Ok(false);
                };
                if *byte != LINE_END[LINE_END.len() - self.skip] {
                    return Err(ProtocolError::ExpectedLineEnd);
                }
                self.skip -= 1;
                *at += 1;
            }
            if self.left == 0 {
                return Ok(true);
            }
            let Some(byte) = bytes.get(*at) else {
                return Ok(false);
            };
            if self.line.len == 0 && *byte != b'$' {
                return Err(ProtocolError::ExpectedDollar(*byte));
            }
            self.take_of_line(*byte, bounds)?;
            *at += 1;
        }
    }

    /// Takes a byte of an argument's length line.
    fn take_of_line(&mut self, byte: u8, bounds: Bounds) -> Result<(), ProtocolError> {
        let after_cr = self.line.bytes[..self.line.len].ends_with(b"\r");
        *self
            .line
            .bytes
            .get_mut(self.line.len)
            .ok_or(ProtocolError::BigBulkCount)? = byte;
        self.line.len += 1;
        if byte == b'\n' || after_cr {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{RequestScanner, Step};

    const BOUNDS: Bounds = Bounds {
        arguments: 1 << 20,
        bulk: 512 << 20,
    };

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
            assert_eq!(found, Err((0, error)), "{rest:?}");
            let found = scanner.passage().advance(rest, BOUNDS);
            assert_eq!(found, Err((before.len(), error)), "{rest:?}");
        }
    }
}
