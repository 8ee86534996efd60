//! The lowest layer: `config/commands.toml`, generated from real servers and built into the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::specs::KeySpec;
use super::table::{Access, Command, Handling, Known, Layer, Table};
use super::{Class, KeyRange};

const TEXT: &str = include_str!("../../config/commands.toml");

static EMBEDDED: LazyLock<Table> = LazyLock::new(|| parse(TEXT).expect("a test reads the embedded table"));

impl Table {
    /// The table that is built in; read once.
    pub fn embedded() -> &'static Table {
        &EMBEDDED
    }
}

#[derive(Deserialize)]
struct Written {
    commands: HashMap<String, WrittenCommand>,
}

/// The columns that are used here; the file has more, for people and for later.
#[derive(Deserialize)]
struct WrittenCommand {
    class: String,
    #[serde(default)]
    flags: Vec<String>,
    keys: Option<[i32; 3]>,
    #[serde(default)]
    specs: Vec<String>,
    #[serde(default)]
    cursor: u8,
    blocking_option: Option<String>,
    why: Option<String>,
}

fn parse(text: &str) -> Result<Table, String> {
    let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut table = Table::default();
    // Containers first: a subcommand is put under its container.
    let mut commands: Vec<(String, WrittenCommand)> = written.commands.into_iter().collect();
    commands.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (name, written) in commands {
        table.put(known(name, written)?);
    }
    Ok(table)
}

fn known(name: String, written: WrittenCommand) -> Result<Known, String> {
    let WrittenCommand {
        class,
        flags,
        keys,
        specs,
        cursor,
        blocking_option,
        why,
    } = written;
    let class = Class::from_name(&class).ok_or_else(|| format!("{name}: no class {class}"))?;
    let access = Access::of(flags.iter().map(String::as_bytes));
    let keys = keys
        .map(|[first, last, step]| KeyRange { first, last, step })
        .unwrap_or_default();
    let handling = match blocking_option.as_deref() {
        None => handling(&name, class),
        Some("BLOCK") => Handling::BlockOption,
        Some(option) => return Err(format!("{name}: the option {option} is not known")),
    };
    let specs: Result<Vec<KeySpec>, String> = specs
        .iter()
        .filter_map(|spec| KeySpec::parse(spec).transpose())
        .collect();
    let why = why.unwrap_or_else(|| {
        match (class, access) {
            (Class::Blocking, _) => "the servers flag it blocking",
            (_, Access::Writes) => "the servers flag it write",
            (_, Access::Reads) => "the servers flag it readonly",
            (_, Access::Neither) => "the servers flag it neither write nor readonly",
        }
        .to_owned()
    });
    let command = Command {
        name,
        class,
        keys,
        cursor,
        handling,
        why,
    };
    Ok(Known {
        command,
        layer: Layer::Embedded,
        access,
        specs: specs?,
    })
}

/// What the code does for a command by its name. Each of these has code of its own, so the name stands in the code;
/// a judgement that gives such a command another class (`client|pause`) means that it is forwarded.
fn handling(name: &str, class: Class) -> Handling {
    match (class, name) {
        (Class::Session, "select") => Handling::Select,
        (Class::Session, "auth") => Handling::Auth,
        (Class::Session, "hello") => Handling::Hello,
        (Class::Session, "reset") => Handling::Reset,
        (Class::Session, "quit") => Handling::Quit,
        (Class::Session, "readonly" | "readwrite" | "asking") => Handling::Cluster,
        (Class::Session, "client") => Handling::Client,
        (Class::Session, name) if name.starts_with("client|") => Handling::Client,
        (Class::Transaction, "multi") => Handling::Multi,
        (Class::Transaction, "exec") => Handling::Exec,
        (Class::Transaction, "discard") => Handling::Discard,
        (Class::Transaction, "watch") => Handling::Watch,
        (Class::Transaction, "unwatch") => Handling::Unwatch,
        (Class::Blocking, "wait" | "waitaof") => Handling::Wait,
        _ => Handling::Forward,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_and_transaction_command_has_its_own_handling() {
        let table = parse(TEXT).unwrap();
        for command in table.iter() {
            let own = matches!(command.class, Class::Session | Class::Transaction);
            if own {
                assert_ne!(
                    command.handling,
                    Handling::Forward,
                    "{} has code of its own",
                    command.name
                );
            }
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let table = |entry: &str| parse(&format!("[commands]\n{entry}\n"));
        assert!(table("\"get\" = { class = \"read\" }").is_ok());
        assert!(
            table("\"get\" = { class = \"reads\" }")
                .unwrap_err()
                .contains("reads")
        );
        assert!(
            table("\"get\" = { class = \"read\", blocking_option = \"WAIT\" }")
                .unwrap_err()
                .contains("WAIT")
        );
    }
}
