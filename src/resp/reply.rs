//! Where a node's replies end, in RESP2 and RESP3, however they are nested and however they are cut.
//!
//! Two integers are the whole state: items still owed by the current reply, and bytes of a string still to
//! skip. Nesting needs no stack, because a reply ends when nothing is owed any more.

use super::number;

/// At the beginning of a reply its first line is there whole, or at least this many bytes of it.
const HEAD: usize = 64;

/// The same of an error: what becomes of it is decided by the whole line, and those that decide are shorter than this
/// (`-UNBLOCKED force unblock ...`, `-EXECABORT ... because of: READONLY ...` and `-MASTERDOWN ...` are longer than [`HEAD`]).
const ERROR_HEAD: usize = 512;

/// The most items that one reply may hold; beyond it the node does not speak RESP.
const MAX_ITEMS: u64 = 1 << 40;

/// What came from a node is not RESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyError;

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes that belong to the current reply and may be passed on.
    pub taken: usize,
    /// Whether the reply ends with them.
    pub complete: bool,
}

/// Where a scan stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplyScanner {
    /// Items the current reply still owes; 0: at the beginning of a reply.
    owed: u64,
    /// Bytes of a string and its line end still to come.
    skip: u64,
    /// Inside the line of a simple type, whose end has not come.
    line: bool,
}

impl ReplyScanner {
    /// Whether the next byte is a reply's first.
    pub fn at_start(&self) -> bool {
        self.owed == 0
    }

    /// Looks at the next bytes. Bytes that were not taken must be shown again, with more behind them.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scanned, ReplyError> {
        let mut at = 0;
        if self.owed == 0 {
            let head = if bytes.first() == Some(&b'-') {
                ERROR_HEAD
            } else {
                HEAD
            };
            if bytes.len() < head && line_end(bytes).is_none() {
                return Ok(Scanned {
                    taken: 0,
                    complete: false,
                });
            }
            self.owed = 1;
        }
        loop {
            if self.skip > 0 {
                let left = (bytes.len() - at) as u64;
                if left < self.skip {
                    self.skip -= left;
                    return Ok(Scanned {
                        taken: bytes.len(),
                        complete: false,
                    });
                }
                at += self.skip as usize;
                self.skip = 0;
                self.owed -= 1;
            } else if self.line {
                let Some(end) = line_end(&bytes[at..]) else {
                    // A CR at the end may be half of the line's end: it is shown again.
                    return Ok(Scanned {
                        taken: bytes.len() - usize::from(bytes[at..].last() == Some(&b'\r')),
                        complete: false,
                    });
                };
                at += end;
                self.line = false;
                self.owed -= 1;
            } else {
                match self.item(&bytes[at..])? {
                    None => {
                        return Ok(Scanned {
                            taken: at,
                            complete: false,
                        });
                    }
                    Some(taken) => at += taken,
                }
            }
            if self.owed == 0 {
                return Ok(Scanned {
                    taken: at,
                    complete: true,
                });
            }
        }
    }

    /// Takes the head of the next item: its type byte, and the length line if it has one.
    fn item(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        let Some(kind) = bytes.first() else {
            return Ok(None);
        };
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                self.line = true;
                Ok(Some(1))
            }
            b'$' | b'=' | b'!' => {
                let Some((len, taken)) = length(bytes)? else {
                    return Ok(None);
                };
                match len {
                    -1 => self.owed -= 1,
                    0.. => self.skip = len as u64 + 2,
                    _ => return Err(ReplyError),
                }
                Ok(Some(taken))
            }
            b'*' | b'~' | b'>' => self.aggregate(bytes, 1, 1),
            b'%' => self.aggregate(bytes, 2, 1),
            // An attribute is followed by the item that it describes: it pays for nothing itself.
            b'|' => self.aggregate(bytes, 2, 0),
            _ => Err(ReplyError),
        }
    }

    fn aggregate(&mut self, bytes: &[u8], per_entry: u64, pays: u64) -> Result<Option<usize>, ReplyError> {
        let Some((len, taken)) = length(bytes)? else {
            return Ok(None);
        };
        let items = match len {
            -1 => 0,
            0.. => (len as u64).checked_mul(per_entry).ok_or(ReplyError)?,
            _ => return Err(ReplyError),
        };
        let owed = (self.owed - pays)
            .checked_add(items)
            .filter(|owed| *owed <= MAX_ITEMS);
        self.owed = owed.ok_or(ReplyError)?;
        Ok(Some(taken))
    }
}

/// The bytes up to the first CR LF and with it. A bare LF ends no line: clients read on behind it, and a module may
/// send one (`RM_ReplyWithSimpleString` in module.c passes its text as it is).
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes)
        .find(|lf| *lf > 0 && bytes[*lf - 1] == b'\r')
        .map(|lf| lf + 1)
}

/// The integer of a length line and the bytes it takes with its type byte.
fn length(bytes: &[u8]) -> Result<Option<(i64, usize)>, ReplyError> {
    let line = &bytes[1..];
    for (index, byte) in line.iter().take(number::MAX_LENGTH_LINE).enumerate() {
        if *byte == b'\r' {
            let value = number::parse(&line[..index]).ok_or(ReplyError)?;
            return match line.get(index + 1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some((value, index + 3))),
                Some(_) => Err(ReplyError),
            };
        }
    }
    if line.len() < number::MAX_LENGTH_LINE {
        Ok(None)
    } else {
        Err(ReplyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 16] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n*1\r\n:1\r\n$1\r\na\r\n*-1\r\n",
        b"_\r\n",
        b",3.14\r\n",
        b"#t\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:1\r\n:2\r\n",
        b"~2\r\n=5\r\ntxt:a\r\n!3\r\nERR\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n*1\r\n$1\r\nx\r\n",
        b">2\r\n+message\r\n(123456789012345678901234567890\r\n",
    ];

    #[test]
    fn an_error_is_seen_whole_or_not_at_all() {
        let forced = b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
        for cut in 1..forced.len() {
            let found = ReplyScanner::default().scan(&forced[..cut]).unwrap();
            assert_eq!((found.taken, found.complete), (0, false), "{cut}");
        }
    }

    #[test]
    fn finds_the_end_of_every_type() {
        for reply in REPLIES {
            let followed = [reply, b"+next\r\n"].concat();
            let found = ReplyScanner::default().scan(&followed);
            assert_eq!(
                found,
                Ok(Scanned {
                    taken: reply.len(),
                    complete: true
                }),
                "{reply:?}"
            );
        }
    }

    #[test]
    fn a_cut_changes_nothing() {
        for reply in REPLIES {
            for piece in 1..=reply.len() {
                let mut scanner = ReplyScanner::default();
                let mut waiting = Vec::new();
                let mut taken = 0;
                let mut complete = false;
                for part in reply.chunks(piece) {
                    waiting.extend_from_slice(part);
                    let found = scanner.scan(&waiting).expect("valid");
                    waiting.drain(..found.taken);
                    taken += found.taken;
                    complete = found.complete;
                }
                assert!(
                    complete && taken == reply.len() && waiting.is_empty(),
                    "{reply:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn a_bare_line_feed_ends_no_line() {
        let reply = b"*2\r\n+two\nlines\r\n-\n\r\r\n";
        for cut in 0..reply.len() {
            let mut scanner = ReplyScanner::default();
            let first = scanner.scan(&reply[..cut]).expect("valid");
            assert!(!first.complete, "{cut}");
            let rest = [&reply[first.taken..], b"+next\r\n"].concat();
            let found = scanner.scan(&rest).expect("valid");
            assert!(
                found.complete && first.taken + found.taken == reply.len(),
                "{cut}"
            );
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = [b"*1\r\n".repeat(1_000_000), b":1\r\n".to_vec()].concat();
        let found = ReplyScanner::default().scan(&deep);
        assert_eq!(
            found,
            Ok(Scanned {
                taken: deep.len(),
                complete: true
            })
        );
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bytes in [
            &b"hello\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"$?\r\n",
            b"*9999999999999999\r\n",
            b"$11111111111111111111111111111111111111111\r\n",
            b"%4611686018427387904\r\n",
        ] {
            assert_eq!(ReplyScanner::default().scan(bytes), Err(ReplyError), "{bytes:?}");
        }
    }
}
