//! Nodes that vanish from the network without a word: on hosts of their own, whose cables are pulled. Where the machine
//! does not allow network namespaces (it takes root), these tests say so and do nothing.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

mod host;
mod net;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use host::Host;
use net::Net;
use support::{Ambassador, Client, Flavor, Reply, WATCHED, eventually};

/// Sentinels wait, elect and tell.
const PATIENCE: Duration = Duration::from_mins(1);

/// A master on host 1 and its replicas on the next ones, in sync.
fn group(net: &Net, flavor: Flavor, replicas: usize) -> Vec<Host> {
    let nodes: Vec<Host> = (1..=replicas + 1)
        .map(|number| Host::server(net, number, flavor, (number > 1).then_some(1)))
        .collect();
    nodes[1..].iter().for_each(Host::wait_in_sync);
    nodes
}

fn over(nodes: &[Host], more: &str) -> Ambassador {
    let replicas: Vec<String> = nodes[1..]
        .iter()
        .map(|node| format!("{:?}", node.address()))
        .collect();
    Ambassador::with_config(
        &format!(
            "[upstream]\nmaster = \"{}\"\nreplicas = [{}]\n{more}",
            nodes[0].address(),
            replicas.join(", ")
        ),
        &["--workers", "2"],
    )
}

fn topology(ambassador: &Ambassador) -> serde_json::Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).expect("it is JSON")
}

/// Waits until the ambassador has that master.
#[track_caller]
fn wait_for_master(ambassador: &Ambassador, node: &Host) {
    eventually(PATIENCE, || {
        (topology(ambassador)["master"] == node.address()).then_some(())
    });
}

/// Waits until so many nodes serve.
#[track_caller]
fn wait_usable(ambassador: &Ambassador, count: usize) {
    eventually(PATIENCE, || {
        let topology = topology(ambassador);
        let nodes = topology["nodes"].as_array()?;
        (nodes.iter().filter(|node| node["usable"] == true).count() == count).then_some(())
    });
}

/// Waits until every node has the value that is read.
#[track_caller]
fn wait_everywhere(nodes: &[Host]) {
    for node in nodes {
        eventually(PATIENCE, || {
            (node.command(&["GET", "k"]) == Reply::bulk("v")).then_some(())
        });
    }
}

/// Clients that read until they are stopped, and what was wrong with what they got.
struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Readers {
    fn start(ambassador: &Ambassador, expected: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..8)
            .map(|_| {
                let (mut client, stop) = (ambassador.client(), Arc::clone(&stop));
                let expected = Reply::bulk(expected);
                client.set_timeout(PATIENCE);
                thread::spawn(move || read(&mut client, &expected, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Each of them read, and nothing was wrong.
    #[track_caller]
    fn assert_unharmed(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let (reads, wrong) = thread.join().expect("a reader does not panic");
            assert!(reads > 0 && wrong.is_empty(), "{reads} reads, {wrong:?}");
        }
    }
}

fn read(client: &mut Client, expected: &Reply, stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut reads, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) && wrong.is_empty() {
        match client.try_command(&["GET", "k"]) {
            Ok(reply) if reply == *expected => reads += 1,
            other => wrong.push(format!("{other:?}")),
        }
    }
    (reads, wrong)
}

#[test]
fn a_replica_that_vanishes_costs_no_read_an_error_and_serves_again_when_it_is_back() {
    let Some(net) = Net::with_hosts(3) else {
        return;
    };
    let nodes = group(&net, Flavor::Redis7, 2);
    let ambassador = over(&nodes, "");
    wait_usable(&ambassador, 3);
    assert_eq!(ambassador.client().command(&["SET", "k", "v"]), Reply::ok());
    wait_everywhere(&nodes);
    let readers = Readers::start(&ambassador, "v");
    for replica in &nodes[1..] {
        net.pull(replica.number);
        wait_usable(&ambassador, 2);
        net.plug(replica.number);
        wait_usable(&ambassador, 3);
    }
    readers.assert_unharmed();
}

/// A master alone, and a client that has written there once.
fn one_master(net: &Net) -> (Vec<Host>, Ambassador, Client) {
    let nodes = group(net, Flavor::Redis7, 0);
    let ambassador = over(&nodes, "");
    let mut client = ambassador.client();
    client.set_timeout(PATIENCE);
    assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
    (nodes, ambassador, client)
}

#[test]
fn a_write_on_its_way_to_a_master_that_vanished_is_in_doubt_when_the_kernel_gives_the_connection_up() {
    let Some(net) = Net::with_hosts(1) else {
        return;
    };
    let (nodes, ambassador, mut client) = one_master(&net);
    let mut blocked = ambassador.client();
    blocked.set_timeout(PATIENCE);
    blocked.send(&["BLPOP", "none", "0"]);
    eventually(PATIENCE, || {
        let clients = nodes[0].command(&["INFO", "clients"]).text();
        clients.contains("blocked_clients:1").then_some(())
    });

    net.pull(1);
    // One with bytes that nobody acknowledges, one with none.
    client.send(&["INCR", "n"]);
    for client in [&mut client, &mut blocked] {
        let reply = client.read_reply();
        assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
    }
    net.plug(1);
    wait_usable(&ambassador, 1);
    let reply = client.command(&["INCR", "n"]);
    assert!(
        [Reply::Integer(2), Reply::Integer(3)].contains(&reply),
        "{reply:?}"
    );
    assert_eq!(blocked.command(&["ECHO", "open"]), Reply::bulk("open"));
}

#[test]
fn a_write_on_a_connection_that_alone_goes_nowhere_is_in_doubt_and_the_next_one_takes_another() {
    let Some(net) = Net::with_hosts(1) else {
        return;
    };
    let (nodes, ambassador, mut client) = one_master(&net);
    let list = nodes[0].command(&["CLIENT", "LIST"]).text();
    let line = list.lines().find(|line| line.contains("cmd=incr"));
    let address = line.and_then(|line| line.split(' ').find_map(|field| field.strip_prefix("addr=")));
    let address: SocketAddr = address.and_then(|text| text.parse().ok()).expect("an address");

    net.lose_sent_to(1, address.port());
    client.send(&["INCR", "n"]);
    eventually(PATIENCE, || {
        (nodes[0].command(&["GET", "n"]) == Reply::bulk("2")).then_some(())
    });
    assert!(client.is_silent(Duration::from_secs(1)));
    assert_eq!(
        ambassador.admin_get("/ready").0,
        200,
        "the probes have their own connection"
    );
    client.set_timeout(PATIENCE);
    let reply = client.read_reply();
    assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
    assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(3));
}

#[test]
fn a_master_that_vanishes_is_replaced_and_what_it_says_when_it_is_back_counts_for_nothing() {
    let Some(net) = Net::with_hosts(6) else {
        return;
    };
    let nodes = group(&net, Flavor::Valkey8, 2);
    let sentinels: Vec<Host> = (4..=6)
        .map(|number| Host::sentinel(&net, number, Flavor::Valkey8, 1))
        .collect();
    for sentinel in &sentinels {
        eventually(PATIENCE, || {
            let about = sentinel.command(&["SENTINEL", "CKQUORUM", WATCHED]).text();
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", WATCHED]).items().len();
            (about.starts_with("OK 3") && replicas == 2).then_some(())
        });
    }
    let addresses: Vec<String> = sentinels
        .iter()
        .map(|host| format!("{:?}", host.address()))
        .collect();
    let more = format!(
        "[sentinel]\naddresses = [{}]\n[limits]\nhold = \"60s\"\n",
        addresses.join(", ")
    );
    let ambassador = over(&nodes, &more);
    wait_usable(&ambassador, 3);
    let mut client = ambassador.client();
    client.set_timeout(PATIENCE);
    assert_eq!(client.command(&["SET", "k", "v"]), Reply::ok());
    wait_everywhere(&nodes);
    let readers = Readers::start(&ambassador, "v");

    net.pull(1);
    // Handed to a socket whose other end is gone, or held: never an error that says that it did not run if it did.
    let reply = client.command(&["INCR", "n"]);
    let in_doubt = reply.is_error() && reply.error().starts_with("INDOUBT");
    assert!(in_doubt || reply == Reply::Integer(1), "{reply:?}");
    let next = eventually(PATIENCE, || {
        nodes[1..]
            .iter()
            .find(|node| node.replication("role") == "master")
    });
    wait_for_master(&ambassador, next);
    let before = next.command(&["GET", "n"]);
    let count = if before == Reply::Null {
        0
    } else {
        before.text().parse().expect("a number")
    };
    assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(count + 1));

    // It still thinks that it is the master, until the sentinels tell it.
    net.plug(1);
    for number in 2..=200 {
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(count + number));
    }
    eventually(PATIENCE, || {
        (nodes[0].replication("role") == "slave").then_some(())
    });
    nodes[0].wait_in_sync();
    wait_usable(&ambassador, 3);
    assert_eq!(
        nodes[0].command(&["GET", "n"]),
        Reply::bulk((count + 200).to_string())
    );
    wait_for_master(&ambassador, next);
    readers.assert_unharmed();
}
