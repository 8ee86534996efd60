//! Own connections and failovers: commands that wait, transactions and watches when their master is demoted, killed, or
//! cuts them off.

mod subscribers;
#[path = "../support/mod.rs"]
mod support;
mod waiting;

use std::thread;
use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, Sentinel, Server, WATCHED, eventually, wait_until};

/// A failover takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

fn topology(ambassador: &Ambassador) -> serde_json::Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).expect("it is JSON")
}

fn wait_for_master(ambassador: &Ambassador, server: &Server) {
    eventually(PATIENCE, || {
        (topology(ambassador)["master"] == server.address()).then_some(())
    });
}

fn over(flavor: Flavor, replicas: usize) -> (Group, Ambassador) {
    let group = Group::start(flavor, replicas);
    let ambassador = Ambassador::over(&group);
    wait_for_master(&ambassador, &group.master);
    (group, ambassador)
}

/// A failover that loses nothing: the master hands over to its first replica, which becomes the group's master.
fn hand_over(group: &mut Group) {
    let successor = group.replicas[0].port().to_string();
    let reply = group.master.command(&["FAILOVER", "TO", "127.0.0.1", &successor]);
    assert_eq!(reply, Reply::ok());
    wait_until(|| group.replicas[0].info("replication")["role"] == "master");
    wait_until(|| group.master.info("replication")["role"] == "slave");
    std::mem::swap(&mut group.master, &mut group.replicas[0]);
}

/// The same without asking, by what an operator does.
fn swap(group: &mut Group) {
    group.wait_in_sync();
    group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
    let port = group.replicas[0].port().to_string();
    group.master.command(&["REPLICAOF", "127.0.0.1", &port]);
    std::mem::swap(&mut group.master, &mut group.replicas[0]);
}

const FAILOVERS: [fn(&mut Group); 2] = [hand_over, swap];

fn blocked(server: &Server) -> usize {
    server.info("clients")["blocked_clients"]
        .parse()
        .expect("a number")
}

/// Cuts every connection of the ambassador's to a node.
fn cut(server: &Server) {
    for kind in ["normal", "pubsub"] {
        server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

#[test]
fn a_transaction_that_was_cut_is_aborted_on_a_connection_that_stays_open() {
    for flavor in Flavor::ALL {
        let (group, ambassador) = over(flavor, 1);
        let mut client = ambassador.client();
        for (end, expected) in [("EXEC", "EXECABORT"), ("DISCARD", "OK")] {
            assert_eq!(client.command(&["MULTI"]), Reply::ok());
            assert_eq!(client.command(&["INCR", "n"]).text(), "QUEUED");
            cut(&group.master);
            assert_eq!(client.command(&["INCR", "n"]).text(), "QUEUED");
            assert!(client.command(&["MULTI"]).error().contains("nested"));
            assert_eq!(client.command(&["GET", "n"]).text(), "QUEUED");
            let reply = client.command(&[end]);
            assert!(reply.text().starts_with(expected), "{flavor}: {reply:?}");
            assert_eq!(client.command(&["GET", "n"]), Reply::Null, "{flavor}");
        }
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1), "{flavor}");
    }
}

#[test]
fn a_watch_that_was_cut_counts_as_touched() {
    for flavor in Flavor::ALL {
        for version in [2, 3] {
            let (group, ambassador) = over(flavor, 1);
            let mut client = ambassador.client();
            client.hello(version);
            client.command(&["SET", "a", "1"]);
            group.wait_in_sync();
            assert_eq!(client.command(&["WATCH", "a"]), Reply::ok());
            cut(&group.master);
            assert_eq!(client.command(&["GET", "a"]), Reply::bulk("1"));
            assert_eq!(client.command(&["MULTI"]), Reply::ok());
            assert_eq!(client.command(&["SET", "a", "2"]).text(), "QUEUED");
            assert_eq!(client.command(&["EXEC"]), Reply::Null, "{flavor}");
            let null: &[u8] = if version == 2 { b"*-1\r\n" } else { b"_\r\n" };
            assert_eq!(client.last_bytes(), null);
            for clears in ["UNWATCH", "DISCARD"] {
                assert_eq!(client.command(&["WATCH", "a"]), Reply::ok());
                cut(&group.master);
                if clears == "DISCARD" {
                    assert_eq!(client.command(&["MULTI"]), Reply::ok());
                }
                assert_eq!(client.command(&[clears]), Reply::ok());
                client.command(&["MULTI"]);
                client.command(&["INCR", "n"]);
                assert_eq!(client.command(&["EXEC"]).items().len(), 1, "{flavor} {clears}");
            }
            // Between MULTI and EXEC, too.
            client.command(&["WATCH", "a"]);
            client.command(&["MULTI"]);
            cut(&group.master);
            assert_eq!(client.command(&["SET", "a", "2"]).text(), "QUEUED");
            assert_eq!(client.command(&["EXEC"]), Reply::Null, "{flavor}");
            assert_eq!(client.command(&["GET", "a"]), Reply::bulk("1"));
        }
    }
}

#[test]
fn an_exec_that_was_sent_and_not_answered_is_in_doubt() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = over(flavor, 1);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["MULTI"]), Reply::ok());
        client.command(&["INCR", "n"]);
        group.master.freeze();
        client.send(&["EXEC"]);
        assert!(client.is_silent(Duration::from_millis(100)));
        group.master.kill();
        let reply = client.read_reply();
        assert!(reply.error().starts_with("INDOUBT"), "{flavor}: {reply:?}");
        group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(client.command(&["INCR", "m"]), Reply::Integer(1), "{flavor}");
    }
}

#[test]
fn a_killed_master_costs_an_open_transaction_and_no_connection() {
    let (mut group, ambassador) = over(Flavor::Valkey8, 1);
    let mut queues = ambassador.client();
    queues.command(&["MULTI"]);
    let mut watches = ambassador.client();
    watches.command(&["WATCH", "a"]);
    group.master.kill();
    assert_eq!(queues.command(&["INCR", "n"]).text(), "QUEUED");
    group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
    let reply = queues.command(&["EXEC"]);
    assert!(reply.error().starts_with("EXECABORT"), "{reply:?}");
    assert_eq!(queues.command(&["INCR", "n"]), Reply::Integer(1));
    watches.command(&["MULTI"]);
    assert_eq!(watches.command(&["EXEC"]), Reply::Null);
}

#[test]
fn a_transaction_that_a_demoted_master_refuses_runs_on_the_new_one() {
    for flavor in Flavor::ALL {
        for failover in FAILOVERS {
            let (mut group, ambassador) = over(flavor, 1);
            let mut client = ambassador.client();
            // Demoted between MULTI and EXEC; before and after something was queued.
            let mut late = ambassador.client();
            let mut early = ambassador.client();
            let mut watches = ambassador.client();
            for client in [&mut late, &mut early] {
                assert_eq!(client.command(&["MULTI"]), Reply::ok());
            }
            assert_eq!(early.command(&["INCR", "n"]).text(), "QUEUED");
            watches.command(&["WATCH", "w"]);
            watches.command(&["MULTI"]);
            failover(&mut group);
            assert_eq!(late.command(&["INCR", "n"]).text(), "QUEUED", "{flavor}");
            assert_eq!(late.command(&["CLIENT", "ID"]).text(), "QUEUED", "{flavor}");
            let ran = late.command(&["EXEC"]);
            assert_eq!(ran.items().len(), 2, "{flavor}: {ran:?}");
            assert_eq!(ran.items()[0], Reply::Integer(1), "{flavor}");
            let id = late.command(&["CLIENT", "ID"]);
            assert_eq!(ran.items()[1], id, "{flavor}");
            // What is behind the transaction in one piece comes behind it.
            early.send_raw(b"EXEC\r\nGET n\r\nMULTI\r\nINCR n\r\nEXEC\r\nGET n\r\n");
            for expected in [
                Reply::Array(vec![Reply::Integer(2)]),
                Reply::bulk("2"),
                Reply::ok(),
                Reply::Simple("QUEUED".to_owned()),
                Reply::Array(vec![Reply::Integer(3)]),
                Reply::bulk("3"),
            ] {
                assert_eq!(early.read_reply(), expected, "{flavor}");
            }
            assert_eq!(watches.command(&["SET", "w", "1"]).text(), "QUEUED", "{flavor}");
            assert_eq!(watches.command(&["EXEC"]), Reply::Null, "{flavor}");
            assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(4), "{flavor}");
        }
    }
}

#[test]
fn a_transaction_too_large_to_be_kept_is_aborted() {
    let (mut group, ambassador) = over(Flavor::Redis7, 1);
    let mut client = ambassador.client();
    let value = "x".repeat(200_000);
    client.command(&["MULTI"]);
    for _ in 0..8 {
        assert_eq!(client.command(&["SET", "a", &value]).text(), "QUEUED");
    }
    hand_over(&mut group);
    let reply = client.command(&["EXEC"]);
    assert!(reply.error().starts_with("EXECABORT"), "{reply:?}");
    assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
}

/// Transactions and blocking pops without a pause, while the master is changed: every transaction's reply, and what
/// was not as without a failover.
fn under_load(ambassador: &Ambassador, mut failover: impl FnMut()) -> (u64, Vec<Reply>) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let transactions: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = ambassador.client();
                    let (mut done, mut others) = (0, Vec::new());
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        client.send_raw(b"MULTI\r\nINCR sum\r\n");
                        assert_eq!(client.read_reply(), Reply::ok());
                        assert_eq!(client.read_reply().text(), "QUEUED");
                        match client.command(&["EXEC"]) {
                            Reply::Array(items) if items.len() == 1 => done += 1,
                            other => others.push(other),
                        }
                    }
                    (done, others)
                })
            })
            .collect();
        let pops = scope.spawn(|| {
            let (mut pops, mut pushes) = (ambassador.client(), ambassador.client());
            let mut others = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                pops.send(&["BLPOP", "jobs", "0"]);
                thread::sleep(Duration::from_millis(1));
                let pushed = pushes.command(&["RPUSH", "jobs", "a"]);
                let popped = pops.read_reply();
                others.extend([pushed, popped].into_iter().filter(Reply::is_error));
            }
            others
        });
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut failover));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = failed {
            std::panic::resume_unwind(panic);
        }
        let mut others = pops.join().expect("every pop is answered");
        let mut done = 0;
        for transaction in transactions {
            let (ran, other) = transaction.join().expect("every transaction is answered");
            done += ran;
            others.extend(other);
        }
        (done, others)
    })
}

#[test]
fn planned_failovers_cost_transactions_and_pops_nothing() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = over(flavor, 1);
        let (done, others) = under_load(&ambassador, || {
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(300));
                group.wait_in_sync();
                hand_over(&mut group);
                wait_for_master(&ambassador, &group.master);
            }
            thread::sleep(Duration::from_millis(300));
        });
        assert_eq!(others, [], "{flavor}");
        let counted = group.master.command(&["GET", "sum"]).text();
        assert_eq!(counted, done.to_string(), "{flavor}");
    }
}

#[test]
fn a_failover_that_sentinel_makes_costs_transactions_and_pops_nothing() {
    let group = Group::start(Flavor::Redis7, 2);
    let sentinels = Sentinel::three_over(&group);
    let addresses: Vec<String> = sentinels.iter().map(Sentinel::address).collect();
    let args: Vec<&str> = addresses
        .iter()
        .flat_map(|address| ["--sentinel", address.as_str()])
        .collect();
    let ambassador = Ambassador::start(&args);
    wait_for_master(&ambassador, &group.master);
    let (mut queues, mut watches) = (ambassador.client(), ambassador.client());
    queues.command(&["MULTI"]);
    queues.command(&["INCR", "n"]);
    watches.command(&["WATCH", "w"]);
    let (_, others) = under_load(&ambassador, || {
        let answer = sentinels[0].command(&["SENTINEL", "FAILOVER", WATCHED]);
        assert_eq!(answer, Reply::ok());
        eventually(PATIENCE, || {
            (topology(&ambassador)["master"] != group.master.address()).then_some(())
        });
        wait_until(|| group.master.info("replication")["role"] == "slave");
        thread::sleep(Duration::from_millis(300));
    });
    assert_eq!(others, []);
    assert_eq!(queues.command(&["INCR", "n"]).text(), "QUEUED");
    assert_eq!(
        queues.command(&["EXEC"]),
        Reply::Array(vec![Reply::Integer(1), Reply::Integer(2)])
    );
    // A replica may not have it yet.
    wait_until(|| queues.command(&["GET", "n"]) == Reply::bulk("2"));
    watches.command(&["MULTI"]);
    assert_eq!(watches.command(&["EXEC"]), Reply::Null);
}
