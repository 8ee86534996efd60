//! Transactions through the ambassador: a plain server's bytes, and nothing of one client's state for the next.

mod stories;
#[path = "../support/mod.rs"]
mod support;

use std::thread;

use stories::{STORIES, Story};
use support::{Ambassador, Client, Flavor, Group, Reply, Server, beside_a_plain_server};

/// All bytes that a story is answered with, in one write or step by step, and whether what follows is in step.
fn told(client: &mut Client, story: Story, version: u8, at_once: bool) -> String {
    client.command(&["RESET"]);
    client.hello(version);
    client.command(&["FLUSHALL"]);
    let silent = story.iter().filter(|words| words.contains(&"SKIP")).count();
    // Of CLIENT REPLY SKIP and the command behind it there is no reply.
    let replies = story.len() - 2 * silent;
    let mut bytes = Vec::new();
    if at_once {
        let requests: Vec<u8> = story.iter().flat_map(|words| encoded(words)).collect();
        client.send_raw(&requests);
        for _ in 0..replies {
            client.read_reply();
            bytes.extend(client.last_bytes());
        }
    } else {
        for (number, words) in story.iter().enumerate() {
            client.send(words);
            if number >= 2 * silent {
                client.read_reply();
                bytes.extend(client.last_bytes());
            }
        }
    }
    assert_eq!(
        client.command(&["ECHO", "in step"]),
        Reply::bulk("in step"),
        "{story:?}"
    );
    bytes.escape_ascii().to_string()
}

fn encoded(words: &[&str]) -> Vec<u8> {
    let words_encoded = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let head = format!("*{}\r\n", words.len());
    std::iter::once(head)
        .chain(words_encoded)
        .collect::<String>()
        .into_bytes()
}

#[test]
fn every_story_is_told_as_a_plain_server_tells_it() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        // Without replicas: a read behind the transaction may be a little behind it elsewhere.
        let group = Group::start(flavor, 0);
        let ambassador = Ambassador::over(&group);
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        let mut different = Vec::new();
        for story in STORIES {
            for (version, at_once) in [(2, true), (2, false), (3, true), (3, false)] {
                let got = told(&mut client, story, version, at_once);
                let wanted = told(&mut direct, story, version, at_once);
                if got != wanted {
                    different.push(format!(
                        "{story:?} RESP{version}, at once: {at_once}\n   got {got}\nwanted {wanted}"
                    ));
                }
            }
        }
        assert!(different.is_empty(), "{}", different.join("\n"));
    }
}

#[test]
fn a_refused_command_makes_the_transaction_fail() {
    beside_a_plain_server(|_, group, ambassador| {
        for version in [2, 3] {
            let mut client = ambassador.client();
            client.hello(version);
            for at_once in [true, false] {
                let commands: [&[&str]; 4] =
                    [&["MULTI"], &["SET", "a", "1"], &["SHUTDOWN", "NOSAVE"], &["EXEC"]];
                let replies = if at_once {
                    client.pipeline(&commands)
                } else {
                    commands.iter().map(|words| client.command(words)).collect()
                };
                assert_eq!(replies[1].text(), "QUEUED");
                assert!(replies[2].is_error(), "{replies:?}");
                assert!(replies[3].error().starts_with("EXECABORT"), "{replies:?}");
                assert_eq!(client.command(&["EXISTS", "a"]), Reply::Integer(0));
            }
        }
        assert_eq!(group.master.command(&["PING"]).text(), "PONG");
    });
}

#[test]
fn what_another_client_touches_aborts_with_a_plain_servers_null() {
    beside_a_plain_server(|plain, group, ambassador| {
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        let mut other = ambassador.client();
        for version in [2, 3] {
            direct.hello(version);
            client.hello(version);
            for round in 0..20 {
                let value = round.to_string();
                assert_eq!(client.command(&["WATCH", "w"]), Reply::ok());
                direct.command(&["WATCH", "w"]);
                // A read behind WATCH is the watched master's, however far behind the replicas are.
                group.master.command(&["SET", "w2", &value]);
                assert_eq!(client.command(&["GET", "w2"]).text(), value);
                other.command(&["SET", "w", &value]);
                plain.command(&["SET", "w", &value]);
                assert_eq!(client.command(&["GET", "w"]).text(), value);
                for words in [&["MULTI"][..], &["SET", "w", "mine"], &["EXEC"]] {
                    client.command(words);
                    direct.command(words);
                }
                assert_eq!(client.last_bytes(), direct.last_bytes());
                assert_eq!(group.master.command(&["GET", "w"]).text(), value);
            }
        }
    });
}

#[test]
fn an_id_inside_a_transaction_is_a_number_and_outside_the_clients_own() {
    beside_a_plain_server(|_, _, ambassador| {
        let mut client = ambassador.client();
        let id = client.command(&["CLIENT", "ID"]);
        let replies = client.pipeline(&[&["MULTI"], &["CLIENT", "ID"], &["EXEC"], &["CLIENT", "ID"]]);
        assert_eq!(replies[1].text(), "QUEUED");
        assert!(matches!(replies[2].items()[0], Reply::Integer(_)));
        assert_eq!(replies[3], id);
        assert_eq!(client.command(&["CLIENT", "ID"]), id);
        // HELLO may be queued, too.
        let replies = client.pipeline(&[&["MULTI"], &["HELLO", "3"], &["EXEC"], &["CLIENT", "ID"]]);
        assert_eq!(replies[3], id, "{replies:?}");
    });
}

#[test]
fn large_values_pass_inside_transactions() {
    beside_a_plain_server(|_, _, ambassador| {
        let large = "x".repeat(300 * 1024);
        let mut client = ambassador.client();
        for version in [2, 3] {
            client.hello(version);
            let replies = client.pipeline(&[
                &["MULTI"],
                &["SET", "large", &large],
                &["GET", "large"],
                &["APPEND", "large", &large],
                &["ECHO", &large],
                &["EXEC"],
                &["STRLEN", "large"],
                &["WATCH", "large"],
                &["SET", "large", &large],
                &["MULTI"],
                &["SET", "large", &large],
                &["EXEC"],
                &["ECHO", "in step"],
            ]);
            assert_eq!(replies[1].text(), "QUEUED");
            assert_eq!(replies[3].text(), "QUEUED");
            let large = Reply::bulk(&large);
            assert_eq!(
                replies[5].items(),
                [Reply::ok(), large.clone(), Reply::Integer(600 * 1024), large]
            );
            assert_eq!(replies[6], Reply::Integer(600 * 1024));
            assert_eq!(replies[11], Reply::Null);
            assert_eq!(replies[12], Reply::bulk("in step"));
        }
    });
}

/// A thousand transactions of many clients, each with a state of its own, over a few connections.
#[test]
fn connections_come_back_clean_and_are_used_again() {
    beside_a_plain_server(|_, group, ambassador| {
        const CLIENTS: usize = 40;
        let connections = || -> u64 {
            group.master.info("stats")["total_connections_received"]
                .parse()
                .expect("a number")
        };
        let before = connections();
        let mut own = 0;
        for round in 0..1_000 / CLIENTS {
            for number in 0..CLIENTS {
                let mut client = ambassador.client();
                let me = format!("c{round}-{number}");
                assert_eq!(client.command(&["CLIENT", "GETNAME"]), Reply::Null);
                let db = (number % 2).to_string();
                client.command(&["SELECT", &db]);
                client.command(&["CLIENT", "SETNAME", &me]);
                if number % 3 == 0 {
                    // It leaves nothing watched behind, or the next one's EXEC would be null.
                    client.command(&["WATCH", "shared"]);
                    client.command(&["UNWATCH"]);
                }
                let replies =
                    client.pipeline(&[&["MULTI"], &["SET", "shared", &me], &["GET", "shared"], &["EXEC"]]);
                assert_eq!(replies[3].items(), [Reply::ok(), Reply::bulk(&me)]);
                assert_eq!(client.command(&["CLIENT", "GETNAME"]), Reply::bulk(&me));
                let mut look = group.master.client();
                own += 1;
                look.command(&["SELECT", &db]);
                assert_eq!(look.command(&["GET", "shared"]).text(), me);
            }
        }
        // INFO itself is asked over a new connection each time.
        let made = connections() - before - own;
        assert!(made < 60, "{made} connections for 1,000 transactions");
        let now: u64 = group.master.info("clients")["connected_clients"]
            .parse()
            .expect("a number");
        assert!(now < 60, "{now} connections");
    });
}

#[test]
fn a_transactions_state_never_reaches_another_client() {
    beside_a_plain_server(|_, group, ambassador| {
        let port = ambassador.port();
        let dirty: [Story; 6] = [
            &[&["WATCH", "shared"], &["SET", "shared", "x"]],
            &[&["MULTI"], &["SET", "left", "1"]],
            &[&["MULTI"], &["SELECT", "5"], &["EXEC"]],
            &[&["MULTI"], &["CLIENT", "SETNAME", "dirty"], &["EXEC"]],
            &[&["MULTI"], &["HELLO", "3"], &["EXEC"]],
            &[&["MULTI"], &["NOSUCH"]],
        ];
        let leavers: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    for round in 0..60 {
                        Client::connect(port).pipeline(dirty[round % dirty.len()]);
                    }
                })
            })
            .collect();
        while leavers.iter().any(|leaver| !leaver.is_finished()) {
            let mut client = ambassador.client();
            let replies = client.pipeline(&[
                &["MULTI"],
                &["CLIENT", "GETNAME"],
                &["HGETALL", "none"],
                &["SET", "mine", "1"],
                &["EXEC"],
            ]);
            assert_eq!(
                client.last_bytes().escape_ascii().to_string(),
                r"*3\r\n$-1\r\n*0\r\n+OK\r\n",
                "{replies:?}"
            );
            let mut client = ambassador.client();
            let replies = client.pipeline(&[&["MULTI"], &["GET", "mine"], &["EXEC"]]);
            assert_eq!(replies[2].items(), [Reply::bulk("1")]);
        }
        for leaver in leavers {
            leaver.join().expect("a leaver");
        }
        assert_eq!(group.master.command(&["EXISTS", "left"]), Reply::Integer(0));
    });
}
