//! Commands that wait, over a failover.

use super::*;

/// Commands that wait, and what releases them.
const WAITING: [(&[&str], &[&str]); 9] = [
    (&["BLPOP", "none", "l1", "0"], &["RPUSH", "l1", "a"]),
    (&["BRPOP", "l2", "60"], &["RPUSH", "l2", "a"]),
    (
        &["BLMOVE", "l3", "to", "LEFT", "RIGHT", "60"],
        &["RPUSH", "l3", "a"],
    ),
    (&["BRPOPLPUSH", "l4", "to", "60"], &["RPUSH", "l4", "a"]),
    (&["BLMPOP", "60", "1", "l5", "LEFT"], &["RPUSH", "l5", "a"]),
    (&["BZPOPMIN", "z1", "60"], &["ZADD", "z1", "1", "a"]),
    (&["BZMPOP", "60", "1", "z2", "MAX"], &["ZADD", "z2", "1", "a"]),
    (
        &["XREAD", "BLOCK", "60000", "STREAMS", "s1", "$"],
        &["XADD", "s1", "5-1", "f", "v"],
    ),
    (
        &[
            "XREADGROUP",
            "GROUP",
            "g",
            "c",
            "BLOCK",
            "60000",
            "STREAMS",
            "s2",
            ">",
        ],
        &["XADD", "s2", "5-1", "f", "v"],
    ),
];

#[test]
fn what_waits_goes_on_waiting_on_the_new_master() {
    for flavor in Flavor::ALL {
        for failover in FAILOVERS {
            let (mut group, ambassador) = over(flavor, 1);
            let mut other = ambassador.client();
            other.command(&["XGROUP", "CREATE", "s2", "g", "$", "MKSTREAM"]);
            let mut clients: Vec<Client> = WAITING.iter().map(|_| ambassador.client()).collect();
            for (client, (command, _)) in clients.iter_mut().zip(WAITING) {
                client.send(command);
            }
            // What came behind a blocked command in one piece waits with it.
            clients[0].send(&["INCR", "behind"]);
            wait_until(|| blocked(&group.master) == WAITING.len());
            failover(&mut group);
            eventually(PATIENCE, || {
                (blocked(&group.master) == WAITING.len()).then_some(())
            });
            for (client, (command, release)) in clients.iter_mut().zip(WAITING) {
                let released = other.command(release);
                assert!(!released.is_error(), "{flavor} {release:?}: {released:?}");
                let reply = client.read_reply();
                assert!(
                    format!("{reply:?}").contains("\"a\"") || format!("{reply:?}").contains("5-1"),
                    "{flavor} {command:?}: {reply:?}"
                );
            }
            assert_eq!(clients[0].read_reply(), Reply::Integer(1), "{flavor}");
            for client in &mut clients {
                assert_eq!(client.command(&["ECHO", "open"]), Reply::bulk("open"));
            }
        }
    }
}

#[test]
fn what_waits_does_so_no_longer_for_a_failover() {
    let (mut group, ambassador) = over(Flavor::Redis7, 1);
    let mut client = ambassador.client();
    let began = Instant::now();
    client.send(&["BLPOP", "none", "4"]);
    wait_until(|| blocked(&group.master) == 1);
    hand_over(&mut group);
    assert_eq!(client.read_reply(), Reply::Null);
    let took = began.elapsed().as_secs_f64();
    assert!((3.9..6.0).contains(&took), "{took} s");
}

#[test]
fn what_waits_under_a_watch_waits_on_and_the_watch_counts_as_touched() {
    for flavor in Flavor::ALL {
        for failover in FAILOVERS {
            let (mut group, ambassador) = over(flavor, 1);
            let (mut client, mut other) = (ambassador.client(), ambassador.client());
            assert_eq!(client.command(&["WATCH", "w"]), Reply::ok());
            client.send(&["BLPOP", "jobs", "60"]);
            wait_until(|| blocked(&group.master) == 1);
            failover(&mut group);
            eventually(PATIENCE, || (blocked(&group.master) == 1).then_some(()));
            other.command(&["RPUSH", "jobs", "a"]);
            assert_eq!(client.read_reply().items()[1], Reply::bulk("a"), "{flavor}");
            client.command(&["MULTI"]);
            assert_eq!(client.command(&["INCR", "n"]).text(), "QUEUED");
            assert_eq!(client.command(&["EXEC"]), Reply::Null, "{flavor}");
            assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1), "{flavor}");
            // Behind it in one piece is what the watch is for: that does not wait again.
            client.send_raw(b"WATCH w\r\nBLPOP jobs 60\r\nMULTI\r\nINCR n\r\nEXEC\r\n");
            assert_eq!(client.read_reply(), Reply::ok());
            wait_until(|| blocked(&group.master) == 1);
            failover(&mut group);
            assert!(client.read_reply().is_error(), "{flavor}");
        }
    }
}

#[test]
fn wait_counts_the_replicas_of_the_new_master() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = over(flavor, 1);
        let mut client = ambassador.client();
        client.command(&["SET", "a", "1"]);
        group.wait_in_sync();
        client.send(&["WAIT", "2", "3000"]);
        wait_until(|| blocked(&group.master) == 1);
        hand_over(&mut group);
        assert_eq!(client.read_reply(), Reply::Integer(1), "{flavor}");
    }
}

#[test]
fn client_unblock_still_reaches_the_client() {
    let (group, ambassador) = over(Flavor::Redis7, 1);
    let mut client = ambassador.client();
    let id = client.command(&["CLIENT", "ID"]).integer().to_string();
    client.send(&["BLPOP", "none", "0"]);
    wait_until(|| blocked(&group.master) == 1);
    let mut other = ambassador.client();
    assert_eq!(
        other.command(&["CLIENT", "UNBLOCK", &id, "ERROR"]),
        Reply::Integer(1)
    );
    assert_eq!(
        client.read_reply().error(),
        "UNBLOCKED client unblocked via CLIENT UNBLOCK"
    );
}

#[test]
fn what_never_reached_a_node_waits_for_one() {
    for flavor in Flavor::ALL {
        let (mut group, ambassador) = over(flavor, 1);
        // Connections to a frozen node are made by its kernel, and never set up.
        group.master.freeze();
        let mut waits = ambassador.client();
        waits.send(&["BLPOP", "l", "0"]);
        let mut queues = ambassador.client();
        queues.send_raw(b"MULTI\r\nINCR n\r\nEXEC\r\nINCR n\r\n");
        let mut watches = ambassador.client();
        watches.send_raw(b"WATCH a\r\nMULTI\r\nINCR m\r\n");
        thread::sleep(Duration::from_millis(50));
        group.master.kill();
        group.master.restart();
        for expected in [
            Reply::ok(),
            Reply::Simple("QUEUED".to_owned()),
            Reply::Array(vec![Reply::Integer(1)]),
            Reply::Integer(2),
        ] {
            assert_eq!(queues.read_reply(), expected, "{flavor}");
        }
        for expected in [Reply::ok(), Reply::ok(), Reply::Simple("QUEUED".to_owned())] {
            assert_eq!(watches.read_reply(), expected, "{flavor}");
        }
        assert_eq!(
            watches.command(&["EXEC"]),
            Reply::Array(vec![Reply::Integer(1)]),
            "{flavor}"
        );
        wait_until(|| blocked(&group.master) == 1);
        queues.command(&["RPUSH", "l", "a"]);
        assert_eq!(
            waits.read_reply(),
            Reply::Array(vec![Reply::bulk("l"), Reply::bulk("a")])
        );
    }
}

#[test]
fn what_finds_no_master_in_time_is_told_so() {
    let group = Group::start(Flavor::Redis7, 1);
    let args = [
        "--master",
        &group.master.address(),
        "--replica",
        &group.replicas[0].address(),
    ];
    let mut group = group;
    let ambassador = Ambassador::with_config("[limits]\nhold = \"1s\"\n", &args);
    group.master.freeze();
    let mut waits = ambassador.client();
    waits.send(&["BLPOP", "l", "0"]);
    let mut queues = ambassador.client();
    queues.send_raw(b"MULTI\r\nINCR n\r\n");
    thread::sleep(Duration::from_millis(50));
    group.master.kill();
    let reply = waits.read_reply();
    assert!(reply.error().starts_with("TRYAGAIN"), "{reply:?}");
    assert_eq!(queues.read_reply(), Reply::ok());
    assert_eq!(queues.read_reply(), Reply::Simple("QUEUED".to_owned()));
    let reply = queues.command(&["EXEC"]);
    assert!(reply.error().starts_with("EXECABORT"), "{reply:?}");
    group.master.restart();
    wait_until(|| queues.command(&["INCR", "n"]) == Reply::Integer(1));
}
