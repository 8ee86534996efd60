//! What is written in file, environment and arguments becomes the settings that were meant, or an error that says
//! where and what.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "config/errors.rs"]
mod errors;
#[path = "config/layers.rs"]
mod layers;

use std::path::PathBuf;
use std::time::Duration;

use redis_ambassador::commands::{Class, KeyRange};
use redis_ambassador::config::{self, Arguments, Errors, Origin, Resolved, Sources};
use redis_ambassador::settings::{
    CommandOverride, Limits, Listen, Log, LogFormat, NodeAddress, OnFailover, ReadPolicy, Reads, Settings,
    Share, Subscriptions, Upstream,
};
use tempfile::TempDir;

const MASTER: &str = "[upstream]\nmaster = \"10.0.0.5\"\n";

/// A file of that text, alone.
fn load_file(text: &str) -> Result<Resolved, Errors> {
    let directory = TempDir::new().unwrap();
    config::load(&file_sources(&directory, text))
}

fn file_sources(directory: &TempDir, text: &str) -> Sources {
    let path = directory.path().join("a.toml");
    std::fs::write(&path, text).unwrap();
    Sources {
        file: Some(path),
        ..Sources::default()
    }
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_environment(variables: &[(&str, &str)]) -> Result<Resolved, Errors> {
    config::load(&Sources {
        environment: environment(variables),
        ..Sources::default()
    })
}

fn with_master(master: &str) -> Sources {
    Sources {
        arguments: Arguments {
            master: Some(master.to_owned()),
            ..Arguments::default()
        },
        ..Sources::default()
    }
}

fn node(host: &str, port: u16, weight: u32) -> NodeAddress {
    NodeAddress {
        host: host.to_owned(),
        port,
        weight,
    }
}

/// The errors without the directory of the file.
fn messages(result: Result<Resolved, Errors>) -> Vec<String> {
    let Errors(problems) = result.expect_err("should have been refused");
    problems
        .iter()
        .map(|problem| {
            let text = problem.to_string();
            match text.split_once("a.toml:") {
                Some((_, rest)) => format!("a.toml:{rest}"),
                None => text,
            }
        })
        .collect()
}

#[test]
fn the_defaults_are_these() {
    let loaded = config::load(&with_master("10.0.0.5:6380")).unwrap();

    let expected = Settings {
        listen: vec![
            Listen::Tcp("127.0.0.1:6379".parse().unwrap()),
            Listen::Tcp("[::1]:6379".parse().unwrap()),
        ],
        workers: std::thread::available_parallelism().unwrap().get().clamp(1, 4),
        admin: Some("127.0.0.1:9121".parse().unwrap()),
        upstream: Upstream {
            master: Some(node("10.0.0.5", 6380, 100)),
            replicas: Vec::new(),
            discover: true,
            sentinels: None,
            address_map: Vec::new(),
            zone: None,
            zones: Vec::new(),
            resolve_interval: Duration::from_secs(5),
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(1),
            connects_per_second: 20,
            start_timeout: Duration::from_secs(30),
            reply_timeout: Duration::ZERO,
            probe_interval: Duration::from_millis(250),
            mark_interval: Duration::from_millis(100),
            probe_timeout: Duration::from_secs(1),
            max_link_down: Duration::from_secs(10),
            max_lag_bytes: 64 << 20,
            max_lag_time: Duration::from_secs(10),
            hold_emptied: false,
            links_per_node: 1,
            warm_leases: 2,
            max_leases: 10_000,
            idle_timeout: Duration::from_mins(1),
        },
        subscriptions: Subscriptions {
            on_failover: OnFailover::Close,
        },
        reads: Reads {
            policy: ReadPolicy::ReplicasFirst,
            retries: 2,
            hedge: false,
            hedge_budget: Share(20_000),
        },
        limits: Limits {
            clients: 10_000,
            client_output: 64 << 20,
            client_pipeline: 1 << 20,
            buffers: 512 << 20,
            bulk: 512 << 20,
            arguments: 1_048_576,
            idle: Duration::ZERO,
            request: Duration::ZERO,
            hold: Duration::from_secs(5),
            hold_commands: 100_000,
            hold_bytes: 64 << 20,
            scripts: 16 << 20,
        },
        log: Log {
            format: LogFormat::Text,
            filter: "info".to_owned(),
            lost_keys: 0,
        },
        commands: Vec::new(),
        allow_dangerous: false,
        drain_timeout: Duration::from_secs(10),
    };
    assert_eq!(loaded.settings, expected);
    for value in &loaded.values {
        let by_argument = value.key == "upstream.master";
        assert_eq!(value.origin == Origin::Default, !by_argument, "{}", value.key);
    }
}

#[test]
fn the_reference_is_a_valid_file_that_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let mut sources = file_sources(&directory, config::REFERENCE);
    sources.arguments.master = Some("m".to_owned());

    let from_file = config::load(&sources).unwrap();

    assert_eq!(
        from_file.settings,
        config::load(&with_master("m")).unwrap().settings
    );
    assert!(matches!(from_file.origin("limits.hold"), Some(Origin::File { line, .. }) if *line > 100));
}

#[test]
fn the_reference_s_commented_examples_are_valid() {
    let (keys, examples) = config::REFERENCE.split_once("\n[commands]\n").unwrap();
    let uncommented: String = examples
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let text = format!(
        "{}\n[commands]\n{uncommented}",
        keys.replace("master = \"\"", "master = \"m\"")
    );

    let changes = load_file(&text).unwrap().settings.commands;

    assert_eq!(
        changes[1],
        CommandOverride {
            name: "my.mset".to_owned(),
            class: Some(Class::Write),
            keys: Some(KeyRange {
                first: 1,
                last: -1,
                step: 2
            }),
        }
    );
    assert_eq!(changes.len(), 3);
}

#[test]
fn the_example_files_are_valid() {
    let directory = TempDir::new().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let examples = std::fs::read_dir("config/examples").unwrap();
    let mut seen = 0;
    for example in examples {
        let path = example.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let secrets = text.split('"').filter(|word| word.starts_with("/run/secrets/"));
        let text = secrets.fold(text.clone(), |text, secret| {
            text.replace(secret, password.to_str().unwrap())
        });

        let loaded = load_file(&text);

        assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.unwrap_err());
        seen += 1;
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn values_are_understood_in_every_form() {
    // key, as written, as understood
    let cases = [
        ("limits.hold", "\"250ms\"", "\"250ms\""),
        ("limits.hold", "\"90s\"", "\"90s\""),
        ("limits.hold", "\"60 s\"", "\"1m\""),
        ("limits.hold", "\"1h\"", "\"1h\""),
        ("limits.hold", "0", "\"0s\""),
        ("limits.idle", "0", "\"off\""),
        ("limits.idle", "\"off\"", "\"off\""),
        ("limits.idle", "\"5m\"", "\"5m\""),
        ("limits.bulk", "\"64MiB\"", "\"64MiB\""),
        ("limits.bulk", "\"1gb\"", "1000000000"),
        ("limits.bulk", "2048", "\"2KiB\""),
        ("limits.bulk", "5000", "5000"),
        ("limits.scripts", "0", "0"),
        ("limits.scripts", "\"1MiB\"", "\"1MiB\""),
        ("limits.arguments", "0x10", "16"),
        ("workers", "0", "\"auto\""),
        ("workers", "3", "3"),
        ("admin.listen", "\"\"", "\"off\""),
        ("admin.listen", "\"off\"", "\"off\""),
        ("admin.listen", "\"0.0.0.0\"", "\"0.0.0.0:9121\""),
        ("admin.listen", "\"[::]:80\"", "\"[::]:80\""),
        (
            "listen",
            "\"localhost:7000\"",
            "[\"127.0.0.1:7000\", \"[::1]:7000\"]",
        ),
        (
            "listen",
            "[\"0.0.0.0\", \"::1\"]",
            "[\"0.0.0.0:6379\", \"[::1]:6379\"]",
        ),
        ("listen", "[\"unix:redis.sock\"]", "[\"unix:redis.sock\"]"),
        (
            "listen",
            "[\"127.0.0.1:0\", \"127.0.0.1:0\"]",
            "[\"127.0.0.1:0\", \"127.0.0.1:0\"]",
        ),
        (
            "upstream.replicas",
            "[\"Redis-1.redis\"]",
            "[\"redis-1.redis:6379\"]",
        ),
        ("upstream.replicas", "[\"fd00::5\"]", "[\"[fd00::5]:6379\"]"),
        ("upstream.replicas", "[\"[fd00::5]:7\"]", "[\"[fd00::5]:7\"]"),
        (
            "upstream.replicas",
            "[{ address = \"a:1\", weight = 50 }, { address = \"b\" }]",
            "[{ address = \"a:1\", weight = 50 }, \"b:6379\"]",
        ),
        ("reads.policy", "\"master-only\"", "\"master-only\""),
        ("log.format", "\"json\"", "\"json\""),
        ("allow_dangerous", "true", "true"),
    ];
    for (key, written, understood) in cases {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let text = match section {
            "" => format!("{name} = {written}\n{MASTER}"),
            "upstream" => format!("{MASTER}{name} = {written}\n"),
            _ => format!("{MASTER}[{section}]\n{name} = {written}\n"),
        };
        let loaded = load_file(&text).unwrap_or_else(|errors| panic!("{key} = {written}: {errors}"));
        let value = loaded.values.iter().find(|value| value.key == key).unwrap();
        assert_eq!(value.value, understood, "{key} = {written}");
    }
}

#[test]
fn what_check_prints_is_a_file_that_means_the_same() {
    let text = "listen = [\"127.0.0.1:7000\"]\nworkers = 2\n[upstream]\nmaster = \"m\"\nmax_lag = 12345\n\
                replicas = [{ address = \"a\", weight = 7 }]\n[log]\nfilter = \"a=debug\"\n\
                [commands]\n\"my.get\" = { class = \"read\", keys = [1, 1, 1] }\nset = \"master\"\n";
    let first = load_file(text).unwrap();

    let second = load_file(&first.describe()).unwrap();

    assert_eq!(second.settings, first.settings);
    assert!(first.describe().contains("a.toml:2"), "{}", first.describe());
}

#[test]
fn explain_and_health_need_no_master() {
    let loaded = config::load_without_master(&Sources::default()).unwrap();
    assert_eq!(loaded.settings.reads.policy, ReadPolicy::ReplicasFirst);
    assert!(config::load(&Sources::default()).is_err());
}
