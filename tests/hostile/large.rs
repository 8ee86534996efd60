//! Much of everything: arguments, values, nesting, replies that nobody reads.

use super::*;

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
