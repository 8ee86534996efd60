//! The time within which 19 of 20 reads are answered, from a histogram that forgets. Pure.

use std::time::Duration;

/// Buckets for each doubling: a bucket is at most an eighth wide.
const PER_DOUBLING: u64 = 8;
/// Up to 2^27 microseconds, which is two minutes; what takes longer counts as that.
const BUCKETS: usize = 25 * PER_DOUBLING as usize;

/// Fewer say nothing.
const ENOUGH: u32 = 100;
/// How often the figure is made anew.
const RENEWED: u32 = 100;
/// At so many all count half: what was an hour ago says little.
const MANY: u32 = 10_000;

/// How long reads took lately.
#[derive(Debug)]
pub(super) struct Quantile {
    buckets: [u32; BUCKETS],
    all: u32,
    /// Counted since the figure was made.
    news: u32,
    p95: Option<Duration>,
}

impl Quantile {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Quantile {
            buckets: [0; BUCKETS],
            all: 0,
            news: 0,
            p95: None,
        }
    }

    /// One took so long.
    pub(super) fn record(&mut self, took: Duration) {
        self.buckets[bucket(took.as_micros() as u64)] += 1;
        self.all += 1;
        self.news += 1;
        if self.news >= RENEWED {
            self.news = 0;
            self.renew();
        }
    }

    /// The time within which 19 of 20 were answered; `None`: there were too few.
    pub(super) fn p95(&self) -> Option<Duration> {
        self.p95
    }

    fn renew(&mut self) {
        if self.all >= ENOUGH {
            let mut above = self.all / 20;
            let last = self.buckets.iter().enumerate().rev().find(|(_, count)| {
                let found = **count > above;
                above = above.saturating_sub(**count);
                found
            });
            self.p95 = last.map(|(index, _)| Duration::from_micros(end(index)));
        }
        if self.all >= MANY {
            self.all = 0;
            for count in &mut self.buckets {
                *count /= 2;
                self.all += *count;
            }
        }
    }
}

/// Linear up to 8 microseconds, then eight for each doubling.
fn bucket(us: u64) -> usize {
    if us < PER_DOUBLING {
        return us as usize;
    }
    let doublings = u64::from(us.ilog2()) - 3;
    let within = (us >> doublings) - PER_DOUBLING;
    ((PER_DOUBLING * (doublings + 1) + within) as usize).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end(index: usize) -> u64 {
    let (doublings, within) = (index as u64 / PER_DOUBLING, index as u64 % PER_DOUBLING);
    match doublings {
        0 => within + 1,
        _ => (PER_DOUBLING + within + 1) << (doublings - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_below_the_end_of_its_bucket_and_near_it() {
        for us in (0..5_000).chain([1 << 20, (1 << 20) + 12_345, (1 << 27) - 1]) {
            let end = end(bucket(us));
            assert!(us < end && end <= us + us / 8 + 1, "{us}: {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn it_is_the_time_within_which_nineteen_of_twenty_were_answered() {
        let mut quantile = Quantile::new();
        for us in 1..=99 {
            quantile.record(Duration::from_micros(us));
        }
        assert_eq!(quantile.p95(), None, "too few");
        for us in (1..=10_000).map(|n| n * 7_919 % 10_000) {
            quantile.record(Duration::from_micros(us));
        }
        let p95 = quantile.p95().unwrap().as_micros();
        assert!((9_400..=10_700).contains(&p95), "{p95}");
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut quantile = Quantile::new();
        for _ in 0..100_000 {
            quantile.record(Duration::from_millis(50));
        }
        for _ in 0..60_000 {
            quantile.record(Duration::from_micros(200));
        }
        assert!(quantile.p95().unwrap() < Duration::from_micros(300));
    }
}
