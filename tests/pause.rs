//! CLIENT PAUSE as a plain server does it: what it holds is held for every client, wherever its reads go otherwise.

mod support;

use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, Server, wait_until};

const HELD: Duration = Duration::from_millis(200);

fn each(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 2);
        group.master.command(&["SET", "k", "1"]);
        plain.command(&["SET", "k", "1"]);
        group.wait_in_sync();
        // So patient a probe finds nothing missing in a short pause, and much in a long one.
        let ambassador = Ambassador::over_with(&group, &["--workers", "3"]);
        wait_until(|| ambassador.metric("redis_ambassador_node_usable{") > 2.5);
        story(&plain, &group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

#[test]
fn a_pause_of_all_holds_reads_and_nothing_fails_while_it_lasts() {
    each(|plain, group, ambassador| {
        let mut held: Vec<Client> = Vec::new();
        for port in [plain.port(), ambassador.port()] {
            let mut readers: Vec<Client> = (0..6).map(|_| Client::connect(port)).collect();
            for reader in &mut readers {
                assert_eq!(reader.command(&["GET", "k"]), Reply::bulk("1"));
            }
            let mut pauser = Client::connect(port);
            let began = Instant::now();
            // Longer than a probe waits, and than a connection may take to be set up.
            assert_eq!(pauser.command(&["CLIENT", "PAUSE", "3000"]), Reply::ok());
            wait_until(|| {
                // The other workers hear of it a moment later.
                readers[0].send(&["GET", "k"]);
                readers[0].is_silent(HELD) || {
                    readers[0].read_reply();
                    false
                }
            });
            for reader in &mut readers[1..] {
                reader.send(&["GET", "k"]);
            }
            assert!(readers[5].is_silent(HELD));
            for reader in &mut readers {
                assert_eq!(reader.read_reply(), Reply::bulk("1"));
            }
            assert!(
                began.elapsed() >= Duration::from_millis(2900),
                "{:?}",
                began.elapsed()
            );
            held.append(&mut readers);
        }
        assert!(
            !ambassador.log().contains("no usable master"),
            "{}",
            ambassador.log()
        );
        // When it is over, replicas serve again.
        group.reset_stats();
        wait_until(|| {
            for reader in &mut held[6..] {
                assert_eq!(reader.command(&["GET", "k"]), Reply::bulk("1"));
            }
            group.replica_calls("get").iter().sum::<u64>() > 0
        });
    });
}

#[test]
fn a_pause_of_writes_leaves_reads_on_replicas_and_a_refused_one_changes_nothing() {
    each(|plain, group, ambassador| {
        let user = [
            "ACL",
            "SETUSER",
            "app",
            "reset",
            "on",
            ">pw",
            "~*",
            "+@all",
            "-client|pause",
        ];
        for node in group.nodes().chain([plain]) {
            node.command(&user);
        }
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        for words in [
            &["CLIENT", "PAUSE"][..],
            &["CLIENT", "PAUSE", "x"],
            &["CLIENT", "PAUSE", "-1"],
            &["CLIENT", "PAUSE", "100", "SOME"],
            &["CLIENT", "PAUSE", "100", "ALL", "ALL"],
            &["CLIENT", "UNPAUSE", "x"],
            &["CLIENT", "UNPAUSE"],
            &["AUTH", "app", "pw"],
            &["CLIENT", "PAUSE", "60000", "ALL"],
            &["AUTH", "default", ""],
        ] {
            direct.command(words);
            client.command(words);
            assert_eq!(
                client.last_bytes().escape_ascii().to_string(),
                direct.last_bytes().escape_ascii().to_string(),
                "{words:?}"
            );
        }
        let mut client = ambassador.client();
        assert_eq!(
            client.command(&["CLIENT", "PAUSE", "60000", "WRITE"]),
            Reply::ok()
        );
        group.reset_stats();
        for _ in 0..10 {
            assert_eq!(client.command(&["GET", "k"]), Reply::bulk("1"));
        }
        assert_eq!(group.replica_calls("get").iter().sum::<u64>(), 10);
        assert_eq!(client.command(&["CLIENT", "UNPAUSE"]), Reply::ok());
        assert_eq!(client.command(&["SET", "k", "2"]), Reply::ok());
    });
}
