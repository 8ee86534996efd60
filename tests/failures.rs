//! Nodes die, hang, lag and come back under load: what the application sees, and what the servers counted.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{Ambassador, Client, Flavor, Group, Reply, Server, wait_until};

/// Reads of one key by a few clients until stopped; every reply must be its value.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(port: u16) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..4).map(|_| {
            let (stop, reads) = (Arc::clone(&stop), Arc::clone(&reads));
            thread::spawn(move || {
                let mut client = Client::connect(port);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.command(&["GET", "steady"]), Reply::bulk("value"));
                    reads.fetch_add(1, Ordering::Relaxed);
                    // A few thousand reads a second are load enough.
                    thread::sleep(Duration::from_micros(500));
                }
            })
        });
        Readers {
            threads: threads.collect(),
            stop,
            reads,
        }
    }

    /// So many reads more have been answered.
    fn more(&self, reads: u64) {
        let before = self.reads.load(Ordering::Relaxed);
        wait_until(|| self.reads.load(Ordering::Relaxed) >= before + reads);
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("every read is answered with the value");
        }
    }
}

fn steady(flavor: Flavor, config: &str) -> (Group, Ambassador) {
    let group = Group::start(flavor, 2);
    group.master.command(&["SET", "steady", "value"]);
    group.wait_in_sync();
    let mut args = vec!["--master".to_owned(), group.master.address()];
    for replica in &group.replicas {
        args.extend(["--replica".to_owned(), replica.address()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ambassador = Ambassador::with_config(config, &args);
    // Ready as soon as reads can be served; these stories begin with both replicas.
    wait_until(|| {
        ambassador
            .admin_get("/topology")
            .1
            .matches("\"usable\": true")
            .count()
            == 3
    });
    group.reset_stats();
    (group, ambassador)
}

fn gets(server: &Server) -> u64 {
    server.calls("get")
}

#[test]
fn policies_and_weights_decide_who_reads() {
    for (config, master, replicas) in [
        ("", 0..=0, 800..=1_200),
        ("[reads]\npolicy = \"replicas-only\"\n", 0..=0, 800..=1_200),
        ("[reads]\npolicy = \"any\"\n", 520..=820, 520..=820),
        ("[reads]\npolicy = \"master-only\"\n", 2_000..=2_000, 0..=0),
    ] {
        let (group, ambassador) = steady(Flavor::Redis7, config);
        let mut client = ambassador.client();
        for _ in 0..2_000 {
            assert_eq!(client.command(&["GET", "steady"]).text(), "value");
        }
        assert!(
            master.contains(&gets(&group.master)),
            "{config}: master {}",
            gets(&group.master)
        );
        for replica in &group.replicas {
            assert!(
                replicas.contains(&gets(replica)),
                "{config}: replica {}",
                gets(replica)
            );
        }
    }
}

#[test]
fn a_weight_is_a_share() {
    let group = Group::start(Flavor::Redis7, 2);
    let [light, heavy] = [0, 1].map(|index: usize| group.replicas[index].address());
    let config = format!(
        "[upstream]\nmaster = \"{}\"\nreplicas = [{{ address = \"{light}\", weight = 100 }}, {{ address = \"{heavy}\", weight = 300 }}]\n",
        group.master.address()
    );
    let ambassador = Ambassador::with_config(&config, &[]);
    wait_until(|| {
        ambassador
            .admin_get("/topology")
            .1
            .matches("\"usable\": true")
            .count()
            == 3
    });
    group.reset_stats();
    let mut client = ambassador.client();
    for _ in 0..2_000 {
        client.command(&["GET", "steady"]);
    }
    assert!(
        (350..=650).contains(&gets(&group.replicas[0])),
        "{}",
        gets(&group.replicas[0])
    );
}

#[test]
fn a_replica_that_dies_is_not_noticed_and_gets_its_share_again() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = steady(flavor, "");
        let readers = Readers::start(ambassador.port());
        readers.more(500);
        group.replicas[0].kill();
        readers.more(1_000);
        group.replicas[0].restart();
        wait_until(|| gets(&group.replicas[0]) > 100);
        readers.finish();
        assert_eq!(gets(&group.master), 0, "a replica was there all the time");
    }
}

#[test]
fn a_replica_that_hangs_delays_reads_by_no_more_than_a_probe() {
    let (group, ambassador) = steady(Flavor::Redis7, "");
    let readers = Readers::start(ambassador.port());
    readers.more(500);
    group.replicas[0].freeze();
    readers.more(2_000);
    group.replicas[0].thaw();
    let before = gets(&group.replicas[0]);
    wait_until(|| gets(&group.replicas[0]) > before + 100);
    readers.finish();
}

#[test]
fn without_replicas_the_master_reads_or_the_policy_says_no() {
    let (mut group, ambassador) = steady(Flavor::Redis7, "");
    let readers = Readers::start(ambassador.port());
    for replica in &mut group.replicas {
        replica.kill();
    }
    readers.more(500);
    readers.finish();

    let config = "[reads]\npolicy = \"replicas-only\"\n[limits]\nhold = \"300ms\"\n";
    let (mut group, ambassador) = steady(Flavor::Redis7, config);
    for replica in &mut group.replicas {
        replica.kill();
    }
    let mut client = ambassador.client();
    wait_until(|| client.command(&["GET", "steady"]).is_error());
    let reply = client.command(&["GET", "steady"]);
    assert!(reply.error().starts_with("TRYAGAIN"), "{reply:?}");
    assert_eq!(client.command(&["SET", "still", "written"]), Reply::ok());
}

#[test]
fn a_replica_that_never_synced_gets_no_reads() {
    let mut group = Group::start(Flavor::Redis7, 1);
    group.master.command(&["SET", "steady", "value"]);
    group.wait_in_sync();
    // A node that has no data and follows a master that does not exist.
    let lost = Server::start(Flavor::Redis7, &["--replicaof", "127.0.0.1", "1"]);
    group.replicas.push(lost);
    let ambassador = Ambassador::over(&group);
    let mut client = ambassador.client();
    for _ in 0..500 {
        assert_eq!(client.command(&["GET", "steady"]).text(), "value");
    }
    assert_eq!(gets(&group.replicas[1]), 0);
    let topology = ambassador.admin_get("/topology").1;
    assert!(topology.contains("\"usable\": false"), "{topology}");
}

#[test]
fn a_write_cut_off_is_in_doubt_and_never_sent_twice() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = steady(flavor, "");
        let mut client = ambassador.client();
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
        group.master.freeze();
        client.send(&["INCR", "n"]);
        assert!(client.is_silent(Duration::from_millis(200)));
        group.master.kill();
        let reply = client.read_reply();
        assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
        let mut reader = ambassador.client();
        assert_eq!(reader.command(&["GET", "steady"]).text(), "value", "reads go on");
        // The connection stayed open, and the command behind waits for the master to come back.
        client.send(&["SET", "held", "1"]);
        assert!(client.is_silent(Duration::from_millis(300)));
        group.master.restart();
        assert_eq!(client.read_reply(), Reply::ok());
        // It came back empty: had the INCR been sent again, it would have counted.
        assert_eq!(group.master.command(&["EXISTS", "n"]), Reply::Integer(0));
    }
}

#[test]
fn a_held_write_fails_when_its_time_is_up_and_dies_with_its_client() {
    let (mut group, ambassador) = steady(Flavor::Redis7, "[limits]\nhold = \"1s\"\n");
    group.master.kill();
    let mut client = ambassador.client();
    let reply = client.command(&["SET", "a", "1"]);
    assert!(reply.error().starts_with("TRYAGAIN"), "{reply:?}");
    let mut ghost = ambassador.client();
    ghost.send(&["SET", "ghost", "1"]);
    assert!(ghost.is_silent(Duration::from_millis(50)));
    drop(ghost);
    group.master.restart();
    wait_until(|| client.command(&["SET", "a", "1"]) == Reply::ok());
    assert_eq!(group.master.command(&["EXISTS", "ghost"]), Reply::Integer(0));
}

#[test]
fn a_read_that_turns_out_to_write_is_corrected() {
    let (group, ambassador) = steady(Flavor::Redis7, "[commands]\n\"incr\" = \"read\"\n");
    let mut client = ambassador.client();
    for expected in 1..=50 {
        assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(expected));
    }
    assert_eq!(group.master.command(&["GET", "n"]).text(), "50");
    assert!(ambassador.metric("redis_ambassador_commands_reclassified_total") > 0.5);
}

#[test]
fn when_the_roles_swap_writes_follow() {
    for flavor in Flavor::ALL {
        let (group, ambassador) = steady(flavor, "");
        let mut client = ambassador.client();
        assert_eq!(client.command(&["SET", "a", "old"]), Reply::ok());
        group.wait_in_sync();
        let (master, successor) = (&group.master, &group.replicas[0]);
        successor.command(&["REPLICAOF", "NO", "ONE"]);
        for other in [master, &group.replicas[1]] {
            other.command(&["REPLICAOF", "127.0.0.1", &successor.port().to_string()]);
        }
        wait_until(|| client.command(&["SET", "a", "new"]) == Reply::ok());
        assert_eq!(successor.command(&["GET", "a"]).text(), "new");
    }
}

/// What is refused goes to the next master, and a read behind it must not be answered by a replica meanwhile.
#[test]
fn a_read_behind_a_write_sees_it_through_every_failover() {
    for flavor in Flavor::ALL {
        let (group, ambassador) = steady(flavor, "");
        let (stop, pairs) = (AtomicBool::new(false), AtomicU64::new(0));
        let stale = thread::scope(|scope| {
            let readers: Vec<_> = (0..16)
                .map(|number| {
                    let (client, stop, pairs) = (ambassador.client(), &stop, &pairs);
                    scope.spawn(move || reads_of_own_writes(&format!("k{number}"), client, stop, pairs))
                })
                .collect();
            for times in 0..6 {
                let before = pairs.load(Ordering::Relaxed);
                wait_until(|| pairs.load(Ordering::Relaxed) > before + 200);
                let (old, new) = if times % 2 == 0 {
                    (&group.master, &group.replicas[0])
                } else {
                    (&group.replicas[0], &group.master)
                };
                let port = new.port().to_string();
                // Refused while the last one goes on.
                wait_until(|| old.command(&["FAILOVER", "TO", "127.0.0.1", &port]) == Reply::ok());
                wait_until(|| {
                    let state = new.info("replication");
                    state["role"] == "master"
                        && state.get("slave0").is_some_and(|line| line.contains("online"))
                });
            }
            stop.store(true, Ordering::Relaxed);
            let stale = readers.into_iter().map(|reader| reader.join().expect("a reader"));
            stale.collect::<Vec<_>>().concat()
        });
        assert!(stale.is_empty(), "{flavor}: {stale:?}");
    }
}

/// Reads right behind a write until it is stopped; returns what it got where they did not see it.
fn reads_of_own_writes(key: &str, mut client: Client, stop: &AtomicBool, pairs: &AtomicU64) -> Vec<String> {
    let mut stale = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = number.to_string();
        let replies = client.pipeline(&[
            &["SET", key, &value],
            &["GET", key],
            &["APPEND", key, ""],
            &["GET", key],
        ]);
        let length = Reply::Integer(value.len() as i64);
        if replies != [Reply::ok(), Reply::bulk(&value), length, Reply::bulk(&value)] {
            stale.push(format!("{value}: {replies:?}"));
        }
        pairs.fetch_add(1, Ordering::Relaxed);
    }
    stale
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let group = Group::start(Flavor::Redis7, 1);
    let mut ambassador = Ambassador::over(&group);
    let mut blocked = ambassador.client();
    blocked.send(&["BLPOP", "none", "0"]);
    let mut busy = ambassador.client();
    busy.send(&[
        "EVAL",
        "local n = 0 for i = 1, 3e7 do n = n + i end return n",
        "0",
    ]);
    assert!(busy.is_silent(Duration::from_millis(50)));
    let ended = thread::spawn(move || ambassador.terminate());
    assert!(busy.read_reply().integer() > 0);
    assert!(ended.join().expect("it ends").success());
}

#[test]
fn a_blocked_command_that_is_cut_is_in_doubt_on_a_connection_that_stays_open() {
    let (group, ambassador) = steady(Flavor::Redis7, "");
    let mut client = ambassador.client();
    client.send(&["BLPOP", "none", "0"]);
    wait_until(|| group.master.info("clients")["blocked_clients"] == "1");
    let list = group.master.command(&["CLIENT", "LIST"]).text();
    let line = list
        .lines()
        .find(|line| line.contains("cmd=blpop"))
        .expect("the blocked connection");
    let id = line
        .split(' ')
        .next()
        .and_then(|id| id.strip_prefix("id="))
        .expect("its id");
    group.master.command(&["CLIENT", "KILL", "ID", id]);
    let reply = client.read_reply();
    assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
    assert_eq!(client.command(&["ECHO", "open"]), Reply::bulk("open"));
}
