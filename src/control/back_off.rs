//! The pauses between attempts to reach something: longer each time, and each a little different, as the ambassadors of
//! a hundred pods must not come back in step.

use std::time::Duration;

/// Also the least time between two connects, however often somebody wants to know.
pub(super) const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(2);

/// Attempts without an answer.
#[derive(Debug)]
pub(super) struct BackOff(Duration);

impl BackOff {
    /// Nothing has been tried.
    pub(super) fn new() -> Self {
        BackOff(FIRST)
    }

    /// There was an answer.
    pub(super) fn reset(&mut self) {
        *self = BackOff::new();
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(MOST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{BackOff, FIRST, MOST};

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew_after_an_answer() {
        let mut back_off = BackOff::new();
        for doublings in 0..10 {
            let most = (FIRST * (1 << doublings)).min(MOST);
            let pause = back_off.pause();
            assert!((most / 2..=most).contains(&pause), "{doublings}: {pause:?}");
        }
        back_off.reset();
        assert!(back_off.pause() <= FIRST);
    }
}
