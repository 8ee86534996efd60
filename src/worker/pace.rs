//! How long nodes take to answer reads, so that one that is slow gets fewer of them. Pure: time is an argument.
//!
//! What is under way says as much where there is much of it; with one read at a time it says nothing.

use std::time::{Duration, Instant};

use crate::topology::{MAX_NODES, NodeId};

/// A node is slow when it takes twice as long as another and this much more: below it is noise.
const NOISE_US: u64 = 1_000;

/// What a node took, on average, when, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Taken {
    us: u64,
    at: Instant,
}

/// The averages of all nodes.
#[derive(Debug)]
pub(super) struct Pace([Taken; MAX_NODES]);

impl Pace {
    /// Nothing was asked yet.
    pub(super) fn new(now: Instant) -> Self {
        Pace([Taken { us: 0, at: now }; MAX_NODES])
    }

    /// A node took so long for a batch of reads.
    pub(super) fn note(&mut self, node: NodeId, took: Duration, now: Instant) {
        let before = self.of(node, now);
        // One hiccup is not slowness: it counts as little more than what is usual.
        let us = (took.as_micros() as u64).min(before * 4 + 2 * NOISE_US);
        self.0[node.index()] = Taken {
            us: (before * 7 + us) / 8,
            at: now,
        };
    }

    /// What a node takes, in microseconds. A node that gets no reads says nothing of how it is now: what is known of it
    /// counts half as much with every second, until it is asked again.
    pub(super) fn of(&self, node: NodeId, now: Instant) -> u64 {
        let Taken { us, at } = self.0[node.index()];
        us >> now.saturating_duration_since(at).as_secs().min(63)
    }
}

/// Whether the one who takes so long is slow beside the other.
pub(super) fn is_slow(us: u64, beside: u64) -> bool {
    us > beside * 2 + NOISE_US
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn is_slow_after(reads: &[u64]) -> bool {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for ms in [0, 0, 0, 0, 0, 0].iter().chain(reads) {
            pace.note(NODE, Duration::from_micros(ms * 1000 + 200), now);
        }
        is_slow(pace.of(NODE, now), 150)
    }

    #[test]
    fn a_hiccup_is_not_slowness_and_what_lasts_is() {
        assert!(!is_slow_after(&[]));
        assert!(!is_slow_after(&[500]));
        assert!(!is_slow_after(&[500, 500, 0, 0, 0, 0, 0, 0, 500]));
        assert!(is_slow_after(&[10; 8]));
        assert!(!is_slow_after(&[1; 50]), "a millisecond is noise");
    }

    #[test]
    fn it_is_forgotten_by_and_by() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            pace.note(NODE, Duration::from_millis(100), now);
        }
        assert!(pace.of(NODE, now) > 90_000);
        let later = |seconds| pace.of(NODE, now + Duration::from_secs(seconds));
        assert!(is_slow(later(5), 200) && !is_slow(later(8), 200));
        assert_eq!(later(1_000_000), 0);
    }
}
