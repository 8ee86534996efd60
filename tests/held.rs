//! What waits while no master is there is bounded by count and bytes: the rest is told so at once, and did not run.

mod support;

use std::time::Duration;

use support::{Ambassador, Client, Flavor, Reply, Server, eventually, wait_until};

fn bounded(flavor: Flavor, limits: &str) -> (Server, Ambassador) {
    let server = Server::start(flavor, &[]);
    let config = format!("workers = 1\n[limits]\nhold = \"1m\"\n{limits}\n");
    let ambassador = Ambassador::with_config(&config, &["--master", &server.address()]);
    (server, ambassador)
}

fn hits(ambassador: &Ambassador, limit: &str) -> f64 {
    ambassador.metric(&format!("redis_ambassador_limits_hit_total{{limit=\"{limit}\"}}"))
}

#[track_caller]
fn wait_for_none(ambassador: &Ambassador) {
    wait_until(|| {
        ambassador.metric("redis_ambassador_held_commands") < 0.5
            && ambassador.metric("redis_ambassador_held_bytes") < 0.5
    });
    let buffered = || ambassador.metric("redis_ambassador_buffered_bytes");
    wait_until(|| buffered() < 0.5);
    assert!(ambassador.metric("redis_ambassador_panics_total") < 0.5);
}

/// Kills the master, and waits until the ambassador knows.
fn kill(server: &mut Server, ambassador: &Ambassador) {
    server.kill();
    wait_until(|| ambassador.admin_get("/ready").0 == 503);
}

#[test]
fn as_many_commands_wait_as_may_and_the_next_one_is_told_so() {
    for flavor in Flavor::ALL {
        let (mut server, ambassador) = bounded(flavor, "hold_commands = 5");
        kill(&mut server, &ambassador);
        let mut waiting: Vec<Client> = (0..5).map(|_| ambassador.client()).collect();
        for client in &mut waiting {
            // What is behind the first one is not looked at meanwhile.
            client.send_raw(b"RPUSH l 1\r\nINCR n\r\nRPUSH l 2\r\n");
        }
        wait_until(|| ambassador.metric("redis_ambassador_held_commands") > 4.5);
        let mut refused = ambassador.client();
        let replies = refused.pipeline(&[&["INCR", "n"], &["INCR", "n"], &["GET", "n"]]);
        assert!(
            replies[0].error().starts_with("TRYAGAIN")
                && replies[0].error().contains("limits.hold_commands")
                && replies[0].error().contains("was not run"),
            "{flavor}: {replies:?}"
        );
        // Nothing that was behind it runs either.
        assert!(replies[1..].iter().all(Reply::is_error), "{flavor}: {replies:?}");
        assert!(hits(&ambassador, "hold_commands") > 0.5);
        // Who leaves makes room.
        drop(waiting.pop());
        wait_until(|| ambassador.metric("redis_ambassador_held_commands") < 4.5);
        refused.send_raw(b"RPUSH l 1\r\nINCR n\r\nRPUSH l 2\r\n");
        assert!(refused.is_silent(Duration::from_millis(50)));
        server.restart();
        for client in waiting.iter_mut().chain([&mut refused]) {
            let replies: Vec<i64> = (0..3).map(|_| client.read_reply().integer()).collect();
            assert!(replies[0] < replies[2], "{flavor}: in order: {replies:?}");
        }
        assert_eq!(server.command(&["GET", "n"]), Reply::bulk("5"), "{flavor}");
        wait_for_none(&ambassador);
    }
}

#[test]
fn as_many_bytes_wait_as_may_and_the_next_command_is_told_so() {
    let (mut server, ambassador) = bounded(Flavor::Redis7, "hold_bytes = \"64KiB\"");
    kill(&mut server, &ambassador);
    let mut waits = ambassador.client();
    waits.send(&["SET", "a", &"x".repeat(100_000)]);
    wait_until(|| ambassador.metric("redis_ambassador_held_bytes") > 65_536.0);
    let mut refused = ambassador.client();
    let reply = refused.command(&["SET", "b", "1"]);
    assert!(reply.error().contains("limits.hold_bytes"), "{reply:?}");
    assert!(hits(&ambassador, "hold_bytes") > 0.5);
    server.restart();
    assert_eq!(waits.read_reply(), Reply::ok());
    assert_eq!(refused.command(&["SET", "b", "1"]), Reply::ok());
    wait_for_none(&ambassador);
}

/// What was on its way to a master that takes nothing any more, and provably was not handed over, waits as far as there
/// is room; of the rest no one is told that it ran when it did not.
#[test]
fn what_is_taken_back_from_a_dead_master_is_bounded_too() {
    for flavor in Flavor::ALL {
        let (mut server, ambassador) = bounded(flavor, "hold_bytes = \"1MiB\"");
        let value = "x".repeat(100_000);
        let mut clients: Vec<Client> = (0..150).map(|_| ambassador.client()).collect();
        assert_eq!(clients[0].command(&["SET", "first", "1"]), Reply::ok());
        server.freeze();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&["SET", &format!("k{number}"), &value]);
        }
        wait_until(|| ambassador.metric("redis_ambassador_client_bytes_total{direction=\"received\"") > 15e6);
        wait_until(|| ambassador.metric("redis_ambassador_buffered_bytes") > 1e6);
        server.kill();
        wait_until(|| hits(&ambassador, "hold_bytes") > 0.5);
        // Until the master is known to be gone, what waits is tried on new connections to it.
        let held = eventually(support::PATIENCE, || {
            let held = ambassador.metric("redis_ambassador_held_bytes");
            assert!(held <= 1_048_576.0, "{flavor}: {held}");
            (held > 500_000.0).then_some(held)
        });
        wait_until(|| ambassador.metric("redis_ambassador_buffered_bytes") >= held);
        server.restart();
        let (mut done, mut doubted, mut refused) = (0, 0, 0);
        for (number, client) in clients.iter_mut().enumerate() {
            let reply = client.read_reply();
            let exists = server.command(&["EXISTS", &format!("k{number}")]);
            match reply {
                Reply::Error(text) if text.starts_with("INDOUBT") => doubted += 1,
                Reply::Error(text) => {
                    assert!(text.contains("limits.hold_bytes"), "{flavor}: {text}");
                    assert_eq!(exists, Reply::Integer(0), "{flavor}");
                    refused += 1;
                }
                reply => {
                    assert_eq!((reply, exists), (Reply::ok(), Reply::Integer(1)), "{flavor}");
                    done += 1;
                }
            }
        }
        println!("{flavor}: {done} waited, {doubted} in doubt, {refused} refused");
        assert!(done >= 5 && refused > 0, "{flavor}: {done}, {doubted}, {refused}");
        wait_for_none(&ambassador);
    }
}

#[test]
fn what_waits_for_an_own_connection_counts_as_well() {
    let (mut server, ambassador) = bounded(Flavor::Valkey8, "hold_commands = 3");
    // Connections to a frozen node are made by its kernel, and never set up.
    server.freeze();
    let mut clients: Vec<Client> = (0..6).map(|_| ambassador.client()).collect();
    for client in &mut clients {
        client.send(&["BLPOP", "l", "0"]);
    }
    wait_until(|| ambassador.metric("redis_ambassador_leases") > 5.5);
    server.kill();
    wait_until(|| hits(&ambassador, "hold_commands") > 2.5);
    wait_until(|| ambassador.metric("redis_ambassador_held_commands") < 3.5);
    let refused = clients.split_off(3);
    let mut told = 0;
    for mut client in refused.into_iter().chain(clients) {
        if client.is_silent(Duration::from_millis(200)) {
            drop(client);
            continue;
        }
        let reply = client.read_reply();
        assert!(reply.error().contains("limits.hold_commands"), "{reply:?}");
        told += 1;
    }
    assert_eq!(told, 3);
    server.restart();
    wait_for_none(&ambassador);
}
