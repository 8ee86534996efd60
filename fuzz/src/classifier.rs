//! The command table: any arguments, over the table that is built in and over any server's `COMMAND` reply.
//!
//! Input: the arguments of a request, one a line; behind a NUL the reply, in RESP2.

use std::collections::BTreeMap;

use redis_ambassador::commands::{Class, Command, Handling, Table};
use redis_protocol::resp2::decode::decode;

use super::is_shallow;

/// Looks a request up.
pub fn check(bytes: &[u8]) {
    let (request, reply) = match bytes.iter().position(|byte| *byte == 0) {
        Some(nul) => (&bytes[..nul], &bytes[nul + 1..]),
        None => (bytes, &b""[..]),
    };
    let arguments: Vec<&[u8]> = request.split(|byte| *byte == b'\n').collect();
    let embedded = Table::embedded();
    classifies(embedded, &arguments);
    classifies(&embedded.with_dangerous(), &arguments);
    if !is_shallow(reply) {
        return;
    }
    if let Ok(Some((frame, _))) = decode(reply) {
        let merged = embedded.with_server(&frame);
        keeps_what_was_judged(embedded, &merged);
        assert_eq!(
            classes(&merged.with_server(&frame)),
            classes(&merged),
            "the same reply changes nothing twice"
        );
        classifies(&merged, &arguments);
        for command in merged.iter() {
            let parts: Vec<&[u8]> = command.name.splitn(2, '|').map(str::as_bytes).collect();
            let found = merged.lookup(parts[0], parts.get(1).copied());
            assert_eq!(
                found.map(|found| &found.name),
                Some(&command.name),
                "found by its name"
            );
        }
    }
}

fn classifies(table: &Table, arguments: &[&[u8]]) {
    let (name, second) = (arguments[0], arguments.get(1).copied());
    let command = table.lookup(name, second);
    let in_case = |change: fn(&[u8]) -> Vec<u8>| {
        let second = second.map(change);
        table.lookup(&change(name), second.as_deref())
    };
    assert_eq!(in_case(<[u8]>::to_ascii_uppercase), command);
    assert_eq!(in_case(<[u8]>::to_ascii_lowercase), command);
    if let Some(command) = command {
        let name = name.to_ascii_lowercase();
        let with_second = [&name[..], b"|", &second.unwrap_or_default().to_ascii_lowercase()].concat();
        assert!(
            [&name, &with_second].contains(&&command.name.clone().into_bytes()),
            "{command:?}"
        );
    }

    let class = class_of(command, arguments);
    let texts: Option<Vec<&str>> = arguments
        .iter()
        .map(|argument| std::str::from_utf8(argument).ok())
        .collect();
    let Some(texts) = texts else { return };
    let explanation = table.explain(&texts);
    assert_eq!(explanation.class, class, "{explanation:?}");
    assert_eq!(explanation.layer.is_some(), command.is_some());
    assert!(!explanation.why.is_empty() && !explanation.target.is_empty());
    assert!(explanation.keys.len() < texts.len(), "{explanation:?}");
    // The keys are arguments behind the name.
    for key in &explanation.keys {
        assert!(texts[1..].contains(&key.as_str()), "{key} of {explanation:?}");
    }
}

fn class_of(command: Option<&Command>, arguments: &[&[u8]]) -> Class {
    let Some(command) = command else {
        return Class::Master;
    };
    let class = command.class_of(arguments.iter().copied());
    let has = |word: &[u8]| {
        arguments[1..]
            .iter()
            .any(|argument| argument.eq_ignore_ascii_case(word))
    };
    if class != command.class {
        let waits = command.handling == Handling::BlockOption && class == Class::Blocking && has(b"block");
        let writes = |argument: &&[u8]| {
            command.writes_with.is_empty()
                || command
                    .writes_with
                    .iter()
                    .any(|word| argument.eq_ignore_ascii_case(word.as_bytes()))
        };
        let reads = command.handling == Handling::ReadForm
            && (command.class, class) == (Class::Write, Class::Read)
            && !arguments[2..].iter().any(writes);
        assert!(waits || reads, "{command:?}");
    }
    class
}

/// A server adds commands, corrects reads that write and writes that read, and answers itself for what it does
/// not know. Nothing else.
fn keeps_what_was_judged(before: &Table, after: &Table) {
    let by_name: BTreeMap<&str, &Command> = after
        .iter()
        .map(|command| (command.name.as_str(), command))
        .collect();
    for old in before.iter() {
        let new = by_name.get(old.name.as_str()).expect("no command is lost");
        assert_eq!((new.keys, new.cursor), (old.keys, old.cursor));
        // What the server does not know is left to it: a subcommand, a read-only form.
        let left = new.handling == Handling::Forward;
        assert!(new.handling == old.handling || left, "{old:?}, {new:?}");
        let unknown = left && old.name.contains('|') && new.class == Class::Master;
        let corrected = matches!(
            (old.class, new.class),
            (Class::Read, Class::Write) | (Class::Write, Class::Read)
        );
        assert!(new.class == old.class || corrected || unknown, "{old:?}, {new:?}");
    }
}

fn classes(table: &Table) -> BTreeMap<String, Class> {
    table
        .iter()
        .map(|command| (command.name.clone(), command.class))
        .collect()
}
