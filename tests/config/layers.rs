//! File, environment and arguments over each other.

use super::*;

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
        zone: Some("eu-1a".to_owned()),
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
    assert_eq!(settings.upstream.zone.as_deref(), Some("eu-1a"));
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
        ("upstream.zone", "--zone"),
        ("admin.listen", "--admin"),
        ("workers", "--workers"),
        ("log.format", "--log-format"),
        ("log.filter", "--log-filter"),
    ] {
        assert_eq!(loaded.origin(key), Some(&Origin::Argument(flag)));
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
