//! Inline commands: a line of words, as telnet and health checks send it.
//!
//! The quoting rules are those of `sdssplitargs` in Redis's sds.c.

/// Quotes do not balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineError;

/// The words of one line (without its line end).
pub fn split_inline(line: &[u8]) -> Result<Vec<Vec<u8>>, InlineError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [blank, after @ ..] = rest
            && is_space(*blank)
        {
            rest = after;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), InlineError> {
    let mut word = Vec::new();
    while let [first, after @ ..] = rest {
        match first {
            b'"' => return quoted(after, word),
            b'\'' => return single_quoted(after, word),
            // Redis takes VT and FF for blanks around words and not within them.
            b' ' | b'\n' | b'\r' | b'\t' | 0 => return Ok((word, after)),
            other => word.push(*other),
        }
        rest = after;
    }
    Ok((word, rest))
}

fn quoted(mut rest: &[u8], mut word: Vec<u8>) -> Result<(Vec<u8>, &[u8]), InlineError> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) * 16 + hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return closed(word, after),
            [other, after @ ..] => {
                word.push(*other);
                after
            }
            [] => return Err(InlineError),
        }
    }
}

fn single_quoted(mut rest: &[u8], mut word: Vec<u8>) -> Result<(Vec<u8>, &[u8]), InlineError> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return closed(word, after),
            [other, after @ ..] => {
                word.push(*other);
                after
            }
            [] => return Err(InlineError),
        }
    }
}

/// A closing quote must be followed by a blank or by nothing.
fn closed(word: Vec<u8>, after: &[u8]) -> Result<(Vec<u8>, &[u8]), InlineError> {
    match after.first() {
        Some(next) if !is_space(*next) => Err(InlineError),
        _ => Ok((word, after)),
    }
}

/// C's `isspace`, to which VT belongs as well; and NUL, which ends Redis's strings.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 0
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::{InlineError, split_inline};

    #[test]
    fn splits_like_redis() {
        type Case = (&'static [u8], Result<&'static [&'static [u8]], InlineError>);
        let cases: [Case; 13] = [
            (b"PING", Ok(&[b"PING"])),
            (b"  SET  a   b ", Ok(&[b"SET", b"a", b"b"])),
            (b"", Ok(&[])),
            (b"SET a \"b c\"", Ok(&[b"SET", b"a", b"b c"])),
            (b"SET a \"\\x41\\n\\\"\"", Ok(&[b"SET", b"a", b"A\n\""])),
            (b"SET a 'it\\'s'", Ok(&[b"SET", b"a", b"it's"])),
            (b"SET a \"b", Err(InlineError)),
            (b"SET a \"b\"c", Err(InlineError)),
            (b"\x0bSET a \x0c b\x0b", Ok(&[b"SET", b"a", b"b\x0b"])),
            (b"SET a\x0bb", Ok(&[b"SET", b"a\x0bb"])),
            (b"SET a\x0cb", Ok(&[b"SET", b"a\x0cb"])),
            (b"SET 'a'\x0bb", Ok(&[b"SET", b"a", b"b"])),
            (b"SET a ''", Ok(&[b"SET", b"a", b""])),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
            assert_eq!(split_inline(line), expected, "{line:?}");
        }
    }
}
