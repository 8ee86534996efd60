//! What is no request.

use super::*;

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
