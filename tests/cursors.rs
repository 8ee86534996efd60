//! SCAN, HSCAN, SSCAN and ZSCAN over several replicas: every element that is there throughout comes, whatever
//! connections the steps travel on and whichever replicas die on the way.

mod support;

use std::collections::BTreeSet;

use support::{Ambassador, Client, Flavor, Group, PATIENCE, Reply, Server, eventually, wait_until};

const ELEMENTS: usize = 3_000;

/// The commands of an iteration: what stands before its cursor.
const ITERATIONS: [&[&str]; 4] = [
    &["SCAN"],
    &["HSCAN", "hash"],
    &["SSCAN", "set"],
    &["ZSCAN", "sorted"],
];

/// What a JavaScript number can hold.
const SAFE: u64 = 1 << 53;

fn fill(client: &mut Client) {
    for chunk in (0..ELEMENTS).collect::<Vec<_>>().chunks(500) {
        let mut words: [Vec<String>; 4] = [
            vec!["MSET".into()],
            vec!["HSET".into(), "hash".into()],
            vec!["SADD".into(), "set".into()],
            vec!["ZADD".into(), "sorted".into()],
        ];
        for element in chunk {
            words[0].extend([format!("e{element}"), "v".into()]);
            words[1].extend([format!("e{element}"), "v".into()]);
            words[2].push(format!("e{element}"));
            words[3].extend([element.to_string(), format!("e{element}")]);
        }
        for command in &words {
            assert!(!client.command(command).is_error());
        }
    }
}

/// One step; gives the next cursor and adds what came to `seen`.
fn step(client: &mut Client, before: &[&str], cursor: &str, seen: &mut BTreeSet<String>) -> String {
    let words: Vec<&str> = before.iter().copied().chain([cursor, "COUNT", "100"]).collect();
    let reply = client.command(&words).items();
    seen.extend(reply[1].items().iter().map(Reply::text));
    let next = reply[0].text();
    assert!(next.parse::<u64>().expect("a number") < SAFE, "{next}");
    next
}

#[track_caller]
fn is_complete(seen: &BTreeSet<String>, what: &str) {
    let missing = (0..ELEMENTS).filter(|element| !seen.contains(&format!("e{element}")));
    assert_eq!(missing.count(), 0, "{what}");
}

#[test]
fn iterations_are_complete_whatever_connection_each_step_takes_and_run_on_replicas() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 3);
        let ambassador = Ambassador::over(&group);
        fill(&mut ambassador.client());
        group.wait_in_sync();
        group.reset_stats();
        for version in [2, 3] {
            let mut clients: Vec<Client> = (0..5)
                .map(|_| {
                    let mut client = ambassador.client();
                    client.hello(version);
                    client
                })
                .collect();
            for before in ITERATIONS {
                for round in 0..5 {
                    let (mut cursor, mut seen, mut at) = ("0".to_owned(), BTreeSet::new(), round);
                    loop {
                        let count = clients.len();
                        cursor = step(&mut clients[at % count], before, &cursor, &mut seen);
                        at += 1;
                        if cursor == "0" {
                            break;
                        }
                    }
                    is_complete(&seen, &format!("{} RESP{version} {before:?}", flavor.name()));
                }
                // Enough beginnings that none of three replicas can be left out by chance.
                for _ in 0..60 {
                    step(&mut clients[0], before, "0", &mut BTreeSet::new());
                }
            }
        }
        for command in ["scan", "hscan", "sscan", "zscan"] {
            assert_eq!(group.master.calls(command), 0, "{command} ran on the master");
            let calls = group.replica_calls(command);
            assert!(calls.iter().all(|calls| *calls > 0), "{command}: {calls:?}");
        }
        assert!(ambassador.metric("redis_ambassador_scans_restarted_total") < 0.5);
    }
}

#[test]
fn iterations_are_complete_while_replicas_die_and_come_back() {
    for flavor in Flavor::ALL {
        let mut group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        fill(&mut client);
        group.wait_in_sync();
        for (round, before) in ITERATIONS.iter().enumerate() {
            // Several iterations under way, so that some are on the replica that dies.
            let mut iterations: Vec<(String, BTreeSet<String>, bool)> =
                vec![("0".to_owned(), BTreeSet::new(), false); 6];
            for steps in 0.. {
                assert!(steps < 2_000, "an iteration never ends");
                for (cursor, seen, over) in iterations.iter_mut().filter(|(.., over)| !over) {
                    *cursor = step(&mut client, before, cursor, seen);
                    *over = cursor == "0";
                }
                match steps {
                    5 => group.replicas[round % 2].kill(),
                    10 => group.replicas[round % 2].restart(),
                    _ => {}
                }
                if iterations.iter().all(|(.., over)| *over) {
                    break;
                }
            }
            for (_, seen, _) in &iterations {
                is_complete(seen, &format!("{} {before:?}", flavor.name()));
            }
            let replica = &group.replicas[round % 2];
            wait_until(|| replica.info("replication")["master_link_status"] == "up");
        }
        assert!(ambassador.metric("redis_ambassador_scans_restarted_total") > 0.5);
        // Who came back gets its share again.
        for replica in &group.replicas {
            replica.command(&["CONFIG", "RESETSTAT"]);
        }
        eventually(PATIENCE, || {
            step(&mut client, &["SCAN"], "0", &mut BTreeSet::new());
            let calls = group.replica_calls("scan");
            calls.iter().all(|calls| *calls > 0).then_some(())
        });
    }
}

#[test]
fn an_iteration_goes_on_in_a_transaction_and_out_of_it() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        fill(&mut client);
        group.wait_in_sync();
        for before in ITERATIONS {
            let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
            for steps in 0.. {
                assert!(steps < 2_000, "an iteration never ends");
                if steps % 4 > 0 {
                    let words: Vec<&str> = before.iter().copied().chain([&*cursor, "COUNT", "500"]).collect();
                    let replies = client.pipeline(&[
                        &["WATCH", "w"],
                        &["MULTI"],
                        &["SET", "other", "1"],
                        &words,
                        &["PING"],
                        &["EXEC"],
                    ]);
                    let exec = replies[5].items();
                    assert_eq!(exec[2].text(), "PONG", "{replies:?}");
                    let reply = exec[1].items();
                    seen.extend(reply[1].items().iter().map(Reply::text));
                    cursor = reply[0].text();
                } else {
                    cursor = step(&mut client, before, &cursor, &mut seen);
                }
                if cursor == "0" {
                    break;
                }
            }
            is_complete(&seen, &format!("{} {before:?}", flavor.name()));
        }
    }
}

#[test]
fn what_is_wrong_with_a_cursor_the_server_says() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        let (mut ours, mut theirs) = (ambassador.client(), plain.client());
        for words in [
            &["SCAN", "abc"][..],
            &["SCAN", ""],
            &["SCAN"],
            &["SCAN", "0", "COUNT", "0"],
            &["SCAN", "0", "COUNT", "x"],
            &["SCAN", "0", "NOSUCH"],
            &["SCAN", "99999999999999999999"],
            &["HSCAN", "nosuch", "0"],
            &["HSCAN", "nosuch"],
            &["ZSCAN", "nosuch", "0", "MATCH"],
        ] {
            ours.command(words);
            theirs.command(words);
            assert_eq!(
                String::from_utf8_lossy(ours.last_bytes()),
                String::from_utf8_lossy(theirs.last_bytes()),
                "{} {words:?}",
                flavor.name()
            );
        }
    }
}

#[test]
fn an_iteration_goes_on_beside_a_subscription_and_with_tracking() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        fill(&mut ambassador.client());
        group.wait_in_sync();
        let mut clients: Vec<Client> = (0..3)
            .map(|_| {
                let mut client = ambassador.client();
                client.hello(3);
                client
            })
            .collect();
        clients[1].command(&["SUBSCRIBE", "news"]);
        clients[2].command(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "nosuch"]);
        for before in ITERATIONS {
            // Within one connection, and back and forth between a plain one and the others.
            for order in [
                &[1][..],
                &[2],
                &[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2],
            ] {
                let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
                for steps in 0.. {
                    // Passing from node to node an iteration begins anew: it ends where it stays long enough.
                    assert!(steps < 5_000, "an iteration never ends");
                    let client = order[(steps / 4) % order.len()];
                    cursor = step(&mut clients[client], before, &cursor, &mut seen);
                    if cursor == "0" {
                        break;
                    }
                }
                is_complete(&seen, &format!("{} {before:?} {order:?}", flavor.name()));
            }
        }
    }
}

#[test]
fn a_large_step_beside_a_subscription_comes_whole_and_what_follows_is_untouched() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        let value = "v".repeat(200);
        let mut words = vec!["HSET".to_owned(), "large".to_owned()];
        words.extend((0..ELEMENTS).flat_map(|element| [format!("e{element}"), value.clone()]));
        client.command(&words);
        client.hello(3);
        client.command(&["SUBSCRIBE", "news"]);
        let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
        loop {
            // Each but the last is far larger than what is read at a time.
            client.send(&["HSCAN", "large", &cursor, "COUNT", "1500"]);
            client.send(&["CONFIG", "GET", "maxmemory"]);
            client.send(&["EVAL", "return {'7', {'a'}}", "0"]);
            let reply = client.read_reply().items();
            assert_eq!(client.read_reply().items()[0], Reply::bulk("maxmemory"));
            assert_eq!(client.read_reply().items()[0], Reply::bulk("7"));
            seen.extend(reply[1].items().chunks(2).map(|pair| pair[0].text()));
            cursor = reply[0].text();
            if cursor == "0" {
                break;
            }
            assert!(
                cursor.parse::<u64>().expect("a number") > u64::from(u16::MAX),
                "{cursor}"
            );
        }
        is_complete(&seen, flavor.name());
    }
}
