//! Medians, quartiles and a latency histogram.
//!
//! The histogram has 32 steps per power of two (a step is at most 3 % wide), so recording is an index and an add.

/// Steps per power of two, as a power of two.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
/// Up to 2^40 ns, which is 18 minutes: longer than any window.
const BUCKETS: usize = STEPS * (40 - STEP_BITS as usize + 1);

/// Latencies in nanoseconds, counted by size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            sum: 0,
        }
    }

    /// Counts `times` requests that took `nanoseconds` each.
    pub(crate) fn record(&mut self, nanoseconds: u64, times: u64) {
        self.buckets[bucket_of(nanoseconds)] += times;
        self.count += times;
        self.sum += nanoseconds * times;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The mean in microseconds; zero when nothing was recorded.
    pub(crate) fn mean_us(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64 / 1000.0
        }
    }

    /// The latency in microseconds that the share `quantile` of requests did not exceed (middle of its step).
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle_of(index) / 1000.0;
            }
        }
        0.0
    }
}

fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds < STEPS as u64 {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - STEP_BITS;
    let index = ((shift as usize) << STEP_BITS) + (nanoseconds >> shift) as usize;
    index.min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    if bucket < 2 * STEPS {
        return bucket as f64;
    }
    let shift = (bucket >> STEP_BITS) - 1;
    let low = (bucket - (shift << STEP_BITS)) as u64;
    ((low << shift) as f64) + (1_u64 << shift) as f64 / 2.0
}

/// A median with the quartiles beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| Self {
            low: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            high: quantile(&sorted, 0.75),
        })
    }
}

/// Linear interpolation between the two nearest of `sorted`, which is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

/// The indices of the third (at least one) of `disturbance` that is smallest, in their order.
pub(crate) fn quietest_third(disturbance: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..disturbance.len()).collect();
    order.sort_by(|&left, &right| disturbance[left].total_cmp(&disturbance[right]));
    order.truncate(disturbance.len().div_ceil(3));
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_own_middle_and_is_narrow() {
        for value in (0..100_000).chain([1 << 20, (1 << 30) + 12_345, 1 << 39]) {
            let middle = middle_of(bucket_of(value));
            let error = (middle - value as f64).abs();
            assert!(error <= value as f64 / 32.0, "{value} is reported as {middle}");
        }
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut histogram = Histogram::new();
        for value in 1..=1000_u64 {
            histogram.record(value * 1000, 1);
        }
        assert!((histogram.quantile_us(0.5) - 500.0).abs() < 16.0);
        assert!((histogram.quantile_us(0.99) - 990.0).abs() < 31.0);
        assert!((histogram.mean_us() - 500.5).abs() < 0.001);
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn a_latency_beyond_the_last_bucket_is_counted_in_it() {
        let mut histogram = Histogram::new();
        histogram.record(u64::MAX / 2, 1);
        assert!(histogram.quantile_us(1.0) > 1e8);
    }

    #[test]
    fn spread_is_the_median_and_the_quartiles() {
        let spread = Spread::of([5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(
            spread,
            Some(Spread {
                low: 2.0,
                median: 3.0,
                high: 4.0
            })
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_quietest_third_is_where_the_disturbance_was_least() {
        assert_eq!(quietest_third(&[5.0, 1.0, 9.0, 2.0, 8.0, 7.0]), vec![1, 3]);
        assert_eq!(quietest_third(&[3.0]), vec![0]);
        assert_eq!(quietest_third(&[4.0, 2.0, 3.0, 1.0]), vec![1, 3]);
    }
}
