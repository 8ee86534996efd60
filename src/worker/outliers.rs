//! Which nodes fail at reads again and again and are left out of the choice for a while. Pure: time and chance are
//! arguments.
//!
//! The control plane's gate judges by probes; this judges by what reads themselves met. A node comes back when the gate
//! lets it, its time is up, and one read that is sent to it on trial has gone through.

use std::time::{Duration, Instant};

use crate::topology::{MAX_NODES, NodeId};

/// Failures without a success in between that put a node out.
const STRIKES: u32 = 3;

/// How long it is out the first time; doubled each time that the trial fails.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A trial that has not ended after this is no reason not to make another: its read may have gone with its client.
const TRIAL: Duration = Duration::from_secs(5);

/// How much a failure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strike {
    /// One of several that it takes.
    One,
    /// Enough by itself: it took seconds to find out.
    Out,
}

/// The record of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    strikes: u32,
    /// How long it was put out the last time; zero: it is not out.
    pause: Duration,
    /// Until when it is out.
    until: Option<Instant>,
    /// When a read was sent to it on trial.
    trial: Option<Instant>,
}

/// The records of all nodes.
#[derive(Debug)]
pub(super) struct Outliers {
    records: [Record; MAX_NODES],
    /// Some node has a record: else nothing has to be looked at.
    any: bool,
}

impl Outliers {
    /// Nothing has failed yet.
    pub(super) fn new() -> Self {
        Outliers {
            records: [Record::default(); MAX_NODES],
            any: false,
        }
    }

    /// Whether any node has a record.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Something failed at a node. `jitter`: about 1, so that many ambassadors do not come back in step. Returns for how
    /// long the node is put out by it, if it is.
    pub(super) fn fail(
        &mut self,
        node: NodeId,
        strike: Strike,
        now: Instant,
        jitter: f64,
    ) -> Option<Duration> {
        let record = &mut self.records[node.index()];
        if record.until.is_some_and(|until| now < until) {
            // What was under way when it was put out.
            return None;
        }
        self.any = true;
        record.strikes += match strike {
            Strike::One => 1,
            Strike::Out => STRIKES,
        };
        if record.strikes < STRIKES {
            return None;
        }
        record.pause = (record.pause * 2).clamp(FIRST, LONGEST);
        let pause = record.pause.mul_f64(jitter);
        record.until = Some(now + pause);
        record.trial = None;
        Some(pause)
    }

    /// A read went through at a node. What was sent before the node was put out says nothing.
    pub(super) fn succeed(&mut self, node: NodeId, now: Instant) {
        let record = &mut self.records[node.index()];
        if record.until.is_none_or(|until| now >= until) {
            *record = Record::default();
            self.any = self.records.iter().any(|record| record.strikes > 0);
        }
    }

    /// Whether a node may be chosen: it is not out, or its time is up and nobody tries it already.
    pub(super) fn may(&self, node: NodeId, now: Instant) -> bool {
        let record = &self.records[node.index()];
        let tried = record.trial.is_some_and(|since| now < since + TRIAL);
        record.until.is_none_or(|until| now >= until && !tried)
    }

    /// Whether nothing is known against a node.
    pub(super) fn is_clean(&self, node: NodeId) -> bool {
        self.records[node.index()].strikes == 0
    }

    /// A node was chosen.
    pub(super) fn chosen(&mut self, node: NodeId, now: Instant) {
        let record = &mut self.records[node.index()];
        if record.until.is_some_and(|until| now >= until) {
            record.trial = Some(now);
        }
    }

    /// The gate let a node in that it had kept out: it may be tried at once.
    pub(super) fn let_in(&mut self, node: NodeId, now: Instant) {
        let record = &mut self.records[node.index()];
        record.until = record.until.map(|until| until.min(now));
        record.trial = None;
    }

    /// What was is of another time: there is another master.
    pub(super) fn forget(&mut self) {
        *self = Outliers::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);

    struct Story(Outliers, Instant);

    impl Story {
        fn fail(&mut self) -> Option<Duration> {
            self.0.fail(NODE, Strike::One, self.1, 1.0)
        }

        fn is_chosen(&mut self) -> bool {
            let may = self.0.may(NODE, self.1);
            if may {
                self.0.chosen(NODE, self.1);
            }
            may
        }
    }

    fn story() -> Story {
        Story(Outliers::new(), Instant::now())
    }

    #[test]
    fn failures_in_a_row_put_a_node_out_and_a_success_between_them_does_not_count() {
        let mut story = story();
        for _ in 0..5 {
            assert_eq!((story.fail(), story.fail()), (None, None));
            story.0.succeed(NODE, story.1);
            assert!(!story.0.any());
        }
        assert_eq!((story.fail(), story.fail()), (None, None));
        assert!(story.is_chosen());
        assert_eq!(story.fail(), Some(FIRST));
        assert!(!story.is_chosen() && story.0.may(NodeId(1), story.1));
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_a_bound_and_one_that_succeeds_ends_it() {
        let mut story = story();
        assert_eq!(story.0.fail(NODE, Strike::Out, story.1, 1.0), Some(FIRST));
        let mut seconds = Vec::new();
        let mut pause = FIRST;
        for _ in 0..7 {
            seconds.push(pause.as_secs());
            assert_eq!(story.fail(), None, "of before");
            story.0.succeed(NODE, story.1);
            assert!(!story.is_chosen(), "of before, too");
            story.1 += pause;
            assert!(story.is_chosen(), "on trial");
            assert!(!story.is_chosen(), "one at a time");
            pause = story.fail().unwrap();
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        story.1 += pause;
        assert!(story.is_chosen());
        story.0.succeed(NODE, story.1);
        assert!(!story.0.any() && story.is_chosen() && story.is_chosen());
        assert_eq!(
            (story.fail(), story.fail(), story.fail()),
            (None, None, Some(FIRST))
        );
    }

    #[test]
    fn a_trial_that_got_lost_is_made_again_and_the_gate_s_word_makes_one_at_once() {
        let mut story = story();
        story.0.fail(NODE, Strike::Out, story.1, 1.0);
        story.0.let_in(NODE, story.1);
        assert!(story.is_chosen() && !story.is_chosen());
        story.1 += TRIAL;
        assert!(story.is_chosen());
        story.0.forget();
        assert!(!story.0.any());
    }
}
