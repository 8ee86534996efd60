//! The bars: what the ambassador must reach and what it aims at, as ratios inside one run.
//!
//! A ratio is taken inside one round (both sides saw the same machine); the median of the rounds' ratios decides.

use super::peers::Contender::{self, Ambassador, Direct, Envoy, Haproxy, Twemproxy};
use super::results::{Figure, Results};
use super::stats::Spread;

/// All peers: the best of them is what the aims speak of.
const PEERS: &[Contender] = &[Haproxy, Twemproxy, Envoy];

/// `figure` of the ambassador under `workload` over the smallest of `against`.
struct Ratio {
    workload: &'static str,
    figure: Figure,
    against: &'static [Contender],
    what: &'static str,
    must: Option<f64>,
    aim: Option<f64>,
}

const fn ratio(
    workload: &'static str,
    figure: Figure,
    against: &'static [Contender],
    what: &'static str,
    must: Option<f64>,
    aim: Option<f64>,
) -> Ratio {
    Ratio {
        workload,
        figure,
        against,
        what,
        must,
        aim,
    }
}

const RATIOS: [Ratio; 14] = [
    ratio(
        "get50",
        Figure::Proxy,
        &[Twemproxy],
        "GET, 50 clients: CPU over twemproxy's",
        Some(1.0),
        None,
    ),
    ratio(
        "get50",
        Figure::Proxy,
        &[Haproxy],
        "GET, 50 clients: CPU over HAProxy's",
        Some(0.7),
        None,
    ),
    ratio(
        "get50",
        Figure::Proxy,
        PEERS,
        "GET, 50 clients: CPU over the best peer's",
        None,
        Some(0.8),
    ),
    ratio(
        "get50",
        Figure::Sum,
        &[Direct],
        "GET, 50 clients: proxy + Redis over Redis alone",
        Some(1.3),
        Some(1.0),
    ),
    ratio(
        "get50p16",
        Figure::Proxy,
        &[Haproxy],
        "GET, pipeline 16: CPU over HAProxy's",
        Some(1.5),
        Some(1.0),
    ),
    ratio(
        "get50p16",
        Figure::Proxy,
        &[Twemproxy],
        "GET, pipeline 16: CPU over twemproxy's",
        Some(0.45),
        None,
    ),
    ratio(
        "set50",
        Figure::Proxy,
        &[Twemproxy],
        "SET, 50 clients: CPU over twemproxy's",
        Some(1.0),
        None,
    ),
    ratio(
        "set50",
        Figure::Proxy,
        PEERS,
        "SET, 50 clients: CPU over the best peer's",
        None,
        Some(0.8),
    ),
    // Predixy is in no package registry; where it was measured it used 1.05 of twemproxy's.
    ratio(
        "get500",
        Figure::Proxy,
        &[Twemproxy],
        "GET, 500 clients: CPU over twemproxy's (predixy's is 1.05 of it)",
        Some(1.05),
        None,
    ),
    ratio(
        "get500",
        Figure::Proxy,
        PEERS,
        "GET, 500 clients: CPU over the best peer's",
        None,
        Some(0.8),
    ),
    ratio(
        "get16k",
        Figure::Proxy,
        &[Twemproxy],
        "GET 16 KiB: CPU over twemproxy's",
        Some(1.0),
        None,
    ),
    ratio(
        "get16k",
        Figure::Proxy,
        PEERS,
        "GET 16 KiB: CPU over the best peer's",
        None,
        Some(0.8),
    ),
    // 55 us and 45 us where asking directly took 28 us.
    ratio(
        "get1",
        Figure::Mean,
        &[Direct],
        "GET, 1 client: mean latency over direct's",
        Some(1.96),
        Some(1.61),
    ),
    ratio(
        "get1",
        Figure::Mean,
        PEERS,
        "GET, 1 client: mean latency over the best peer's",
        None,
        Some(0.8),
    ),
];

/// A bar with what was reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reached {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// `None` when this run did not measure it.
    pub(crate) median: Option<f64>,
    pub(crate) spread: Option<Spread>,
    pub(crate) quiet: Option<f64>,
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
}

/// What a bar came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NotMeasured,
    Missed,
    /// The bar is met, the aim is not (or there is none).
    Pass,
    /// There is no bar, and the aim is not reached.
    Open,
    Aim,
}

impl Reached {
    pub(crate) fn verdict(&self) -> Verdict {
        let Some(reached) = self.median else {
            return Verdict::NotMeasured;
        };
        if self.must.is_some_and(|must| reached > must) {
            Verdict::Missed
        } else if self.aim.is_some_and(|aim| reached <= aim) {
            Verdict::Aim
        } else if self.must.is_some() {
            Verdict::Pass
        } else {
            Verdict::Open
        }
    }
}

/// All bars, in order; nothing when the ambassador did not take part.
pub(crate) fn reached(results: &Results) -> Vec<Reached> {
    let Some(ours) = results.column(Ambassador) else {
        return Vec::new();
    };
    let mut bars: Vec<Reached> = RATIOS
        .iter()
        .map(|ratio| of_ratio(ratio, results, ours))
        .collect();
    let mean = results
        .rounds("get1")
        .and_then(|rounds| rounds.spread(ours, Figure::Mean));
    let once = &results.once[ours];
    let absolute = |what: &str, unit, median, must, aim| Reached {
        what: what.to_owned(),
        unit,
        median,
        spread: None,
        quiet: None,
        must: Some(must),
        aim: Some(aim),
    };
    let mean = mean.map(|mean| mean.median);
    bars.push(absolute("GET, 1 client: mean latency", " us", mean, 55.0, 45.0));
    let each = once.idle.map(|idle| idle.each);
    bars.push(absolute(
        "1,000 idle clients: bytes each",
        "",
        each,
        2048.0,
        1024.0,
    ));
    let base = once.idle.map(|idle| idle.base as f64 / 1e6);
    bars.push(absolute("memory before the first client", " MB", base, 12.0, 8.0));
    let calls = once.syscalls.as_ref().map(|calls| calls.per_request);
    bars.push(absolute(
        "GET, 50 clients: system calls per request",
        "",
        calls,
        2.6,
        2.2,
    ));
    bars
}

fn of_ratio(ratio: &Ratio, results: &Results, ours: usize) -> Reached {
    let theirs: Vec<usize> = ratio
        .against
        .iter()
        .filter_map(|&peer| results.column(peer))
        .collect();
    // A best of fewer peers would be another bar.
    let complete = theirs.len() == ratio.against.len();
    let rounds = results.rounds(ratio.workload).filter(|_| complete);
    let spread = rounds.and_then(|rounds| rounds.ratios(ours, &theirs, ratio.figure));
    let quiet = rounds.zip(results.column(Direct)).and_then(|(rounds, direct)| {
        rounds
            .quiet(direct)
            .ratios(ours, &theirs, ratio.figure)
            .map(|spread| spread.median)
    });
    Reached {
        what: ratio.what.to_owned(),
        unit: "",
        median: spread.map(|spread| spread.median),
        spread,
        quiet,
        must: ratio.must,
        aim: ratio.aim,
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::super::results::{Once, Rounds};
    use super::super::workload::Workload;
    use super::*;

    fn results(ours: f64) -> Results {
        let round = vec![
            sample(0.0, 9.0),
            sample(13.0, 8.0),
            sample(10.0, 3.0),
            sample(ours, 3.0),
        ];
        Results {
            contenders: vec![Direct, Haproxy, Twemproxy, Ambassador],
            once: vec![Once::default(); 4],
            workloads: vec![Rounds {
                workload: Workload::by_name("get50").unwrap(),
                rounds: vec![round],
            }],
        }
    }

    #[test]
    fn a_bar_is_met_up_to_its_limit_and_missed_beyond() {
        let verdict = |ours, bar: usize| reached(&results(ours))[bar].verdict();
        assert_eq!(verdict(10.0, 0), Verdict::Pass);
        assert_eq!(verdict(10.1, 0), Verdict::Missed);
        assert_eq!(verdict(9.1, 1), Verdict::Pass);
        assert_eq!(verdict(9.2, 1), Verdict::Missed);
        // proxy + Redis: 6 + 3 over 9 is the aim, 9 + 3 over 9 is beyond the bar.
        assert_eq!(verdict(6.0, 3), Verdict::Aim);
        assert_eq!(verdict(9.0, 3), Verdict::Missed);
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let bars = reached(&results(5.0));
        // Envoy is absent, so there is no best of all peers; pipeline 16 was not run.
        assert_eq!(bars[2].verdict(), Verdict::NotMeasured);
        assert_eq!(bars[4].verdict(), Verdict::NotMeasured);
        let mut without_us = results(5.0);
        without_us.contenders.pop();
        assert!(reached(&without_us).is_empty());
    }
}
