//! Scripts that a demoted master refuses, and scripts that say by themselves what it would have said.

use super::*;

const OWN: [&str; 4] = [
    "LOADING my own state",
    "MASTERDOWN upstream",
    "READONLY by me",
    // To the letter.
    "READONLY You can't write against a read only replica.",
];

fn says(error: &str) -> String {
    format!("redis.call('INCR', 'ran') return redis.error_reply(\"{error}\")")
}

#[test]
fn a_script_that_says_itself_that_its_node_is_no_master_runs_once() {
    each(&[], |group, ambassador, client| {
        for error in OWN {
            let body = says(error);
            let sha = load(client, &body);
            let function = format!(
                "#!lua name=own\nredis.register_function('own', function() {body} end)\n\
                 redis.register_function('called', function() redis.call('INCR', 'ran') return redis.error_reply(redis.call('GET', 'text')) end)"
            );
            client.command(&["FUNCTION", "LOAD", "REPLACE", &function]);
            client.command(&["SET", "text", error]);
            let stored = load(
                client,
                "redis.call('INCR', 'ran') return redis.error_reply(ARGV[1])",
            );
            // A script that the ambassador knows nothing of.
            let unknown = format!("{body} -- {:?}", Instant::now());
            let unknown = group.master.command(&["SCRIPT", "LOAD", &unknown]).text();
            let all: [&[&str]; 6] = [
                &["EVALSHA", &sha, "0"],
                &["EVALSHA", &unknown, "0"],
                &["EVALSHA", &stored, "0", error],
                &["EVAL", &body, "0"],
                &["FCALL", "own", "0"],
                &["FCALL", "called", "0"],
            ];
            let began = Instant::now();
            for words in all {
                client.command(&["SET", "ran", "0"]);
                assert_eq!(client.command(words).error(), error, "{words:?}");
                // What is behind it in a pipeline runs all the same, and in order.
                let replies = client.pipeline(&[words, &["INCR", "ran"], &["GET", "ran"]]);
                assert_eq!(replies[0].error(), error, "{words:?}");
                assert_eq!(replies[1..], [Reply::Integer(3), Reply::bulk("3")], "{words:?}");
                // On a connection of its own.
                client.command(&["WATCH", "elsewhere"]);
                assert_eq!(client.command(words).error(), error, "{words:?}");
                client.command(&["MULTI"]);
                client.command(words);
                assert_eq!(client.command(&["EXEC"]).items()[0].error(), error, "{words:?}");
                assert_eq!(
                    group.master.command(&["GET", "ran"]),
                    Reply::bulk("5"),
                    "{words:?}"
                );
            }
            assert!(began.elapsed() < Duration::from_secs(3), "nothing waited");
            assert!(ambassador.metric("redis_ambassador_held_commands") < 0.5);
        }
    });
}

#[test]
fn what_a_demoted_master_refuses_runs_on_the_next_one_whatever_its_text() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        let sha = load(&mut client, "return redis.call('INCR', KEYS[1])");
        let library = "#!lua name=lib\nredis.register_function('poke', function(keys) return redis.call('INCR', keys[1]) end)";
        client.command(&["FUNCTION", "LOAD", library]);
        let speaks = "if ARGV[1] == 'READONLY' then return redis.call('INCR', KEYS[1]) end";
        let spoken = load(&mut client, speaks);
        group.wait_in_sync();
        let all: [&[&str]; 8] = [
            &["INCRBY", "READONLY LOADING MASTERDOWN", "1"],
            &["EVALSHA", &sha, "1", "a"],
            &["EVALSHA", &sha, "1", "b", "they said READONLY"],
            &["EVALSHA", &spoken, "1", "c", "READONLY"],
            &["EVAL", speaks, "1", "d", "READONLY"],
            &["EVAL", "#!lua\nreturn redis.call('INCR', KEYS[1])", "1", "e"],
            &["EVAL", "return redis.pcall('INCR', KEYS[1])", "1", "f"],
            &["FCALL", "poke", "1", "g"],
        ];
        let mut clients: Vec<Client> = all.iter().map(|_| ambassador.client()).collect();
        let port = group.replicas[0].port().to_string();
        group.master.command(&["REPLICAOF", "127.0.0.1", &port]);
        for (client, words) in clients.iter_mut().zip(all) {
            client.send(words);
        }
        for client in &mut clients {
            assert!(client.is_silent(Duration::from_millis(20)), "{flavor}: refused");
        }
        group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
        for (client, words) in clients.iter_mut().zip(all) {
            assert_eq!(client.read_reply(), Reply::Integer(1), "{flavor}: {words:?}");
        }
    }
}
