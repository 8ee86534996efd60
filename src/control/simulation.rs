//! The group, the gate and the election in a simulated world: thousands of them, each with its own faults.
//!
//! Servers, sentinels and networks are pure and draw everything from a seed; time passes only when the simulation says
//! so; what decides is the real [`super::group`]. After some time of faults everything is well again, and then the
//! group has to be known as it is.

mod ambassador;
mod authority;
mod blind;
mod checks;
mod faults;
mod histories;
mod named;
mod pasts;
mod server;
mod waits;
mod world;

use std::time::Duration;

use ambassador::Ambassador;
use authority::Authority;
use blind::Blind;
use faults::Allowed;
use named::Named;
use world::World;

use crate::simulation::{self, Dice};

/// How many seeds are run unless the environment says otherwise.
const SEEDS: u64 = 2000;
/// How long after the last fault the group may take to be known: old masters are told late, replicas synchronize anew,
/// and one that came and went stays out for ten seconds.
const SETTLES: Duration = Duration::from_secs(30);
/// How long it is watched whether it stays so.
const STAYS: Duration = Duration::from_secs(3);
/// How long after that nobody remembers who is gone.
const FORGETS: Duration = Duration::from_secs(70);

fn simulate(seed: u64, tell: bool, blind: Blind) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let named = [
        Named::All,
        Named::One,
        Named::Headless,
        Named::Hosts,
        Named::Sentinels,
        Named::Sentinels,
    ][dice.index(6)];
    let (count, chained) = (2 + dice.index(4), dice.once_in(4));
    let faults_last = Duration::from_secs(dice.of(5..25));
    let pause = dice.of(200..4000);
    let mut world = World::new(dice, count, chained, tell);
    let mut authority = Authority::new(&mut world, named == Named::Sentinels);
    let mut ambassador = Ambassador::new(&world, &authority, named, blind);
    world.say(|| format!("{count} servers, chained: {chained}, {named:?}"));
    let allowed = Allowed {
        moves: named != Named::All,
        stays: (named == Named::One).then_some(count - 1),
    };
    let mut next_fault = Duration::ZERO;
    while world.now < faults_last {
        if world.now >= next_fault {
            next_fault = world.now + world.dice.milliseconds(0..2 * pause);
            faults::strike(&mut world, &mut authority, allowed);
        }
        step(&mut world, &mut authority, &mut ambassador)?;
    }
    faults::heal(&mut world, &mut authority);
    settle(&mut world, &mut authority, &mut ambassador)?;
    if ambassador.has_forgotten(&world).is_err() {
        ambassador.interval = Duration::from_secs(1);
        let end = world.now + FORGETS;
        while world.now < end {
            step(&mut world, &mut authority, &mut ambassador)?;
        }
        settle(&mut world, &mut authority, &mut ambassador)?;
        ambassador.has_forgotten(&world)?;
    }
    if ambassador.checks.adoptions == 0 {
        return Err("nobody was ever adopted".to_owned());
    }
    Ok(())
}

/// Waits until all is known as it is, and stays so.
fn settle(world: &mut World, authority: &mut Authority, ambassador: &mut Ambassador) -> Result<(), String> {
    let (end, mut since) = (world.now + SETTLES, None);
    loop {
        for _ in 0..20 {
            step(world, authority, ambassador)?;
        }
        let settled = ambassador.is_settled(world, authority);
        match (settled, since) {
            (Ok(()), Some(since)) if world.now >= since + STAYS => return Ok(()),
            (Ok(()), None) => since = Some(world.now),
            (Ok(()), Some(_)) => {}
            (Err(broken), _) if world.now >= end => return Err(broken),
            (Err(_), _) => since = None,
        }
    }
}

fn step(world: &mut World, authority: &mut Authority, ambassador: &mut Ambassador) -> Result<(), String> {
    world.step();
    authority.step(world);
    ambassador.step(world, authority)
}

#[test]
fn whatever_fails_the_right_master_is_written_to_and_the_right_replicas_are_read() {
    simulation::run("control plane", SEEDS, |seed, tell| {
        simulate(seed, tell, Blind::No)
    });
}

/// The test of the test: a group that is without one of its senses is found out.
#[test]
fn a_group_that_does_not_see_everything_breaks_a_rule() {
    for blind in [
        Blind::Lineage,
        Blind::Histories,
        Blind::Epochs,
        Blind::Votes,
        Blind::Loading,
        Blind::Links,
        Blind::Offsets,
        Blind::Replicas,
    ] {
        // The sentinels' word is seldom needed: the history says the same.
        let seeds = if matches!(blind, Blind::Epochs | Blind::Votes) {
            600
        } else {
            60
        };
        let failures = simulation::failures(0..seeds, &|seed, tell| simulate(seed, tell, blind));
        eprintln!(
            "{blind:?}: {} of {seeds} seeds fail: {:?}",
            failures.len(),
            failures.first()
        );
        assert!(!failures.is_empty(), "{blind:?} is not noticed");
    }
}
