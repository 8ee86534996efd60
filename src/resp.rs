//! RESP framing on the hot path.
