//! The lowest layer: `config/commands.toml`, generated from real servers and built into the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::handling::Handling;
use super::specs::KeySpec;
use super::table::{Access, Command, Known, Layer, Table};
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
    #[serde(default)]
    arity: i32,
    keys: Option<[i32; 3]>,
    #[serde(default)]
    specs: Vec<String>,
    #[serde(default)]
    cursor: u8,
    handling: Option<String>,
    read_form: Option<String>,
    #[serde(default)]
    writes_with: Vec<String>,
    instead: Option<String>,
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
        arity,
        keys,
        specs,
        cursor,
        handling,
        read_form,
        writes_with,
        instead,
        why,
    } = written;
    let class = Class::from_name(&class).ok_or_else(|| format!("{name}: no class {class}"))?;
    let access = Access::of(flags.iter().map(String::as_bytes));
    let keys = keys
        .map(|[first, last, step]| KeyRange { first, last, step })
        .unwrap_or_default();
    let handling = handling.as_deref().unwrap_or("forward");
    let handling = Handling::from_name(handling).ok_or_else(|| format!("{name}: no handling {handling}"))?;
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
        arity,
        keys,
        cursor,
        handling,
        read_form,
        writes_with,
        instead,
        why,
    };
    Ok(Known {
        command,
        layer: Layer::Embedded,
        access,
        specs: specs?,
    })
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
            table("\"get\" = { class = \"read\", handling = \"waits\" }")
                .unwrap_err()
                .contains("waits")
        );
    }
}
