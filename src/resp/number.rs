//! Decimal integers in length lines, as strictly as Redis reads them (`string2ll` in util.c).

/// The longest length line worth waiting for: sign, 19 digits, CR LF, and some slack.
pub(super) const MAX_LENGTH_LINE: usize = 32;

/// The integer that `digits` spells: no sign but `-`, no leading zero, no blank, no overflow.
pub(super) fn parse(digits: &[u8]) -> Option<i64> {
    match digits {
        [digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0')),
        [b'-', rest @ ..] => magnitude(rest).and_then(|value| 0i64.checked_sub_unsigned(value)),
        _ => magnitude(digits).and_then(|value| i64::try_from(value).ok()),
    }
}

fn magnitude(digits: &[u8]) -> Option<u64> {
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_redis_reads() {
        for (text, value) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("1048576", Some(1_048_576)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            ("-0", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text:?}");
        }
    }
}
