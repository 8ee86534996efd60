//! From what was written (file, environment, arguments) to [`Settings`], with the place of every value.
//!
//! Layers: the defaults of `config/ambassador.toml` < file < environment < arguments. Loading has no effect beyond
//! reading the files that are named, so the same sources can be loaded again. Every problem is reported at once.

mod addresses;
mod layers;
mod overrides;
mod problem;
mod raw;
mod resolve;
mod values;
mod zones;

use std::fmt::Write as _;
use std::path::PathBuf;

pub use problem::{Errors, Origin, Problem};

use crate::settings::Settings;

/// The environment variable that names the configuration file.
pub const FILE_VARIABLE: &str = layers::FILE_VARIABLE;

/// The text of `config/ambassador.toml`: every key with its default and what it means.
pub const REFERENCE: &str = layers::REFERENCE;

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `REDIS_AMBASSADOR_` are ignored.
    pub environment: Vec<(String, String)>,
    /// What the command line said.
    pub arguments: Arguments,
}

impl Sources {
    /// The arguments with the environment of this process. The file is `file`, else the one that
    /// `REDIS_AMBASSADOR_CONFIG` names, else none.
    pub fn of_process(file: Option<PathBuf>, arguments: Arguments) -> Sources {
        // A variable that is not UTF-8 cannot be one of ours with a valid value; its lossy form is refused by name.
        let environment: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| name.starts_with(layers::PREFIX))
            .collect();
        let named = environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let file = file.or_else(|| named.map(|(_, value)| PathBuf::from(value)));
        Sources {
            file,
            environment,
            arguments,
        }
    }
}

/// The highest layer: what was given on the command line, as it was written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `--listen`; replaces the whole list of the layers below.
    pub listen: Vec<String>,
    /// `--master`.
    pub master: Option<String>,
    /// `--replica`; replaces the whole list of the layers below.
    pub replicas: Vec<String>,
    /// `--sentinel`; replaces the whole list of the layers below.
    pub sentinels: Vec<String>,
    /// `--sentinel-master`.
    pub sentinel_master: Option<String>,
    /// `--zone`.
    pub zone: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--workers`.
    pub workers: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-filter`.
    pub log_filter: Option<String>,
}

/// The settings in force, and where each came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the rest of the program asks.
    pub settings: Settings,
    /// Every key in the order of the reference, then the entries of `[commands]`.
    pub values: Vec<Value>,
}

/// One key's value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The key's path, such as `upstream.master`.
    pub key: String,
    /// The value as TOML writes it; a secret is `"***"`.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What it resolved to, when the value alone does not say it.
    pub note: Option<String>,
}

/// Reads, lays over each other and checks the sources.
pub fn load(sources: &Sources) -> Result<Resolved, Errors> {
    resolve::resolve(sources, true)
}

/// Like [`load`], for those who need no master: `explain` and `health`. A placeholder stands for a missing one.
pub fn load_without_master(sources: &Sources) -> Result<Resolved, Errors> {
    resolve::resolve(sources, false)
}

impl Resolved {
    /// The place of a key's value.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values
            .iter()
            .find(|value| value.key == key)
            .map(|value| &value.origin)
    }

    /// Every value and where it came from, as a TOML file with comments.
    pub fn describe(&self) -> String {
        const COLUMN: usize = 48;
        let mut text = String::new();
        let mut current = "";
        for value in &self.values {
            let (section, key) = value.key.split_once('.').unwrap_or(("", &value.key));
            if section != current {
                let _ = writeln!(text, "\n[{section}]");
                current = section;
            }
            let assignment = format!("{key} = {}", value.value);
            let note = value
                .note
                .as_ref()
                .map(|note| format!("; {note}"))
                .unwrap_or_default();
            let _ = writeln!(text, "{assignment:COLUMN$} # {}{note}", value.origin);
        }
        text
    }
}
