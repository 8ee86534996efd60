//! Runs of failovers under load, each followed by what the clients saw.

use std::time::{Duration, Instant};

use crate::check::check;
use crate::load::{Clients, Load, Shape};
use crate::report::{Failover, Figures, details, longest, time_of_day};
use crate::support::{Ambassador, Flavor, Losses, Reply, WATCHED, eventually};
use crate::watch::Watch;
use crate::world::{PATIENCE, World};

/// How a master loses its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SENTINEL FAILOVER`.
    Sentinel,
    /// The `FAILOVER` command, in a group without sentinels, which know nothing of it.
    Command,
    /// `kill -9` of the master, which comes back as a replica.
    Kill,
}

impl Kind {
    pub(crate) fn is_planned(self) -> bool {
        self != Self::Kill
    }

    fn sentinels(self) -> usize {
        if self == Self::Command { 0 } else { 3 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sentinel => "SENTINEL FAILOVER",
            Self::Command => "FAILOVER",
            Self::Kill => "kill -9",
        }
    }
}

/// So many failovers of one kind, one after the other, below the ambassador under load.
#[track_caller]
pub(crate) fn run(kind: Kind, flavor: Flavor, times: usize) -> Figures {
    let mut world = World::start(flavor, kind.sentinels());
    let ambassador = world.ambassador();
    world.wait_seen(&ambassador, 0);
    let load = Box::new(Load::start(ambassador.port(), Shape::USUAL));
    let figures = under(load, &mut world, kind, times, Some(&ambassador));
    if !figures.missed(kind.is_planned()).is_empty() {
        world.tell();
        println!("--- the ambassador's log ---\n{}", ambassador.log());
    }
    assert!(
        ambassador.metric("redis_ambassador_panics_total") < 0.5,
        "{}",
        ambassador.log()
    );
    figures
}

/// The same below any clients.
#[track_caller]
pub(crate) fn under(
    load: Box<dyn Clients>,
    world: &mut World,
    kind: Kind,
    times: usize,
    ambassador: Option<&Ambassador>,
) -> Figures {
    let flavor = world.nodes[0].flavor();
    let watch = Watch::start();
    let mut failovers = Vec::new();
    let mut expected = 0;
    for turn in 0..times {
        let master = settle(world, ambassador, &*load);
        if master != expected {
            println!("node {master} is master, not {expected}: a failover that nobody asked for");
        }
        let at = Instant::now();
        let (next, took) = fail_over(world, kind, master);
        println!(
            "{} {flavor}, {}, {} of {times}: {} ms",
            time_of_day(at),
            kind.name(),
            turn + 1,
            took.as_millis()
        );
        failovers.push(Failover {
            at,
            took,
            starved: Duration::ZERO,
        });
        expected = next;
        match kind {
            Kind::Kill => world.restart(master, next, turn % 2 == 0),
            // The others went on to follow the old one: whoever gives the command tells them.
            Kind::Command => (0..3)
                .filter(|&node| node != master && node != next)
                .for_each(|node| world.follow(node, next)),
            Kind::Sentinel => {}
        }
    }
    settle(world, ambassador, &*load);
    let logs = load.stop();
    let master = world.wait_settled();
    let waits = watch.stop();
    for failover in &mut failovers {
        failover.starved = longest(&waits, failover);
    }
    let findings = check(&logs, &mut world.nodes[master].client());
    let mut figures = Figures::of(format!("{flavor}, {}", kind.name()), failovers, &logs, findings);
    figures.told = ambassador.map(|ambassador| told_of(ambassador, times as u64));
    println!("{}", details(&figures));
    figures
}

/// What the ambassador tells, once it has answered for so many failovers.
#[track_caller]
fn told_of(ambassador: &Ambassador, failovers: u64) -> Losses {
    eventually(PATIENCE, || {
        Some(Losses::told_by(ambassador)).filter(|told| told.failovers() >= failovers)
    })
}

/// Waits until all is well, and until the clients have gone on for a while; gives the master.
pub(crate) fn settle(world: &World, ambassador: Option<&Ambassador>, load: &dyn Clients) -> usize {
    let before = load.written();
    eventually(PATIENCE, || (load.written() > before + 500).then_some(()));
    let master = world.wait_settled();
    if let Some(ambassador) = ambassador {
        world.wait_seen(ambassador, master);
    }
    master
}

/// Makes another node the master; which, and how long that took.
#[track_caller]
pub(crate) fn fail_over(world: &mut World, kind: Kind, master: usize) -> (usize, Duration) {
    let begun = match kind {
        Kind::Sentinel => eventually(PATIENCE, || {
            let begun = Instant::now();
            let reply = world.sentinels[0].command(&["SENTINEL", "FAILOVER", WATCHED]);
            // INPROG, NOGOODSLAVE: not yet.
            (reply == Reply::ok()).then_some(begun)
        }),
        Kind::Command => {
            let begun = Instant::now();
            assert_eq!(world.nodes[master].command(&["FAILOVER"]), Reply::ok());
            begun
        }
        Kind::Kill => {
            let begun = Instant::now();
            world.nodes[master].kill();
            begun
        }
    };
    let (next, at) = world.wait_for_another_master(master);
    (next, at - begun)
}
