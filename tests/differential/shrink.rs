//! Makes a failing program small: fewer steps, then fewer commands in each, as long as it still fails.

use std::time::{Duration, Instant};

use crate::program::{Program, Step, Words};
use crate::run::{Difference, Pair};

/// How long smaller programs are tried: one that shows a reply that does not come takes long.
const PATIENCE: Duration = Duration::from_mins(1);

/// The smallest program found that still shows a difference, and that difference.
pub(crate) fn shrink(pair: &mut Pair, program: &Program, first: Difference) -> (Program, Difference) {
    let mut best = (program.clone(), first);
    // Nothing after the step that showed it matters.
    best.0.steps.truncate(best.1.step + 1);
    let end = Instant::now() + PATIENCE;
    loop {
        let before = best.0.clone();
        let count = best.0.steps.len();
        remove(
            count,
            |from, to, best| without_steps(&best.0, from, to),
            pair,
            &mut best,
            end,
        );
        let mut index = 0;
        while index < best.0.steps.len() {
            if let Step::Send(_, commands) = &best.0.steps[index]
                && !is_atomic(&best.0.steps[index])
            {
                let count = commands.len();
                let candidate =
                    |from, to, best: &(Program, Difference)| without_commands(&best.0, index, from, to);
                remove(count, candidate, pair, &mut best, end);
            }
            index += 1;
        }
        if best.0 == before || Instant::now() > end {
            return best;
        }
    }
}

/// Removes ranges of halving length from `count` things.
fn remove(
    count: usize,
    candidate: impl Fn(usize, usize, &(Program, Difference)) -> Option<Program>,
    pair: &mut Pair,
    best: &mut (Program, Difference),
    end: Instant,
) {
    let (mut left, mut length) = (count, count.div_ceil(2));
    while length > 0 {
        let mut from = 0;
        while from < left && Instant::now() < end {
            let to = (from + length).min(left);
            let smaller = candidate(from, to, best);
            let failed = smaller.and_then(|program| Some((pair.run(&program).err()?, program)));
            if let Some((difference, program)) = failed {
                *best = (program, difference);
                left -= to - from;
            } else {
                from = to;
            }
        }
        length /= 2;
    }
}

fn without_steps(program: &Program, from: usize, to: usize) -> Option<Program> {
    let mut smaller = program.clone();
    smaller.steps.drain(from..to.min(program.steps.len()));
    (!smaller.steps.is_empty()).then_some(smaller)
}

fn without_commands(program: &Program, index: usize, from: usize, to: usize) -> Option<Program> {
    let mut smaller = program.clone();
    let Step::Send(_, commands) = smaller.steps.get_mut(index)? else {
        return None;
    };
    commands.drain(from..to);
    (!commands.is_empty()).then_some(smaller)
}

/// A write that turns replies off ends with one that turns them on: its last reply says that it has been done.
fn is_atomic(step: &Step) -> bool {
    matches!(step, Step::Send(_, commands) if is_silencing(commands))
}

/// Whether one of the commands is CLIENT REPLY.
pub(crate) fn is_silencing(commands: &[Words]) -> bool {
    commands.iter().any(|words| {
        words.len() > 1 && words[0].eq_ignore_ascii_case(b"client") && words[1].eq_ignore_ascii_case(b"reply")
    })
}
