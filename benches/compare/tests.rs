//! The tests of the benchmark's pure parts: a bench without a harness cannot run them itself.

#[path = "main.rs"]
mod compare;
