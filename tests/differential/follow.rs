//! Knows when the replicas have applied what the master has written, without asking them.
//!
//! A message that is published on the master goes to the replicas in the stream of its writes: when a subscriber on
//! a replica has it, the replica has applied all that came before.

use crate::wire::{PATIENCE, Wire};

/// No program listens to it.
const CHANNEL: &str = "\u{1}behind";

/// A subscriber on every replica.
pub(crate) struct Followers {
    subscribers: Vec<Wire>,
    /// Something may have been written since they had it all.
    behind: bool,
}

impl Followers {
    pub(crate) fn new(mut subscribers: Vec<Wire>) -> Self {
        for subscriber in &mut subscribers {
            subscriber.ask(&["SUBSCRIBE", CHANNEL]);
        }
        Self {
            subscribers,
            behind: true,
        }
    }

    /// The master may have written something.
    pub(crate) fn fall_behind(&mut self) {
        self.behind = true;
    }

    /// Waits until every replica has all that the master has written.
    pub(crate) fn catch_up(&mut self, master: &mut Wire) {
        if !std::mem::take(&mut self.behind) || self.subscribers.is_empty() {
            return;
        }
        master.begin(&["PUBLISH", CHANNEL, "."]);
        for subscriber in &mut self.subscribers {
            let message = subscriber.wait_frame(PATIENCE * 2);
            assert!(message.is_some(), "a replica does not follow");
        }
        master.answer();
    }
}
