//! The entries of `[commands]`: read and printed.

use super::raw::Raw;
use crate::commands::{Class, CommandOverride, KeyRange};

/// What a `[commands]` entry says.
pub(super) fn command_override(name: &str, raw: &Raw) -> Result<CommandOverride, String> {
    let form = "expected a class or { class = \"read\", keys = [1, 1, 1] }";
    let mut change = CommandOverride {
        name: name.to_ascii_lowercase(),
        class: None,
        keys: None,
    };
    match raw {
        Raw::Text(text) => change.class = Some(class(text)?),
        Raw::Table(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("class", Raw::Text(text)) => change.class = Some(class(text)?),
                    ("keys", Raw::List(positions)) => change.keys = Some(keys(positions)?),
                    ("class" | "keys", _) => return Err(form.to_owned()),
                    _ => {
                        return Err(format!(
                            "{form}; a command name with a dot or a bar needs quotes around it"
                        ));
                    }
                }
            }
            if entries.is_empty() {
                return Err(form.to_owned());
            }
        }
        _ => return Err(form.to_owned()),
    }
    Ok(change)
}

fn class(text: &str) -> Result<Class, String> {
    let known = || Class::OVERRIDES.map(Class::name).join(", ");
    Class::from_name(text).ok_or_else(|| format!("expected one of the classes {}", known()))
}

fn keys(positions: &[Raw]) -> Result<KeyRange, String> {
    let wanted = "expected the keys' positions as [first, last, step], such as [1, 1, 1] for one key or [1, -1, 2] \
                  for every second argument; [0, 0, 0] for none";
    let number = |raw: &Raw| match raw {
        Raw::Integer(number) => i32::try_from(*number).ok(),
        _ => None,
    };
    let numbers: Option<Vec<i32>> = positions.iter().map(number).collect();
    match numbers.as_deref() {
        Some(&[0, 0, 0]) => Ok(KeyRange::default()),
        Some(&[first, last, step]) if first >= 1 && step >= 1 && (last < 0 || last >= first) => {
            Ok(KeyRange { first, last, step })
        }
        _ => Err(wanted.to_owned()),
    }
}

/// A `[commands]` entry as TOML writes its value.
pub(super) fn print_override(change: &CommandOverride) -> String {
    let class = change.class.map(|class| format!("\"{}\"", class.name()));
    let keys = change
        .keys
        .map(|keys| format!("keys = [{}, {}, {}]", keys.first, keys.last, keys.step));
    match (class, keys) {
        (Some(class), None) => class,
        (None, Some(keys)) => format!("{{ {keys} }}"),
        (Some(class), Some(keys)) => format!("{{ class = {class}, {keys} }}"),
        (None, None) => "{}".to_owned(),
    }
}
