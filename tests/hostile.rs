//! Hostile clients: each ends in Redis's own error or a closed connection, and costs nobody else anything.
#![allow(clippy::float_cmp, reason = "metrics are counts, which a float holds exactly")]

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

#[test]
fn protocol_errors_read_as_the_server_itself_writes_them() {
    let long = |start: &[u8], byte: u8| [start, &vec![byte; 66_000]].concat();
    let mut cases: Vec<(&str, Vec<u8>)> = [
        ("nested arrays", b"*1\r\n*1\r\n*1\r\n*1\r\n".repeat(50)),
        ("count not a number", b"*abc\r\n".to_vec()),
        ("count with a blank", b"* 1\r\n".to_vec()),
        ("count with a sign", b"*+1\r\n".to_vec()),
        ("count with a zero", b"*01\r\n".to_vec()),
        ("count beyond 64 bits", b"*99999999999999999999\r\n".to_vec()),
        ("count of 2^31", b"*2147483648\r\n".to_vec()),
        ("count that does not end", long(b"*", b'1')),
        ("negative count is skipped", b"*-1\r\n".to_vec()),
        (
            "most negative count is skipped",
            b"*-9223372036854775808\r\n".to_vec(),
        ),
        ("zero count is skipped", b"*0\r\n".to_vec()),
        ("bulk length -1", b"*1\r\n$-1\r\n".to_vec()),
        ("bulk length -5", b"*2\r\n$3\r\nGET\r\n$-5\r\n".to_vec()),
        ("bulk not a number", b"*1\r\n$x\r\n".to_vec()),
        ("bulk length empty", b"*1\r\n$\r\n".to_vec()),
        ("bulk too large by one", b"*1\r\n$536870913\r\n".to_vec()),
        ("bulk beyond 64 bits", b"*1\r\n$18446744073709551616\r\n".to_vec()),
        ("bulk length that does not end", long(b"*1\r\n$", b'9')),
        ("integer for a bulk", b"*1\r\n:1\r\n".to_vec()),
        ("simple string for a bulk", b"*2\r\n$3\r\nGET\r\n+a\r\n".to_vec()),
        ("error for a bulk", b"*1\r\n-ERR\r\n".to_vec()),
        ("line end for a bulk", b"*1\r\n\r\n".to_vec()),
        ("inline that does not end", long(b"", b'a')),
        ("unbalanced double quotes", b"SET a \"b\r\n".to_vec()),
        ("unbalanced single quotes", b"SET a 'b\r\n".to_vec()),
        ("text behind quotes", b"SET a \"b\"c\r\n".to_vec()),
        (
            "an unknown command full of line ends",
            b"*1\r\n$4\r\n\r\n\r\n\r\n".to_vec(),
        ),
        ("a command with an empty name", b"*1\r\n$0\r\n\r\n".to_vec()),
        ("a name of NULs", b"*1\r\n$4\r\n\0\0\0\0\r\n".to_vec()),
        ("blank lines", b"\r\n\r\n  \r\n\n".to_vec()),
    ]
    .into();
    for (_, bytes) in &mut cases {
        // What the server survives ends with this; the rest ends before it.
        if bytes.len() < 60_000 {
            bytes.extend_from_slice(b"*1\r\n$4\r\nQUIT\r\n");
        }
    }
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        let mut differences = Vec::new();
        for (name, bytes) in &cases {
            let direct = last_words(scene.group.master.port(), bytes);
            let through = last_words(scene.ambassador.port(), bytes);
            if direct.is_none() || direct != through {
                differences.push(format!(
                    "{name}: {} instead of {}",
                    shown(through.as_ref()),
                    shown(direct.as_ref())
                ));
            }
        }
        assert!(differences.is_empty(), "{flavor}:\n{}", differences.join("\n"));
        assert!(
            scene
                .ambassador
                .metric("redis_ambassador_limits_hit_total{limit=\"protocol\"}")
                > 10.0
        );
        scene.end();
    }
}

#[test]
fn what_redis_would_read_over_is_refused_because_links_are_shared() {
    let scene = Scene::set(Flavor::Redis7, &[]);
    for bytes in [
        // Redis 7 counts to 2^31 and waits for ever behind a NUL; limits.arguments is this many.
        &b"*1048577\r\n"[..],
        b"*1\r\n\0",
        b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
        b"*1\rX$4\r\nPING\r\n",
        b"*1\r\n$4\rXPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\naXY*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
    ] {
        let words = last_words(scene.ambassador.port(), bytes);
        let text = words.as_deref().map(String::from_utf8_lossy);
        assert!(
            text.as_ref()
                .is_some_and(|text| text.starts_with("-ERR Protocol error: ")),
            "{}: {text:?}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(scene.group.master.command(&["EXISTS", "a"]), Reply::Integer(0));
    scene.end();
}

#[test]
fn a_browser_that_was_tricked_is_cut_off_before_its_body_runs() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        for head in [
            "POST / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n",
            "*1\r\n$4\r\nPOST\r\n",
            "*2\r\n$5\r\nHost:\r\n$1\r\nx\r\n",
        ] {
            let attack = format!("{head}SET stolen 1\r\n");
            let words = last_words(scene.ambassador.port(), attack.as_bytes());
            assert!(words.is_some(), "{flavor}: {head:?} is not closed");
        }
        assert_eq!(
            scene.group.master.command(&["EXISTS", "stolen"]),
            Reply::Integer(0),
            "{flavor}"
        );
        scene.end();
    }
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

fn request(words: impl ExactSizeIterator<Item = String>) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[test]
fn a_million_arguments_and_long_lists_go_through() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        let mut client = scene.ambassador.client();
        client.set_timeout(Duration::from_secs(30));
        let word = |index: usize| {
            if index == 0 {
                "MSET".to_owned()
            } else {
                format!("k{index}")
            }
        };
        client.send_raw(&request((0..1_000_001).map(word)));
        assert_eq!(client.read_reply(), Reply::ok(), "{flavor}");
        let stored = client.command(&["DBSIZE"]).integer();
        assert!(stored >= 500_000, "{flavor}: {stored}");

        let word = |index: usize| match index {
            0 => "RPUSH".to_owned(),
            1 => "list".to_owned(),
            index => index.to_string(),
        };
        client.send_raw(&request((0..100_002).map(word)));
        assert_eq!(client.read_reply(), Reply::Integer(100_000), "{flavor}");
        scene.group.wait_in_sync();
        let list = client.command(&["LRANGE", "list", "0", "-1"]).items();
        assert_eq!(list.len(), 100_000, "{flavor}");
        assert_eq!(
            (&list[0], &list[99_999]),
            (&Reply::bulk("2"), &Reply::bulk("100001"))
        );
        drop(client);
        scene.end();
    }
}

#[test]
fn a_huge_value_that_is_never_finished_leaves_nothing() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        let mut stream = scene.raw();
        stream
            .write_all(b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$536870912\r\n")
            .expect("sent");
        stream.write_all(&vec![b'x'; 1 << 20]).expect("sent");
        wait_until(|| scene.ambassador.metric("redis_ambassador_leases{") == 1.0);
        drop(stream);
        wait_until(|| scene.ambassador.metric("redis_ambassador_leases{") == 0.0);
        assert_eq!(
            scene.group.master.command(&["EXISTS", "huge"]),
            Reply::Integer(0),
            "{flavor}"
        );
        scene.end();
    }
}

#[test]
fn deeply_nested_replies_come_as_they_are() {
    for flavor in Flavor::ALL {
        let scene = Scene::set(flavor, &[]);
        for depth in [10, 1000, 3000, 100_000] {
            let script = format!("local t = {{1}} for i = 1, {depth} do t = {{t}} end return t");
            let mut bytes = request(["EVAL".to_owned(), script, "0".to_owned()].into_iter());
            bytes.extend_from_slice(b"QUIT\r\n");
            let direct = last_words(scene.group.master.port(), &bytes);
            let through = last_words(scene.ambassador.port(), &bytes);
            assert!(direct.is_some(), "{flavor}, depth {depth}");
            assert!(
                direct == through,
                "{flavor}, depth {depth}: {}",
                shown(through.as_ref())
            );
        }
        scene.end();
    }
}

#[test]
fn who_asks_for_gigabytes_and_never_reads_is_closed_and_alone_in_that() {
    let scene = Scene::set(Flavor::Redis7, &[]);
    scene.group.master.command(&["SET", "big", &"x".repeat(1 << 20)]);
    scene.group.wait_in_sync();
    let mut stream = scene.raw();
    let ask = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(300);
    let end = Instant::now() + Duration::from_mins(1);
    let (mut most, mut asked) = (0, None::<Instant>);
    // Hundreds of megabytes are asked for, again and again; it ends with the connection.
    loop {
        most = most.max(scene.ambassador.rss_kib());
        let bytes: &[u8] = if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            asked = Some(Instant::now());
            &ask
        } else {
            b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n"
        };
        if stream.write_all(bytes).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(Instant::now() < end, "the client was never closed");
    }
    let limits = scene
        .ambassador
        .metric("redis_ambassador_limits_hit_total{limit=\"client_output\"}");
    assert_eq!(limits, 1.0);
    assert!(scene.ambassador.log().contains("limit=\"client_output\""));
    let grown = most.saturating_sub(scene.rss_before);
    assert!(grown < 200 * 1024, "one client cost {grown} KiB");
    scene.end();
}

#[test]
fn who_writes_a_large_batch_before_reading_is_served() {
    let scene = Scene::set(Flavor::Redis7, &[]);
    let mut client = scene.ambassador.client();
    client.set_timeout(Duration::from_secs(30));
    assert_eq!(client.command(&["SET", "some", &"v".repeat(1000)]), Reply::ok());
    scene.group.wait_in_sync();
    let mut batch = Vec::new();
    for number in 0..20_000 {
        // Reads in runs, with writes between: both lanes.
        if number % 1000 == 0 {
            batch.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n");
        } else {
            batch.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$4\r\nsome\r\n");
        }
    }
    client.send_raw(&batch);
    for number in 0..20_000 {
        let reply = client.read_reply();
        if number % 1000 == 0 {
            assert_eq!(reply, Reply::Integer(number / 1000 + 1), "reply {number}");
        } else {
            assert!(
                matches!(&reply, Reply::Bulk(bytes) if bytes.len() == 1000),
                "{number}: {reply:?}"
            );
        }
    }
    drop(client);
    scene.end();
}
