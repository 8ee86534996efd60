//! Whether a replica that is well again is trusted already: one that comes and goes stays out longer each time. Pure.

use std::time::Duration;

/// Beyond this much time without having been put out, a replica has a clean record.
const FORGET: Duration = Duration::from_mins(1);
/// How long it must be well to come back the second time; doubled each time.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// A replica's record.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// It is in.
    trusted: bool,
    /// Since when it is well; `None`: it is not.
    well: Option<Duration>,
    /// How often it was put out lately, and when last.
    put_out: u32,
    last: Duration,
}

impl Standing {
    /// Takes in whether it is well now.
    pub(super) fn judge(&mut self, well: bool, now: Duration) {
        if !well {
            if self.trusted {
                if now.saturating_sub(self.last) > FORGET {
                    self.put_out = 0;
                }
                self.put_out += 1;
                self.last = now;
            }
            (self.trusted, self.well) = (false, None);
            return;
        }
        let since = *self.well.get_or_insert(now);
        self.trusted |= now.saturating_sub(since) >= self.probation();
    }

    /// Whether it may serve, if it is well.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The first time it is let in again at once.
    fn probation(&self) -> Duration {
        match self.put_out {
            0 | 1 => Duration::ZERO,
            times => FIRST.saturating_mul(1 << (times - 2).min(10)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_flaps_stays_out_longer_each_time_and_is_forgiven_later() {
        let mut standing = Standing::default();
        let at = Duration::from_millis;
        standing.judge(true, at(0));
        assert!(standing.is_trusted(), "at first it is let in at once");
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            now += 100;
            standing.judge(false, at(now));
            assert!(!standing.is_trusted());
            let began = now;
            while !standing.is_trusted() {
                now += 50;
                standing.judge(true, at(now));
            }
            waits.push(now - began - 50);
        }
        assert_eq!(waits, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        now += 61_000;
        standing.judge(false, at(now));
        standing.judge(true, at(now + 1));
        assert!(standing.is_trusted(), "a minute without trouble");
    }

    #[test]
    fn being_well_has_to_last() {
        let mut standing = Standing::default();
        let at = Duration::from_millis;
        for (now, well) in [
            (0, true),
            (10, false),
            (20, true),
            (30, false),
            (40, true),
            (200, false),
            (210, true),
        ] {
            standing.judge(well, at(now));
        }
        assert!(!standing.is_trusted());
        standing.judge(true, at(459));
        assert!(!standing.is_trusted());
        standing.judge(true, at(460));
        assert!(standing.is_trusted());
    }
}
