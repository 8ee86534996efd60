//! One connection to a node and what is under way on it. Decides nothing: no socket calls, no clock.
//!
//! Requests stay in the log until they are answered, so that what a dying link did not answer can be told
//! apart (never handed to the socket; handed over in part or whole) and reads can be asked for again.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::owed::BatchId;
use super::profile::ProfileId;
use super::script_store::Sha;
use super::sent::{Kind, Sent};
use super::slots::ClientKey;
use super::socket::{self, Moved, Socket};
use super::writes::Writes;
use crate::resp::ReplyScanner;
use crate::topology::NodeId;

/// Bytes of unanswered requests kept on an own connection.
const KEPT: usize = 1024 * 1024;

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The TCP connect is under way since then.
    Connecting(Instant),
    /// Connected; the handshake is under way since then.
    Handshake(Instant),
    /// Carries commands.
    Up,
}

/// Why a link is dead.
#[derive(Debug)]
pub(super) enum Cause {
    /// The connect failed.
    Connect(String),
    /// The node refused the handshake, with this error reply.
    Refused(Vec<u8>),
    /// The node closed the connection.
    Closed,
    /// The connection broke.
    Broken(String),
    /// What came is not RESP.
    NotResp,
    /// A reply that nothing had asked for.
    Unasked(String),
    /// The control plane lost the node.
    Lost,
    /// Nothing came for so long that what cannot go elsewhere is given up.
    Silent,
    /// A connect or a reply took too long.
    TimedOut,
    /// A panic in the ambassador.
    Defect,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Connect(error) => write!(f, "cannot connect: {error}"),
            Cause::Refused(error) => write!(f, "{}", String::from_utf8_lossy(error).trim_end()),
            Cause::Closed => f.write_str("closed by the node"),
            Cause::Broken(error) => write!(f, "broken: {error}"),
            Cause::NotResp => f.write_str("what came is not RESP"),
            Cause::Unasked(reply) => write!(f, "a reply that nothing had asked for: {reply}"),
            Cause::Lost => f.write_str("the node is lost"),
            Cause::Silent => f.write_str("silent for too long"),
            Cause::TimedOut => f.write_str("timed out"),
            Cause::Defect => f.write_str("a defect in the ambassador"),
        }
    }
}

/// Who may put commands on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Every client of its profile.
    Shared,
    /// Nobody: it waits warm to be leased.
    Warm,
    /// The client whose own connection it is.
    Leased(ClientKey),
    /// Nobody any more: its node has moved. It ends when what is on it is answered.
    Retired,
    /// Nobody: it was made for one command that a busy node takes only on a connection of its own.
    Errand,
}

/// One connection to a node.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a socket and its places in lists"
)]
pub(super) struct Link {
    pub(super) node: NodeId,
    /// Where that was when the link was made.
    pub(super) address: SocketAddr,
    pub(super) profile: ProfileId,
    pub(super) socket: Socket,
    pub(super) phase: Phase,
    /// Who may put commands on it.
    pub(super) usage: Use,
    /// Handshake bytes not yet handed to the socket.
    pub(super) handshake: Vec<u8>,
    /// Replies to the handshake that are still to come.
    pub(super) handshake_replies: u32,
    /// CLIENT ID of an own connection, asked for at the end of its handshake; `None` where it may not be asked.
    pub(super) upstream_id: Option<u64>,
    /// A Redis answered on it: the node is there.
    pub(super) answers: bool,
    /// Requests: answered ones up to `answered`, handed to the socket up to `sent`.
    log: Vec<u8>,
    sent: usize,
    answered: usize,
    /// Requests stay in the log until they are answered. Not on an own connection that carried too much.
    pub(super) keeps: bool,
    pub(super) pipeline: VecDeque<Sent>,
    /// Replies to come over all of the pipeline.
    pub(super) inflight: u32,
    /// Batches in the pipeline whose race with another node is open (`hedge`).
    pub(super) races: u32,
    pub(super) scanner: ReplyScanner,
    /// The beginning of a reply, or of a line of a long one, that was cut by the end of a read.
    pub(super) carry: Vec<u8>,
    /// Bytes of a reply, all of them in `carry`, that the scanner has seen already.
    pub(super) seen: usize,
    /// The beginning of a reply that is changed before it goes on.
    pub(super) held: Vec<u8>,
    /// Scripts that the node is told on this link and has not answered yet.
    pub(super) loading: VecDeque<Sha>,
    /// The node lets the user of this link load no scripts.
    pub(super) loads_refused: bool,
    /// The node refused a command that waits now, or is no master any more: what it still answers is looked at.
    pub(super) refusing: bool,
    /// Clients that wait for this link to come up or to fail.
    pub(super) waiters: Vec<ClientKey>,
    /// The command that waits here is being let go, to wait elsewhere.
    pub(super) moving: bool,
    /// The node said that it closes the connection and looks at nothing more on it.
    pub(super) closes: bool,
    /// Bytes may be there to be read.
    pub(super) readable: bool,
    /// The node closed its end: what is still to be read ends with that.
    pub(super) hup: bool,
    /// The socket's buffer is full: wait until it says otherwise.
    pub(super) full: bool,
    /// Nothing more is to come: the node is told so once all was handed to the socket.
    pub(super) ends: bool,
    /// In the list of links to flush.
    pub(super) dirty: bool,
    /// In the list of links to read again.
    pub(super) again: bool,
    /// Reading rests since then, because the client at the head does not take its reply.
    pub(super) resting: Option<Instant>,
    pub(super) used: Instant,
    /// When something came on it last.
    pub(super) heard: Instant,
}

impl Link {
    pub(super) fn new(
        (node, address): (NodeId, SocketAddr),
        profile: ProfileId,
        socket: Socket,
        usage: Use,
        now: Instant,
    ) -> Self {
        Link {
            node,
            address,
            profile,
            socket,
            phase: Phase::Connecting(now),
            usage,
            handshake: Vec::new(),
            handshake_replies: 0,
            upstream_id: None,
            answers: false,
            log: Vec::new(),
            sent: 0,
            answered: 0,
            keeps: usage != Use::Errand,
            pipeline: VecDeque::new(),
            inflight: 0,
            races: 0,
            scanner: ReplyScanner::default(),
            carry: Vec::new(),
            seen: 0,
            held: Vec::new(),
            loading: VecDeque::new(),
            loads_refused: false,
            refusing: false,
            closes: false,
            moving: false,
            waiters: Vec::new(),
            readable: false,
            hup: false,
            full: false,
            ends: false,
            dirty: false,
            again: false,
            resting: None,
            used: now,
            heard: now,
        }
    }

    /// Whether this is an own connection rather than a shared link.
    pub(super) fn is_lease(&self) -> bool {
        !matches!(self.usage, Use::Shared | Use::Retired)
    }

    /// The client whose own connection this is.
    pub(super) fn owner(&self) -> Option<ClientKey> {
        match self.usage {
            Use::Leased(owner) => Some(owner),
            Use::Shared | Use::Warm | Use::Retired | Use::Errand => None,
        }
    }

    /// Puts a batch of requests behind what is there.
    pub(super) fn push(&mut self, requests: &[u8], sent: Sent) {
        self.inflight += sent.left;
        self.used = sent.at;
        self.pipeline.push_back(sent);
        self.log.extend_from_slice(requests);
        if self.is_lease() && self.log.len() > KEPT {
            self.keep_no_more();
        }
    }

    /// More bytes of the batch that was pushed last, or of a tunnel.
    pub(super) fn push_more(&mut self, requests: &[u8]) {
        self.keep_no_more();
        if let Some(last) = self.pipeline.back_mut() {
            last.bytes += requests.len();
        }
        self.log.extend_from_slice(requests);
    }

    /// From here on nothing on it can be sent again.
    fn keep_no_more(&mut self) {
        if self.keeps {
            self.log.drain(..self.sent);
            (self.sent, self.answered, self.keeps) = (0, 0, false);
        }
    }

    /// Hands to the socket what waits for it, once.
    pub(super) fn write(&mut self) -> Moved {
        socket::write(&mut self.socket, &self.log[self.sent..])
    }

    /// Whether a part of a reply went on already, and the rest is to come.
    pub(super) fn is_torn(&self) -> bool {
        self.seen == 0 && !self.scanner.at_start()
    }

    /// Whether it ever carried commands.
    pub(super) fn was_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Requests that wait for the socket.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.log[self.sent..]
    }

    /// Bytes that the log holds in memory.
    pub(super) fn held(&self) -> usize {
        self.log.len() + self.held.len()
    }

    /// The socket took so many bytes of [`Link::unsent`].
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.sent += bytes;
        if !self.keeps {
            self.log.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Whether a reply now would answer a request that was not wholly handed to the socket.
    pub(super) fn is_hasty(&self) -> bool {
        let first = self.pipeline.front();
        !self.is_lease()
            && first.is_some_and(|first| first.left == 1 && self.answered + first.bytes > self.sent)
    }

    /// The first batch got one reply more. Returns it when that was its last.
    pub(super) fn answered(&mut self) -> Option<Sent> {
        self.inflight -= 1;
        let first = self.pipeline.front_mut()?;
        first.left -= 1;
        first.done += 1;
        if first.left > 0 {
            return None;
        }
        let first = self.pipeline.pop_front()?;
        self.forget(first.bytes);
        self.refusing &= !self.pipeline.is_empty();
        Some(first)
    }

    /// Whether the first batch's reply is changed before it goes on, or as it goes.
    pub(super) fn is_edited(&self) -> bool {
        self.pipeline.front().is_some_and(|first| first.edit.is_pending())
    }

    /// What may go on of the first batch's reply, of which `bytes` came: nothing while its edit needs more.
    pub(super) fn edited(&mut self, bytes: &[u8], complete: bool) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let Some(first) = self.pipeline.front_mut() else {
            return std::mem::take(&mut self.held);
        };
        first.edit.apply(&mut self.held, complete)
    }

    /// The first batch in flight and the log from its first request on.
    pub(super) fn first(&self) -> Option<(&Sent, &[u8])> {
        let first = self.pipeline.front()?;
        let log = if self.keeps {
            &self.log[self.answered..]
        } else {
            &[][..]
        };
        Some((first, log))
    }

    /// The requests of a batch in flight; `None` where they are not kept.
    pub(super) fn requests_of(&self, client: ClientKey, batch: BatchId) -> Option<Vec<u8>> {
        let mut at = self.answered;
        for sent in &self.pipeline {
            let range = at..at + sent.bytes;
            if sent.batch == batch && sent.client == client && sent.kind != Kind::Loser {
                return self.log.get(range).filter(|_| self.keeps).map(<[u8]>::to_vec);
            }
            at = range.end;
        }
        None
    }

    /// The first batch is cut after its first so many bytes of requests, all of them answered or asked for
    /// elsewhere; what is left of it answers to the name `rest`, or is gone. `writes`: of the one that goes.
    pub(super) fn cut_first(&mut self, requests: usize, rest: Option<BatchId>, writes: Writes) {
        self.inflight -= 1;
        let Some(first) = self.pipeline.front_mut() else {
            return;
        };
        if let Some(rest) = rest {
            first.batch = rest;
            first.left -= 1;
            first.done = 0;
            first.bytes -= requests;
            first.writes.cut(writes);
            self.forget(requests);
        } else {
            let bytes = first.bytes;
            self.pipeline.pop_front();
            self.forget(bytes);
        }
    }

    /// Takes everything that is not answered: each batch with its requests, and how many bytes of them were handed to
    /// the socket. Where requests are not kept they come empty.
    pub(super) fn take_unanswered(&mut self) -> Vec<(Sent, Vec<u8>, usize)> {
        let mut at = self.answered;
        let pipeline = std::mem::take(&mut self.pipeline);
        let unanswered = pipeline.into_iter().map(|batch| {
            if !self.keeps {
                return (batch, Vec::new(), usize::MAX);
            }
            let range = at.min(self.log.len())..(at + batch.bytes).min(self.log.len());
            at = range.end;
            let handed_over = self.sent.saturating_sub(range.start).min(range.len());
            (batch, self.log[range].to_vec(), handed_over)
        });
        let unanswered = unanswered.collect();
        self.log = Vec::new();
        (self.sent, self.answered, self.inflight) = (0, 0, 0);
        unanswered
    }

    /// Has the replies to such batches dropped when they come; another node is asked. Returns each with its requests.
    pub(super) fn lose_all(&mut self, such: impl Fn(&Sent) -> bool) -> Vec<(Sent, Vec<u8>)> {
        let mut at = self.answered;
        let mut lost = Vec::new();
        for sent in &mut self.pipeline {
            let range = at..at + sent.bytes;
            at = range.end;
            if self.keeps && such(sent) {
                lost.push((sent.lose(), self.log[range].to_vec()));
            }
        }
        lost
    }

    fn forget(&mut self, bytes: usize) {
        if !self.keeps {
            return;
        }
        self.answered += bytes;
        if self.answered == self.log.len() {
            self.log.clear();
            // One burst must not be paid for in memory ever after.
            self.log.shrink_to(1 << 20);
            (self.sent, self.answered) = (0, 0);
        } else if self.answered > (64 << 10) && self.answered > self.log.len() / 2 {
            self.log.drain(..self.answered);
            self.sent = self.sent.saturating_sub(self.answered);
            self.answered = 0;
        }
    }
}
