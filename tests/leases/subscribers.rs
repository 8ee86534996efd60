//! Subscribers in failovers: closed, or subscribed anew where the configuration says so.

use std::io::ErrorKind;

use crate::support::{Ambassador, Client, Flavor, Group, Reply, eventually, wait_until};
use crate::{FAILOVERS, PATIENCE, cut, hand_over, over, wait_for_master};

/// Who subscribes here is told that it was subscribed anew.
const NOTICE: &str = "__redis_ambassador__:resubscribed";

#[test]
fn a_subscriber_does_not_stay_on_a_demoted_node() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = over(flavor, 1);
        let mut subscriber = ambassador.client();
        subscriber.command(&["SUBSCRIBE", "c"]);
        hand_over(&mut group);
        let end = subscriber.try_read_reply().expect_err("no message was sent");
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "{flavor}");
        let mut again = ambassador.client();
        again.command(&["SUBSCRIBE", "c"]);
        assert_eq!(group.master.command(&["PUBLISH", "c", "m"]), Reply::Integer(1));
        assert_eq!(again.read_reply().items()[2], Reply::bulk("m"), "{flavor}");
    }
}

fn resubscribing(group: &Group) -> Ambassador {
    let config = format!(
        "[upstream]\nmaster = \"{}\"\nreplicas = [\"{}\"]\n[subscriptions]\non_failover = \"resubscribe\"\n",
        group.master.address(),
        group.replicas[0].address()
    );
    let ambassador = Ambassador::with_config(&config, &["--workers", "2"]);
    wait_for_master(&ambassador, &group.master);
    ambassador
}

/// Publishes until somebody gets it; that one's next message is it.
#[track_caller]
fn gets(group: &Group, publish: [&str; 2], subscriber: &mut Client, message: &[&str]) {
    let [verb, channel] = publish;
    let heard = || group.master.command(&[verb, channel, "hello"]);
    eventually(PATIENCE, || (heard() == Reply::Integer(1)).then_some(()));
    let items = subscriber.read_reply().items();
    let expected: Vec<Reply> = message.iter().map(Reply::bulk).collect();
    assert_eq!(items, expected);
}

fn read(client: &mut Client, replies: usize) {
    for _ in 0..replies {
        client.read_reply();
    }
}

#[test]
fn a_subscriber_is_subscribed_anew_on_the_new_master_and_told() {
    for flavor in Flavor::ALL {
        for (version, failover) in [(2, FAILOVERS[0]), (3, FAILOVERS[1])] {
            let mut group = Group::start(flavor, 1);
            let ambassador = resubscribing(&group);
            let mut subscriber = ambassador.client();
            subscriber.hello(version);
            subscriber.send(&["SUBSCRIBE", "news", NOTICE, "gone"]);
            subscriber.send(&["PSUBSCRIBE", "p.*"]);
            subscriber.send(&["SSUBSCRIBE", "shard"]);
            subscriber.send(&["UNSUBSCRIBE", "gone"]);
            read(&mut subscriber, 6);
            let mut uninformed = ambassador.client();
            uninformed.command(&["SUBSCRIBE", "quiet"]);
            failover(&mut group);

            let told = subscriber.read_reply().items();
            assert_eq!(told[1], Reply::bulk(NOTICE), "{flavor}");
            gets(
                &group,
                ["PUBLISH", "news"],
                &mut subscriber,
                &["message", "news", "hello"],
            );
            gets(
                &group,
                ["PUBLISH", "p.x"],
                &mut subscriber,
                &["pmessage", "p.*", "p.x", "hello"],
            );
            gets(
                &group,
                ["SPUBLISH", "shard"],
                &mut subscriber,
                &["smessage", "shard", "hello"],
            );
            assert_eq!(group.master.command(&["PUBLISH", "gone", "x"]), Reply::Integer(0));
            gets(
                &group,
                ["PUBLISH", "quiet"],
                &mut uninformed,
                &["message", "quiet", "hello"],
            );
            // Both go on as they were.
            subscriber.command(&["SUBSCRIBE", "more"]);
            gets(
                &group,
                ["PUBLISH", "more"],
                &mut subscriber,
                &["message", "more", "hello"],
            );
            subscriber.send(&["PING", "in step"]);
            let pong = subscriber.read_reply();
            let in_step = Reply::bulk("in step");
            assert!(
                pong == in_step || pong.items().get(1) == Some(&in_step),
                "{pong:?}"
            );
            assert!(ambassador.metric("redis_ambassador_resubscribed_total") >= 2.0);
            assert!(ambassador.metric("redis_ambassador_panics_total") < 0.5);
        }
    }
}

#[test]
fn ten_thousand_subscriptions_are_taken_along_when_connections_are_cut() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = resubscribing(&group);
    let mut subscriber = ambassador.client();
    let names: Vec<String> = (0..10_000).map(|number| format!("channel-{number}")).collect();
    for some in names.chunks(1000) {
        let mut words = vec!["SUBSCRIBE".to_owned()];
        words.extend_from_slice(some);
        subscriber.send(&words);
        read(&mut subscriber, some.len());
    }
    for round in 1..=3 {
        cut(&group.master);
        wait_until(|| ambassador.metric("redis_ambassador_resubscribed_total") + 0.5 > f64::from(round));
        let channels = || group.master.command(&["PUBSUB", "CHANNELS", "channel-*"]).items();
        wait_until(|| channels().len() == names.len());
        gets(
            &group,
            ["PUBLISH", "channel-7"],
            &mut subscriber,
            &["message", "channel-7", "hello"],
        );
        // What it sends itself waits, and is not lost.
        let name = format!("new-{round}");
        subscriber.send(&["SUBSCRIBE", &name]);
        assert_eq!(subscriber.read_reply().items()[1], Reply::bulk(&name));
    }
}

#[test]
fn a_master_that_is_killed_takes_no_subscriber_with_it() {
    let mut group = Group::start(Flavor::Valkey8, 1);
    let ambassador = resubscribing(&group);
    let mut subscriber = ambassador.client();
    subscriber.command(&["SUBSCRIBE", "news"]);
    group.wait_in_sync();
    group.master.kill();
    group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
    std::mem::swap(&mut group.master, &mut group.replicas[0]);
    gets(
        &group,
        ["PUBLISH", "news"],
        &mut subscriber,
        &["message", "news", "hello"],
    );
}

#[test]
fn who_is_more_than_subscribed_is_closed_all_the_same() {
    let (subscribe, tracking): (&[&str], &[&str]) = (&["SUBSCRIBE", "c"], &["CLIENT", "TRACKING", "ON"]);
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let ambassador = resubscribing(&group);
        let more: [&[&[&str]]; 4] = [
            &[tracking, subscribe],
            &[subscribe, &["SELECT", "1"]],
            &[subscribe, &["MULTI"]],
            &[&["MONITOR"]],
        ];
        let mut clients = Vec::new();
        for story in more {
            let mut client = ambassador.client();
            client.hello(3);
            for words in story {
                client.command(words);
            }
            clients.push(client);
        }
        cut(&group.master);
        for mut client in clients {
            // MONITOR may have shown something.
            let end = std::iter::repeat_with(|| client.try_read_reply()).find_map(Result::err);
            assert_eq!(
                end.map(|end| end.kind()),
                Some(ErrorKind::UnexpectedEof),
                "{flavor}"
            );
        }
    }
}

#[test]
fn without_a_master_a_subscriber_is_closed_when_its_time_is_over() {
    let mut group = Group::start(Flavor::Redis8, 1);
    let config = format!(
        "[upstream]\nmaster = \"{}\"\n[subscriptions]\non_failover = \"resubscribe\"\n[limits]\nhold = \"300ms\"\n",
        group.master.address(),
    );
    let ambassador = Ambassador::with_config(&config, &[]);
    wait_for_master(&ambassador, &group.master);
    let mut subscriber = ambassador.client();
    subscriber.command(&["SUBSCRIBE", "c"]);
    group.master.kill();
    let end = subscriber.try_read_reply().expect_err("nothing is published");
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
}
