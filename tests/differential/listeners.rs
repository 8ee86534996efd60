//! Connections that are told what others do: subscriptions, keyspace events, and client-side caches.

use crate::commands::{command, fill};
use crate::generator::{send, words};
use crate::program::{Step, Words};
use crate::random::Random;

/// What a connection listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    No,
    Channels,
    Keys,
}

/// A connection begins to listen.
pub(crate) fn begin(random: &mut Random, number: usize, other: usize, steps: &mut Vec<Step>) -> Listening {
    if random.chance(50) {
        return track(random, number, other, steps);
    }
    let subscriptions = random.pick(&[
        &["SUBSCRIBE news"][..],
        &["SUBSCRIBE news", "PSUBSCRIBE n*"],
        &["SSUBSCRIBE shard"],
        &["SSUBSCRIBE shard", "SUBSCRIBE news"],
        &["SUBSCRIBE __redis__:invalidate"],
        &["PSUBSCRIBE __key*__:*"],
        &["SUBSCRIBE __keyevent@0__:set __keyevent@0__:del __keyspace@0__:s1"],
    ]);
    if subscriptions[0].contains("__key") {
        let flags = random.pick(&["KEA", "KEA", "K$", "Ex$lsh"]);
        steps.push(send(
            other,
            &[&format!("CONFIG SET notify-keyspace-events {flags}")],
        ));
    }
    steps.push(send(number, subscriptions));
    Listening::Channels
}

/// CLIENT TRACKING in its modes; some are refused.
fn track(random: &mut Random, number: usize, other: usize, steps: &mut Vec<Step>) -> Listening {
    let options = random.pick(&[
        "",
        "",
        " BCAST",
        " BCAST PREFIX s PREFIX h",
        " BCAST NOLOOP",
        " OPTIN",
        " OPTIN NOLOOP",
        " OPTOUT",
        " NOLOOP",
        " REDIRECT @other",
        " REDIRECT @other BCAST",
        " REDIRECT @other NOLOOP OPTOUT",
        " REDIRECT 0",
        " REDIRECT 99999999",
        " REDIRECT x",
        " OPTIN OPTOUT",
        " PREFIX s",
        " BCAST PREFIX s PREFIX s1",
        " NOSUCH",
    ]);
    let options = options.replace("@other", &format!("@id{other}"));
    if options.contains("REDIRECT") && random.chance(60) {
        let listener = random.pick(&["HELLO 3", "SUBSCRIBE __redis__:invalidate"]);
        steps.push(send(other, &[listener]));
    }
    steps.push(send(number, &[&format!("CLIENT TRACKING ON{options}")]));
    Listening::Keys
}

/// What a listener does, and those whom it hears.
pub(crate) fn step(
    random: &mut Random,
    listening: Listening,
    number: usize,
    other: usize,
    steps: &mut Vec<Step>,
) -> Listening {
    let several =
        |random: &mut Random| -> Vec<Words> { (0..=random.below(6)).map(|_| command(random)).collect() };
    match random.below(10) {
        0 => {
            let end: &[&str] = match listening {
                _ if random.chance(20) => &["RESET", "PING"],
                Listening::Keys => &["CLIENT TRACKING OFF", "PING"],
                // By name: without, they end in the order of a hash table.
                _ => &[
                    "UNSUBSCRIBE news more __redis__:invalidate",
                    "UNSUBSCRIBE __keyevent@0__:set __keyevent@0__:del __keyspace@0__:s1",
                    "PUNSUBSCRIBE n* x?y __key*__:*",
                    "SUNSUBSCRIBE shard",
                    "PING",
                ],
            };
            steps.push(send(number, end));
            return Listening::No;
        }
        1..3 => steps.push(Step::Send(number, several(random))),
        3 => {
            let lines = random.pick(&[
                &["PING"][..],
                &["PING more"],
                &["GET s1", "CLIENT ID"],
                &["MULTI", "GET s1", "SET s2 x", "EXEC"],
                &["WATCH s1"],
                &["SELECT 1"],
                &["SELECT 0"],
                &["HELLO 3"],
                &["HELLO 2"],
                &["CLIENT SETNAME listener", "CLIENT GETNAME"],
                &["AUTH narrow narrowpass"],
                &[
                    "EVAL return 0",
                    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
                ],
                &["BLPOP l1 0.001"],
                &["MONITOR x"],
            ]);
            steps.push(send(number, lines));
            steps.push(Step::Await(number));
        }
        4..6 if listening == Listening::Keys => {
            let lines = random.pick(&[
                &["CLIENT CACHING YES", "GET s1", "GET s2"][..],
                &["CLIENT CACHING NO", "GET s1", "GET s2"],
                &["CLIENT CACHING YES", "MULTI", "GET s1", "MGET s2 s3", "EXEC"],
                &["CLIENT CACHING x"],
                &["CLIENT TRACKINGINFO", "CLIENT GETREDIR"],
                &["CLIENT TRACKING ON BCAST"],
                &["CLIENT TRACKING ON"],
                &["MGET s1 s2 s3", "HGETALL h1", "LRANGE l1 0 -1"],
                &["SET s1 own", "GET s1", "SET s1 again"],
            ]);
            steps.push(send(number, lines));
        }
        4..6 => {
            let lines = random.pick(&[
                &["SUBSCRIBE news more", "UNSUBSCRIBE more"][..],
                &["SSUBSCRIBE shard other", "SUNSUBSCRIBE other"],
                &["PSUBSCRIBE m* x?y", "PUNSUBSCRIBE m*"],
                &["UNSUBSCRIBE nosuch"],
                &["SUBSCRIBE"],
            ]);
            steps.push(send(number, lines));
        }
        6 if listening == Listening::Keys => steps.push(send(other, &["FLUSHDB"])),
        6..8 => steps.push(Step::Send(other, several(random))),
        _ => steps.push(Step::Send(other, noise(random))),
    }
    listening
}

/// What listeners hear, and who is asked about them.
fn noise(random: &mut Random) -> Vec<Words> {
    let lines = random.pick(&[
        &["PUBLISH news {v}", "PUBLISH nothing {v}", "PUBSUB NUMSUB news"][..],
        &[
            "SPUBLISH shard {v}",
            "PUBSUB SHARDNUMSUB shard",
            "PUBSUB SHARDCHANNELS",
        ],
        &["PUBLISH more {v}", "SPUBLISH other {v}", "SPUBLISH nothing {v}"],
        &[
            "PUBSUB CHANNELS",
            "PUBSUB NUMPAT",
            "PUBSUB CHANNELS n*",
            "PUBSUB HELP",
        ],
        &["SET {s} {v}", "DEL {k}", "RENAME {s} {s}"],
        &["MULTI", "SET {s} {v}", "INCR {s}", "EXEC", "GET {s}"],
        &["MSET s1 {v} s2 {v} s3 {v}", "EXPIRE s1 -1", "EXPIRE s2 {ttl}"],
        &["EVAL SCRIPT 1 {s} {v}", "HSET {h} {f} {v}", "LPUSH {l} {v}"],
    ]);
    let script = b"return redis.call('SET', KEYS[1], ARGV[1])";
    let filled = lines.iter().map(|line| {
        let mut words = fill(random, line);
        for word in words.iter_mut().filter(|word| *word == b"SCRIPT") {
            *word = script.to_vec();
        }
        words
    });
    filled.chain([words("PING")]).collect()
}
