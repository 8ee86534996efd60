//! Every command and subcommand that the three servers know, through the ambassador and beside it: the next reply
//! is always the next command's, and what a plain server answers is answered here too.

mod support;

use support::{Ambassador, Client, Flavor, Group, Reply, Server};

/// A command with as many arguments as it wants, and its class in the table.
struct Known {
    words: Vec<String>,
    class: String,
    servers: Option<Vec<String>>,
}

fn table() -> Vec<Known> {
    let text = std::fs::read_to_string("config/commands.toml").expect("the table");
    let parsed: toml::Table = text.parse().expect("TOML");
    let commands = parsed["commands"].as_table().expect("commands");
    let containers: Vec<&str> = commands
        .keys()
        .filter_map(|name| name.split_once('|'))
        .map(|(one, _)| one)
        .collect();
    let known = commands
        .iter()
        .filter(|(name, _)| !containers.contains(&name.as_str()))
        .map(|(name, entry)| {
            let arity = entry["arity"].as_integer().expect("arity").unsigned_abs() as usize;
            let mut words: Vec<String> = name.split('|').map(str::to_owned).collect();
            while words.len() < arity {
                words.push("1".to_owned());
            }
            let servers = entry
                .get("servers")
                .and_then(|servers| servers.as_array())
                .map(|servers| {
                    servers
                        .iter()
                        .filter_map(|server| server.as_str())
                        .map(str::to_owned)
                        .collect()
                });
            Known {
                words,
                class: entry["class"].as_str().expect("class").to_owned(),
                servers,
            }
        });
    known.collect()
}

/// Replies that tell one server, one moment or one connection from another; that they come is all that is checked.
fn is_individual(known: &Known) -> bool {
    let name = known.words[0].as_str();
    let sub = known.words.get(1).map_or("", String::as_str);
    matches!(
        name,
        // Ids, addresses, times, memory, uptime, random choice.
        "info"
            | "memory"
            | "time"
            | "lastsave"
            | "latency"
            | "slowlog"
            | "role"
            | "hello"
            | "module"
            | "commandlog"
            | "lolwut"
            | "randomkey"
            | "client"
            | "acl"
            | "restore"
            | "dump"
            | "migrate"
            | "wait"
            | "waitaof"
            | "bgsave"
            | "bgrewriteaof"
            | "command"
            | "xadd"
            | "script"
    ) || (name, sub) == ("config", "get")
        || (name, sub) == ("object", "freq")
        || (name, sub) == ("function", "stats")
        || (name, sub) == ("pubsub", "numpat")
        || known.class == "refused"
}

fn connect(port: u16, version: u8) -> Client {
    let mut client = Client::connect(port);
    client.hello(version);
    client
}

/// The bytes of the reply, after which the connection is in step.
#[track_caller]
fn ask(port: u16, version: u8, known: &Known) -> Vec<u8> {
    let mut client = connect(port, version);
    client.send(&known.words);
    let words = &known.words;
    let reply = client
        .try_read_reply()
        .unwrap_or_else(|error| panic!("RESP{version} {words:?}: {error}"));
    let bytes = client.last_bytes().to_vec();
    if matches!(known.class.as_str(), "pubsub" | "stream") || words[0] == "quit" {
        return bytes;
    }
    let next = client.command(&["ECHO", "in step"]);
    let queued = words[0] == "multi" && next.text() == "QUEUED";
    assert!(
        queued || next == Reply::bulk("in step"),
        "RESP{version} {words:?}: {reply:?}, then {next:?}"
    );
    bytes
}

#[test]
fn every_command_keeps_in_step_and_answers_as_a_plain_server() {
    let table = table();
    assert!(table.len() > 350, "{} commands", table.len());
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 2);
        let ambassador = Ambassador::over(&group);
        let (mut ours_direct, mut theirs_direct) = (group.master.client(), plain.client());
        for version in [2, 3] {
            for known in &table {
                if known
                    .servers
                    .as_ref()
                    .is_some_and(|servers| !servers.iter().any(|name| name == flavor.name()))
                {
                    continue;
                }
                for master in [&mut ours_direct, &mut theirs_direct] {
                    master.command(&["FLUSHALL"]);
                }
                if known.class == "read" {
                    group.wait_in_sync();
                }
                let ours = ask(ambassador.port(), version, known);
                if known.class == "refused" {
                    let text = String::from_utf8_lossy(&ours).into_owned();
                    assert!(
                        text.starts_with("-ERR redis-ambassador refuses"),
                        "{:?}: {text}",
                        known.words
                    );
                    continue;
                }
                let theirs = ask(plain.port(), version, known);
                let (shown, expected) = (String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
                assert!(
                    is_individual(known) || ours == theirs,
                    "{} RESP{version} {:?}: {shown:?}, a plain server: {expected:?}",
                    flavor.name(),
                    known.words
                );
            }
        }
        assert!(ambassador.metric("redis_ambassador_panics_total") < 0.5);
    }
}

#[test]
fn too_few_arguments_are_refused_in_the_servers_own_words() {
    let table = table();
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        for known in table
            .iter()
            .filter(|known| known.words.len() > 1 && known.words.last().is_some_and(|word| word == "1"))
        {
            let short = Known {
                words: known.words[..known.words.len() - 1].to_vec(),
                class: known.class.clone(),
                servers: known.servers.clone(),
            };
            if known.class == "refused"
                || matches!(known.class.as_str(), "pubsub" | "stream")
                || short
                    .servers
                    .as_ref()
                    .is_some_and(|servers| !servers.iter().any(|name| name == flavor.name()))
            {
                continue;
            }
            let ours = ask(ambassador.port(), 2, &short);
            let theirs = ask(plain.port(), 2, &short);
            let (ours, theirs) = (String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
            assert_eq!(ours, theirs, "{} {:?}", flavor.name(), short.words);
        }
    }
}
