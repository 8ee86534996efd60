//! What all workers together have counted of acknowledged writes.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use tokio::time::Instant;

use super::losses::Counts;
use crate::stats::{Acknowledged, WorkerStats};
use crate::topology::NodeId;

/// Every worker's counters.
#[derive(Debug, Clone)]
pub(super) struct Acknowledgements {
    workers: Arc<[Arc<WorkerStats>]>,
    /// What the control plane's times count from.
    began: Instant,
}

impl Acknowledgements {
    pub(super) fn new(workers: impl Iterator<Item = Arc<WorkerStats>>, began: Instant) -> Self {
        Acknowledgements {
            workers: workers.collect(),
            began,
        }
    }

    /// Writes that a node has acknowledged: all of them had run before what is sent after this call.
    pub(super) fn before_now(&self, node: NodeId) -> u64 {
        let sum = self.of(node).map(Acknowledged::read).sum();
        fence(Ordering::SeqCst);
        sum
    }

    fn of(&self, node: NodeId) -> impl Iterator<Item = &Acknowledged> {
        let seen = self.workers.iter().filter_map(move |worker| worker.seen(node));
        seen.map(|stats| &stats.acknowledged)
    }
}

impl Counts for Acknowledgements {
    fn acknowledged(&self, node: NodeId) -> u64 {
        self.of(node).map(Acknowledged::read_most).sum()
    }

    fn sent_since(&self, node: NodeId, since: Duration) -> u64 {
        let since = (self.began + since).into_std();
        self.of(node).map(|each| each.sent_since(since)).sum()
    }

    fn last(&self, node: NodeId) -> Option<Duration> {
        let last = self.of(node).filter_map(Acknowledged::last).max()?;
        Some(last.saturating_duration_since(self.began.into_std()))
    }

    fn all_know(&self, version: u64) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.topology.read() >= version)
    }
}
