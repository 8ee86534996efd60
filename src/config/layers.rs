//! The layers a configuration is made of, laid over each other: for each key the highest value and its place.
//!
//! The keys there are, and their defaults, are those of `config/ambassador.toml`; there is no second list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};
use super::raw::{Raw, key_name};
use super::{Arguments, Sources};

/// The lowest layer, and the reference for people.
pub(super) const REFERENCE: &str = include_str!("../../config/ambassador.toml");

/// Every variable of ours begins so.
pub(super) const PREFIX: &str = "REDIS_AMBASSADOR_";

/// Names the file; it is not a key of the file.
pub(super) const FILE_VARIABLE: &str = "REDIS_AMBASSADOR_CONFIG";

/// A configuration is a page or two; more is the wrong file.
const MAX_FILE: u64 = 1 << 20;

/// Keys under this section are names of commands.
const COMMANDS: &str = "commands";

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// For each key what is in force.
#[derive(Debug)]
pub(super) struct Layers {
    /// By key path, such as `upstream.master`.
    values: BTreeMap<String, Given>,
    /// The defaults, for what a key falls back to after an error.
    defaults: BTreeMap<String, Given>,
    /// The entries of `[commands]` in the order of the file.
    pub(super) commands: Vec<(String, Given)>,
    /// The key paths in the order of the reference.
    pub(super) order: Vec<String>,
}

impl Layers {
    /// Reads every source. What is wrong goes to `problems`; the rest is there all the same, so that one run
    /// reports everything.
    pub(super) fn read(sources: &Sources, problems: &mut Vec<Problem>) -> Layers {
        let mut layers = Layers::defaults();
        if let Some(path) = &sources.file {
            layers.add_file(path, problems);
        }
        layers.add_environment(&sources.environment, problems);
        layers.add_arguments(&sources.arguments);
        layers
    }

    /// What is in force for a key of the reference.
    pub(super) fn given(&self, key: &str) -> &Given {
        self.values
            .get(key)
            .expect("only keys of the reference are asked for; a test loads it")
    }

    /// The key's default.
    pub(super) fn default(&self, key: &str) -> &Given {
        self.defaults
            .get(key)
            .expect("only keys of the reference are asked for; a test loads it")
    }

    fn defaults() -> Layers {
        let table = DeTable::parse(REFERENCE).expect("the reference is TOML; a test loads it");
        let mut found = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref();
            match value.get_ref() {
                DeValue::Table(section) => {
                    let inner = section
                        .iter()
                        .map(|(key, value)| (key.span().start, format!("{name}.{}", key.get_ref()), value));
                    found.extend(inner);
                }
                _ => found.push((key.span().start, name.to_string(), value)),
            }
        }
        found.sort_by_key(|(position, ..)| *position);
        let order = found.iter().map(|(_, path, _)| path.clone()).collect();
        let values: BTreeMap<String, Given> = found
            .into_iter()
            .map(|(_, path, value)| {
                let raw = Raw::from_toml(value.get_ref());
                (
                    path,
                    Given {
                        raw,
                        origin: Origin::Default,
                    },
                )
            })
            .collect();
        Layers {
            defaults: values.clone(),
            values,
            commands: Vec::new(),
            order,
        }
    }

    fn add_file(&mut self, path: &Path, problems: &mut Vec<Problem>) {
        let text = match read_bounded(path, MAX_FILE) {
            Ok(text) => text,
            Err(reason) => {
                let expected = format!("cannot read the configuration file {}: {reason}", path.display());
                problems.push(Problem {
                    origin: None,
                    key: String::new(),
                    value: String::new(),
                    expected,
                });
                return;
            }
        };
        let lines = Lines::of(&text);
        let origin = |position: usize| Origin::File {
            path: path.to_owned(),
            line: lines.at(position),
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        // The parser says the same of every byte of a line that it cannot make sense of: once is enough.
        let said: BTreeSet<(Option<usize>, &str)> = errors
            .iter()
            .map(|error| (error.span().map(|span| lines.at(span.start)), error.message()))
            .collect();
        problems.extend(
            said.into_iter()
                .map(|(line, message)| Problem::not_toml(path, line, message)),
        );
        if !errors.is_empty() {
            return;
        }
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(section) if self.is_section(name) => {
                    let mut inner: Vec<_> = section.iter().collect();
                    inner.sort_by_key(|(key, _)| key.span().start);
                    for (key, value) in inner {
                        let given = Given {
                            raw: Raw::from_toml(value.get_ref()),
                            origin: origin(key.span().start),
                        };
                        self.put(name, key.get_ref(), given, problems);
                    }
                }
                value => {
                    let given = Given {
                        raw: Raw::from_toml(value),
                        origin: origin(key.span().start),
                    };
                    self.put("", name, given, problems);
                }
            }
        }
    }

    fn is_section(&self, name: &str) -> bool {
        name == COMMANDS || !self.keys_of(name).is_empty()
    }

    /// The keys of a section (`""`: the top level), without the section's name.
    fn keys_of(&self, section: &str) -> Vec<&str> {
        self.order
            .iter()
            .filter_map(|path| match path.split_once('.') {
                Some((of, key)) if of == section => Some(key),
                None if section.is_empty() => Some(path.as_str()),
                _ => None,
            })
            .collect()
    }

    fn sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = self
            .order
            .iter()
            .filter_map(|path| path.split_once('.'))
            .map(|(section, _)| section)
            .collect();
        sections.dedup();
        sections.push(COMMANDS);
        sections
    }

    fn put(&mut self, section: &str, key: &str, given: Given, problems: &mut Vec<Problem>) {
        if section == COMMANDS {
            self.commands.push((key.to_owned(), given));
            return;
        }
        let path = if section.is_empty() {
            key.to_owned()
        } else {
            format!("{section}.{key}")
        };
        if let Some(value) = self.values.get_mut(&path) {
            *value = given;
            return;
        }
        let expected = if section.is_empty() && (self.is_section(key)) {
            format!("expected a section: [{key}]")
        } else if section.is_empty() {
            format!(
                "unknown key; the keys before the first section are {}; the sections are {}",
                self.keys_of("").join(", "),
                self.sections()
                    .iter()
                    .map(|name| format!("[{name}]"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        } else {
            format!(
                "unknown key; [{section}] has {}",
                self.keys_of(section).join(", ")
            )
        };
        // The value is not shown: it may be a password under a misspelt key.
        let key = if section.is_empty() {
            key_name(key)
        } else {
            format!("{section}.{}", key_name(key))
        };
        problems.push(Problem {
            origin: Some(given.origin),
            key,
            value: String::new(),
            expected,
        });
    }

    fn add_environment(&mut self, environment: &[(String, String)], problems: &mut Vec<Problem>) {
        let variables: BTreeMap<String, String> = self
            .order
            .iter()
            .map(|path| (variable(path), path.clone()))
            .collect();
        for (name, text) in environment {
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE || is_service_link(name, text) {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            if let Some(path) = variables.get(name) {
                self.values.insert(
                    path.clone(),
                    Given {
                        raw: Raw::Text(text.clone()),
                        origin,
                    },
                );
                continue;
            }
            let mut expected = format!("unknown variable; known are {FILE_VARIABLE}");
            for known in variables.keys() {
                let _ = write!(expected, ", {known}");
            }
            problems.push(Problem {
                origin: Some(origin),
                key: String::new(),
                value: String::new(),
                expected,
            });
        }
    }

    fn add_arguments(&mut self, arguments: &Arguments) {
        let one = |text: &Option<String>| text.clone().map(Raw::Text);
        let many = |texts: &Vec<String>| {
            (!texts.is_empty()).then(|| Raw::List(texts.iter().cloned().map(Raw::Text).collect()))
        };
        let given = [
            ("listen", "--listen", many(&arguments.listen)),
            ("upstream.master", "--master", one(&arguments.master)),
            ("upstream.replicas", "--replica", many(&arguments.replicas)),
            ("sentinel.addresses", "--sentinel", many(&arguments.sentinels)),
            (
                "sentinel.master",
                "--sentinel-master",
                one(&arguments.sentinel_master),
            ),
            ("upstream.zone", "--zone", one(&arguments.zone)),
            ("admin.listen", "--admin", one(&arguments.admin)),
            ("workers", "--workers", one(&arguments.workers)),
            ("log.format", "--log-format", one(&arguments.log_format)),
            ("log.filter", "--log-filter", one(&arguments.log_filter)),
        ];
        for (path, flag, raw) in given {
            if let Some(raw) = raw {
                self.values.insert(
                    path.to_owned(),
                    Given {
                        raw,
                        origin: Origin::Argument(flag),
                    },
                );
            }
        }
    }
}

/// The environment variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// Kubernetes puts variables into every container for each Service of the namespace; those of a Service named
/// `redis-ambassador` begin like ours (`..._SERVICE_HOST`, `..._PORT_6379_TCP=tcp://...`).
fn is_service_link(name: &str, text: &str) -> bool {
    let port_of = |protocol: &str| name.contains("_PORT_") && name.contains(protocol);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && text.contains("://"))
        || ["_TCP", "_UDP", "_SCTP"].into_iter().any(port_of)
}

/// A small text file, whole.
pub(super) fn read_bounded(path: &Path, bound: u64) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let read = file
        .take(bound + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if read as u64 > bound {
        return Err(format!("it is longer than {bound} bytes"));
    }
    Ok(text)
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(position, _)| position).collect())
    }

    /// The line, from 1, that holds a position.
    fn at(&self, position: usize) -> usize {
        self.0.partition_point(|end| *end < position) + 1
    }
}
