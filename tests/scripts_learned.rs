//! Which scripts the ambassador remembers from EVAL: those that a server has run, whoever asked it to, and no others.

mod support;

use support::{Ambassador, Client, Flavor, Group, Reply, wait_until};

const USER: [&str; 9] = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "&*", "+@all"];
const REFUSED: [&str; 10] = [
    "ACL",
    "SETUSER",
    "reader",
    "reset",
    "on",
    ">pw",
    "~*",
    "&*",
    "+@all",
    "-@scripting",
];

fn each(story: impl Fn(&Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        for node in group.nodes() {
            assert_eq!(node.command(&USER), Reply::ok());
            assert_eq!(node.command(&REFUSED), Reply::ok());
        }
        group.wait_in_sync();
        let ambassador = Ambassador::over_with(&group, &["--workers", "1"]);
        wait_until(|| ambassador.metric("redis_ambassador_node_usable{") > 1.5);
        story(&group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

fn login(ambassador: &Ambassador, user: &str) -> Client {
    let mut client = ambassador.client();
    if user != "default" {
        assert_eq!(client.command(&["AUTH", user, "pw"]), Reply::ok());
    }
    client
}

/// The name of a script, from a server that is then made to forget it.
fn name_of(group: &Group, body: &str) -> String {
    let sha = group.master.command(&["SCRIPT", "LOAD", body]).text();
    group.flush_scripts();
    sha
}

#[test]
fn a_script_that_ran_is_known_whoever_ran_it_and_on_whatever_connection() {
    each(|group, ambassador| {
        for (number, user) in ["app", "default"].into_iter().enumerate() {
            let body = |way: &str| format!("return '{way} {number}'");
            let ways: [(&str, &[&[&str]]); 7] = [
                ("alone", &[&["EVAL", "alone", "0"]]),
                ("eval_ro", &[&["EVAL_RO", "eval_ro", "0"]]),
                ("loaded", &[&["SCRIPT", "LOAD", "loaded"]]),
                ("in multi", &[&["MULTI"], &["EVAL", "in multi", "0"], &["EXEC"]]),
                (
                    "beside an id",
                    &[
                        &["MULTI"],
                        &["CLIENT", "ID"],
                        &["EVAL", "beside an id", "0"],
                        &["EXEC"],
                    ],
                ),
                (
                    "watching",
                    &[&["WATCH", "w"], &["EVAL", "watching", "0"], &["UNWATCH"]],
                ),
                (
                    "loaded while watching",
                    &[
                        &["WATCH", "w"],
                        &["SCRIPT", "LOAD", "loaded while watching"],
                        &["UNWATCH"],
                    ],
                ),
            ];
            for at_once in [true, false] {
                for (way, line) in ways {
                    let mut client = login(ambassador, user);
                    let script = format!("{} -- {at_once}", body(way));
                    let sha = name_of(group, &script);
                    let line: Vec<Vec<&str>> = line
                        .iter()
                        .map(|words| {
                            words
                                .iter()
                                .map(|word| if *word == way { &*script } else { word })
                                .collect()
                        })
                        .collect();
                    let line: Vec<&[&str]> = line.iter().map(Vec::as_slice).collect();
                    if at_once {
                        client.pipeline(&line);
                    } else {
                        for words in line {
                            client.command(words);
                        }
                    }
                    group.flush_scripts();
                    let reply = client.command(&["EVALSHA", &sha, "0"]);
                    assert_eq!(reply, Reply::bulk(format!("{way} {number}")), "{user}: {way}");
                }
            }
        }
    });
}

/// A script with an error has run; the error names it.
#[test]
fn a_script_that_failed_is_known() {
    each(|group, ambassador| {
        let body = "return redis.call('NOSUCH')";
        let sha = name_of(group, body);
        let mut client = login(ambassador, "app");
        let wanted = client.command(&["EVAL", body, "0"]);
        group.flush_scripts();
        assert_eq!(client.command(&["EVALSHA", &sha, "0"]), wanted);
    });
}

#[test]
fn what_did_not_run_is_not_known() {
    each(|group, ambassador| {
        let ways: [(&str, &[&[&str]]); 5] = [
            ("reader", &[&["EVAL", "BODY", "0"]]),
            ("reader", &[&["SCRIPT", "LOAD", "BODY"]]),
            ("default", &[&["EVAL", "BODY", "1"]]),
            ("default", &[&["MULTI"], &["EVAL", "BODY", "0"], &["DISCARD"]]),
            (
                "app",
                &[
                    &["WATCH", "w"],
                    &["SET", "w", "1"],
                    &["MULTI"],
                    &["EVAL", "BODY", "0"],
                    &["EXEC"],
                ],
            ),
        ];
        for (number, (user, line)) in ways.into_iter().enumerate() {
            for at_once in [true, false] {
                let body = format!("return '{number} {at_once}'");
                let sha = name_of(group, &body);
                let mut client = login(ambassador, user);
                let line: Vec<Vec<&str>> = line
                    .iter()
                    .map(|words| {
                        words
                            .iter()
                            .map(|word| if *word == "BODY" { &*body } else { word })
                            .collect()
                    })
                    .collect();
                let line: Vec<&[&str]> = line.iter().map(Vec::as_slice).collect();
                if at_once {
                    client.pipeline(&line);
                } else {
                    for words in &line {
                        client.command(words);
                    }
                }
                let reply = ambassador.client().command(&["EVALSHA", &sha, "0"]);
                assert_eq!(
                    reply.error(),
                    group.master.flavor().no_script(),
                    "{user}: {line:?}"
                );
            }
        }
    });
}

/// There is room for few scripts: what does not compile takes none of it for long.
#[test]
fn what_does_not_compile_drives_nothing_out() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 0);
        let config = format!(
            "[upstream]\nmaster = \"{}\"\n[limits]\nscripts = \"64KiB\"\n",
            group.master.address()
        );
        let ambassador = Ambassador::with_config(&config, &["--workers", "1"]);
        let body = "return 'stays'";
        let sha = name_of(&group, body);
        let mut client = ambassador.client();
        client.command(&["EVAL", body, "0"]);
        for number in 0..100 {
            let wrong = format!("return ( -- {number}{}", "x".repeat(1000));
            assert!(client.command(&["EVAL", &wrong, "0"]).is_error());
            assert!(client.command(&["SCRIPT", "LOAD", &wrong]).is_error());
        }
        group.flush_scripts();
        assert_eq!(
            client.command(&["EVALSHA", &sha, "0"]),
            Reply::bulk("stays"),
            "{flavor}"
        );
    }
}
