//! Servers that say nothing while their connections stay open: what was sent to them is not waited for without end.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

mod support;

use std::time::{Duration, Instant};

use support::{Ambassador, Flavor, Group, PATIENCE, Reply, Server, eventually, wait_until};

/// Longer than two probes may take, with room for a loaded machine; everything below answers on its own long after.
const SOON: Duration = Duration::from_secs(10);

/// Makes a node the master behind the back of the one that is, and waits until the ambassador goes by it.
#[track_caller]
fn promote(ambassador: &Ambassador, node: &Server) {
    assert_eq!(node.command(&["REPLICAOF", "NO", "ONE"]), Reply::ok());
    let says = format!("\"master\": \"{}\"", node.address());
    wait_until(|| ambassador.admin_get("/topology").1.contains(&says));
}

#[track_caller]
fn wait_usable(ambassador: &Ambassador, count: usize) {
    wait_until(|| {
        let topology = ambassador.admin_get("/topology").1;
        topology.matches("\"usable\": true").count() == count
    });
}

#[test]
fn a_write_sent_to_a_frozen_master_is_in_doubt_once_another_one_is_adopted() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        wait_usable(&ambassador, 3);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
        group.wait_in_sync();

        group.master.freeze();
        let mut pipelined = ambassador.client();
        client.send(&["INCR", "n"]);
        pipelined.send(&["SET", "a", "1"]);
        pipelined.send(&["GET", "n"]);
        // Nobody else is the master: it may only be busy with just these.
        wait_usable(&ambassador, 2);
        assert!(client.is_silent(Duration::from_millis(300)), "{flavor}");
        assert!(pipelined.is_silent(Duration::from_millis(1)), "{flavor}");

        promote(&ambassador, &group.replicas[0]);
        for client in [&mut client, &mut pipelined] {
            client.set_timeout(SOON);
            let reply = client.read_reply();
            assert!(reply.error().starts_with("INDOUBT"), "{flavor}: {reply:?}");
        }
        assert_eq!(
            pipelined.read_reply(),
            Reply::bulk("1"),
            "{flavor}: the read is asked again"
        );
        assert_eq!(
            client.command(&["INCR", "n"]),
            Reply::Integer(2),
            "{flavor}: open, and never sent twice"
        );
        assert_eq!(pipelined.command(&["SET", "a", "2"]), Reply::ok(), "{flavor}");
        group.master.thaw();
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(3), "{flavor}");
    }
}

/// A master that holds its clients' writes answers its probes. What it says when it goes on is the better answer.
#[test]
fn a_former_master_that_answers_probes_gets_some_time_for_what_was_sent_to_it() {
    for (pause, late) in [("2000", true), ("60000", false)] {
        let group = Group::start(Flavor::Redis7, 1);
        let (master, replica) = (group.master.address(), group.replicas[0].address());
        let ambassador = Ambassador::with_config(
            "[upstream]\nprobe_timeout = \"3s\"\n",
            &["--master", &master, "--replica", &replica],
        );
        wait_usable(&ambassador, 2);
        let [mut client, mut transaction] = [ambassador.client(), ambassador.client()];
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
        assert_eq!(transaction.command(&["MULTI"]), Reply::ok());
        assert_eq!(transaction.command(&["INCR", "m"]).text(), "QUEUED");
        group.wait_in_sync();
        group.master.command(&["CLIENT", "PAUSE", pause, "WRITE"]);
        client.send(&["INCR", "n"]);
        transaction.send(&["EXEC"]);
        assert!(client.is_silent(Duration::from_millis(100)));
        promote(&ambassador, &group.replicas[0]);
        for client in [&mut client, &mut transaction] {
            client.set_timeout(PATIENCE);
            let reply = client.read_reply();
            assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
            assert_eq!(reply.error().contains("had taken over"), late, "{reply:?}");
        }
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(2));
        assert_eq!(transaction.command(&["INCR", "m"]), Reply::Integer(1));
    }
}

#[test]
fn a_read_that_may_not_go_elsewhere_waits_for_a_frozen_node_as_long_as_commands_are_held() {
    for (retries, read) in [("0", &["GET", "k"][..]), ("2", &["EVAL_RO", "return 1", "0"])] {
        let group = Group::start(Flavor::Redis7, 1);
        let config = format!(
            "[reads]\nretries = {retries}\n[limits]\nhold = \"2s\"\n[upstream]\nprobe_timeout = \"500ms\"\n"
        );
        let (master, replica) = (group.master.address(), group.replicas[0].address());
        let ambassador = Ambassador::with_config(&config, &["--master", &master, "--replica", &replica]);
        wait_usable(&ambassador, 2);
        let mut client = ambassador.client();
        client.command(read);
        group.replicas[0].freeze();
        let began = Instant::now();
        client.send(read);
        client.set_timeout(SOON);
        let reply = client.read_reply();
        assert!(
            reply.error().starts_with("ERR redis-ambassador: the connection"),
            "{reply:?}"
        );
        assert!(began.elapsed() >= Duration::from_secs(2), "it may only be slow");
        let reply = eventually(PATIENCE, || {
            Some(client.command(read)).filter(|reply| !reply.is_error())
        });
        assert!(
            matches!(reply, Reply::Null | Reply::Integer(1)),
            "the master reads: {reply:?}"
        );
    }
}

#[test]
fn a_read_that_shares_a_link_with_a_script_leaves_a_frozen_node_without_it() {
    let group = Group::start(Flavor::Redis7, 1);
    group.master.command(&["SET", "k", "v"]);
    group.wait_in_sync();
    let (master, replica) = (group.master.address(), group.replicas[0].address());
    let ambassador = Ambassador::with_config(
        "workers = 1\n[limits]\nhold = \"60s\"\n",
        &["--master", &master, "--replica", &replica],
    );
    wait_usable(&ambassador, 2);
    let [mut script, mut client, mut both] = [ambassador.client(), ambassador.client(), ambassador.client()];
    client.command(&["GET", "k"]);
    group.replicas[0].freeze();
    script.send(&["EVAL_RO", "return 1", "0"]);
    client.send(&["GET", "k"]);
    both.send(&["GET", "k"]);
    both.send(&["EVAL_RO", "return 2", "0"]);
    client.set_timeout(SOON);
    assert_eq!(client.read_reply(), Reply::bulk("v"));
    assert!(script.is_silent(Duration::from_millis(1)) && both.is_silent(Duration::from_millis(1)));
    group.replicas[0].thaw();
    assert_eq!(script.read_reply(), Reply::Integer(1));
    // Of one client nothing leaves alone: what it writes next waits for all that it read.
    assert_eq!(
        [both.read_reply(), both.read_reply()],
        [Reply::bulk("v"), Reply::Integer(2)]
    );
    assert_eq!(client.command(&["GET", "k"]), Reply::bulk("v"));
}
