//! The scanners of `resp` against other people's readers: redis-protocol's decoders, and real servers.
//!
//! Every property runs `PROPTEST_CASES` times (256 unless said) and, when it fails, shows the smallest input that
//! it found and the seed that brings it back. Frames are written as bytes here, never by redis-protocol, which
//! does not give back what it took (a set loses its duplicates, `,3.0` becomes `,3`).

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod inline;
mod mutation;
mod oracle;
mod replies;
mod reply_frames;
mod requests;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Runs `holds` on random values until it fails; shows how to run the same values again.
#[track_caller]
fn property<S: Strategy<Value: Debug>>(values: &S, holds: impl Fn(S::Value) -> TestCaseResult) {
    let mut config = Config {
        // What is found is kept as a named test, not as a file of seeds.
        failure_persistence: None,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => rand::random(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let cases = config.cases;
    if let Err(failure) = TestRunner::new(config).run(values, holds) {
        panic!("{failure}\nagain with PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
    }
}
