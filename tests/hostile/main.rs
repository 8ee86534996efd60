//! Hostile clients: each ends in Redis's own error or a closed connection, and costs nobody else anything.
#![allow(clippy::float_cmp, reason = "metrics are counts, which a float holds exactly")]

mod large;
mod protocol;
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::SockRef;
use support::{Ambassador, Bystander, Client, Flavor, Group, Reply, wait_until};

/// How long one command of a bystander may take on a loaded machine while others misbehave.
const UNHARMED: Duration = Duration::from_secs(4);

/// What memory may grow by and stay: allocators keep some of what was freed.
const GROWTH_KIB: u64 = 48 * 1024;

/// How long after it asked for hundreds of megabytes a client does so again.
const AGAIN: Duration = Duration::from_secs(8);

/// An ambassador in front of a master and two replicas, with somebody who uses it properly all the while.
struct Scene {
    ambassador: Ambassador,
    group: Group,
    bystander: Bystander,
    rss_before: u64,
}

impl Scene {
    fn set(flavor: Flavor, args: &[&str]) -> Self {
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over_with(&group, args);
        let bystander = Bystander::start(ambassador.port(), "a");
        wait_until(|| ambassador.metric("redis_ambassador_commands_total") > 30.0);
        let rss_before = ambassador.rss_kib();
        Self {
            ambassador,
            group,
            bystander,
            rss_before,
        }
    }

    fn raw(&self) -> TcpStream {
        raw(self.ambassador.port())
    }

    /// Nothing broke, nobody was harmed, and what the bad clients had is given back.
    #[track_caller]
    fn end(self) {
        wait_until(|| self.ambassador.metric("redis_ambassador_clients ") <= 1.0);
        self.bystander.assert_unharmed(UNHARMED);
        assert_eq!(self.ambassador.metric("redis_ambassador_panics_total"), 0.0);
        let (before, ambassador) = (self.rss_before, &self.ambassador);
        wait_until(|| ambassador.metric("redis_ambassador_clients ") == 0.0);
        wait_until(|| ambassador.rss_kib() < before + GROWTH_KIB);
        let mut client = ambassador.client();
        assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".to_owned()));
    }
}

fn raw(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("a valid timeout");
    stream.set_write_timeout(patience).expect("a valid timeout");
    stream
}

/// What a server says to these bytes until it closes; `None` when it does not close.
fn last_words(port: u16, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut client = Client::connect(port);
    client.set_timeout(Duration::from_secs(5));
    client.try_send_raw(bytes).ok()?;
    client.read_to_close().ok()
}

fn shown(words: Option<&Vec<u8>>) -> String {
    words.map_or("(stays open)".to_owned(), |words| {
        words[..words.len().min(200)].escape_ascii().to_string()
    })
}

/// Bytes that look like requests in part: pieces of the protocol, shuffled, cut and flipped.
fn garbage(random: &mut SmallRng) -> Vec<u8> {
    const PIECES: [&[u8]; 20] = [
        b"*1\r\n",
        b"*3\r\n",
        b"*-1\r\n",
        b"*1000000\r\n",
        b"$3\r\nGET\r\n",
        b"$4\r\nPING\r\n",
        b"$1\r\na\r\n",
        b"$0\r\n\r\n",
        b"$5\r\nMULTI\r\n",
        b"$4\r\nEXEC\r\n",
        b"$100000\r\n",
        b"$9\r\nSUBSCRIBE\r\n",
        b"$5\r\nBLPOP\r\n",
        b"$5\r\nRESET\r\n",
        b"$5\r\nHELLO\r\n",
        b"$1\r\n3\r\n",
        b"PING\r\n",
        b"\r\n",
        b"\"",
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..40) {
        if random.random_bool(0.1) {
            let noise = random.random_range(0..200);
            bytes.extend((0..noise).map(|_| random.random::<u8>()));
        } else {
            bytes.extend_from_slice(PIECES[random.random_range(0..PIECES.len())]);
        }
    }
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    bytes
}

#[test]
fn garbage_harms_nobody() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let scene = Scene::set(Flavor::Redis7, &[]);
    for _ in 0..400 {
        let mut stream = scene.raw();
        let bytes = garbage(&mut random);
        for piece in bytes.chunks(random.random_range(1..=bytes.len())) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let wait = Duration::from_millis(random.random_range(1..10));
        stream.set_read_timeout(Some(wait)).expect("a valid timeout");
        let _ = stream.read(&mut [0; 4096]);
        if random.random_bool(0.3) {
            // Closed with a reset, at a moment of its own.
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .expect("linger can be set");
        }
    }
    scene.end();
}

#[test]
fn pieces_of_requests_then_silence_cost_little() {
    let scene = Scene::set(Flavor::Redis7, &[]);
    let began = scene.ambassador.rss_kib();
    let mut held = Vec::new();
    for _ in 0..200 {
        for piece in [
            &b"*"[..],
            b"*3\r\n$3\r\nSE",
            b"*2\r\n$3\r\nGET\r\n$536870912\r\nabc",
            b"*1048576\r\n",
            b"PIN",
        ] {
            let mut stream = scene.raw();
            stream
                .write_all(piece)
                .expect("a new connection takes a few bytes");
            held.push(stream);
        }
    }
    wait_until(|| scene.ambassador.metric("redis_ambassador_clients ") >= 1001.0);
    let grown = scene.ambassador.rss_kib().saturating_sub(began);
    assert!(grown < 16 * 1024, "1,000 clients that wait cost {grown} KiB");
    drop(held);
    scene.end();
}

#[test]
fn two_hundred_clients_that_send_byte_by_byte_are_served() {
    let scene = Scene::set(Flavor::Redis7, &[]);
    let mut streams: Vec<TcpStream> = (0..200).map(|_| scene.raw()).collect();
    for byte in b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$4\r\nslow\r\n" {
        for stream in &mut streams {
            stream.write_all(&[*byte]).expect("one byte is taken");
        }
    }
    for stream in &mut streams {
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).expect("a reply comes");
        assert_eq!(&reply, b"+OK\r\n");
    }
    drop(streams);
    scene.end();
}

#[test]
fn who_stops_sending_still_gets_every_reply() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        let mut stream = scene.raw();
        // Reads, writes, a transaction: several lanes and an own connection, one after the other.
        let script = "SET h 1\r\nGET h\r\nINCR h\r\nGET h\r\nMULTI\r\nINCR h\r\nEXEC\r\nECHO end\r\n";
        stream.write_all(script.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut replies = String::new();
        stream.read_to_string(&mut replies).expect("closed at the end");
        assert_eq!(
            replies.replace("\r\n", " "),
            "+OK $1 1 :2 $1 2 +OK +QUEUED *1 :3 $3 end ",
            "{flavor}"
        );
        scene.end();
    }
}

#[test]
fn resets_at_any_moment_harm_nobody() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let scene = Scene::set(Flavor::Redis7, &[]);
    scene.group.master.command(&["SET", "big", &"x".repeat(300_000)]);
    scene.group.wait_in_sync();
    let requests: [&[u8]; 6] = [
        b"GET big\r\nGET big\r\nGET big\r\n",
        b"MULTI\r\nSET reset 1\r\n",
        b"BLPOP nothing 0\r\n",
        b"SUBSCRIBE c\r\n",
        b"WATCH big\r\nGET big\r\n",
        b"*3\r\n$3\r\nSET\r\n$5\r\nreset\r\n$400000\r\nxxxxxxx",
    ];
    for round in 0..300 {
        let mut stream = scene.raw();
        stream.write_all(requests[round % requests.len()]).expect("sent");
        std::thread::sleep(Duration::from_micros(random.random_range(0..3000)));
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("linger can be set");
    }
    wait_until(|| scene.ambassador.metric("redis_ambassador_leases{") == 0.0);
    // Nobody is left who would be given what is pushed.
    wait_until(|| scene.group.master.info("clients")["blocked_clients"] == "0");
    assert_eq!(
        scene.group.master.command(&["EXISTS", "reset"]),
        Reply::Integer(0)
    );
    scene.end();
}
