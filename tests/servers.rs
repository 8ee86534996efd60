//! The servers that all other tests stand on do what those tests take for granted, on every flavor.

mod support;

use std::time::Duration;

use support::{Client, Flavor, Group, Reply, Server, wait_until};

#[test]
fn what_is_written_on_the_master_is_read_on_every_replica() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        group.reset_stats();

        assert_eq!(
            group.master.command(&["SET", "color", "blue"]),
            Reply::ok(),
            "{flavor}"
        );
        group.wait_in_sync();

        for replica in &group.replicas {
            assert_eq!(
                replica.command(&["GET", "color"]),
                Reply::bulk("blue"),
                "{flavor}"
            );
            assert!(
                replica
                    .command(&["SET", "color", "red"])
                    .error()
                    .starts_with("READONLY"),
                "{flavor}"
            );
        }
        assert_eq!(group.master.calls("set"), 1, "{flavor}");
        assert_eq!(group.master.calls("get"), 0, "{flavor}");
        assert_eq!(group.replica_calls("get"), [1, 1], "{flavor}");
    }
}

#[test]
fn a_killed_server_comes_back_empty_on_its_port() {
    for flavor in Flavor::ALL {
        let mut server = Server::start(flavor, &["--maxmemory", "50mb"]);
        let (port, pid) = (server.port(), server.pid());
        server.command(&["SET", "color", "blue"]);

        server.kill();
        assert!(Client::try_connect(port).is_err(), "{flavor}: nobody listens");
        server.restart();

        assert_ne!(server.pid(), pid, "{flavor}");
        assert_eq!(server.port(), port, "{flavor}");
        assert_eq!(server.command(&["GET", "color"]), Reply::Null, "{flavor}");
        assert_eq!(
            server.info("memory")["maxmemory"],
            "52428800",
            "{flavor}: the arguments are kept"
        );
    }
}

#[test]
fn a_frozen_server_is_silent_until_it_thaws() {
    let server = Server::start(Flavor::Redis7, &[]);
    let mut client = server.client();

    server.freeze();
    client.send(&["PING"]);
    assert!(client.is_silent(Duration::from_millis(100)));
    server.thaw();

    assert_eq!(client.read_reply(), Reply::Simple("PONG".to_owned()));
}

#[test]
fn a_replica_of_a_killed_master_reports_its_link_down() {
    for flavor in Flavor::ALL {
        let mut group = Group::start(flavor, 1);
        let replica_state =
            |group: &Group| group.replicas[0].info("replication")["master_link_status"].clone();

        group.master.kill();
        wait_until(|| replica_state(&group) == "down");
        group.master.restart();

        wait_until(|| replica_state(&group) == "up");
    }
}

#[test]
fn the_test_client_understands_both_protocols() {
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);
        let mut client = server.client();
        client.command(&["HSET", "h", "field", "1.5"]);

        assert_eq!(client.command(&["HGETALL", "h"]).items().len(), 2);
        assert_eq!(client.last_bytes(), b"*2\r\n$5\r\nfield\r\n$3\r\n1.5\r\n");
        assert_eq!(client.command(&["GET", "none"]), Reply::Null);
        assert_eq!(client.hello(3).field("proto"), Some(Reply::Integer(3)));
        let map = client.command(&["HGETALL", "h"]);
        assert_eq!(map, Reply::Map(vec![(Reply::bulk("field"), Reply::bulk("1.5"))]));
        assert_eq!(
            client.command(&["DEBUG", "PROTOCOL", "double"]),
            Reply::Double("3.141".to_owned())
        );
        assert_eq!(
            client.command(&["DEBUG", "PROTOCOL", "true"]),
            Reply::Boolean(true)
        );
        assert_eq!(client.command(&["DEBUG", "PROTOCOL", "set"]).items().len(), 3);
        assert_eq!(
            client.command(&["DEBUG", "PROTOCOL", "verbatim"]).text(),
            "This is a verbatim\nstring"
        );

        client.send_raw(b"PING\r\n");
        assert_eq!(client.read_reply(), Reply::Simple("PONG".to_owned()));
        client.send_raw(b"*1\r\n$-5\r\n");
        assert!(client.read_reply().error().starts_with("ERR Protocol error"));
        assert_eq!(client.read_to_close().expect("the server closes"), b"");
    }
}
