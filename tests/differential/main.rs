//! Random programs on a plain server and on the ambassador before a group: every reply has to be the same bytes.
//!
//! A million commands over the three servers, where the machine does that in time, and the same ones every time.
//! `AMBASSADOR_FUZZ_SECONDS` is how long each server is compared with new programs instead, `AMBASSADOR_FUZZ_SEED` brings
//! back the program that a failure names, `AMBASSADOR_FUZZ_KEEP_GOING=1` goes on after one. What is found is made small,
//! and is kept below `regressions/`; below `open/` is what differs today, which the generator avoids.

#[path = "../support/mod.rs"]
mod support;

mod allowed;
mod clients;
mod commands;
mod compare;
mod connection;
mod follow;
mod generator;
mod listeners;
mod program;
mod races;
mod random;
mod relay;
mod run;
mod scan;
mod shrink;
mod users;
mod wire;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use program::Program;
use run::Pair;
use support::{Ambassador, Flavor, Group, Server};

/// Where the programs begin that every change is held against; each server has its own. New ones are drawn where
/// `AMBASSADOR_FUZZ_SECONDS` gives them time (`make differential`): a red run must be about the change.
const SEED: u64 = 20_261_125;

/// How many commands each server is compared with unless the environment says otherwise.
const COMMANDS: usize = 340_000;

/// How long that may take: on two cores, with two servers at a time, all of it takes less than four minutes.
const SECONDS: u64 = 100;

/// A plain server beside the ambassador with a group, all of one kind.
struct Sides {
    pair: Pair,
    ambassador: Ambassador,
    plain: Server,
    group: Group,
}

impl Sides {
    fn start(flavor: Flavor) -> Self {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        let nodes: Vec<u16> = group.nodes().map(Server::port).collect();
        Self {
            pair: Pair::new(plain.port(), ambassador.port(), &nodes),
            ambassador,
            plain,
            group,
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        for server in self
            .group
            .nodes()
            .chain([&self.plain])
            .filter(|_| std::thread::panicking())
        {
            // A server that crashed says where.
            let log = server.log();
            if let Some(at) = log.find("BUG REPORT START") {
                eprintln!("--- {} ---\n{}", server.address(), &log[at..]);
            }
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Says which program ran when the harness itself fails, as it does when a server ends.
struct Running<'a>(u64, &'a Program);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "AMBASSADOR_FUZZ_SEED={} or the program before it:\n{}",
                self.0, self.1
            );
        }
    }
}

fn compare(flavor: Flavor) {
    let mut sides = Sides::start(flavor);
    let given = variable("AMBASSADOR_FUZZ_SEED");
    let seconds = variable("AMBASSADOR_FUZZ_SECONDS");
    let mut seed = given.unwrap_or_else(|| match seconds {
        Some(_) => rand::random(),
        None => SEED + ((flavor as u64) << 32),
    });
    println!("{flavor}: from AMBASSADOR_FUZZ_SEED={seed} on");
    let begun = Instant::now();
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let most = seconds.map_or(COMMANDS, |_| usize::MAX);
    let keep_going = variable("AMBASSADOR_FUZZ_KEEP_GOING").is_some();
    let (mut programs, mut commands, mut found) = (0_u64, 0, Vec::new());
    while programs == 0 || (given.is_none() && begun.elapsed() < time && commands < most) {
        let program = generator::program(seed);
        let _shown = Running(seed, &program);
        if let Err(difference) = sides.pair.run(&program) {
            let (small, difference) = shrink::shrink(&mut sides.pair, &program, difference);
            found.push(format!(
                "{flavor}: a plain server and the ambassador differ\n\n{small}\n{difference}\n\n\
                 again with AMBASSADOR_FUZZ_SEED={seed}; keep the program in tests/differential/regressions\n\n"
            ));
            if !keep_going {
                break;
            }
        }
        programs += 1;
        commands += program.commands();
        seed = seed.wrapping_add(1);
    }
    assert!(sides.ambassador.metric("redis_ambassador_panics_total") < 0.5);
    println!(
        "{flavor}: {programs} programs, {commands} commands, {:?}",
        begun.elapsed()
    );
    assert!(
        found.is_empty(),
        "{} differences\n\n{}",
        found.len(),
        found.concat()
    );
}

#[test]
fn redis_7_and_the_ambassador_over_it_say_the_same() {
    compare(Flavor::Redis7);
}

#[test]
fn redis_8_and_the_ambassador_over_it_say_the_same() {
    compare(Flavor::Redis8);
}

#[test]
fn valkey_8_and_the_ambassador_over_it_say_the_same() {
    compare(Flavor::Valkey8);
}

/// The programs of a folder by name.
fn kept(folder: &str) -> Vec<(String, Program)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(folder);
    // Without a program in it the folder is not there.
    let mut programs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            let name = path.display().to_string();
            let text = fs::read_to_string(path).expect("a program can be read");
            let program = Program::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, program)
        })
        .collect();
    programs.sort_by(|one, other| one.0.cmp(&other.0));
    programs
}

/// What is the same everywhere by now is a regression to be kept, and the generator need not avoid it.
#[test]
fn what_is_open_still_differs_somewhere() {
    let mut closed = kept("open");
    for flavor in Flavor::ALL {
        let mut sides = Sides::start(flavor);
        closed.retain(|(_, program)| sides.pair.run(program).is_ok());
    }
    let closed: Vec<_> = closed.iter().map(|(name, _)| name).collect();
    assert!(closed.is_empty(), "to be moved to regressions/: {closed:?}");
}

#[test]
fn what_differed_once_is_the_same_now() {
    let programs = kept("regressions");
    assert!(!programs.is_empty());
    for flavor in Flavor::ALL {
        let mut sides = Sides::start(flavor);
        for (name, program) in &programs {
            if let Err(difference) = sides.pair.run(program) {
                panic!("{flavor}: {name}\n{program}\n{difference}");
            }
        }
    }
}

/// Runs programs until one shows a difference, and makes it small.
fn first_difference(pair: &mut Pair, programs: u64) -> Option<(Program, String)> {
    (1..=programs).find_map(|seed| {
        let program = generator::program(seed);
        let difference = pair.run(&program).err()?;
        let (small, difference) = shrink::shrink(pair, &program, difference);
        Some((small, difference.to_string()))
    })
}

#[test]
fn servers_that_differ_in_one_setting_are_told_apart_by_a_small_program() {
    let plain = Server::start(Flavor::Redis7, &[]);
    let other = Server::start(Flavor::Redis7, &["--hash-max-listpack-entries", "2"]);
    let mut pair = Pair::new(plain.port(), other.port(), &[other.port()]);

    let (small, difference) = first_difference(&mut pair, 3_000).expect("the encoding of a hash differs");

    assert!(small.commands() <= 4, "{small}\n{difference}");
    assert!(
        difference.contains("hashtable") && difference.contains("listpack"),
        "{small}\n{difference}"
    );
}

#[test]
fn one_byte_changed_on_the_way_is_found_and_put_down_to_one_command() {
    let plain = Server::start(Flavor::Valkey8, &[]);
    let other = Server::start(Flavor::Valkey8, &[]);
    // What only `INCRBYFLOAT` of a key that is not there can say here.
    let relay = relay::start(other.port(), b"$9\r\n3.0000001\r\n", b"$9\r\n3.0000002\r\n");
    let mut pair = Pair::new(plain.port(), relay, &[other.port()]);

    let (small, difference) = first_difference(&mut pair, 300).expect("a reply differs");

    assert!(small.commands() <= 3, "{small}\n{difference}");
    assert!(difference.contains("3.0000002"), "{small}\n{difference}");
}

#[test]
fn the_same_servers_show_no_difference() {
    let plain = Server::start(Flavor::Redis8, &[]);
    let other = Server::start(Flavor::Redis8, &[]);
    let mut pair = Pair::new(plain.port(), other.port(), &[other.port()]);
    if let Some((small, difference)) = first_difference(&mut pair, 100) {
        panic!("the comparison itself differs\n{small}\n{difference}");
    }
}
