//! What a master refuses for the time being: it waits as long as that may pass, and no longer.

mod support;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, Server, wait_until};

const LACKS: &str = "NOREPLICAS Not enough good replicas to write.";

fn topology(ambassador: &Ambassador) -> serde_json::Value {
    serde_json::from_str(&ambassador.admin_get("/topology").1).expect("it is JSON")
}

fn wants_replicas(server: &Server, count: &str) {
    let reply = server.command(&["CONFIG", "SET", "min-replicas-to-write", count]);
    assert_eq!(reply, Reply::ok());
}

#[test]
fn a_new_master_without_its_replicas_costs_no_write_and_one_that_has_lost_them_says_so() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        for node in group.nodes() {
            wants_replicas(node, "1");
        }
        let config = "[limits]\nhold = \"3s\"\n";
        let (master, next) = (&group.master, &group.replicas[0]);
        let ambassador = Ambassador::with_config(
            config,
            &["--master", &master.address(), "--replica", &next.address()],
        );
        let mut client = ambassador.client();
        wait_until(|| client.command(&["INCR", "n"]) == Reply::Integer(1));
        let sha = client
            .command(&["SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"])
            .text();
        wants_replicas(master, "2");
        let began = Instant::now();
        for words in [&["INCR", "n"][..], &["BLPOP", "l", "1"]] {
            assert_eq!(client.command(words).error(), LACKS, "{flavor}: not a new one");
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{flavor}");
        wants_replicas(master, "1");

        let mut clients: Vec<Client> = (0..6).map(|_| ambassador.client()).collect();
        let [plain, script, function, blocked, queued, whole] = &mut clients[..] else {
            panic!("there are six")
        };
        group.wait_in_sync();
        next.command(&["REPLICAOF", "NO", "ONE"]);
        wait_until(|| topology(&ambassador)["master"] == next.address());
        plain.send(&["INCR", "n"]);
        script.send(&["EVALSHA", &sha, "1", "s"]);
        function.send(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "NOREPLICAS"]);
        blocked.send(&["BLPOP", "l", "0"]);
        queued.send_raw(b"MULTI\r\nINCR q\r\n");
        assert_eq!(queued.read_reply(), Reply::ok());
        assert_eq!(queued.read_reply().text(), "QUEUED");
        whole.send_raw(b"MULTI\r\nINCR w\r\nEXEC\r\n");
        queued.send(&["EXEC"]);
        assert!(plain.is_silent(Duration::from_millis(200)));
        for client in [&mut *script, &mut *function, &mut *blocked, &mut *queued] {
            assert!(client.is_silent(Duration::from_millis(1)), "{flavor}");
        }
        master.command(&["REPLICAOF", "127.0.0.1", &next.port().to_string()]);
        assert_eq!(plain.read_reply(), Reply::Integer(2), "{flavor}");
        assert_eq!(script.read_reply(), Reply::Integer(1), "{flavor}");
        assert_eq!(function.read_reply(), Reply::Integer(1), "{flavor}");
        let one = Reply::Array(vec![Reply::Integer(1)]);
        assert_eq!(queued.read_reply(), one, "{flavor}");
        assert_eq!(
            (whole.read_reply(), whole.read_reply().text().as_str()),
            (Reply::ok(), "QUEUED")
        );
        assert_eq!(whole.read_reply(), one, "{flavor}");
        assert_eq!(plain.command(&["RPUSH", "l", "a"]), Reply::Integer(1));
        assert_eq!(blocked.read_reply().items()[1], Reply::bulk("a"), "{flavor}");

        // It loses them for good: as soon as it has had the time to gather them, the error is its own.
        wants_replicas(next, "2");
        let began = Instant::now();
        assert_eq!(plain.command(&["INCR", "n"]).error(), LACKS, "{flavor}");
        assert!(began.elapsed() < Duration::from_secs(4), "{flavor}");
        let began = Instant::now();
        assert_eq!(plain.command(&["INCR", "n"]).error(), LACKS, "{flavor}");
        assert!(began.elapsed() < Duration::from_secs(1), "{flavor}: at once");
        wants_replicas(next, "1");
        assert_eq!(plain.command(&["INCR", "n"]), Reply::Integer(3), "{flavor}");
    }
}

/// An address whose new connections lead to the node of that port; gone with the test's process.
fn balancer(leads_to: &Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let leads_to = Arc::clone(leads_to);
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", leads_to.load(Ordering::SeqCst))) else {
                continue;
            };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (
                    from.try_clone().expect("a handle can be copied"),
                    to.try_clone().expect("a handle can be copied"),
                );
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn a_link_that_a_balancer_led_to_a_replica_is_given_up_for_one_that_leads_to_the_master() {
    for function in [false, true] {
        let group = Group::start(Flavor::Valkey8, 1);
        let replica = &group.replicas[0];
        group.master.command(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=lib\nredis.register_function('poke', function(keys) return redis.call('INCR', keys[1]) end)",
        ]);
        group.wait_in_sync();
        let leads_to = Arc::new(AtomicU16::new(group.master.port()));
        let address = format!("127.0.0.1:{}", balancer(&leads_to));
        let config = "workers = 1\n[upstream]\ndiscover = \"off\"\n";
        let ambassador = Ambassador::with_config(config, &["--master", &address]);
        // The probe has its connection.
        leads_to.store(replica.port(), Ordering::SeqCst);
        let mut client = ambassador.client();
        let words: &[&str] = if function {
            &["FCALL", "poke", "1", "n"]
        } else {
            &["INCR", "n"]
        };
        client.send(words);
        assert!(client.is_silent(Duration::from_millis(300)));
        assert!(replica.info("errorstats").contains_key("errorstat_READONLY"));
        leads_to.store(group.master.port(), Ordering::SeqCst);
        assert_eq!(client.read_reply(), Reply::Integer(1));
        for expected in 2..10 {
            assert_eq!(client.command(words), Reply::Integer(expected));
        }
        assert_eq!(topology(&ambassador)["master"], address);
    }
}
