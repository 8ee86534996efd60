//! The command line: what each subcommand prints and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use support::{Ambassador, Flavor, Server};
use tempfile::TempDir;

/// How a run of the binary ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[])
}

fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ambassador"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REDIS_AMBASSADOR_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn file(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("ambassador.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn wrong_usage_and_wrong_configuration_end_with_2_and_say_what_to_do() {
    // arguments, what standard error contains
    let cases: [(&[&str], &str); 7] = [
        (
            &[],
            "redis-ambassador: no master: name it with --master HOST:PORT, with master = ",
        ),
        (
            &["--master", "a:b"],
            "redis-ambassador: argument --master: upstream.master = \"a:b\": expected HOST:PORT",
        ),
        (
            &["--config", "/no/such", "--master", "a"],
            "cannot read the configuration file /no/such: No such file",
        ),
        (&["--mastr", "a"], "unexpected argument '--mastr'"),
        (&["explain"], "required arguments were not provided"),
        (
            &["--workers", "2", "local"],
            "redis-ambassador: the flags before `local` are for",
        ),
        (&["local", "--replicas", "17"], "expected 0 to 16"),
    ];
    for (arguments, expected) in cases {
        let ended = run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_names_every_flag_with_default_and_variable() {
    let ended = run(&["--help"]);
    assert_eq!(ended.code, 0);
    // Lines are wrapped to the terminal.
    let text = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "--config <FILE> Configuration file, TOML [default: none] [env: REDIS_AMBASSADOR_CONFIG]",
        "--master <ADDR> The master, HOST:PORT [no default] [env: REDIS_AMBASSADOR_UPSTREAM_MASTER]",
        "--replica <ADDR> A replica, HOST:PORT; repeatable [default: found from the master]",
        "[default: 127.0.0.1:6379 and [::1]:6379] [env: REDIS_AMBASSADOR_LISTEN]",
        "[default: 127.0.0.1:9121] [env: REDIS_AMBASSADOR_ADMIN_LISTEN]",
        "--workers <N>",
        "--log-format <FORMAT>",
        "--log-filter <FILTER>",
        "check",
        "explain",
        "local",
        "health",
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{}", ended.stdout);
    }
    assert!(!text.contains("guard"), "what is not for people is hidden");
    assert!(run(&["--version"]).stdout.starts_with("redis-ambassador "));
}

#[test]
fn check_prints_every_value_and_where_it_came_from() {
    let directory = TempDir::new().unwrap();
    let path = file(
        &directory,
        "workers = 2\n[upstream]\nmaster = \"m\"\npassword = \"hunter2\"\n",
    );
    let environment = [("REDIS_AMBASSADOR_READS_RETRIES", "5")];

    let ended = run_with(
        &["check", "--config", &path, "--listen", "127.0.0.1:7000"],
        &environment,
    );

    assert_eq!(ended.code, 0, "{ended:?}");
    for (assignment, origin) in [
        ("listen = [\"127.0.0.1:7000\"]", "# argument --listen".to_owned()),
        ("workers = 2", format!("# file {path}:1")),
        ("master = \"m:6379\"", format!("# file {path}:3")),
        ("password = \"***\"", format!("# file {path}:4")),
        (
            "retries = 5",
            "# environment REDIS_AMBASSADOR_READS_RETRIES".to_owned(),
        ),
        ("hold = \"5s\"", "# default".to_owned()),
    ] {
        let line = ended.stdout.lines().find(|line| line.starts_with(assignment));
        assert!(
            line.is_some_and(|line| line.ends_with(&origin)),
            "{assignment}: {line:?}"
        );
    }
    assert!(!ended.stdout.contains("hunter2"));
}

#[test]
fn check_says_no_with_1() {
    let directory = TempDir::new().unwrap();
    let path = file(
        &directory,
        "workers = 2\n[limits]\nhold = \"long\"\nclients = 0\n",
    );

    let ended = run(&["check", "--config", &path]);

    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    assert!(lines.iter().all(|line| line.starts_with("redis-ambassador: ")));
    assert!(
        lines[1].contains(&format!(
            "file {path}:4: limits.clients = 0: expected 1 to 1000000"
        )),
        "{}",
        lines[1]
    );
}

#[test]
fn flags_before_a_subcommand_count_and_those_after_it_win() {
    let ended = run(&["--master", "before", "--workers", "1", "check", "--workers", "3"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("master = \"before:6379\""),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("workers = 3"), "{}", ended.stdout);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "[upstream]\nmaster = \"from-file\"\n");
    let ended = run_with(&["check"], &[("REDIS_AMBASSADOR_CONFIG", &path)]);
    assert!(ended.stdout.contains("master = \"from-file:6379\""), "{ended:?}");
}

#[test]
fn explain_says_class_target_keys_and_why() {
    let directory = TempDir::new().unwrap();
    let path = file(
        &directory,
        "allow_dangerous = true\n[reads]\npolicy = \"any\"\n[commands]\n\"my.get\" = { class = \"read\", keys = [2, 2, 1] }\n",
    );
    // arguments, what is printed
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["GET", "foo"],
            &[
                "command  get",
                "class    read",
                "target   a replica; the master only when no replica is usable",
                "keys     foo",
                "why      the servers flag it readonly",
                "layer    embedded table",
                "policy   replicas-first (default)",
            ],
        ),
        (
            &["set", "foo", "-1"],
            &[
                "class    write",
                "target   the master, on a shared link",
                "keys     foo",
            ],
        ),
        (
            &["CONFIG", "GET", "x"],
            &["command  config|get", "class    master"],
        ),
        (
            &["no.such", "x"],
            &[
                "class    master",
                "why      no layer of the table knows it, so it may write",
                "layer    none",
            ],
        ),
        (
            &["shutdown"],
            &[
                "class    refused",
                "target   none: an error",
                "instead  stop the server where it runs",
            ],
        ),
        (
            &["HSCAN", "h", "0"],
            &[
                "class    read",
                "target   the node that the cursor names",
                "handling cursor",
            ],
        ),
        (
            &["SORT", "list"],
            &[
                "class    read",
                "target   a replica; the master only when no replica is usable",
                "why      writes only with STORE; without it SORT_RO is the same; this request is sent as SORT_RO",
            ],
        ),
        (
            &["SORT", "list", "STORE", "sorted"],
            &["class    write", "target   the master", "handling read-form"],
        ),
        (
            &["--config", &path, "MY.GET", "--x", "key"],
            &[
                "class    read",
                "target   the master or a replica",
                "keys     key",
                "layer    the configuration",
            ],
        ),
        (
            &["--config", &path, "shutdown"],
            &[
                "class    master",
                "why      ends the server; allow_dangerous lets it through",
            ],
        ),
    ];
    for (arguments, lines) in cases {
        let ended = run(&[&["explain"], arguments].concat());
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        for line in lines {
            assert!(
                ended.stdout.lines().any(|found| found.starts_with(line)),
                "{line}: {}",
                ended.stdout
            );
        }
    }
}

/// An admin listener that gives one answer.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut part = [0; 256];
            let read = stream.read(&mut part).unwrap();
            assert_ne!(read, 0, "the request was cut off");
            request.extend_from_slice(&part[..read]);
        }
        assert!(request.starts_with(b"GET /ready HTTP/1.0\r\n"));
        stream.write_all(answer.as_bytes()).unwrap();
    });
    address
}

#[test]
fn health_is_0_when_ready_and_1_otherwise() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = taken.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // address, exit code, standard output, what standard error contains
    let cases = [
        (
            answering("HTTP/1.1 200 OK\r\nA: b\r\n\r\nready\n"),
            0,
            "ready\n",
            "",
        ),
        (
            answering("HTTP/1.0 503 Service Unavailable\r\n\r\nno master\n"),
            1,
            "no master\n",
            "",
        ),
        (
            answering("-ERR unknown command\r\n"),
            1,
            "",
            "does not answer as an ambassador does",
        ),
        (silent, 1, "", "no answer from"),
        (closed, 1, "", "Connection refused"),
    ];
    for (address, code, stdout, stderr) in cases {
        let ended = run(&["health", "--admin", &address.to_string()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, stdout), "{ended:?}");
        assert!(ended.stderr.contains(stderr), "{ended:?}");
    }
}

#[test]
fn health_finds_the_listener_in_file_and_environment() {
    let directory = TempDir::new().unwrap();
    let text = |port: u16| format!("[admin]\nlisten = \"0.0.0.0:{port}\"\n");
    let path = file(
        &directory,
        &text(answering("HTTP/1.1 200 OK\r\n\r\nfile\n").port()),
    );
    assert_eq!(run(&["health", "--config", &path]).stdout, "file\n");

    let address = answering("HTTP/1.1 200 OK\r\n\r\nenvironment\n").to_string();
    let environment = [("REDIS_AMBASSADOR_ADMIN_LISTEN", address.as_str())];
    assert_eq!(
        run_with(&["health", "--config", &path], &environment).stdout,
        "environment\n"
    );

    let ended = run(&["health", "--admin", "off"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("switched off"), "{}", ended.stderr);
}

#[test]
fn health_asks_a_real_ambassador() {
    let server = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::start(&["--master", &server.address()]);
    let address = format!("127.0.0.1:{}", ambassador.admin_port());

    let ended = run(&["health", "--admin", &address]);
    assert_eq!(ended.code, 0, "{ended:?}");

    drop(ambassador);
    assert_eq!(run(&["health", "--admin", &address]).code, 1);
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_is_named() {
    let server = Server::start(Flavor::Redis7, &[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let ended = run(&[
        "--master",
        &server.address(),
        "--listen",
        &address,
        "--admin",
        "off",
    ]);

    assert_eq!(ended.code, 1, "{ended:?}");
    let said = ended
        .stderr
        .lines()
        .find(|line| line.starts_with("redis-ambassador: "));
    assert!(said.is_some_and(|line| line.contains(&address)), "{ended:?}");
}
