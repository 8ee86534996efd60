//! A constant load of many plain clients that know what they wrote: counters, unique appends, registers, reads,
//! transactions. They never send a command again by themselves.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::RngExt;

use crate::reader::{self, ReaderLog};
use crate::support::{Client, PATIENCE};
use crate::transactor::{self, TransactorLog};
use crate::writer::{self, WriterLog};

/// How many clients there are of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    pub(crate) transactors: usize,
    /// How long each waits between two requests, about.
    pub(crate) pause: Duration,
}

impl Shape {
    /// Some 3,000 commands a second.
    pub(crate) const USUAL: Self = Self {
        writers: 16,
        readers: 16,
        transactors: 4,
        pause: Duration::from_millis(30),
    };
}

/// Clients at work.
pub(crate) trait Clients {
    /// How many numbers the writers have used: it grows as long as they get on.
    fn written(&self) -> u64;
    /// Stops them, and gives what they did.
    fn stop(self: Box<Self>) -> Logs;
}

/// Plain clients at work; stopped with it.
pub(crate) struct Load {
    stage: Arc<Stage>,
    writers: Vec<JoinHandle<WriterLog>>,
    readers: Vec<JoinHandle<ReaderLog>>,
    transactors: Vec<JoinHandle<TransactorLog>>,
}

/// What all clients did.
pub(crate) struct Logs {
    pub(crate) writers: Vec<WriterLog>,
    pub(crate) readers: Vec<ReaderLog>,
    pub(crate) transactors: Vec<TransactorLog>,
}

/// What the clients of a load share.
pub(crate) struct Stage {
    port: u16,
    shape: Shape,
    stop: AtomicBool,
    /// The highest number that each writer has used.
    used: Vec<AtomicU64>,
}

impl Load {
    /// Starts all clients at a port.
    pub(crate) fn start(port: u16, shape: Shape) -> Self {
        let stage = Arc::new(Stage {
            port,
            shape,
            stop: AtomicBool::new(false),
            used: (0..shape.writers).map(|_| AtomicU64::new(0)).collect(),
        });
        Self {
            writers: spawn(&stage, shape.writers, writer::run),
            readers: spawn(&stage, shape.readers, reader::run),
            transactors: spawn(&stage, shape.transactors, transactor::run),
            stage,
        }
    }
}

impl Clients for Load {
    fn written(&self) -> u64 {
        let used = self.stage.used.iter();
        used.map(|used| used.load(Ordering::Relaxed)).sum()
    }

    #[track_caller]
    fn stop(mut self: Box<Self>) -> Logs {
        self.stage.stop.store(true, Ordering::Relaxed);
        Logs {
            writers: join(std::mem::take(&mut self.writers)),
            readers: join(std::mem::take(&mut self.readers)),
            transactors: join(std::mem::take(&mut self.transactors)),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stage.stop.store(true, Ordering::Relaxed);
    }
}

fn spawn<T: Send + 'static>(
    stage: &Arc<Stage>,
    count: usize,
    run: fn(usize, &Stage) -> T,
) -> Vec<JoinHandle<T>> {
    let start = |index| {
        let stage = Arc::clone(stage);
        thread::spawn(move || run(index, &stage))
    };
    (0..count).map(start).collect()
}

#[track_caller]
fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let join = |thread: JoinHandle<T>| thread.join().expect("a client's thread does not panic");
    threads.into_iter().map(join).collect()
}

impl Stage {
    pub(crate) fn writers(&self) -> usize {
        self.shape.writers
    }

    /// Waits for the client's next turn; false when there is none.
    pub(crate) fn next_turn(&self) -> bool {
        let pause = self.shape.pause.mul_f64(rand::rng().random_range(0.5..1.5));
        thread::sleep(pause);
        !self.stop.load(Ordering::Relaxed)
    }

    /// A writer is about to use this number.
    pub(crate) fn uses(&self, writer: usize, number: u64) {
        self.used[writer].store(number, Ordering::SeqCst);
    }

    /// The highest number that a writer has used.
    pub(crate) fn used(&self, writer: usize) -> u64 {
        self.used[writer].load(Ordering::SeqCst)
    }

    /// A connection, made now if there is none.
    pub(crate) fn connection<'a>(&self, kept: &'a mut Option<Client>) -> std::io::Result<&'a mut Client> {
        if kept.is_none() {
            let client = Client::try_connect(self.port)?;
            // A client that waits gives up later than what it waits for.
            client.set_timeout(PATIENCE * 3);
            *kept = Some(client);
        }
        kept.as_mut()
            .ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }
}

/// Sends commands in one write and reads as many replies; those that did not come are errors, and the connection is
/// given up then.
pub(crate) fn ask(
    stage: &Stage,
    kept: &mut Option<Client>,
    commands: &[Vec<String>],
) -> Result<Vec<std::io::Result<crate::support::Reply>>, std::io::Error> {
    let client = stage.connection(kept)?;
    let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
    let mut replies = Vec::new();
    let mut lost = client.try_send_raw(&bytes).err().map(|error| error.kind());
    for _ in commands {
        let reply = match lost {
            Some(kind) => Err(kind.into()),
            None => client.try_read_reply(),
        };
        lost = reply.as_ref().err().map(std::io::Error::kind);
        replies.push(reply);
    }
    if lost.is_some() {
        *kept = None;
    }
    Ok(replies)
}

/// A request of these words.
fn encode(words: &[String]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(bytes, "${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}
