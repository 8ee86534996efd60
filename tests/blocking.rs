//! Commands that wait, through the ambassador: released by a push or by time with the bytes of a plain server, and
//! popping nothing for a client that has gone.

mod support;

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::{Ambassador, Client, Flavor, Group, PATIENCE, Reply, Server, eventually, wait_until};

/// A command that waits, what is done before it, and what releases it.
struct Waiting {
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    release: &'static [&'static str],
    /// The same, with a time-out of 50 ms or so; empty where there is none.
    short: &'static [&'static str],
}

const GROUP: &[&str] = &["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"];

const WAITING: [Waiting; 10] = [
    Waiting {
        before: &[],
        command: &["BLPOP", "none", "l", "0"],
        release: &["RPUSH", "l", "a", "b"],
        short: &["BLPOP", "none", "l2", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BRPOP", "l", "0"],
        release: &["RPUSH", "l", "a", "b"],
        short: &["BRPOP", "l2", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BLMOVE", "l", "to", "LEFT", "RIGHT", "0"],
        release: &["RPUSH", "l", "a", "b"],
        short: &["BLMOVE", "l2", "to", "LEFT", "RIGHT", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BRPOPLPUSH", "l", "to", "0"],
        release: &["RPUSH", "l", "a", "b"],
        short: &["BRPOPLPUSH", "l2", "to", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BLMPOP", "0", "2", "none", "l", "LEFT", "COUNT", "2"],
        release: &["RPUSH", "l", "a", "b", "c"],
        short: &["BLMPOP", "0.05", "1", "l2", "LEFT"],
    },
    Waiting {
        before: &[],
        command: &["BZPOPMIN", "none", "z", "0"],
        release: &["ZADD", "z", "1.5", "a", "2", "b"],
        short: &["BZPOPMIN", "z2", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BZPOPMAX", "z", "0"],
        release: &["ZADD", "z", "1.5", "a", "2", "b"],
        short: &["BZPOPMAX", "z2", "0.05"],
    },
    Waiting {
        before: &[],
        command: &["BZMPOP", "0", "1", "z", "MAX"],
        release: &["ZADD", "z", "1.5", "a", "2", "b"],
        short: &["BZMPOP", "0.05", "1", "z2", "MIN"],
    },
    Waiting {
        before: &[&["XADD", "s", "1-1", "old", "1"]],
        command: &["XREAD", "COUNT", "5", "BLOCK", "0", "STREAMS", "s", "$"],
        release: &["XADD", "s", "5-1", "f", "v"],
        short: &["XREAD", "BLOCK", "50", "STREAMS", "s", "$"],
    },
    Waiting {
        before: &[GROUP],
        command: &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"],
        release: &["XADD", "s", "5-1", "f", "v"],
        short: &[
            "XREADGROUP",
            "GROUP",
            "g",
            "c",
            "BLOCK",
            "50",
            "STREAMS",
            "s",
            ">",
        ],
    },
];

fn blocked(master: &Server) -> usize {
    master.info("clients")["blocked_clients"]
        .parse()
        .expect("a number")
}

/// Blocks a client on a server, releases it from another, lets it run into its time-out; all bytes that it got.
fn story(waiting: &Waiting, master: &Server, connect: &dyn Fn() -> Client, version: u8) -> String {
    let (mut client, mut other) = (connect(), connect());
    other.command(&["FLUSHALL"]);
    for command in waiting.before {
        other.command(command);
    }
    client.hello(version);
    client.send(waiting.command);
    wait_until(|| blocked(master) == 1);
    assert!(client.is_silent(Duration::from_millis(1)));
    other.command(waiting.release);
    client.read_reply();
    let mut bytes = client.last_bytes().to_vec();
    let began = Instant::now();
    client.command(waiting.short);
    assert!(began.elapsed() >= Duration::from_millis(40), "did not wait");
    bytes.extend(client.last_bytes());
    // In a transaction nothing waits; refused arguments are refused.
    for command in [
        &["MULTI"][..],
        waiting.short,
        &["EXEC"],
        &waiting.command[..1],
        &["ECHO", "x"],
    ] {
        client.command(command);
        bytes.extend(client.last_bytes());
    }
    bytes.escape_ascii().to_string()
}

#[test]
fn what_waits_is_released_by_a_push_and_by_time_with_a_plain_servers_bytes() {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        for waiting in &WAITING {
            for version in [2, 3] {
                assert_eq!(
                    story(waiting, &group.master, &|| ambassador.client(), version),
                    story(waiting, &plain, &|| plain.client(), version),
                    "{flavor} {:?} RESP{version}",
                    waiting.command
                );
            }
        }
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

#[test]
fn wait_and_waitaof_count_what_this_client_wrote() {
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 2);
        for node in group.nodes() {
            node.command(&["CONFIG", "SET", "appendonly", "yes"]);
        }
        let ambassador = Ambassador::over(&group);
        let mut client = ambassador.client();
        for version in [2, 3] {
            client.hello(version);
            client.command(&["SET", "a", "1"]);
            assert_eq!(client.command(&["WAIT", "2", "0"]), Reply::Integer(2), "{flavor}");
            assert!(client.command(&["WAIT", "no", "0"]).is_error());
            if flavor == Flavor::Redis7 {
                let unknown = client.command(&["WAITAOF", "1", "2", "100"]);
                assert!(unknown.error().starts_with("ERR unknown command"), "{unknown:?}");
            } else {
                client.command(&["SET", "a", "2"]);
                let counts = client.command(&["WAITAOF", "1", "2", "10000"]);
                assert_eq!(counts.items(), [Reply::Integer(1), Reply::Integer(2)], "{flavor}");
            }
        }
        for replica in &group.replicas {
            replica.freeze();
        }
        let began = Instant::now();
        client.command(&["SET", "a", "3"]);
        assert_eq!(
            client.command(&["WAIT", "1", "200"]),
            Reply::Integer(0),
            "{flavor}"
        );
        assert!(began.elapsed() >= Duration::from_millis(190), "did not wait");
        for replica in &group.replicas {
            replica.thaw();
        }
        assert_eq!(client.command(&["ECHO", "x"]), Reply::bulk("x"));
    }
}

/// A thousand clients wait and are gone, half of them by FIN and half by RST: no element that is pushed then goes to
/// any of them.
#[test]
fn nothing_is_popped_for_clients_that_were_killed_while_they_waited() {
    const CLIENTS: usize = 1_000;
    for flavor in Flavor::ALL {
        let group = Group::start(flavor, 1);
        let config = format!("[upstream]\nmax_leases = {}\n", 2 * CLIENTS);
        let ambassador = Ambassador::with_config(
            &config,
            &[
                "--master",
                &group.master.address(),
                "--replica",
                &group.replicas[0].address(),
            ],
        );
        let mut pusher = ambassador.client();
        pusher.command(&["PING"]);
        let waiting: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| {
                let stream = TcpStream::connect(("127.0.0.1", ambassador.port())).expect("it listens");
                std::io::Write::write_all(&mut &stream, b"BLPOP queue 0\r\n").expect("it is taken");
                stream
            })
            .collect();
        eventually(3 * PATIENCE, || (blocked(&group.master) == CLIENTS).then_some(()));
        for (number, stream) in waiting.into_iter().enumerate() {
            if number % 2 == 0 {
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .expect("a socket can be told to reset");
            }
            drop(stream);
        }
        // The ambassador has to hear of it, and the master from it; then nobody waits any more.
        eventually(3 * PATIENCE, || (blocked(&group.master) == 0).then_some(()));
        let pushes: Vec<&[&str]> = (0..CLIENTS).map(|_| &["RPUSH", "queue", "x"][..]).collect();
        pusher.pipeline(&pushes);
        assert_eq!(
            group.master.command(&["LLEN", "queue"]),
            Reply::Integer(CLIENTS as i64),
            "{flavor}"
        );
        wait_until(|| ambassador.metric("redis_ambassador_clients ") < 1.5);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

/// Clients come and go while elements are pushed: each element is popped by somebody who lives, or is still there.
#[test]
fn elements_are_not_lost_while_waiting_clients_come_and_go() {
    const PUSHES: usize = 600;
    let group = Group::start(Flavor::Valkey8, 0);
    let ambassador = Ambassador::over(&group);
    let port = ambassador.port();
    // Those that leave wait on another key than those that stay: what a leaver is sent as it leaves is lost with any
    // server.
    let leavers = thread::spawn(move || {
        for _ in 0..200 {
            let mut client = Client::connect(port);
            client.send(&["BLPOP", "elsewhere", "0"]);
        }
    });
    let workers: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(port);
                let mut popped = 0;
                while client.command(&["BLPOP", "jobs", "2"]) != Reply::Null {
                    popped += 1;
                }
                popped
            })
        })
        .collect();
    let mut pusher = ambassador.client();
    for _ in 0..PUSHES {
        pusher.command(&["RPUSH", "jobs", "x"]);
    }
    leavers.join().expect("the leavers");
    let popped: usize = workers
        .into_iter()
        .map(|worker| worker.join().expect("a worker"))
        .sum();
    assert_eq!(popped, PUSHES);
    assert_eq!(group.master.command(&["LLEN", "jobs"]), Reply::Integer(0));
}
