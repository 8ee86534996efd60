//! CLIENT TRACKING through the ambassador: invalidations, redirection, and a client's id, which is one number at
//! all times although the connection that tracks has another on the master.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{Ambassador, Client, Flavor, Group, PATIENCE, Reply, Server, eventually, same};

const WORKERS: [&str; 2] = ["--workers", "3"];

fn each(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over_with(&group, &WORKERS);
        story(&plain, &group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

#[track_caller]
fn invalidated(client: &mut Client, key: &str) {
    assert_eq!(
        client.read_reply(),
        Reply::Push(vec![
            Reply::bulk("invalidate"),
            Reply::Array(vec![Reply::bulk(key)])
        ])
    );
}

fn tracker(ambassador: &Ambassador, options: &[&str]) -> Client {
    let mut client = ambassador.client();
    client.hello(3);
    let words = [&["CLIENT", "TRACKING", "ON"], options].concat();
    assert_eq!(client.command(&words), Reply::ok(), "{words:?}");
    client
}

/// Nothing was pushed before this reply.
#[track_caller]
fn in_step(client: &mut Client) {
    assert_eq!(client.command(&["ECHO", "in step"]), Reply::bulk("in step"));
}

#[test]
fn what_another_client_writes_is_invalidated() {
    each(|_, group, ambassador| {
        let mut writer = ambassador.client();
        let mut client = tracker(ambassador, &[]);
        client.command(&["MGET", "a", "b"]);
        writer.command(&["SET", "c", "1"]);
        in_step(&mut client);
        writer.command(&["SET", "a", "1"]);
        invalidated(&mut client, "a");
        // Once only, until it is read again.
        writer.command(&["SET", "a", "2"]);
        in_step(&mut client);
        group.master.command(&["SET", "b", "1"]);
        invalidated(&mut client, "b");
        assert_eq!(client.command(&["GET", "a"]).text(), "2");
        writer.command(&["FLUSHALL"]);
        assert_eq!(
            client.read_reply(),
            Reply::Push(vec![Reply::bulk("invalidate"), Reply::Null])
        );
        client.command(&["GET", "a"]);
        assert_eq!(client.command(&["CLIENT", "TRACKING", "OFF"]), Reply::ok());
        writer.command(&["SET", "a", "3"]);
        in_step(&mut client);
    });
}

#[test]
fn prefixes_and_what_a_client_opts_into_or_out_of() {
    each(|_, _, ambassador| {
        let mut writer = ambassador.client();
        let mut client = tracker(ambassador, &["BCAST", "PREFIX", "user:", "PREFIX", "redirect"]);
        writer.command(&["SET", "other", "1"]);
        writer.command(&["SET", "user:1", "1"]);
        invalidated(&mut client, "user:1");
        writer.command(&["SET", "redirected", "1"]);
        invalidated(&mut client, "redirected");

        let mut client = tracker(ambassador, &["OPTIN"]);
        client.command(&["GET", "a"]);
        assert_eq!(client.command(&["CLIENT", "CACHING", "YES"]), Reply::ok());
        client.command(&["GET", "b"]);
        writer.command(&["MSET", "a", "1", "b", "1"]);
        invalidated(&mut client, "b");
        in_step(&mut client);

        let mut client = tracker(ambassador, &["OPTOUT"]);
        client.command(&["GET", "a"]);
        assert_eq!(client.command(&["CLIENT", "CACHING", "NO"]), Reply::ok());
        client.command(&["GET", "b"]);
        writer.command(&["MSET", "b", "2", "a", "2"]);
        invalidated(&mut client, "a");
        in_step(&mut client);

        let mut client = tracker(ambassador, &["NOLOOP"]);
        client.command(&["GET", "a"]);
        client.command(&["SET", "a", "mine"]);
        in_step(&mut client);
        client.command(&["GET", "a"]);
        writer.command(&["SET", "a", "3"]);
        invalidated(&mut client, "a");
    });
}

#[test]
fn refusals_and_information_are_the_servers() {
    each(|plain, _, ambassador| {
        for version in [2, 3] {
            let (mut plain, mut client) = (plain.client(), ambassador.client());
            for words in [
                &["CLIENT", "TRACKINGINFO"][..],
                &["CLIENT", "GETREDIR"],
                &["CLIENT", "TRACKING", "OFF"],
                &["CLIENT", "CACHING", "YES"],
            ] {
                same(&mut plain, &mut client, words);
            }
            plain.hello(version);
            client.hello(version);
            for words in [
                &["CLIENT", "TRACKING"][..],
                &["CLIENT", "TRACKING", "MAYBE"],
                &["CLIENT", "TRACKING", "ON", "NOSUCH"],
                &["CLIENT", "TRACKING", "ON", "PREFIX", "a"],
                &["CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT"],
                &["CLIENT", "TRACKING", "ON", "BCAST", "OPTIN"],
                &["CLIENT", "TRACKING", "ON", "REDIRECT"],
                &["CLIENT", "TRACKING", "ON", "REDIRECT", "nobody"],
                &["CLIENT", "TRACKING", "ON", "REDIRECT", "-1"],
                &["CLIENT", "TRACKING", "ON", "REDIRECT", "0"],
                &["CLIENT", "TRACKING", "ON", "REDIRECT", "987654321"],
                &["CLIENT", "GETREDIR"],
                &["CLIENT", "TRACKING", "ON", "OPTIN"],
                &["CLIENT", "TRACKING", "ON", "BCAST"],
                &["CLIENT", "TRACKINGINFO"],
                &["CLIENT", "GETREDIR"],
                &["CLIENT", "CACHING", "NO"],
                &["CLIENT", "CACHING", "YES"],
                &["CLIENT", "TRACKINGINFO"],
                &["CLIENT", "TRACKING", "OFF"],
                &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "ab", "PREFIX", "a"],
                &["CLIENT", "TRACKINGINFO"],
                &["CLIENT", "ID", "extra"],
                &["CLIENT", "NOSUCH"],
                &["CLIENT", "GETNAME"],
                &["PING", "hello"],
            ] {
                same(&mut plain, &mut client, words);
            }
        }
    });
}

#[test]
fn a_clients_id_is_one_number_and_its_own() {
    each(|plain, _, ambassador| {
        let mut ids = BTreeSet::new();
        let mut clients = Vec::new();
        for version in [2, 3] {
            let mut client = ambassador.client();
            let id = client.command(&["CLIENT", "ID"]);
            assert_eq!(client.hello(version).field("id"), Some(id.clone()));
            assert_eq!(client.command(&["CLIENT", "TRACKING", "ON"]), Reply::ok());
            assert_eq!(client.command(&["CLIENT", "ID"]), id, "in a tunnel");
            assert_eq!(client.command(&["client", "Id"]), id, "in a tunnel");
            client.send_raw(b"CLIENT ID\r\n");
            assert_eq!(client.read_reply(), id, "inline");
            assert_eq!(client.hello(version).field("id"), Some(id.clone()), "HELLO");
            let large = "x".repeat(100_000);
            client.command(&["SET", "large", &large]);
            // Between large replies, which are cut wherever the socket cuts them.
            let replies = client.pipeline(&[
                &["GET", "large"],
                &["CLIENT", "ID"],
                &["GET", "large"],
                &["MULTI"],
                &["CLIENT", "GETNAME"],
                &["EXEC"],
                &["CLIENT", "ID"],
                &["PING"],
            ]);
            assert_eq!(replies[0], Reply::bulk(&large));
            assert_eq!(replies[1], id);
            assert_eq!(replies[2], Reply::bulk(&large));
            assert_eq!(replies[6], id);
            assert_eq!(replies[7].text(), "PONG");
            // What is not answered leaves no trace.
            client.send_raw(
                b"CLIENT REPLY SKIP\r\nCLIENT ID\r\nCLIENT ID\r\nCLIENT REPLY SKIP\r\nHELLO 3\r\nHELLO 3\r\n",
            );
            assert_eq!(client.read_reply(), id);
            assert_eq!(client.read_reply().field("id"), Some(id.clone()));
            client.send_raw(b"CLIENT REPLY OFF\r\nCLIENT ID\r\nHELLO 3\r\nCLIENT REPLY ON\r\nCLIENT ID\r\n");
            assert_eq!(client.read_reply(), Reply::ok());
            assert_eq!(client.read_reply(), id);
            client.send(&["RESET"]);
            assert_eq!(client.read_reply().text(), "RESET");
            assert_eq!(client.command(&["CLIENT", "ID"]), id, "after a tunnel");
            client.command(&["SUBSCRIBE", "ch"]);
            // Where the server refuses CLIENT, so does the ambassador.
            let mut subscriber = plain.client();
            subscriber.command(&["SUBSCRIBE", "ch"]);
            same(&mut subscriber, &mut client, &["CLIENT", "ID"]);
            same(&mut subscriber, &mut client, &["CLIENT", "GETREDIR"]);
            same(&mut subscriber, &mut client, &["PING", "x"]);
            client.command(&["UNSUBSCRIBE"]);
            assert_eq!(client.command(&["CLIENT", "ID"]), id, "subscribed no more");
            assert!(ids.insert(id.integer()));
            clients.push(client);
        }
        for _ in 0..20 {
            let mut client = ambassador.client();
            assert!(ids.insert(client.command(&["CLIENT", "ID"]).integer()));
            clients.push(client);
        }
    });
}

/// RESP2's way: one connection listens, others redirect to it. Many times, for they meet on different workers.
#[test]
fn invalidations_go_where_they_are_redirected_to() {
    each(|_, _, ambassador| {
        let mut writer = ambassador.client();
        for round in 0..6 {
            for subscribes_first in [true, false] {
                let key = format!("key:{round}:{subscribes_first}");
                let (mut listener, mut client) = (ambassador.client(), ambassador.client());
                let id = listener.command(&["CLIENT", "ID"]).integer();
                let subscribe = |listener: &mut Client| {
                    let reply = listener.command(&["SUBSCRIBE", "__redis__:invalidate"]);
                    assert_eq!(reply.items()[2], Reply::Integer(1));
                };
                if subscribes_first {
                    subscribe(&mut listener);
                }
                let number = id.to_string();
                assert_eq!(
                    client.command(&["CLIENT", "TRACKING", "ON", "REDIRECT", &number]),
                    Reply::ok(),
                    "round {round}, the listener subscribes first: {subscribes_first}"
                );
                if !subscribes_first {
                    assert_eq!(listener.command(&["CLIENT", "ID"]).integer(), id);
                    subscribe(&mut listener);
                }
                assert_eq!(client.command(&["CLIENT", "GETREDIR"]), Reply::Integer(id));
                let info = client.command(&["CLIENT", "TRACKINGINFO"]);
                assert_eq!(info.field("redirect"), Some(Reply::Integer(id)));
                client.command(&["GET", &key]);
                writer.command(&["SET", &key, "1"]);
                assert_eq!(
                    listener.read_reply().items(),
                    [
                        Reply::bulk("message"),
                        Reply::bulk("__redis__:invalidate"),
                        Reply::Array(vec![Reply::bulk(&key)])
                    ]
                );
                in_step(&mut client);
                assert_eq!(client.command(&["CLIENT", "TRACKING", "OFF"]), Reply::ok());
                assert_eq!(client.command(&["CLIENT", "GETREDIR"]), Reply::Integer(-1));
            }
        }
    });
}

#[test]
fn a_client_that_has_gone_cannot_be_redirected_to() {
    each(|plain, _, ambassador| {
        let mut gone = ambassador.client();
        let id = gone.command(&["CLIENT", "ID"]).integer().to_string();
        gone.command(&["SUBSCRIBE", "ch"]);
        drop(gone);
        let mut direct = plain.client();
        let wanted = direct.command(&["CLIENT", "TRACKING", "ON", "REDIRECT", "987654321"]);
        eventually(PATIENCE, || {
            let reply = ambassador
                .client()
                .command(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]);
            (reply == wanted).then_some(())
        });
    });
}

#[test]
fn a_tracking_client_whose_connection_goes_is_told_by_a_closed_one() {
    let group = Group::start(Flavor::Redis8, 1);
    let ambassador = Ambassador::over(&group);
    let mut client = tracker(&ambassador, &[]);
    client.command(&["GET", "a"]);
    group
        .master
        .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    // Otherwise it would trust for ever what it has cached.
    client.set_timeout(Duration::from_secs(10));
    assert_eq!(client.read_to_close().expect("closed"), b"");
}
