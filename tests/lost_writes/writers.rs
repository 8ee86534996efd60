//! Clients that write, each in its own way, and remember which keys were acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::support::{Ambassador, Client, Reply, Server, wait_until};

/// How a client writes.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// One after the other.
    Plain,
    /// Five in one piece, with reads in between.
    Pipeline,
    /// Two in a transaction.
    Transaction,
    /// In a script.
    Script,
    /// Beside CLIENT TRACKING, which has a connection of its own for good.
    Tracking,
}

const WAYS: [Way; 7] = [
    Way::Plain,
    Way::Plain,
    Way::Pipeline,
    Way::Pipeline,
    Way::Transaction,
    Way::Script,
    Way::Tracking,
];

/// Clients at work.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    pub(crate) fn start(ambassador: &Ambassador) -> Self {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let port = ambassador.port();
        let threads = WAYS.into_iter().enumerate().map(|(number, way)| {
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            thread::spawn(move || {
                let mut keys = Vec::new();
                let mut turn = 0;
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    // A tunnel's client is disconnected by a failover.
                    let Some(mut open) = client.take().or_else(|| connect(port, way)) else {
                        continue;
                    };
                    let name = |part: u32| format!("{number}:{turn}:{part}");
                    if let Some(acknowledged) = write(&mut open, way, name) {
                        written.fetch_add(acknowledged.len() as u64, Ordering::Relaxed);
                        keys.extend(acknowledged);
                        client = Some(open);
                    }
                }
                keys
            })
        });
        Writers {
            threads: threads.collect(),
            stop,
            written,
        }
    }

    /// So many writes more were acknowledged.
    #[track_caller]
    pub(crate) fn more(&self, writes: u64) {
        let before = self.written.load(Ordering::Relaxed);
        wait_until(|| self.written.load(Ordering::Relaxed) >= before + writes);
    }

    pub(crate) fn finish(self) -> Log {
        self.stop.store(true, Ordering::Relaxed);
        let keys = self.threads.into_iter().flat_map(|thread| {
            let keys = thread.join();
            keys.expect("no client sees what it should not")
        });
        Log(keys.collect())
    }
}

/// Keys of acknowledged writes.
pub(crate) struct Log(Vec<String>);

impl Log {
    /// Those that are missing on a server, but for what went through a tunnel.
    #[track_caller]
    pub(crate) fn missing_keys(&self, server: &Server) -> Vec<String> {
        let mut client = server.client();
        let tunnels = WAYS.iter().position(|way| matches!(way, Way::Tracking));
        let tunnel = format!("{}:", tunnels.expect("there is one"));
        let known = self.0.iter().filter(|key| !key.starts_with(&tunnel));
        let missing = known.filter(|key| client.command(&["EXISTS", key]).integer() == 0);
        missing.cloned().collect()
    }

    /// How many are missing on a server, of how many.
    #[track_caller]
    pub(crate) fn missing(&self, server: &Server) -> (u64, u64) {
        let mut client = server.client();
        let there: i64 = self
            .0
            .chunks(500)
            .map(|keys| {
                let words: Vec<&str> = std::iter::once("EXISTS")
                    .chain(keys.iter().map(String::as_str))
                    .collect();
                client.command(&words).integer()
            })
            .sum();
        let all = self.0.len() as u64;
        (all - there as u64, all)
    }
}

fn connect(port: u16, way: Way) -> Option<Client> {
    let mut client = Client::try_connect(port).ok()?;
    if matches!(way, Way::Tracking) {
        client.try_command(&["HELLO", "3"]).ok()?;
        let tracks = client.try_command(&["CLIENT", "TRACKING", "ON"]).ok()?;
        if tracks != Reply::ok() {
            return None;
        }
    }
    Some(client)
}

/// The keys of this turn that were acknowledged; `None`: the connection is of no more use.
fn write(client: &mut Client, way: Way, name: impl Fn(u32) -> String) -> Option<Vec<String>> {
    let mut done = Vec::new();
    match way {
        Way::Plain | Way::Tracking => {
            let key = name(0);
            let reply = client.try_command(&["SET", &key, "1"]).ok()?;
            done.extend((reply == Reply::ok()).then_some(key));
        }
        Way::Script => {
            let key = name(0);
            let script = "return redis.call('SET', KEYS[1], 1)";
            let reply = client.try_command(&["EVAL", script, "1", &key]).ok()?;
            done.extend((reply == Reply::ok()).then_some(key));
        }
        Way::Pipeline => {
            let mut bytes = Vec::new();
            for part in 0..5 {
                let key = name(part);
                bytes.extend(format!("GET none\r\nSET {key} 1\r\n").bytes());
            }
            client.try_send_raw(&bytes).ok()?;
            for part in 0..5 {
                client.try_read_reply().ok()?;
                let reply = client.try_read_reply().ok()?;
                done.extend((reply == Reply::ok()).then(|| name(part)));
            }
        }
        Way::Transaction => {
            let keys = [name(0), name(1)];
            let sets = keys.each_ref().map(|key| format!("SET {key} 1\r\n")).concat();
            client
                .try_send_raw(format!("MULTI\r\n{sets}EXEC\r\n").as_bytes())
                .ok()?;
            for _ in 0..3 {
                client.try_read_reply().ok()?;
            }
            if let Reply::Array(replies) = client.try_read_reply().ok()? {
                assert_eq!(replies.len(), 2);
                done.extend(keys);
            }
        }
    }
    Some(done)
}
