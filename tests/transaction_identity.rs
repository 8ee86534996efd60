//! Who a client is inside a transaction: its id, name and rights, although the connection that the transaction runs on
//! is the ambassador's.

mod support;

use support::{Ambassador, Client, Flavor, Group, Reply, Server};

fn each(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        for node in group.nodes().chain([&plain]) {
            // May begin no transaction.
            let user = [
                "ACL", "SETUSER", "alone", "reset", "on", ">pw", "~*", "+@all", "-multi", "-exec",
            ];
            assert_eq!(node.command(&user), Reply::ok());
            let user = [
                "ACL",
                "SETUSER",
                "numberless",
                "reset",
                "on",
                ">pw",
                "~*",
                "+@all",
                "-client|id",
            ];
            assert_eq!(node.command(&user), Reply::ok());
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

/// Commands step by step or in one write.
fn told(client: &mut Client, at_once: bool, commands: &[&[&str]]) -> Vec<Reply> {
    if at_once {
        client.pipeline(commands)
    } else {
        commands.iter().map(|words| client.command(words)).collect()
    }
}

fn field(reply: &Reply, name: &str) -> String {
    let text = match reply {
        Reply::Bulk(bytes) | Reply::Verbatim(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("not a text: {other:?}"),
    };
    let found = text
        .trim_end()
        .split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn what_a_client_asks_about_itself_is_its_own_and_costs_no_connection_for_good() {
    each(|_, group, ambassador| {
        for version in [2, 3] {
            for at_once in [true, false] {
                let mut client = ambassador.client();
                client.hello(version);
                let id = client.command(&["CLIENT", "ID"]);
                let replies = told(
                    &mut client,
                    at_once,
                    &[
                        &["MULTI"],
                        &["CLIENT", "GETNAME"],
                        &["EXEC"],
                        &["CLIENT", "SETNAME", "me"],
                        &["MULTI"],
                        &["SET", "k", "1"],
                        &["CLIENT", "ID"],
                        &["SCAN", "0"],
                        &["client", "getname"],
                        &["CLIENT", "GETREDIR"],
                        &["CLIENT", "INFO"],
                        &["CLIENT", "ID"],
                        &["EXEC"],
                        &["MULTI"],
                        &["CLIENT", "ID"],
                        &["DISCARD"],
                        &["MULTI"],
                        &["GET", "k"],
                        &["EXEC"],
                    ],
                );
                assert_eq!(replies[2].items(), [Reply::Null]);
                let answers = replies[12].items();
                assert_eq!(answers[1], id);
                assert_eq!(answers[3], Reply::bulk("me"));
                assert_eq!(answers[4], Reply::Integer(-1));
                assert_eq!(field(&answers[5], "id"), id.integer().to_string());
                assert_eq!(field(&answers[5], "name"), "me");
                assert_eq!(answers[6], id);
                assert_eq!(replies[18].items(), [Reply::bulk("1")]);
                // It is not bound to the master from now on.
                group.wait_in_sync();
                group.reset_stats();
                client.command(&["GET", "k"]);
                assert_eq!(group.replica_calls("get"), [1]);
            }
        }
    });
}

#[test]
fn a_transaction_that_was_refused_has_not_begun() {
    each(|plain, group, ambassador| {
        for at_once in [true, false] {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            for client in [&mut direct, &mut client] {
                assert_eq!(client.command(&["AUTH", "alone", "pw"]), Reply::ok());
            }
            let line: &[&[&str]] = &[
                &["MULTI"],
                &["SET", "k", "1"],
                &["CLIENT", "GETNAME"],
                &["EXEC"],
                &["GET", "k"],
            ];
            assert_eq!(told(&mut client, at_once, line), told(&mut direct, at_once, line));
            let id = client.command(&["CLIENT", "ID"]);
            assert_eq!(
                told(&mut client, at_once, &[&["MULTI"], &["CLIENT", "ID"]])[1],
                id
            );
            group.wait_in_sync();
            group.reset_stats();
            client.command(&["GET", "k"]);
            assert_eq!(group.replica_calls("get"), [1], "at once: {at_once}");
            // An iteration goes on where it was, and comes to its end.
            for number in 0..40 {
                client.command(&["SET", &format!("k{number}"), "1"]);
            }
            let mut cursor = "0".to_owned();
            for _ in 0..40 {
                let replies = told(&mut client, at_once, &[&["MULTI"], &["SCAN", &cursor]]);
                cursor = replies[1].items()[0].text();
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!(cursor, "0");
        }
    });
}

#[test]
fn a_user_without_the_right_to_its_number_does_not_get_it_in_a_transaction() {
    each(|plain, _, ambassador| {
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        let line: &[&[&str]] = &[
            &["AUTH", "numberless", "pw"],
            &["CLIENT", "ID"],
            &["MULTI"],
            &["CLIENT", "GETNAME"],
            &["CLIENT", "ID"],
            &["EXEC"],
            &["MULTI"],
            &["CLIENT", "GETNAME"],
            &["EXEC"],
        ];
        for at_once in [true, false] {
            assert_eq!(told(&mut client, at_once, line), told(&mut direct, at_once, line));
        }
    });
}

#[test]
fn a_subscription_made_in_a_transaction_is_a_target_for_invalidations() {
    each(|_, _, ambassador| {
        let mut writer = ambassador.client();
        for round in 0..3 {
            let (mut listener, mut client) = (ambassador.client(), ambassador.client());
            let id = listener.command(&["CLIENT", "ID"]).integer().to_string();
            listener.send(&["MULTI"]);
            listener.send(&["SUBSCRIBE", "__redis__:invalidate"]);
            listener.send(&["EXEC"]);
            for _ in 0..3 {
                listener.read_reply();
            }
            assert_eq!(
                client.command(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]),
                Reply::ok()
            );
            let key = format!("key:{round}");
            client.command(&["GET", &key]);
            writer.command(&["SET", &key, "1"]);
            assert_eq!(
                listener.read_reply().items()[2],
                Reply::Array(vec![Reply::bulk(&key)])
            );
        }
    });
}

/// A client in step: each reply to its own command, beside a subscription.
#[test]
fn beside_a_subscription_rights_count_and_every_reply_is_the_clients_own() {
    each(|plain, group, ambassador| {
        for node in group.nodes().chain([plain]) {
            let user = [
                "ACL", "SETUSER", "mute", "reset", "on", ">pw", "~*", "&*", "+@all", "-ping",
            ];
            node.command(&user);
            node.command(&["ACL", "SETUSER", "numberless", "&*"]);
            node.command(&["ACL", "SETUSER", "alone", "&*"]);
        }
        for user in ["mute", "numberless", "alone"] {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            for client in [&mut direct, &mut client] {
                client.hello(3);
                assert_eq!(client.command(&["AUTH", user, "pw"]), Reply::ok());
            }
            let id = client.command(&["CLIENT", "ID"]);
            direct.command(&["SUBSCRIBE", "ch"]);
            client.command(&["SUBSCRIBE", "ch"]);
            for round in 0..2 {
                let theirs = direct.command(&["CLIENT", "ID"]);
                let ours = client.command(&["CLIENT", "ID"]);
                assert_eq!(
                    ours,
                    if theirs.is_error() { theirs } else { id.clone() },
                    "{user}"
                );
                let hello = client.command(&["HELLO", "3"]);
                assert_eq!(
                    hello.field("id"),
                    Some(Reply::Integer(client_id(ambassador, &hello)))
                );
                let step = client.command(&["SCAN", "0"]);
                assert_eq!(step.items().len(), 2, "{user} {round}");
                for words in [
                    &["PING"][..],
                    &["MULTI"],
                    &["ECHO", "x"],
                    &["EXEC"],
                    &["ECHO", "y"],
                ] {
                    assert_eq!(client.command(words), direct.command(words), "{user} {words:?}");
                }
            }
        }
    });
}

/// The number that HELLO tells is that of a client of the ambassador.
fn client_id(ambassador: &Ambassador, hello: &Reply) -> i64 {
    let id = hello.field("id").map_or(0, |id| id.integer());
    let list = ambassador.client().command(&["CLIENT", "LIST"]);
    let Reply::Bulk(lines) = list else {
        panic!("not a list: {list:?}");
    };
    let text = String::from_utf8_lossy(&lines).into_owned();
    assert!(text.contains(&format!("id={id} ")), "{id} is nobody's:\n{text}");
    id
}

#[test]
fn a_subscriber_of_the_old_protocol_is_itself_again_when_it_has_unsubscribed() {
    each(|plain, _, ambassador| {
        let (mut direct, mut client) = (plain.client(), ambassador.client());
        let id = client.command(&["CLIENT", "ID"]);
        for words in [&["CLIENT", "SETNAME", "me"][..], &["MULTI"], &["SUBSCRIBE", "ch"]] {
            assert_eq!(client.command(words), direct.command(words));
        }
        // It is EXEC's array that the subscription stands in.
        assert_eq!(client.command(&["EXEC"]), direct.command(&["EXEC"]));
        for words in [
            &["CLIENT", "GETNAME"][..],
            &["MULTI"],
            &["GET", "k"],
            &["UNSUBSCRIBE"],
            &["CLIENT", "GETNAME"],
            &["MULTI"],
            &["SET", "k", "1"],
            &["CLIENT", "GETNAME"],
            &["EXEC"],
        ] {
            assert_eq!(client.command(words), direct.command(words), "{words:?}");
        }
        assert_eq!(client.command(&["CLIENT", "ID"]), id);
        for words in [&["SUBSCRIBE", "ch"][..], &["MULTI"], &["UNSUBSCRIBE"]] {
            assert_eq!(client.command(words), direct.command(words), "{words:?}");
        }
        assert_eq!(client.command(&["CLIENT", "ID"]), id);
        assert_eq!(client.command(&["CLIENT", "GETNAME"]), Reply::bulk("me"));
    });
}
