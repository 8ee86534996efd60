//! Cursors that name the node which gave them. Pure arithmetic and bytes.
//!
//! A cursor means something only to the process that gave it, so the one that a client gets is the server's times
//! 65,536 plus a tag of the server's run. 0 stays 0. For tables of up to 2^37 buckets (more than fit in memory) it
//! stays below 2^53, which JavaScript's numbers need.

use crate::resp::{Arguments, write};

/// Bits of a cursor that name the node.
const TAG_BITS: u32 = 16;

/// A cursor as a client sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// `0`: an iteration begins.
    Start,
    /// It goes on where the node of that tag left it.
    At {
        /// The node.
        tag: u16,
        /// Its own cursor.
        own: u64,
    },
    /// Not a number: the server says so.
    Invalid,
}

impl Cursor {
    /// Reads an argument.
    pub(super) fn parse(text: &[u8]) -> Cursor {
        let number = std::str::from_utf8(text)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok());
        match number {
            None => Cursor::Invalid,
            Some(0) => Cursor::Start,
            Some(number) => Cursor::At {
                tag: number as u16,
                own: number >> TAG_BITS,
            },
        }
    }
}

/// The cursor that a client gets for a server's; what does not fit stays as it is.
fn tagged(own: u64, tag: u16) -> u64 {
    match own {
        0 => 0,
        own if own.leading_zeros() < TAG_BITS => own,
        own => (own << TAG_BITS) | u64::from(tag),
    }
}

/// A request with the argument at `index` replaced.
pub(super) fn with_argument(request: &[u8], index: usize, argument: &[u8]) -> Vec<u8> {
    let mut arguments: Vec<&[u8]> = Arguments::of(request).collect();
    if let Some(old) = arguments.get_mut(index) {
        *old = argument;
    }
    let mut out = Vec::with_capacity(request.len() + 20);
    write::request(&mut out, arguments);
    out
}

/// The most bytes that the head of a reply to a SCAN can have: `*2`, `$20`, twenty digits.
const HEAD: usize = 64;

/// Puts the tag into the head of a reply (`*2`, then the cursor). `None`: more of it is needed. What does not look
/// like one (an error, `QUEUED`) stays as it is.
pub(super) fn tag_head(reply: &[u8], tag: u16) -> Option<Vec<u8>> {
    let mut lines = 0;
    let end = reply.iter().take(HEAD).position(|byte| {
        lines += usize::from(*byte == b'\n');
        lines == 3
    });
    let Some(end) = end else {
        let hopeless = reply.len() >= HEAD || reply.first().is_some_and(|first| *first != b'*');
        return hopeless.then(|| reply.to_vec());
    };
    let head = &reply[..=end];
    let cursor = head
        .strip_prefix(b"*2\r\n$")
        .and_then(|rest| rest.splitn(2, |byte| *byte == b'\n').nth(1))
        .and_then(|digits| std::str::from_utf8(digits.strip_suffix(b"\r\n")?).ok())
        .and_then(|digits| digits.parse::<u64>().ok());
    let Some(cursor) = cursor else {
        return Some(reply.to_vec());
    };
    let mut out = b"*2\r\n".to_vec();
    write::bulk(&mut out, tagged(cursor, tag).to_string().as_bytes());
    out.extend_from_slice(&reply[end + 1..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_stays_small_enough_for_javascript() {
        for own in [1, 2, 1023, 1 << 20, (1 << 37) - 1] {
            for tag in [0, 1, 0x8000, u16::MAX] {
                let cursor = tagged(own, tag);
                assert!(cursor < 1 << 53);
                assert_eq!(
                    Cursor::parse(cursor.to_string().as_bytes()),
                    Cursor::At { tag, own }
                );
            }
        }
        assert_eq!(tagged(0, 7), 0);
        assert_eq!(Cursor::parse(b"0"), Cursor::Start);
        for invalid in [&b"abc"[..], b"", b"-1", b" 1", b"99999999999999999999"] {
            assert_eq!(Cursor::parse(invalid), Cursor::Invalid);
        }
    }

    #[test]
    fn the_head_is_changed_as_soon_as_it_is_whole_and_nothing_else_ever() {
        let reply = b"*2\r\n$2\r\n17\r\n*1\r\n$1\r\na\r\n";
        for cut in 1..12 {
            assert_eq!(tag_head(&reply[..cut], 3), None, "{cut}");
        }
        let changed = format!("*2\r\n$7\r\n{}\r\n*1\r\n$1\r\na\r\n", 17 * 65_536 + 3);
        assert_eq!(tag_head(reply, 3).as_deref(), Some(changed.as_bytes()));
        for other in [
            &b"-ERR invalid cursor\r\n"[..],
            b"+QUEUED\r\n",
            b"*2\r\n$1\r\n0\r\n*0\r\n",
            b"*-1\r\n*0\r\n*0\r\n",
        ] {
            assert_eq!(tag_head(other, 3).as_deref(), Some(other));
        }
    }

    #[test]
    fn an_argument_is_replaced() {
        let request = b"*3\r\n$5\r\nHSCAN\r\n$1\r\nh\r\n$3\r\n123\r\n";
        assert_eq!(
            with_argument(request, 2, b"0"),
            b"*3\r\n$5\r\nHSCAN\r\n$1\r\nh\r\n$1\r\n0\r\n"
        );
    }
}
