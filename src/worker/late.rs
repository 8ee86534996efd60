//! When a read is late, and how many may be sent twice for it. Pure.

use std::time::{Duration, Instant};

use super::quantile::Quantile;
use crate::settings::Reads;

/// The budget counts millionths of a command.
const ONE: u64 = 1_000_000;
/// Commands that may be hedged at once, when the budget was not used for a while.
const SAVED: u64 = 100;

/// Nothing is hedged sooner: the kernel wakes a worker no more exactly.
const SOONEST: Duration = Duration::from_millis(1);

/// When reads are hedged, and how many.
#[derive(Debug)]
pub(super) struct Late {
    on: bool,
    /// Millionths of a command that each read adds to what may be spent.
    budget: u64,
    saved: u64,
    taken: Quantile,
    /// When to look for reads that take too long; `None`: none are under way.
    due: Option<Instant>,
}

impl Late {
    /// Off.
    pub(super) fn new() -> Self {
        Late {
            on: false,
            budget: 0,
            saved: 0,
            taken: Quantile::new(),
            due: None,
        }
    }

    /// As the configuration has it.
    pub(super) fn configure(&mut self, reads: &Reads) {
        self.on = reads.hedge;
        self.budget = u64::from(reads.hedge_budget.0);
        self.due = self.due.filter(|_| self.on);
    }

    /// When a worker has to look.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Nothing is to be looked at.
    pub(super) fn rest(&mut self) {
        self.due = None;
    }

    /// Something is to be looked at then.
    pub(super) fn look_at(&mut self, then: Instant, now: Instant) {
        self.due = Some(then.max(now + SOONEST));
    }

    /// Reads are sent to a node.
    pub(super) fn sends(&mut self, commands: u32, now: Instant) {
        if !self.on {
            return;
        }
        self.saved = (self.saved + self.budget * u64::from(commands)).min(SAVED * ONE);
        if self.due.is_none() {
            self.due = self.delay().map(|delay| now + delay);
        }
    }

    /// A batch of reads was answered.
    pub(super) fn took(&mut self, took: Duration) {
        if self.on {
            self.taken.record(took);
        }
    }

    /// After what time a read is late; `None`: that is not known yet.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.taken.p95().map(|p95| p95.max(SOONEST))
    }

    /// Whether so many commands may be sent twice.
    pub(super) fn spend(&mut self, commands: u32) -> bool {
        let left = self.saved.checked_sub(u64::from(commands) * ONE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ReadPolicy, Share};

    fn late(hedge: bool, budget: u32) -> Late {
        let mut late = Late::new();
        late.configure(&Reads {
            policy: ReadPolicy::ReplicasFirst,
            retries: 2,
            hedge,
            hedge_budget: Share(budget),
        });
        late
    }

    #[test]
    fn no_more_is_sent_twice_than_the_budget_says() {
        let now = Instant::now();
        let mut late = late(true, 20_000);
        let spent: u32 = (0..10_000)
            .map(|_| {
                late.sends(1, now);
                u32::from(late.spend(1))
            })
            .sum();
        assert_eq!(spent, 200);
        late.sends(1_000_000, now);
        assert!(late.spend(100) && !late.spend(1), "what was saved up is bounded");
    }

    #[test]
    fn there_is_a_deadline_only_while_it_is_on_and_knows_what_is_usual() {
        let now = Instant::now();
        for (on, reads, due) in [
            (true, 50, None),
            (true, 200, Some(Duration::from_millis(24))),
            (false, 200, None),
        ] {
            let mut late = late(on, 20_000);
            for _ in 0..reads {
                late.took(Duration::from_millis(21));
            }
            late.sends(1, now);
            let within = late.due().map(|due| due - now);
            assert!(
                within.is_some() == due.is_some() && within <= due,
                "{on} {reads}: {within:?}"
            );
        }
    }
}
