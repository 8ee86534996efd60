//! One direction of a relayed connection: bytes go on in order, each when its link's fault says so.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::relay::{Fault, State};

/// Bytes on their way at most; beyond that the sender feels it.
const ON_THE_WAY: usize = 256 * 1024;

/// Carries bytes until the sender is done; an error when one side broke. `swallows` is the fault that makes them
/// disappear in this direction.
pub(crate) async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    swallows: Fault,
) -> io::Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    let mut way = Way::default();
    let mut done = false;
    loop {
        let fault = state.borrow_and_update().fault;
        let stalled = fault == Fault::Stall;
        if done && way.queue.is_empty() && !stalled && fault != swallows {
            // Says that nothing more comes; what the other direction still has goes on.
            return to.shutdown().await;
        }
        let due = way.queue.front().map(|(due, _)| *due);
        tokio::select! {
            // What is read after a change is under the new fault.
            biased;
            changed = state.changed() => changed.map_err(|_| io::ErrorKind::ConnectionAborted)?,
            read = from.read(&mut chunk), if !done && !stalled && way.bytes < ON_THE_WAY => match read? {
                0 => done = true,
                _ if fault == swallows => {}
                count => match way.due(fault, count) {
                    None => to.write_all(&chunk[..count]).await?,
                    Some(due) => way.push(due, &chunk[..count]),
                },
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !stalled => {
                if let Some(bytes) = way.pop() && fault != swallows {
                    to.write_all(&bytes).await?;
                }
            }
        }
    }
}

/// What is on its way.
#[derive(Default)]
struct Way {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last: Option<Instant>,
}

impl Way {
    /// When bytes that were read now arrive; `None`: at once.
    fn due(&mut self, fault: Fault, count: usize) -> Option<Instant> {
        let now = Instant::now();
        let after = match fault {
            Fault::Delay(delay) => now + delay,
            Fault::Throttle(rate) => {
                let takes = Duration::from_secs_f64(count as f64 / f64::from(rate.max(1)));
                self.last.unwrap_or(now).max(now) + takes
            }
            _ if self.queue.is_empty() => return None,
            _ => now,
        };
        // Never before what was read earlier.
        let due = self.last.map_or(after, |last| last.max(after));
        self.last = Some(due);
        Some(due)
    }

    fn push(&mut self, due: Instant, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.queue.push_back((due, bytes.to_vec()));
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, bytes) = self.queue.pop_front()?;
        self.bytes -= bytes.len();
        Some(bytes)
    }
}
