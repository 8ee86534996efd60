//! Faults under load: what applications see of them, compared with what they were told.
//!
//! `AMBASSADOR_FAILOVERS` is how many failovers of each kind there are (`make failover`: 50).

#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod failover;
mod link_faults;
mod load;
mod pump;
mod reader;
mod relay;
mod report;
mod tally;
mod transactor;
mod world;
mod writer;

use failover::Kind;
use support::Flavor;

fn number(name: &str, default: usize) -> usize {
    let Ok(text) = std::env::var(name) else {
        return default;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
}

#[track_caller]
fn meets_its_bars(kind: Kind, flavor: Flavor) {
    let figures = failover::run(kind, flavor, number("AMBASSADOR_FAILOVERS", 3));
    println!("{}", report::table(std::slice::from_ref(&figures)));
    let missed = figures.missed(kind.is_planned());
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
