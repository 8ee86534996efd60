//! Functions, bounds, users, silence: what else there is to scripts.

use super::*;

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
        group.flush_scripts();
        assert_eq!(
            client.command(&["EVALSHA", &huge, "0"]).error(),
            group.master.flavor().no_script()
        );
        assert_eq!(
            client.command(&["EVALSHA", &shas[0], "0"]).error(),
            group.master.flavor().no_script()
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
        group.flush_scripts();
        assert_eq!(
            runner.command(&["EVALSHA", &sha, "1", "n"]).error(),
            group.master.flavor().no_script()
        );
        let replies = runner.pipeline(&[&["MULTI"], &["EVALSHA", &sha, "1", "n"], &["EXEC"]]);
        assert_eq!(replies[2].items()[0].error(), group.master.flavor().no_script());
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
            group.master.flavor().no_script()
        );
        let sha = load(client, &body);
        assert_eq!(
            client.command(&["EVALSHA", &sha, "0"]).error(),
            group.master.flavor().no_script()
        );
        assert_eq!(
            client.command(&["EVAL", &body, "0"]).error(),
            group.master.flavor().no_script()
        );
        assert_eq!(group.master.command(&["GET", "ran"]).text(), "2");
    });
}

#[test]
fn silence_covers_the_clients_commands_and_none_of_the_ambassadors() {
    each(&[], |group, _, client| {
        let sha = load(client, ONE);
        group.flush_scripts();
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
