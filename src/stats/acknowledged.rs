//! Writes that one node acknowledged to one worker's clients: how many, how many of them were sent since when, and when
//! the last one was. One writer, as with every counter; what a failover lost is told from it (`control::losses`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times of sending are kept in steps of this length, the latest so many of them: 8 s.
const STEP_MS: u64 = 16;
const STEPS: usize = 512;

/// What all times here are counted from: the same for every worker.
static EPOCH: OnceLock<Instant> = OnceLock::new();

/// Fixes what times are counted from, before there is anything to count.
pub(super) fn begin() {
    EPOCH.get_or_init(Instant::now);
}

fn since_epoch(at: Instant) -> Duration {
    at.saturating_duration_since(*EPOCH.get_or_init(Instant::now))
}

/// Writes that were sent within one step.
#[derive(Debug, Default)]
struct Slot {
    /// Which step, counted from 1.
    step: AtomicU64,
    writes: AtomicU64,
}

/// Acknowledged writes.
#[derive(Debug)]
pub struct Acknowledged {
    total: AtomicU64,
    open: AtomicU64,
    last_us: AtomicU64,
    slots: Box<[Slot; STEPS]>,
}

impl Default for Acknowledged {
    fn default() -> Self {
        Acknowledged {
            total: AtomicU64::new(0),
            open: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            slots: Box::new(std::array::from_fn(|_| Slot::default())),
        }
    }
}

impl Acknowledged {
    /// So many writes were acknowledged at that time: their replies have come, and are handed on after this. Only the
    /// owning worker may call this.
    pub fn add(&self, writes: u64, now: Instant) {
        let total = self.total.load(Ordering::Relaxed) + writes;
        self.last_us
            .store(since_epoch(now).as_micros() as u64, Ordering::Relaxed);
        self.total.store(total, Ordering::Release);
    }

    /// So many of those just added write for certain, and were sent no earlier than `sent`. Only the owning worker may
    /// call this.
    pub fn add_sent(&self, writes: u64, sent: Instant) {
        let step = since_epoch(sent).as_millis() as u64 / STEP_MS + 1;
        let slot = &self.slots[step as usize % STEPS];
        let found = slot.step.load(Ordering::Relaxed);
        if found > step {
            // Sent so long ago that its place is taken: it is left out, and the figure is too low.
            return;
        }
        if found < step {
            // Who sees the new step must not see the old count with it.
            slot.writes.store(0, Ordering::Relaxed);
            slot.step.store(step, Ordering::Release);
        }
        let writes = slot.writes.load(Ordering::Relaxed) + writes;
        slot.writes.store(writes, Ordering::Release);
    }

    /// So many writes were passed on, and nobody will say which replies are theirs. Only the owning worker may call
    /// this.
    pub fn open(&self, writes: u64) {
        self.open
            .store(self.open.load(Ordering::Relaxed) + writes, Ordering::Release);
    }

    /// So many of those have been answered by now, or never will be. Only the owning worker may call this.
    pub fn settle(&self, writes: u64, now: Instant) {
        self.add(writes, now);
        let open = self.open.load(Ordering::Relaxed).saturating_sub(writes);
        self.open.store(open, Ordering::Release);
    }

    /// Writes that were acknowledged: each had run before this was called.
    pub fn read(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// As many as may have been acknowledged.
    pub fn read_most(&self) -> u64 {
        // In this order: what is settled in between counts twice rather than not at all.
        let open = self.open.load(Ordering::Acquire);
        open + self.read()
    }

    /// Of those that write for certain, at least so many were sent after that moment.
    pub fn sent_since(&self, since: Instant) -> u64 {
        // Steps that lie wholly behind it.
        let first = (since_epoch(since).as_millis() as u64).div_ceil(STEP_MS) + 2;
        let after = |slot: &Slot| {
            let step = slot.step.load(Ordering::Acquire);
            let writes = slot.writes.load(Ordering::Acquire);
            (step >= first).then_some(writes)
        };
        self.slots.iter().filter_map(after).sum()
    }

    /// When the last one was acknowledged, as it was when its worker woke up for it; `None`: there was none.
    pub fn last(&self) -> Option<Instant> {
        let last = self.last_us.load(Ordering::Relaxed);
        (self.read() > 0).then(|| *EPOCH.get_or_init(Instant::now) + Duration::from_micros(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_since_is_never_overstated() {
        begin();
        let began = Instant::now();
        let written = Acknowledged::default();
        // One every 10 ms, for a minute.
        for n in 0..6_000u64 {
            let sent = began + Duration::from_millis(n * 10);
            written.add(1, sent);
            written.add_sent(1, sent);
        }
        assert_eq!(written.read(), 6_000);
        for back in [0u64, 50, 500, 5_000, 8_000, 40_000] {
            let since = began + Duration::from_millis(60_000 - back);
            let truth = back / 10;
            let told = written.sent_since(since);
            assert!(told <= truth, "{told} of {truth}");
            if back <= 8_000 {
                assert!(told + 5 >= truth, "{told} of {truth}");
            }
        }
        // What comes late for its step is left out.
        let before = written.sent_since(began);
        written.add_sent(1, began);
        assert_eq!(written.sent_since(began), before);
    }

    #[test]
    fn what_is_open_counts_until_it_is_settled() {
        let written = Acknowledged::default();
        let now = Instant::now();
        assert_eq!(written.last(), None);
        written.open(2);
        assert_eq!((written.read(), written.read_most()), (0, 2));
        written.settle(2, now);
        assert_eq!((written.read(), written.read_most()), (2, 2));
        assert!(written.last().is_some());
    }
}
