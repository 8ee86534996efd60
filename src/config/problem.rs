//! What is wrong with a configuration, said so that one can go and correct it: place, key, value, what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from; the higher of two wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `config/ambassador.toml`, built in.
    Default,
    /// The configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// An argument, by its flag.
    Argument(&'static str),
}

impl Origin {
    /// The layer's height.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment(_) => 2,
            Origin::Argument(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Argument(flag) => write!(f, "argument {flag}"),
        }
    }
}

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written, when it was written at all.
    pub origin: Option<Origin>,
    /// The key's path, such as `upstream.master`; empty when it is not about one key.
    pub key: String,
    /// What was written there, with secrets hidden; empty when nothing was.
    pub value: String,
    /// What was expected instead.
    pub expected: String,
}

impl Problem {
    /// What the parser says of a file, with the line that it says it of; of nesting that is too deep it knows none.
    pub(super) fn not_toml(path: &Path, line: Option<usize>, message: &str) -> Problem {
        let (origin, expected) = match line {
            Some(line) => {
                let path = path.to_owned();
                (Some(Origin::File { path, line }), format!("not TOML: {message}"))
            }
            None => (
                None,
                format!("the file {} is not TOML: {message}", path.display()),
            ),
        };
        Problem {
            origin,
            key: String::new(),
            value: String::new(),
            expected,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        if !self.key.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.expected)
    }
}

/// Everything that has to be corrected; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position > 0 { "\n" } else { "" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
