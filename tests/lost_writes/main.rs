//! What is told of acknowledged writes that a failover lost, compared with what is missing on the new master.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

#[path = "../faults/pump.rs"]
mod pump;
#[path = "../faults/relay.rs"]
#[allow(dead_code, reason = "these stories need few of its faults")]
mod relay;
#[path = "../support/mod.rs"]
mod support;
mod writers;

use std::collections::BTreeSet;

use relay::{Cut, Fault, Party, Relays};
use support::{Ambassador, Flavor, Group, Losses, Reply, Server, eventually, wait_until};
use writers::Writers;

/// Waits until so many failovers are answered for.
#[track_caller]
fn told_of(ambassador: &Ambassador, failovers: u64) -> Losses {
    eventually(support::PATIENCE, || {
        Some(Losses::told_by(ambassador)).filter(|told| told.failovers() >= failovers)
    })
}

/// A master, and a replica that hears of it through a relay.
struct Held {
    master: Server,
    replica: Server,
    relay: relay::Relay,
    _relays: Relays,
}

impl Held {
    #[track_caller]
    fn start(flavor: Flavor) -> Self {
        let relays = Relays::start();
        let relay = relays.relay();
        let master = Server::start(flavor, &[]);
        relay.point_at(master.port());
        let follows = ["--replicaof", "127.0.0.1", &relay.port().to_string()];
        let replica = Server::start(flavor, &follows);
        wait_until(|| replica.info("replication")["master_link_status"] == "up");
        Held {
            master,
            replica,
            relay,
            _relays: relays,
        }
    }

    #[track_caller]
    fn ambassador(&self, args: &[&str]) -> Ambassador {
        let (master, replica) = (self.master.address(), self.replica.address());
        let nodes = ["--master", &master, "--replica", &replica];
        let ambassador = Ambassador::start(&[&nodes[..], args].concat());
        wait_until(|| {
            let topology = ambassador.admin_get("/topology").1;
            topology.matches("\"usable\": true").count() == 2
        });
        ambassador
    }

    /// Nothing more gets to the replica.
    fn hold_up(&self) {
        self.relay.set(Party::Outside, Fault::Stall);
    }

    /// Waits until the ambassador has asked the master where it is after it was where it is now.
    #[track_caller]
    fn wait_probed(&self, ambassador: &Ambassador) {
        let written = offset(&self.master, "master_repl_offset");
        let sample = format!(
            "redis_ambassador_node_offset_bytes{{node=\"{}\"",
            self.master.address()
        );
        wait_until(|| ambassador.metric(&sample) >= written as f64);
    }

    /// Kills the master with what did not get to the replica, and makes that the master.
    fn fail_over(&mut self) {
        self.master.kill();
        self.relay.cut(Party::Outside, Cut::Reset);
        let promoted = self.replica.command(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(promoted, Reply::ok());
    }
}

#[track_caller]
fn offset(server: &Server, field: &str) -> u64 {
    server.info("replication")[field]
        .parse()
        .expect("an offset is a number")
}

#[test]
fn a_killed_master_lost_as_much_as_is_told() {
    for flavor in Flavor::ALL {
        let mut group = Held::start(flavor);
        let ambassador = group.ambassador(&["--workers", "3"]);
        let writers = Writers::start(&ambassador);
        writers.more(500);
        group.wait_probed(&ambassador);
        group.hold_up();
        writers.more(1_000);
        group.wait_probed(&ambassador);
        writers.more(3_000);
        group.fail_over();
        let told = told_of(&ambassador, 1);
        writers.more(200);
        let (missing, acknowledged) = writers.finish().missing(&group.replica);
        println!("{flavor}: {missing} of {acknowledged} are missing, told {told:?}");
        assert!(missing > 500, "{flavor}: {missing}");
        assert!(
            told.least <= missing && missing <= told.most,
            "{flavor}: {missing} are missing, told {told:?}\n{}",
            ambassador.log()
        );
        assert!(told.most < acknowledged && told.some == 1, "{flavor}: {told:?}");
        assert!(told.least > 0, "{flavor}: {told:?}");
        let topology = ambassador.admin_get("/topology").1;
        let line = format!("\"writes_lost_at_most\": {}", told.most);
        assert!(topology.contains(&line), "{topology}");
        let log = ambassador.log();
        let line = log
            .lines()
            .find(|line| line.contains("may have lost acknowledged writes"));
        println!("{}", line.expect("the log says so"));
        assert!(ambassador.metric("redis_ambassador_panics_total") < 0.5);
    }
}

/// Only where that is asked for.
#[test]
fn the_keys_of_what_is_missing_are_named_on_request() {
    for asked in [true, false] {
        let mut group = Held::start(Flavor::Redis8);
        let config = if asked { "[log]\nlost_keys = 100000\n" } else { "" };
        let (master, replica) = (group.master.address(), group.replica.address());
        let ambassador = Ambassador::with_config(config, &["--master", &master, "--replica", &replica]);
        let writers = Writers::start(&ambassador);
        writers.more(500);
        group.hold_up();
        writers.more(1_000);
        group.fail_over();
        told_of(&ambassador, 1);
        let log = writers.finish();
        let missing = log.missing_keys(&group.replica);
        assert!(missing.len() > 500);
        let named = || -> BTreeSet<String> {
            let text = ambassador.log();
            let lines = text
                .lines()
                .filter(|line| line.contains("keys of acknowledged writes"));
            let keys = lines.filter_map(|line| line.split("keys=\"").nth(1)?.split('"').next());
            keys.flat_map(|keys| keys.split(' ').map(str::to_owned)).collect()
        };
        if asked {
            wait_until(|| missing.iter().all(|key| named().contains(key)));
        } else {
            assert_eq!(named(), BTreeSet::new());
        }
    }
}

/// Nobody tells the former master, and it goes on answering: own connections among others, which are taken off it.
#[test]
fn a_master_that_lives_on_lost_as_much_as_is_told() {
    for flavor in Flavor::ALL {
        let group = Held::start(flavor);
        let ambassador = group.ambassador(&["--workers", "2"]);
        let writers = Writers::start(&ambassador);
        writers.more(500);
        group.wait_probed(&ambassador);
        group.hold_up();
        writers.more(1_000);
        group.relay.cut(Party::Outside, Cut::Reset);
        assert_eq!(group.replica.command(&["REPLICAOF", "NO", "ONE"]), Reply::ok());
        let told = told_of(&ambassador, 1);
        assert_eq!(told.some, 1, "{flavor}: {told:?}");
        writers.more(200);
        let (missing, acknowledged) = writers.finish().missing(&group.replica);
        // What was under way on own connections may have come later.
        let told = eventually(support::PATIENCE, || {
            Some(Losses::told_by(&ambassador)).filter(|told| told.most >= missing)
        });
        println!("{flavor}: {missing} of {acknowledged} are missing, told {told:?}");
        assert!(
            missing > 500 && told.least <= missing,
            "{flavor}: {missing}, {told:?}"
        );
    }
}

/// Between two probes the master is asked for its offset while it acknowledges writes.
#[test]
fn what_is_told_is_no_coarser_than_the_marks() {
    let mut group = Group::start(Flavor::Redis7, 1);
    let config = "[upstream]\nprobe_interval = \"4s\"\nmark_interval = \"10ms\"\n";
    let (master, replica) = (group.master.address(), group.replicas[0].address());
    let ambassador = Ambassador::with_config(config, &["--master", &master, "--replica", &replica]);
    let writers = Writers::start(&ambassador);
    writers.more(500);
    // Each look is an INFO itself.
    let (before, mut looks) = (group.master.calls("info"), 0);
    wait_until(|| {
        looks += 1;
        group.master.calls("info") >= before + looks + 20
    });
    group.master.kill();
    assert_eq!(
        group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]),
        Reply::ok()
    );
    let told = told_of(&ambassador, 1);
    let (missing, acknowledged) = writers.finish().missing(&group.replicas[0]);
    println!("{missing} of {acknowledged} are missing, told {told:?}");
    assert!(
        told.least <= missing && missing <= told.most,
        "{missing}, {told:?}"
    );
    // Without marks it would be all that was acknowledged before.
    assert!(told.most < missing + acknowledged / 2, "{acknowledged}, {told:?}");
}

#[test]
fn a_replica_that_had_everything_lost_nothing() {
    for flavor in Flavor::ALL {
        let mut group = Held::start(flavor);
        let ambassador = group.ambassador(&[]);
        let writers = Writers::start(&ambassador);
        writers.more(500);
        let log = writers.finish();
        group.wait_probed(&ambassador);
        wait_until(|| {
            offset(&group.replica, "slave_repl_offset") == offset(&group.master, "master_repl_offset")
        });
        group.fail_over();
        let told = told_of(&ambassador, 1);
        assert_eq!((told.none, told.least, told.most), (1, 0, 0), "{flavor}");
        assert_eq!(log.missing(&group.replica).0, 0, "{flavor}");
    }
}

#[test]
fn a_failover_by_command_lost_nothing() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over_with(&group, &["--workers", "2"]);
        let writers = Writers::start(&ambassador);
        for times in 1..=4 {
            writers.more(300);
            let (old, new) = if times % 2 == 1 {
                (&group.master, &group.replicas[0])
            } else {
                (&group.replicas[0], &group.master)
            };
            // Refused while the last one goes on.
            wait_until(|| old.command(&["FAILOVER"]) == Reply::ok());
            let told = told_of(&ambassador, times);
            assert_eq!(
                (told.none, told.most),
                (times, 0),
                "{flavor}: {told:?}\n{}",
                ambassador.log()
            );
            wait_until(|| {
                let state = new.info("replication");
                state["role"] == "master" && state.get("slave0").is_some_and(|line| line.contains("online"))
            });
        }
        writers.more(300);
        let (missing, _) = writers.finish().missing(&group.master);
        assert_eq!(missing, 0, "{flavor}");
    }
}

/// It begins a new history for its first replica, with the data that it has.
#[test]
fn a_first_replica_is_no_failover() {
    for flavor in Flavor::ALL {
        let master = Server::start(flavor, &[]);
        let ambassador = Ambassador::start(&["--master", &master.address()]);
        let replid = || master.info("replication")["master_replid"].clone();
        let before = replid();
        let writers = Writers::start(&ambassador);
        writers.more(300);
        let replica = Server::replica_of(&master);
        wait_until(|| {
            ambassador
                .admin_get("/topology")
                .1
                .matches("\"usable\": true")
                .count()
                == 2
        });
        writers.more(300);
        assert_ne!(replid(), before, "{flavor}");
        assert_eq!(Losses::told_by(&ambassador), Losses::default(), "{flavor}");
        let (missing, _) = writers.finish().missing(&master);
        assert_eq!(missing, 0, "{flavor}");
        drop(replica);
    }
}

#[test]
fn a_master_that_comes_back_empty_may_have_lost_everything() {
    for flavor in Flavor::ALL {
        let mut group = Held::start(flavor);
        let ambassador = group.ambassador(&[]);
        let writers = Writers::start(&ambassador);
        writers.more(300);
        let log = writers.finish();
        group.master.restart();
        let told = told_of(&ambassador, 1);
        let (missing, acknowledged) = log.missing(&group.master);
        assert_eq!(missing, acknowledged, "{flavor}");
        assert_eq!(told.unknown, 1, "{flavor}: {told:?}");
        assert!(
            told.most >= missing && told.least == 0,
            "{flavor}: {missing}, {told:?}"
        );
        assert!(ambassador.log().contains("cannot be told"), "{flavor}");
    }
}

#[test]
fn a_master_that_comes_back_with_what_it_saved_lost_what_came_after() {
    for flavor in Flavor::ALL {
        let mut group = Held::start(flavor);
        let ambassador = group.ambassador(&[]);
        let writers = Writers::start(&ambassador);
        writers.more(300);
        // Refused while it saves for its replica.
        wait_until(|| group.master.command(&["SAVE"]) == Reply::ok());
        writers.more(300);
        let log = writers.finish();
        group.master.restart();
        let told = told_of(&ambassador, 1);
        let (missing, acknowledged) = log.missing(&group.master);
        println!("{flavor}: {missing} of {acknowledged} are missing, told {told:?}");
        assert!(missing >= 300 && missing < acknowledged, "{flavor}: {missing}");
        assert!(
            told.least <= missing && missing <= told.most,
            "{flavor}: {missing}, {told:?}"
        );
    }
}
