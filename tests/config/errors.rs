//! An error says where, which key, what was written there and what was expected.

use std::path::PathBuf;

use redis_ambassador::config::{self, Sources};
use tempfile::TempDir;

use super::{MASTER, environment, load_file, messages, with_master};

/// What follows the master's line, and the one error.
const CASES: &[(&str, &str)] = &[
    (
        "connect_timeout = \"5 parsecs\"",
        "a.toml:3: upstream.connect_timeout = \"5 parsecs\": expected a duration with its unit, such as \"250ms\", \"5s\", \"1m\" or \"1h\"",
    ),
    (
        "probe_timeout = 5",
        "a.toml:3: upstream.probe_timeout = 5: expected a duration with its unit, such as \"250ms\", \"5s\", \"1m\" or \"1h\"",
    ),
    (
        "probe_interval = \"1ms\"",
        "a.toml:3: upstream.probe_interval = \"1ms\": expected \"10ms\" to \"1m\"",
    ),
    (
        "reply_timeout = \"1ms\"",
        "a.toml:3: upstream.reply_timeout = \"1ms\": expected \"10ms\" to \"8760h\", or \"off\"",
    ),
    (
        "max_lag = \"64 lightyears\"",
        "a.toml:3: upstream.max_lag = \"64 lightyears\": expected a size, such as \"64KiB\", \"64MiB\", \"1GB\" \
             or a number of bytes",
    ),
    (
        "links_per_node = 0",
        "a.toml:3: upstream.links_per_node = 0: expected 1 to 64",
    ),
    (
        "links_per_node = 1.5",
        "a.toml:3: upstream.links_per_node = 1.5: expected a whole number",
    ),
    (
        "replicas = [\"a:6379\", \"A\"]",
        "a.toml:3: upstream.replicas = [\"a:6379\", \"A\"]: expected each replica once, but a:6379 is there twice",
    ),
    (
        "replicas = [\"10.0.0.5:6379\"]",
        "a.toml:3: upstream.replicas = [\"10.0.0.5:6379\"]: expected replicas other than the master, but \
             10.0.0.5:6379 is named as both",
    ),
    (
        "discover = \"sometimes\"",
        "a.toml:3: upstream.discover = \"sometimes\": expected \"auto\", \"on\" or \"off\"",
    ),
    (
        "address_map = [\"10.0.0.5:6379\"]",
        "a.toml:3: upstream.address_map = [\"10.0.0.5:6379\"]: expected \"ANNOUNCED=REACHED\", such as \
             \"10.0.0.5:6379=127.0.0.1:7005\", instead of \"10.0.0.5:6379\"",
    ),
    (
        "[sentinel]\naddresses = [\"s:1\", \"s:1\"]",
        "a.toml:4: sentinel.addresses = [\"s:1\", \"s:1\"]: expected each sentinel once, but s:1 is there twice",
    ),
    (
        "[sentinel]\nmaster = \"my master\"",
        "a.toml:4: sentinel.master = \"my master\": expected the name under which the sentinels watch the master, \
             such as \"mymaster\"",
    ),
    (
        "[sentinel]\nusername = \"u\"",
        "a.toml:4: sentinel.username = \"u\": expected password or password_file with it",
    ),
    (
        "replicas = [\n  { address = \"a\", weight = -1 },\n]",
        "a.toml:3: upstream.replicas = [{ address = \"a\", weight = -1 }]: expected a weight from 0 to 10000 \
             instead of -1",
    ),
    (
        "replicas = [\"a:99999\"]",
        "a.toml:3: upstream.replicas = [\"a:99999\"]: expected HOST:PORT instead of \"a:99999\", such as \
             \"10.0.0.5:6379\", \"redis-0.redis:6379\" or \"[fd00::5]:6379\"",
    ),
    (
        "zones = [\"10.0.0.5:6379\"]",
        "a.toml:3: upstream.zones = [\"10.0.0.5:6379\"]: expected \"HOST:PORT=ZONE\", such as \"10.0.0.5:6379=eu-1a\", \
             instead of \"10.0.0.5:6379\"",
    ),
    (
        "zone = \"$(ZONE)\"",
        "a.toml:3: upstream.zone = \"$(ZONE)\": expected the name of a zone in quotes, such as \"eu-central-1a\"",
    ),
    (
        "connects_per_second = 1",
        "a.toml:3: upstream.connects_per_second = 1: expected 2 to 10000",
    ),
    (
        "[reads]\nhedge_budget = 2.5",
        "a.toml:4: reads.hedge_budget = 2.5: expected a share from 0 to 1, such as 0.02",
    ),
    (
        "hold_emptied = \"yes\"",
        "a.toml:3: upstream.hold_emptied = \"yes\": expected true or false",
    ),
    (
        "conect_timeout = \"1s\"",
        "a.toml:3: upstream.conect_timeout: unknown key; [upstream] has master, replicas, discover, address_map, zone, zones, resolve_interval, username, password, \
             password_file, connect_timeout, connects_per_second, start_timeout, reply_timeout, probe_interval, probe_timeout, mark_interval, max_link_down, max_lag, max_lag_time, hold_emptied, \
             links_per_node, warm_leases, max_leases, idle_timeout",
    ),
    (
        "[read]\npolicy = \"any\"",
        "a.toml:3: read: unknown key; the keys before the first section are listen, workers, drain_timeout, \
             allow_dangerous; the sections are [admin], [upstream], [sentinel], [reads], [subscriptions], [limits], [log], [commands]",
    ),
    (
        "[reads]\npolicy = \"nearest\"",
        "a.toml:4: reads.policy = \"nearest\": expected one of \"replicas-first\", \"replicas-only\", \"any\", \
             \"master-only\"",
    ),
    (
        "[subscriptions]\non_failover = \"stay\"",
        "a.toml:4: subscriptions.on_failover = \"stay\": expected one of \"close\", \"resubscribe\"",
    ),
    (
        "[limits]\nbuffers = \"1MiB\"\nclient_output = \"2MiB\"",
        "a.toml:5: limits.client_output = \"2MiB\": expected at most limits.buffers, which is 1048576 bytes",
    ),
    (
        "[commands]\n\"my.get\" = \"reads\"",
        "a.toml:4: commands.\"my.get\" = \"reads\": expected one of the classes read, write, master, any, \
             blocking, script, refused",
    ),
    (
        "[commands]\nmy.get = \"read\"",
        "a.toml:4: commands.my = { get = \"read\" }: expected a class or { class = \"read\", keys = [1, 1, 1] }; \
             a command name with a dot or a bar needs quotes around it",
    ),
    (
        "[commands]\nblpop = \"read\"",
        "a.toml:4: commands.blpop = \"read\": expected refused or nothing: BLPOP is blocking and the ambassador \
             handles its connection",
    ),
    (
        "[commands]\nx = { keys = [0, 1, 1] }",
        "a.toml:4: commands.x = { keys = [0, 1, 1] }: expected the keys' positions as [first, last, step], such \
             as [1, 1, 1] for one key or [1, -1, 2] for every second argument; [0, 0, 0] for none",
    ),
    (
        "username = \"app\"",
        "a.toml:3: upstream.username = \"app\": expected password or password_file with it",
    ),
];

#[test]
fn every_key_can_be_given_by_its_variable() {
    // A value that no key takes; a text key takes any.
    let loaded = config::load(&with_master("m")).unwrap();
    let free_texts = [".username", ".password", ".password_file"];
    let is_free = |key: &str| free_texts.iter().any(|end| key.ends_with(end));
    for value in loaded.values.iter().filter(|value| !is_free(&value.key)) {
        let name = format!("REDIS_AMBASSADOR_{}", value.key.replace('.', "_").to_uppercase());
        let mut sources = with_master("m");
        if value.key == "upstream.master" {
            sources = Sources::default();
        }
        sources.environment = environment(&[(&name, "info,=[")]);

        let found = messages(config::load(&sources));

        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let begin = format!("environment {name}: {} = \"info,=[\": expected", value.key);
        assert!(found[0].starts_with(&begin), "{}", found[0]);
    }
}

#[test]
fn an_error_names_file_line_key_value_and_what_was_expected() {
    for (written, expected) in CASES {
        let found = messages(load_file(&format!("{MASTER}{written}\n")));
        assert_eq!(found, [*expected], "{written}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut sources = Sources {
        environment: environment(&[
            ("REDIS_AMBASSADOR_WORKERS", "many"),
            ("REDIS_AMBASSADOR_MASTER", "m"),
        ]),
        ..Sources::default()
    };
    sources.arguments.listen = vec!["redis.example:6379".to_owned()];
    sources.arguments.log_filter = Some("info,=".to_owned());

    let found = messages(config::load(&sources));

    let begins = [
        "environment REDIS_AMBASSADOR_MASTER: unknown variable; known are REDIS_AMBASSADOR_CONFIG, ",
        "argument --listen: listen = [\"redis.example:6379\"]: expected IP:PORT",
        "environment REDIS_AMBASSADOR_WORKERS: workers = \"many\": expected \"auto\" or a number of threads",
        "no master: name it with --master HOST:PORT, with master = \"HOST:PORT\" under [upstream] in the file given \
         by --config, or with REDIS_AMBASSADOR_UPSTREAM_MASTER=HOST:PORT",
        "argument --log-filter: log.filter = \"info,=\": expected a filter",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}\ndoes not begin with\n{begin}");
    }
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let found = messages(load_file("workers = 2\nlisten = [\"127.0.0.1\"\nlog = \n"));
    assert!(found[0].starts_with("a.toml:"), "{found:?}");
    assert!(found[0].contains("not TOML"), "{found:?}");

    // The parser repeats itself for every dot, and of the depth it says no place.
    let found = messages(load_file(&format!("listen{} = 1\n", ".".repeat(200))));
    let of_toml: Vec<&String> = found
        .iter()
        .filter(|message| message.contains("not TOML"))
        .collect();
    assert_eq!(of_toml.len(), 2, "{found:?}");
    assert!(
        of_toml[0].contains("a.toml is not TOML: recursion limit"),
        "{found:?}"
    );
    assert!(of_toml[1].starts_with("a.toml:1: not TOML: "), "{found:?}");

    let missing = Sources {
        file: Some(PathBuf::from("/no/such/file.toml")),
        ..with_master("m")
    };
    let found = messages(config::load(&missing));
    assert_eq!(
        found,
        ["cannot read the configuration file /no/such/file.toml: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_password_file_that_says_nothing_is_an_error() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for (path, end) in [
        (
            empty.to_str().unwrap(),
            "expected a password in that file, but it is empty",
        ),
        (
            "/no/such",
            "expected a file that can be read: No such file or directory (os error 2)",
        ),
    ] {
        let found = messages(load_file(&format!("{MASTER}password_file = \"{path}\"\n")));
        assert!(found.len() == 1 && found[0].ends_with(end), "{found:?}");
    }
}
