//! What simulations share: dice that always fall the same way for a seed, and who runs the seeds. Tests only.
//!
//! `AMBASSADOR_SIMULATION_SEEDS` is how many seeds each simulation runs, `AMBASSADOR_SIMULATION_SEED` runs one alone
//! and tells its story.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Random numbers from a seed (splitmix64): the same ones with every version of every crate, as seeds are kept.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of that range, which is not empty.
    pub(crate) fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + self.roll() % (range.end - range.start)
    }

    /// An index below `length`, which is not 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.of(0..length as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.of(0..times) == 0
    }

    pub(crate) fn milliseconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }
}

/// Runs `simulate` with every seed on all cores; a seed that fails is run again with its story told. The story is
/// everything the simulation says when its second argument is true.
pub(crate) fn run(name: &str, seeds: u64, simulate: impl Fn(u64, bool) -> Result<(), String> + Sync) {
    if let Some(seed) = variable("AMBASSADOR_SIMULATION_SEED") {
        if let Err(broken) = guarded(&simulate, seed, true) {
            panic!("{name}, seed {seed}: {broken}");
        }
        return;
    }
    let seeds = variable("AMBASSADOR_SIMULATION_SEEDS").unwrap_or(seeds);
    let began = Instant::now();
    let failures = failures(0..seeds, &simulate);
    eprintln!("{name}: seeds 0 to {} in {:?}", seeds - 1, began.elapsed());
    if let Some((seed, broken)) = failures.first() {
        let all: Vec<u64> = failures.iter().map(|(seed, _)| *seed).take(20).collect();
        let _ = guarded(&simulate, *seed, true);
        panic!(
            "{name}, seed {seed}: {broken}\n{} of {seeds} seeds fail, first {all:?}\nagain with AMBASSADOR_SIMULATION_SEED={seed}",
            failures.len()
        );
    }
}

/// The seeds that fail, in order, and what they break.
pub(crate) fn failures(
    seeds: Range<u64>,
    simulate: &(impl Fn(u64, bool) -> Result<(), String> + Sync),
) -> Vec<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(broken) = guarded(simulate, seed, false) {
                        let mut failures = failures.lock().expect("nobody panics with it");
                        failures.push((seed, broken));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("nobody panics with it");
    failures.sort_unstable();
    failures
}

fn guarded(simulate: &impl Fn(u64, bool) -> Result<(), String>, seed: u64, tell: bool) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| simulate(seed, tell))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
    )
}
