//! Inline requests: how a line is split into words.

use std::fmt::Write as _;

use redis_ambassador::resp::{Bounds, RequestScanner, Step, split_inline};

const BOUNDS: Bounds = Bounds {
    arguments: 1 << 20,
    bulk: 512 << 20,
};

/// Splits the first line of `bytes`.
pub fn check(bytes: &[u8]) {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let ended = [line, b"\r\n"].concat();
    if !line.starts_with(b"*") {
        let found = RequestScanner::default().scan(&ended, BOUNDS);
        assert_eq!(found, Ok(Step::Inline(ended.len(), line.len())));
    }

    let words = split_inline(line);
    // Blanks around a line mean nothing, unless a quote is open there.
    assert_eq!(split_inline(&[b" \t", line].concat()), words, "blanks before");
    if words.is_ok() {
        assert_eq!(split_inline(&[line, b" \x00"].concat()), words, "blanks behind");
        let twice = words.as_ref().map(|words| [words.as_slice(), words].concat());
        assert_eq!(
            split_inline(&[line, b" ", line].concat()),
            twice.map_err(|error| *error)
        );
    }

    if !line.iter().any(|byte| b"\"'\x0b\x0c".contains(byte)) {
        let plain = line.split(|byte| b" \n\r\t\0".contains(byte));
        let plain: Vec<_> = plain
            .filter(|word| !word.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(words, Ok(plain), "without quotes");
    }
    let Ok(words) = words else {
        let quotes = line.iter().filter(|byte| b"\"'".contains(byte)).count();
        assert!(quotes > 0, "only quotes can be wrong");
        return;
    };
    assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
    assert!(words.len() <= line.len());
    let quoted: String = words.iter().map(|word| quoted(word)).collect();
    assert_eq!(split_inline(quoted.as_bytes()), Ok(words), "as quoted words");
}

/// A word as `sdscatrepr` in Redis's sds.c may write it.
fn quoted(word: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in word {
        let _ = write!(text, "\\x{byte:02x}");
    }
    text + "\" "
}
