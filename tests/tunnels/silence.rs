//! Where replies are missing, or more than replies come: CLIENT REPLY, MONITOR, a client that has said all it had to say.

use crate::support::{Ambassador, Client, Reply, beside_a_plain_server, eventually};
use crate::{CHANGED, SUBSCRIBED, bytes, same_story};

const TRACKS: &[&[&str]] = &[
    &["CLIENT", "TRACKING", "ON", "REDIRECT", "999999"],
    CHANGED[0],
    CHANGED[1],
    CHANGED[2],
];

const OFF: &[&str] = &["CLIENT", "REPLY", "OFF"];
const ON: &[&str] = &["CLIENT", "REPLY", "ON"];
const SKIP: &[&str] = &["CLIENT", "REPLY", "SKIP"];

#[test]
fn a_reset_that_is_skipped_has_no_reply_and_holds_nothing_up() {
    beside_a_plain_server(|plain, _, ambassador| {
        for opened in [&[][..], CHANGED, SUBSCRIBED, TRACKS] {
            for mode in [SKIP, OFF, ON] {
                let story: Vec<&[&str]> = [opened, &[mode, &["RESET"], &["PING", "z"]]].concat();
                same_story(plain, ambassador, &bytes(&story), true);
            }
        }
    });
}

#[test]
fn what_monitor_shows_is_not_taken_for_a_reply() {
    beside_a_plain_server(|plain, _, ambassador| {
        for request in [
            &["CLIENT", "KILL", "ID", "999999"][..],
            &["CLIENT", "KILL", "ID", "x"],
            &["CLIENT", "KILL", "1.2.3.4:5"],
            &["CLIENT", "LIST", "ID", "999999"],
            &["CLIENT", "UNBLOCK", "999999"],
            &["MULTI"],
            &["GET", "a"],
        ] {
            let story = bytes(&[&["MONITOR"], request, &["PING"], request, &["QUIT"]]);
            same_story(plain, ambassador, &story, false);
        }
    });
}

#[test]
fn a_user_who_may_not_kill_may_not_after_monitor_either() {
    beside_a_plain_server(|_, _, ambassador| {
        let mut victim = ambassador.client();
        let id = victim.command(&["CLIENT", "ID"]).integer().to_string();
        let rules = [
            "ACL",
            "SETUSER",
            "u",
            "on",
            ">p",
            "~*",
            "&*",
            "+@all",
            "-client|kill",
        ];
        assert_eq!(victim.command(&rules), Reply::ok());
        for opened in [&["MONITOR"][..], &["CLIENT", "REPLY", "ON"], &["SUBSCRIBE", "c"]] {
            let mut killer = ambassador.client();
            killer.command(&["HELLO", "3", "AUTH", "u", "p"]);
            killer.command(opened);
            killer.send(&["CLIENT", "KILL", "ID", &id]);
            killer.send(&["ECHO", "the end"]);
            let told = killer.read_up_to(b"the end\r\n").expect("it goes on");
            let told = told.escape_ascii().to_string();
            assert!(told.contains("-NOPERM"), "{told}");
            assert_eq!(victim.command(&["PING"]).text(), "PONG");
        }
        victim.command(&["ACL", "DELUSER", "u"]);
    });
}

fn tunnel(ambassador: &Ambassador) -> Client {
    let mut client = ambassador.client();
    client.hello(3);
    assert_eq!(client.command(&["CLIENT", "TRACKING", "ON"]), Reply::ok());
    client
}

#[test]
fn what_is_silent_is_done_all_the_same() {
    beside_a_plain_server(|_, _, ambassador| {
        for mode in [OFF, SKIP] {
            let mut victim = ambassador.client();
            let id = victim.command(&["CLIENT", "ID"]).integer().to_string();
            let mut killer = tunnel(ambassador);
            killer.send(mode);
            killer.send(&["CLIENT", "KILL", "ID", &id]);
            killer.send(ON);
            assert_eq!(killer.read_reply(), Reply::ok(), "nothing but this");
            assert_eq!(victim.read_to_close().ok(), Some(Vec::new()));

            let mut blocked = ambassador.client();
            let id = blocked.command(&["CLIENT", "ID"]).integer().to_string();
            blocked.send(&["BLPOP", "nothing", "0"]);
            let mut looks = ambassador.client();
            eventually(crate::support::PATIENCE, || {
                let list = looks.command(&["CLIENT", "LIST", "ID", &id]).text();
                list.contains("cmd=blpop").then_some(())
            });
            killer.send(mode);
            killer.send(&["CLIENT", "UNBLOCK", &id, "ERROR"]);
            killer.send(ON);
            assert_eq!(killer.read_reply(), Reply::ok());
            assert!(blocked.read_reply().error().starts_with("UNBLOCKED"));
        }
    });
}

#[test]
fn a_client_reply_that_was_refused_changes_nothing() {
    beside_a_plain_server(|plain, _, ambassador| {
        let story: Vec<&[&str]> =
            [SUBSCRIBED, &[OFF, &["UNSUBSCRIBE"], &["CLIENT", "UNBLOCK", "9"]]].concat();
        same_story(plain, ambassador, &bytes(&story), true);

        let mut client = ambassador.client();
        let rules = [
            "ACL",
            "SETUSER",
            "v",
            "on",
            ">p",
            "~*",
            "&*",
            "+@all",
            "-client|reply",
        ];
        assert_eq!(client.command(&rules), Reply::ok());
        client.command(&["HELLO", "3", "AUTH", "v", "p"]);
        let own = client.command(&["CLIENT", "ID"]);
        client.command(&["CLIENT", "TRACKING", "ON"]);
        assert!(client.command(OFF).error().starts_with("NOPERM"));
        assert_eq!(client.command(&["CLIENT", "UNBLOCK", "9"]), Reply::Integer(0));
        assert_eq!(client.command(&["CLIENT", "ID"]), own);
        assert!(client.command(&["DEBUG", "x"]).error().contains("Instead: "));
    });
}

#[test]
fn who_has_said_all_is_told_all() {
    beside_a_plain_server(|plain, _, ambassador| {
        for opened in [&[][..], CHANGED, SUBSCRIBED, TRACKS, &[&["MONITOR"]]] {
            for last in [
                &["PING"][..],
                &["GET", "a"],
                &["CLIENT", "UNBLOCK", "999999"],
                &["CLIENT", "KILL", "ID", "999999"],
                &["LRANGE", "l", "0", "-1"],
            ] {
                let story: Vec<&[&str]> = [opened, &[last, last]].concat();
                let said = [plain.port(), ambassador.port()].map(|port| {
                    let mut client = Client::connect(port);
                    client.send_raw(&bytes(&story));
                    client.close_sending();
                    crate::shown(&client.read_to_close().expect("it ends"))
                });
                assert_eq!(said[1], said[0], "{story:?}");
            }
        }
        let failures = ambassador.metric("redis_ambassador_node_failures_total");
        assert!(failures < 0.5, "{failures} connections failed");
    });
}

#[test]
fn ten_thousands_in_one_write_are_each_told_their_own() {
    beside_a_plain_server(|_, _, ambassador| {
        let mut client = tunnel(ambassador);
        let own = client.command(&["CLIENT", "ID"]);
        let refused = client.command(&["DEBUG", "x"]);
        let count = 30_000;
        let mut requests = Vec::new();
        for _ in 0..count {
            requests.extend(bytes(&[&["CLIENT", "ID"], &["DEBUG", "x"]]));
        }
        let mut sender = client.second();
        let sending = std::thread::spawn(move || sender.send_raw(&requests));
        for number in 0..count {
            assert_eq!(client.read_reply(), own, "{number}");
            assert_eq!(client.read_reply(), refused, "{number}");
        }
        sending.join().expect("it can be sent");
    });
}
