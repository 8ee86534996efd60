//! Commands that belong to one connection, through the ambassador: transactions, waiting, subscriptions, sessions.
//! Each story ends with a command whose reply must be the next one: nothing may be out of step.

mod support;

use std::thread;
use std::time::Duration;

use support::{Ambassador, Client, Flavor, Group, Reply, wait_until};

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
fn transactions_step_by_step_in_one_write_and_back_to_back() {
    each(|_, ambassador| {
        let mut client = ambassador.client();
        assert_eq!(client.command(&["MULTI"]), Reply::ok());
        assert_eq!(client.command(&["INCR", "n"]).text(), "QUEUED");
        assert_eq!(client.command(&["EXEC"]).items(), [Reply::Integer(1)]);
        let mut commands: Vec<&[&str]> = Vec::new();
        for _ in 0..100 {
            commands.extend([
                &["MULTI"][..],
                &["INCR", "n"],
                &["GET", "n"],
                &["EXEC"],
                &["GET", "n"],
            ]);
        }
        for (round, replies) in client.pipeline(&commands).chunks(5).enumerate() {
            let n = (round + 2).to_string();
            assert_eq!(
                replies[3].items(),
                [Reply::Integer(round as i64 + 2), Reply::bulk(&n)]
            );
            assert_eq!(replies[4], Reply::bulk(&n));
        }
        let replies = client.pipeline(&[
            &["MULTI"],
            &["NOSUCH"],
            &["INCR", "n"],
            &["EXEC"],
            &["ECHO", "after"],
        ]);
        assert!(
            replies[1].error().starts_with("ERR unknown command"),
            "{replies:?}"
        );
        assert!(replies[3].error().starts_with("EXECABORT"), "{replies:?}");
        assert_eq!(replies[4], Reply::bulk("after"));
        let replies = client.pipeline(&[&["MULTI"], &["INCR", "n"], &["DISCARD"], &["EXEC"]]);
        assert_eq!(replies[3].error(), "ERR EXEC without MULTI");
        in_step(&mut client);
    });
}

#[test]
fn a_watched_key_that_is_touched_aborts_and_no_update_is_lost() {
    each(|group, ambassador| {
        let (mut one, mut other) = (ambassador.client(), ambassador.client());
        assert_eq!(one.command(&["WATCH", "w"]), Reply::ok());
        other.command(&["SET", "w", "touched"]);
        let replies = one.pipeline(&[&["MULTI"], &["SET", "w", "mine"], &["EXEC"]]);
        assert_eq!(replies[2], Reply::Null);
        in_step(&mut one);
        let port = ambassador.port();
        let writers: Vec<_> = (0..8)
            .map(|_| thread::spawn(move || increment(port, 25)))
            .collect();
        for writer in writers {
            writer.join().expect("a writer");
        }
        assert_eq!(group.master.command(&["GET", "sum"]).text(), "200");
    });
}

/// Adds to `sum` by WATCH, GET, SET, as often as it takes.
fn increment(port: u16, times: u32) {
    let mut client = Client::connect(port);
    for _ in 0..times {
        loop {
            client.command(&["WATCH", "sum"]);
            let now: u64 = match client.command(&["GET", "sum"]) {
                Reply::Null => 0,
                value => value.text().parse().expect("a number"),
            };
            let next = (now + 1).to_string();
            let replies = client.pipeline(&[&["MULTI"], &["SET", "sum", &next], &["EXEC"]]);
            if replies[2] != Reply::Null {
                break;
            }
        }
    }
}

#[test]
fn a_client_that_leaves_takes_its_transaction_and_its_wait_with_it() {
    each(|group, ambassador| {
        let mut leaver = ambassador.client();
        leaver.command(&["MULTI"]);
        leaver.command(&["SET", "left", "1"]);
        drop(leaver);
        let blocked: Vec<Client> = (0..100)
            .map(|_| {
                let mut client = ambassador.client();
                client.send(&["BLPOP", "queue", "0"]);
                client
            })
            .collect();
        let waiting = || group.master.info("clients")["blocked_clients"] == "100";
        wait_until(waiting);
        drop(blocked);
        wait_until(|| group.master.info("clients")["blocked_clients"] == "0");
        let mut client = ambassador.client();
        for _ in 0..100 {
            client.command(&["RPUSH", "queue", "x"]);
        }
        assert_eq!(group.master.command(&["LLEN", "queue"]), Reply::Integer(100));
        assert_eq!(group.master.command(&["EXISTS", "left"]), Reply::Integer(0));
    });
}

#[test]
fn blocked_commands_end_by_push_and_by_time_and_what_follows_stays_in_order() {
    each(|_, ambassador| {
        let (mut popper, mut pusher) = (ambassador.client(), ambassador.client());
        popper.send_raw(b"BLPOP jobs 0\r\nINCR after\r\nECHO last\r\n");
        assert!(popper.is_silent(Duration::from_millis(100)));
        pusher.command(&["RPUSH", "jobs", "one"]);
        assert_eq!(
            popper.read_reply().items(),
            [Reply::bulk("jobs"), Reply::bulk("one")]
        );
        assert_eq!(popper.read_reply(), Reply::Integer(1));
        assert_eq!(popper.read_reply(), Reply::bulk("last"));
        assert_eq!(popper.command(&["BLPOP", "jobs", "0.05"]), Reply::Null);
        popper.send(&["XREAD", "BLOCK", "0", "STREAMS", "stream", "$"]);
        assert!(popper.is_silent(Duration::from_millis(100)));
        pusher.command(&["XADD", "stream", "1-1", "a", "b"]);
        assert!(format!("{:?}", popper.read_reply()).contains("stream"));
        in_step(&mut popper);
    });
}

#[test]
fn wait_counts_from_the_clients_own_writes() {
    each(|group, ambassador| {
        let mut client = ambassador.client();
        client.command(&["SET", "a", "1"]);
        assert_eq!(client.command(&["WAIT", "2", "5000"]), Reply::Integer(2));
        for replica in &group.replicas {
            replica.freeze();
        }
        client.command(&["SET", "a", "2"]);
        assert_eq!(
            client.command(&["WAIT", "2", "300"]),
            Reply::Integer(0),
            "frozen replicas acknowledged"
        );
        for replica in &group.replicas {
            replica.thaw();
        }
        in_step(&mut client);
    });
}

#[test]
fn subscribers_hear_everything_in_order_and_come_back_by_reset() {
    each(|_, ambassador| {
        for version in [2, 3] {
            let (mut reader, mut writer) = (ambassador.client(), ambassador.client());
            reader.hello(version);
            reader.command(&["CLIENT", "SETNAME", "reader"]);
            reader.send_raw(b"SUBSCRIBE news\r\nPSUBSCRIBE w*\r\n");
            assert!(format!("{:?}", reader.read_reply()).contains("subscribe"));
            assert!(format!("{:?}", reader.read_reply()).contains("psubscribe"));
            for number in 0..200 {
                writer.command(&["PUBLISH", "news", &number.to_string()]);
            }
            for number in 0..200 {
                assert!(
                    format!("{:?}", reader.read_reply()).contains(&format!("\"{number}\"")) || {
                        let bytes = reader.last_bytes().to_vec();
                        String::from_utf8_lossy(&bytes).contains(&format!("\r\n{number}\r\n"))
                    }
                );
            }
            reader.send(&["RESET"]);
            assert_eq!(reader.read_reply().text(), "RESET");
            in_step(&mut reader);
            assert_eq!(reader.command(&["CLIENT", "GETNAME"]), Reply::Null);
        }
    });
}

#[test]
fn scripts_run_and_a_script_known_to_the_master_alone_runs_too() {
    each(|_, ambassador| {
        let mut client = ambassador.client();
        assert_eq!(
            client.command(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"]),
            Reply::Integer(1)
        );
        let sha = client.command(&["SCRIPT", "LOAD", "return ARGV[1]"]).text();
        assert_eq!(client.command(&["EVALSHA", &sha, "0", "v"]).text(), "v");
        for _ in 0..20 {
            assert_eq!(client.command(&["EVALSHA_RO", &sha, "0", "v"]).text(), "v");
        }
        assert!(
            client
                .command(&["EVALSHA", &"0".repeat(40), "0"])
                .error()
                .starts_with("NOSCRIPT")
        );
        in_step(&mut client);
    });
}

#[test]
fn an_iteration_is_complete() {
    each(|group, ambassador| {
        let mut client = ambassador.client();
        for chunk in (0..5_000).collect::<Vec<u32>>().chunks(500) {
            let mut words = vec!["MSET".to_owned()];
            words.extend(
                chunk
                    .iter()
                    .flat_map(|key| [format!("key:{key}"), "v".to_owned()]),
            );
            client.command(&words);
        }
        // It runs on replicas, and sees what they have applied.
        group.wait_in_sync();
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = client.command(&["SCAN", &cursor, "COUNT", "100"]).items();
            seen.extend(reply[1].items().iter().map(Reply::text));
            cursor = reply[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 5_000);
    });
}

#[test]
fn large_values_pass_whole_while_others_are_served() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = Ambassador::over(&group);
    let value: Vec<u8> = (0..100 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut client = ambassador.client();
    client.send_raw(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len()).as_bytes());
    let mut other = ambassador.client();
    for piece in value.chunks(8 << 20) {
        client.send_raw(piece);
        in_step(&mut other);
    }
    client.send_raw(b"\r\n");
    assert_eq!(client.read_reply(), Reply::ok());
    group.wait_in_sync();
    for _ in 0..2 {
        assert!(
            client.command(&["GET", "big"]) == Reply::bulk(&value),
            "the value came back changed"
        );
        in_step(&mut client);
    }
    // What passed through was never gathered: far less memory than the value's 100 MiB.
    assert!(ambassador.rss_kib() < 80 << 10, "{} KiB", ambassador.rss_kib());
}

#[test]
fn a_pipelined_read_never_sees_a_later_write() {
    let group = Group::start(Flavor::Redis7, 2);
    let ambassador = Ambassador::over(&group);
    let mut client = ambassador.client();
    for round in 0..2_000u32 {
        // The read is answered by a replica, which may lag; what it must never be is the value set behind it.
        client.send(&["GET", "x"]);
        client.send(&["SET", "x", &round.to_string()]);
        let seen = client.read_reply();
        assert_ne!(
            seen,
            Reply::bulk(round.to_string()),
            "the read saw the write behind it"
        );
        assert_eq!(client.read_reply(), Reply::ok());
    }
}

#[test]
fn a_long_mixed_pipeline_is_answered_in_order() {
    each(|_, ambassador| {
        let mut client = ambassador.client();
        let request = |number: u32| match number % 5 {
            0 => format!("SET k:{number} v{number}\r\n"),
            1 => format!("GET k:{number}\r\n"),
            2 => format!("ECHO {number}\r\n"),
            3 => "NOSUCHCOMMAND\r\n".to_owned(),
            _ => "CLIENT GETNAME\r\n".to_owned(),
        };
        let requests: Vec<String> = (0..20_000).map(request).collect();
        client.send_raw(requests.concat().as_bytes());
        for number in 0..20_000 {
            let reply = client.read_reply();
            let right = match number % 5 {
                0 => reply == Reply::ok(),
                2 => reply == Reply::bulk(number.to_string()),
                3 => reply.is_error(),
                _ => reply == Reply::Null,
            };
            assert!(right, "reply {number}: {reply:?}");
        }
        in_step(&mut client);
    });
}
