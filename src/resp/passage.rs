//! The rest of a request that is passed on before it is complete.

use super::line::{LINE_END, length_line};
use super::protocol_error::{Bounds, ProtocolError};

/// The rest of a request whose bytes are passed on as they come: arguments to go, bytes to skip.
#[derive(Debug, Clone, Default)]
pub struct Passage {
    /// Bytes of an argument and its line end still to come.
    skip: usize,
    left: usize,
}

impl Passage {
    /// What is to come of a request when so many of its arguments are still to be seen, the next one's length line
    /// first.
    pub(super) fn of(left: usize) -> Self {
        Passage { skip: 0, left }
    }

    /// Looks at the next bytes: how many may be passed on, and whether the request is complete with them; where it is
    /// not, the others are to be shown again with what follows: a length must be known to be good before anything of it
    /// goes on. `Err`: how many stand before what is wrong, and what is wrong.
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
            match bytes.get(*at) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(other) => return Err(ProtocolError::ExpectedDollar(*other)),
            }
            let line = length_line(bytes, *at, ProtocolError::BigBulkCount, ProtocolError::BulkLength);
            let Some((len, next)) = line? else {
                return Ok(false);
            };
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= bounds.bulk)
                .ok_or(ProtocolError::BulkLength)?;
            self.left -= 1;
            self.skip = len + LINE_END.len();
            *at = next;
        }
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
                let rest = [&bytes[seen..], b"*1\r\n"].concat();
                let (mut taken, mut shown, mut done) = (0, 0, false);
                while !done {
                    shown = (shown + piece).min(rest.len());
                    let (took, complete) = passage.advance(&rest[taken..shown], BOUNDS).expect("valid");
                    taken += took;
                    done = complete;
                }
                assert_eq!(seen + taken, bytes.len(), "kept {kept}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_passage_is_as_strict_as_the_scanner_and_lets_nothing_of_a_bad_length_through() {
        let cases: [(&[u8], usize, ProtocolError); 6] = [
            (b"$1\r\nab", 5, ProtocolError::ExpectedLineEnd),
            (b"$1\r\na\rb", 6, ProtocolError::ExpectedLineEnd),
            (b"$1\rx", 0, ProtocolError::ExpectedLineEnd),
            (b":", 0, ProtocolError::ExpectedDollar(b':')),
            (b"$999999999999\r\n", 0, ProtocolError::BulkLength),
            (b"$-1\r\n", 0, ProtocolError::BulkLength),
        ];
        for (rest, good, error) in cases {
            let mut scanner = RequestScanner::default();
            assert_eq!(scanner.scan(b"*1\r\n", BOUNDS), Ok(Step::Incomplete));
            let mut passage = scanner.passage();
            let (mut taken, mut found) = (0, None);
            for shown in 1..=rest.len() {
                match passage.advance(&rest[taken..shown], BOUNDS) {
                    Ok((took, complete)) => {
                        assert!(!complete);
                        taken += took;
                    }
                    Err((took, error)) => found = Some((taken + took, error)),
                }
            }
            assert_eq!(found, Some((good, error)), "{rest:?}");
            assert_eq!(
                scanner.passage().advance(rest, BOUNDS),
                Err((good, error)),
                "{rest:?}"
            );
        }
    }
}
