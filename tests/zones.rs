//! Reads stay in the ambassador's own zone while a replica there can serve, by the servers' own counters.

mod support;

use support::{Ambassador, Flavor, Group, Server, wait_until};

const READS: u64 = 200;

/// The group's nodes as arguments; ready when all three are usable.
fn start(group: &Group, config: &str, args: &[&str]) -> Ambassador {
    let addresses: Vec<String> = group.nodes().map(Server::address).collect();
    let mut all = vec!["--master", &addresses[0]];
    for replica in &addresses[1..] {
        all.extend(["--replica", replica]);
    }
    all.extend(args);
    let ambassador = Ambassador::with_config(config, &all);
    wait_until(|| {
        let (_, topology) = ambassador.admin_get("/topology");
        topology.matches("\"usable\": true").count() == group.replicas.len() + 1
    });
    ambassador
}

/// How many of [`READS`] reads each node served; none of them fails.
fn shares(group: &Group, ambassador: &Ambassador, nodes: &[&Server]) -> Vec<u64> {
    for node in nodes {
        node.command(&["CONFIG", "RESETSTAT"]);
    }
    let mut client = ambassador.client();
    for _ in 0..READS {
        assert_eq!(
            client.command(&["GET", "key"]).text(),
            "value",
            "{}",
            group.master.flavor()
        );
    }
    nodes.iter().map(|node| node.calls("get")).collect()
}

#[test]
fn a_zone_named_in_the_configuration_reads_first_then_the_others_then_the_master() {
    for flavor in [Flavor::Redis7, Flavor::Redis8] {
        let mut group = Group::start(flavor, 2);
        group.master.command(&["SET", "key", "value"]);
        group.wait_in_sync();
        let [near, far] = [0, 1].map(|index: usize| group.replicas[index].address());
        let config = format!("[upstream]\nzone = \"a\"\nzones = [\"{near}=a\", \"{far}=b\"]\n");
        let ambassador = start(&group, &config, &[]);
        let all = |group: &Group| {
            let nodes: Vec<&Server> = group.nodes().collect();
            shares(group, &ambassador, &nodes)
        };
        assert_eq!(all(&group), [0, READS, 0], "{flavor}");

        group.replicas[0].kill();
        let left = [&group.master, &group.replicas[1]];
        assert_eq!(shares(&group, &ambassador, &left), [0, READS], "{flavor}");

        group.replicas[1].kill();
        assert_eq!(shares(&group, &ambassador, &[&group.master]), [READS], "{flavor}");

        group.replicas[0].restart();
        group.replicas[1].restart();
        group.wait_in_sync();
        // It is let in again by and by.
        wait_until(|| all(&group)[1] == READS);
    }
}

#[test]
fn a_zone_that_the_server_tells_counts_as_well() {
    let group = Group::start(Flavor::Valkey8, 0);
    let master = group.master.port().to_string();
    let replicas = ["a", "b", "b"].map(|zone| {
        let args = ["--replicaof", "127.0.0.1", &master, "--availability-zone", zone];
        Server::start(Flavor::Valkey8, &args)
    });
    let group = Group {
        master: group.master,
        replicas: replicas.into(),
    };
    group.master.command(&["SET", "key", "value"]);
    group.wait_in_sync();
    let nodes: Vec<&Server> = group.nodes().collect();

    let ambassador = start(&group, "", &["--zone", "a"]);
    assert_eq!(shares(&group, &ambassador, &nodes), [0, READS, 0, 0]);
    let (_, topology) = ambassador.admin_get("/topology");
    assert_eq!(topology.matches("\"zone\": \"b\"").count(), 2, "{topology}");

    let ambassador = start(&group, "", &["--zone", "b"]);
    let b = shares(&group, &ambassador, &nodes);
    assert_eq!((b[0], b[1], b[2] + b[3]), (0, 0, READS));
    assert!(b[2] > 0 && b[3] > 0, "both of the zone serve: {b:?}");

    let ambassador = start(&group, "", &["--zone", "c"]);
    let c = shares(&group, &ambassador, &nodes);
    assert!(
        c[0] == 0 && c[1..].iter().all(|share| *share > 0),
        "a zone without replicas reads from all: {c:?}"
    );
}
