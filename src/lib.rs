//! redis-ambassador: makes a replication group look like one plain Redis on `localhost:6379`.
//!
//! The modules, from top to bottom; each uses only those below it (`tests/layers.rs` keeps it so).

pub mod cli;
pub mod local;
pub mod ambassador;
pub mod admin;
pub mod control;
pub mod worker;
pub mod config;
pub mod attempts;
mod tcp;
pub mod stats;
pub mod topology;
pub mod settings;
pub mod commands;
pub mod resp;
#[cfg(test)]
mod simulation;
