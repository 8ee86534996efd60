//! The keys of the writes that were acknowledged last. Pure and bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::topology::NodeId;

/// Bytes kept of a key.
const LONGEST: usize = 256;

/// A turn began so much earlier, at most, than what is counted in it; rather a key too many than one too few.
const TURN: Duration = Duration::from_millis(100);

/// The keys, oldest first.
#[derive(Debug, Default)]
pub(super) struct LastKeys {
    most: usize,
    keys: VecDeque<(NodeId, Instant, Box<[u8]>)>,
}

impl LastKeys {
    /// So many are kept from now on.
    pub(super) fn keep(&mut self, most: usize) {
        self.most = most;
        self.keys.truncate(most);
    }

    /// Whether any are.
    pub(super) fn is_on(&self) -> bool {
        self.most > 0
    }

    /// A write of that key was acknowledged.
    pub(super) fn add(&mut self, node: NodeId, at: Instant, key: &[u8]) {
        if self.keys.len() == self.most {
            self.keys.pop_front();
        }
        self.keys
            .push_back((node, at, key[..key.len().min(LONGEST)].into()));
    }

    /// Those of one node's writes since then, oldest first.
    pub(super) fn since(&self, node: NodeId, since: Instant) -> impl Iterator<Item = &[u8]> {
        let from = since.checked_sub(TURN).unwrap_or(since);
        let all = self.keys.iter();
        all.filter(move |(of, at, _)| *of == node && *at >= from)
            .map(|(_, _, key)| key.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_are_kept_and_named_by_node_and_time() {
        let mut last = LastKeys::default();
        assert!(!last.is_on());
        last.keep(3);
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        for (node, seconds, key) in [(0, 1, "a"), (0, 2, "b"), (1, 3, "c"), (0, 4, "d")] {
            last.add(NodeId(node), at(seconds), key.as_bytes());
        }
        let named = |node, seconds| last.since(NodeId(node), at(seconds)).collect::<Vec<_>>();
        assert_eq!(named(0, 0), [b"b", b"d"]);
        assert_eq!(named(0, 3), [b"d"]);
        assert_eq!(named(1, 0), [b"c"]);
    }
}
