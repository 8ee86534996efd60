//! What is written in file, environment and arguments becomes the settings that were meant, or an error that says
//! where and what.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "config/errors.rs"]
mod errors;

use std::path::PathBuf;
use std::time::Duration;

use redis_ambassador::commands::{Class, KeyRange};
use redis_ambassador::config::{self, Arguments, Errors, Origin, Resolved, Sources};
use redis_ambassador::settings::{
    CommandOverride, Limits, Listen, Log, LogFormat, NodeAddress, ReadPolicy, Reads, Settings, Upstream,
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
            resolve_interval: Duration::from_secs(5),
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(30),
            reply_timeout: Duration::ZERO,
            probe_interval: Duration::from_millis(250),
            probe_timeout: Duration::from_secs(1),
            max_link_down: Duration::from_secs(10),
            max_lag_bytes: 64 << 20,
            max_lag_time: Duration::from_secs(10),
            links_per_node: 1,
            warm_leases: 2,
            max_leases: 10_000,
            idle_timeout: Duration::from_mins(1),
        },
        reads: Reads {
            policy: ReadPolicy::ReplicasFirst,
            retries: 2,
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
            scripts: 16 << 20,
        },
        log: Log {
            format: LogFormat::Text,
            filter: "info".to_owned(),
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
fn a_higher_layer_wins_and_every_value_knows_its_place() {
    let directory = TempDir::new().unwrap();
    let mut sources = file_sources(
        &directory,
        "workers = 2\ndrain_timeout = \"7s\"\n\n[upstream]\nmaster = \"file\"\nreplicas = [\"a\", \"b\"]\n",
    );
    sources.environment = environment(&[
        ("REDIS_AMBASSADOR_WORKERS", "3"),
        ("REDIS_AMBASSADOR_UPSTREAM_MASTER", "environment"),
        ("HOME", "/root"),
    ]);
    sources.arguments.master = Some("argument".to_owned());

    let loaded = config::load(&sources).unwrap();

    let file = sources.file.as_ref().unwrap();
    let cases = [
        ("drain_timeout", "\"7s\"", format!("file {}:2", file.display())),
        (
            "upstream.replicas",
            "[\"a:6379\", \"b:6379\"]",
            format!("file {}:6", file.display()),
        ),
        ("workers", "3", "environment REDIS_AMBASSADOR_WORKERS".to_owned()),
        (
            "upstream.master",
            "\"argument:6379\"",
            "argument --master".to_owned(),
        ),
        ("reads.retries", "2", "default".to_owned()),
    ];
    for (key, value, origin) in cases {
        let found = loaded.values.iter().find(|entry| entry.key == key).unwrap();
        assert_eq!(
            (found.value.as_str(), found.origin.to_string()),
            (value, origin),
            "{key}"
        );
    }
    let again = config::load(&sources).unwrap();
    assert_eq!(
        again.settings, loaded.settings,
        "the same sources load again to the same"
    );
    assert_eq!(loaded.settings.upstream.master.unwrap().host, "argument");
    assert!(!loaded.settings.upstream.discover);
}

#[test]
fn every_argument_reaches_its_key() {
    let arguments = Arguments {
        listen: vec!["127.0.0.1:7000".to_owned(), "/run/redis.sock".to_owned()],
        master: Some("m".to_owned()),
        replicas: vec!["r1".to_owned(), "r2:7".to_owned()],
        sentinels: vec!["s1".to_owned(), "[::1]:7".to_owned()],
        sentinel_master: Some("main".to_owned()),
        admin: Some("off".to_owned()),
        workers: Some("4".to_owned()),
        log_format: Some("json".to_owned()),
        log_filter: Some("warn".to_owned()),
    };

    let loaded = config::load(&Sources {
        arguments,
        ..Sources::default()
    })
    .unwrap();

    let settings = &loaded.settings;
    assert_eq!(
        settings.listen,
        [
            Listen::Tcp("127.0.0.1:7000".parse().unwrap()),
            Listen::Unix(PathBuf::from("/run/redis.sock")),
        ]
    );
    assert_eq!(
        settings.upstream.replicas,
        [node("r1", 6379, 100), node("r2", 7, 100)]
    );
    let sentinels = settings.upstream.sentinels.as_ref().unwrap();
    assert_eq!(sentinels.addresses, [node("s1", 26379, 100), node("::1", 7, 100)]);
    assert_eq!(sentinels.master, "main");
    assert_eq!((settings.admin, settings.workers), (None, 4));
    assert_eq!(
        (settings.log.format, settings.log.filter.as_str()),
        (LogFormat::Json, "warn")
    );
    for (key, flag) in [
        ("listen", "--listen"),
        ("upstream.replicas", "--replica"),
        ("sentinel.addresses", "--sentinel"),
        ("sentinel.master", "--sentinel-master"),
        ("admin.listen", "--admin"),
        ("workers", "--workers"),
        ("log.format", "--log-format"),
        ("log.filter", "--log-filter"),
    ] {
        assert_eq!(loaded.origin(key), Some(&Origin::Argument(flag)));
    }
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
fn variables_that_kubernetes_makes_for_a_service_of_our_name_are_ignored() {
    let links = [
        ("REDIS_AMBASSADOR_SERVICE_HOST", "10.96.0.7"),
        ("REDIS_AMBASSADOR_SERVICE_PORT", "6379"),
        ("REDIS_AMBASSADOR_SERVICE_PORT_REDIS", "6379"),
        ("REDIS_AMBASSADOR_PORT", "tcp://10.96.0.7:6379"),
        ("REDIS_AMBASSADOR_PORT_6379_TCP", "tcp://10.96.0.7:6379"),
        ("REDIS_AMBASSADOR_PORT_6379_TCP_ADDR", "10.96.0.7"),
        ("REDIS_AMBASSADOR_METRICS_SERVICE_HOST", "10.96.0.8"),
        ("REDIS_AMBASSADOR_UPSTREAM_MASTER", "m"),
    ];
    assert_eq!(
        load_environment(&links).unwrap().settings.upstream.master,
        Some(node("m", 6379, 100))
    );
}

#[test]
fn sentinels_make_a_master_needless_and_discovery_can_be_switched() {
    let sentinels = ("REDIS_AMBASSADOR_SENTINEL_ADDRESSES", "s1:1,s2");
    let settings = load_environment(&[sentinels]).unwrap().settings;
    assert_eq!(settings.upstream.master, None);
    assert_eq!(settings.upstream.sentinels.unwrap().master, "mymaster");
    let master = ("REDIS_AMBASSADOR_UPSTREAM_MASTER", "m");
    let replicas = ("REDIS_AMBASSADOR_UPSTREAM_REPLICAS", "r");
    for (word, alone, with_replicas) in [("auto", true, false), ("on", true, true), ("off", false, false)] {
        let word = ("REDIS_AMBASSADOR_UPSTREAM_DISCOVER", word);
        let discover = |variables: &[_]| load_environment(variables).unwrap().settings.upstream.discover;
        assert_eq!(discover(&[master, word]), alone, "{word:?}");
        assert_eq!(discover(&[master, replicas, word]), with_replicas, "{word:?}");
    }
    let map = (
        "REDIS_AMBASSADOR_UPSTREAM_ADDRESS_MAP",
        "10.0.0.5=x:7, [fd00::1]:1=y",
    );
    let settings = load_environment(&[master, map]).unwrap().settings;
    let map: Vec<String> = settings
        .upstream
        .address_map
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(map, ["10.0.0.5:6379=x:7", "[fd00::1]:1=y:6379"]);
}

#[test]
fn a_list_in_the_environment_is_separated_by_commas() {
    let loaded = load_environment(&[
        ("REDIS_AMBASSADOR_UPSTREAM_MASTER", " m:1 "),
        ("REDIS_AMBASSADOR_UPSTREAM_REPLICAS", "a:1, b:2,"),
        ("REDIS_AMBASSADOR_LISTEN", "127.0.0.1:1,/tmp/s"),
    ])
    .unwrap();
    assert_eq!(
        loaded.settings.upstream.replicas,
        [node("a", 1, 100), node("b", 2, 100)]
    );
    assert_eq!(loaded.settings.listen.len(), 2);
}

#[test]
fn the_password_comes_from_the_highest_layer_and_is_never_shown() {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "  from-the-file\r\n").unwrap();
    let secret = secret.to_str().unwrap();
    let file = format!("{MASTER}username = \"app\"\npassword_file = \"{secret}\"\n");
    let mut sources = file_sources(&directory, &file);

    let from_file = config::load(&sources).unwrap();
    assert_eq!(
        from_file.settings.upstream.password.as_deref(),
        Some("from-the-file")
    );
    assert!(!from_file.describe().contains("from-the-file"));
    assert!(!format!("{from_file:?}").contains("from-the-file"));

    sources.environment = environment(&[("REDIS_AMBASSADOR_UPSTREAM_PASSWORD", "hunter2")]);
    let from_environment = config::load(&sources).unwrap();
    assert_eq!(
        from_environment.settings.upstream.password.as_deref(),
        Some("hunter2")
    );
    let text = from_environment.describe();
    assert!(
        text.contains("password = \"***\"") && !text.contains("hunter2"),
        "{text}"
    );

    let both = load_file(&format!("{file}password = \"hunter2\"\n"));
    let found = messages(both);
    assert!(
        found[0].ends_with("expected password or password_file, not both"),
        "{found:?}"
    );

    // Neither in an error, under a key of the right or a wrong name, nor in an address.
    for written in [
        "password = [\"hunter2\"]",
        "passwort = \"hunter2\"",
        "replicas = [\"u:hunter2@host:1\"]",
    ] {
        let found = messages(load_file(&format!("{MASTER}{written}\n")));
        assert!(!found[0].contains("hunter2"), "{found:?}");
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
