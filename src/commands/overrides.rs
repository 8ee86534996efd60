//! The uppermost layer: the user's own `[commands]`.

use std::fmt;

use super::dangerous::takes_connection;
use super::handling::Handling;
use super::names::MAX_NAME;
use super::table::{Access, Command, Known, Layer, Table};
use super::{Class, KeyRange};

/// A change to the command table that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOverride {
    /// Command name in lower case; a subcommand as `container|sub`.
    pub name: String,
    /// Its class, when it changes.
    pub class: Option<Class>,
    /// Positions of its keys (first, last, step), when they change.
    pub keys: Option<KeyRange>,
}

/// Why a change to the table cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideError {
    /// The command's name as it was written.
    pub name: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for OverrideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected)
    }
}

impl std::error::Error for OverrideError {}

impl Table {
    /// This table with the user's changes. A change to a container counts for its subcommands as well, except for
    /// those that are named themselves.
    pub fn with_overrides(&self, changes: &[CommandOverride]) -> Result<Table, OverrideError> {
        let mut table = self.clone();
        let (subcommands, commands): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| change.name.contains('|'));
        for change in commands.into_iter().chain(subcommands) {
            table.change(change).map_err(|expected| OverrideError {
                name: change.name.clone(),
                expected,
            })?;
        }
        Ok(table)
    }

    fn change(&mut self, change: &CommandOverride) -> Result<(), String> {
        let name = change.name.to_ascii_lowercase();
        check_name(&name)?;
        if let Some(class) = change.class
            && !Class::OVERRIDES.contains(&class)
        {
            return Err(format!(
                "expected one of the classes {}; {} is for the commands that the ambassador itself knows to be so",
                Class::OVERRIDES.map(Class::name).join(", "),
                class.name()
            ));
        }
        if let Some(known) = self.known_mut(&name) {
            apply(known, change)?;
            if !name.contains('|')
                && let Some(entry) = self.commands.get_mut(name.as_bytes())
            {
                let of_container = CommandOverride {
                    keys: None,
                    ..change.clone()
                };
                for known in entry.subcommands.values_mut() {
                    apply(known, &of_container)?;
                }
            }
            return Ok(());
        }
        let class = change.class.unwrap_or(Class::Master);
        let command = Command {
            name,
            class,
            arity: 0,
            keys: change.keys.unwrap_or_default(),
            cursor: 0,
            handling: Handling::Forward,
            read_form: None,
            writes_with: Vec::new(),
            instead: None,
            why: "named in the configuration".to_owned(),
        };
        self.put(Known {
            command,
            layer: Layer::User,
            access: Access::Neither,
            specs: Vec::new(),
        });
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let part_fits = |part: &str| {
        !part.is_empty() && part.len() <= MAX_NAME && part.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if name.split('|').count() <= 2 && name.split('|').all(part_fits) {
        return Ok(());
    }
    Err("expected the name of a command, or container|sub, without blanks".to_owned())
}

fn apply(known: &mut Known, change: &CommandOverride) -> Result<(), String> {
    let command = &mut known.command;
    if let Some(class) = change.class
        && class != command.class
    {
        check_change(command, class)?;
        if class == Class::Refused {
            // Refused before anything else is asked of it.
            command.handling = Handling::Forward;
        }
        command.why = format!("the configuration says so; without it: {}", command.class.name());
        command.class = class;
    } else if change.class.is_some() {
        "the configuration says so, as does the table".clone_into(&mut command.why);
    }
    if let Some(keys) = change.keys {
        command.keys = keys;
        known.specs.clear();
        command.cursor = if keys == KeyRange::default() {
            0
        } else {
            command.cursor
        };
    }
    known.layer = Layer::User;
    Ok(())
}

/// What belongs to a connection cannot be declared not to: a shared link would lose its order of replies.
fn check_change(command: &Command, class: Class) -> Result<(), String> {
    if takes_connection(command) && class != Class::Refused {
        return Err(format!(
            "expected refused or nothing: {} takes its connection over; allow_dangerous lets it through on an own one",
            command.name.to_uppercase()
        ));
    }
    let own = !matches!(
        command.handling,
        Handling::Forward
            | Handling::BlockOption
            | Handling::Cursor
            | Handling::ReadForm
            | Handling::Eval
            | Handling::EvalSha
            | Handling::FunctionRead
    ) || matches!(
        command.class,
        Class::Blocking | Class::Transaction | Class::Pubsub | Class::Stream | Class::Session
    );
    if own && class != Class::Refused {
        return Err(format!(
            "expected refused or nothing: {} is {} and the ambassador handles its connection",
            command.name.to_uppercase(),
            command.class.name()
        ));
    }
    Ok(())
}
