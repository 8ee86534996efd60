//! Random faults under load for minutes: nothing is done twice, no read fails, and the ambassador is afterwards as
//! large as before.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::check::check;
use crate::failover::{self, Kind, settle};
use crate::load::{Clients, Load, Shape};
use crate::plan::{Place, Plan, Step};
use crate::relay::Relay;
use crate::report::{Figures, details};
use crate::support::{Ambassador, Flavor, Losses, eventually};
use crate::world::{PATIENCE, World};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    rss_kib: u64,
    files: usize,
    threads: usize,
}

impl Holds {
    fn of(ambassador: &Ambassador) -> Self {
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{}/{what}", ambassador.pid()));
            entries.map_or(0, Iterator::count)
        };
        Self {
            rss_kib: ambassador.rss_kib(),
            files: count("fd"),
            threads: count("task"),
        }
    }
}

/// What it says that it holds, by metric: with the clients that has to go. Links are the nodes' and may stay.
const SAID: [&str; 6] = [
    "redis_ambassador_clients",
    "redis_ambassador_links",
    "redis_ambassador_leases",
    "redis_ambassador_buffered_bytes",
    "redis_ambassador_held_commands",
    "redis_ambassador_held_bytes",
];

type Said = BTreeMap<&'static str, u64>;

fn said(ambassador: &Ambassador) -> Said {
    let value = |metric: &str| -> f64 {
        // Not of those whose names only begin so.
        let samples = [" ", "{"].map(|end| ambassador.metric(&format!("{metric}{end}")));
        samples.iter().sum()
    };
    SAID.map(|metric| (metric, value(metric) as u64)).into()
}

/// Random faults from this seed for that time; gives what the bars are and are not met.
#[track_caller]
pub(crate) fn run(flavor: Flavor, seed: u64, lasts: Duration) -> Vec<String> {
    println!("AMBASSADOR_FAULT_SEED={seed}, {} s", lasts.as_secs());
    let mut world = World::start(flavor, 3);
    let ambassador = world.ambassador();
    world.wait_seen(&ambassador, 0);
    let alone = warmed_up(&world, &ambassador);
    println!("after a warm-up, without clients: {alone:?}");

    let load = Box::new(Load::start(ambassador.port(), Shape::USUAL));
    let mut plan = Plan::of(seed);
    let (begun, mut early) = (Instant::now(), None);
    let mut steps = 0;
    while begun.elapsed() < lasts {
        let master = settle(&world, Some(&ambassador), &*load);
        if early.is_none() && begun.elapsed() > lasts / 5 {
            early = Some(Holds::of(&ambassador));
        }
        let step = plan.next_step();
        println!(
            "{:4} s, node {master} is master: {step:?}",
            begun.elapsed().as_secs()
        );
        take(&mut world, step, master);
        steps += 1;
    }
    settle(&world, Some(&ambassador), &*load);
    let late = Holds::of(&ambassador);
    println!("{steps} steps; after a fifth of them {early:?}, at the end {late:?}");
    let logs = load.stop();
    let master = world.wait_settled();
    let findings = check(&logs, &mut world.nodes[master].client());
    let mut figures = Figures::of(format!("{flavor}, random faults"), Vec::new(), &logs, findings);
    println!("{}", details(&figures));

    let mut missed = figures.missed(false);
    let early = early.unwrap_or(late);
    if late.rss_kib > early.rss_kib + early.rss_kib / 4 + 8 * 1024 {
        missed.push(format!("memory grew: {early:?}, {late:?}"));
    }
    let left = left_behind(&ambassador, &alone);
    println!("without clients again: {left:?}");
    if !is_no_more(&left, &alone) {
        missed.push(format!(
            "something was left behind: {alone:?} before, {left:?} after"
        ));
    }
    // By now the last failover is answered for.
    figures.told = Some(Losses::told_by(&ambassador));
    println!("told of lost writes: {:?}", figures.told);
    let short = figures.told_too_few();
    if short.is_some() {
        world.tell();
        println!("--- the ambassador's log ---\n{}", ambassador.log());
    }
    missed.extend(short);
    if ambassador.metric("redis_ambassador_panics_total") > 0.5 {
        missed.push(ambassador.log());
    }
    missed
}

/// What the ambassador holds when clients of all kinds were there once.
fn warmed_up(world: &World, ambassador: &Ambassador) -> (Holds, Said) {
    let load = Box::new(Load::start(ambassador.port(), Shape::USUAL));
    settle(world, Some(ambassador), &*load);
    load.stop();
    let alone = (at_rest(ambassador), said(ambassador));
    // The next load begins at nothing.
    world.nodes[0].command(&["FLUSHALL"]);
    world.wait_settled();
    alone
}

/// What it holds when it no longer changes.
fn at_rest(ambassador: &Ambassador) -> Holds {
    let mut last = Holds::of(ambassador);
    let mut same = 0;
    eventually(PATIENCE, || {
        let now = Holds::of(ambassador);
        same = if now.files == last.files { same + 1 } else { 0 };
        last = now;
        (same > 100).then_some(now)
    })
}

/// What it holds at the end, as soon as that is no more than before.
fn left_behind(ambassador: &Ambassador, before: &(Holds, Said)) -> (Holds, Said) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = (at_rest(ambassador), said(ambassador));
        if is_no_more(&now, before) || Instant::now() > end {
            return now;
        }
    }
}

fn is_no_more((now, says): &(Holds, Said), (before, said): &(Holds, Said)) -> bool {
    let all = says
        .iter()
        .all(|(metric, now)| said.get(metric).is_some_and(|before| now <= before));
    now.files <= before.files && now.threads <= before.threads && all
}

/// Lets one thing go wrong, and be over.
fn take(world: &mut World, step: Step, master: usize) {
    match step {
        Step::FailOver => {
            failover::fail_over(world, Kind::Sentinel, master);
        }
        Step::Kill {
            place: Place::Master,
            with_data,
        } => {
            let (next, _) = failover::fail_over(world, Kind::Kill, master);
            world.restart(master, next, with_data);
        }
        Step::Kill { place, with_data } => {
            let node = node_of(place, master);
            world.nodes[node].kill();
            world.restart(node, master, with_data);
        }
        Step::Freeze { place, lasts } => {
            if let Place::Sentinel(index) = place {
                world.sentinels[index].freeze();
                thread::sleep(lasts);
                world.sentinels[index].thaw();
            } else {
                let node = node_of(place, master);
                world.nodes[node].freeze();
                thread::sleep(lasts);
                world.nodes[node].thaw();
            }
        }
        Step::Cut { to, from, cut } => relay(world, to, master).cut(from, cut),
        Step::Link {
            to,
            from,
            fault,
            lasts,
        } => {
            let relay = relay(world, to, master);
            relay.set(from, fault);
            thread::sleep(lasts);
            relay.calm();
        }
    }
}

fn node_of(place: Place, master: usize) -> usize {
    match place {
        Place::Replica(which) => (master + 1 + which) % 3,
        _ => master,
    }
}

fn relay(world: &World, place: Place, master: usize) -> &Relay {
    match place {
        Place::Sentinel(index) => &world.to_sentinel[index],
        _ => &world.to_node[node_of(place, master)],
    }
}
