//! Notices when the machine leaves this process waiting for a CPU: what is measured then is the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::tally::Stall;

const TURN: Duration = Duration::from_millis(5);
/// A sentinel leaves some 100 ms between the news of a failover and the new master, which have to do for four processes
/// one after the other.
const LATE: Duration = Duration::from_millis(25);

/// A thread that wants to run every few milliseconds.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Stall>>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut waits = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let since = Instant::now();
                thread::sleep(TURN);
                let lasted = since.elapsed();
                if lasted >= TURN + LATE {
                    waits.push(Stall { since, lasted });
                }
            }
            waits
        });
        Self { stop, thread }
    }

    /// When it had to wait.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<Stall> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread does not panic")
    }
}
