//! One task per node: connects, asks at every interval or when poked, reports what it heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redis_protocol::resp2::types::OwnedFrame;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::acknowledged::Acknowledgements;
use super::back_off::BackOff;
use super::connection::{Connection, Failure, FailureKind, LARGE_REPLY, Login, SMALL_REPLY, decode};
use super::info::{self, Facts};
use super::{Heard, back_off, greeting};
use crate::attempts::Attempts;
use crate::settings::{Settings, Upstream};
use crate::topology::{Greeting, NodeId, Role, Topology};

/// However often it is poked, a node is asked no more often than this.
const BETWEEN_POKES: Duration = Duration::from_millis(20);

/// What a probe says to the control plane.
#[derive(Debug)]
pub(super) enum Word {
    /// A connection is up and authenticated.
    Reached(Server),
    /// It answered.
    Heard(Facts),
    /// The master was asked for its offset alone, between two probes.
    Marked(Facts),
    /// It says master, and was asked who it is.
    Identified(Arc<Identity>),
    /// It could not be asked.
    Failed(Failure),
}

/// What a node is asked once per connection. A user may not be permitted to ask.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// `run_id`: one for each start of a server; a new connection may be to a new one.
    pub(super) run_id: Option<String>,
    /// `availability_zone`, which Valkey tells from 8.1 on.
    pub(super) zone: Option<String>,
}

/// What only a master is asked, once per connection.
#[derive(Debug)]
pub(super) struct Identity {
    /// HELLO; `None` when it refuses.
    pub(super) greeting: Option<Greeting>,
    /// The reply to COMMAND as it came (decoded it takes many times the memory); `None` when it refuses.
    pub(super) commands: Option<Bytes>,
}

/// A node to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) id: NodeId,
    pub(super) address: SocketAddr,
}

/// Probes until the control plane is gone.
pub(super) async fn probe(
    target: Target,
    settings: Arc<Settings>,
    attempts: Arc<Attempts>,
    heard: mpsc::Sender<Heard>,
    poke: Arc<Notify>,
    acknowledged: Acknowledgements,
    topology: watch::Receiver<Arc<Topology>>,
) {
    let mut back_off = BackOff::new();
    let mut former = Former::default();
    while !heard.is_closed() {
        while !attempts.take(target.id, Instant::now().into_std()) {
            sleep(attempts.pause()).await;
        }
        let began = Instant::now();
        let mut session = Session {
            target: &target,
            upstream: &settings.upstream,
            attempts: &attempts,
            heard: &heard,
            poke: &poke,
            acknowledged: &acknowledged,
            topology: &topology,
            former: &mut former,
            answered: false,
        };
        let failure = match session.run().await {
            Ok(End::Unheard) => return,
            Ok(End::Elsewhere) => {
                back_off.reset();
                continue;
            }
            Err(failure) => failure,
        };
        // Sentinel cuts the connections of the node that it makes a master: what that is now is asked at once.
        let lived = began.elapsed() >= back_off::FIRST;
        let at_once = session.answered && lived && failure.kind == FailureKind::Connect;
        if session.answered {
            back_off.reset();
        } else {
            attempts.fail(target.id, Instant::now().into_std());
        }
        let failed = Heard::Node(target, Word::Failed(failure));
        if heard.send(failed).await.is_err() {
            return;
        }
        if at_once {
            continue;
        }
        tokio::select! {
            () = sleep(back_off.pause()) => {}
            () = poked(&poke, began + back_off::FIRST) => {}
        }
    }
}

async fn poked(poke: &Notify, not_before: Instant) {
    poke.notified().await;
    sleep_until(not_before).await;
}

/// How a connection ends on which nothing failed.
enum End {
    /// Nobody listens any more.
    Unheard,
    /// A new one may lead to another server.
    Elsewhere,
}

/// A node that was master here. When it is none any more and nobody is, its address may stand for another server by now (a
/// virtual one, which only new connections notice), and is tried again and again.
#[derive(Debug, Default)]
struct Former {
    was_master: bool,
    /// When the next connection is due, and the pause before the one after it.
    next: Option<(Instant, BackOff)>,
}

impl Former {
    /// Whether a new connection is due.
    fn is_due(&mut self, role: Role, is_master_known: bool, now: Instant) -> bool {
        self.was_master |= role == Role::Master;
        if !self.was_master || role == Role::Master || is_master_known {
            self.next = None;
            return false;
        }
        let (when, back_off) = self.next.get_or_insert_with(|| {
            let mut back_off = BackOff::new();
            (now + back_off.pause(), back_off)
        });
        let due = now >= *when;
        if due {
            *when = now + back_off.pause();
        }
        due
    }
}

/// One connection's life.
struct Session<'a> {
    target: &'a Target,
    upstream: &'a Upstream,
    attempts: &'a Attempts,
    heard: &'a mpsc::Sender<Heard>,
    poke: &'a Notify,
    acknowledged: &'a Acknowledgements,
    topology: &'a watch::Receiver<Arc<Topology>>,
    former: &'a mut Former,
    answered: bool,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<End, Failure> {
        let login = Login::of(self.upstream.username.as_ref(), self.upstream.password.as_ref());
        let mut connection =
            Connection::open(self.target.address, login, self.upstream.connect_timeout).await?;
        let server = self.server(&mut connection).await?;
        if !self.say(Word::Reached(server)).await {
            return Ok(End::Unheard);
        }
        let mut was = Role::Unknown;
        loop {
            let began = Instant::now();
            let facts = self.facts(&mut connection).await?;
            let role = facts.role;
            if !std::mem::replace(&mut self.answered, true) {
                self.attempts.succeed(self.target.id);
            }
            // Who it is comes first, so that a master is published with its greeting and commands.
            if role == Role::Master && was != Role::Master {
                let identity = Arc::new(self.identity(&mut connection).await?);
                if !self.say(Word::Identified(identity)).await {
                    return Ok(End::Unheard);
                }
            }
            was = role;
            if !self.say(Word::Heard(facts)).await {
                return Ok(End::Unheard);
            }
            let is_master_known = self.topology.borrow().master.is_some();
            if self.former.is_due(role, is_master_known, Instant::now()) {
                return Ok(End::Elsewhere);
            }
            if !self.rest(&mut connection, role, began).await? {
                return Ok(End::Unheard);
            }
        }
    }

    /// Waits until the node is to be asked again, and has its offset marked while it acknowledges writes. False: nobody
    /// listens any more.
    async fn rest(&self, connection: &mut Connection, role: Role, began: Instant) -> Result<bool, Failure> {
        let interval = self.upstream.mark_interval;
        let marks = role == Role::Master && !interval.is_zero();
        let mut marked = self.acknowledged.before_now(self.target.id);
        let poked = poked(self.poke, began + BETWEEN_POKES);
        tokio::pin!(poked);
        loop {
            tokio::select! {
                () = sleep_until(began + self.upstream.probe_interval) => return Ok(true),
                () = connection.stirs() => return Ok(true),
                () = &mut poked => return Ok(true),
                () = sleep(interval), if marks => {}
            }
            let acknowledged = self.acknowledged.before_now(self.target.id);
            if acknowledged == marked {
                continue;
            }
            marked = acknowledged;
            let asked = Instant::now();
            let replies = connection
                .ask(
                    &[&[b"INFO", b"replication"]],
                    SMALL_REPLY,
                    self.upstream.probe_timeout,
                )
                .await?;
            let replication = text("INFO replication", &replies[0])?;
            let facts = info::parse(&replication, "").map_err(Failure::protocol)?;
            let same = facts.role == role;
            let mark = Facts {
                acknowledged,
                asked: Some(asked),
                ..facts
            };
            if !self.say(Word::Marked(mark)).await {
                return Ok(false);
            }
            if !same {
                return Ok(true);
            }
        }
    }

    async fn say(&self, word: Word) -> bool {
        self.heard.send(Heard::Node(*self.target, word)).await.is_ok()
    }

    async fn server(&self, connection: &mut Connection) -> Result<Server, Failure> {
        let replies = connection
            .ask(
                &[&[b"INFO", b"server"]],
                SMALL_REPLY,
                self.upstream.connect_timeout,
            )
            .await?;
        let server = text("INFO server", &replies[0]).unwrap_or_default();
        let field = |name| info::field(&server, name).map(str::to_owned);
        Ok(Server {
            run_id: field("run_id"),
            zone: field("availability_zone").filter(|zone| !zone.is_empty()),
        })
    }

    async fn facts(&self, connection: &mut Connection) -> Result<Facts, Failure> {
        let requests: [&[&[u8]]; 3] = [&[b"INFO", b"replication"], &[b"INFO", b"persistence"], &[b"TIME"]];
        // First of all: the offset that is told covers these.
        let acknowledged = self.acknowledged.before_now(self.target.id);
        let (asked, clock) = (Instant::now(), SystemTime::now());
        let replies = connection
            .ask(&requests, SMALL_REPLY, self.upstream.probe_timeout)
            .await?;
        let replication = text("INFO replication", &replies[0])?;
        let persistence = text("INFO persistence", &replies[1])?;
        let facts = info::parse(&replication, &persistence).map_err(Failure::protocol)?;
        let took = asked.elapsed();
        // A user may not be permitted to ask.
        let theirs = decode(&replies[2]).ok().and_then(|time| microseconds(&time));
        let ours = (clock + took / 2).duration_since(SystemTime::UNIX_EPOCH).ok();
        let skew = theirs
            .zip(ours)
            .map(|(theirs, ours)| theirs - ours.as_micros() as i64);
        Ok(Facts {
            acknowledged,
            asked: Some(asked),
            took,
            skew_us: skew,
            ..facts
        })
    }

    /// HELLO 3 and back to 2, then COMMAND and CLIENT INFO. Error replies are answers too: the user may not be
    /// permitted to ask, or the server may not know the command.
    async fn identity(&self, connection: &mut Connection) -> Result<Identity, Failure> {
        let requests: [&[&[u8]]; 4] = [
            &[b"HELLO", b"3"],
            &[b"HELLO", b"2"],
            &[b"COMMAND"],
            &[b"CLIENT", b"INFO"],
        ];
        // COMMAND is a few hundred kilobytes: it gets the time of a connect, not that of a probe.
        let replies = connection
            .ask(&requests, LARGE_REPLY, self.upstream.connect_timeout)
            .await?;
        Ok(Identity {
            greeting: greeting::cut(&replies[1], &replies[0], &replies[3]),
            commands: match decode(&replies[2])? {
                OwnedFrame::Error(_) => None,
                // A copy, so that it does not hold the buffer that it came in.
                _ => Some(Bytes::copy_from_slice(&replies[2])),
            },
        })
    }
}

/// The reply to TIME.
fn microseconds(time: &OwnedFrame) -> Option<i64> {
    let OwnedFrame::Array(parts) = time else {
        return None;
    };
    let [OwnedFrame::BulkString(seconds), OwnedFrame::BulkString(rest)] = parts.as_slice() else {
        return None;
    };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i64>().ok();
    number(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(number(rest)?)
}

fn text(asked: &str, reply: &Bytes) -> Result<String, Failure> {
    match decode(reply)? {
        OwnedFrame::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        OwnedFrame::Error(error) => Err(Failure::from_reply(asked, &error)),
        _ => Err(Failure::protocol(format!(
            "{asked} is answered with neither text nor an error"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tried_anew_only_where_a_master_was_and_while_there_is_none_less_and_less_often() {
        let began = Instant::now();
        let at = |seconds: u32| began + seconds * Duration::from_secs(1);
        let mut replica = Former::default();
        assert!((0..9).all(|second| !replica.is_due(Role::Replica, false, at(second))));
        let mut former = Former::default();
        assert!(
            !former.is_due(Role::Master, false, at(0)),
            "it may not be adopted yet"
        );
        assert!(!former.is_due(Role::Replica, true, at(1)), "it was replaced");
        assert!(
            !former.is_due(Role::Replica, false, at(2)),
            "the other one may be heard soon"
        );
        let times = (0..600).filter(|tenths| {
            let now = at(2) + *tenths * Duration::from_millis(100);
            former.is_due(Role::Replica, false, now)
        });
        // Each pause is up to twice the one before, and two seconds at most.
        assert!((25..70).contains(&times.count()));
    }
}
