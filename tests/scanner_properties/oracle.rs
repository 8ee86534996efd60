//! What redis-protocol says about the first frame of a buffer: only its length, and its bulks when it is a request.
//!
//! Its range decoders are used, which find ends as the owned ones do and do not insist on UTF-8 text.

use redis_protocol::resp2::types::RangeFrame as Resp2Frame;
use redis_protocol::{resp2, resp3};

use crate::reply_frames::Version;

/// The most aggregate heads that a buffer may hold for the oracle: it recurses, and each may be one level.
const MAX_DEPTH: usize = 200;

/// The first frame of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Complete(usize),
    Incomplete,
    Refused(String),
}

/// Whether the oracle can read this without overflowing its stack.
pub(crate) fn is_safe(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| b"*%~>|".contains(byte)).count() <= MAX_DEPTH
}

/// The length of the first frame.
pub(crate) fn frame(version: Version, bytes: &[u8]) -> Verdict {
    let found = match version {
        Version::Resp2 => resp2::decode::decode_range(bytes).map(|found| found.map(|(_, len)| len)),
        Version::Resp3 => resp3::decode::complete::decode_range(bytes).map(|found| found.map(|(_, len)| len)),
    };
    match found {
        Ok(Some(len)) => Verdict::Complete(len),
        Ok(None) => Verdict::Incomplete,
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// The length of the request at the beginning, and its arguments: an array of bulk strings.
pub(crate) fn request(bytes: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let Ok(Some((Resp2Frame::Array(items), len))) = resp2::decode::decode_range(bytes) else {
        return None;
    };
    let arguments = items.iter().map(|item| match item {
        Resp2Frame::BulkString((start, end)) => Some(&bytes[*start..*end]),
        _ => None,
    });
    Some((len, arguments.collect::<Option<_>>()?))
}
