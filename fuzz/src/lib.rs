//! What must hold for any bytes: the checks that the fuzz targets and `tests/fuzz_corpus.rs` share.
//!
//! A check panics when something does not hold, and does nothing else that can be seen.

pub mod classifier;
pub mod config;
pub mod inline;
pub mod reply;
pub mod request;

/// The most aggregate heads that an oracle is shown: redis-protocol recurses, and each may be one level.
const MAX_DEPTH: usize = 100;

/// Up to this many bytes are cut at every place, longer ones at so many.
const MAX_CUTS: usize = 128;

/// Whether redis-protocol can read this without overflowing its stack.
fn is_shallow(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| b"*%~>|".contains(byte)).count() <= MAX_DEPTH
}

/// The places where `bytes` are cut in two.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (0..bytes.len()).step_by(bytes.len() / MAX_CUTS + 1)
}

/// `bytes` in the ways to cut them that every scanner is tried with: whole, byte by byte, and in two at many places.
fn cut_in_many_ways(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let fixed = [1, 3, 64].into_iter().map(|size| bytes.chunks(size).collect());
    fixed.chain(cuts(bytes).map(|at| vec![&bytes[..at], &bytes[at..]]))
}
