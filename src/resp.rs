//! RESP framing on the hot path: where requests and replies end, and the few replies we write ourselves.
//!
//! Both scanners are iterative (no recursion on input), resumable (nothing is read twice) and allocate
//! nothing. They find boundaries; they never decode or change a byte of what they pass.

mod request;
mod passage;
mod line;
mod protocol_error;
mod inline;
mod reply;
mod number;
pub mod write;

pub use inline::{InlineError, split_inline};
pub use passage::Passage;
pub use protocol_error::{Bounds, ProtocolError};
pub use reply::{ReplyError, ReplyScanner, Scanned};
pub use request::{Arguments, Request, RequestScanner, Step};
