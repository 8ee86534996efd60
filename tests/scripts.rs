//! Scripts and functions through the ambassador: every node knows them, whoever forgot them and however they came.

mod support;

use std::time::{Duration, Instant};

use support::{Ambassador, Client, Flavor, Group, Reply, eventually, wait_until};

const ONE: &str = "return {KEYS[1], redis.call('INCR', KEYS[1])}";
const READ: &str = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
/// How each server says that it lacks a script.
fn no_script(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Valkey8 => "NOSCRIPT No matching script.",
        Flavor::Redis7 | Flavor::Redis8 => "NOSCRIPT No matching script. Please use EVAL.",
    }
}

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

fn flush_directly(group: &Group) {
    for node in group.nodes() {
        assert_eq!(node.command(&["SCRIPT", "FLUSH"]), Reply::ok());
    }
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
        flush_directly(group);
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
        flush_directly(group);
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
            flush_directly(group);
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
            flush_directly(group);
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
        flush_directly(group);
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
            assert_eq!(replies[2].error(), no_script(group.master.flavor()));
            assert_eq!(replies[3], Reply::bulk("1"));
            for node in group.nodes() {
                wait_until(|| node.command(&["SCRIPT", "EXISTS", &sha]).items() == [Reply::Integer(0)]);
            }
        }
        load(client, ONE);
        assert!(!client.command(&["EVALSHA", &sha, "1", "n"]).is_error());
    });
}

/// Kills until the victim says that it was: a read may have gone on elsewhere when its node fell silent.
#[track_caller]
fn kill(client: &mut Client, what: &str, victim: &mut Client) {
    wait_until(|| client.command(&[what, "KILL"]) == Reply::ok());
    let end = Instant::now() + support::PATIENCE;
    while victim.is_silent(Duration::from_millis(50)) && Instant::now() < end {
        let reply = client.command(&[what, "KILL"]);
        assert!(
            reply == Reply::ok() || reply.error().starts_with("NOTBUSY"),
            "{reply:?}"
        );
    }
    let end = victim.read_reply();
    assert!(end.error().contains("killed"), "{end:?}");
}

#[test]
fn an_endless_script_is_killed_wherever_it_runs() {
    each(&[], |group, ambassador, client| {
        for node in group.nodes() {
            node.command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
        }
        assert!(client.command(&["SCRIPT", "KILL"]).error().starts_with("NOTBUSY"));
        assert!(
            client
                .command(&["FUNCTION", "KILL"])
                .error()
                .starts_with("NOTBUSY")
        );
        client.command(&["SELECT", "1"]);
        for command in ["EVAL", "EVAL_RO"] {
            let mut endless = ambassador.client();
            endless.send(&[command, "while true do end", "0"]);
            kill(client, "SCRIPT", &mut endless);
        }
        let library = "#!lua name=endless\nredis.register_function{function_name='endless', callback=function() while true do end end, flags={'no-writes'}}";
        assert_eq!(
            client.command(&["FUNCTION", "LOAD", library]),
            Reply::bulk("endless")
        );
        let mut endless = ambassador.client();
        endless.send(&["FCALL", "endless", "0"]);
        kill(client, "FUNCTION", &mut endless);
        assert_eq!(client.command(&["SET", "still", "here"]), Reply::ok());
        // A node that says nothing holds nobody up for long.
        group.replicas[0].freeze();
        client.set_timeout(Duration::from_secs(5));
        assert!(client.command(&["SCRIPT", "KILL"]).error().starts_with("NOTBUSY"));
        group.replicas[0].thaw();
    });
}

#[test]
fn a_script_that_wrote_cannot_be_killed() {
    each(&[], |group, ambassador, client| {
        group
            .master
            .command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
        let mut writer = ambassador.client();
        let body = "redis.call('SET', 'w', '1') local t = redis.call('TIME')[1] + 2 while redis.call('TIME')[1] + 0 < t do end return 'done'";
        writer.send(&["EVAL", body, "0"]);
        let _ = client.command(&["PING"]);
        wait_until(|| {
            client
                .command(&["SCRIPT", "KILL"])
                .error()
                .starts_with("UNKILLABLE")
        });
        let end = writer.read_reply();
        assert!(end == Reply::bulk("done") || end.is_error(), "{end:?}");
    });
}

#[test]
fn functions_are_the_masters_and_read_on_replicas() {
    each(&[], |group, _, client| {
        let library = "#!lua name=lib\nredis.register_function{function_name='peek', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}\nredis.register_function('poke', function(keys) return redis.call('INCR', keys[1]) end)";
        assert_eq!(client.command(&["FUNCTION", "LOAD", library]), Reply::bulk("lib"));
        // At once, though it may not have been replicated yet.
        for _ in 0..20 {
            let reply = client.command(&["FCALL_RO", "peek", "1", "k"]);
            assert_eq!(reply, Reply::Null);
        }
        assert_eq!(client.command(&["FCALL", "poke", "1", "k"]), Reply::Integer(1));
        group.wait_in_sync();
        group.reset_stats();
        for _ in 0..20 {
            assert_eq!(client.command(&["FCALL_RO", "peek", "1", "k"]), Reply::bulk("1"));
        }
        assert_eq!(group.replica_calls("fcall_ro").iter().sum::<u64>(), 20);
        assert_eq!(group.master.calls("fcall_ro"), 0);
        assert_eq!(
            client.command(&["FCALL_RO", "nosuch", "0"]).error(),
            "ERR Function not found"
        );
        assert!(client.command(&["FCALL_RO", "poke", "1", "k"]).is_error());
        // Replicas that do not know it: the master is asked.
        for replica in &group.replicas {
            replica.command(&["CONFIG", "SET", "replica-read-only", "no"]);
            assert_eq!(replica.command(&["FUNCTION", "FLUSH"]), Reply::ok());
            replica.command(&["CONFIG", "SET", "replica-read-only", "yes"]);
        }
        assert_eq!(client.command(&["FCALL_RO", "peek", "1", "k"]), Reply::bulk("1"));
        assert_eq!(group.master.calls("fcall_ro"), 3, "two errors above, and this");
        assert_eq!(client.command(&["FUNCTION", "LIST"]).items().len(), 1);
        assert!(!client.command(&["FUNCTION", "STATS"]).is_error());
        let Reply::Bulk(dump) = client.command(&["FUNCTION", "DUMP"]) else {
            panic!("FUNCTION DUMP")
        };
        assert_eq!(client.command(&["FUNCTION", "DELETE", "lib"]), Reply::ok());
        assert!(client.command(&["FCALL", "poke", "1", "k"]).is_error());
        assert_eq!(
            client.command(&[b"FUNCTION", &b"RESTORE"[..], &dump]),
            Reply::ok()
        );
        assert_eq!(client.command(&["FCALL", "poke", "1", "k"]), Reply::Integer(2));
        assert_eq!(client.command(&["FUNCTION", "FLUSH"]), Reply::ok());
        assert!(client.command(&["FUNCTION", "LIST"]).items().is_empty());
    });
}

#[test]
fn bodies_beyond_the_bound_are_forgotten_and_a_longer_one_is_never_kept() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 0);
        let config = format!(
            "[upstream]\nmaster = \"{}\"\n[limits]\nscripts = \"64KiB\"\n",
            group.master.address()
        );
        let ambassador = Ambassador::with_config(&config, &[]);
        let mut client = ambassador.client();
        let body = |number: usize, len: usize| format!("return {number} --{}", "x".repeat(len));
        let shas: Vec<String> = (0..100)
            .map(|number| load(&mut client, &body(number, 1000)))
            .collect();
        let huge = load(&mut client, &body(1000, 64 << 10));
        flush_directly(&group);
        assert_eq!(
            client.command(&["EVALSHA", &huge, "0"]).error(),
            no_script(group.master.flavor())
        );
        assert_eq!(
            client.command(&["EVALSHA", &shas[0], "0"]).error(),
            no_script(group.master.flavor())
        );
        assert_eq!(client.command(&["EVALSHA", &shas[99], "0"]), Reply::Integer(99));
        let known = shas
            .iter()
            .filter(|sha| !client.command(&["EVALSHA", sha, "0"]).is_error())
            .count();
        assert!((40..64).contains(&known), "{known}");
    }
}

#[test]
fn a_user_who_may_load_nothing_runs_what_is_there() {
    each(&[], |group, ambassador, client| {
        for node in group.nodes() {
            node.command(&[
                "ACL", "SETUSER", "runner", "on", ">secret", "~*", "+@all", "-script",
            ]);
        }
        let sha = load(client, ONE);
        let mut runner = ambassador.client();
        assert_eq!(runner.command(&["AUTH", "runner", "secret"]), Reply::ok());
        for round in 1..=3 {
            assert_eq!(
                runner.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
                Reply::Integer(round)
            );
        }
        assert!(
            runner
                .command(&["SCRIPT", "LOAD", ONE])
                .error()
                .starts_with("NOPERM")
        );
        assert!(runner.command(&["SCRIPT", "FLUSH"]).error().starts_with("NOPERM"));
        assert!(runner.command(&["SCRIPT", "KILL"]).error().starts_with("NOPERM"));
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
            Reply::Integer(4)
        );
        flush_directly(group);
        assert_eq!(
            runner.command(&["EVALSHA", &sha, "1", "n"]).error(),
            no_script(group.master.flavor())
        );
        let replies = runner.pipeline(&[&["MULTI"], &["EVALSHA", &sha, "1", "n"], &["EXEC"]]);
        assert_eq!(replies[2].items()[0].error(), no_script(group.master.flavor()));
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
            Reply::Integer(5)
        );
    });
}

#[test]
fn a_script_that_says_itself_that_it_is_missing_runs_once() {
    each(&[], |group, _, client| {
        let body = format!(
            "redis.call('INCR', 'ran') return redis.error_reply('{}')",
            no_script(group.master.flavor())
        );
        let sha = load(client, &body);
        assert_eq!(
            client.command(&["EVALSHA", &sha, "0"]).error(),
            no_script(group.master.flavor())
        );
        assert_eq!(
            client.command(&["EVAL", &body, "0"]).error(),
            no_script(group.master.flavor())
        );
        assert_eq!(group.master.command(&["GET", "ran"]).text(), "2");
    });
}

#[test]
fn silence_covers_the_clients_commands_and_none_of_the_ambassadors() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        flush_directly(group);
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&["EVALSHA", &sha, "1", "n"]);
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "n"]).items()[1],
            Reply::Integer(2)
        );
    });
}

#[test]
fn every_worker_and_every_user_finds_a_script_that_one_client_loaded() {
    each(&[], |group, ambassador, client| {
        let sha = load(client, READ);
        client.command(&["SET", "k", "v"]);
        group.wait_in_sync();
        for round in 0..30 {
            let mut other = ambassador.client();
            if round % 3 == 1 {
                other.hello(3);
            }
            assert_eq!(other.command(&["EVALSHA", &sha, "1", "k"]), Reply::bulk("v"));
            other.command(&["SELECT", "1"]);
            assert_eq!(other.command(&["EVALSHA_RO", &sha, "1", "k"]), Reply::Null);
        }
        // One that only the master was told, by somebody else.
        let direct = group
            .master
            .command(&["SCRIPT", "LOAD", "return 'direct'"])
            .text();
        assert_eq!(client.command(&["EVALSHA", &direct, "0"]), Reply::bulk("direct"));
        assert_eq!(
            client.command(&["EVALSHA_RO", &direct, "0"]),
            Reply::bulk("direct")
        );
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
            flush_directly(group);
            let reply = client.command(&["EVALSHA", &sha, "1", "large", &large]);
            assert_eq!(reply, Reply::Integer(3 << 20));
        }
        flush_directly(group);
        assert_eq!(client.command(&["MULTI"]), Reply::ok());
        assert_eq!(
            client.command(&["EVALSHA", &sha, "1", "large", &large]).text(),
            "QUEUED"
        );
        assert_eq!(client.command(&["EXEC"]).items(), [Reply::Integer(3 << 20)]);
    });
}
