//! The length lines of requests: how many arguments, how long is one.

use super::number;
use super::protocol_error::ProtocolError;

/// Redis's `PROTO_INLINE_MAX_SIZE`: the longest inline request, and the longest wait for a length line.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// What follows every length and every argument.
pub(super) const LINE_END: &[u8; 2] = b"\r\n";

/// The integer of the length line at `at` (after its type byte), and where the next line begins.
pub(super) fn length_line(
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
