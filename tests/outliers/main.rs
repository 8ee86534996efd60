//! Nodes that are there and do badly: they close, err, stall or are slow. Real servers behind a relay that does that.

#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod ejection;
mod hedging;
mod relay;
mod slow;

/// The arguments of a replica that follows its master at that port, and serves nothing while it does not.
fn follows(port: &str) -> [&str; 5] {
    [
        "--replicaof",
        "127.0.0.1",
        port,
        "--replica-serve-stale-data",
        "no",
    ]
}
