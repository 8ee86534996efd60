//! One task per sentinel: asks what it knows of the group, again at every event that it publishes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis_protocol::resp2::types::OwnedFrame;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::Heard;
use super::back_off::BackOff;
use super::connection::{Connection, Failure, FailureKind, Login, SMALL_REPLY, decode};
use super::council::{Announced, Told};
use super::members::unknown_name;
use super::names::look_up;
use crate::settings::{NodeAddress, Sentinels, Settings, Upstream};
use crate::topology::MAX_NODES;

/// How often it is asked although nothing happened: an event may be lost. And how long it may publish nothing before it
/// is asked for a sign of life.
const INTERVAL: Duration = Duration::from_secs(1);
/// However many events come, it is asked no more often than this.
const BETWEEN: Duration = Duration::from_millis(20);

/// What says that something about a group changes, or is about to.
const EVENTS: [&str; 14] = [
    "+switch-master",
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+slave",
    "+convert-to-slave",
    "+promoted-slave",
    "+failover-end",
    "-role-change",
    BEGINS,
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
];

/// This sentinel makes a failover: it chooses a replica at its next turn and makes it master at the one after that,
/// 100 to 200 ms from now. `+selected-slave` would be the last moment, and is too late where processes wait for a CPU.
/// The old master is told last, up to ten seconds later: what it takes in between is lost
/// (`sentinelFailoverStateMachine` in sentinel.c).
const BEGINS: &str = "+elected-leader";
const ABORTED: &str = "-failover-abort";

/// A sentinel to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sentinel {
    /// Its place in the configuration.
    pub(super) index: usize,
    pub(super) place: NodeAddress,
}

/// Asks until the control plane is gone.
pub(super) async fn ask(
    sentinel: Sentinel,
    settings: Arc<Settings>,
    heard: mpsc::Sender<Heard>,
    poke: Arc<Notify>,
) {
    let Some(sentinels) = &settings.upstream.sentinels else {
        return;
    };
    let mut back_off = BackOff::new();
    loop {
        let mut session = Session {
            sentinel: &sentinel,
            sentinels,
            upstream: &settings.upstream,
            heard: &heard,
            poke: &poke,
            answered: false,
        };
        let Err(failure) = session.run().await else { return };
        if session.answered {
            back_off.reset();
        }
        let failed = Heard::Sentinel(sentinel.index, Err(failure));
        if heard.send(failed).await.is_err() {
            return;
        }
        sleep(back_off.pause()).await;
    }
}

struct Session<'a> {
    sentinel: &'a Sentinel,
    sentinels: &'a Sentinels,
    upstream: &'a Upstream,
    heard: &'a mpsc::Sender<Heard>,
    poke: &'a Notify,
    answered: bool,
}

impl Session<'_> {
    /// `Ok` only when nobody listens any more.
    async fn run(&mut self) -> Result<(), Failure> {
        let events = self.subscribe().await?;
        let questions = self.open().await?;
        let answered = AtomicBool::new(false);
        // Both go on until one fails.
        let ended = tokio::try_join!(self.listen(events), self.ask_again(questions, &answered));
        self.answered = answered.into_inner();
        ended.map(|_| ())
    }

    /// Asks at every event, and now and then without one.
    async fn ask_again(&self, mut connection: Connection, answered: &AtomicBool) -> Result<(), Failure> {
        while !self.heard.is_closed() {
            let told = self.told(&mut connection).await?;
            answered.store(true, Ordering::Relaxed);
            self.say(Heard::Sentinel(self.sentinel.index, Ok(told))).await;
            sleep(BETWEEN).await;
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = self.poke.notified() => {}
            }
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Connection, Failure> {
        let mut events = self.open().await?;
        let mut subscribe: Vec<&[u8]> = vec![b"SUBSCRIBE"];
        subscribe.extend(EVENTS.map(str::as_bytes));
        events.send(&[&subscribe]).await?;
        Ok(events)
    }

    /// Hears what it publishes. A subscription that died without a word (a NAT forgot it, say) is made anew; what the
    /// sentinel said itself goes on to count.
    async fn listen(&self, mut events: Connection) -> Result<(), Failure> {
        loop {
            match self.take_events(&mut events).await {
                Err(failure) if failure.kind == FailureKind::Timeout => events = self.subscribe().await?,
                ended => return ended,
            }
            // Something may have happened unheard.
            self.poke.notify_one();
        }
    }

    async fn take_events(&self, events: &mut Connection) -> Result<(), Failure> {
        let confirmation = answer(events, self.upstream.probe_timeout).await?;
        if let OwnedFrame::Error(text) = decode(&confirmation)? {
            return Err(Failure::from_reply("SUBSCRIBE", &text));
        }
        while !self.heard.is_closed() {
            let channel = self.event(events).await?;
            if channel == BEGINS || channel.starts_with(ABORTED) {
                self.say(Heard::Failover(self.sentinel.index, channel == BEGINS))
                    .await;
            }
            self.poke.notify_one();
        }
        Ok(())
    }

    async fn say(&self, word: Heard) {
        // When nobody listens any more, the loops see that for themselves.
        let _ = self.heard.send(word).await;
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let login = Login::of(self.sentinels.username.as_ref(), self.sentinels.password.as_ref());
        let bound = self.upstream.connect_timeout;
        let place = &self.sentinel.place;
        let mut last = unknown_name("it has no address");
        for ip in look_up(&place.host, bound).await? {
            let address = SocketAddr::new(ip, place.port);
            match Connection::open(address, login, bound).await {
                Ok(connection) => return Ok(connection),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Waits for an event that names this group: its channel.
    async fn event(&self, events: &mut Connection) -> Result<String, Failure> {
        let name = self.sentinels.master.as_bytes();
        loop {
            let parts = match decode(&self.message(events).await?)? {
                OwnedFrame::Array(parts) => parts,
                // This user may not PING; it is a sign of life all the same.
                OwnedFrame::Error(_) => continue,
                _ => return Err(Failure::protocol("an event is not an array")),
            };
            let [
                OwnedFrame::BulkString(kind),
                OwnedFrame::BulkString(channel),
                OwnedFrame::BulkString(text),
            ] = parts.as_slice()
            else {
                // The confirmation of the subscription ends with a number, the answer to PING has two parts.
                continue;
            };
            let names_it = text.split(|byte| *byte == b' ').any(|word| word == name);
            if kind == b"message" && names_it {
                return Ok(String::from_utf8_lossy(channel).into_owned());
            }
        }
    }

    /// The next message, or the answer to a PING where none comes. Nothing at all: the connection is dead, and a failover
    /// of which it should tell would be missed.
    async fn message(&self, events: &mut Connection) -> Result<Bytes, Failure> {
        if let Ok(message) = timeout(INTERVAL, events.hear(SMALL_REPLY)).await {
            return message;
        }
        events.send(&[&[b"PING"]]).await?;
        answer(events, self.upstream.probe_timeout).await
    }

    async fn told(&self, connection: &mut Connection) -> Result<Told, Failure> {
        let name = self.sentinels.master.as_bytes();
        // The address of a master in failover is that of its successor already; the epoch stands elsewhere.
        let requests: [&[&[u8]]; 3] = [
            &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name],
            &[b"SENTINEL", b"MASTER", name],
            &[b"SENTINEL", b"REPLICAS", name],
        ];
        let replies = connection
            .ask(&requests, SMALL_REPLY, self.upstream.probe_timeout)
            .await?;
        let master = match decode(&replies[0])? {
            OwnedFrame::Array(parts) => address(&parts),
            OwnedFrame::Error(text) => return Err(Failure::from_reply("SENTINEL", &text)),
            OwnedFrame::Null => {
                return Err(Failure::protocol(format!(
                    "it watches no master named {}",
                    self.sentinels.master
                )));
            }
            _ => None,
        };
        let master = master.ok_or_else(|| Failure::protocol("the master's address is none"))?;
        let about = fields(&decode(&replies[1])?);
        let epoch = value(&about, "config-epoch").and_then(|text| text.parse().ok());
        let OwnedFrame::Array(replicas) = decode(&replies[2])? else {
            return Err(Failure::protocol("SENTINEL REPLICAS is answered with no list"));
        };
        Ok(Told {
            master,
            epoch: epoch.unwrap_or_default(),
            replicas: replicas.iter().filter_map(replica).take(MAX_NODES).collect(),
        })
    }
}

/// What comes on a subscribed connection, within `bound`.
async fn answer(events: &mut Connection, bound: Duration) -> Result<Bytes, Failure> {
    let silent = |_| Failure {
        kind: FailureKind::Timeout,
        message: "no sign of life from its subscription within upstream.probe_timeout".to_owned(),
    };
    timeout(bound, events.hear(SMALL_REPLY)).await.map_err(silent)?
}

fn address(parts: &[OwnedFrame]) -> Option<Announced> {
    let [OwnedFrame::BulkString(host), OwnedFrame::BulkString(port)] = parts else {
        return None;
    };
    announced(std::str::from_utf8(host).ok()?, std::str::from_utf8(port).ok()?)
}

fn replica(about: &OwnedFrame) -> Option<Announced> {
    let about = fields(about);
    announced(value(&about, "ip")?, value(&about, "port")?)
}

fn announced(host: &str, port: &str) -> Option<Announced> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Names and values in turn, as a sentinel tells of a node.
fn fields(reply: &OwnedFrame) -> Vec<(String, String)> {
    let OwnedFrame::Array(parts) = reply else {
        return Vec::new();
    };
    let text = |frame: &OwnedFrame| match frame {
        OwnedFrame::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    parts
        .chunks_exact(2)
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect()
}

fn value<'a>(fields: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    fields
        .iter()
        .find_map(|(name, value)| (name == wanted).then_some(value.as_str()))
}
