//! RESP framing on the hot path: where requests and replies end, and the few replies we write ourselves.
//!
//! Both scanners are iterative (no recursion on input), resumable (nothing is read twice) and allocate
//! nothing. They find boundaries; they never decode or change a byte of what they pass.

mod inline;
mod number;
mod reply;
mod request;
pub mod write;

pub use inline::{InlineError, split_inline};
pub use reply::{ReplyError, ReplyScanner, Scanned};
pub use request::{Arguments, Bounds, Passage, ProtocolError, Request, RequestScanner, Step};
