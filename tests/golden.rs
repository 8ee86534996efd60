//! The golden table: every command and subcommand of the three servers with its class, target and handling.
//!
//! A new server's commands, or a changed judgement, show up as a difference. `make golden` rewrites the file: the
//! difference is the review.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use redis_ambassador::commands::Table;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use support::{Flavor, Server};

const GOLDEN: &str = "tests/golden/commands.txt";

fn command_reply(server: &Server) -> OwnedFrame {
    let mut client = server.client();
    client.command(&["COMMAND"]);
    let (frame, _) = decode(client.last_bytes())
        .expect("COMMAND is answered in RESP2")
        .expect("the reply is whole");
    frame
}

/// Names of commands and subcommands in a reply to COMMAND.
fn names(reply: &OwnedFrame, into: &mut BTreeSet<String>) {
    let OwnedFrame::Array(entries) = reply else { return };
    for entry in entries {
        let OwnedFrame::Array(fields) = entry else {
            continue;
        };
        if let Some(OwnedFrame::BulkString(name) | OwnedFrame::SimpleString(name)) = fields.first() {
            into.insert(String::from_utf8_lossy(name).to_ascii_lowercase());
        }
        if let Some(subcommands) = fields.get(9) {
            names(subcommands, into);
        }
    }
}

#[test]
fn the_table_is_what_the_golden_file_says() {
    let mut lines: BTreeMap<String, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for flavor in Flavor::ALL {
        let server = Server::start(flavor, &[]);
        let reply = command_reply(&server);
        let table = Table::embedded().with_server(&reply);
        let mut known = BTreeSet::new();
        names(&reply, &mut known);
        assert!(
            known.len() > 300,
            "{} names {} commands",
            flavor.name(),
            known.len()
        );
        for name in known {
            let (first, second) = match name.split_once('|') {
                Some((container, sub)) => (container, Some(sub.as_bytes())),
                None => (name.as_str(), None),
            };
            let command = table
                .lookup(first.as_bytes(), second)
                .unwrap_or_else(|| panic!("{name} is not found"));
            assert_eq!(command.name, name, "the table found another entry");
            let line = format!(
                "{:<12} {:<22} {}",
                command.class.name(),
                command.handling.name(),
                command.target()
            );
            lines
                .entry(name)
                .or_default()
                .entry(line)
                .or_default()
                .push(flavor.name());
        }
    }
    let mut text = String::from(
        "# Every command of Redis 7.0, Redis 8.0 and Valkey 8.1: class, handling, target, and the servers where it is so.\n\
         # Rewritten by `make golden`; the difference is the review.\n",
    );
    for (name, variants) in &lines {
        for (line, flavors) in variants {
            let flavors = if flavors.len() == Flavor::ALL.len() {
                "all".to_owned()
            } else {
                flavors.join(" ")
            };
            writeln!(text, "{name:<28} {line}  [{flavors}]").expect("a String takes everything");
        }
    }
    if std::env::var_os("AMBASSADOR_REWRITE_GOLDEN").is_some() {
        fs::write(GOLDEN, &text).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (golden.lines().collect(), text.lines().collect());
    let gone: Vec<_> = old.difference(&new).map(|line| format!("- {line}")).collect();
    let come: Vec<_> = new.difference(&old).map(|line| format!("+ {line}")).collect();
    assert!(
        golden == text,
        "{GOLDEN} is not what the table says; `make golden` rewrites it\n{}\n{}",
        gone.join("\n"),
        come.join("\n")
    );
}
