//! CLIENT LIST, INFO, KILL, UNBLOCK, PAUSE and HELLO: what a plain server does with its clients, the ambassador does
//! with its own, whichever worker has them.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{Ambassador, Client, Flavor, Group, Reply, Server, wait_until};

const WORKERS: [&str; 2] = ["1", "3"];

/// An ambassador with so many workers in front of a master and a replica.
fn start(flavor: Flavor, workers: &str) -> (Group, Ambassador) {
    let group = Group::start(flavor, 1);
    let ambassador = Ambassador::over_with(&group, &["--workers", workers]);
    (group, ambassador)
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Verbatim(bytes) => String::from_utf8(bytes).expect("text"),
        other => panic!("not a text: {other:?}"),
    }
}

/// The fields of a line as redis-py reads them.
fn fields(line: &str) -> BTreeMap<String, String> {
    let pairs = line
        .split(' ')
        .map(|field| field.split_once('=').expect("name=value"));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn names(line: &str) -> Vec<&str> {
    line.trim_end()
        .split(' ')
        .map(|field| field.split('=').next().expect("there is a first"))
        .collect()
}

fn list(client: &mut Client, options: &[&str]) -> Vec<BTreeMap<String, String>> {
    let words = [&["CLIENT", "LIST"], options].concat();
    text(client.command(&words)).lines().map(fields).collect()
}

fn id(client: &mut Client) -> String {
    match client.command(&["CLIENT", "ID"]) {
        Reply::Integer(id) => id.to_string(),
        other => panic!("not an id: {other:?}"),
    }
}

fn info(client: &mut Client) -> BTreeMap<String, String> {
    fields(text(client.command(&["CLIENT", "INFO"])).trim_end())
}

/// Sends a blocking command and waits until the master has it.
fn block(group: &Group, client: &mut Client, words: &[&str]) {
    client.send(words);
    wait_until(|| {
        let state = group.master.info("clients");
        state.get("blocked_clients").is_some_and(|blocked| blocked == "1")
    });
}

fn is_closed(client: &mut Client) -> bool {
    client.read_to_close().is_ok()
}

#[test]
fn lines_have_the_plain_servers_fields_in_its_order() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        for workers in WORKERS {
            let (_group, ambassador) = start(flavor, workers);
            for version in [2, 3] {
                let mut theirs = Client::connect(plain.port());
                let mut ours = Client::connect(ambassador.port());
                theirs.hello(version);
                ours.hello(version);
                for command in ["INFO", "LIST"] {
                    let expected = text(theirs.command(&["CLIENT", command]));
                    let found = text(ours.command(&["CLIENT", command]));
                    assert_eq!(
                        names(found.lines().last().expect("a line")),
                        names(expected.lines().last().expect("a line")),
                        "{flavor:?} {command}"
                    );
                    assert!(found.ends_with('\n') && expected.ends_with('\n'));
                    assert_eq!(ours.last_bytes()[0], theirs.last_bytes()[0]);
                }
                ours.command(&["CLIENT", "SETNAME", "someone"]);
                ours.command(&["SELECT", "3"]);
                let seen = info(&mut ours);
                for (field, value) in [
                    ("id", id(&mut ours).as_str()),
                    ("name", "someone"),
                    ("db", "3"),
                    ("flags", "N"),
                    ("user", "default"),
                    ("cmd", "client|info"),
                    ("multi", "-1"),
                    ("resp", &version.to_string()),
                    ("laddr", &format!("127.0.0.1:{}", ambassador.port())),
                ] {
                    assert_eq!(seen[field], value, "{flavor:?} {field}");
                }
            }
        }
    }
}

#[test]
fn every_workers_clients_are_listed_by_id_with_what_they_do() {
    for flavor in Flavor::ALL {
        for workers in WORKERS {
            let (group, ambassador) = start(flavor, workers);
            let mut asker = Client::connect(ambassador.port());
            let mut others: Vec<Client> = (0..8).map(|_| Client::connect(ambassador.port())).collect();
            let mut ids: Vec<String> = others.iter_mut().map(id).collect();
            ids.push(id(&mut asker));
            others[0].command(&["SUBSCRIBE", "news"]);
            others[1].command(&["MULTI"]);
            others[2].command(&["GET", "k"]);
            block(&group, &mut others[3], &["BLPOP", "nothing", "0"]);

            let listed = list(&mut asker, &[]);

            let mut sorted: Vec<u64> = ids.iter().map(|id| id.parse().expect("a number")).collect();
            sorted.sort_unstable();
            let found: Vec<u64> = listed
                .iter()
                .map(|line| line["id"].parse().expect("a number"))
                .collect();
            assert_eq!(found, sorted);
            let of = |index: usize, field: &str| {
                let line = listed.iter().find(|line| line["id"] == ids[index]);
                line.expect("it is listed")[field].clone()
            };
            assert_eq!([of(0, "flags"), of(0, "cmd")], ["P", "subscribe"]);
            assert_eq!([of(1, "flags"), of(1, "multi")], ["x", "0"]);
            assert_eq!([of(2, "flags"), of(2, "cmd")], ["N", "get"]);
            assert_eq!([of(3, "flags"), of(3, "cmd")], ["b", "blpop"]);
            assert_eq!(of(8, "cmd"), "client|list");
            let of_type = |lines: Vec<BTreeMap<String, String>>| lines.len();
            assert_eq!(of_type(list(&mut asker, &["TYPE", "pubsub"])), 1);
            assert_eq!(of_type(list(&mut asker, &["TYPE", "normal"])), 8);
            assert_eq!(of_type(list(&mut asker, &["TYPE", "replica"])), 0);
            assert_eq!(of_type(list(&mut asker, &["ID", &ids[4], &ids[5], "99999"])), 2);
            let replies = asker.pipeline(&[
                &["INCR", "k"],
                &["CLIENT", "LIST", "ID", &ids[4]],
                &["INCR", "k"],
                &["CLIENT", "KILL", "ID", &ids[7]],
                &["PING"],
            ]);
            assert_eq!(replies[0], Reply::Integer(1));
            assert!(text(replies[1].clone()).starts_with(&format!("id={} ", ids[4])));
            assert_eq!(replies[2], Reply::Integer(2));
            assert_eq!(replies[3], Reply::Integer(1));
            assert_eq!(replies[4], Reply::Simple("PONG".to_owned()));
        }
    }
}

#[test]
fn what_is_wrong_is_said_as_a_plain_server_says_it() {
    let long: &[&[&str]] = &[
        &["CLIENT", "LIST", "ID"],
        &["CLIENT", "LIST", "TYPE"],
        &["CLIENT", "LIST", "TYPE", "foo"],
        &["CLIENT", "LIST", "FOO", "bar"],
        &["CLIENT", "LIST", "ID", "x"],
        &["CLIENT", "LIST", "ID", "99999", "TYPE", "normal"],
        &["CLIENT", "LIST", "USER", "default", "ID", "99999"],
        &["CLIENT", "INFO", "x"],
        &["CLIENT", "KILL"],
        &["CLIENT", "KILL", "1.2.3.4:5"],
        &["CLIENT", "KILL", "ID", "x"],
        &["CLIENT", "KILL", "ID", "0"],
        &["CLIENT", "KILL", "ID", "99999"],
        &["CLIENT", "KILL", "ID", "99999", "99998"],
        &["CLIENT", "KILL", "ID", "99999", "99998", "99997"],
        &["CLIENT", "KILL", "ID", "99999", "TYPE"],
        &["CLIENT", "KILL", "TYPE", "foo"],
        &["CLIENT", "KILL", "TYPE", "foo", "LADDR", "x"],
        &["CLIENT", "KILL", "TYPE", "slave"],
        &["CLIENT", "KILL", "USER", "nobody"],
        &["CLIENT", "KILL", "USER", "default", "ID", "99999"],
        &["CLIENT", "KILL", "SKIPME", "maybe"],
        &["CLIENT", "KILL", "SKIPME", "yes", "LADDR", "1.2.3.4:5"],
        &["CLIENT", "KILL", "MAXAGE", "0"],
        &["CLIENT", "KILL", "MAXAGE", "1000000"],
        &["CLIENT", "UNBLOCK"],
        &["CLIENT", "UNBLOCK", "x"],
        &["CLIENT", "UNBLOCK", "-1"],
        &["CLIENT", "UNBLOCK", "99999"],
        &["CLIENT", "UNBLOCK", "99999", "ERROR"],
        &["CLIENT", "UNBLOCK", "99999", "maybe"],
        &["CLIENT", "UNBLOCK", "99999", "ERROR", "x"],
        &["CLIENT", "NO-EVICT"],
        &["CLIENT", "NO-EVICT", "on"],
        &["CLIENT", "NO-EVICT", "maybe"],
        &["CLIENT", "NO-TOUCH", "off"],
        &["CLIENT", "NO-TOUCH", "maybe"],
        &["CLIENT", "SETINFO", "lib-name", "one"],
        &["CLIENT", "SETINFO", "lib-name", "a b"],
        &["CLIENT", "SETINFO", "foo", "one"],
        &["CLIENT", "PAUSE", "x"],
        &["CLIENT", "PAUSE", "10", "maybe"],
        &["CLIENT", "HELP"],
        &["HELLO", "4"],
        &["HELLO", "x"],
        &["HELLO", "3", "AUTH", "nobody", "wrong"],
        &["HELLO", "3", "SETNAME", "a b"],
        &["HELLO", "3", "SETNAME"],
        &["HELLO", "3", "FOO"],
        &["RESET", "x"],
        &["RESET"],
    ];
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let (_group, ambassador) = start(flavor, "3");
        for version in [2, 3] {
            let mut theirs = Client::connect(plain.port());
            let mut ours = Client::connect(ambassador.port());
            theirs.hello(version);
            ours.hello(version);
            for words in long {
                let expected = theirs.command(words);
                let found = ours.command(words);
                assert_eq!(found, expected, "{flavor:?} RESP{version} {words:?}");
                assert_eq!(
                    ours.last_bytes().escape_ascii().to_string(),
                    theirs.last_bytes().escape_ascii().to_string(),
                    "{flavor:?} RESP{version} {words:?}"
                );
            }
        }
    }
}

#[test]
fn kill_closes_just_whom_it_means_and_no_shared_link() {
    for flavor in Flavor::ALL {
        for workers in WORKERS {
            let (group, ambassador) = start(flavor, workers);
            let port = ambassador.port();
            let mut asker = Client::connect(port);
            let mut bystanders: Vec<Client> = (0..4).map(|_| Client::connect(port)).collect();
            for bystander in &mut bystanders {
                bystander.command(&["SET", "k", "1"]);
            }
            group.wait_in_sync();
            for bystander in &mut bystanders {
                assert_eq!(bystander.command(&["GET", "k"]), Reply::Bulk(b"1".to_vec()));
            }
            let connects = || ambassador.metric("redis_ambassador_node_connects_total");
            // The first question may make a link, where clients of one worker had none.
            asker.command(&["CLIENT", "KILL", "ID", "99999"]);
            let before = connects();

            let mut blocked = Client::connect(port);
            let blocked_id = id(&mut blocked);
            block(&group, &mut blocked, &["BLPOP", "nothing", "0"]);
            assert_eq!(
                asker.command(&["CLIENT", "KILL", "ID", &blocked_id]),
                Reply::Integer(1)
            );
            assert!(is_closed(&mut blocked));
            wait_until(|| group.master.info("clients")["blocked_clients"] == "0");

            let mut subscriber = Client::connect(port);
            subscriber.command(&["SUBSCRIBE", "news"]);
            assert_eq!(
                asker.command(&["CLIENT", "KILL", "TYPE", "pubsub"]),
                Reply::Integer(1)
            );
            assert!(is_closed(&mut subscriber));

            let mut transaction = Client::connect(port);
            let address = info(&mut transaction)["addr"].clone();
            transaction.command(&["MULTI"]);
            transaction.command(&["SET", "killed", "1"]);
            assert_eq!(
                asker.command(&["CLIENT", "KILL", &address]),
                Reply::Simple("OK".to_owned())
            );
            assert!(is_closed(&mut transaction));
            assert_eq!(asker.command(&["EXISTS", "killed"]), Reply::Integer(0));

            let mut by_address = Client::connect(port);
            let address = info(&mut by_address)["addr"].clone();
            let kill = [
                "CLIENT", "KILL", "ADDR", &address, "USER", "default", "SKIPME", "no",
            ];
            assert_eq!(asker.command(&kill), Reply::Integer(1));
            assert!(is_closed(&mut by_address));

            for bystander in &mut bystanders {
                assert_eq!(bystander.command(&["GET", "k"]), Reply::Bulk(b"1".to_vec()));
            }
            // An own connection for each of the three that were killed with theirs, and no shared link anew.
            assert!(connects() - before <= 3.0, "{} connections", connects() - before);

            // Everybody else by default.
            assert_eq!(
                asker.command(&["CLIENT", "KILL", "LADDR", &format!("127.0.0.1:{port}")]),
                Reply::Integer(4)
            );
            assert!(bystanders.iter_mut().all(is_closed));
            // Itself too: the reply comes first, and what stands behind it is not run.
            let me = id(&mut asker);
            let kill = format!("CLIENT KILL ID {me} SKIPME no\r\nSET behind 1\r\n");
            asker.send_raw(kill.as_bytes());
            assert_eq!(asker.read_reply(), Reply::Integer(1));
            assert_eq!(asker.read_to_close().expect("it is closed"), b"");
            let mut last = Client::connect(port);
            assert_eq!(last.command(&["EXISTS", "behind"]), Reply::Integer(0));
        }
    }
}

#[test]
fn unblock_ends_a_blocked_command_on_whatever_worker() {
    for flavor in Flavor::ALL {
        for workers in WORKERS {
            let (group, ambassador) = start(flavor, workers);
            let mut asker = Client::connect(ambassador.port());
            let error = Reply::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned());
            // Several clients, so that with several workers some are not the asker's.
            for words in [
                &["BLPOP", "nothing", "0"][..],
                &["XREAD", "BLOCK", "0", "STREAMS", "nothing", "0"],
                &["BZPOPMIN", "nothing", "0"],
            ] {
                let mut client = Client::connect(ambassador.port());
                let client_id = id(&mut client);
                assert_eq!(
                    asker.command(&["CLIENT", "UNBLOCK", &client_id]),
                    Reply::Integer(0)
                );
                for (reason, expected) in [
                    (&[][..], &Reply::Null),
                    (&["TIMEOUT"], &Reply::Null),
                    (&["ERROR"], &error),
                ] {
                    block(&group, &mut client, words);
                    let unblock = [&["CLIENT", "UNBLOCK", &client_id], reason].concat();
                    assert_eq!(asker.command(&unblock), Reply::Integer(1), "{words:?} {reason:?}");
                    assert_eq!(client.read_reply(), *expected, "{words:?} {reason:?}");
                }
                assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".to_owned()));
                assert_eq!(
                    asker.command(&["CLIENT", "UNBLOCK", &client_id]),
                    Reply::Integer(0)
                );
            }
        }
    }
}

#[test]
fn users_are_told_apart_and_may_do_what_the_server_lets_them() {
    for flavor in Flavor::ALL {
        for workers in WORKERS {
            let (group, ambassador) = start(flavor, workers);
            for node in group.nodes() {
                node.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@admin"]);
            }
            let mut asker = Client::connect(ambassador.port());
            let mut app = Client::connect(ambassador.port());
            app.command(&["AUTH", "app", "pw"]);
            assert_eq!(info(&mut app)["user"], "app");
            for words in [
                &["CLIENT", "LIST"][..],
                &["CLIENT", "KILL", "TYPE", "normal"],
                &["CLIENT", "KILL", "127.0.0.1:1"],
                &["CLIENT", "UNBLOCK", "1"],
            ] {
                let mut plain = Client::connect(group.master.port());
                plain.command(&["AUTH", "app", "pw"]);
                let expected = plain.command(words);
                assert!(expected.is_error(), "{words:?}: {expected:?}");
                assert_eq!(app.command(words), expected, "{words:?}");
            }
            assert_eq!(
                asker.command(&["CLIENT", "KILL", "USER", "app"]),
                Reply::Integer(1)
            );
            assert!(is_closed(&mut app));
            assert_eq!(
                asker.command(&["CLIENT", "KILL", "USER", "app"]),
                Reply::Integer(0)
            );
            // Behind an answer that is not shown everything goes on as well.
            asker.send_raw(b"CLIENT REPLY SKIP\r\nCLIENT LIST\r\nPING\r\n");
            assert_eq!(asker.read_reply(), Reply::Simple("PONG".to_owned()));
        }
    }
}

#[test]
fn pause_holds_writes_until_unpause() {
    for flavor in Flavor::ALL {
        let (_group, ambassador) = start(flavor, "3");
        let mut asker = Client::connect(ambassador.port());
        let mut writer = Client::connect(ambassador.port());
        writer.command(&["SET", "k", "0"]);
        let ok = Reply::Simple("OK".to_owned());
        assert_eq!(asker.command(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok);
        writer.send(&["SET", "k", "1"]);
        assert!(writer.is_silent(Duration::from_millis(200)));
        let mut unpauser = Client::connect(ambassador.port());
        assert_eq!(unpauser.command(&["CLIENT", "UNPAUSE"]), ok);
        assert_eq!(writer.read_reply(), ok);
    }
}
