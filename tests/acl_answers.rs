//! Commands that the ambassador answers itself: a client that logged in as a user of its own is told what that user may
//! not run, with a plain server's bytes, and one that did not pays nothing for that.

mod support;

use support::{Ambassador, Flavor, Group, Reply, Server, same, wait_until};

/// Users on every node, each with what it may: nothing, nearly everything but these commands, and some of them.
const USERS: [&[&str]; 4] = [
    &["ACL", "SETUSER", "stranger", "reset", "on", ">pw", "~*"],
    &[
        "ACL", "SETUSER", "most", "reset", "on", ">pw", "~*", "&*", "+@all", "-client", "-select",
    ],
    &[
        "ACL",
        "SETUSER",
        "some",
        "reset",
        "on",
        ">pw",
        "~*",
        "+@read",
        "+set",
        "+watch",
        "+multi",
        "+exec",
        "+client|id",
        "+client|setname",
        "+client|reply",
        "+select|0",
    ],
    &[
        "ACL",
        "SETUSER",
        "other",
        "reset",
        "on",
        ">pw",
        "~*",
        "+@read",
        "+set",
        "+watch",
        "+multi",
        "+exec",
        "+client",
        "-client|setname",
        "-client|reply",
        "+select|1",
        "+select|99",
    ],
];

/// Everything that is answered without a node, right and wrong.
const STEPS: &[&[&str]] = &[
    &["CLIENT", "GETNAME"],
    &["CLIENT", "SETNAME", "me"],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "SETNAME", "with blank"],
    &["CLIENT", "SETNAME"],
    &["CLIENT", "SETNAME", "a", "b"],
    &["CLIENT", "SETINFO", "LIB-NAME", "lib"],
    &["client", "setinfo", "lib-ver", "1"],
    &["CLIENT", "SETINFO", "NOSUCH", "1"],
    &["CLIENT", "NO-EVICT", "on"],
    &["CLIENT", "No-Evict", "OFF"],
    &["CLIENT", "NO-EVICT", "maybe"],
    &["CLIENT", "NO-TOUCH", "on"],
    &["CLIENT", "REPLY", "ON"],
    &["CLIENT", "REPLY", "MAYBE"],
    &["CLIENT", "CAPA", "redirect"],
    &["CLIENT", "TRACKINGINFO"],
    &["CLIENT", "GETREDIR"],
    &["CLIENT", "CACHING", "yes"],
    &["CLIENT", "UNBLOCK", "0"],
    &["CLIENT", "KILL", "ID", "0"],
    &["CLIENT", "NOSUCH"],
    &["CLIENT"],
    &["SELECT", "0"],
    &["SELECT", "1"],
    &["GET", "k"],
    &["SELECT", "1"],
    &["SELECT", "99"],
    &["SELECT", "x"],
    &["SELECT"],
    &["GET", "k"],
    &["SELECT", "0"],
    &["GET", "k"],
    &["WATCH", "k"],
    &["CLIENT", "SETNAME", "you"],
    &["CLIENT", "GETNAME"],
    &["MULTI"],
    &["GET", "k"],
    &["EXEC"],
    // No rule is held against these.
    &["AUTH", "nobody", "x"],
    &["RESET"],
    &["CLIENT", "GETNAME"],
];

fn each(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        for node in group.nodes().chain([&plain]) {
            for user in USERS {
                assert_eq!(node.command(user), Reply::ok());
            }
        }
        for server in [&plain, &group.master] {
            let mut client = server.client();
            client.command(&["SET", "k", "in 0"]);
            client.command(&["SELECT", "1"]);
            client.command(&["SET", "k", "in 1"]);
        }
        group.wait_in_sync();
        let ambassador = Ambassador::over_with(&group, &["--workers", "1"]);
        story(&plain, &group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

fn user(of: &[&'static str]) -> &'static str {
    of[2]
}

#[test]
fn what_a_user_may_not_run_is_refused_although_no_node_runs_it() {
    each(|plain, _, ambassador| {
        // A user with every right: errors are the server's own all the same.
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        for words in STEPS {
            same(&mut direct, &mut client, words);
        }
        for version in ["2", "3"] {
            for name in USERS.map(user) {
                let (mut direct, mut client) = (plain.client(), ambassador.client());
                same(&mut direct, &mut client, &["AUTH", name, "pw"]);
                for words in STEPS {
                    same(&mut direct, &mut client, words);
                }
                // Their replies are about the connection: who is refused is.
                for about in ["ID", "INFO", "LIST"] {
                    let (mut direct, mut client) = (plain.client(), ambassador.client());
                    direct.command(&["HELLO", version, "AUTH", name, "pw"]);
                    client.command(&["HELLO", version, "AUTH", name, "pw"]);
                    let words = ["CLIENT", about];
                    if direct.command(&words).is_error() {
                        same(&mut direct, &mut client, &words);
                    } else {
                        assert!(!client.command(&words).is_error(), "{name} {words:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn the_order_of_replies_and_silence_are_kept() {
    each(|plain, _, ambassador| {
        let line: &[&[&str]] = &[
            &["GET", "k"],
            &["CLIENT", "GETNAME"],
            &["GET", "k"],
            &["CLIENT", "SETNAME", "me"],
            &["CLIENT", "GETNAME"],
            &["SELECT", "1"],
            &["GET", "k"],
            &["CLIENT", "REPLY", "SKIP"],
            &["CLIENT", "GETNAME"],
            &["ECHO", "one"],
            &["CLIENT", "REPLY", "OFF"],
            &["SELECT", "0"],
            &["CLIENT", "NO-EVICT", "on"],
            &["GET", "k"],
            &["CLIENT", "REPLY", "ON"],
            &["GET", "k"],
            &["QUIT"],
        ];
        for name in USERS.map(user) {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            same(&mut direct, &mut client, &["AUTH", name, "pw"]);
            let told = [&mut direct, &mut client].map(|client| {
                for words in line {
                    client.send(words);
                }
                let bytes = client.read_to_close().expect("QUIT closes");
                bytes.escape_ascii().to_string()
            });
            assert_eq!(told[1], told[0], "{name}");
        }
    });
}

/// A rule that is changed holds from then on, as with a plain server, and who did not log in asks nobody.
#[test]
fn rules_hold_as_they_are_now_and_only_for_users_of_their_own() {
    each(|plain, group, ambassador| {
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        for words in [
            &["AUTH", "some", "pw"][..],
            &["SELECT", "0"],
            &["CLIENT", "SETNAME", "x"],
        ] {
            same(&mut direct, &mut client, words);
        }
        for node in group.nodes().chain([plain]) {
            node.command(&["ACL", "SETUSER", "some", "-client", "-select", "+select|1"]);
        }
        for words in [
            &["SELECT", "0"][..],
            &["SELECT", "1"],
            &["SELECT", "0"],
            &["GET", "k"],
            &["CLIENT", "SETNAME", "x"],
        ] {
            same(&mut direct, &mut client, words);
        }
        group.reset_stats();
        let mut own = ambassador.client();
        for words in [
            &["CLIENT", "SETNAME", "x"][..],
            &["CLIENT", "ID"],
            &["CLIENT", "NO-EVICT", "on"],
            &["SELECT", "0"],
        ] {
            assert!(!own.command(words).is_error());
        }
        for command in ["client|setname", "client|id", "client|no-evict", "select"] {
            assert_eq!(group.master.calls(command), 0, "{command}");
        }
    });
}

#[test]
fn a_master_that_goes_away_costs_no_client() {
    for flavor in Flavor::ALL {
        let mut group = Group::start(flavor, 1);
        for node in group.nodes() {
            node.command(USERS[2]);
        }
        let ambassador = Ambassador::over_with(&group, &["--workers", "1"]);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["AUTH", "some", "pw"]), Reply::ok());
        group.master.kill();
        // Whichever answer it is, it is one, and the connection stays.
        for _ in 0..3 {
            client.command(&["CLIENT", "SETNAME", "me"]);
        }
        group.master.restart();
        group.master.command(USERS[2]);
        wait_until(|| client.command(&["CLIENT", "GETNAME"]).is_error());
        assert!(!client.command(&["CLIENT", "ID"]).is_error(), "{flavor}");
    }
}
