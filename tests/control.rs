//! The control plane against real servers: who is master, who may serve, and how it learns of changes.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_ambassador::attempts::Attempts;
use redis_ambassador::commands::Class;
use redis_ambassador::config::{self, Sources};
use redis_ambassador::control;
use redis_ambassador::settings::Settings;
use redis_ambassador::topology::{Node, NodeId, Topology};
use redis_ambassador::worker::Hint;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use support::{Ambassador, Flavor, Group, PATIENCE, Server, eventually, free_port, wait_until};

/// What `/topology` says of a node, looked up by its name; `null` when it is not part of the group.
fn node(ambassador: &Ambassador, server: &Server) -> Value {
    let topology = topology(ambassador);
    let nodes = topology["nodes"].as_array().expect("there is a list of nodes");
    let found = nodes.iter().find(|node| node["name"] == server.address());
    found.cloned().unwrap_or(Value::Null)
}

fn topology(ambassador: &Ambassador) -> Value {
    let (status, text) = ambassador.admin_get("/topology");
    assert_eq!(status, 200);
    serde_json::from_str(&text).expect("it is JSON")
}

fn is_usable(ambassador: &Ambassador, server: &Server) -> bool {
    node(ambassador, server)["usable"] == true
}

#[track_caller]
fn wait_for_reason(ambassador: &Ambassador, server: &Server, part: &str) {
    let mut last = Value::Null;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(|| {
            last = node(ambassador, server);
            last["usable"] == false
                && last["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains(part))
        });
    }));
    assert!(found.is_ok(), "no reason with {part:?}; last: {last:#}");
}

#[test]
fn a_replica_that_never_synced_gets_no_reads_until_it_has() {
    let master = Server::start(Flavor::Redis7, &[]);
    let dead = free_port().to_string();
    let replica = Server::start(Flavor::Redis7, &["--replicaof", "127.0.0.1", &dead]);
    let ambassador = Ambassador::start(&["--master", &master.address(), "--replica", &replica.address()]);
    wait_for_reason(&ambassador, &replica, "never in sync");

    replica.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    wait_until(|| is_usable(&ambassador, &replica));
    let facts = node(&ambassador, &replica);
    assert_eq!(facts["role"], "replica");
    assert_eq!(facts["link_up"], true);
    assert_eq!(facts["replid"], node(&ambassador, &master)["replid"]);
}

#[test]
fn a_replica_that_dies_is_left_out_and_comes_back_by_itself() {
    let mut group = Group::start(Flavor::Redis7, 2);
    let ambassador = Ambassador::over(&group);
    wait_until(|| {
        group
            .replicas
            .iter()
            .all(|replica| is_usable(&ambassador, replica))
    });

    group.replicas[0].kill();
    wait_for_reason(
        &ambassador,
        &group.replicas[0],
        "cannot connect: connection refused",
    );
    assert!(is_usable(&ambassador, &group.replicas[1]));

    group.replicas[0].restart();
    wait_until(|| is_usable(&ambassador, &group.replicas[0]));
}

#[test]
fn a_hung_replica_is_left_out_until_it_answers_again() {
    let group = Group::start(Flavor::Redis7, 1);
    let config = "[upstream]\nprobe_timeout = \"300ms\"\n";
    let (master, replica) = (&group.master, &group.replicas[0]);
    let ambassador = Ambassador::with_config(
        config,
        &["--master", &master.address(), "--replica", &replica.address()],
    );
    wait_until(|| is_usable(&ambassador, replica));
    replica.freeze();
    wait_for_reason(&ambassador, replica, "no answer within upstream.probe_timeout");
    replica.thaw();
    wait_until(|| is_usable(&ambassador, replica));
}

#[test]
fn a_replica_cut_off_from_its_master_is_tolerated_for_a_while_only() {
    let mut group = Group::start(Flavor::Redis7, 1);
    let config = "[upstream]\nmax_link_down = \"2s\"\n";
    let (master, replica) = (group.master.address(), group.replicas[0].address());
    let ambassador = Ambassador::with_config(config, &["--master", &master, "--replica", &replica]);
    wait_until(|| is_usable(&ambassador, &group.replicas[0]));
    group.master.kill();
    let cut = Instant::now();
    wait_until(|| node(&ambassador, &group.replicas[0])["link_up"] == false);
    assert!(
        is_usable(&ambassador, &group.replicas[0]),
        "the link is down for a moment only"
    );
    assert_eq!(ambassador.admin_get("/ready").0, 503, "there is no master");
    wait_for_reason(&ambassador, &group.replicas[0], "max_link_down");
    assert!(cut.elapsed() > Duration::from_secs(1), "it was left out at once");
}

#[test]
fn a_replica_too_far_behind_is_left_out() {
    let group = Group::start(Flavor::Redis7, 1);
    let config = "[upstream]\nmax_lag = \"1KiB\"\nprobe_timeout = \"10s\"\n";
    let (master, replica) = (&group.master, &group.replicas[0]);
    let ambassador = Ambassador::with_config(
        config,
        &["--master", &master.address(), "--replica", &replica.address()],
    );
    wait_until(|| is_usable(&ambassador, replica));
    // A replica that is kept from reading its stream answers probes again before it has read it all.
    let value = "x".repeat(1 << 20);
    let mut writer = master.client();
    let left_out = eventually(PATIENCE, || {
        for key in 0..20 {
            writer.command(&["SET", &key.to_string(), &value]);
        }
        // In between it may have caught up, and be out because it comes and goes.
        let facts = node(&ambassador, replica);
        let behind = facts["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("max_lag"));
        (facts["usable"] == false && behind).then_some(facts)
    });
    assert!(left_out["lag_bytes"].as_u64().unwrap() > 1024, "{left_out:#}");
    wait_until(|| is_usable(&ambassador, replica));
}

#[test]
fn the_node_that_says_master_is_master_whatever_the_configuration_says() {
    let group = Group::start(Flavor::Redis7, 1);
    let (master, replica) = (&group.master, &group.replicas[0]);
    let swapped = Ambassador::start(&["--master", &replica.address(), "--replica", &master.address()]);
    assert_eq!(topology(&swapped)["master"], master.address().as_str());
    wait_until(|| is_usable(&swapped, replica));
    assert_eq!(node(&swapped, replica)["role"], "replica");
}

#[test]
fn a_promotion_among_known_nodes_is_followed() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        wait_until(|| group.nodes().all(|node| is_usable(&ambassador, node)));
        let (old, new, sibling) = (&group.master, &group.replicas[0], &group.replicas[1]);

        new.command(&["REPLICAOF", "NO", "ONE"]);
        wait_until(|| topology(&ambassador)["master"] == new.address().as_str());
        wait_for_reason(&ambassador, old, "another node is the group's master");
        let port = new.port().to_string();
        for node in [old, sibling] {
            node.command(&["REPLICAOF", "127.0.0.1", &port]);
        }
        wait_until(|| group.nodes().all(|node| is_usable(&ambassador, node)));
        assert_eq!(topology(&ambassador)["master"], new.address().as_str());
    }
}

#[test]
fn replicas_are_found_from_the_master_and_one_that_attaches_later_too() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = Ambassador::start(&["--master", &group.master.address()]);
    wait_until(|| is_usable(&ambassador, &group.replicas[0]));
    assert_eq!(node(&ambassador, &group.replicas[0])["configured"], false);

    let mut late = Server::replica_of(&group.master);
    wait_until(|| is_usable(&ambassador, &late));
    let id = node(&ambassador, &late)["id"].clone();
    late.kill();
    wait_until(|| !is_usable(&ambassador, &late));
    late.restart();
    wait_until(|| is_usable(&ambassador, &late));
    assert_eq!(node(&ambassador, &late)["id"], id);
}

#[test]
fn the_ambassadors_own_connections_authenticate() {
    let master = Server::start(Flavor::Redis7, &[]);
    let with_password = |password: &str| format!("[upstream]\npassword = \"{password}\"\n");
    // The ambassador's own user may be another one than the default.
    let mut client = master.client();
    client.command(&["CONFIG", "SET", "requirepass", "a secret"]);
    let added = client.command(&[
        "ACL", "SETUSER", "probe", "on", ">its own", "+info", "+command", "+hello",
    ]);
    assert!(!added.is_error());
    let config = "[upstream]\nusername = \"probe\"\npassword = \"its own\"\n";
    for config in [with_password("a secret").as_str(), config] {
        let ambassador = Ambassador::with_config(config, &["--master", &master.address()]);
        assert!(is_usable(&ambassador, &master));
        assert!(!ambassador.log().contains("secret") && !ambassador.log().contains("its own"));
    }
}

/// The control plane alone, in this process, probing so rarely that only hints and poking can explain speed.
struct Bare {
    hints: mpsc::Sender<Hint>,
    topology: watch::Receiver<Arc<Topology>>,
    _control: control::Control,
}

impl Bare {
    async fn over(group: &Group) -> Bare {
        let settings = Arc::new(settings(group));
        let (hints, receiver) = mpsc::channel(16);
        let attempts = Arc::new(Attempts::new(20, std::time::Instant::now()));
        let control = control::start(settings, receiver, Vec::new(), attempts);
        let mut bare = Bare {
            hints,
            topology: control.topology(),
            _control: control,
        };
        bare.wait_for(|topology| topology.nodes.iter().all(|node| node.usable))
            .await;
        bare
    }

    async fn wait_for(&mut self, holds: impl FnMut(&Topology) -> bool + Send) -> Arc<Topology> {
        let mut holds = holds;
        let found = self.topology.wait_for(|topology| holds(topology));
        let found = tokio::time::timeout(PATIENCE, found).await.expect("in time");
        found.expect("the control plane lives").clone()
    }
}

fn settings(group: &Group) -> Settings {
    let replicas: Vec<String> = group
        .replicas
        .iter()
        .map(|replica| format!("{:?}", replica.address()))
        .collect();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("ambassador.toml");
    let text = format!(
        "[upstream]\nmaster = {:?}\nreplicas = [{}]\nprobe_interval = \"60s\"\nprobe_timeout = \"300ms\"\n",
        group.master.address(),
        replicas.join(", ")
    );
    std::fs::write(&file, text).expect("the configuration can be written");
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    config::load(&sources)
        .expect("it is a valid configuration")
        .settings
}

fn usable(topology: &Topology, id: NodeId) -> bool {
    topology.node(id).is_some_and(|node: &Node| node.usable)
}

#[tokio::test]
async fn a_hint_makes_it_look_at_once() {
    let group = Group::start(Flavor::Redis7, 1);
    let mut bare = Bare::over(&group).await;
    let replica = NodeId(1);
    group.replicas[0].freeze();
    let before = bare.topology.borrow().version;
    let unasked = bare.topology.wait_for(|topology| topology.version > before);
    let unasked = tokio::time::timeout(Duration::from_secs(1), unasked)
        .await
        .is_ok();
    assert!(!unasked, "nobody asked, and a frozen server says nothing");
    bare.hints.send(Hint::Lost(replica)).await.unwrap();
    bare.wait_for(|topology| !usable(topology, replica)).await;
    group.replicas[0].thaw();
    bare.wait_for(|topology| usable(topology, replica)).await;
}

#[tokio::test]
async fn a_refusal_makes_it_look_at_all_nodes() {
    let group = Group::start(Flavor::Redis7, 1);
    let mut bare = Bare::over(&group).await;
    group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
    let port = group.replicas[0].port().to_string();
    group.master.command(&["REPLICAOF", "127.0.0.1", &port]);
    bare.hints.send(Hint::Refused(NodeId(0))).await.unwrap();
    bare.wait_for(|topology| topology.master == Some(NodeId(1))).await;
}

#[tokio::test]
async fn a_node_that_closes_its_connections_is_looked_at_without_a_hint() {
    let mut group = Group::start(Flavor::Redis7, 1);
    let mut bare = Bare::over(&group).await;
    group.replicas[0].kill();
    bare.wait_for(|topology| !usable(topology, NodeId(1))).await;
}

#[tokio::test]
async fn a_command_that_replicas_refuse_becomes_a_write_once() {
    let group = Group::start(Flavor::Redis7, 1);
    let mut bare = Bare::over(&group).await;
    let class =
        |topology: &Topology, name: &[u8]| topology.table.lookup(name, None).map(|command| command.class);
    assert_eq!(class(&bare.topology.borrow(), b"GET"), Some(Class::Read));
    let before = bare.topology.borrow().version;
    for _ in 0..3 {
        bare.hints.send(Hint::NotARead("get".to_owned())).await.unwrap();
    }
    bare.hints.send(Hint::NotARead("mget".to_owned())).await.unwrap();
    let topology = bare
        .wait_for(|topology| class(topology, b"MGET") == Some(Class::Write))
        .await;
    assert_eq!(class(&topology, b"GET"), Some(Class::Write));
    assert_eq!(class(&topology, b"STRLEN"), Some(Class::Read));
    assert_eq!(topology.version, before + 2, "one snapshot for each name");
}

#[tokio::test]
async fn the_greeting_is_the_masters_own_byte_for_byte() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let bare = Bare::over(&group).await;
        let topology = bare.topology.borrow().clone();
        let greeting = topology.greeting.as_ref().expect("these servers know HELLO");
        let mut client = group.master.client();
        for (version, halves) in [(2, &greeting.resp2), (3, &greeting.resp3)] {
            client.hello(version);
            let id = client.command(&["CLIENT", "ID"]).integer().to_string();
            client.hello(version);
            let whole = [halves.0.as_slice(), id.as_bytes(), &halves.1].concat();
            assert_eq!(client.last_bytes(), whole, "{} HELLO {version}", flavor.name());
        }
    }
}
