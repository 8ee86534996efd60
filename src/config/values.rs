//! From a value as written to a type, and back to how it is printed; one rule per type, for every layer.
//! Addresses have a file of their own.

use std::time::Duration;

use super::raw::{Raw, quoted};
use crate::settings::{LogFormat, OnFailover, ReadPolicy, Share};

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// The value, or what was expected.
    fn parse(raw: &Raw) -> Result<Self, String>;
    /// As TOML writes it.
    fn print(&self) -> String;
}

pub(super) fn expected<T>(what: impl Into<String>) -> Result<T, String> {
    Err(format!("expected {}", what.into()))
}

impl Setting for bool {
    fn parse(raw: &Raw) -> Result<bool, String> {
        match (raw, raw.text()) {
            (Raw::Boolean(yes), _) => Ok(*yes),
            (_, Some("true")) => Ok(true),
            (_, Some("false")) => Ok(false),
            _ => expected("true or false"),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for u64 {
    fn parse(raw: &Raw) -> Result<u64, String> {
        let number = match raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            other => other.text().and_then(|text| text.parse().ok()),
        };
        number.map_or_else(|| expected("a whole number"), Ok)
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn parse(raw: &Raw) -> Result<String, String> {
        match raw {
            Raw::Text(text) => Ok(text.clone()),
            _ => expected("a text in quotes"),
        }
    }

    fn print(&self) -> String {
        quoted(self)
    }
}

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl Setting for Secret {
    fn parse(raw: &Raw) -> Result<Secret, String> {
        String::parse(raw).map(Secret)
    }

    fn print(&self) -> String {
        quoted(if self.0.is_empty() { "" } else { "***" })
    }
}

/// Threads; 0 stands for "auto".
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Workers(pub(super) u64);

impl Setting for Workers {
    fn parse(raw: &Raw) -> Result<Workers, String> {
        if raw.text() == Some("auto") {
            return Ok(Workers(0));
        }
        u64::parse(raw)
            .map(Workers)
            .or_else(|_| expected("\"auto\" or a number of threads"))
    }

    fn print(&self) -> String {
        if self.0 == 0 {
            quoted("auto")
        } else {
            self.0.to_string()
        }
    }
}

impl Setting for Duration {
    fn parse(raw: &Raw) -> Result<Duration, String> {
        let span = match raw {
            Raw::Integer(0) => Some(Duration::ZERO),
            other => other.text().and_then(duration),
        };
        span.map_or_else(
            || expected("a duration with its unit, such as \"250ms\", \"5s\", \"1m\" or \"1h\""),
            Ok,
        )
    }

    fn print(&self) -> String {
        let milliseconds = self.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let unit = units
            .into_iter()
            .find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit));
        match unit {
            Some((unit, name)) => quoted(&format!("{}{name}", milliseconds / unit)),
            None if milliseconds == 0 => quoted("0s"),
            None => quoted(&format!("{milliseconds}ms")),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// `64MiB` as 64 and `MiB`; blanks between them are allowed.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

/// A duration that can be switched off, which is zero.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Bound(pub(super) Duration);

impl Setting for Bound {
    fn parse(raw: &Raw) -> Result<Bound, String> {
        if raw.text() == Some("off") {
            return Ok(Bound(Duration::ZERO));
        }
        Duration::parse(raw)
            .map(Bound)
            .map_err(|wanted| format!("{wanted}, or \"off\""))
    }

    fn print(&self) -> String {
        if self.0.is_zero() {
            quoted("off")
        } else {
            self.0.print()
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Bytes(pub(super) u64);

/// Sizes stay within `i64`, which is what TOML and Redis count in.
const MAX_BYTES: u64 = i64::MAX as u64;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1000),
    ("b", 1),
];

impl Setting for Bytes {
    fn parse(raw: &Raw) -> Result<Bytes, String> {
        let bytes = match raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            other => other.text().and_then(size),
        };
        match bytes {
            Some(bytes) if bytes <= MAX_BYTES => Ok(Bytes(bytes)),
            _ => expected("a size, such as \"64KiB\", \"64MiB\", \"1GB\" or a number of bytes"),
        }
    }

    fn print(&self) -> String {
        let names = [
            ("TiB", 1 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        match names
            .into_iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((name, unit)) => quoted(&format!("{}{name}", self.0 / unit)),
            None => self.0.to_string(),
        }
    }
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(factor)
}

impl Setting for Share {
    fn parse(raw: &Raw) -> Result<Share, String> {
        let number = match raw {
            Raw::Integer(number) => number.to_string().parse::<f64>().ok(),
            Raw::Odd(text) => text.parse().ok(),
            other => other.text().and_then(|text| text.parse().ok()),
        };
        match number {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(Share((share * 1e6).round() as u32)),
            _ => expected("a share from 0 to 1, such as 0.02"),
        }
    }

    fn print(&self) -> String {
        // As TOML writes a float.
        let text = format!("{}", f64::from(self.0) / 1e6);
        if text.contains('.') { text } else { text + ".0" }
    }
}

impl Setting for ReadPolicy {
    fn parse(raw: &Raw) -> Result<ReadPolicy, String> {
        let named = raw.text().and_then(ReadPolicy::from_name);
        named.map_or_else(|| expected(one_of(ReadPolicy::ALL.map(ReadPolicy::name))), Ok)
    }

    fn print(&self) -> String {
        quoted(self.name())
    }
}

impl Setting for OnFailover {
    fn parse(raw: &Raw) -> Result<OnFailover, String> {
        let text = raw.text();
        let named = OnFailover::NAMES.iter().find(|(name, _)| Some(*name) == text);
        named.map_or_else(
            || expected(one_of(OnFailover::NAMES.map(|(name, _)| name))),
            |(_, it)| Ok(*it),
        )
    }

    fn print(&self) -> String {
        let named = OnFailover::NAMES.iter().find(|(_, it)| it == self);
        quoted(named.map_or("", |(name, _)| name))
    }
}

impl Setting for LogFormat {
    fn parse(raw: &Raw) -> Result<LogFormat, String> {
        match raw.text() {
            Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            _ => expected(one_of(["text", "json"])),
        }
    }

    fn print(&self) -> String {
        quoted(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

fn one_of<const N: usize>(names: [&str; N]) -> String {
    format!("one of {}", names.map(quoted).join(", "))
}
