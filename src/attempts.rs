//! Attempts to connect to a node, of all workers and probes together, so that they never storm one that is dead.
//!
//! A node that answers is not counted. From an attempt that came to nothing on, until one has come to something, there are
//! no more in any second than the configuration says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::topology::{MAX_NODES, NodeId};

/// What is known of the attempts at every node.
#[derive(Debug)]
pub struct Attempts {
    begun: Instant,
    /// The time between two attempts in the long run.
    between: Duration,
    /// Attempts that may come at once.
    burst: u32,
    /// Until when earlier attempts have used up the time, in nanoseconds since `begun`; 0: the node answers.
    spent: [AtomicU64; MAX_NODES],
}

impl Attempts {
    /// At most so many in any second, which are 2 or more.
    pub fn new(per_second: u32, now: Instant) -> Self {
        // What comes at once and what comes in the second after it are so many together.
        let burst = per_second.max(2).div_ceil(2);
        Attempts {
            begun: now,
            between: Duration::from_secs(1) / (per_second.max(2) - burst),
            burst,
            spent: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Whether one may be made now; it is counted.
    pub fn take(&self, node: NodeId, now: Instant) -> bool {
        let (now, between) = (self.since(now), nanoseconds(self.between));
        let taken = self
            .spent(node)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| {
                if spent == 0 {
                    return Some(0);
                }
                let next = spent.max(now) + between;
                (next <= now + between * u64::from(self.burst)).then_some(next)
            });
        taken.is_ok()
    }

    /// One came to nothing.
    pub fn fail(&self, node: NodeId, now: Instant) {
        let first = self.since(now) + nanoseconds(self.between);
        // Those that come to nothing later were counted when they were made, or before there was anything to count.
        let _ = self
            .spent(node)
            .compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One came to something: the node answers.
    pub fn succeed(&self, node: NodeId) {
        self.spent(node).store(0, Ordering::Relaxed);
    }

    /// How long to wait before [`Attempts::take`] is asked again.
    pub fn pause(&self) -> Duration {
        self.between
    }

    fn spent(&self, node: NodeId) -> &AtomicU64 {
        &self.spent[node.index() % MAX_NODES]
    }

    fn since(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.begun)) + 1
    }
}

/// Enough for 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(3);

    /// How many of an attempt each millisecond may be made in this many seconds, and the most in any one second.
    fn made(attempts: &Attempts, begun: Instant, seconds: u64) -> (usize, usize) {
        let at = |ms| begun + Duration::from_millis(ms);
        let made: Vec<u64> = (0..seconds * 1000)
            .filter(|ms| attempts.take(NODE, at(*ms)))
            .collect();
        let within = |from: u64| made.iter().filter(|ms| (from..from + 1000).contains(*ms)).count();
        (
            made.len(),
            made.iter().map(|from| within(*from)).max().unwrap_or(0),
        )
    }

    #[test]
    fn no_second_has_more_attempts_at_a_dead_node_than_it_may() {
        for (per_second, whole) in [(2, 11), (3, 12), (20, 110), (1000, 5500)] {
            let begun = Instant::now();
            let attempts = Attempts::new(per_second, begun);
            attempts.fail(NODE, begun);
            let (all, most) = made(&attempts, begun, 10);
            assert!(most <= per_second as usize, "{per_second}: {most}");
            assert!(all <= whole && all * 3 >= whole, "{per_second}: {all}");
        }
    }

    #[test]
    fn a_node_that_answers_is_not_held_back() {
        let begun = Instant::now();
        let attempts = Attempts::new(20, begun);
        assert_eq!(made(&attempts, begun, 1), (1000, 1000));
        attempts.fail(NODE, begun);
        assert!(attempts.take(NODE, begun));
        attempts.succeed(NODE);
        assert_eq!(made(&attempts, begun, 1), (1000, 1000));
        attempts.fail(NODE, begun);
        assert!(attempts.take(NodeId(4), begun), "each node has its own");
    }
}
