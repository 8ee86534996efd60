//! Hedged reads: the tail gets shorter within the budget, and every reply is still its request's.
#![allow(clippy::float_cmp, reason = "metrics are counts, which a float holds exactly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::ejection::over;
use crate::follows;
use crate::relay::{Mode, Relay};
use crate::support::{Ambassador, Client, Flavor, Group, Reply, Server};

const MS: Duration = Duration::from_millis(1);

const ON: &str = "[reads]\nhedge = true\n";
/// As many as there are.
const ALL: &str = "[reads]\nhedge = true\nhedge_budget = 1.0\n[upstream]\nprobe_interval = \"50ms\"\nprobe_timeout = \"200ms\"\n";

struct Scene {
    group: Group,
    relays: [Relay; 2],
    replication: Relay,
    ambassador: Ambassador,
}

impl Scene {
    /// A master and two replicas, each behind a relay. They follow the master through a third, and serve nothing while
    /// they do not.
    fn set(flavor: Flavor, config: &str, seed: u64, fill: impl Fn(&Group)) -> Self {
        let master = Server::start(flavor, &[]);
        let replication = Relay::before(master.port(), seed);
        let port = replication.port.to_string();
        let follows = follows(&port);
        let group = Group {
            replicas: (0..2).map(|_| Server::start(flavor, &follows)).collect(),
            master,
        };
        group.wait_in_sync();
        fill(&group);
        group.wait_in_sync();
        let relays =
            [0, 1].map(|index: usize| Relay::before(group.replicas[index].port(), seed + index as u64));
        let nodes = [group.master.address(), relays[0].address(), relays[1].address()];
        let ambassador = over(&nodes, config);
        Self {
            group,
            relays,
            replication,
            ambassador,
        }
    }

    fn both(&self, mode: Mode) {
        for relay in &self.relays {
            relay.set(mode);
        }
    }

    fn gets(&self) -> u64 {
        self.relays.iter().map(Relay::gets).sum()
    }

    fn hedged(&self) -> f64 {
        self.ambassador.metric("redis_ambassador_reads_hedged_total")
    }

    fn won(&self) -> f64 {
        self.ambassador.metric("redis_ambassador_hedges_won_total")
    }
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("seed: SEED={seed}");
    seed
}

fn one_key(group: &Group) {
    group.master.command(&["SET", "key", "value"]);
}

fn read(client: &mut Client) -> Duration {
    let begun = Instant::now();
    assert_eq!(client.command(&["GET", "key"]), Reply::bulk("value"));
    begun.elapsed()
}

#[test]
fn the_tail_gets_shorter_within_the_budget_and_nothing_is_hedged_by_default() {
    for flavor in Flavor::ALL {
        for (config, is_on) in [("", false), (ON, true)] {
            let scene = Scene::set(flavor, config, 1, one_key);
            let mut client = scene.ambassador.client();
            for _ in 0..300 {
                read(&mut client);
            }
            scene.both(Mode::Sometimes(100, 50 * MS));
            let mut times: Vec<Duration> = (0..3_000).map(|_| read(&mut client)).collect();
            times.sort_unstable();
            let (hedged, won) = (scene.hedged(), scene.won());
            println!(
                "{flavor}, hedging {is_on}: p50 {:?}, p99 {:?}, p99.5 {:?}; hedged {hedged}, won {won}",
                times[1_500], times[2_970], times[2_985]
            );
            assert_eq!((hedged > 0.0, won > 0.0), (is_on, is_on), "{flavor}");
            // 2 in 100 of all reads, and what was saved up.
            assert!(hedged <= 3_300.0 * 0.02, "{flavor}: {hedged}");
            scene.both(Mode::Pass);
            for _ in 0..10 {
                read(&mut client);
            }
            let on_the_master = scene.group.master.calls("get");
            assert_eq!(on_the_master, 0, "{flavor}: another replica is there");
            let sent = scene.gets() as f64;
            assert_eq!(sent, 3_310.0 + scene.hedged(), "{flavor}");
        }
    }
}

#[test]
fn cursors_and_scripts_are_not_hedged() {
    let scene = Scene::set(Flavor::Redis8, ALL, 1, |group| {
        one_key(group);
        group.master.command(&["HSET", "hash", "field", "value"]);
    });
    let mut client = scene.ambassador.client();
    for _ in 0..300 {
        read(&mut client);
    }
    scene.both(Mode::Delay(40 * MS));
    let before = scene.hedged();
    let requests: [&[&str]; 4] = [
        &["SCAN", "0"],
        &["HSCAN", "hash", "0"],
        &["EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "key"],
        &["EVAL", "return 1", "0"],
    ];
    for words in requests {
        let reply = client.command(words);
        assert!(!reply.is_error(), "{words:?}: {reply:?}");
        assert_eq!(scene.hedged(), before, "{words:?}");
    }
    read(&mut client);
    assert_eq!(scene.hedged(), before + 1.0, "a plain read is");
}

/// What follows it does not wait for it on the master: on a replica it might see that, or not see what came before.
#[test]
fn a_read_behind_a_write_is_not_hedged() {
    let group = Group::start(Flavor::Valkey8, 2);
    one_key(&group);
    group.wait_in_sync();
    let master = Relay::before(group.master.port(), 1);
    let replicas = [0, 1].map(|index: usize| group.replicas[index].address());
    let [one, other] = replicas;
    let ambassador = over(&[master.address(), one, other], ALL);
    let hedged = || ambassador.metric("redis_ambassador_reads_hedged_total");
    let mut client = ambassador.client();
    for _ in 0..300 {
        read(&mut client);
    }
    master.set(Mode::Delay(40 * MS));
    let before = hedged();
    for number in 0..10 {
        let (now, next) = (number.to_string(), (number + 1).to_string());
        for words in [&["SET", "own", &now][..], &["GET", "own"], &["SET", "own", &next]] {
            client.send(words);
            // In batches of their own, mostly.
            thread::sleep(3 * MS);
        }
        let replies = [0; 3].map(|_: u8| client.read_reply());
        assert_eq!(replies, [Reply::ok(), Reply::bulk(&now), Reply::ok()]);
    }
    assert_eq!(hedged(), before);
}

/// An error that is not asked again elsewhere: it is passed on when nothing better comes.
const WRONG: &str = "-ERR this node is out of order\r\n";

/// Whichever of two nodes it comes from, and although it comes first.
#[test]
fn an_error_does_not_win_against_a_value_that_comes_later() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, ALL, 1, one_key);
        let mut client = scene.ambassador.client();
        for _ in 0..300 {
            read(&mut client);
        }
        let hedged = scene.hedged();
        // Of reads that the late one gets first, the second node's answer is the error.
        scene.relays[0].set(Mode::Delay(40 * MS));
        scene.relays[1].set(Mode::Say(WRONG));
        let (mut late, end) = (0, Instant::now() + 20_000 * MS);
        while late < 5 && Instant::now() < end {
            let begun = Instant::now();
            let reply = client.command(&["GET", "key"]);
            let took = begun.elapsed();
            // The one that answers at once was asked first then, and nobody asks another one.
            if reply == Reply::Error("ERR this node is out of order".to_owned()) && took < 20 * MS {
                continue;
            }
            assert_eq!(reply, Reply::bulk("value"), "{flavor}, after {took:?}");
            late += 1;
        }
        let asked_twice = scene.hedged() - hedged;
        println!("{flavor}: {late} values, {asked_twice} hedged");
        assert!(asked_twice > 0.0, "{flavor}: it is about hedged reads");
        assert!(
            asked_twice <= f64::from(late),
            "{flavor}: a read that was asked twice got the error"
        );
    }
}

const KEYS: u64 = 200;

/// What stands under a key: nothing else looks like it.
fn value(key: u64, longest: usize) -> String {
    let text = format!("<{key}>");
    // Long ones go to the client's socket as they come.
    let times = 1 + (key as usize * 7_919) % (longest / text.len()).max(1);
    text.repeat(times)
}

/// One client's requests, with the replies that they must get.
struct Reader {
    client: Client,
    random: SmallRng,
    longest: usize,
    own: String,
    written: u64,
}

impl Reader {
    fn step(&mut self) -> u64 {
        let mut requests: Vec<Vec<String>> = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..self.random.random_range(1..12) {
            let [one, other] = [0; 2].map(|_: u8| self.random.random_range(0..KEYS));
            let words = |name: &str, keys: &[u64]| {
                let keys = keys.iter().map(|key| format!("key:{key}"));
                std::iter::once(name.to_owned()).chain(keys).collect()
            };
            let (request, reply) = match self.random.random_range(0..10) {
                0 => (
                    vec!["GET".to_owned(), "list".to_owned()],
                    Reply::Error(
                        "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned(),
                    ),
                ),
                1 => (
                    words("MGET", &[one, other]),
                    Reply::Array(
                        [one, other]
                            .map(|key| Reply::bulk(value(key, self.longest)))
                            .into(),
                    ),
                ),
                _ => (words("GET", &[one]), Reply::bulk(value(one, self.longest))),
            };
            requests.push(request);
            expected.push(reply);
        }
        let borrowed: Vec<Vec<&str>> = requests
            .iter()
            .map(|request| request.iter().map(String::as_str).collect())
            .collect();
        let borrowed: Vec<&[&str]> = borrowed.iter().map(Vec::as_slice).collect();
        assert_eq!(self.client.pipeline(&borrowed), expected, "{requests:?}");
        if self.random.random_range(0..8) == 0 {
            self.write();
        }
        expected.len() as u64
    }

    /// What is read before a write, in one go with it, never shows it.
    fn write(&mut self) {
        self.client.send(&["GET", &self.own]);
        self.written += 1;
        let next = self.written.to_string();
        self.client.send(&["SET", &self.own, &next]);
        let read = self.client.read_reply();
        assert_eq!(self.client.read_reply(), Reply::ok());
        let before = if read == Reply::Null {
            0
        } else {
            read.text().parse().expect("a number")
        };
        assert!(
            before < self.written,
            "{}: {before}, {next} was written after it",
            self.own
        );
    }
}

/// Many clients with pipelines, while the relays do what is drawn of those; on every server.
fn every_reply_is_its_request_s(longest: usize, modes: &[Mode]) {
    let seed = seed();
    let mut all = (0.0, 0.0);
    for flavor in Flavor::ALL {
        let (hedged, won) = crowd(flavor, seed, longest, modes);
        all = (all.0 + hedged, all.1 + won);
    }
    assert!(
        all.0 > 100.0 && all.1 > 10.0,
        "it was about hedged reads: {all:?}"
    );
}

/// How many reads were hedged, and how many of those the second node answered.
fn crowd(flavor: Flavor, seed: u64, longest: usize, modes: &[Mode]) -> (f64, f64) {
    let scene = Scene::set(flavor, ALL, seed, |group| {
        for key in 0..KEYS {
            let name = format!("key:{key}");
            group.master.command(&["SET", &name, &value(key, longest)]);
        }
        group.master.command(&["RPUSH", "list", "element"]);
    });
    let (stop, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..12)
        .map(|index| {
            let mut reader = Reader {
                client: scene.ambassador.client(),
                random: SmallRng::seed_from_u64(seed.wrapping_add(index)),
                longest,
                own: format!("own:{index}"),
                written: 0,
            };
            let (stop, replies) = (Arc::clone(&stop), Arc::clone(&replies));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    replies.fetch_add(reader.step(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut random = SmallRng::seed_from_u64(seed);
    let end = Instant::now() + 6_000 * MS;
    while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
        // At first nothing fails: replicas that are left out for it are no second node for anything.
        let late = if Instant::now() + 4_000 * MS < end {
            3
        } else {
            modes.len()
        };
        let mode = modes[random.random_range(0..late)];
        if mode == Mode::Close {
            scene.replication.set(mode);
        } else {
            scene.replication.set(Mode::Pass);
            scene.relays[random.random_range(0..2)].set(mode);
        }
        thread::sleep(MS * random.random_range(20..200));
    }
    scene.both(Mode::Pass);
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("every reply is its request's");
    }
    let (hedged, won) = (scene.hedged(), scene.won());
    let replies = replies.load(Ordering::Relaxed);
    println!("{flavor}, values up to {longest}: {replies} replies; hedged {hedged}, won {won}");
    assert_eq!(scene.ambassador.metric("redis_ambassador_panics_total"), 0.0);
    (hedged, won)
}

#[test]
fn many_pipelined_clients_get_their_own_replies_whatever_comes_late() {
    let modes = [
        Mode::Pass,
        Mode::Random(20 * MS),
        Mode::Random(3 * MS),
        Mode::Delay(5 * MS),
        Mode::Sometimes(10, 30 * MS),
    ];
    every_reply_is_its_request_s(20_000, &modes);
}

#[test]
fn many_pipelined_clients_get_their_own_replies_whatever_fails() {
    let modes = [
        Mode::Pass,
        Mode::Random(10 * MS),
        Mode::Sometimes(10, 30 * MS),
        Mode::HangUp,
        Mode::Swallow,
        // Of replication: MASTERDOWN.
        Mode::Close,
    ];
    every_reply_is_its_request_s(30, &modes);
}
