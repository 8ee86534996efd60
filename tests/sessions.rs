//! What a connection remembers of its client, through the ambassador: database, user, RESP version, names.

mod support;

use support::{Ambassador, Client, Flavor, Group, Reply, Server};

/// The next reply on this connection is to this command.
#[track_caller]
fn in_step(client: &mut Client) {
    assert_eq!(client.command(&["ECHO", "in step"]), Reply::bulk("in step"));
}

fn each(story: impl Fn(&Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        story(&group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{}",
            flavor.name()
        );
    }
}

#[test]
fn a_clients_database_and_version_are_its_own() {
    each(|group, ambassador| {
        let (mut one, mut other) = (ambassador.client(), ambassador.client());
        assert_eq!(one.command(&["SELECT", "3"]), Reply::ok());
        one.command(&["SET", "where", "three"]);
        other.command(&["SET", "where", "zero"]);
        assert_eq!(
            group
                .master
                .client()
                .pipeline(&[&["SELECT", "3"], &["GET", "where"]])[1]
                .text(),
            "three"
        );
        group.wait_in_sync();
        assert_eq!(one.command(&["GET", "where"]).text(), "three");
        assert_eq!(other.command(&["GET", "where"]).text(), "zero");
        assert_eq!(
            one.command(&["SELECT", "9999"]).error(),
            "ERR DB index is out of range"
        );
        assert_eq!(one.command(&["GET", "where"]).text(), "three");
        let replies = one.pipeline(&[
            &["SELECT", "4"],
            &["SET", "x", "4"],
            &["SELECT", "0"],
            &["GET", "where"],
            &["SELECT", "4"],
        ]);
        assert_eq!(replies[3].text(), "zero");
        one.command(&["HSET", "h", "f", "v"]);
        group.wait_in_sync();
        one.send(&["HGETALL", "h"]);
        one.read_reply();
        assert_eq!(one.last_bytes()[0], b'*');
        assert_eq!(
            one.hello(3).field("role").map(|role| role.text()).as_deref(),
            Some("master")
        );
        one.send(&["HGETALL", "h"]);
        one.read_reply();
        assert_eq!(one.last_bytes()[0], b'%');
        assert_eq!(other.command(&["GET", "where"]).text(), "zero");
        in_step(&mut one);
    });
}

#[test]
fn users_are_the_servers_and_so_are_its_refusals() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        // Only the master knows this user: its reads must not fail for that.
        let rule = [
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">secret",
            "~app:*",
            "+@all",
            "-flushall",
        ];
        group.master.command(&rule);
        group.master.command(&["SET", "app:a", "1"]);
        let ambassador = Ambassador::over(&group);
        let (mut direct, mut client) = (group.master.client(), ambassador.client());
        for command in [
            &["AUTH", "app", "wrong"][..],
            &["AUTH", "nobody-set-one"],
            &["HELLO", "3", "AUTH", "app", "wrong"],
            &["AUTH", "app", "secret"],
            &["GET", "app:a"],
            &["GET", "other"],
            &["FLUSHALL"],
            &["ACL", "WHOAMI"],
        ] {
            assert_eq!(
                client.command(command),
                direct.command(command),
                "{} {command:?}",
                flavor.name()
            );
        }
        in_step(&mut client);
        assert_eq!(ambassador.client().command(&["ACL", "WHOAMI"]).text(), "default");
    }
}

#[test]
fn a_server_with_a_password_is_reached_with_the_ambassadors_own() {
    let server = Server::start(Flavor::Redis7, &[]);
    server.command(&["CONFIG", "SET", "requirepass", "secret"]);
    let config = "[upstream]\npassword = \"secret\"\n";
    let ambassador = Ambassador::with_config(config, &["--master", &server.address()]);
    let mut client = ambassador.client();
    assert_eq!(client.command(&["SET", "a", "1"]), Reply::ok());
    assert_eq!(client.command(&["GET", "a"]).text(), "1");
    client.hello(3);
    assert_eq!(client.command(&["GET", "a"]).text(), "1");
}

#[test]
fn client_reply_names_and_quit() {
    each(|_, ambassador| {
        let mut client = ambassador.client();
        client.send_raw(b"CLIENT REPLY OFF\r\nSET a 1\r\nGET a\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nINCR n\r\nECHO x\r\n");
        assert_eq!(client.read_reply(), Reply::ok());
        assert_eq!(client.read_reply(), Reply::bulk("x"));
        assert_eq!(client.command(&["CLIENT", "SETNAME", "me"]), Reply::ok());
        assert_eq!(client.command(&["CLIENT", "GETNAME"]), Reply::bulk("me"));
        assert!(client.command(&["CLIENT", "SETNAME", "a b"]).is_error());
        let ids: Vec<i64> = (0..2)
            .map(|_| ambassador.client().command(&["CLIENT", "ID"]).integer())
            .collect();
        assert!(ids[0] != ids[1]);
        client.send_raw(b"INCR n\r\nQUIT\r\nINCR n\r\n");
        let rest = client.read_to_close().expect("closed");
        assert_eq!(rest, b":2\r\n+OK\r\n");
    });
}

#[test]
fn every_kind_of_command_in_one_write() {
    each(|_, ambassador| {
        for version in ["2", "3"] {
            let mut client = ambassador.client();
            let hello = format!("HELLO {version}\r\n");
            client.send_raw(hello.as_bytes());
            client.read_reply();
            client.send_raw(
                b"SELECT 2\r\nSET a 1\r\nMULTI\r\nGET a\r\nSELECT 5\r\nEXEC\r\nRESET\r\nBLPOP none 0.01\r\nGET nokey\r\nWATCH a\r\nUNWATCH\r\nSHUTDOWN NOSAVE\r\nWAIT 0 10\r\nECHO last\r\n",
            );
            let replies: Vec<Reply> = (0..14).map(|_| client.read_reply()).collect();
            let shown: Vec<String> = replies.iter().map(|reply| format!("{reply:?}")).collect();
            assert_eq!(replies[5].items()[0], Reply::bulk("1"), "{shown:?}");
            assert_eq!(replies[6].text(), "RESET", "{shown:?}");
            assert_eq!(replies[7], Reply::Null, "{shown:?}");
            assert!(replies[11].error().contains("refuses SHUTDOWN"), "{shown:?}");
            assert_eq!(replies[13], Reply::bulk("last"), "{shown:?}");
            client.send_raw(b"SUBSCRIBE ch\r\n");
            client.read_reply();
        }
    });
}

#[test]
fn a_password_that_was_changed_is_refused_and_the_new_one_taken_at_once() {
    each(|group, ambassador| {
        let plain = Server::start(group.master.flavor(), &[]);
        let set = |password: &str| {
            for server in group.nodes().chain([&plain]) {
                server.command(&[
                    "ACL", "SETUSER", "app", "reset", "on", password, "~*", "&*", "+@all",
                ]);
            }
        };
        set(">old");
        let mut first = ambassador.client();
        assert_eq!(first.command(&["AUTH", "app", "old"]), Reply::ok());
        assert_eq!(first.command(&["SET", "a", "1"]), Reply::ok());
        set(">new");
        for version in ["2", "3"] {
            let (mut ours, mut theirs) = (ambassador.client(), plain.client());
            for words in [
                &["AUTH", "app", "old"][..],
                &["HELLO", version, "AUTH", "app", "old"],
                &["AUTH", "nobody", "old"],
                &["AUTH", "app"],
                &["ACL", "WHOAMI"],
                &["AUTH", "app", "new"],
                &["ACL", "WHOAMI"],
                &["AUTH", "app", "old"],
                &["ACL", "WHOAMI"],
                &["AUTH", "app", "new"],
                &["SET", "a", "2"],
            ] {
                ours.command(words);
                theirs.command(words);
                assert_eq!(
                    String::from_utf8_lossy(ours.last_bytes()),
                    String::from_utf8_lossy(theirs.last_bytes()),
                    "{words:?}"
                );
            }
            in_step(&mut ours);
        }
    });
}
