//! What the application prints: one JSON line per step, with values that do not depend on the run.
//!
//! What may differ from run to run goes to stderr as one JSON line at the end.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, Value};

/// How long a read may stay behind a write of the same application before it gives up and prints what it has.
const SETTLE: Duration = Duration::from_secs(5);

/// Prints steps and counts how often a read had to be repeated.
#[derive(Default)]
pub struct Transcript {
    reads: usize,
    repeats: usize,
    gave_up: Vec<String>,
}

impl Transcript {
    /// Prints one line.
    pub fn emit(&self, step: &str, value: impl Show) {
        println!(
            "{{\"step\":{},\"value\":{}}}",
            quoted(step.as_bytes()),
            value.show()
        );
    }

    /// Reads until the value is the expected one, then prints the value that was read last.
    ///
    /// This is an honest weakness of what is tested, not of the test: a replica is behind its master, so a read
    /// of a key that this application has just written may show the state before. An application on one plain
    /// Redis needs no such loop. It does not hide wrong values: it prints what the server said last, and if the
    /// expected value never comes the transcript differs. Against a plain Redis the harness demands zero repeats.
    pub fn settle<T: Show>(&mut self, step: &str, mut read: impl FnMut() -> T, expected: impl Show) {
        let want = expected.show();
        let deadline = Instant::now() + SETTLE;
        self.reads += 1;
        loop {
            let value = read().show();
            let right = value == want;
            if right || Instant::now() >= deadline {
                if !right {
                    self.gave_up.push(quoted(step.as_bytes()));
                }
                println!("{{\"step\":{},\"value\":{value}}}", quoted(step.as_bytes()));
                return;
            }
            self.repeats += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Prints the line on stderr that ends a run.
    pub fn finish(&self, library: &str) {
        eprintln!(
            "{{\"library\":\"{library}\",\"settle\":{{\"reads\":{},\"repeats\":{},\"gave_up\":[{}]}}}}",
            self.reads,
            self.repeats,
            self.gave_up.join(",")
        );
    }
}

/// A short name of many values; std's hasher starts from the same keys in every process.
pub fn digest<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> String {
    let mut hasher = DefaultHasher::new();
    for value in values {
        value.as_ref().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// How a value looks in the transcript, as JSON.
pub trait Show {
    /// The JSON text.
    fn show(&self) -> String;
}

impl Show for Value {
    /// The types of the reply stay visible: a map that arrives as an array is a difference.
    fn show(&self) -> String {
        match self {
            Self::Nil => "null".into(),
            Self::Int(number) => number.to_string(),
            Self::BulkString(bytes) => quoted(bytes),
            Self::SimpleString(text) => format!("{{\"simple\":{}}}", quoted(text.as_bytes())),
            Self::Okay => "{\"simple\":\"OK\"}".into(),
            Self::Array(items) => format!("[{}]", joined(items.iter().map(Show::show))),
            Self::Set(items) => {
                // A set has no order that anyone promises.
                let mut items: Vec<_> = items.iter().map(Show::show).collect();
                items.sort();
                format!("{{\"set\":[{}]}}", items.join(","))
            }
            Self::Map(pairs) => {
                let mut pairs: Vec<_> = pairs
                    .iter()
                    .map(|(k, v)| format!("[{},{}]", k.show(), v.show()))
                    .collect();
                pairs.sort();
                format!("{{\"map\":[{}]}}", pairs.join(","))
            }
            Self::Double(number) => format!("{{\"double\":{number}}}"),
            Self::ServerError(error) => RedisError::from(error.clone()).show(),
            other => quoted(format!("{other:?}").as_bytes()),
        }
    }
}

impl Show for RedisError {
    fn show(&self) -> String {
        let text = match self.code() {
            Some(code) => format!("{code} {}", self.detail().unwrap_or_default()),
            None => self.to_string(),
        };
        let kind = quoted(format!("{:?}", self.kind()).as_bytes());
        format!("{{\"error\":{},\"kind\":{kind}}}", quoted(text.as_bytes()))
    }
}

impl<T: Show> Show for RedisResult<T> {
    fn show(&self) -> String {
        match self {
            Ok(value) => value.show(),
            Err(error) => error.show(),
        }
    }
}

impl Show for str {
    fn show(&self) -> String {
        quoted(self.as_bytes())
    }
}

impl Show for String {
    fn show(&self) -> String {
        quoted(self.as_bytes())
    }
}

impl Show for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for i64 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        format!("[{}]", joined(self.iter().map(Show::show)))
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "null".into(), Show::show)
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self) -> String {
        (*self).show()
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self) -> String {
        format!("[{},{}]", self.0.show(), self.1.show())
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// A JSON string; bytes that are not printable ASCII as their number.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => write!(text, "\\u{byte:04x}").expect("writing to a String does not fail"),
        }
    }
    text.push('"');
    text
}
