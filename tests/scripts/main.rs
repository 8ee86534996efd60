//! Scripts and functions through the ambassador: every node knows them, whoever forgot them and however they came.

#[path = "../support/mod.rs"]
mod support;

mod killing;
mod others;
mod refused;

use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, eventually, wait_until};

const ONE: &str = "return {KEYS[1], redis.call('INCR', KEYS[1])}";
const READ: &str = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
/// A story on every server, over both protocol versions.
fn each(config: &[&str], story: impl Fn(&mut Group, &Ambassador, &mut Client)) {
    for flavor in Flavor::ALL {
        for version in [2, 3] {
            let mut group = Group::start(flavor, 2);
            group.wait_in_sync();
            let ambassador = Ambassador::over_with(&group, config);
            // Ready is who has a master; these stories are about every node.
            wait_until(|| ambassador.metric("redis_ambassador_node_usable{") > 2.5);
            let mut client = ambassador.client();
            client.hello(version);
            story(&mut group, &ambassador, &mut client);
            assert_eq!(client.command(&["ECHO", "in step"]), Reply::bulk("in step"));
            assert!(
                ambassador.metric("redis_ambassador_panics_total") < 0.5,
                "{flavor}"
            );
        }
    }
}

#[track_caller]
fn load(client: &mut Client, body: &str) -> String {
    client.command(&["SCRIPT", "LOAD", body]).text()
}

#[test]
fn a_loaded_script_runs_everywhere_whoever_forgot_it() {
    each(&[], |group, ambassador, client| {
        let sha = load(client, READ);
        client.command(&["SET", "k", "v"]);
        group.wait_in_sync();
        for node in group.nodes() {
            wait_until(|| node.command(&["SCRIPT", "EXISTS", &sha]).items() == [Reply::Integer(1)]);
        }
        group.reset_stats();
        for _ in 0..20 {
            assert_eq!(client.command(&["EVALSHA_RO", &sha, "1", "k"]), Reply::bulk("v"));
            assert_eq!(client.command(&["EVALSHA", &sha, "1", "k"]), Reply::bulk("v"));
            assert_eq!(client.command(&["EVAL", READ, "1", "k"]), Reply::bulk("v"));
        }
        assert_eq!(group.master.calls("evalsha") + group.master.calls("eval"), 0);
        assert_eq!(group.replica_calls("evalsha").iter().sum::<u64>(), 20);
        assert_eq!(group.replica_calls("evalsha_ro").iter().sum::<u64>(), 20);
        let reads = ambassador.metric("redis_ambassador_commands_total{class=\"read\"");
        assert!((reads - 60.0).abs() < 0.5, "{reads} reads");
        // Flushed directly: nobody notices.
        group.flush_scripts();
        for _ in 0..20 {
            assert_eq!(client.command(&["EVALSHA", &sha, "1", "k"]), Reply::bulk("v"));
        }
        assert_eq!(group.master.calls("evalsha"), 0, "healed where it was missing");
        // A replica that was restarted.
        group.replicas[0].restart();
        group.wait_in_sync();
        wait_until(|| {
            assert_eq!(client.command(&["EVALSHA", &sha, "1", "k"]), Reply::bulk("v"));
            group.replicas[0].calls("evalsha") > 0
        });
    });
}

#[test]
fn a_script_that_was_only_evaluated_or_that_its_master_lost_runs_by_its_name() {
    each(&[], |group, _, client| {
        assert_eq!(
            client.command(&["EVAL", ONE, "1", "n"]).items()[1],
            Reply::Integer(1)
        );
        let sha = group.master.command(&["SCRIPT", "LOAD", ONE]).text();
        group.flush_scripts();
        assert_eq!(
            client
                .command(&["EVALSHA", &sha.to_uppercase(), "1", "n"])
                .items()[1],
            Reply::Integer(2)
        );
        assert_eq!(
            client
                .command(&["SCRIPT", "EXISTS", &sha, &"0".repeat(40)])
                .items(),
            [Reply::Integer(1), Reply::Integer(0)]
        );
        // It was told before it could miss it.
        assert!(!group.master.info("errorstats").contains_key("errorstat_NOSCRIPT"));
        let port = group.master.port();
        group.master.restart();
        assert_eq!(group.master.port(), port);
        // What was cut off by the restart may say so; then all goes on.
        let reply = eventually(support::PATIENCE, || {
            let reply = client.command(&["EVALSHA", &sha, "1", "m"]);
            assert!(
                !reply.is_error() || !reply.error().starts_with("NOSCRIPT"),
                "{reply:?}"
            );
            (!reply.is_error()).then_some(reply)
        });
        assert_eq!(reply.items()[1], Reply::Integer(1));
    });
}

#[test]
fn what_nobody_knows_is_the_servers_own_error() {
    each(&[], |group, _, client| {
        let unknown = "a".repeat(40);
        for words in [
            &["EVALSHA", &unknown, "0"][..],
            &["EVALSHA_RO", &unknown, "0"],
            &["EVALSHA", "short", "0"],
            &["EVALSHA", &unknown],
            &["EVALSHA"],
            &["EVAL"],
            &["EVAL", "return (", "0"],
            &["SCRIPT"],
            &["SCRIPT", "LOAD"],
            &["SCRIPT", "LOAD", "return ("],
            &["SCRIPT", "EXISTS"],
            &["SCRIPT", "FLUSH", "SOON"],
            &["SCRIPT", "FLUSH", "SYNC", "more"],
            &["SCRIPT", "KILL", "more"],
            &["FUNCTION", "KILL", "more"],
            &["SCRIPT", "SHOW", &unknown],
        ] {
            let mut direct = group.master.client();
            direct.command(words);
            client.command(words);
            assert_eq!(client.last_bytes(), direct.last_bytes(), "{words:?}");
        }
    });
}

#[test]
fn scripts_in_a_pipeline_run_once_each_though_they_were_flushed_before() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "warm"]).items()[1],
            Reply::Integer(1)
        );
        for round in 1..=3 {
            group.flush_scripts();
            let mut commands: Vec<&[&str]> = Vec::new();
            let evalsha: &[&str] = &["EVALSHA", &sha, "1", "n"];
            for _ in 0..100 {
                commands.extend([evalsha, &["SET", "x", "y"], &["GET", "x"]]);
            }
            let replies = client.pipeline(&commands);
            for (at, replies) in replies.chunks(3).enumerate() {
                let expected = (round - 1) * 100 + at as i64 + 1;
                assert_eq!(replies[0].items(), [Reply::bulk("n"), Reply::Integer(expected)]);
                assert_eq!(replies[1..], [Reply::ok(), Reply::bulk("y")]);
            }
        }
        assert_eq!(group.master.command(&["GET", "n"]).text(), "300");
    });
}

#[test]
fn a_script_in_a_transaction_is_there_though_its_master_lost_it() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        for round in 1..=3 {
            group.flush_scripts();
            let evalsha: &[&str] = &["EVALSHA", &sha, "1", "n"];
            let replies = client.pipeline(&[
                &["MULTI"],
                evalsha,
                &["SET", "a", "1"],
                evalsha,
                &["EXEC"],
                &["GET", "a"],
            ]);
            let results = replies[4].items();
            assert_eq!(results.len(), 3, "{replies:?}");
            assert_eq!(results[0].items()[1], Reply::Integer(round * 2 - 1));
            assert_eq!(results[2].items()[1], Reply::Integer(round * 2));
            assert_eq!(replies[5], Reply::bulk("1"));
        }
        group.flush_scripts();
        assert_eq!(client.command(&["WATCH", "w"]), Reply::ok());
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
            Reply::Integer(7)
        );
        assert_eq!(client.command(&["UNWATCH"]), Reply::ok());
    });
}

#[test]
fn flushed_scripts_are_gone_from_every_node_and_from_the_ambassador() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        for wrong in [
            &["SCRIPT", "FLUSH", "SOON"][..],
            &["SCRIPT", "FLUSH", "SYNC", "more"],
        ] {
            assert!(client.command(wrong).is_error());
            assert!(!client.command(&["EVALSHA", &sha, "1", "n"]).is_error());
        }
        for right in [
            &["SCRIPT", "FLUSH"][..],
            &["script", "flush", "async"],
            &["SCRIPT", "FLUSH", "SYNC"],
        ] {
            load(client, ONE);
            let replies = client.pipeline(&[
                &["SET", "a", "1"],
                right,
                &["EVALSHA", &sha, "1", "n"],
                &["GET", "a"],
            ]);
            assert_eq!(replies[1], Reply::ok());
            assert_eq!(replies[2].error(), group.master.flavor().no_script());
            assert_eq!(replies[3], Reply::bulk("1"));
            for node in group.nodes() {
                wait_until(|| node.command(&["SCRIPT", "EXISTS", &sha]).items() == [Reply::Integer(0)]);
            }
        }
        load(client, ONE);
        assert!(!client.command(&["EVALSHA", &sha, "1", "n"]).is_error());
    });
}

#[test]
fn a_script_runs_on_the_next_master_though_it_was_never_loaded_there() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
            Reply::Integer(1)
        );
        group.wait_in_sync();
        let next = &group.replicas[0];
        assert_eq!(next.command(&["SCRIPT", "FLUSH"]), Reply::ok());
        assert_eq!(next.command(&["REPLICAOF", "NO", "ONE"]), Reply::ok());
        let port = next.port().to_string();
        for node in [&group.master, &group.replicas[1]] {
            assert_eq!(node.command(&["REPLICAOF", "127.0.0.1", &port]), Reply::ok());
        }
        wait_until(|| {
            let reply = client.command(&["EVALSHA", &sha, "1", "n"]);
            assert!(
                !reply.is_error() || !reply.error().starts_with("NOSCRIPT"),
                "{reply:?}"
            );
            next.calls("evalsha") > 0 && !reply.is_error()
        });
    });
}

#[test]
fn a_script_with_large_arguments_is_there_too() {
    each(&[], |group, _, client| {
        let body = "redis.call('SET', KEYS[1], ARGV[1]) return #ARGV[1]";
        let large = "x".repeat(3 << 20);
        let sha = load(client, body);
        for _ in 0..2 {
            group.flush_scripts();
            let reply = client.command(&["EVALSHA", &sha, "1", "large", &large]);
            assert_eq!(reply, Reply::Integer(3 << 20));
        }
        group.flush_scripts();
        assert_eq!(client.command(&["MULTI"]), Reply::ok());
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "large", &large]).text(),
            "QUEUED"
        );
        assert_eq!(client.command(&["EXEC"]).items(), [Reply::Integer(3 << 20)]);
    });
}
