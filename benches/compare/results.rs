//! What was measured: a sample per workload, contender and round, and the figures that are taken once.

use super::idle::Idle;
use super::peers::Contender;
use super::stats::{Spread, quietest_third};
use super::syscalls::Syscalls;
use super::workload::Workload;

/// One window of one contender under one workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU microseconds per request, of the proxy process, of all Redis processes and of the generator.
    pub(crate) proxy_us: f64,
    pub(crate) redis_us: f64,
    pub(crate) generator_us: f64,
}

/// A column of [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    PerSecond,
    Mean,
    P50,
    P99,
    Proxy,
    Redis,
    Sum,
    Generator,
}

impl Figure {
    pub(crate) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::PerSecond => sample.per_second,
            Self::Mean => sample.mean_us,
            Self::P50 => sample.p50_us,
            Self::P99 => sample.p99_us,
            Self::Proxy => sample.proxy_us,
            Self::Redis => sample.redis_us,
            Self::Sum => sample.proxy_us + sample.redis_us,
            Self::Generator => sample.generator_us,
        }
    }
}

/// A contender's figures that are taken once, not per workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    pub(crate) version: String,
    pub(crate) peak: Option<u64>,
    pub(crate) idle: Option<Idle>,
    pub(crate) syscalls: Option<Syscalls>,
}

/// The rounds of one workload: `rounds[r][c]` is contender number `c` in round `r`.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    pub(crate) workload: Workload,
    pub(crate) rounds: Vec<Vec<Sample>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) once: Vec<Once>,
    pub(crate) workloads: Vec<Rounds>,
}

impl Results {
    pub(crate) fn column(&self, contender: Contender) -> Option<usize> {
        self.contenders.iter().position(|&other| other == contender)
    }

    pub(crate) fn rounds(&self, workload: &str) -> Option<&Rounds> {
        self.workloads
            .iter()
            .find(|rounds| rounds.workload.name == workload)
    }
}

impl Rounds {
    pub(crate) fn spread(&self, column: usize, figure: Figure) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| figure.of(&round[column])))
    }

    /// The rounds in which Redis, asked directly (`direct`), used least CPU: the machine was quietest then.
    pub(crate) fn quiet(&self, direct: usize) -> Self {
        let disturbance: Vec<f64> = self.rounds.iter().map(|round| round[direct].redis_us).collect();
        let rounds = quietest_third(&disturbance)
            .into_iter()
            .map(|round| self.rounds[round].clone())
            .collect();
        Self {
            workload: self.workload,
            rounds,
        }
    }

    /// `ours` over the smallest of `theirs`, each ratio taken inside one round.
    pub(crate) fn ratios(&self, ours: usize, theirs: &[usize], figure: Figure) -> Option<Spread> {
        if theirs.is_empty() {
            return None;
        }
        Spread::of(self.rounds.iter().map(|round| {
            let best = theirs
                .iter()
                .map(|&column| figure.of(&round[column]))
                .fold(f64::INFINITY, f64::min);
            figure.of(&round[ours]) / best
        }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::workload::WORKLOADS;
    use super::*;

    pub(crate) fn sample(proxy_us: f64, redis_us: f64) -> Sample {
        Sample {
            per_second: 1000.0,
            mean_us: proxy_us + redis_us,
            p50_us: 10.0,
            p99_us: 20.0,
            proxy_us,
            redis_us,
            generator_us: 3.0,
        }
    }

    #[test]
    fn ratios_are_taken_inside_each_round() {
        // Given a machine that was twice as slow in the second round, for everybody.
        let rounds = Rounds {
            workload: WORKLOADS[0],
            rounds: vec![
                vec![sample(10.0, 3.0), sample(5.0, 3.0)],
                vec![sample(20.0, 6.0), sample(10.0, 6.0)],
            ],
        };
        // Then the ratio is the same in both.
        let ratio = rounds.ratios(1, &[0], Figure::Proxy).unwrap();
        assert!((ratio.low - 0.5).abs() < 1e-9 && (ratio.high - 0.5).abs() < 1e-9);
        assert_eq!(rounds.ratios(1, &[], Figure::Proxy), None);
    }

    #[test]
    fn quiet_rounds_are_chosen_by_the_directly_asked_redis() {
        let round = |redis| vec![sample(0.0, redis), sample(100.0 / redis, 1.0)];
        let rounds = Rounds {
            workload: WORKLOADS[0],
            rounds: [9.0, 2.0, 8.0, 7.0, 1.0, 6.0].map(round).to_vec(),
        };
        let quiet = rounds.quiet(0);
        let kept: Vec<f64> = quiet.rounds.iter().map(|round| round[0].redis_us).collect();
        assert!(kept.len() == 2 && (kept[0] - 2.0).abs() < 1e-9 && (kept[1] - 1.0).abs() < 1e-9);
    }
}
