//! What waits for a node or for a new own connection, and how much that is. Pure state.

use std::collections::VecDeque;
use std::time::Instant;

use super::sent::{Kind, Parked, Sent};
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
    /// There was no room for more that waits: it is given up at once.
    pub(super) crowded: bool,
    /// Which node refused them, and when.
    pub(super) refused: Option<(NodeId, Instant)>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) commands: usize,
    pub(super) bytes: usize,
}

impl Held {
    /// So much more.
    pub(super) fn add(&mut self, more: Held) {
        self.commands += more.commands;
        self.bytes += more.bytes;
    }

    /// So much less.
    pub(super) fn take_off(&mut self, less: Held) {
        self.commands = self.commands.saturating_sub(less.commands);
        self.bytes = self.bytes.saturating_sub(less.bytes);
    }
}

impl From<&Parked> for Held {
    fn from(parked: &Parked) -> Self {
        Held {
            commands: parked.left as usize,
            bytes: parked.requests.len(),
        }
    }
}

impl From<&Adrift> for Held {
    fn from(adrift: &Adrift) -> Self {
        let mut held = Held::default();
        for (sent, requests) in &adrift.pipeline {
            held.add(Held {
                // What was queued and is sent again was answered.
                commands: if sent.kind == Kind::Again {
                    0
                } else {
                    sent.left as usize
                },
                bytes: requests.len(),
            });
        }
        held
    }
}
