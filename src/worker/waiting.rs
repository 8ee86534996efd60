//! What waits for a new own connection. Pure state.

use std::collections::VecDeque;
use std::time::Instant;

use super::sent::Sent;
use super::slots::ClientKey;
use super::transcript::Transcripts;
use crate::topology::NodeId;

/// Requests of one client that wait for an own connection.
#[derive(Debug)]
pub(super) struct Adrift {
    pub(super) client: ClientKey,
    pub(super) pipeline: VecDeque<(Sent, Vec<u8>)>,
    /// The transactions among them.
    pub(super) transcripts: Transcripts,
    /// All that was on the connection is here; what its client had begun there goes on elsewhere.
    pub(super) whole: bool,
    pub(super) since: Instant,
    /// Which node refused them, and when.
    pub(super) refused: Option<(NodeId, Instant)>,
}
