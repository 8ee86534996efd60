//! A value as it was written, before anyone asked what it means: from TOML, the environment or an argument.

use std::fmt::{self, Write as _};

use toml::de::DeValue;

/// One value, with what TOML knows of its type. The environment and arguments give only texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
    /// What no key takes: a float, a date, an integer beyond 64 bits. Kept as it was written, for the error.
    Odd(String),
}

impl Raw {
    /// What stands in a TOML document. Recursion is bounded by the TOML parser's own limit on nesting.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Raw {
        match value {
            DeValue::String(text) => Raw::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Raw::Integer(number),
                Err(_) => Raw::Odd(number.as_str().to_owned()),
            },
            DeValue::Float(number) => Raw::Odd(number.as_str().to_owned()),
            DeValue::Boolean(yes) => Raw::Boolean(*yes),
            DeValue::Datetime(when) => Raw::Odd(when.to_string()),
            DeValue::Array(items) => {
                Raw::List(items.iter().map(|item| Raw::from_toml(item.get_ref())).collect())
            }
            DeValue::Table(entries) => Raw::Table(
                entries
                    .iter()
                    .map(|(key, value)| {
                        (
                            key.get_ref().clone().into_owned(),
                            Raw::from_toml(value.get_ref()),
                        )
                    })
                    .collect(),
            ),
        }
    }

    /// The text that an integer or a boolean may also be given as (the environment knows only texts).
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// The elements: of a list, or of a text with commas between them (the environment).
    pub(super) fn elements(&self) -> Vec<Raw> {
        match self {
            Raw::List(items) => items.clone(),
            Raw::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Raw::Text(part.to_owned()))
                .collect(),
            other => vec![other.clone()],
        }
    }
}

/// As TOML writes it, in one line.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => f.write_str(&quoted(text)),
            Raw::Integer(number) => write!(f, "{number}"),
            Raw::Boolean(yes) => write!(f, "{yes}"),
            Raw::Odd(text) => f.write_str(text),
            Raw::List(items) => {
                f.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    let comma = if position > 0 { ", " } else { "" };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Raw::Table(entries) => {
                f.write_str("{")?;
                for (position, (key, value)) in entries.iter().enumerate() {
                    let comma = if position > 0 { ", " } else { " " };
                    write!(f, "{comma}{} = {value}", key_name(key))?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// A text as a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A key as TOML writes it: bare where that is allowed.
pub(super) fn key_name(key: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}
