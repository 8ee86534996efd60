//! Random programs on a plain server and on the ambassador before a group: every reply has to be the same bytes.
//!
//! `AMBASSADOR_FUZZ_SECONDS` is how long each of the three servers is compared, `AMBASSADOR_FUZZ_SEED` brings back
//! the program that a failure names, `AMBASSADOR_FUZZ_KEEP_GOING=1` goes on after one. What is found is made small, and is kept below `regressions/`.

#[path = "../support/mod.rs"]
mod support;

mod allowed;
mod commands;
mod compare;
mod generator;
mod program;
mod random;
mod relay;
mod run;
mod shrink;
mod wire;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use program::Program;
use run::Pair;
use support::{Ambassador, Flavor, Group, Server};

/// How long each server is compared unless the environment says otherwise.
const SECONDS: u64 = 25;

/// A plain server beside the ambassador with a group, all of one kind.
struct Sides {
    pair: Pair,
    ambassador: Ambassador,
    _plain: Server,
    _group: Group,
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
            _plain: plain,
            _group: group,
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

fn compare(flavor: Flavor) {
    let mut sides = Sides::start(flavor);
    let given = variable("AMBASSADOR_FUZZ_SEED");
    let mut seed = given.unwrap_or_else(rand::random);
    let begun = Instant::now();
    let time = Duration::from_secs(variable("AMBASSADOR_FUZZ_SECONDS").unwrap_or(SECONDS));
    let keep_going = variable("AMBASSADOR_FUZZ_KEEP_GOING").is_some();
    let (mut programs, mut commands, mut found) = (0_u64, 0, Vec::new());
    while programs == 0 || (given.is_none() && begun.elapsed() < time) {
        let program = generator::program(seed);
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

#[test]
fn what_differed_once_is_the_same_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/regressions");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for flavor in Flavor::ALL {
        let mut sides = Sides::start(flavor);
        for file in &files {
            let name = file.display();
            let text = fs::read_to_string(file).expect("a regression can be read");
            let program = Program::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            if let Err(difference) = sides.pair.run(&program) {
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

    let (small, difference) = first_difference(&mut pair, 300).expect("the encoding of a hash differs");

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
