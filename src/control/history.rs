//! Where the master was when: by that, what a replica has applied is a moment in time, by our own clock. Pure.
//!
//! An offset means something only in its history (replid), so a new one begins empty unless it continues the old one.

use std::collections::VecDeque;
use std::time::Duration;

use super::info::Line;

/// Probes remembered: at four a second some four minutes.
const MOST: usize = 1024;

/// The adopted master's offsets.
#[derive(Debug, Default)]
pub(super) struct History {
    replid: String,
    /// The history that it goes on from, while its offsets are remembered.
    before: Option<String>,
    /// When a probe was sent and what its answer said; both only grow.
    probes: VecDeque<(Duration, u64)>,
}

impl History {
    /// The master answered a probe that was sent then.
    pub(super) fn note(&mut self, line: &Line, sent: Duration) {
        if self.replid != line.replid {
            let before = std::mem::replace(&mut self.replid, line.replid.clone());
            let goes_on = line.before.as_ref().is_some_and(|(id, _)| *id == before);
            self.before = goes_on.then_some(before);
            if !goes_on {
                self.probes.clear();
            }
        }
        // What a deposed master counted beyond its successor's beginning is nobody's history.
        while self
            .probes
            .back()
            .is_some_and(|(_, offset)| *offset > line.offset)
        {
            self.probes.pop_back();
        }
        if self.probes.back().is_some_and(|(last, _)| *last >= sent) {
            return;
        }
        if self.probes.len() == MOST {
            self.probes.pop_front();
        }
        self.probes.push_back((sent, line.offset));
    }

    /// How far behind the master's last answer a replica is in time, at most (at least, if it is behind everything that
    /// is remembered); `None`: it is of another history. One that has not changed over to a successor yet is still placed, by
    /// what that one has of its predecessor.
    pub(super) fn behind(&self, replica: &Line) -> Option<Duration> {
        if replica.replid != self.replid && self.before.as_ref() != Some(&replica.replid) {
            return None;
        }
        let (last, _) = self.probes.back()?;
        let reached = self
            .probes
            .iter()
            .rev()
            .find(|(_, offset)| *offset <= replica.offset)
            .or(self.probes.front())?;
        Some(last.saturating_sub(reached.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(replid: &str, before: Option<(&str, u64)>, offset: u64) -> Line {
        Line {
            replid: replid.to_owned(),
            before: before.map(|(id, from)| (id.to_owned(), from)),
            offset,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_replica_is_placed_in_time_by_what_it_has_applied() {
        let mut history = History::default();
        assert_eq!(history.behind(&line("X", None, 5)), None, "nothing is known yet");
        for second in 1..=10 {
            history.note(&line("X", None, u64::from(second) * 100), second * SECOND);
        }
        for (offset, behind) in [
            (1_000, 0),
            (5_000, 0),
            (999, 1),
            (450, 6),
            (100, 9),
            // Longer than can be told.
            (99, 9),
        ] {
            assert_eq!(
                history.behind(&line("X", None, offset)),
                Some(behind * SECOND),
                "{offset}"
            );
        }
        assert_eq!(history.behind(&line("Y", None, 1_000)), None);
    }

    #[test]
    fn a_master_that_writes_nothing_leaves_nobody_behind() {
        let mut history = History::default();
        for second in 1..=5_000 {
            history.note(&line("X", None, 7), second * SECOND);
        }
        assert_eq!(history.behind(&line("X", None, 7)), Some(Duration::ZERO));
        assert_eq!(history.probes.len(), MOST);
    }

    #[test]
    fn a_promotion_goes_on_and_a_new_history_begins_empty() {
        let mut history = History::default();
        history.note(&line("X", None, 100), SECOND);
        history.note(&line("X", None, 300), 2 * SECOND);
        // Promoted at 200: what the old master wrote beyond is nobody's.
        history.note(&line("Y", Some(("X", 201)), 250), 3 * SECOND);
        assert_eq!(history.behind(&line("Y", None, 250)), Some(Duration::ZERO));
        assert_eq!(history.behind(&line("Y", None, 240)), Some(2 * SECOND));
        // One that goes on following the old master, as far as the new one has the same.
        assert_eq!(history.behind(&line("X", None, 150)), Some(2 * SECOND));
        history.note(&line("Z", None, 10), 4 * SECOND);
        assert_eq!(history.behind(&line("Y", None, 250)), None);
    }
}
