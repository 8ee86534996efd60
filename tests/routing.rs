//! Where commands run, by the servers' own counters: reads on replicas, what is about the master on the master,
//! and never a write where it would be refused.

mod support;

use support::{Ambassador, Flavor, Group, Reply};

const DATA: [&[&str]; 7] = [
    &["SET", "text", "value"],
    &["RPUSH", "list", "a", "b"],
    &["PFADD", "hll", "a", "b", "c"],
    &["XADD", "stream", "1-1", "f", "v"],
    &["XGROUP", "CREATE", "stream", "group", "0"],
    &["ZADD", "sorted", "1", "a"],
    &["HSET", "hash", "f", "v"],
];

/// Requests, and the name under which the servers count them.
const ON_REPLICAS: [(&[&str], &str); 12] = [
    (&["GET", "text"], "get"),
    (&["get", "text"], "get"),
    (&["MGET", "text", "nosuch"], "mget"),
    (&["PFCOUNT", "hll"], "pfcount"),
    (&["HGETALL", "hash"], "hgetall"),
    (&["ZRANGE", "sorted", "0", "-1", "WITHSCORES"], "zrange"),
    (&["XRANGE", "stream", "-", "+"], "xrange"),
    (&["XREAD", "COUNT", "1", "STREAMS", "stream", "0"], "xread"),
    (&["SORT_RO", "list", "ALPHA"], "sort_ro"),
    (&["TYPE", "text"], "type"),
    (&["KEYS", "*"], "keys"),
    (
        &["EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "text"],
        "eval_ro",
    ),
];

const ON_THE_MASTER: [(&[&str], &str); 26] = [
    (&["TOUCH", "text"], "touch"),
    (&["OBJECT", "IDLETIME", "text"], "object|idletime"),
    (&["OBJECT", "ENCODING", "text"], "object|encoding"),
    (&["MEMORY", "USAGE", "text"], "memory|usage"),
    (&["DBSIZE"], "dbsize"),
    (&["ROLE"], "role"),
    (&["TIME"], "time"),
    (&["PUBLISH", "channel", "message"], "publish"),
    (&["SPUBLISH", "channel", "message"], "spublish"),
    (&["SLOWLOG", "GET"], "slowlog|get"),
    (&["LATENCY", "LATEST"], "latency|latest"),
    (&["CONFIG", "GET", "maxmemory"], "config|get"),
    (&["COMMAND", "COUNT"], "command|count"),
    (&["ACL", "WHOAMI"], "acl|whoami"),
    (&["PUBSUB", "CHANNELS"], "pubsub|channels"),
    (&["LASTSAVE"], "lastsave"),
    (&["FUNCTION", "LIST"], "function|list"),
    (
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", "text"],
        "eval",
    ),
    (&["XREAD", "BLOCK", "1", "STREAMS", "stream", "$"], "xread"),
    (&["OBJECT", "REFCOUNT", "text"], "object|refcount"),
    (&["MEMORY", "DOCTOR"], "memory|doctor"),
    (&["CLUSTER", "INFO"], "cluster|info"),
    (&["XPENDING", "stream", "group"], "xpending"),
    (&["XINFO", "STREAM", "stream"], "xinfo|stream"),
    (&["XINFO", "GROUPS", "stream"], "xinfo|groups"),
    (&["XINFO", "CONSUMERS", "stream", "group"], "xinfo|consumers"),
];

/// Of each, whatever proxies have been seen to take for a read.
const WRITES: [&[&str]; 14] = [
    &["GETSET", "text", "new"],
    &["GETDEL", "text"],
    &["GETEX", "text", "EX", "100"],
    &["XADD", "stream", "*", "f", "v"],
    &["XREADGROUP", "GROUP", "group", "one", "STREAMS", "stream", ">"],
    &["XACK", "stream", "group", "1-1"],
    &["XAUTOCLAIM", "stream", "group", "one", "0", "0"],
    &["SPOP", "nosuch"],
    &["LMPOP", "1", "list", "LEFT"],
    &["PFMERGE", "hll", "hll"],
    &["PFDEBUG", "GETREG", "hll"],
    &["SWAPDB", "1", "2"],
    &["COPY", "hash", "copy"],
    &["FLUSHALL"],
];

fn fill(group: &Group) {
    group.master.command(&["FLUSHALL"]);
    for words in DATA {
        assert!(!group.master.command(words).is_error(), "{words:?}");
    }
    group.wait_in_sync();
}

#[test]
fn reads_run_on_replicas_and_what_is_about_the_master_runs_there() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        fill(&group);
        for version in [2, 3] {
            let mut client = ambassador.client();
            client.hello(version);
            for (words, counted) in ON_REPLICAS {
                group.reset_stats();
                let reply = client.command(words);
                assert!(!reply.is_error(), "{words:?}: {reply:?}");
                assert_eq!(group.master.calls(counted), 0, "{} {words:?}", flavor.name());
                let calls: u64 = group.replica_calls(counted).iter().sum();
                assert_eq!(calls, 1, "{} {words:?}", flavor.name());
            }
            for (words, counted) in ON_THE_MASTER {
                group.reset_stats();
                client.command(words);
                // The master passes it on to its replicas, as their own command.
                let replicated = u64::from(counted.ends_with("publish"));
                assert!(group.master.calls(counted) > 0, "{} {words:?}", flavor.name());
                assert!(
                    group
                        .replica_calls(counted)
                        .iter()
                        .all(|calls| *calls <= replicated),
                    "{} {words:?}: {:?}",
                    flavor.name(),
                    group.replica_calls(counted)
                );
            }
        }
    }
}

/// Consumers, deliveries and idle times are not all replicated: re-reading one's own entries, polling an empty stream
/// and a claim that claims nothing change the master alone, for good (`t_stream.c`).
#[test]
fn the_consumers_of_a_stream_are_those_of_the_master() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        for words in [
            &["XADD", "s", "1-0", "f", "v"][..],
            &["XGROUP", "CREATE", "s", "g", "0"],
            &["XREADGROUP", "GROUP", "g", "works", "STREAMS", "s", ">"],
            &["XREADGROUP", "GROUP", "g", "polls", "STREAMS", "s", ">"],
            &["XAUTOCLAIM", "s", "g", "claims", "3600000", "0"],
            &["XREADGROUP", "GROUP", "g", "works", "STREAMS", "s", "0"],
            &["XREADGROUP", "GROUP", "g", "works", "STREAMS", "s", "0"],
        ] {
            let reply = client.command(words);
            assert!(!reply.is_error(), "{words:?}: {reply:?}");
        }
        group.wait_in_sync();
        for round in 0..10 {
            let entry = client.command(&["XPENDING", "s", "g", "-", "+", "10"]).items()[0].items();
            assert_eq!(entry[3], Reply::Integer(3), "{flavor}, round {round}: deliveries");
            for words in [&["XINFO", "GROUPS", "s"][..], &["XINFO", "STREAM", "s", "FULL"]] {
                assert_eq!(
                    client.command(words),
                    group.master.command(words),
                    "{flavor} {words:?}"
                );
            }
            let names = |reply: Reply| {
                let consumers = reply.items().into_iter();
                consumers
                    .map(|consumer| consumer.items()[1].text())
                    .collect::<Vec<_>>()
            };
            let words = ["XINFO", "CONSUMERS", "s", "g"];
            assert_eq!(
                names(client.command(&words)),
                names(group.master.command(&words)),
                "{flavor}"
            );
        }
    }
}

#[test]
fn nothing_that_writes_reaches_a_replica_as_a_command() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        for version in [2, 3] {
            let mut client = ambassador.client();
            client.hello(version);
            fill(&group);
            group.reset_stats();
            for words in WRITES {
                let reply = client.command(words);
                assert!(
                    !matches!(&reply, Reply::Error(text) if text.starts_with("READONLY")),
                    "{words:?}"
                );
            }
            for replica in &group.replicas {
                let errors = replica.info("errorstats");
                assert!(!errors.contains_key("errorstat_READONLY"), "{errors:?}");
            }
        }
        assert!(ambassador.metric("redis_ambassador_commands_reclassified_total") < 0.5);
    }
}

#[test]
fn the_application_sees_one_master() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        for version in [2, 3] {
            let mut client = ambassador.client();
            let hello = client.hello(version);
            assert_eq!(
                hello.field("role").map(|role| role.text()).as_deref(),
                Some("master")
            );
            for _ in 0..20 {
                let info = client.command(&["INFO", "replication"]).text();
                assert!(info.contains("role:master"), "{info}");
                assert_eq!(client.command(&["ROLE"]).items()[0].text(), "master");
            }
            assert!(client.command(&["INFO"]).text().contains("loading:0"));
        }
    }
}

#[test]
fn what_acts_on_a_node_is_refused_with_what_to_do_instead() {
    let group = Group::start(Flavor::Redis8, 1);
    let ambassador = Ambassador::over(&group);
    let mut client = ambassador.client();
    for (words, instead) in [
        (&["SHUTDOWN", "NOSAVE"][..], "stop the server where it runs"),
        (&["REPLICAOF", "NO", "ONE"], "change roles with Sentinel"),
        (&["FAILOVER"], "change roles with Sentinel"),
        (&["DEBUG", "SLEEP", "0"], "connect to the node itself"),
        (&["SAVE"], "use BGSAVE"),
        (&["CLUSTER", "RESET"], "run it on the node itself"),
        (&["PSYNC", "?", "-1"], "replicate from a node directly"),
    ] {
        let reply = client.command(words);
        let text = reply.error();
        assert!(
            text.starts_with("ERR redis-ambassador refuses") && text.contains(instead),
            "{text}"
        );
    }
    assert_eq!(client.command(&["ECHO", "in step"]), Reply::bulk("in step"));
}
