//! Own connections for good (after SUBSCRIBE, CLIENT TRACKING, and what changes a connection inside MULTI): what the
//! client gets there is what a plain server sends, byte for byte, also where the ambassador answers, refuses or closes.

mod silence;
#[path = "../support/mod.rs"]
mod support;

use support::{Ambassador, Client, Flavor, Group, Reply, Server, beside_a_plain_server, eventually};

/// Commands as one write.
fn bytes(commands: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for words in commands {
        bytes.extend(format!("*{}\r\n", words.len()).bytes());
        for word in *words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
    }
    bytes
}

/// What a new connection is told of these bytes: until it is closed, or (`goes_on`) until it has answered what comes
/// behind them.
#[track_caller]
fn told(port: u16, sent: &[u8], goes_on: bool) -> String {
    let mut client = Client::connect(port);
    client.send_raw(sent);
    let answer = if goes_on {
        client.send(&["ECHO", "the end"]);
        client.read_up_to(b"the end\r\n")
    } else {
        client.read_to_close()
    };
    let beginning = sent[..sent.len().min(200)].escape_ascii();
    shown(&answer.unwrap_or_else(|error| panic!("{beginning}: {error}")))
}

/// An answer without what MONITOR shows, which has times and addresses in it.
fn shown(answer: &[u8]) -> String {
    answer
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !is_of_monitor(line))
        .map(|line| line.escape_ascii().to_string())
        .collect()
}

fn is_of_monitor(line: &[u8]) -> bool {
    line.first() == Some(&b'+') && line.get(1).is_some_and(u8::is_ascii_digit)
}

/// Both are told the same.
#[track_caller]
fn same_story(plain: &Server, ambassador: &Ambassador, sent: &[u8], goes_on: bool) {
    assert_eq!(
        told(ambassador.port(), sent, goes_on),
        told(plain.port(), sent, goes_on),
        "{}",
        sent[..sent.len().min(300)].escape_ascii()
    );
}

const SUBSCRIBED: &[&[&str]] = &[&["SUBSCRIBE", "news"]];

/// A change of the connection inside a transaction.
const CHANGED: &[&[&str]] = &[&["MULTI"], &["SELECT", "0"], &["EXEC"]];

#[test]
fn replies_to_what_was_good_come_before_a_protocol_error() {
    let lines: [&[u8]; 6] = [
        b"*1\r\n$-5\r\n",
        b"*1\r\n#4\r\n",
        b"*-x\r\n",
        b"*2147483648\r\n",
        b"GET \"unbalanced\r\n",
        b"*1\r\n$99999999999\r\n",
    ];
    // One byte more than servers look through for the end of a line.
    let endless = vec![b'1'; 64 * 1024 + 1];
    // Passed on as it comes, and wrong in the middle.
    let large = [
        &b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n"[..],
        &vec![b'x'; 300_000],
    ]
    .concat();
    let mut bad: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
    bad.push(endless.clone());
    bad.push([b"*", &endless[1..], b"1"].concat());
    bad.push([b"*2\r\n$", &endless[1..], b"1"].concat());
    bad.push([&large[..], b"\r\n$-1\r\n"].concat());
    bad.push([&large[..], b"\r\n!1\r\n"].concat());
    let good = bytes(&[&["DEL", "n"], &["INCR", "n"], &["INCR", "n"]]);
    beside_a_plain_server(|plain, _, ambassador| {
        // A subscriber is refused INCR, and that is a reply too. Without a tunnel and in a transaction it is the same.
        for opened in [CHANGED, SUBSCRIBED, &[], &[&["MULTI"]]] {
            for bad in &bad {
                let story = [&bytes(opened)[..], &good, bad].concat();
                same_story(plain, ambassador, &story, false);
            }
        }
        let silent = [
            &bytes(CHANGED)[..],
            &bytes(&[&["CLIENT", "REPLY", "OFF"]]),
            lines[0],
        ]
        .concat();
        same_story(plain, ambassador, &silent, false);
    });
}

#[test]
fn what_is_refused_is_told_in_its_place_with_what_to_do_instead_whatever_its_size() {
    beside_a_plain_server(|_, _, ambassador| {
        let huge = "x".repeat(400_000);
        for size in [10, 400_000] {
            let mut client = ambassador.client();
            client.command(&["SUBSCRIBE", "news"]);
            let outside = ambassador.client().command(&["DEBUG", &huge[..size]]);
            assert!(outside.text().contains("Instead: "), "{outside:?}");
            client.send(&["DEBUG", &huge[..size]]);
            client.send(&["PING", "after"]);
            assert_eq!(client.read_reply(), outside);
            assert_eq!(
                client.read_reply(),
                Reply::Array(vec![Reply::bulk("pong"), Reply::bulk("after")])
            );
            client.command(&["UNSUBSCRIBE"]);
            let replies = client.pipeline(&[&["MULTI"], &["DEBUG", "x"], &["SET", "k", "v"]]);
            assert_eq!(
                replies[1].text(),
                ambassador.client().command(&["DEBUG", "x"]).text()
            );
            let kill = client.command(&["CLIENT", "KILL", "ID", "1"]);
            assert!(kill.text().contains("Instead: send it before MULTI"), "{kill:?}");
            assert!(client.command(&["EXEC"]).text().starts_with("EXECABORT"));
        }
        // The same before there is a tunnel.
        let mut client = ambassador.client();
        client.command(&["MULTI"]);
        let debug = client.command(&["DEBUG", "x"]);
        assert_eq!(debug, ambassador.client().command(&["DEBUG", "x"]));
        let kill = client.command(&["CLIENT", "KILL", "ID", "1"]);
        assert!(kill.text().contains("Instead: send it before MULTI"), "{kill:?}");
        assert!(client.command(&["EXEC"]).text().starts_with("EXECABORT"));
    });
}

#[test]
fn client_reply_inside_a_transaction_costs_what_it_costs_on_a_plain_server() {
    beside_a_plain_server(|plain, _, ambassador| {
        let skip: &[&str] = &["CLIENT", "REPLY", "SKIP"];
        let off: &[&str] = &["CLIENT", "REPLY", "OFF"];
        let on: &[&str] = &["CLIENT", "REPLY", "ON"];
        let stories: [&[&[&str]]; 6] = [
            &[
                &["MULTI"],
                skip,
                &["SET", "a", "2"],
                &["EXEC"],
                &["PING", "x"],
                &["MULTI"],
                &["PING", "y"],
                &["EXEC"],
            ],
            &[
                &["MULTI"],
                &["SET", "a", "1"],
                skip,
                &["EXEC"],
                &["CLIENT", "ID"],
                &["PING"],
            ],
            &[
                &["MULTI"],
                off,
                &["SET", "a", "1"],
                &["EXEC"],
                &["CLIENT", "ID"],
                on,
                &["PING"],
            ],
            &[&["MULTI"], skip, &["EXEC"], &["CLIENT", "NOSUCH"], &["PING"]],
            &[
                &["MULTI"],
                skip,
                &["EXEC"],
                &["RESET"],
                &["PING"],
                &["SCAN", "0", "COUNT", "1000"],
            ],
            &[
                &["MULTI"],
                off,
                on,
                &["EXEC"],
                &["GET", "a"],
                &["SELECT", "1"],
                &["GET", "a"],
            ],
        ];
        for story in stories {
            same_story(plain, ambassador, &bytes(story), true);
        }
    });
}

#[test]
fn clients_are_listed_killed_and_unblocked_from_a_tunnel() {
    beside_a_plain_server(|plain, group, ambassador| {
        let mut tunnel = ambassador.client();
        tunnel.hello(3);
        assert_eq!(tunnel.command(&["CLIENT", "TRACKING", "ON"]), Reply::ok());
        let own = tunnel.command(&["CLIENT", "ID"]).integer();
        let mut other = ambassador.client();
        other.command(&["CLIENT", "SETNAME", "other"]);
        let id = other.command(&["CLIENT", "ID"]).integer().to_string();
        let list = tunnel.command(&["CLIENT", "LIST"]).text();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(
            lines.len(),
            2,
            "the ambassador's clients, not the master's: {lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("id={own} "))),
            "{lines:?}"
        );
        let info = tunnel.command(&["CLIENT", "INFO"]).text();
        assert!(info.starts_with(&format!("id={own} ")), "{info}");
        assert!(
            info.contains(" flags=t ") && info.contains(" cmd=client|info "),
            "{info}"
        );
        let with_options = tunnel.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        assert_eq!(with_options.text().lines().count(), 2, "{with_options:?}");

        other.send(&["BLPOP", "empty", "0"]);
        let unblocked = eventually(support::PATIENCE, || {
            let reply = tunnel.command(&["CLIENT", "UNBLOCK", &id, "ERROR"]).integer();
            (reply == 1).then_some(reply)
        });
        assert_eq!(unblocked, 1);
        assert!(other.read_reply().text().starts_with("UNBLOCKED"));
        // In one write, and in its place.
        let replies = tunnel.pipeline(&[&["INCR", "n"], &["CLIENT", "KILL", "ID", &id], &["INCR", "n"]]);
        assert_eq!(replies[1], Reply::Integer(1));
        assert_eq!(replies[2].integer(), replies[0].integer() + 1);
        assert!(other.read_to_close().is_ok());
        assert_eq!(tunnel.command(&["CLIENT", "KILL", "ID", &id]), Reply::Integer(0));
        let mut plain = Client::connect(plain.port());
        for words in [
            &["CLIENT", "KILL", "ID", "x"][..],
            &["CLIENT", "KILL"],
            &["CLIENT", "UNBLOCK", "-1"],
            &["CLIENT", "UNBLOCK", "x"],
            &["CLIENT", "KILL", "1.2.3.4:5"],
            &["CLIENT", "LIST", "TYPE", "x"],
        ] {
            support::same(&mut plain, &mut tunnel, words);
        }
        // A RESP2 subscriber may not, and it is the server that says so.
        let mut subscriber = ambassador.client();
        for client in [&mut plain, &mut subscriber] {
            client.command(&["SUBSCRIBE", "news"]);
        }
        let no = support::same(&mut plain, &mut subscriber, &["CLIENT", "KILL", "ID", "1"]);
        assert!(no.is_error(), "{no:?}");
        plain.command(&["UNSUBSCRIBE"]);

        // Itself, behind the answer.
        let own = own.to_string();
        tunnel.send(&["CLIENT", "KILL", "ID", &own, "SKIPME", "no"]);
        assert_eq!(tunnel.read_reply(), Reply::Integer(1));
        assert_eq!(tunnel.read_to_close().map(|rest| rest.len()).ok(), Some(0));
        not_hit(group);
    });
}

/// Nobody has killed connections on the master itself: its replica is still the same client.
fn not_hit(group: &Group) {
    let info = group.master.client().command(&["INFO", "replication"]);
    assert!(info.text().contains("connected_slaves:1"), "{info:?}");
}

#[test]
fn a_redirection_to_what_is_no_id_is_refused_as_on_a_plain_server() {
    beside_a_plain_server(|plain, _, ambassador| {
        for id in ["+1", "01", "-1", " 1", "x", "99999999999999999999", "1 "] {
            let story = bytes(&[&["CLIENT", "TRACKING", "ON", "REDIRECT", id]]);
            same_story(plain, ambassador, &story, true);
        }
    });
}

#[test]
fn an_option_of_hello_is_shown_as_it_came() {
    beside_a_plain_server(|plain, _, ambassador| {
        for option in [&b"\xff\xfe"[..], b"a\0b", b"", b"two\r\nlines", "é".as_bytes()] {
            let head = format!("*3\r\n$5\r\nHELLO\r\n$1\r\n3\r\n${}\r\n", option.len());
            let story = [head.as_bytes(), option, b"\r\n"].concat();
            same_story(plain, ambassador, &story, true);
        }
    });
}

#[test]
fn a_kill_in_a_transaction_or_beside_a_subscription_cuts_no_shared_link() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        let mut other = ambassador.client();
        other.command(&["SET", "a", "1"]);
        let mut killer = ambassador.client();
        killer.hello(3);
        let replies = killer.pipeline(&[
            &["MULTI"],
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
            &["EXEC"],
        ]);
        assert!(replies[1].is_error(), "{replies:?}");
        assert!(replies[2].error().starts_with("EXECABORT"), "{replies:?}");
        killer.command(&["SUBSCRIBE", "news"]);
        // The victim shares its connections to the nodes with one that is not meant.
        let mut victim = ambassador.client();
        victim.command(&["SET", "a", "1"]);
        let victim_id = victim.command(&["CLIENT", "ID"]).integer().to_string();
        let reply = killer.command(&["CLIENT", "KILL", "ID", &victim_id]);
        assert_eq!(reply, Reply::Integer(1));
        assert!(victim.read_to_close().is_ok());
        for _ in 0..20 {
            assert_eq!(other.command(&["SET", "a", "2"]), Reply::ok());
            assert_eq!(other.command(&["ECHO", "in step"]), Reply::bulk("in step"));
        }
        let lost = ambassador.metric("redis_ambassador_node_failures_total");
        assert!(lost < 0.5, "{lost} connections were cut");
    }
}
