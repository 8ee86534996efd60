//! The worker in a simulated world: the real [`Worker`], turn by turn, over wires instead of sockets, with a clock that
//! only the simulation moves. Everything is drawn from a seed.
//!
//! Clients read, write, queue transactions and wait; nodes answer in pieces, freeze, crash, lose connections at any byte,
//! change places with and without the old master knowing; pictures of the group come late. What every client is told is
//! judged by what really happened (`ledger`), and at the end nobody is stuck and nothing is left behind.

mod client;
mod conn;
mod ledger;
mod node;
mod world;

use std::time::Duration;

use world::World;

use crate::simulation::{self, Dice};

/// How many seeds are run unless the environment says otherwise.
const SEEDS: u64 = 2000;
/// How long things go wrong.
const FAULTS: Duration = Duration::from_secs(5);
/// How long after that everybody has to be answered.
const ANSWERS: Duration = Duration::from_secs(15);

fn simulate(seed: u64, tell: bool) -> Result<(), String> {
    let mut world = World::new(Dice::new(seed), tell);
    while world.now < FAULTS {
        world.strike();
        world.turn(true)?;
    }
    world.heal();
    while world.now < FAULTS + ANSWERS && !world.is_done() {
        world.turn(false)?;
    }
    world.is_answered()?;
    world.leave();
    for _ in 0..300 {
        world.turn(false)?;
    }
    world.is_clean()
}

#[test]
fn whatever_fails_every_client_is_told_the_truth_in_order_and_nothing_is_left_behind() {
    simulation::run("worker", SEEDS, simulate);
}
