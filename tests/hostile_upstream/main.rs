//! Hostile nodes: what a server should never say costs the client that asked, and nobody else.
//!
//! Between the ambassador and a real replica stands a relay that passes everything on, until it is told to say
//! something of its own instead of what the server would.
#![allow(clippy::float_cmp, reason = "metrics are counts, which a float holds exactly")]

mod relay;
#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::{Duration, Instant};

use relay::{Fault, Relay};
use support::{Ambassador, Bystander, Client, Flavor, Group, Reply, Server, wait_until};

/// The request that is answered with the fault.
const EVIL: &[u8] = b"*2\r\n$3\r\nGET\r\n$4\r\nevil\r\n";

/// A write that is answered with the fault.
const EVIL_WRITE: &[u8] = b"*2\r\n$4\r\nINCR\r\n$4\r\nevil\r\n";

/// The request of a probe that is answered with the fault.
const PROBE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// The request for the command table.
const COMMAND: &[u8] = b"*1\r\n$7\r\nCOMMAND\r\n";

/// A master, a replica behind a relay, and one that is seen as it is.
struct Scene {
    _group: Group,
    relay: Relay,
    ambassador: Ambassador,
    rss_before: u64,
}

impl Scene {
    fn set() -> Self {
        let group = Group::start(Flavor::Redis7, 2);
        let relay = Relay::before(group.replicas[0].port());
        let ambassador = Ambassador::start(&[
            "--master",
            &group.master.address(),
            "--replica",
            &format!("127.0.0.1:{}", relay.port),
            "--replica",
            &group.replicas[1].address(),
            "--workers",
            "1",
        ]);
        group.master.command(&["SET", "evil", "good"]);
        group.wait_in_sync();
        wait_until(|| usable(&ambassador) == 3.0);
        Self {
            rss_before: ambassador.rss_kib(),
            _group: group,
            relay,
            ambassador,
        }
    }
}

fn usable(ambassador: &Ambassador) -> f64 {
    ambassador.metric("redis_ambassador_node_usable{")
}

/// What became of a read that was answered with a fault; it must be told, or closed, in time.
fn ask_evil(scene: &Scene) -> Result<Reply, std::io::ErrorKind> {
    let mut client = scene.ambassador.client();
    client.set_timeout(Duration::from_secs(5));
    client.try_command(&["GET", "evil"]).map_err(|error| error.kind())
}

#[test]
fn a_lie_costs_the_one_who_asked_and_no_other() {
    let cut = |reply| Fault::says(EVIL, reply).and_closes();
    let cases: [(&str, Fault); 10] = [
        ("not RESP", Fault::says(EVIL, b"HTTP/1.1 200 OK\r\n\r\n<html>")),
        (
            "noise",
            Fault::says(EVIL, b"\x00\xff\x80\x01\r\n\r\n\r\n").then(b"\x07\n", 1000),
        ),
        ("length -5", Fault::says(EVIL, b"$-5\r\n")),
        (
            "length beyond 64 bits",
            Fault::says(EVIL, b"$99999999999999999999\r\n"),
        ),
        (
            "count beyond memory",
            Fault::says(EVIL, b"*9223372036854775807\r\n"),
        ),
        (
            "two answers to one question",
            Fault::says(EVIL, b"$4\r\ngood\r\n$4\r\ngood\r\n"),
        ),
        ("cut in the head", cut(b"$10")),
        ("cut in the middle", cut(b"$1000000\r\nxxxxx")),
        ("cut in an array", cut(b"*3\r\n$1\r\na\r\n")),
        ("closed", cut(b"")),
    ];
    for (name, fault) in cases {
        let scene = Scene::set();
        let bystander = Bystander::start(scene.ambassador.port(), "a");
        // What says nothing wrong and is only lost is asked for again.
        let lost = fault.close;
        scene.relay.arm(fault);
        let failures = format!(
            "redis_ambassador_node_failures_total{{node=\"127.0.0.1:{}",
            scene.relay.port
        );
        // About every second read goes by the relay.
        let mut wrong = Vec::new();
        let mut asked = 0;
        let end = Instant::now() + support::PATIENCE;
        while asked < 12 || scene.ambassador.metric(&failures) == 0.0 {
            asked += 1;
            assert!(Instant::now() < end, "{name}: the relay is never asked");
            match ask_evil(&scene) {
                Ok(reply) if reply == Reply::bulk("good") => {}
                Ok(reply) if reply.is_error() && !lost => {}
                Err(std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset) if !lost => {}
                other => wrong.push(other),
            }
        }
        scene.relay.disarm();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        // It is used again by itself once it tells the truth.
        let relayed = format!(
            "redis_ambassador_commands_total{{class=\"read\",node=\"127.0.0.1:{}",
            scene.relay.port
        );
        wait_until(|| usable(&scene.ambassador) == 3.0);
        let before = scene.ambassador.metric(&relayed);
        wait_until(|| scene.ambassador.metric(&relayed) > before + 5.0);
        bystander.assert_unharmed(Duration::from_secs(4));
        assert_eq!(
            scene.ambassador.metric("redis_ambassador_panics_total"),
            0.0,
            "{name}"
        );
        assert_eq!(ask_evil(&scene), Ok(Reply::bulk("good")), "{name}");
    }
}

#[test]
fn a_write_whose_reply_is_cut_in_the_middle_is_in_doubt_on_a_connection_that_stays_open() {
    let server = Server::start(Flavor::Redis7, &[]);
    for reply in [&b":4"[..], b"$1000\r\nxxxxx", b"*2\r\n:1\r\n:", b""] {
        let relay = Relay::before(server.port());
        let master = format!("127.0.0.1:{}", relay.port);
        let ambassador = Ambassador::start(&["--master", &master, "--workers", "1"]);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["SET", "a", "1"]), Reply::ok());
        relay.arm(Fault::says(EVIL_WRITE, reply).and_closes());
        client.send_raw(b"INCR a\r\n");
        client.send_raw(EVIL_WRITE);
        client.send_raw(b"GET a\r\n");
        assert_eq!(client.read_reply(), Reply::Integer(2));
        let doubt = client.read_reply();
        assert!(doubt.error().starts_with("INDOUBT "), "{doubt:?}");
        relay.disarm();
        assert_eq!(client.read_reply(), Reply::bulk("2"));
        assert_eq!(client.command(&["INCR", "a"]), Reply::Integer(3));
        server.command(&["DEL", "a"]);
    }
}

#[test]
fn a_lie_in_the_middle_of_a_pipeline_leaves_nobody_waiting() {
    for (name, fault) in [
        (
            "right, then garbage",
            Fault::says(EVIL, b"$4\r\ngood\r\n?garbage\r\n"),
        ),
        ("garbage", Fault::says(EVIL, b"?garbage\r\n")),
        (
            "right, then closed",
            Fault::says(EVIL, b"$4\r\ngood\r\n").and_closes(),
        ),
    ] {
        let scene = Scene::set();
        scene.relay.arm(fault);
        for round in 0..10 {
            let mut client = scene.ambassador.client();
            client.set_timeout(Duration::from_secs(5));
            let batch = [
                b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
                EVIL,
                EVIL,
                b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n",
            ]
            .concat();
            client.send_raw(&batch);
            for number in 0..4 {
                match client.try_read_reply() {
                    Ok(reply) if number == 0 || number == 3 => {
                        assert!(
                            reply == Reply::Null || reply.is_error(),
                            "{name}, {round}.{number}: {reply:?}"
                        );
                    }
                    Ok(reply) => assert!(
                        reply == Reply::bulk("good") || reply.is_error(),
                        "{name}, {round}.{number}: {reply:?}"
                    ),
                    Err(error) => {
                        let closed = [
                            std::io::ErrorKind::UnexpectedEof,
                            std::io::ErrorKind::ConnectionReset,
                        ];
                        assert!(
                            closed.contains(&error.kind()),
                            "{name}, {round}.{number}: {error}"
                        );
                        break;
                    }
                }
            }
        }
        assert_eq!(
            scene.ambassador.metric("redis_ambassador_panics_total"),
            0.0,
            "{name}"
        );
    }
}

#[test]
fn replies_without_an_end_are_passed_on_and_not_gathered() {
    for (name, fault) in [
        (
            "nested a million deep",
            Fault::says(EVIL, b"").then(b"*1\r\n", 1_000_000).and_closes(),
        ),
        (
            "a line without an end",
            Fault::says(EVIL, b"+").then(b"x", 200 << 20).and_closes(),
        ),
        (
            "an endless array",
            Fault::says(EVIL, b"*1000000000\r\n")
                .then(b":1\r\n", 20_000_000)
                .and_closes(),
        ),
    ] {
        let scene = Scene::set();
        scene.relay.arm(fault);
        let mut most = 0;
        let mut saw = 0;
        for _ in 0..20 {
            let mut client = scene.ambassador.client();
            client.set_timeout(Duration::from_secs(20));
            client.send_raw(EVIL);
            client.send_raw(b"*1\r\n$4\r\nQUIT\r\n");
            let read = client
                .read_to_close()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            saw = saw.max(read.len());
            most = most.max(scene.ambassador.rss_kib());
            if saw > 1000 {
                break;
            }
        }
        assert!(saw > 1000, "{name}: the relay was never asked");
        assert!(
            most < scene.rss_before + 64 * 1024,
            "{name}: {} -> {most} KiB",
            scene.rss_before
        );
        scene.relay.disarm();
        assert_eq!(ask_evil(&scene), Ok(Reply::bulk("good")), "{name}");
        assert_eq!(
            scene.ambassador.metric("redis_ambassador_panics_total"),
            0.0,
            "{name}"
        );
    }
}

#[test]
fn an_answer_that_nobody_asked_for_closes_the_link() {
    let scene = Scene::set();
    // The lie is an answer too many: it lies on the link when the next client asks.
    scene.relay.arm(Fault::says(EVIL, b"$4\r\ngood\r\n+extra\r\n"));
    wait_until(|| {
        let _ = ask_evil(&scene);
        scene.ambassador.log().contains("nothing had asked for")
    });
    scene.relay.disarm();
    for _ in 0..50 {
        assert_eq!(ask_evil(&scene), Ok(Reply::bulk("good")));
    }
    assert_eq!(scene.ambassador.metric("redis_ambassador_panics_total"), 0.0);
}

#[test]
fn lies_to_the_probe_take_that_node_out_and_no_memory() {
    for (name, fault) in [
        (
            "an INFO of 100 MB",
            Fault::says(PROBE, b"$104857600\r\n").then(b"x", 100 << 20),
        ),
        (
            "a line without an end",
            Fault::says(PROBE, b"+").then(b"x", 50 << 20),
        ),
        (
            "nested a million deep",
            Fault::says(PROBE, b"").then(b"*1\r\n", 1_000_000),
        ),
        (
            "not RESP",
            Fault::says(PROBE, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ),
        ("an INFO of nothing", Fault::says(PROBE, b"$0\r\n\r\n")),
        (
            "a role of its own",
            Fault::says(PROBE, b"$10\r\nrole:king\r\n\r\n"),
        ),
        ("length -5", Fault::says(PROBE, b"$-5\r\n")),
    ] {
        let scene = Scene::set();
        let bystander = Bystander::start(scene.ambassador.port(), "a");
        scene.relay.arm(fault);
        wait_until(|| usable(&scene.ambassador) == 2.0);
        let end = Instant::now() + Duration::from_millis(1500);
        let mut most = 0;
        while Instant::now() < end {
            most = most.max(scene.ambassador.rss_kib());
            thread::sleep(Duration::from_millis(20));
        }
        assert!(
            most < scene.rss_before + 32 * 1024,
            "{name}: {} -> {most} KiB",
            scene.rss_before
        );
        scene.relay.disarm();
        wait_until(|| usable(&scene.ambassador) == 3.0);
        bystander.assert_unharmed(Duration::from_secs(4));
        assert_eq!(
            scene.ambassador.metric("redis_ambassador_panics_total"),
            0.0,
            "{name}"
        );
    }
}

#[test]
fn a_master_that_lies_about_its_commands_is_waited_for() {
    for (name, fault) in [
        (
            "nested a million deep",
            Fault::says(COMMAND, b"").then(b"*1\r\n", 1_000_000),
        ),
        (
            "100 MB",
            Fault::says(COMMAND, b"$104857600\r\n").then(b"x", 100 << 20),
        ),
        (
            "a million entries of nothing",
            Fault::says(COMMAND, b"*1000000\r\n").then(b"*0\r\n", 1_000_000),
        ),
        ("not RESP", Fault::says(COMMAND, b"<html>\r\n")),
    ] {
        let group = Group::start(Flavor::Redis7, 0);
        let relay = Relay::before(group.master.port());
        relay.arm(fault);
        let mut ambassador = Ambassador::spawn(&["--master", &format!("127.0.0.1:{}", relay.port)]);
        wait_until(|| {
            ambassador
                .try_admin_get("/live")
                .is_ok_and(|(status, _)| status == 200)
        });
        thread::sleep(Duration::from_millis(1500));
        assert!(
            ambassador.rss_kib() < 200 * 1024,
            "{name}: {} KiB",
            ambassador.rss_kib()
        );
        relay.disarm();
        ambassador.wait_ready();
        let mut client: Client = ambassador.client();
        assert_eq!(client.command(&["SET", "a", "1"]), Reply::ok(), "{name}");
        assert_eq!(client.command(&["GET", "a"]), Reply::bulk("1"), "{name}");
        assert_eq!(ambassador.metric("redis_ambassador_panics_total"), 0.0, "{name}");
        drop(group);
    }
}
