//! The process from outside: the admin listener's answers, and how a start and an end look.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::Value;

use support::{Ambassador, Flavor, Group, PATIENCE, Server, free_port, wait_until};

#[test]
fn live_at_once_ready_with_a_master_and_not_ready_without() {
    let mut master = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::start(&["--master", &master.address()]);
    assert_eq!(ambassador.admin_get("/live"), (200, "live\n".to_owned()));
    assert_eq!(ambassador.admin_get("/ready"), (200, "ready\n".to_owned()));
    master.kill();
    wait_until(|| ambassador.admin_get("/ready").0 == 503);
    let (_, reason) = ambassador.admin_get("/ready");
    assert!(
        reason.starts_with("not ready: no usable master") && reason.contains(&master.address()),
        "{reason}"
    );
    assert_eq!(reason.lines().count(), 1);
    assert_eq!(ambassador.admin_get("/live").0, 200);
    master.restart();
    wait_until(|| ambassador.admin_get("/ready").0 == 200);
}

#[test]
fn replicas_only_is_not_ready_without_a_replica() {
    let mut group = Group::start(Flavor::Redis7, 1);
    let (master, replica) = (group.master.address(), group.replicas[0].address());
    let config = "[reads]\npolicy = \"replicas-only\"\n";
    let ambassador = Ambassador::with_config(config, &["--master", &master, "--replica", &replica]);
    group.replicas[0].kill();
    wait_until(|| ambassador.admin_get("/ready").0 == 503);
    assert!(ambassador.admin_get("/ready").1.contains("replicas-only"));
}

#[test]
fn what_is_not_there_and_what_is_not_allowed() {
    let master = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::start(&["--master", &master.address()]);
    let (status, paths) = ambassador.admin_get("/");
    assert_eq!(status, 404);
    for path in ["/live", "/ready", "/metrics", "/topology"] {
        assert!(paths.contains(path), "{path} is not in {paths}");
    }
    assert_eq!(ambassador.admin_post("/ready").0, 405);
}

#[test]
fn the_topology_says_what_is_known_of_each_node() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = Ambassador::over(&group);
    let topology = || serde_json::from_str::<Value>(&ambassador.admin_get("/topology").1).unwrap();
    wait_until(|| topology()["nodes"][1]["usable"] == true);
    group.master.command(&["SET", "k", "v"]);
    wait_until(|| {
        let nodes = topology()["nodes"].clone();
        nodes[0]["offset"] != 0 && nodes[0]["offset"] == nodes[1]["offset"] && nodes[1]["lag_bytes"] == 0
    });
    let topology = topology();
    assert_eq!(topology["master"], group.master.address().as_str());
    assert!(topology["version"].as_u64().unwrap() > 0);
    let replica = &topology["nodes"][1];
    assert_eq!(replica["role"], "replica");
    assert_eq!(replica["weight"], 100);
    assert_eq!(replica["address"], group.replicas[0].address().as_str());
    assert_eq!(replica["replid"].as_str().unwrap().len(), 40);
    assert_eq!(replica["reason"], Value::Null);
}

#[test]
fn the_metrics_are_well_formed_and_say_what_is() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = Ambassador::over(&group);
    let replica = group.replicas[0].address();
    let usable = format!("redis_ambassador_node_usable{{node=\"{replica}\"}}");
    wait_until(|| ambassador.metric(&usable) >= 1.0);
    let metrics = exposition(&ambassador.admin_get("/metrics").1);
    let sample = |name: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let found = metrics
            .iter()
            .find(|sample| sample.name == name && sample.labels == labels);
        found.unwrap_or_else(|| panic!("no {name} {labels:?}")).value
    };
    let is = |role| [("node", replica.as_str()), ("role", role)];
    assert!((sample("redis_ambassador_node_role", &is("replica")) - 1.0).abs() < f64::EPSILON);
    assert!(sample("redis_ambassador_node_role", &is("master")).abs() < f64::EPSILON);
    assert!(sample("redis_ambassador_node_offset_bytes", &[("node", &replica)]) >= 0.0);
    assert!(sample("redis_ambassador_process_resident_memory_bytes", &[]) > 1e6);
    assert!(sample("redis_ambassador_limits_hit_total", &[("limit", "clients")]).abs() < f64::EPSILON);
    assert!(sample("redis_ambassador_errors_total", &[("fault", "upstream")]).abs() < f64::EPSILON);
}

#[test]
fn clients_beyond_the_limit_are_told_so_and_counted() {
    let master = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::with_config("[limits]\nclients = 3\n", &["--master", &master.address()]);
    let kept: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(("127.0.0.1", ambassador.port())).unwrap())
        .collect();
    wait_until(|| ambassador.metric("redis_ambassador_clients_accepted_total") >= 3.0);
    let mut fourth = TcpStream::connect(("127.0.0.1", ambassador.port())).unwrap();
    fourth.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    fourth.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "-ERR max number of clients reached\r\n");
    wait_until(|| ambassador.metric("redis_ambassador_limits_hit_total{limit=\"clients\"}") >= 1.0);
    assert!(ambassador.metric("redis_ambassador_limits_hit_total{limit=\"clients\"}") < 2.0);
    drop(kept);
}

#[test]
fn an_admin_client_that_says_nothing_is_let_go() {
    let master = Server::start(Flavor::Redis7, &[]);
    let ambassador = Ambassador::start(&["--master", &master.address()]);
    let mut silent = TcpStream::connect(("127.0.0.1", ambassador.admin_port())).unwrap();
    silent.write_all(b"GET /live HTTP/1.1\r\n").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    silent
        .read_to_end(&mut rest)
        .expect("it is closed before this client's patience ends");
    let mut long = TcpStream::connect(("127.0.0.1", ambassador.admin_port())).unwrap();
    long.set_read_timeout(Some(PATIENCE)).unwrap();
    let header = format!("GET /live HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    // It may be closed while it still sends.
    let _ = long.write_all(header.as_bytes());
    let mut answer = [0; 12];
    if long.read_exact(&mut answer).is_ok() {
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    assert_eq!(ambassador.admin_get("/live").0, 200);
}

#[test]
fn one_line_says_what_listens_where_and_who_is_who() {
    let group = Group::start(Flavor::Redis7, 1);
    let ambassador = Ambassador::over_with(&group, &["--log-format", "json"]);
    let line = || {
        let log = ambassador.log();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "ready")
    };
    wait_until(|| line().is_some());
    let line = line().unwrap();
    assert_eq!(line["listen"], format!("127.0.0.1:{}", ambassador.port()));
    assert_eq!(line["admin"], format!("127.0.0.1:{}", ambassador.admin_port()));
    assert_eq!(line["master"], group.master.address().as_str());
    assert_eq!(line["replicas"], group.replicas[0].address().as_str());
    assert_eq!(line["reads"], "replicas-first");
    assert!(line["workers"].as_u64().unwrap() >= 1);
}

/// Starts it, waits until it ends by itself, gives what it wrote.
#[track_caller]
fn refused(config: &str, args: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("ambassador.toml");
    std::fs::write(&file, config).expect("the configuration can be written");
    let mut all = vec!["--config", file.to_str().expect("its path is UTF-8")];
    all.extend_from_slice(args);
    let mut ambassador = Ambassador::spawn(&all);
    let status = ambassador.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", ambassador.log());
    ambassador.log()
}

#[track_caller]
fn assert_says(log: &str, parts: &[&str]) {
    let last = log.lines().last().unwrap_or_default();
    for part in parts {
        assert!(last.contains(part), "the last line lacks {part:?}:\n{log}");
    }
}

#[test]
fn an_unreachable_master_ends_the_start_with_what_to_check() {
    let address = format!("127.0.0.1:{}", free_port());
    let log = refused("[upstream]\nstart_timeout = \"500ms\"\n", &["--master", &address]);
    assert_says(
        &log,
        &[
            &address,
            "connection refused",
            "check that a Redis or Valkey server runs there",
        ],
    );
}

#[test]
fn replicas_without_their_master_end_the_start_with_whom_they_follow() {
    let mut group = Group::start(Flavor::Redis7, 2);
    let below = Server::replica_of(&group.replicas[0]);
    let [one, other, below] = [&group.replicas[0], &group.replicas[1], &below].map(Server::address);
    let config = "[upstream]\nstart_timeout = \"1s\"\n";
    let master = group.master.address();
    let follows =
        format!("{one} (--master): it is a replica of {master}, which is not among the named nodes");
    let named = ["--master", &one, "--replica", &other];
    assert_says(
        &refused(config, &named),
        &[&follows, "name its other nodes with --replica"],
    );
    let chain = format!("it is a replica of {one}, itself a replica of {master}, which is not among");
    let named = ["--master", &below, "--replica", &one];
    assert_says(&refused(config, &named), &[&chain]);
    // Found, and down.
    group.master.kill();
    let down = format!("it is a replica of {master}, which does not answer: cannot connect");
    assert_says(&refused(config, &["--master", &one]), &[&down]);
}

#[test]
fn a_refused_password_ends_the_start_at_once() {
    let master = Server::start(Flavor::Redis7, &[]);
    master.command(&["CONFIG", "SET", "requirepass", "right"]);
    let log = refused(
        "[upstream]\npassword = \"wrong-one\"\n",
        &["--master", &master.address()],
    );
    assert_says(
        &log,
        &[
            &master.address(),
            "WRONGPASS",
            "check upstream.username and upstream.password",
        ],
    );
    assert!(!log.contains("wrong-one"));
    let log = refused("", &["--master", &master.address()]);
    assert_says(&log, &["NOAUTH", "upstream.password"]);
}

#[test]
fn a_server_that_is_no_redis_ends_the_start_with_what_to_check() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let log = refused("[upstream]\nstart_timeout = \"500ms\"\n", &["--master", &address]);
    assert_says(
        &log,
        &[
            &address,
            "unexpected reply",
            "Redis or Valkey server, and nothing else",
        ],
    );
}

#[test]
fn a_taken_port_ends_the_start_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let log = refused("", &["--master", "127.0.0.1:1", "--listen", &address]);
    assert_says(
        &log,
        &[
            &format!("cannot listen on {address}: the port is taken"),
            "ss -ltnp",
            "--listen ADDR",
        ],
    );
}

#[test]
fn a_unix_socket_left_behind_is_taken_over_and_one_in_use_is_not() {
    let master = Server::start(Flavor::Redis7, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.sock");
    let place = format!("unix:{}", path.display());
    let in_use = UnixListener::bind(&path).unwrap();
    let log = refused("", &["--master", &master.address(), "--listen", &place]);
    assert_says(&log, &[&place, "another process answers there"]);
    drop(in_use);
    assert!(path.exists(), "std leaves the file behind");
    let mut ambassador = Ambassador::start(&["--master", &master.address(), "--listen", &place]);
    UnixStream::connect(&path).unwrap();
    assert_eq!(ambassador.terminate().code(), Some(0));
    assert!(!path.exists(), "it takes its socket file with it");
}

#[test]
fn it_waits_for_a_master_that_comes_later() {
    let mut master = Server::start(Flavor::Redis7, &[]);
    master.kill();
    let mut ambassador = Ambassador::spawn(&["--master", &master.address()]);
    wait_until(|| ambassador.log().contains("still trying"));
    assert_eq!(ambassador.admin_get("/ready").0, 503);
    master.restart();
    ambassador.wait_ready();
}

#[test]
fn sigterm_ends_it_in_order_also_while_it_waits_for_a_master() {
    let master = Server::start(Flavor::Redis7, &[]);
    let mut ambassador = Ambassador::start(&["--master", &master.address()]);
    ambassador.signal(rustix::process::Signal::HUP);
    wait_until(|| ambassador.log().contains("SIGHUP ignored"));
    assert_eq!(ambassador.terminate().code(), Some(0));
    let mut waiting = Ambassador::spawn(&["--master", &format!("127.0.0.1:{}", free_port())]);
    wait_until(|| waiting.log().contains("still trying"));
    waiting.signal(rustix::process::Signal::INT);
    assert_eq!(waiting.wait_exit(Duration::from_secs(15)).code(), Some(0));
}

/// One sample of an exposition.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A strict reader of what this process may write of `OpenMetrics` text 1.0; fails on anything else.
#[track_caller]
fn exposition(text: &str) -> Vec<Sample> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    let mut samples: Vec<Sample> = Vec::new();
    let mut declared = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').expect(line);
            let (name, rest) = rest.split_once(' ').expect(line);
            assert!(name.starts_with("redis_ambassador_"), "{line}");
            match word {
                "HELP" => {
                    assert!(!rest.is_empty(), "{line}");
                    assert!(declared.insert(name.to_owned()), "declared twice: {line}");
                    name.clone_into(&mut family);
                }
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    rest.clone_into(&mut kind);
                }
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let sample = sample(line);
        let suffix = sample
            .name
            .strip_prefix(&family)
            .unwrap_or_else(|| panic!("{line} under {family}"));
        let expected: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_sum", "_count", "_bucket"],
            _ => &[""],
        };
        assert!(expected.contains(&suffix), "{line} is no {kind}");
        let twice = samples
            .iter()
            .any(|other| other.name == sample.name && other.labels == sample.labels);
        assert!(!twice, "twice: {line}");
        samples.push(sample);
    }
    check_histograms(&samples);
    samples
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value: f64 = value.parse().expect(line);
    // Only a clock can be behind.
    let signed = series.starts_with("redis_ambassador_node_clock_skew");
    assert!(value.is_finite() && (signed || value >= 0.0), "{line}");
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, labels)) => {
            let labels = labels.strip_suffix('}').expect(line);
            let pair = |pair: &str| {
                let (key, value) = pair.split_once('=').expect(line);
                let value = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'))
                    .expect(line);
                assert!(!value.contains(['"', '\\', '\n']), "{line}");
                (key.to_owned(), value.to_owned())
            };
            (name, labels.split(',').map(pair).collect())
        }
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(is_name(name) && labels.keys().all(|key| is_name(key)), "{line}");
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

/// Buckets never fall, and the last one is the count.
#[track_caller]
fn check_histograms(samples: &[Sample]) {
    for count in samples
        .iter()
        .filter(|sample| sample.name.ends_with("_seconds_count"))
    {
        let bucket = count.name.replace("_count", "_bucket");
        let buckets: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.name == bucket && sample.labels.get("node") == count.labels.get("node"))
            .collect();
        assert!(
            buckets.windows(2).all(|pair| pair[0].value <= pair[1].value),
            "{bucket}"
        );
        let last = buckets.last().expect("a histogram has buckets");
        assert_eq!(last.labels["le"], "+Inf");
        assert!((last.value - count.value).abs() < f64::EPSILON);
    }
}
