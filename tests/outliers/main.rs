//! Nodes that are there and do badly: they close, err, stall or are slow. Real servers behind a relay that does that.

#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod ejection;
mod hedging;
mod relay;
mod slow;
