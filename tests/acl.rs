//! Clients that log in as users of their own: what each may do is the servers' to say, with a plain server's bytes.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, Server, same};

/// Users `app` (its own keys and channels, no scripts) and `reader` (reads only), on every node.
const USERS: [&[&str]; 2] = [
    &[
        "ACL",
        "SETUSER",
        "app",
        "reset",
        "on",
        ">secret",
        "~app:*",
        "&app:*",
        "+@all",
        "-@scripting",
        "-flushall",
    ],
    &[
        "ACL", "SETUSER", "reader", "reset", "on", ">read", "~*", "+@read", "+ping", "+select",
    ],
];

fn each(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 2);
        for node in group.nodes().chain([&plain]) {
            for user in USERS {
                assert_eq!(node.command(user), Reply::ok());
            }
        }
        // One worker: its links of a user are there for the next client that says it is that user.
        let ambassador = Ambassador::over_with(&group, &["--workers", "1"]);
        story(&plain, &group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

const STEPS: &[&[&str]] = &[
    &["ACL", "WHOAMI"],
    &["AUTH"],
    &["AUTH", "a", "b", "c"],
    &["AUTH", "app", "wrong"],
    &["AUTH", "nobody", "secret"],
    &["ACL", "WHOAMI"],
    &["AUTH", "app", "secret"],
    &["ACL", "WHOAMI"],
    &["SET", "app:k", "1"],
    &["SET", "other", "1"],
    &["GET", "other"],
    &["MGET", "app:k", "other"],
    &["FLUSHALL"],
    &["EVAL", "return 1", "0"],
    &["PUBLISH", "app:ch", "x"],
    &["PUBLISH", "other", "x"],
    // A wrong password leaves the connection as who it was.
    &["AUTH", "reader", "wrong"],
    &["ACL", "WHOAMI"],
    &["MULTI"],
    &["SET", "app:k", "2"],
    &["SET", "other", "2"],
    &["EXEC"],
    &["MULTI"],
    &["INCR", "app:n"],
    &["EXEC"],
    &["BLPOP", "app:none", "0.01"],
    &["BLPOP", "none", "0.01"],
    &["SELECT", "1"],
    &["ACL", "WHOAMI"],
    &["SELECT", "0"],
    &["AUTH", "reader", "read"],
    &["SET", "app:k", "3"],
    &["MULTI"],
    &["ACL", "WHOAMI"],
    &["SUBSCRIBE", "app:ch"],
    &["PING"],
    &["EXISTS", "none"],
    &["NOSUCHCOMMAND"],
];

#[test]
fn users_may_what_the_server_lets_them() {
    each(|plain, _, ambassador| {
        for hello in [&["HELLO", "2"][..], &["HELLO", "3"]] {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            direct.command(hello);
            client.command(hello);
            for words in STEPS {
                same(&mut direct, &mut client, words);
            }
        }
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        same(&mut direct, &mut client, &["HELLO", "3", "AUTH", "app", "wrong"]);
        same(&mut direct, &mut client, &["HELLO", "3", "AUTH", "app"]);
        same(&mut direct, &mut client, &["PING"]);
        let hello = client.command(&["HELLO", "3", "AUTH", "app", "secret", "SETNAME", "me"]);
        assert_eq!(hello.field("proto"), Some(Reply::Integer(3)), "{hello:?}");
        direct.command(&["HELLO", "3", "AUTH", "app", "secret"]);
        for words in [
            &["ACL", "WHOAMI"][..],
            &["GET", "other"],
            &["PSUBSCRIBE", "*"],
            &["SUBSCRIBE", "other"],
            &["SUBSCRIBE", "app:ch"],
            &["ACL", "WHOAMI"],
            &["GET", "other"],
            &["SUBSCRIBE", "other"],
        ] {
            same(&mut direct, &mut client, words);
        }
    });
}

#[test]
fn what_a_user_writes_it_reads_and_others_stay_who_they_are() {
    each(|_, group, ambassador| {
        let port = ambassador.port();
        let clients: Vec<_> = (0..8)
            .map(|number| {
                thread::spawn(move || {
                    let (name, password) =
                        [("app", "secret"), ("reader", "read"), ("default", "")][number % 3];
                    let mut client = Client::connect(port);
                    if !password.is_empty() {
                        assert_eq!(client.command(&["AUTH", name, password]), Reply::ok());
                    }
                    for round in 0..30 {
                        if name == "reader" {
                            assert!(
                                client
                                    .command(&["SET", "app:x", "1"])
                                    .error()
                                    .starts_with("NOPERM")
                            );
                            assert!(!client.command(&["GET", "app:0"]).is_error());
                            continue;
                        }
                        let key = format!("app:{number}");
                        let replies = client.pipeline(&[
                            &["ACL", "WHOAMI"],
                            &["SET", &key, &round.to_string()],
                            &["GET", &key],
                        ]);
                        assert_eq!(replies[0].text(), name);
                        assert_eq!(replies[2].text(), round.to_string());
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("a client");
        }
        // Users' reads are the replicas' too.
        group.wait_in_sync();
        let mut client = ambassador.client();
        client.command(&["AUTH", "reader", "read"]);
        group.reset_stats();
        for _ in 0..40 {
            client.command(&["GET", "app:0"]);
        }
        assert_eq!(group.replica_calls("get").iter().sum::<u64>(), 40);
    });
}

#[test]
fn a_user_that_is_deleted_can_do_nothing_more() {
    each(|plain, group, ambassador| {
        let mut client = ambassador.client();
        assert_eq!(client.command(&["AUTH", "app", "secret"]), Reply::ok());
        assert_eq!(client.command(&["SET", "app:k", "1"]), Reply::ok());
        for node in group.nodes().chain([plain]) {
            node.command(&["ACL", "DELUSER", "app"]);
        }
        // The server closes what was logged in as it; whatever the client is told, it does not do anything.
        let told = client.try_command(&["SET", "app:k", "2"]);
        assert!(told.as_ref().map_or(true, Reply::is_error), "{told:?}");
        assert_eq!(group.master.command(&["GET", "app:k"]).text(), "1");
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        same(&mut direct, &mut client, &["AUTH", "app", "secret"]);
    });
}

#[test]
fn after_a_password_was_changed_only_the_new_one_is_taken() {
    each(|plain, group, ambassador| {
        let mut early = ambassador.client();
        assert_eq!(early.command(&["AUTH", "app", "secret"]), Reply::ok());
        assert_eq!(early.command(&["SET", "app:k", "1"]), Reply::ok());
        for node in group.nodes().chain([plain]) {
            node.command(&["ACL", "SETUSER", "app", "resetpass", ">changed"]);
        }
        for hello in [false, true] {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            if hello {
                same(&mut direct, &mut client, &["HELLO", "2", "AUTH", "app", "secret"]);
            }
            same(&mut direct, &mut client, &["AUTH", "app", "secret"]);
            same(&mut direct, &mut client, &["ACL", "WHOAMI"]);
            same(&mut direct, &mut client, &["AUTH", "app", "changed"]);
            same(&mut direct, &mut client, &["SET", "app:k", "2"]);
            same(&mut direct, &mut client, &["ACL", "WHOAMI"]);
        }
        // Who is logged in stays so, as with a plain server.
        assert_eq!(early.command(&["SET", "app:k", "3"]), Reply::ok());
        assert_eq!(early.command(&["ACL", "WHOAMI"]).text(), "app");
    });
}

/// Redis from 7.2 on, and Valkey, leave out the reply to a refused login behind replies that they have not sent yet.
#[test]
fn logins_of_many_clients_at_once_are_each_answered_with_their_own_verdict() {
    each(|_, _, ambassador| {
        for round in 0..10 {
            let mut clients: Vec<Client> = (0..24).map(|_| ambassador.client()).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                match number % 3 {
                    0 => client.send(&["AUTH", "app", "secret"]),
                    1 => client.send(&["AUTH", "app", "wrong"]),
                    _ => client.send(&["HELLO", "3", "AUTH", "reader", "wrong"]),
                }
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let reply = client.read_reply();
                if number % 3 == 0 {
                    assert_eq!(reply, Reply::ok(), "{round}: client {number}");
                } else {
                    assert!(reply.error().starts_with("WRONGPASS"), "{round}: client {number}");
                }
                let user = ["app", "default", "default"][number % 3];
                assert_eq!(client.command(&["ACL", "WHOAMI"]).text(), user);
            }
        }
    });
}

/// The same behind what the ambassador itself says on a connection that becomes the client's own.
#[test]
fn a_refused_login_on_a_connection_of_its_own_is_answered() {
    each(|plain, _, ambassador| {
        for login in [
            &["AUTH", "app", "wrong"][..],
            &["HELLO", "3", "AUTH", "app", "wrong"],
        ] {
            for first in [&["WATCH", "w"][..], &["SUBSCRIBE", "app:ch"]] {
                let (mut direct, mut client) = (plain.client(), ambassador.client());
                for client in [&mut direct, &mut client] {
                    client.hello(3);
                }
                for words in [
                    &["CLIENT", "SETNAME", "me"][..],
                    first,
                    login,
                    &["GET", "app:k"],
                    login,
                    &["PING"],
                ] {
                    same(&mut direct, &mut client, words);
                }
            }
        }
    });
}

#[test]
fn a_user_that_only_the_master_knows_reads_there_and_hears_at_once_that_it_is_gone() {
    each(|_, _, ambassador| {
        let mut admin = ambassador.client();
        // Twice: that the master once refused a login says nothing about a user who is made again.
        for _ in 0..2 {
            let made = admin.command(&["ACL", "SETUSER", "late", "on", ">late", "~*", "+@all"]);
            assert_eq!(made, Reply::ok());
            let mut late = ambassador.client();
            assert_eq!(late.command(&["AUTH", "late", "late"]), Reply::ok());
            assert_eq!(late.command(&["SET", "k", "v"]), Reply::ok());
            let begun = Instant::now();
            assert_eq!(late.command(&["GET", "k"]), Reply::bulk("v"));
            admin.command(&["ACL", "DELUSER", "late"]);
            // Links fall with the user; what comes next has to log in anew.
            for words in [&["GET", "k"][..], &["SET", "k", "w"], &["GET", "k"]] {
                let reply = late.command(words);
                assert!(reply.is_error(), "{words:?} {reply:?}");
            }
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "it was held: {:?}",
                begun.elapsed()
            );
        }
    });
}
