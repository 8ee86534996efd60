//! Accepts clients and hands each to the worker that has the fewest.

use std::io::{Error, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tracing::{error, warn};

use super::listen::{Acceptor, Bound};
use crate::stats::{Limit, WorkerStats};
use crate::worker::{Mail, WorkerHandle, next_client_id};

/// Redis's own words (`acceptCommonHandler` in networking.c), so that client libraries know them.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
/// Out of descriptors or memory: accepting again at once would only spin.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Redis's default `tcp-keepalive`: a client that vanished is noticed in minutes, not in hours.
const KEEP_ALIVE: Duration = Duration::from_mins(5);

/// The workers, as seen by the acceptors.
#[derive(Debug)]
pub(super) struct Crew {
    workers: Vec<Member>,
    most_clients: u64,
    turned_away: Arc<WorkerStats>,
}

#[derive(Debug)]
struct Member {
    handle: WorkerHandle,
    /// Clients handed over since the start.
    handed: AtomicU64,
}

impl Member {
    /// Clients it has, with those that are still in its mailbox.
    fn clients(&self) -> u64 {
        let gone = self
            .handle
            .stats
            .accepted
            .read()
            .saturating_sub(self.handle.stats.clients.read());
        self.handed.load(Ordering::Relaxed).saturating_sub(gone)
    }
}

impl Crew {
    pub(super) fn new(
        workers: Vec<WorkerHandle>,
        most_clients: usize,
        turned_away: Arc<WorkerStats>,
    ) -> Arc<Self> {
        let member = |handle| Member {
            handle,
            handed: AtomicU64::new(0),
        };
        Arc::new(Crew {
            workers: workers.into_iter().map(member).collect(),
            most_clients: most_clients as u64,
            turned_away,
        })
    }

    fn is_full(&self) -> bool {
        self.workers.iter().map(Member::clients).sum::<u64>() >= self.most_clients
    }

    fn hand_over(&self, mail: Mail) {
        let Some(member) = self.workers.iter().min_by_key(|member| member.clients()) else {
            return;
        };
        if member.handle.send(mail) {
            member.handed.fetch_add(1, Ordering::Relaxed);
        } else {
            // The client is closed by dropping it; `worker_ended` ends the process.
            error!("a client was given to a worker that has ended");
        }
    }
}

/// Accepts on one listener for as long as it lives.
pub(super) async fn accept(bound: Bound, crew: Arc<Crew>) {
    loop {
        let mail = match &bound.socket {
            Acceptor::Tcp(listener) => match listener.accept().await {
                Ok((stream, _)) => prepare_tcp(stream, &crew),
                Err(error) => Err(error),
            },
            Acceptor::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => stream
                    .into_std()
                    .map(|stream| Some(Mail::Unix(admit(stream, &crew)?, next_client_id()))),
                Err(error) => Err(error),
            },
        };
        match mail {
            Ok(Some(mail)) => crew.hand_over(mail),
            Ok(None) => {}
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                warn!(place = ?bound.place, %error, "cannot accept clients; trying again");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn prepare_tcp(stream: tokio::net::TcpStream, crew: &Crew) -> Result<Option<Mail>, Error> {
    let stream = stream.into_std()?;
    let Some(stream) = admit(stream, crew) else {
        return Ok(None);
    };
    // Either fails only when the client is gone already; the worker will see that at its first read.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
    Ok(Some(Mail::Tcp(stream, next_client_id())))
}

/// Turns the client away when there are too many; it learns why, as from Redis.
fn admit<S: Write>(mut stream: S, crew: &Crew) -> Option<S> {
    if !crew.is_full() {
        return Some(stream);
    }
    crew.turned_away.limits[Limit::Clients as usize].add(1);
    // 36 bytes into an empty socket buffer: it takes them, or the client is gone.
    let _ = stream.write(TOO_MANY);
    None
}

/// Errors of `accept` that say nothing about the next one (accept(2), "Error handling").
fn is_of_one_client(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
