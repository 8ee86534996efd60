//! A node for a read, and which nodes are none: shut, or out for failing at reads.

use std::time::Duration;

use rand::RngExt;
use tracing::info;

use super::mailbox::Hint;
use super::outliers::{Outliers, Strike};
use super::profile::ProfileId;
use super::route::Load;
use super::turn::Worker;
use crate::topology::NodeId;

impl Worker {
    /// A node for a read. One that fails at reads is chosen only where no other is left.
    pub(super) fn reader(&mut self, profile: ProfileId) -> Option<NodeId> {
        if !self.outliers.any() {
            return self.reader_among(profile, |_, _| true);
        }
        let now = self.now;
        let chosen = self
            .reader_among(profile, |outliers, node| outliers.may(node, now))
            .or_else(|| self.reader_among(profile, |_, _| true))?;
        self.outliers.chosen(chosen, now);
        Some(chosen)
    }

    /// Another node than this one for a read, one that is fit.
    pub(super) fn reader_beside(&mut self, node: NodeId, profile: ProfileId) -> Option<NodeId> {
        self.reader_among(profile, |outliers, other| {
            other != node && outliers.is_clean(other)
        })
    }

    /// A node for a read, of those that may be chosen.
    fn reader_among(
        &mut self,
        profile: ProfileId,
        may: impl Fn(&Outliers, NodeId) -> bool,
    ) -> Option<NodeId> {
        let (load, pace, random) = (&self.load, &self.pace, &mut self.random);
        let outliers = &self.outliers;
        let (shut, refused, now) = (&self.shut, &self.refused, self.now);
        let master = self.route.master;
        self.route.reader(
            |node| Load {
                inflight: load[node.index()],
                us: pace.of(node, now),
            },
            |node| {
                shut[node.index()].is_some_and(|(until, _)| now < until)
                    || !may(outliers, node)
                    // What the master says to a login is the answer.
                    || (!refused.is_empty()
                        && Some(node) != master
                        && refused.get(&(node, profile)).is_some_and(|until| now < *until))
            },
            |bound| random.random_range(0..bound),
        )
    }

    /// A node answered a batch of reads, with these bytes at the end.
    pub(super) fn read_went_through(&mut self, node: NodeId, took: Duration, bytes: &[u8]) {
        self.pace.note(node, took, self.now);
        if self.outliers.any() && !is_unfit(bytes) {
            self.outliers.succeed(node, self.now);
        }
    }

    /// A node answered a read with this error.
    pub(super) fn read_was_refused(&mut self, node: NodeId, error: &[u8]) {
        if is_unfit(error) {
            self.strike(node, Strike::One);
        }
    }

    /// A node failed at reads, or at being there for them.
    pub(super) fn strike(&mut self, node: NodeId, strike: Strike) {
        let jitter = self.random.random_range(0.75..1.25);
        let Some(pause) = self.outliers.fail(node, strike, self.now, jitter) else {
            return;
        };
        self.stats.node(node).ejections.add(1);
        let name = self.topology.node(node).map_or("?", |node| node.name.as_str());
        info!(
            node = name,
            ?pause,
            "node fails at reads and is left out for a while"
        );
        self.hint(Hint::Lost(node));
    }
}

/// Whether an error says of a node that it serves no reads.
fn is_unfit(error: &[u8]) -> bool {
    error.starts_with(b"-LOADING") || error.starts_with(b"-MASTERDOWN")
}
