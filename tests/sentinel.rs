//! Sentinel: the group is found through it, and its failovers are followed.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Ambassador, Flavor, Group, Reply, Sentinel, Server, eventually, wait_until};

/// A failover takes seconds, and the old master is told up to ten later.
const PATIENCE: Duration = Duration::from_mins(1);

fn arguments(sentinels: &[Sentinel]) -> Vec<String> {
    let addresses = sentinels.iter().map(Sentinel::address);
    addresses
        .flat_map(|address| ["--sentinel".to_owned(), address])
        .collect()
}

fn over(sentinels: &[Sentinel]) -> Ambassador {
    let arguments = arguments(sentinels);
    Ambassador::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn topology(ambassador: &Ambassador) -> Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).expect("it is JSON")
}

fn usable(ambassador: &Ambassador) -> usize {
    let topology = topology(ambassador);
    let nodes = topology["nodes"].as_array().expect("a list");
    nodes.iter().filter(|node| node["usable"] == true).count()
}

#[track_caller]
fn wait_for_master(ambassador: &Ambassador, server: &Server) {
    eventually(PATIENCE, || {
        (topology(ambassador)["master"] == server.address()).then_some(())
    });
}

/// Counts up while the sentinel makes a failover; no write is lost or refused.
#[track_caller]
fn fail_over_without_a_loss(ambassador: &Ambassador, group: &Group, sentinel: &Sentinel) {
    let flavor = group.master.flavor();
    let mut client = ambassador.client();
    let mut sum = 0;
    let began = std::time::Instant::now();
    // Until the new master has taken writes for a while.
    let mut asked = false;
    let mut after = 0;
    while after < 200 {
        sum += 1;
        let reply = client.command(&["INCR", "n"]);
        assert_eq!(reply, Reply::Integer(sum), "{flavor}");
        if sum == 100 {
            let answer = sentinel.command(&["SENTINEL", "FAILOVER", support::WATCHED]);
            assert_eq!(answer, Reply::Simple("OK".to_owned()), "{flavor}");
            asked = true;
        }
        let moved = asked && topology(ambassador)["master"] != group.master.address();
        after += u32::from(moved);
        assert!(began.elapsed() < PATIENCE, "{flavor}: no failover");
    }
    let counted = group.replicas.iter().any(|replica| {
        replica.info("replication")["role"] == "master"
            && replica.command(&["GET", "n"]) == Reply::bulk(sum.to_string())
    });
    assert!(counted, "{flavor}: the new master has all writes");
}

/// Between the ambassador and a sentinel. What subscribes here is counted, and the first so many subscriptions go silent
/// when they have been confirmed, as when a NAT forgets them: both ends stay open, and nothing comes through.
struct Forgetful {
    port: u16,
    subscribed: Arc<AtomicUsize>,
}

impl Forgetful {
    fn before(sentinel: &Sentinel, forgets: usize) -> Forgetful {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let subscribed = Arc::new(AtomicUsize::new(0));
        let (counted, to) = (Arc::clone(&subscribed), sentinel.port());
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Ok(to) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                let counted = Arc::clone(&counted);
                thread::spawn(move || carry(&from, &to, &counted, forgets));
            }
        });
        Forgetful { port, subscribed }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn subscriptions(&self) -> usize {
        self.subscribed.load(Ordering::Relaxed)
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, subscribed: &AtomicUsize, forgets: usize) {
    let forgotten = Arc::new(AtomicUsize::new(0));
    let back = (
        to.try_clone().expect("a socket is copied"),
        from.try_clone().expect("a socket is copied"),
        Arc::clone(&forgotten),
    );
    thread::spawn(move || {
        let (mut to, mut from, forgotten) = back;
        let mut bytes = [0; 16384];
        while let Ok(count @ 1..) = to.read(&mut bytes) {
            // The confirmations of a subscription come in one piece.
            let silent = forgotten.load(Ordering::Relaxed) > 1;
            if forgotten.load(Ordering::Relaxed) == 1 {
                forgotten.store(2, Ordering::Relaxed);
            }
            if !silent && from.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
    });
    let mut bytes = [0; 16384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if bytes[..count].windows(9).any(|part| part == b"SUBSCRIBE") {
            let before = subscribed.fetch_add(1, Ordering::Relaxed);
            forgotten.store(usize::from(before < forgets), Ordering::Relaxed);
        }
        if forgotten.load(Ordering::Relaxed) < 2 && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn the_group_is_found_and_a_failover_that_sentinel_makes_costs_no_write() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let sentinels = Sentinel::three_over(&group);
        let ambassador = over(&sentinels);
        wait_for_master(&ambassador, &group.master);
        wait_until(|| usable(&ambassador) == 3);
        fail_over_without_a_loss(&ambassador, &group, &sentinels[0]);
        // The old one comes back as a replica.
        eventually(PATIENCE, || (usable(&ambassador) == 3).then_some(()));
    }
}

#[test]
fn a_killed_master_is_replaced() {
    let mut group = Group::start(Flavor::Redis7, 2);
    let sentinels = Sentinel::three_over(&group);
    let ambassador = over(&sentinels);
    let mut client = ambassador.client();
    assert_eq!(client.command(&["SET", "a", "1"]), Reply::Simple("OK".to_owned()));
    group.wait_in_sync();
    group.master.kill();
    // The command waits as long as limits.hold says; then it may be asked again.
    eventually(PATIENCE, || {
        let reply = client.command(&["SET", "a", "2"]);
        assert!(
            reply == Reply::Simple("OK".to_owned()) || reply.is_error(),
            "{reply:?}"
        );
        (!reply.is_error()).then_some(())
    });
    assert_ne!(topology(&ambassador)["master"], group.master.address());
}

#[test]
fn a_sentinel_that_lies_and_one_that_is_cut_off_are_outvoted() {
    let group = Group::start(Flavor::Redis7, 1);
    let stranger = Server::start(Flavor::Redis7, &[]);
    let honest = Sentinel::three_over(&group);
    let liar = Sentinel::start(Flavor::Redis7, &stranger, 1, "");
    let mut sentinels = vec![liar];
    sentinels.extend(honest);
    let ambassador = over(&sentinels);
    wait_for_master(&ambassador, &group.master);
    sentinels[3].freeze();
    let mut client = ambassador.client();
    for number in 1..=100 {
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(number));
    }
    assert_eq!(stranger.calls("incr"), 0);
    let failures = || {
        let topology = topology(&ambassador);
        let all = topology["sentinels"].as_array().expect("a list").clone();
        all.iter()
            .filter(|sentinel| !sentinel["failure"].is_null())
            .count()
    };
    wait_until(|| failures() == 1);
    wait_for_master(&ambassador, &group.master);
    sentinels[3].thaw();
    wait_until(|| failures() == 0);
}

#[test]
fn sentinels_have_a_password_of_their_own() {
    let group = Group::start(Flavor::Redis7, 1);
    let sentinel = Sentinel::start(Flavor::Redis7, &group.master, 1, "requirepass s3cret");
    let config = format!(
        "[sentinel]\naddresses = [\"{}\"]\npassword = \"s3cret\"\n",
        sentinel.address()
    );
    let ambassador = Ambassador::with_config(&config, &[]);
    wait_for_master(&ambassador, &group.master);
    let without = Ambassador::spawn(&["--sentinel", &sentinel.address()]);
    wait_until(|| {
        let log = without.log();
        log.contains("NOAUTH") && log.contains("sentinel.password")
    });
}

#[test]
fn sentinels_that_are_gone_take_nothing_with_them() {
    let group = Group::start(Flavor::Redis7, 1);
    let sentinels = Sentinel::three_over(&group);
    let ambassador = over(&sentinels);
    wait_for_master(&ambassador, &group.master);
    drop(sentinels);
    let mut client = ambassador.client();
    assert_eq!(client.command(&["SET", "a", "1"]), Reply::Simple("OK".to_owned()));
    wait_until(|| {
        let topology = topology(&ambassador);
        let all = topology["sentinels"].as_array().expect("a list").clone();
        all.iter().all(|sentinel| !sentinel["failure"].is_null())
    });
    wait_for_master(&ambassador, &group.master);
    assert_eq!(client.command(&["GET", "a"]), Reply::bulk("1"));
}

#[test]
fn a_subscription_that_died_silently_is_made_anew_before_it_misses_a_failover() {
    let group = Group::start(Flavor::Redis7, 2);
    let sentinels = Sentinel::three_over(&group);
    let between: Vec<Forgetful> = sentinels
        .iter()
        .map(|sentinel| Forgetful::before(sentinel, 1))
        .collect();
    let addresses: Vec<String> = between.iter().map(Forgetful::address).collect();
    // Patience enough that no subscription that answers is taken for a dead one.
    let config = format!("[sentinel]\naddresses = {addresses:?}\n[upstream]\nprobe_timeout = \"5s\"\n");
    let ambassador = Ambassador::with_config(&config, &[]);
    wait_until(|| usable(&ambassador) == 3);
    wait_until(|| between.iter().all(|one| one.subscriptions() == 2));
    fail_over_without_a_loss(&ambassador, &group, &sentinels[0]);
    // Those that answer stay.
    let all: Vec<usize> = between.iter().map(Forgetful::subscriptions).collect();
    assert_eq!(all, [2, 2, 2]);
}

#[test]
fn a_stale_master_that_the_only_sentinel_in_reach_names_gets_no_write() {
    let group = Group::start(Flavor::Redis7, 1);
    let stale = Server::start(Flavor::Redis7, &[]);
    let sentinels: Vec<Sentinel> = [&stale, &group.master, &group.master]
        .map(|server| Sentinel::start(Flavor::Redis7, server, 2, ""))
        .into();
    sentinels[1].freeze();
    sentinels[2].freeze();
    let mut arguments = arguments(&sentinels);
    arguments.extend(["--master".to_owned(), group.master.address()]);
    arguments.extend(["--replica".to_owned(), group.replicas[0].address()]);
    let ambassador = Ambassador::spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // All that can be heard has been.
    wait_until(|| {
        let Ok((_, body)) = ambassador.try_admin_get("/topology") else {
            return false;
        };
        let topology: Value = serde_json::from_str(&body).expect("it is JSON");
        let count = |list: &str, is: &dyn Fn(&Value) -> bool| {
            let all = topology[list].as_array().expect("a list");
            all.iter().filter(|one| is(one)).count()
        };
        count("sentinels", &|sentinel| !sentinel["failure"].is_null()) == 2
            && count("nodes", &|node| node["role"] == "master") == 2
            && count("nodes", &|node| node["role"] == "replica") == 1
    });
    assert!(topology(&ambassador)["master"].is_null());
    sentinels[1].thaw();
    sentinels[2].thaw();
    wait_for_master(&ambassador, &group.master);
    let reply = ambassador.client().command(&["SET", "k", "v"]);
    assert_eq!(reply, Reply::ok());
    assert_eq!(stale.calls("set"), 0);
}
