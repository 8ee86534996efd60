//! A client that does nothing wrong while a test does something to others, and notices when that harms it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Reply};

/// A client in a thread of its own that writes, reads and echoes until it is stopped.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a bystander went through.
#[derive(Debug)]
pub struct Seen {
    /// Rounds of one write, one read and one echo.
    pub rounds: u64,
    /// The longest time that one command took.
    pub longest: Duration,
    /// Everything that was not as it should be; empty when all was well.
    pub wrong: Vec<String>,
}

impl Bystander {
    /// Connects to that port and begins; `name` tells its key from other bystanders'.
    pub fn start(port: u16, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), format!("bystander:{name}"));
        let thread = std::thread::spawn(move || run(port, &name, &stopped));
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops it and tells what it went through.
    #[track_caller]
    pub fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it was started");
        thread.join().expect("the bystander's thread does not panic")
    }

    /// Stops it; fails the test when anything was wrong, or when a command took longer than that.
    #[track_caller]
    pub fn assert_unharmed(self, patience: Duration) {
        let seen = self.stop();
        assert!(
            seen.wrong.is_empty() && seen.longest <= patience && seen.rounds > 0,
            "a client that did nothing wrong was harmed: {seen:?}"
        );
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a reply is as it should be.
type Right<'a> = &'a dyn Fn(&Reply) -> bool;

fn run(port: u16, name: &str, stop: &AtomicBool) -> Seen {
    let mut seen = Seen {
        rounds: 0,
        longest: Duration::ZERO,
        wrong: Vec::new(),
    };
    let mut client = match Client::try_connect(port) {
        Ok(client) => client,
        Err(error) => {
            seen.wrong.push(format!("connect: {error}"));
            return seen;
        }
    };
    client.set_timeout(Duration::from_secs(30));
    while !stop.load(Ordering::Relaxed) {
        let rounds = seen.rounds;
        let round = rounds.to_string();
        let value = format!("{name}={round}");
        // The read may be behind the write, as it goes to a replica; it is never somebody else's value.
        let own = |reply: &Reply| {
            *reply == Reply::Null && rounds < 1000
                || reply_text(reply)
                    .and_then(|text| text.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
                    .is_some_and(|found| found <= rounds)
        };
        let steps: [(&[&str], Right<'_>); 3] = [
            (&["SET", name, &value], &|reply| *reply == Reply::ok()),
            (&["GET", name], &own),
            (&["ECHO", &value], &|reply| *reply == Reply::bulk(&value)),
        ];
        let (mut wrong, mut longest) = (Vec::new(), seen.longest);
        for (words, right) in steps {
            let began = Instant::now();
            let reply = client.try_command(words);
            longest = longest.max(began.elapsed());
            match reply {
                Ok(reply) if right(&reply) => {}
                Ok(reply) => wrong.push(format!("round {round}: {} -> {reply:?}", words.join(" "))),
                Err(error) => {
                    wrong.push(format!("round {round}: {} -> {error}", words.join(" ")));
                    seen.wrong.extend(wrong);
                    return seen;
                }
            }
        }
        seen.longest = longest;
        seen.wrong.extend(wrong);
        seen.rounds += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    seen
}

fn reply_text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}
