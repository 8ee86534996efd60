//! Finding the group: from any node, over names that stand for several addresses or move, through an address map.

mod support;

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Ambassador, Client, Flavor, Group, Reply, Server, free_port, wait_until};
use tempfile::TempDir;

fn topology(ambassador: &Ambassador) -> Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).unwrap_or_default()
}

/// `name role` of the nodes that serve, the master with a star, in the order of their names.
fn picture(ambassador: &Ambassador) -> Vec<String> {
    let topology = topology(ambassador);
    let nodes = topology["nodes"].as_array().cloned().unwrap_or_default();
    let mut picture: Vec<String> = nodes
        .iter()
        .filter(|node| node["usable"] == true)
        .map(|node| {
            let star = if topology["master"] == node["name"] {
                "*"
            } else {
                ""
            };
            format!("{}{star}", node["name"].as_str().unwrap_or_default())
        })
        .collect();
    picture.sort();
    picture
}

#[track_caller]
fn wait_for(ambassador: &Ambassador, expected: &[String]) {
    let mut expected = expected.to_vec();
    expected.sort();
    let mut last = Vec::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(|| {
            last = picture(ambassador);
            last == expected
        });
    }));
    assert!(found.is_ok(), "{expected:?} was expected, {last:?} is there");
}

/// Passes connections on to a server, as if that listened there; for the rest of the test's life.
fn listen_for(ip: IpAddr, port: u16, server: &Server) {
    let listener = TcpListener::bind((ip, port)).expect("a loopback address has the port");
    pass_on(listener, Arc::new(server.port().into()), Duration::ZERO);
}

/// An address at which the server is reached that much later.
fn far_away(server: &Server, by: Duration) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    pass_on(listener, Arc::new(server.port().into()), by);
    address
}

/// An address that leads to the server with this port: each connection to where it leads when it is made.
fn virtual_address(port: &Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    pass_on(listener, Arc::clone(port), Duration::ZERO);
    address
}

fn pass_on(listener: TcpListener, to: Arc<AtomicU16>, later: Duration) {
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            thread::sleep(later);
            let Ok(to) = TcpStream::connect(("127.0.0.1", to.load(Ordering::Relaxed))) else {
                continue;
            };
            for (mut read, mut write) in [
                (
                    from.try_clone().expect("a socket is copied"),
                    to.try_clone().expect("a socket is copied"),
                ),
                (to, from),
            ] {
                thread::spawn(move || {
                    let _ = io::copy(&mut read, &mut write);
                    let _ = write.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// What `/etc/hosts` is to the ambassador.
struct Hosts {
    path: PathBuf,
    _dir: TempDir,
}

impl Hosts {
    fn new(name: &str, addresses: &[&str]) -> Hosts {
        let dir = TempDir::with_prefix("ambassador-hosts-").expect("a temporary directory can be made");
        let hosts = Hosts {
            path: dir.path().join("hosts"),
            _dir: dir,
        };
        hosts.say(name, addresses);
        hosts
    }

    /// In place, as it is mounted.
    fn say(&self, name: &str, addresses: &[&str]) {
        let lines: Vec<String> = addresses.iter().map(|ip| format!("{ip} {name}\n")).collect();
        fs::write(&self.path, lines.concat()).expect("the file can be written");
    }
}

const FAST: &str = "[upstream]\nresolve_interval = \"100ms\"\n";

#[test]
fn any_node_leads_to_the_whole_group_replicas_of_replicas_too() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let below = Server::replica_of(&group.replicas[0]);
        let all: Vec<String> = group
            .nodes()
            .chain([&below])
            .map(|node| {
                let star = if node.port() == group.master.port() {
                    "*"
                } else {
                    ""
                };
                node.address() + star
            })
            .collect();
        for first in [&group.master, &group.replicas[1], &below] {
            let ambassador = Ambassador::start(&["--master", &first.address()]);
            wait_for(&ambassador, &all);
            let mut client = ambassador.client();
            assert_eq!(client.command(&["SET", "k", "v"]), Reply::ok(), "{flavor}");
        }
    }
}

#[test]
fn a_group_that_speaks_ipv6_is_found_from_its_replica() {
    for flavor in Flavor::ALL {
        // The test asks it over IPv4.
        let both = ["--bind", "127.0.0.1", "::1"];
        let master = Server::start(flavor, &both);
        let port = master.port().to_string();
        let replica = Server::start(flavor, &[&both[..], &["--replicaof", "::1", &port]].concat());
        wait_until(|| replica.info("replication")["master_link_status"] == "up");
        let ambassador = Ambassador::start(&["--master", &format!("[::1]:{}", replica.port())]);
        wait_for(
            &ambassador,
            &[format!("[::1]:{port}*"), format!("[::1]:{}", replica.port())],
        );
        let mut client = ambassador.client();
        assert_eq!(client.command(&["SET", "a", "1"]), Reply::ok(), "{flavor}");
        assert_eq!(master.command(&["GET", "a"]), Reply::bulk("1"), "{flavor}");
    }
}

#[test]
fn a_name_stands_for_all_its_addresses_and_they_come_and_go() {
    let group = Group::start(Flavor::Redis7, 2);
    let port = free_port();
    let addresses = ["127.0.1.1", "127.0.1.2", "::1"];
    for (address, server) in addresses.iter().zip(group.nodes()) {
        listen_for(address.parse().expect("an address"), port, server);
    }
    let name = |ip: &str, star: &str| {
        let ip: IpAddr = ip.parse().expect("an address");
        format!("{}{star}", std::net::SocketAddr::new(ip, port))
    };
    let hosts = Hosts::new("headless.test", &addresses);
    let place = format!("headless.test:{port}");
    let config = format!("{FAST}discover = \"off\"\n");
    let Some(mut ambassador) = Ambassador::spawn_with_hosts(&hosts.path, &config, &["--master", &place])
    else {
        eprintln!("skipped: this user may not mount");
        return;
    };
    ambassador.wait_ready();
    let all = [name("127.0.1.1", "*"), name("127.0.1.2", ""), name("::1", "")];
    wait_for(&ambassador, &all);
    // A replica goes, and comes back.
    let mut group = group;
    let replica = group.replicas.remove(0);
    hosts.say("headless.test", &["127.0.1.1", "::1"]);
    let frozen = replica;
    frozen.freeze();
    wait_for(&ambassador, &[all[0].clone(), all[2].clone()]);
    wait_until(|| {
        topology(&ambassador)["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 2)
    });
    frozen.thaw();
    hosts.say("headless.test", &addresses);
    wait_for(&ambassador, &all);
    let mut client = ambassador.client();
    assert_eq!(client.command(&["SET", "k", "v"]), Reply::ok());
}

#[test]
fn a_name_whose_address_changes_is_followed_without_a_restart() {
    let (one, other) = (
        Server::start(Flavor::Redis7, &[]),
        Server::start(Flavor::Redis7, &[]),
    );
    let port = free_port();
    listen_for("127.0.1.1".parse().expect("an address"), port, &one);
    listen_for("127.0.1.2".parse().expect("an address"), port, &other);
    other.command(&["SET", "where", "other"]);
    one.command(&["SET", "where", "one"]);
    let hosts = Hosts::new("moving.test", &["127.0.1.1"]);
    let place = format!("moving.test:{port}");
    let Some(mut ambassador) = Ambassador::spawn_with_hosts(&hosts.path, FAST, &["--master", &place]) else {
        eprintln!("skipped: this user may not mount");
        return;
    };
    ambassador.wait_ready();
    let mut client = ambassador.client();
    assert_eq!(client.command(&["GET", "where"]), Reply::bulk("one"));
    hosts.say("moving.test", &["127.0.1.2"]);
    wait_until(|| client.command(&["GET", "where"]) == Reply::bulk("other"));
    assert_eq!(client.command(&["SET", "here", "1"]), Reply::ok());
    assert_eq!(other.command(&["EXISTS", "here"]), Reply::Integer(1));
    assert_eq!(one.command(&["EXISTS", "here"]), Reply::Integer(0));
}

#[test]
fn announced_addresses_that_cannot_be_reached_are_mapped() {
    let master = Server::start(Flavor::Valkey8, &[]);
    let replica = Server::start(
        Flavor::Valkey8,
        &[
            "--replicaof",
            "127.0.0.1",
            &master.port().to_string(),
            "--replica-announce-ip",
            "192.0.2.7",
            "--replica-announce-port",
            "7777",
        ],
    );
    let config = format!(
        "[upstream]\nmaster = \"{}\"\naddress_map = [\"192.0.2.7:7777={}\"]\n",
        master.address(),
        replica.address()
    );
    let ambassador = Ambassador::with_config(&config, &[]);
    wait_for(
        &ambassador,
        &[format!("{}*", master.address()), replica.address()],
    );
}

#[test]
fn a_lone_empty_node_that_answers_first_is_not_taken_for_the_master_that_others_follow() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let lone = Server::start(flavor, &[]);
        let late = Duration::from_millis(200);
        let [master, replica] = [&group.master, &group.replicas[0]].map(|server| far_away(server, late));
        let ambassador = Ambassador::start(&[
            "--master",
            &lone.address(),
            "--replica",
            &master,
            "--replica",
            &replica,
        ]);
        assert_eq!(topology(&ambassador)["master"], master, "{flavor}");
        assert_eq!(ambassador.client().command(&["SET", "k", "v"]), Reply::ok());
        assert_eq!(group.master.command(&["GET", "k"]), Reply::bulk("v"), "{flavor}");
        assert_eq!(lone.calls("set"), 0, "{flavor}");
    }
}

#[test]
fn a_virtual_address_that_leads_to_another_master_is_followed_though_old_connections_stay() {
    let group = Group::start(Flavor::Redis7, 1);
    let (old, new) = (&group.master, &group.replicas[0]);
    let leads_to = Arc::new(AtomicU16::new(old.port()));
    let place = virtual_address(&leads_to);
    let config = format!("[upstream]\nmaster = \"{place}\"\ndiscover = \"off\"\n");
    let ambassador = Ambassador::with_config(&config, &[]);
    // On every worker, and with an own connection that goes back to its pool.
    let mut clients: Vec<_> = (0..8).map(|_| ambassador.client()).collect();
    let count_up = |clients: &mut Vec<Client>, from: i64| {
        for (client, n) in clients.iter_mut().zip(from..) {
            assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(n));
            assert_eq!(client.command(&["MULTI"]), Reply::ok());
            client.command(&["INCR", "m"]);
            assert_eq!(client.command(&["EXEC"]).items(), [Reply::Integer(n)]);
        }
    };
    count_up(&mut clients, 1);
    group.wait_in_sync();
    let failover = ["FAILOVER", "TO", "127.0.0.1", &new.port().to_string()];
    assert_eq!(old.command(&failover), Reply::ok());
    wait_until(|| old.info("replication")["role"] == "slave");
    // The address follows later than the group.
    wait_until(|| topology(&ambassador)["master"].is_null());
    leads_to.store(new.port(), Ordering::Relaxed);
    count_up(&mut clients, 9);
    assert_eq!(new.command(&["GET", "n"]), Reply::bulk("16"));
}
