//! One client: its socket, what it sent that is not a whole request yet, what it is owed, and where its
//! commands go.

use std::time::Instant;

use super::edit::{Edit, Within};
use super::mend::Mends;
use super::owed::Owed;
use super::question::Roll;
use super::script_store::Sha;
use super::sent::{Kind, Promise};
use super::session::{ReplyMode, Session};
use super::slots::LinkKey;
use super::socket::Socket;
use super::subscriptions::Subscriptions;
use super::targets::Target;
use super::transcript::Transcripts;
use super::waiting::Held;
use super::writes::{Count, Writes};
use crate::resp::{Passage, RequestScanner};

/// Where the commands went whose replies are owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Nothing is owed.
    Idle,
    /// To the master.
    Master,
    /// To nodes chosen for reading.
    Reading,
}

/// Why nothing more of a client's requests is looked at for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stall {
    /// No reason.
    None,
    /// The next request has to wait until nothing is owed.
    Owed,
    /// No node is there for the next request.
    Node,
    /// A link with the client's new state is being made.
    Link(LinkKey),
    /// Another client's login is being asked for: one at a time.
    Turn,
    /// That is known: `Err` is the reply, an error where a link failed.
    Verdict(Result<(), Vec<u8>>),
    /// As many bytes of requests are unanswered as one client may have.
    Pipeline,
    /// The own connection takes no more bytes for now.
    Lease,
    /// The master has to be told a script, on that link, before the next request.
    Script(Sha, LinkKey),
    /// Nodes were asked; their answers, merged, come as a [`Stall::Verdict`].
    Answers,
}

/// What became of what a client had begun on a connection that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Aborted {
    /// Nothing of it is left to be said.
    #[default]
    No,
    /// Its watch is gone: the next EXEC is answered as if a key had been touched.
    Watch,
    /// Its transaction is gone: what it goes on queueing is dropped, and EXEC says so. `guarded`: keys were watched.
    Multi { guarded: bool },
}

/// An own connection in use.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection"
)]
pub(super) struct Lease {
    pub(super) link: LinkKey,
    /// Between MULTI and EXEC.
    pub(super) multi: bool,
    /// Commands queued since MULTI.
    pub(super) queued: u32,
    /// Those of them that may write.
    pub(super) writes: u32,
    /// What is changed in the replies of which of them, when EXEC brings them.
    pub(super) changes: Vec<(u32, Within)>,
    /// Scripts that are known once EXEC has run them.
    pub(super) bodies: Vec<Box<[u8]>>,
    /// Keys are watched.
    pub(super) watching: bool,
    /// Keys were watched at some time.
    pub(super) watched: bool,
    /// What was queued, for EXEC to be asked for again.
    pub(super) transcripts: Transcripts,
    /// What the client is owed waits for another connection than this one (`adrift`).
    pub(super) adrift: bool,
    /// Bytes of that.
    pub(super) aside: usize,
    /// Since when it had to look for one.
    pub(super) since: Option<Instant>,
    /// The connection is no longer what its profile says, and must not go back to the pool.
    pub(super) spoiled: bool,
    /// A request is passed on before it is complete.
    pub(super) upload: Option<Passage>,
    /// Scripts that the master was told for what goes on here.
    pub(super) scripts: Vec<Sha>,
}

impl Lease {
    /// What a batch that goes on it is, when it comes to the connection's dying; what is queued is kept.
    pub(super) fn kind_of(&mut self, kind: Kind, edit: &Edit, replies: u32, requests: &[u8]) -> Kind {
        if *edit == Edit::Multi {
            self.transcripts.begin(requests, self.watching);
        } else if self.multi && kind == Kind::Writes {
            self.transcripts.add(requests, replies);
            return Kind::Promised(Promise::Queued);
        }
        kind
    }

    /// What counts as a write of a batch that goes on it: what is queued does so with EXEC.
    pub(super) fn count(&mut self, kind: Kind, writes: Writes) -> Writes {
        match kind {
            Kind::Promised(Promise::Queued) => {
                self.writes += writes.may;
                Writes::default()
            }
            Kind::Exec { .. } => Writes::perhaps(std::mem::take(&mut self.writes)),
            Kind::Promised(Promise::Discarded) => {
                self.writes = 0;
                Writes::default()
            }
            _ => writes,
        }
    }

    /// Whether the client could do without it.
    pub(super) fn is_over(&self) -> bool {
        !self.multi && !self.watching && self.upload.is_none()
    }
}

/// How a client's commands travel.
#[derive(Debug)]
pub(super) enum Mode {
    /// On links shared with others.
    Shared,
    /// On an own connection to the master, until what it was taken for is over.
    Leased(Box<Lease>),
    /// On an own connection for good, both directions passed on as they are.
    Tunnel(Box<Tunnel>),
}

/// What a client is told that it did not ask for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listens {
    /// Nothing, as far as is known here.
    No,
    /// SUBSCRIBE and its kin.
    Channels,
    /// CLIENT TRACKING.
    Keys,
    /// MONITOR.
    Monitor,
}

/// An own connection for good.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection"
)]
pub(super) struct Tunnel {
    pub(super) link: LinkKey,
    /// A request is passed on, or dropped, before it is complete.
    pub(super) upload: Option<Upload>,
    /// A RESET was sent; its reply ends the tunnel.
    pub(super) resetting: bool,
    /// What comes is not RESP (a replication stream, where the config allows it): nothing is looked for in it.
    pub(super) opaque: bool,
    /// What it was opened for.
    pub(super) listens: Listens,
    /// Between MULTI and EXEC.
    pub(super) multi: bool,
    /// Transactions begun here, or refused.
    pub(super) begun: u32,
    /// The connection does not know the client's names yet: inside a transaction it cannot be told.
    pub(super) unnamed: bool,
    /// The last request was CLIENT CACHING.
    pub(super) caching: bool,
    /// CLIENT REPLY, which the server keeps to itself here.
    pub(super) reply: ReplyMode,
    /// The connection's id on the master, once that is known.
    pub(super) target: Option<Target>,
    /// The client that invalidations are redirected to, and its id on the master.
    pub(super) redirect: Option<(u64, u64)>,
    /// Until when the client waits for the target of a redirection.
    pub(super) seeking: Option<Instant>,
    /// The master was told the scripts of the request that is read next.
    pub(super) told: bool,
    /// Replies that are not the server's own.
    pub(super) mends: Mends,
    /// CLIENT LIST, KILL or UNBLOCK, until the master has judged it.
    pub(super) judging: Option<Roll>,
    /// The client is closed once it has been told what it asked for.
    pub(super) leaving: bool,
    /// The server was sent something that it closes the connection for: nothing more is passed on.
    pub(super) ended: bool,
    /// What it is subscribed to, where it is to be subscribed anew when its node is lost.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// Since when it waits for that.
    pub(super) lost: Option<Instant>,
    /// CLIENT REPLY was part of a transaction: the server's replies are then not as many as it says, and where one
    /// begins cannot be told any more.
    pub(super) muddled: bool,
    /// What was asked and answered.
    pub(super) count: Count,
}

impl Tunnel {
    /// What RESET makes of it where it goes on.
    pub(super) fn forget(&mut self) {
        (self.resetting, self.multi, self.unnamed) = (false, false, false);
        (self.listens, self.reply, self.redirect) = (Listens::No, ReplyMode::On, None);
    }
}

/// The rest of a request that has begun.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) passage: Passage,
    /// It goes nowhere: it was refused.
    pub(super) dropped: bool,
}

/// The name of a command in place, so that remembering one allocates nothing.
#[derive(Debug, Default)]
pub(super) struct CommandName {
    length: u8,
    /// There are subcommands, so that the same first word may mean another command.
    is_container: bool,
    bytes: [u8; 30],
}

impl CommandName {
    /// Names that are too long are cut: Redis has none.
    pub(super) fn set(&mut self, name: &[u8], is_container: bool) {
        self.is_container = is_container;
        let length = name.len().min(self.bytes.len());
        self.bytes[..length].copy_from_slice(&name[..length]);
        self.length = length as u8;
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether a request whose first word this is would leave the same name.
    pub(super) fn says_all_of(&self, name: &[u8]) -> bool {
        !self.is_container && self.name().eq_ignore_ascii_case(name)
    }
}

/// One client.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a socket and its places in lists"
)]
pub(super) struct Client {
    pub(super) socket: Socket,
    /// Requests, or the beginning of one, that could not be dealt with yet.
    pub(super) input: Vec<u8>,
    pub(super) scanner: RequestScanner,
    /// Replies that the socket has not taken, from `out_at` on.
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    pub(super) owed: Owed,
    pub(super) lane: Lane,
    /// The shared link to the master on which it is owed replies: what follows must not overtake on another.
    pub(super) master_link: Option<LinkKey>,
    /// Bytes of requests sent on and not answered.
    pub(super) pending: usize,
    /// A script is under way that is learned when its reply comes.
    pub(super) learns: bool,
    /// Since when something of it had to be put aside that was not answered since.
    pub(super) aside: Option<Instant>,
    /// Batches taken back from a dead link that wait for a node.
    pub(super) parked: u32,
    pub(super) session: Session,
    pub(super) mode: Mode,
    /// What became of a transaction whose connection was cut.
    pub(super) aborted: Aborted,
    pub(super) stall: Stall,
    /// What is counted for it while the next request waits for a node.
    pub(super) held: Option<Held>,
    /// Since when the next request waits for a node.
    pub(super) node_since: Option<Instant>,
    /// The wait for a node lasted too long: requests that need one get an error until the input is empty.
    pub(super) expired: bool,
    /// Bytes may be there to be read.
    pub(super) readable: bool,
    /// The peer closed its end.
    pub(super) hup: bool,
    /// The socket takes no bytes for now.
    pub(super) full: bool,
    /// In the list of clients to flush.
    pub(super) dirty: bool,
    /// In the list of clients to go on with.
    pub(super) again: bool,
    /// It took its replies too slowly for too long: its link does not rest for it any more.
    pub(super) overrun: bool,
    /// To be closed once all that is owed has been handed over.
    pub(super) closing: bool,
    /// When it connected.
    pub(super) born: Instant,
    /// The last command of the bytes that it sent last.
    pub(super) command: CommandName,
    /// When it last sent anything.
    pub(super) heard: Instant,
    /// Since when a request is incomplete.
    pub(super) began: Option<Instant>,
}

impl Client {
    pub(super) fn new(socket: Socket, session: Session, now: Instant) -> Self {
        Client {
            socket,
            input: Vec::new(),
            scanner: RequestScanner::default(),
            out: Vec::new(),
            out_at: 0,
            owed: Owed::default(),
            lane: Lane::Idle,
            master_link: None,
            pending: 0,
            learns: false,
            aside: None,
            parked: 0,
            session,
            mode: Mode::Shared,
            aborted: Aborted::No,
            stall: Stall::None,
            held: None,
            node_since: None,
            expired: false,
            readable: false,
            hup: false,
            full: false,
            dirty: false,
            again: false,
            overrun: false,
            closing: false,
            born: now,
            command: CommandName::default(),
            heard: now,
            began: None,
        }
    }

    /// Bytes that wait for the client to read.
    pub(super) fn unread(&self) -> usize {
        self.out.len() - self.out_at + self.owed.held()
    }

    /// Bytes that wait for it on and beside its own connection, to be sent or to be sent again.
    pub(super) fn kept(&self) -> usize {
        match &self.mode {
            Mode::Leased(lease) => lease.transcripts.kept() + lease.aside,
            Mode::Shared | Mode::Tunnel(_) => 0,
        }
    }

    /// Its own connection, if it has one.
    pub(super) fn lease(&self) -> Option<LinkKey> {
        match &self.mode {
            Mode::Shared => None,
            Mode::Leased(lease) => Some(lease.link),
            Mode::Tunnel(tunnel) => Some(tunnel.link),
        }
    }

    /// Puts a reply of the ambassador's own in its place.
    pub(super) fn answer(&mut self, reply: &[u8]) {
        if !self.session.takes_silence() {
            self.owed.answer(reply, &mut self.out);
        }
    }
}
