//! Nodes that say master and are none, or are none any more: restarts in the wrong role, promotions that are undone.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Ambassador, Flavor, Group, Reply, Sentinel, Server, eventually, wait_until};

/// Sentinels take ten seconds to undo what an operator did.
const PATIENCE: Duration = Duration::from_secs(40);

fn topology(ambassador: &Ambassador) -> Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).expect("it is JSON")
}

fn is_master(ambassador: &Ambassador, server: &Server) -> bool {
    topology(ambassador)["master"] == server.address()
}

/// What `/topology` calls the role of a node.
fn role_of(ambassador: &Ambassador, server: &Server) -> Value {
    let topology = topology(ambassador);
    let nodes = topology["nodes"].as_array().expect("a list");
    let node = nodes.iter().find(|node| node["name"] == server.address());
    node.map_or(Value::Null, |node| node["role"].clone())
}

fn over_all(group: &Group) -> Ambassador {
    let mut args = vec!["--master".to_owned(), group.master.address()];
    for replica in &group.replicas {
        args.extend(["--replica".to_owned(), replica.address()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ambassador = Ambassador::start(&args);
    wait_until(|| {
        topology(&ambassador)
            .to_string()
            .matches("\"usable\":true")
            .count()
            == args.len() / 2
    });
    ambassador
}

#[test]
fn a_replica_that_restarts_as_a_master_takes_nobody_s_place() {
    for flavor in Flavor::ALL {
        let mut group = Group::start(flavor, 2);
        let ambassador = over_all(&group);
        let mut client = ambassador.client();
        for number in 1..=100 {
            assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(number), "{flavor}");
        }
        group.wait_in_sync();
        // Its data say whose they are, and nothing tells it whom to follow: its history is that of a promotion.
        let restarted = &mut group.replicas[0];
        assert_eq!(restarted.command(&["SAVE"]), Reply::ok());
        restarted.restart_with(&[]);
        let state = restarted.info("replication");
        assert_eq!(state["role"], "master", "{flavor}");
        assert_eq!(
            state["master_replid2"],
            group.master.info("replication")["master_replid"],
            "{flavor}"
        );
        let restarted = &group.replicas[0];
        wait_until(|| role_of(&ambassador, restarted) == "master");
        for number in 101..=300 {
            assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(number), "{flavor}");
        }
        assert!(is_master(&ambassador, &group.master), "{flavor}");
        // Told whom to follow it serves again, and may then be promoted.
        let port = group.master.port().to_string();
        restarted.command(&["REPLICAOF", "127.0.0.1", &port]);
        wait_until(|| role_of(&ambassador, restarted) == "replica");
        group.wait_in_sync();
        restarted.command(&["REPLICAOF", "NO", "ONE"]);
        wait_until(|| is_master(&ambassador, restarted));
    }
}

#[test]
fn a_promotion_that_the_sentinels_undo_is_followed_both_ways() {
    let group = Group::start(Flavor::Redis7, 2);
    let sentinels = Sentinel::three_over(&group);
    let arguments: Vec<String> = sentinels
        .iter()
        .flat_map(|sentinel| ["--sentinel".to_owned(), sentinel.address()])
        .collect();
    let ambassador = Ambassador::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until(|| is_master(&ambassador, &group.master));
    let mut client = ambassador.client();
    assert_eq!(client.command(&["SET", "a", "1"]), Reply::ok());
    group.wait_in_sync();
    let promoted = &group.replicas[0];
    promoted.command(&["REPLICAOF", "NO", "ONE"]);
    wait_until(|| is_master(&ambassador, promoted));
    // No failover of theirs: they tell it to follow again, in the same epoch.
    eventually(PATIENCE, || {
        (promoted.info("replication")["role"] == "slave").then_some(())
    });
    eventually(PATIENCE, || is_master(&ambassador, &group.master).then_some(()));
    wait_until(|| client.command(&["SET", "a", "2"]) == Reply::ok());
    assert_eq!(group.master.command(&["GET", "a"]), Reply::bulk("2"));
}

#[test]
fn a_deposed_master_that_restarts_with_its_data_waits_until_it_has_followed() {
    for flavor in Flavor::ALL {
        let mut group = Group::start(flavor, 2);
        let append_only = ["--appendonly", "yes", "--appendfsync", "always"];
        group.master.restart_with(&append_only);
        for replica in &group.replicas {
            wait_until(|| replica.info("replication")["master_link_status"] == "up");
        }
        let ambassador = over_all(&group);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1), "{flavor}");
        group.wait_in_sync();
        group.master.kill();
        group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
        let reigning = &group.replicas[0];
        wait_until(|| is_master(&ambassador, reigning));
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(2), "{flavor}");
        // With another replid than before, and the other replica still follows it.
        group.master.restart();
        wait_until(|| group.master.command(&["GET", "n"]) == Reply::bulk("1"));
        let old = group.master.port().to_string();
        wait_until(|| group.replicas[1].info("replication")["master_link_status"] == "up");
        assert_eq!(
            group.replicas[1].info("replication")["master_port"],
            old,
            "{flavor}"
        );
        wait_until(|| role_of(&ambassador, &group.master) == "master");
        reigning.freeze();
        wait_until(|| topology(&ambassador)["master"] == Value::Null);
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            assert!(
                !is_master(&ambassador, &group.master),
                "{flavor}: {}",
                ambassador.log()
            );
        }
        reigning.thaw();
        wait_until(|| is_master(&ambassador, reigning));
        wait_until(|| client.command(&["INCR", "n"]) == Reply::Integer(3));
        assert_eq!(group.master.command(&["GET", "n"]), Reply::bulk("1"), "{flavor}");
    }
}
