//! A replica that is well by its probes and fails at reads is left out of them, and comes back.
#![allow(clippy::float_cmp, reason = "metrics are counts, which a float holds exactly")]

use std::thread;
use std::time::{Duration, Instant};

use crate::follows;
use crate::relay::{Mode, Relay};
use crate::support::{Ambassador, Client, Flavor, Group, Reply, Server, wait_until};

const DOWN: &str = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n";

/// Probes that are answered at once, so that a silent link is found out soon.
const QUICK: &str = "[upstream]\nprobe_interval = \"50ms\"\nprobe_timeout = \"200ms\"\n";

struct Scene {
    group: Group,
    relay: Relay,
    ambassador: Ambassador,
}

impl Scene {
    /// A master and two replicas, the first of them behind a relay.
    fn set(flavor: Flavor, config: &str) -> Self {
        let group = Group::start(flavor, 2);
        group.master.command(&["SET", "key", "value"]);
        group.wait_in_sync();
        let relay = Relay::before(group.replicas[0].port(), 0);
        let nodes = [
            group.master.address(),
            relay.address(),
            group.replicas[1].address(),
        ];
        let ambassador = over(&nodes, config);
        Self {
            group,
            relay,
            ambassador,
        }
    }
}

pub(crate) fn over(nodes: &[String], config: &str) -> Ambassador {
    let mut args = vec!["--workers", "1", "--master", &nodes[0]];
    for replica in &nodes[1..] {
        args.extend(["--replica", replica]);
    }
    let ambassador = Ambassador::with_config(config, &args);
    wait_until(|| {
        let (_, topology) = ambassador.admin_get("/topology");
        topology.matches("\"usable\": true").count() == nodes.len()
    });
    ambassador
}

/// Reads for so long; none of them fails.
fn read_for(client: &mut Client, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut reads = 0;
    while Instant::now() < end {
        assert_eq!(client.command(&["GET", "key"]), Reply::bulk("value"));
        reads += 1;
        thread::sleep(Duration::from_micros(500));
    }
    reads
}

#[test]
fn a_replica_that_fails_at_reads_is_left_out_and_comes_back() {
    for (mode, config) in [
        (Mode::Say(DOWN), ""),
        (
            Mode::Say("-LOADING Redis is loading the dataset in memory\r\n"),
            "",
        ),
        (Mode::HangUp, ""),
        (Mode::Swallow, QUICK),
    ] {
        let scene = Scene::set(Flavor::Redis7, config);
        let mut client = scene.ambassador.client();
        let ejections = || scene.ambassador.metric("redis_ambassador_node_ejections_total");
        read_for(&mut client, Duration::from_millis(200));
        assert!(scene.relay.gets() > 0 && ejections() == 0.0, "{mode:?}");

        scene.relay.set(mode);
        let before = scene.relay.gets();
        let reads = read_for(&mut client, Duration::from_secs(4));
        let tried = scene.relay.gets() - before;
        println!("{mode:?}: of {reads} reads {tried} were tried on it");
        // Three to put it out, one on trial after each of 1 and 2 seconds.
        assert!((1..=8).contains(&tried), "{mode:?}: {tried} of {reads}");
        assert!(ejections() > 0.0, "{mode:?}");

        scene.relay.set(Mode::Pass);
        let back = scene.relay.gets() + 100;
        wait_until(|| {
            read_for(&mut client, Duration::from_millis(50));
            scene.relay.gets() >= back
        });
        drop(scene.group);
    }
}

#[test]
fn a_replica_without_its_master_that_serves_no_stale_data_is_asked_a_few_times_only() {
    for flavor in Flavor::ALL {
        let master = Server::start(flavor, &[]);
        master.command(&["SET", "key", "value"]);
        let replication = Relay::before(master.port(), 0);
        let port = replication.port.to_string();
        let args = follows(&port);
        let group = Group {
            replicas: vec![Server::start(flavor, &args), Server::replica_of(&master)],
            master,
        };
        group.wait_in_sync();
        let nodes: Vec<String> = group.nodes().map(Server::address).collect();
        let ambassador = over(&nodes, "");
        let mut client = ambassador.client();

        replication.set(Mode::Close);
        let stale = &group.replicas[0];
        wait_until(|| stale.info("replication")["master_link_status"] == "down");
        let reads = read_for(&mut client, Duration::from_secs(3));
        let errors = stale.info("errorstats");
        let refused = errors.get("errorstat_MASTERDOWN").cloned().unwrap_or_default();
        println!("{flavor}: of {reads} reads the replica refused: {refused}");
        let refused: u64 = refused.trim_start_matches("count=").parse().unwrap_or(0);
        assert!((1..=8).contains(&refused), "{flavor}: {refused} of {reads}");

        replication.set(Mode::Pass);
        let before = stale.calls("get");
        wait_until(|| {
            read_for(&mut client, Duration::from_millis(50));
            stale.calls("get") >= before + 100
        });
    }
}

#[test]
fn the_last_one_that_can_serve_is_not_left_out() {
    let group = Group::start(Flavor::Valkey8, 1);
    group.master.command(&["SET", "key", "value"]);
    group.wait_in_sync();
    let relay = Relay::before(group.replicas[0].port(), 0);
    let nodes = [group.master.address(), relay.address()];
    let ambassador = over(&nodes, "[reads]\npolicy = \"replicas-only\"\n");
    let mut client = ambassador.client();

    relay.set(Mode::Say(DOWN));
    for _ in 0..10 {
        client.command(&["GET", "key"]);
    }
    assert!(ambassador.metric("redis_ambassador_node_ejections_total") > 0.0);
    relay.set(Mode::Pass);
    let before = relay.gets();
    for _ in 0..10 {
        assert_eq!(client.command(&["GET", "key"]), Reply::bulk("value"));
    }
    assert_eq!(relay.gets(), before + 10);
}
