//! Every bound of the configuration: something defined happens to one client, it is counted, and others go on.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::{Ambassador, Flavor, Reply, Server, wait_until};

fn limited(limits: &str) -> (Server, Ambassador) {
    let server = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::with_config(limits, &["--master", &server.address()]);
    (server, ambassador)
}

fn hits(ambassador: &Ambassador, limit: &str) -> f64 {
    ambassador.metric(&format!("redis_ambassador_limits_hit_total{{limit=\"{limit}\"}}"))
}

#[test]
fn one_client_too_many_is_told_as_redis_tells_it() {
    let (_server, ambassador) = limited("[limits]\nclients = 2\n");
    let mut clients = [ambassador.client(), ambassador.client()];
    for client in &mut clients {
        assert_eq!(client.command(&["PING"]).text(), "PONG");
    }
    let refused = ambassador.client().read_to_close().expect("closed");
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    assert!(hits(&ambassador, "clients") > 0.5);
    assert_eq!(clients[0].command(&["PING"]).text(), "PONG");
}

#[test]
fn a_client_that_does_not_read_is_closed_and_others_are_served() {
    let (_server, ambassador) = limited("[limits]\nclient_output = \"4MiB\"\n");
    let mut other = ambassador.client();
    other.command(&["SET", "big", &"x".repeat(1 << 20)]);
    let mut greedy = ambassador.client();
    for _ in 0..200 {
        if greedy.try_send_raw(b"GET big\r\n").is_err() {
            break;
        }
    }
    wait_until(|| hits(&ambassador, "client_output") > 0.5);
    assert_eq!(other.command(&["ECHO", "served"]), Reply::bulk("served"));
    assert!(
        ambassador.log().contains("ran into a limit"),
        "{}",
        ambassador.log()
    );
}

#[test]
fn a_full_pipeline_pauses_its_client_and_loses_nothing() {
    let (_server, ambassador) = limited("[limits]\nclient_pipeline = \"4KiB\"\n");
    let mut client = ambassador.client();
    client.send_raw("INCR n\r\n".repeat(20_000).as_bytes());
    for expected in 1..=20_000 {
        assert_eq!(client.read_reply(), Reply::Integer(expected));
    }
    assert!(hits(&ambassador, "client_pipeline") > 0.5);
}

#[test]
fn buffers_together_have_a_bound() {
    let (_server, ambassador) =
        limited("workers = 1\n[limits]\nclient_output = \"16MiB\"\nbuffers = \"16MiB\"\n");
    let mut other = ambassador.client();
    other.command(&["SET", "big", &"x".repeat(1 << 20)]);
    let mut greedy: Vec<_> = (0..12).map(|_| ambassador.client()).collect();
    for client in &mut greedy {
        for _ in 0..12 {
            let _ = client.try_send_raw(b"GET big\r\n");
        }
    }
    wait_until(|| hits(&ambassador, "buffers") > 0.5);
    assert_eq!(other.command(&["ECHO", "served"]), Reply::bulk("served"));
}

#[test]
fn who_is_silent_is_closed_but_not_who_waits_to_hear() {
    let (_server, ambassador) = limited("[limits]\nidle = \"1s\"\n");
    let (mut quiet, mut subscriber, mut blocked) =
        (ambassador.client(), ambassador.client(), ambassador.client());
    quiet.command(&["PING"]);
    subscriber.command(&["SUBSCRIBE", "news"]);
    blocked.send(&["BLPOP", "queue", "0"]);
    assert_eq!(quiet.read_to_close().expect("closed"), b"");
    assert!(hits(&ambassador, "idle") > 0.5);
    let mut other = ambassador.client();
    assert_eq!(other.command(&["PUBLISH", "news", "x"]), Reply::Integer(1));
    other.command(&["RPUSH", "queue", "x"]);
    assert_eq!(blocked.read_reply().items().len(), 2);
    assert_eq!(subscriber.read_reply().items().len(), 3);
}

#[test]
fn a_request_that_does_not_end_is_closed() {
    let (_server, ambassador) = limited("[limits]\nrequest = \"300ms\"\n");
    let mut client = ambassador.client();
    client.send_raw(b"*2\r\n$3\r\nGET\r\n$1");
    assert_eq!(client.read_to_close().expect("closed"), b"");
    assert!(hits(&ambassador, "request") > 0.5);
}

#[test]
fn own_connections_have_a_bound() {
    let (_server, ambassador) = limited("workers = 1\n[upstream]\nmax_leases = 1\n");
    let (mut one, mut other) = (ambassador.client(), ambassador.client());
    one.command(&["MULTI"]);
    let refused = other.command(&["MULTI"]);
    assert!(refused.error().contains("max_leases"), "{refused:?}");
    one.command(&["EXEC"]);
    assert_eq!(other.command(&["MULTI"]), Reply::ok());
    assert!(hits(&ambassador, "leases") > 0.5);
}

#[test]
fn a_reply_that_takes_too_long_breaks_the_link_but_not_a_blocked_command() {
    let (server, ambassador) = limited("[upstream]\nreply_timeout = \"500ms\"\n");
    let mut blocked = ambassador.client();
    blocked.send(&["BLPOP", "queue", "0"]);
    let mut client = ambassador.client();
    client.command(&["SET", "a", "1"]);
    server.freeze();
    client.send(&["SET", "a", "2"]);
    let reply = client.read_reply();
    server.thaw();
    assert!(reply.error().starts_with("INDOUBT"), "{reply:?}");
    assert!(hits(&ambassador, "reply_timeout") > 0.5);
    wait_until(|| client.command(&["RPUSH", "queue", "x"]).text() == "1");
    assert_eq!(blocked.read_reply().items().len(), 2);
}

#[test]
fn arguments_and_bulks_have_bounds() {
    let (_server, ambassador) = limited("[limits]\narguments = 3\nbulk = \"1KiB\"\n");
    for (request, error) in [
        (
            &b"*4\r\n"[..],
            &b"-ERR Protocol error: invalid multibulk length\r\n"[..],
        ),
        (
            b"*2\r\n$3\r\nGET\r\n$1025\r\n",
            b"-ERR Protocol error: invalid bulk length\r\n",
        ),
    ] {
        let mut client = ambassador.client();
        client.send_raw(request);
        assert_eq!(client.read_to_close().expect("closed"), error);
    }
    assert!(hits(&ambassador, "protocol") > 1.5);
}

#[test]
fn a_unix_socket_is_a_listener_like_any_other() {
    let server = Server::start(Flavor::Redis7, &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("redis.sock");
    let name = path.display().to_string();
    let _ambassador = Ambassador::start(&["--master", &server.address(), "--listen", &name]);
    let mut socket = UnixStream::connect(&path).expect("it listens");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time-out");
    socket.write_all(b"SET a 1\r\n").expect("sent");
    let mut reply = [0; 5];
    socket.read_exact(&mut reply).expect("answered");
    assert_eq!(&reply, b"+OK\r\n");
}
