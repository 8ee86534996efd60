//! SORT, GEORADIUS, GEORADIUSBYMEMBER, BITFIELD and GETEX: on replicas where they only read, on the master where they
//! write, and every reply what a plain server's is.

mod support;

use support::{Ambassador, Flavor, Group, Reply, Server, same};

const DATA: [&[&str]; 5] = [
    &["RPUSH", "list", "3", "1", "2"],
    &[
        "MSET", "weight_1", "30", "weight_2", "20", "weight_3", "10", "bits", "abc",
    ],
    &[
        "GEOADD",
        "places",
        "13.361389",
        "38.115556",
        "Palermo",
        "15.087269",
        "37.502669",
        "Catania",
    ],
    &["SET", "text", "value"],
    &["SADD", "members", "b", "a", "c"],
];

/// A request, and the form in which it runs on a replica.
const READS: [(&[&str], &str); 14] = [
    (&["SORT", "list"], "sort_ro"),
    (&["sort", "list", "DESC", "LIMIT", "0", "2"], "sort_ro"),
    (&["SORT", "members", "ALPHA"], "sort_ro"),
    (
        &["SORT", "list", "BY", "weight_*", "GET", "#", "GET", "weight_*"],
        "sort_ro",
    ),
    (&["SORT", "text"], "sort_ro"),
    (
        &["GEORADIUS", "places", "15", "37", "200", "km", "WITHDIST", "ASC"],
        "georadius_ro",
    ),
    (
        &[
            "GEORADIUSBYMEMBER",
            "places",
            "Palermo",
            "200",
            "km",
            "WITHCOORD",
            "ASC",
        ],
        "georadiusbymember_ro",
    ),
    (
        &["BITFIELD", "bits", "GET", "u8", "0", "GET", "i4", "#1"],
        "bitfield_ro",
    ),
    (&["BITFIELD", "bits"], "bitfield_ro"),
    (&["BITFIELD", "list", "GET", "u8", "0"], "bitfield_ro"),
    (&["BITFIELD", "bits", "GET", "u99", "0"], "bitfield_ro"),
    (&["GETEX", "text"], "get"),
    (&["GETEX", "nosuch"], "get"),
    (&["GETEX", "list"], "get"),
];

const WRITES: [&[&str]; 10] = [
    &["SORT", "list", "STORE", "sorted"],
    &["SORT", "list", "DESC", "sTore", "sorted"],
    &["GEORADIUS", "places", "15", "37", "200", "km", "STORE", "near"],
    &[
        "GEORADIUSBYMEMBER",
        "places",
        "Palermo",
        "200",
        "km",
        "STOREDIST",
        "near",
    ],
    &["BITFIELD", "bits", "SET", "u8", "0", "65"],
    &["BITFIELD", "bits", "GET", "u8", "0", "INCRBY", "u8", "0", "1"],
    &["GETEX", "text", "EX", "100"],
    &["GETEX", "text", "PERSIST"],
    &["GETEX", "text", "NOSUCH"],
    &["SORT"],
];

#[test]
fn what_only_reads_runs_on_replicas_and_what_writes_on_the_master() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        for words in DATA {
            plain.command(words);
            group.master.command(words);
        }
        group.wait_in_sync();
        for version in [2, 3] {
            let (mut ours, mut theirs) = (ambassador.client(), plain.client());
            ours.hello(version);
            theirs.hello(version);
            for (words, form) in READS {
                group.reset_stats();
                same(&mut theirs, &mut ours, words);
                assert_eq!(group.master.calls(form), 0, "{words:?}");
                let calls: u64 = group.replica_calls(form).iter().sum();
                assert_eq!(calls, 1, "{words:?}");
            }
            for words in WRITES {
                group.reset_stats();
                same(&mut theirs, &mut ours, words);
                for form in [
                    "sort_ro",
                    "georadius_ro",
                    "georadiusbymember_ro",
                    "bitfield_ro",
                    "get",
                ] {
                    assert_eq!(group.replica_calls(form).iter().sum::<u64>(), 0, "{words:?}");
                }
            }
        }
        // In a pipeline behind a write, and in a transaction, they stay with it.
        let mut ours = ambassador.client();
        let replies = ours.pipeline(&[&["RPUSH", "list", "0"], &["SORT", "list", "LIMIT", "0", "1"]]);
        assert_eq!(replies[1].items(), [Reply::bulk("0")]);
        let replies = ours.pipeline(&[&["MULTI"], &["RPUSH", "list", "-1"], &["SORT", "list"], &["EXEC"]]);
        assert_eq!(replies[3].items()[1].items()[0], Reply::bulk("-1"));
    }
}

#[test]
fn who_may_use_only_one_of_command_and_read_only_form_gets_what_a_plain_server_says() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        let clerk = [
            "ACL", "SETUSER", "clerk", "on", ">pw", "~*", "+sort", "+getex", "+echo",
        ];
        let reader = ["ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+echo"];
        // Who does not log in may be limited too.
        let nobody = ["ACL", "SETUSER", "default", "-sort_ro", "-bitfield_ro"];
        for rule in [&clerk[..], &reader, &nobody] {
            for server in group.nodes().chain([&plain]) {
                assert_eq!(server.command(rule), Reply::ok());
            }
        }
        for words in DATA {
            plain.command(words);
            group.master.command(words);
        }
        group.wait_in_sync();
        for user in [None, Some("clerk"), Some("reader")] {
            let (mut ours, mut theirs) = (ambassador.client(), plain.client());
            for client in [&mut ours, &mut theirs] {
                if let Some(user) = user {
                    assert_eq!(client.command(&["AUTH", user, "pw"]), Reply::ok());
                }
            }
            for words in [
                &["SORT", "list"][..],
                &["GETEX", "text"],
                &["BITFIELD", "bits", "GET", "u8", "0"],
                &["GET", "text"],
                &["SORT_RO", "list"],
            ] {
                same(&mut theirs, &mut ours, words);
            }
            assert_eq!(ours.command(&["ECHO", "in step"]), Reply::bulk("in step"));
        }
    }
}
