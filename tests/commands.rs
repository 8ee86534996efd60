//! The command table: the embedded one fits the real servers, their own word is merged, the user's goes above.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod support;

use redis_ambassador::commands::{
    Class, ClientHandling, Command, CommandOverride, Handling, KeyRange, Layer, Table,
};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use support::{Flavor, Server};

fn class(table: &Table, request: &[&str]) -> Option<Class> {
    let arguments: Vec<&[u8]> = request.iter().map(|word| word.as_bytes()).collect();
    table
        .lookup(arguments[0], arguments.get(1).copied())
        .map(|command| command.class_of(arguments))
}

#[test]
fn the_embedded_table_knows_what_kind_each_command_is() {
    let table = Table::embedded();
    let cases: [(&[&str], Option<Class>); 32] = [
        (&["GET", "a"], Some(Class::Read)),
        (&["gEt", "a"], Some(Class::Read)),
        (&["SET", "a", "b"], Some(Class::Write)),
        (&["GETEX", "a"], Some(Class::Read)),
        (&["GETEX", "a", "EX", "1"], Some(Class::Write)),
        (&["GETSET", "a", "b"], Some(Class::Write)),
        (&["XADD", "s", "*", "f", "v"], Some(Class::Write)),
        (&["SORT", "a"], Some(Class::Read)),
        (&["SORT", "a", "STORE", "b"], Some(Class::Write)),
        (&["SORT_RO", "a"], Some(Class::Read)),
        (&["PFCOUNT", "a"], Some(Class::Read)),
        (&["TOUCH", "a"], Some(Class::Master)),
        (&["DBSIZE"], Some(Class::Master)),
        (&["INFO"], Some(Class::Master)),
        (&["PUBLISH", "a", "b"], Some(Class::Master)),
        (&["CONFIG", "GET", "x"], Some(Class::Master)),
        (&["OBJECT", "ENCODING", "a"], Some(Class::Master)),
        (&["object", "freq", "a"], Some(Class::Master)),
        (&["OBJECT", "NOSUCH", "a"], Some(Class::Master)),
        (&["PING"], Some(Class::Any)),
        (&["BLPOP", "a", "0"], Some(Class::Blocking)),
        (&["XREAD", "STREAMS", "block", "0"], Some(Class::Read)),
        (
            &["XREAD", "BLOCK", "0", "STREAMS", "a", "0"],
            Some(Class::Blocking),
        ),
        (
            &["XREADGROUP", "GROUP", "g", "c", "block", "0", "STREAMS", "a", ">"],
            Some(Class::Blocking),
        ),
        (
            &["XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", ">"],
            Some(Class::Write),
        ),
        (&["EVAL", "return 1", "0"], Some(Class::Script)),
        (&["EVAL_RO", "return 1", "0"], Some(Class::Read)),
        (&["SUBSCRIBE", "a"], Some(Class::Pubsub)),
        (&["MONITOR"], Some(Class::Stream)),
        (&["SHUTDOWN"], Some(Class::Refused)),
        (&["CLIENT", "SETNAME", "a"], Some(Class::Session)),
        (&["NO.SUCH", "a"], None),
    ];
    for (request, expected) in cases {
        assert_eq!(class(table, request), expected, "{request:?}");
    }
}

#[test]
fn commands_with_code_of_their_own_are_handled_by_it() {
    let table = Table::embedded();
    let cases = [
        ("select", None, Handling::Select),
        ("auth", None, Handling::Auth),
        ("hello", None, Handling::Hello),
        ("reset", None, Handling::Reset),
        ("quit", None, Handling::Quit),
        ("client", Some("id"), Handling::Client(ClientHandling::Id)),
        ("client", Some("nosuch"), Handling::Client(ClientHandling::Other)),
        ("client", None, Handling::Client(ClientHandling::Other)),
        ("client", Some("pause"), Handling::Client(ClientHandling::Pause)),
        ("readonly", None, Handling::Cluster),
        ("asking", None, Handling::Cluster),
        ("multi", None, Handling::Multi),
        ("exec", None, Handling::Exec),
        ("discard", None, Handling::Discard),
        ("watch", None, Handling::Watch),
        ("unwatch", None, Handling::Unwatch),
        ("wait", None, Handling::Wait),
        ("waitaof", None, Handling::Wait),
        ("xread", None, Handling::BlockOption),
        ("get", None, Handling::Forward),
    ];
    for (name, second, handling) in cases {
        let command = table.lookup(name.as_bytes(), second.map(str::as_bytes)).unwrap();
        assert_eq!(command.handling, handling, "{name} {second:?}");
    }
}

/// The server's own COMMAND, as the control connection decodes it.
fn command_reply(server: &Server) -> OwnedFrame {
    let mut client = server.client();
    client.command(&["COMMAND"]);
    let (frame, taken) = decode(client.last_bytes()).unwrap().unwrap();
    assert_eq!(taken, client.last_bytes().len());
    frame
}

#[test]
fn the_word_of_the_servers_it_was_made_from_changes_only_what_they_do_not_know() {
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);

        let merged = Table::embedded().with_server(&command_reply(&server));

        let mut changed: Vec<String> = Vec::new();
        let mut counted = 0;
        for command in merged.iter() {
            let (name, second) = parts(&command.name);
            let before = Table::embedded()
                .lookup(name, second)
                .filter(|before| before.name == command.name);
            counted += 1;
            let unknown = second.is_some() && !serves(&server, &command.name);
            if before != Some(command) && !unknown {
                changed.push(format!("{before:?} became {command:?}"));
            }
        }
        assert!(changed.is_empty(), "{flavor}: {changed:#?}");
        assert_eq!(counted, Table::embedded().iter().count(), "{flavor}");
    }
}

/// Whether the server itself knows a subcommand.
fn serves(server: &Server, name: &str) -> bool {
    let info = server.command(&["COMMAND", "INFO", name]);
    info.items()
        .first()
        .is_some_and(|entry| *entry != support::Reply::Null)
}

fn parts(name: &str) -> (&[u8], Option<&[u8]>) {
    match name.split_once('|') {
        Some((container, sub)) => (container.as_bytes(), Some(sub.as_bytes())),
        None => (name.as_bytes(), None),
    }
}

#[test]
fn commands_that_the_table_does_not_know_come_in_by_the_server_s_flags() {
    let server = Server::start(Flavor::Redis7, &[]);

    let table = Table::default().with_server(&command_reply(&server));

    let cases: [(&[&str], Class); 7] = [
        (&["GET", "a"], Class::Read),
        (&["SET", "a", "b"], Class::Write),
        (&["BLPOP", "a", "0"], Class::Blocking),
        (&["PUBLISH", "a", "b"], Class::Master),
        (&["CONFIG", "GET", "a"], Class::Master),
        (&["OBJECT", "ENCODING", "a"], Class::Read),
        (&["XGROUP", "CREATE", "a"], Class::Write),
    ];
    for (request, expected) in cases {
        assert_eq!(class(&table, request), Some(expected), "{request:?}");
    }
    let mset = table.lookup(b"mset", None).unwrap();
    assert_eq!(
        mset.keys,
        KeyRange {
            first: 1,
            last: -1,
            step: 2
        }
    );
    assert_eq!(table.explain(&["MGET", "a", "b"]).layer, Some(Layer::Server));
}

fn entry(name: &str, flags: &[&str]) -> OwnedFrame {
    let flags = flags
        .iter()
        .map(|flag| OwnedFrame::SimpleString(flag.as_bytes().to_vec()))
        .collect();
    OwnedFrame::Array(vec![
        OwnedFrame::BulkString(name.as_bytes().to_vec()),
        OwnedFrame::Integer(2),
        OwnedFrame::Array(flags),
        OwnedFrame::Integer(1),
        OwnedFrame::Integer(1),
        OwnedFrame::Integer(1),
    ])
}

#[test]
fn the_server_corrects_what_its_flags_contradict_and_leaves_judgements() {
    // name, the server's flags, class after
    let cases: [(&str, &[&str], Class); 7] = [
        ("get", &["write", "denyoom"], Class::Write),
        ("set", &["readonly"], Class::Read),
        ("get", &[], Class::Read),
        ("touch", &["readonly", "fast"], Class::Master),
        ("eval", &["write"], Class::Script),
        ("wait", &["readonly"], Class::Blocking),
        ("shutdown", &["readonly"], Class::Refused),
    ];
    for (name, flags, expected) in cases {
        let table = Table::embedded().with_server(&OwnedFrame::Array(vec![entry(name, flags)]));
        assert_eq!(class(&table, &[name]), Some(expected), "{name} {flags:?}");
    }
    let table = Table::embedded().with_server(&OwnedFrame::Array(vec![entry("get", &["write"])]));
    let explanation = table.explain(&["get", "a"]);
    assert_eq!(explanation.layer, Some(Layer::Server));
    assert!(
        explanation.why.contains("the table said read"),
        "{}",
        explanation.why
    );
}

#[test]
fn malformed_entries_are_skipped_and_the_others_are_not() {
    let long = "x".repeat(10_000);
    let OwnedFrame::Array(mut cut) = entry("my.cut", &["write"]) else {
        unreachable!()
    };
    cut.truncate(5);
    let reply = OwnedFrame::Array(vec![
        OwnedFrame::Null,
        OwnedFrame::Integer(7),
        OwnedFrame::Array(Vec::new()),
        OwnedFrame::Array(cut),
        entry("", &["write"]),
        entry("|", &["write"]),
        entry("get|", &["write"]),
        entry(&long, &["write"]),
        entry("my.get", &["readonly"]),
    ]);

    let table = Table::embedded().with_server(&reply);

    assert_eq!(class(&table, &["MY.GET", "a"]), Some(Class::Read));
    assert_eq!(table.iter().count(), Table::embedded().iter().count() + 1);
    let odd = Table::embedded().with_server(&OwnedFrame::Error("NOPERM".to_owned()));
    assert_eq!(odd.iter().count(), Table::embedded().iter().count());
}

fn change(name: &str, class: Option<Class>, keys: Option<KeyRange>) -> CommandOverride {
    CommandOverride {
        name: name.to_owned(),
        class,
        keys,
    }
}

#[test]
fn the_user_s_changes_go_above_everything() {
    let keys = KeyRange {
        first: 2,
        last: 2,
        step: 1,
    };
    let table = Table::embedded()
        .with_overrides(&[
            change("my.get", Some(Class::Read), Some(keys)),
            change("get", Some(Class::Master), None),
            change("config|get", Some(Class::Any), None),
            change("config", Some(Class::Refused), None),
            change("debug", Some(Class::Master), None),
            change("quit", Some(Class::Refused), None),
            change("my.own", None, None),
        ])
        .unwrap();

    let cases: [(&[&str], Class); 7] = [
        (&["MY.GET", "x", "key"], Class::Read),
        (&["GET", "a"], Class::Master),
        (&["CONFIG", "GET", "a"], Class::Any),
        (&["CONFIG", "SET", "a", "b"], Class::Refused),
        (&["DEBUG", "SLEEP", "1"], Class::Master),
        (&["QUIT"], Class::Refused),
        (&["MY.OWN"], Class::Master),
    ];
    for (request, expected) in cases {
        assert_eq!(class(&table, request), Some(expected), "{request:?}");
    }
    let explanation = table.explain(&["my.get", "x", "key", "y"]);
    assert_eq!(explanation.keys, ["key"]);
    assert_eq!(explanation.layer, Some(Layer::User));
    assert_eq!(table.lookup(b"quit", None).unwrap().handling, Handling::Forward);
}

#[test]
fn changes_that_would_mix_up_connections_are_refused() {
    let cases = [
        ("select", Class::Read),
        ("multi", Class::Write),
        ("subscribe", Class::Read),
        ("blpop", Class::Write),
        ("client|id", Class::Master),
        ("psync", Class::Master),
        ("wait", Class::Any),
        ("get", Class::Transaction),
        ("my.own", Class::Session),
        ("a b", Class::Read),
        ("a|b|c", Class::Read),
        ("", Class::Read),
    ];
    for (name, class) in cases {
        let result = Table::embedded().with_overrides(&[change(name, Some(class), None)]);
        let error = result.expect_err(name);
        assert_eq!(error.name, name);
        assert!(error.expected.starts_with("expected "), "{error}");
    }
}

#[test]
fn keys_are_found_where_the_table_says() {
    let cases: [(&[&str], &[&str]); 17] = [
        (&["GET", "a"], &["a"]),
        (&["MSET", "a", "1", "b", "2"], &["a", "b"]),
        (&["BLPOP", "a", "b", "0"], &["a", "b"]),
        (&["BITOP", "AND", "d", "a", "b"], &["d", "a", "b"]),
        (&["OBJECT", "ENCODING", "a"], &["a"]),
        (&["PING"], &[]),
        (&["MGET"], &[]),
        (&["EVAL", "return 1", "2", "a", "b", "x"], &["a", "b"]),
        (&["EVAL", "return 1", "many"], &[]),
        (&["EVAL", "return 1", "9223372036854775807", "a"], &["a"]),
        (&["EVAL"], &[]),
        (
            &["XREAD", "COUNT", "1", "streams", "a", "b", "0", "0"],
            &["a", "b"],
        ),
        (&["XREAD", "COUNT", "1"], &[]),
        (
            &["ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"],
            &["d", "a", "b"],
        ),
        (&["LMPOP", "1", "a", "LEFT"], &["a"]),
        (
            &["MIGRATE", "h", "1", "", "0", "9", "KEYS", "a", "b"],
            &["", "a", "b"],
        ),
        (&["GEORADIUS", "k", "1", "2", "3", "m", "STORE", "d"], &["k", "d"]),
    ];
    for (request, keys) in cases {
        assert_eq!(Table::embedded().explain(request).keys, keys, "{request:?}");
    }
}

#[test]
fn a_command_put_in_by_hand_is_found() {
    let mut table = Table::default();
    let get = Table::embedded().lookup(b"get", None).unwrap();
    table.insert(Command {
        name: "my.container|get".to_owned(),
        ..get.clone()
    });
    assert_eq!(class(&table, &["MY.CONTAINER", "GET", "a"]), Some(Class::Read));
    assert_eq!(class(&table, &["MY.CONTAINER", "SET", "a"]), Some(Class::Master));
}

#[test]
fn allow_dangerous_lets_through_what_is_refused_and_the_user_can_still_refuse() {
    let table = Table::embedded()
        .with_dangerous()
        .with_overrides(&[change("debug", Some(Class::Refused), None)])
        .unwrap();

    let cases: [(&[&str], Class); 6] = [
        (&["SHUTDOWN"], Class::Master),
        (&["CLUSTER", "MEET", "h", "1"], Class::Master),
        (&["PSYNC", "?", "-1"], Class::Stream),
        (&["SCRIPT", "DEBUG", "YES"], Class::Stream),
        (&["DEBUG", "SLEEP", "1"], Class::Refused),
        (&["GET", "a"], Class::Read),
    ];
    for (request, expected) in cases {
        assert_eq!(class(&table, request), Some(expected), "{request:?}");
    }
}

#[test]
fn what_the_server_does_not_know_is_left_to_the_server() {
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);
        let table = Table::embedded().with_server(&command_reply(&server));
        let no_touch = table.lookup(b"client", Some(b"no-touch")).unwrap();
        let expected = if flavor == Flavor::Redis7 {
            Handling::Forward
        } else {
            Handling::Client(ClientHandling::Switch)
        };
        assert_eq!(no_touch.handling, expected, "{}", flavor.name());
    }
    // An old server without SORT_RO, one entry for each command that it knows.
    let entry = |name: &str| {
        OwnedFrame::Array(vec![
            OwnedFrame::BulkString(name.as_bytes().to_vec()),
            OwnedFrame::Integer(-2),
            OwnedFrame::Array(vec![OwnedFrame::SimpleString(b"write".to_vec())]),
            OwnedFrame::Integer(1),
            OwnedFrame::Integer(1),
            OwnedFrame::Integer(1),
        ])
    };
    let table = Table::embedded().with_server(&OwnedFrame::Array(vec![entry("sort"), entry("set")]));
    let request = [&b"SORT"[..], b"a"];
    assert_eq!(
        table.lookup(b"sort", None).unwrap().class_of(request),
        Class::Write
    );
    assert_eq!(
        Table::embedded().lookup(b"sort", None).unwrap().class_of(request),
        Class::Read
    );
}
