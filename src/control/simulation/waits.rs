//! How long writes are held although the master is there: no longer than a sentinel is to be believed that speaks of a
//! failover again and again, with none to be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::STEP;

/// A single word is believed for so long at most, and after that not for at least as long, twice as long each time.
const BELIEVED: Duration = Duration::from_secs(4);
/// That it is over shows in the next answer of a probe.
const NOTICED: Duration = Duration::from_millis(500);

/// Since the last change of the master.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// When each sentinel spoke of a failover first.
    alarmed: BTreeMap<usize, Duration>,
    held: Duration,
}

impl Waits {
    /// A sentinel says that it begins a failover.
    pub(super) fn alarmed(&mut self, sentinel: usize, now: Duration) {
        self.alarmed.entry(sentinel).or_insert(now);
    }

    /// Writes are held for one more step.
    pub(super) fn more(&mut self, now: Duration) -> Result<(), String> {
        self.held += STEP;
        let believed = self.alarmed.values().map(|since| {
            // After 4, 12, 28... seconds it may be believed once more.
            let rests = 1 + now.saturating_sub(*since).as_secs() / BELIEVED.as_secs();
            (BELIEVED + NOTICED) * (1 + rests.ilog2())
        });
        // What is heard at the end of a step ends it.
        let most = believed.sum::<Duration>() + 2 * STEP;
        if self.held > most {
            return Err(format!(
                "writes were held for {:?} though the master is there; {most:?} is the most: {:?}",
                self.held, self.alarmed
            ));
        }
        Ok(())
    }
}
