//! Subscriptions through the ambassador: what a plain server's subscriber gets, byte for byte.

mod support;

use std::thread;
use std::time::Duration;

use support::{Client, Reply, beside_a_plain_server, wait_until};

/// The same command on both; as many replies (pushes among them) have the same bytes.
#[track_caller]
fn same(plain: &mut Client, client: &mut Client, words: &[&str], replies: usize) {
    plain.send(words);
    client.send(words);
    for number in 0..replies {
        plain.read_reply();
        client.read_reply();
        assert_eq!(
            client.last_bytes().escape_ascii().to_string(),
            plain.last_bytes().escape_ascii().to_string(),
            "{words:?}, reply {number}"
        );
    }
}

#[track_caller]
fn message(client: &mut Client, channel: &str, payload: &str) {
    let parts = [Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(payload)];
    assert_eq!(client.read_reply().items(), parts);
}

/// A command and the number of its replies.
type Step = (&'static [&'static str], usize);

const BOTH: &[Step] = &[
    (&["SUBSCRIBE"], 1),
    (&["SUBSCRIBE", "a", "b", "a"], 3),
    (&["PSUBSCRIBE", "p*", "q?"], 2),
    (&["SSUBSCRIBE", "s1"], 1),
    (&["SSUBSCRIBE", "s1", "s2"], 2),
    (&["PING"], 1),
    (&["PING", "payload"], 1),
    (&["PING", "too", "many"], 1),
    (&["UNSUBSCRIBE", "b", "never"], 2),
    (&["PUNSUBSCRIBE", "q?"], 1),
    (&["SUNSUBSCRIBE", "s2", "never"], 2),
    // In RESP2 all of these are refused, in RESP3 they work.
    (&["GET", "k"], 1),
    (&["SET", "k", "v"], 1),
    (&["MULTI"], 1),
    (&["SET", "k", "w"], 1),
    (&["GET", "k"], 1),
    (&["EXEC"], 1),
    (&["SELECT", "1"], 1),
    (&["GET", "k"], 1),
    (&["SELECT", "99"], 1),
    (&["WATCH", "k"], 1),
    (&["UNWATCH"], 1),
    (&["BLPOP", "none", "0.01"], 1),
    (&["ECHO", "x"], 1),
    (&["CLIENT", "GETNAME"], 1),
    (&["HELLO"], 0),
    (&["NOSUCHCOMMAND"], 1),
    (&["PUNSUBSCRIBE"], 1),
    (&["SUNSUBSCRIBE"], 1),
    (&["UNSUBSCRIBE"], 1),
    // Nothing is left: forms without arguments say so.
    (&["UNSUBSCRIBE"], 1),
    (&["PUNSUBSCRIBE"], 1),
    (&["SUNSUBSCRIBE"], 1),
    (&["UNSUBSCRIBE", "x"], 1),
    // And everything is allowed again.
    (&["SET", "k", "x"], 1),
    (&["GET", "k"], 1),
    (&["MULTI"], 1),
    (&["SUBSCRIBE", "m"], 1),
    (&["PING"], 1),
    (&["EXEC"], 1),
    (&["PING"], 1),
    (&["RESET"], 1),
    (&["PING"], 1),
    (&["GET", "k"], 1),
    (&["SELECT", "0"], 1),
    (&["ECHO", "in step"], 1),
];

#[test]
fn a_subscriber_gets_what_a_plain_servers_gets() {
    beside_a_plain_server(|plain, group, ambassador| {
        for version in [2, 3] {
            let (mut direct, mut client) = (plain.client(), ambassador.client());
            direct.command(&["FLUSHALL"]);
            group.master.command(&["FLUSHALL"]);
            group.wait_in_sync();
            direct.hello(version);
            client.hello(version);
            for (words, replies) in BOTH {
                if *replies == 0 {
                    continue;
                }
                // After RESET a read may be a replica's: it has to have what was written.
                if words[0] == "RESET" {
                    group.wait_in_sync();
                }
                same(&mut direct, &mut client, words, *replies);
            }
        }
    });
}

#[test]
fn messages_come_beside_replies_in_resp3_and_in_the_order_they_were_published() {
    beside_a_plain_server(|_, _, ambassador| {
        let (mut client, mut publisher) = (ambassador.client(), ambassador.client());
        client.hello(3);
        client.command(&["SUBSCRIBE", "news"]);
        for number in 0..50 {
            let number = number.to_string();
            publisher.command(&["PUBLISH", "news", &number]);
            message(&mut client, "news", &number);
            assert_eq!(client.command(&["SET", "n", &number]), Reply::ok());
            assert_eq!(client.command(&["GET", "n"]).text(), number);
        }
        // Its own message comes before or after the reply, as the server has it; both come.
        client.send(&["PUBLISH", "news", "mine"]);
        let (one, two) = (client.read_reply(), client.read_reply());
        let pushes = [&one, &two].map(|reply| matches!(reply, Reply::Push(_)));
        assert!(
            pushes == [true, false] || pushes == [false, true],
            "{one:?} {two:?}"
        );
        assert_eq!(client.command(&["ECHO", "x"]), Reply::bulk("x"));
    });
}

/// What an application relies on that waits for the confirmation (fred does not, see `tests/clients/fred`).
#[test]
fn a_message_published_after_the_confirmation_finds_the_subscriber() {
    const ROUNDS: usize = 500;
    beside_a_plain_server(|_, _, ambassador| {
        let mut publisher = ambassador.client();
        for round in 0..ROUNDS {
            let channel = format!("c:{round}");
            let mut client = ambassador.client();
            // Both protocols, and with work before it: the connection then leaves a shared link for its own.
            if round % 4 < 3 {
                client.hello(3);
            }
            if round % 2 == 0 {
                client.command(&["SET", "k", "v"]);
            }
            assert_eq!(
                client.command(&["SUBSCRIBE", &channel]).items()[2],
                Reply::Integer(1)
            );
            let reached = publisher.command(&["PUBLISH", &channel, "x"]);
            assert_eq!(reached, Reply::Integer(1), "round {round}");
            message(&mut client, &channel, "x");
        }
    });
}

#[test]
fn a_subscriber_reaches_itself_in_one_pipeline() {
    const ROUNDS: usize = 500;
    beside_a_plain_server(|plain, _, ambassador| {
        let (mut direct, mut publisher) = (plain.client(), ambassador.client());
        direct.hello(3);
        for round in 0..ROUNDS {
            let channel = format!("p:{round}");
            let mut client = ambassador.client();
            client.hello(3);
            let commands: &[&[&str]] = &[
                &["SET", "k", "v"],
                &["SUBSCRIBE", &channel],
                &["PUBLISH", &channel, "x"],
                &["ECHO", "end"],
            ];
            // One reply more than commands: the message, before or after PUBLISH's own as the server has it.
            for one in [&mut direct, &mut client] {
                let mut replies = one.pipeline(commands);
                replies.push(one.read_reply());
                let pushes = replies.iter().filter(|reply| matches!(reply, Reply::Push(_)));
                assert_eq!(pushes.count(), 2, "round {round}: {replies:?}");
                replies.retain(|reply| !matches!(reply, Reply::Push(_)));
                assert_eq!(
                    replies,
                    [Reply::ok(), Reply::Integer(1), Reply::bulk("end")],
                    "round {round}"
                );
            }
            let reached = publisher.command(&["PUBLISH", &channel, "y"]);
            assert_eq!(reached, Reply::Integer(1), "round {round}");
        }
    });
}

#[test]
fn publishers_reach_subscribers_of_every_kind() {
    beside_a_plain_server(|_, group, ambassador| {
        let (mut client, mut publisher) = (ambassador.client(), ambassador.client());
        client.command(&["SUBSCRIBE", "news"]);
        client.command(&["PSUBSCRIBE", "n*"]);
        client.command(&["SSUBSCRIBE", "shard"]);
        assert_eq!(publisher.command(&["PUBLISH", "news", "1"]), Reply::Integer(2));
        message(&mut client, "news", "1");
        let items = client.read_reply().items();
        assert_eq!(items[0], Reply::bulk("pmessage"));
        assert_eq!(publisher.command(&["SPUBLISH", "shard", "2"]), Reply::Integer(1));
        assert_eq!(client.read_reply().items()[0], Reply::bulk("smessage"));
        assert_eq!(group.master.command(&["PUBLISH", "news", "3"]), Reply::Integer(2));
        message(&mut client, "news", "3");
        client.read_reply();
        let large = "x".repeat(3 << 20);
        publisher.command(&["PUBLISH", "news", &large]);
        message(&mut client, "news", &large);
        client.read_reply();

        let names = publisher.command(&["PUBSUB", "CHANNELS"]).items();
        assert_eq!(names, [Reply::bulk("news")]);
        assert_eq!(
            publisher.command(&["PUBSUB", "NUMSUB", "news", "none"]).items(),
            [
                Reply::bulk("news"),
                Reply::Integer(1),
                Reply::bulk("none"),
                Reply::Integer(0)
            ]
        );
        assert_eq!(publisher.command(&["PUBSUB", "NUMPAT"]), Reply::Integer(1));
        assert_eq!(
            publisher.command(&["PUBSUB", "SHARDCHANNELS"]).items(),
            [Reply::bulk("shard")]
        );
        drop(client);
        wait_until(|| publisher.command(&["PUBSUB", "CHANNELS"]).items().is_empty());
        assert_eq!(publisher.command(&["PUBSUB", "NUMPAT"]), Reply::Integer(0));
    });
}

#[test]
fn keys_expire_and_are_not_deleted() {
    beside_a_plain_server(|_, group, ambassador| {
        for node in group.nodes() {
            node.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
        }
        let (mut client, mut writer) = (ambassador.client(), ambassador.client());
        client.command(&["PSUBSCRIBE", "__keyevent@0__:*"]);
        let mut event = || {
            let items = client.read_reply().items();
            assert_eq!(items[0], Reply::bulk("pmessage"));
            (items[2].text(), items[3].text())
        };
        let named = |name: &str, key: &str| (format!("__keyevent@0__:{name}"), key.to_owned());
        writer.command(&["SET", "k", "v", "PX", "50"]);
        assert_eq!(event(), named("set", "k"));
        assert_eq!(event(), named("expire", "k"));
        assert_eq!(event(), named("expired", "k"));
        writer.command(&["SET", "k", "v"]);
        assert_eq!(event(), named("set", "k"));
        writer.command(&["DEL", "k"]);
        assert_eq!(event(), named("del", "k"));
    });
}

#[test]
fn ten_thousand_subscriptions_on_one_client() {
    const CHANNELS: usize = 10_000;
    beside_a_plain_server(|_, _, ambassador| {
        let (mut client, mut publisher) = (ambassador.client(), ambassador.client());
        let names: Vec<String> = (0..CHANNELS).map(|number| format!("ch:{number}")).collect();
        for chunk in names.chunks(1_000) {
            let words: Vec<&str> = std::iter::once("SUBSCRIBE")
                .chain(chunk.iter().map(String::as_str))
                .collect();
            client.send(&words);
        }
        for (number, name) in names.iter().enumerate() {
            assert_eq!(
                client.read_reply().items()[1..],
                [Reply::bulk(name), Reply::Integer(number as i64 + 1)]
            );
        }
        for number in (0..CHANNELS).step_by(97) {
            assert_eq!(
                publisher.command(&["PUBLISH", &names[number], &number.to_string()]),
                Reply::Integer(1)
            );
        }
        for number in (0..CHANNELS).step_by(97) {
            message(&mut client, &names[number], &number.to_string());
        }
        client.send(&["UNSUBSCRIBE"]);
        for left in (0..CHANNELS).rev() {
            assert_eq!(client.read_reply().items()[2], Reply::Integer(left as i64));
        }
        assert_eq!(client.command(&["ECHO", "x"]), Reply::bulk("x"));
    });
}

#[test]
fn subscribers_that_leave_while_messages_flow_hurt_nobody() {
    beside_a_plain_server(|_, group, ambassador| {
        let mut stays = ambassador.client();
        stays.command(&["SUBSCRIBE", "flow"]);
        let port = ambassador.port();
        let leavers: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    for _ in 0..25 {
                        let mut client = Client::connect(port);
                        client.command(&["SUBSCRIBE", "flow"]);
                        client.read_reply();
                    }
                })
            })
            .collect();
        let mut publisher = ambassador.client();
        let mut published = 0;
        while leavers.iter().any(|leaver| !leaver.is_finished()) {
            publisher.command(&["PUBLISH", "flow", &published.to_string()]);
            message(&mut stays, "flow", &published.to_string());
            published += 1;
        }
        for leaver in leavers {
            leaver.join().expect("a leaver got its message");
        }
        wait_until(|| group.master.command(&["PUBSUB", "NUMSUB", "flow"]).items()[1] == Reply::Integer(1));
        wait_until(|| ambassador.metric("redis_ambassador_clients ") < 2.5);
        assert!(stays.is_silent(Duration::from_millis(20)));
        publisher.command(&["PUBLISH", "flow", "last"]);
        message(&mut stays, "flow", "last");
    });
}
