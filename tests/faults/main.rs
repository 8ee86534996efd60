//! Faults under load: what applications see of them, compared with what they were told.
//!
//! `AMBASSADOR_FAILOVERS` is how many failovers of each kind there are (`make failover`: 50), `AMBASSADOR_SOAK_SECONDS`
//! how long random faults go on (`make soak`: 900), `AMBASSADOR_FAULT_SEED` brings back those that a run names.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod compare;
mod deposed;
mod failover;
mod haproxy;
mod link_faults;
mod load;
mod plan;
mod pump;
mod reader;
mod redis_py;
mod relay;
mod report;
mod soak;
mod tally;
mod transactor;
mod watch;
mod world;
mod writer;

use std::time::Duration;

use failover::Kind;
use support::Flavor;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

#[track_caller]
fn meets_its_bars(kind: Kind, flavor: Flavor) {
    let times = variable("AMBASSADOR_FAILOVERS").unwrap_or(3);
    let figures = failover::run(kind, flavor, times as usize);
    println!("{}", report::table(std::slice::from_ref(&figures)));
    let mut missed = figures.missed(kind.is_planned());
    if let (Kind::Command, Some(told)) = (kind, figures.told)
        && told.most > 0
    {
        missed.push(format!(
            "nothing is lost in such a failover, and told was {told:?}"
        ));
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_failover_that_sentinel_makes_is_nothing_but_a_delay() {
    meets_its_bars(Kind::Sentinel, Flavor::Redis7);
}

#[test]
fn a_failover_by_command_is_nothing_but_a_delay() {
    meets_its_bars(Kind::Command, Flavor::Redis8);
}

#[test]
fn a_killed_master_costs_only_writes_in_flight() {
    meets_its_bars(Kind::Kill, Flavor::Valkey8);
}

/// `make failover`: the table of README.
#[test]
#[ignore = "takes half an hour"]
fn failovers_in_numbers() {
    let times = variable("AMBASSADOR_FAILOVERS").unwrap_or(50) as usize;
    let compared = variable("AMBASSADOR_COMPARED").unwrap_or(10) as usize;
    let mut runs = Vec::new();
    let mut missed = Vec::new();
    for (kind, flavor, times) in [
        (Kind::Sentinel, Flavor::Redis7, times / 2),
        (Kind::Command, Flavor::Redis8, times / 2),
        (Kind::Kill, Flavor::Valkey8, times),
    ] {
        let figures = failover::run(kind, flavor, times);
        missed.extend(figures.missed(kind.is_planned()));
        runs.push(figures);
    }
    runs.extend(compare::all(compared));
    println!("{}", report::table(&runs));
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn random_faults_leave_nothing_behind() {
    let seed = variable("AMBASSADOR_FAULT_SEED").unwrap_or_else(rand::random);
    let seconds = variable("AMBASSADOR_SOAK_SECONDS").unwrap_or(15);
    let missed = soak::run(Flavor::Redis7, seed, Duration::from_secs(seconds));
    assert!(
        missed.is_empty(),
        "AMBASSADOR_FAULT_SEED={seed}\n{}",
        missed.join("\n")
    );
}
