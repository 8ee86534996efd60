//! What the ambassador tells of acknowledged writes that failovers lost.

use super::Ambassador;

/// What its metrics say of all failovers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Failovers that lost none.
    pub none: u64,
    /// Failovers that may have lost some.
    pub some: u64,
    /// Failovers of which it cannot be told.
    pub unknown: u64,
    /// Writes lost at least.
    pub least: u64,
    /// Writes lost at most.
    pub most: u64,
}

impl Losses {
    /// What is told now.
    #[track_caller]
    pub fn told_by(ambassador: &Ambassador) -> Self {
        let (_, text) = ambassador.admin_get("/metrics");
        let value = |sample: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("redis_ambassador_{sample} ")));
            line.and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("no {sample} in:\n{text}"))
        };
        Losses {
            none: value("failovers_total{lost=\"none\"}"),
            some: value("failovers_total{lost=\"some\"}"),
            unknown: value("failovers_total{lost=\"unknown\"}"),
            least: value("writes_lost_total{bound=\"least\"}"),
            most: value("writes_lost_total{bound=\"most\"}"),
        }
    }

    /// Failovers that were answered for.
    pub fn failovers(&self) -> u64 {
        self.none + self.some + self.unknown
    }
}
