//! The same load by redis-py with its own Sentinel client, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::{Clients, Logs, Shape};
use crate::reader::ReaderLog;
use crate::tally::{Diary, Fate, Stall, Tally};
use crate::transactor::TransactorLog;
use crate::world::World;
use crate::writer::{Appended, Register, WriterLog};

/// The python that has redis-py, as `tests/clients/run` installs it.
pub(crate) fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("AMBASSADOR_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
    Some(cache.join("clients/venv/bin/python")).filter(|python| python.exists())
}

/// The process; killed with this.
pub(crate) struct RedisPy {
    child: Child,
    written: Arc<AtomicU64>,
    last_line: JoinHandle<String>,
}

impl RedisPy {
    #[track_caller]
    pub(crate) fn start(python: &Path, world: &World, shape: Shape) -> Self {
        let ports = world.to_sentinel.iter().map(|relay| relay.port().to_string());
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/redis_py_load.py"))
            .args([shape.writers, shape.readers, shape.transactors].map(|count| count.to_string()))
            .arg(shape.pause.as_secs_f64().to_string())
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python can be started");
        let output = child.stdout.take().expect("it was asked for");
        let written = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&written);
        let last_line = thread::spawn(move || {
            let mut last = String::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(count) = line.parse() {
                    shown.store(count, Ordering::Relaxed);
                } else {
                    last = line;
                }
            }
            last
        });
        Self {
            child,
            written,
            last_line,
        }
    }
}

impl Clients for RedisPy {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn stop(mut self: Box<Self>) -> Logs {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("a child can be waited for");
        let ended = Instant::now();
        let line = self.last_line.join().expect("the thread does not panic");
        let said: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{status}, {error}: {line}"));
        let all = |kind: &str| {
            said[kind]
                .as_array()
                .cloned()
                .unwrap_or_default()
                .into_iter()
                .enumerate()
        };
        Logs {
            writers: all("writers")
                .map(|(index, said)| writer(index, &said, ended))
                .collect(),
            readers: all("readers").map(|(_, said)| reader(&said, ended)).collect(),
            transactors: all("transactors")
                .map(|(index, said)| transactor(index, &said, ended))
                .collect(),
        }
    }
}

fn writer(index: usize, said: &Value, ended: Instant) -> WriterLog {
    let registers = said["registers"].as_array().cloned().unwrap_or_default();
    let appended = said["appended"].as_array().cloned().unwrap_or_default();
    WriterLog {
        writer: index,
        own: tally(&said["own"]),
        shared: std::array::from_fn(|counter| tally(&said["shared"][counter])),
        appended: appended
            .iter()
            .map(|one| Appended {
                number: one[0].as_u64().unwrap_or_default(),
                fate: fate(one[1].as_str().unwrap_or_default()),
                answered: before(ended, &one[2]),
            })
            .collect(),
        registers: registers
            .iter()
            .map(|one| Register {
                acknowledged: one["acknowledged"].as_u64().unwrap_or_default(),
                unknown: numbers(&one["unknown"]),
            })
            .collect(),
        all: tally(&said["all"]),
        diary: diary(said, ended),
        wrong: Vec::new(),
    }
}

fn reader(said: &Value, ended: Instant) -> ReaderLog {
    ReaderLog {
        all: tally(&said["all"]),
        diary: diary(said, ended),
        wrong: Vec::new(),
    }
}

fn transactor(index: usize, said: &Value, ended: Instant) -> TransactorLog {
    TransactorLog {
        index,
        all: tally(&said["all"]),
        acknowledged: numbers(&said["acknowledged"]),
        unknown: numbers(&said["unknown"]),
        diary: diary(said, ended),
    }
}

fn tally(said: &Value) -> Tally {
    let count = |fate: &str| said[fate].as_u64().unwrap_or_default();
    Tally {
        acknowledged: count("acknowledged"),
        in_doubt: count("in_doubt"),
        refused: count("refused"),
        failed: count("failed"),
        cut: count("cut"),
        unsent: count("unsent"),
    }
}

fn fate(name: &str) -> Fate {
    match name {
        "acknowledged" => Fate::Acknowledged,
        "failed" => Fate::Failed,
        "unsent" => Fate::Unsent,
        _ => Fate::Cut,
    }
}

fn diary(said: &Value, ended: Instant) -> Diary {
    let stalls = said["stalls"].as_array().cloned().unwrap_or_default();
    let examples = said["examples"].as_array().cloned().unwrap_or_default();
    let mut diary = Diary::default();
    diary.examples = examples
        .iter()
        .filter_map(|text| Some(text.as_str()?.to_owned()))
        .collect();
    diary.stalls = stalls
        .iter()
        .map(|one| Stall {
            since: before(ended, &one[0]),
            lasted: Duration::from_secs_f64(one[1].as_f64().unwrap_or_default()),
        })
        .collect();
    diary
}

fn numbers(said: &Value) -> Vec<u64> {
    let all = said.as_array().into_iter().flatten();
    all.filter_map(Value::as_u64).collect()
}

/// So many seconds before that.
fn before(ended: Instant, seconds: &Value) -> Instant {
    let ago = Duration::from_secs_f64(seconds.as_f64().unwrap_or_default().max(0.0));
    ended.checked_sub(ago).unwrap_or(ended)
}
