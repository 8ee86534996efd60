//! What was put on a link and is not answered: batches of commands, and what they are when it comes to asking again.

use std::time::Instant;

use super::edit::Edit;
use super::owed::BatchId;
use super::slots::{ClientKey, LinkKey};
use super::writes::Writes;
use crate::topology::NodeId;

/// What a batch on a link is, when it comes to asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only reads: may be asked for again, so many times more.
    Reads { retries: u32 },
    /// Holds a command that may have changed something.
    Writes,
    /// A command that may wait for ever, and takes something when its time comes.
    Waits,
    /// A command that may write and needs a script: may be asked for again, so many times, where the script was
    /// missing.
    Script { retries: u32 },
    /// EXEC. `teaches`: there are scripts in the transaction that are learned when they have run.
    Exec { teaches: bool },
    /// A command by which nothing runs: what its answer is where its connection dies before it came.
    Promised(Promise),
    /// A transaction's commands that are sent again, in front of its EXEC: their replies were given already.
    Again,
    /// Of the ambassador's own: its replies are dropped.
    Own,
    /// AUTH, to learn whether a client's login is right, or a request that changes nothing on this link: its reply
    /// is the verdict that the client waits for.
    Proof,
    /// A form of a client's request that does nothing, to learn whether its user may run it.
    Permission,
    /// A script that the node is told: the ambassador's own.
    Load,
    /// A client's command whose reply is merged with those of other nodes, in the gathering of that number.
    Gathered(u32),
    /// Of the ambassador's own: the reply is looked at (`roll_call`).
    Asked(u32),
    /// Of the ambassador's own: whether the node refuses it tells whether the client's command of the same name ran.
    Confirms,
    /// Reads that another node answered sooner: their replies are dropped.
    Loser,
}

impl Kind {
    /// On a shared link: whether it may have changed something by the time that its reply comes.
    pub(super) fn may_write(self) -> bool {
        matches!(self, Kind::Writes | Kind::Script { .. })
    }

    /// Whether no client is owed the replies as they are.
    pub(super) fn is_own(self) -> bool {
        matches!(
            self,
            Kind::Own
                | Kind::Proof
                | Kind::Permission
                | Kind::Load
                | Kind::Gathered(_)
                | Kind::Asked(_)
                | Kind::Again
                | Kind::Confirms
                | Kind::Loser
        )
    }
}

/// Whether a batch of reads is asked of two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Race {
    /// It is not.
    None,
    /// It is, and of neither a reply has begun.
    Open {
        /// Where the other one is.
        rival: LinkKey,
        /// This is the second one.
        hedge: bool,
    },
    /// It was.
    Decided,
}

/// What a client may be told of a command by which nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// MULTI, WATCH.
    Done,
    /// DISCARD: the transaction is over with its answer.
    Discarded,
    /// What is queued for EXEC.
    Queued,
}

impl Promise {
    /// The reply.
    pub(super) fn reply(self) -> &'static [u8] {
        match self {
            Promise::Done | Promise::Discarded => b"+OK\r\n",
            Promise::Queued => b"+QUEUED\r\n",
        }
    }
}

/// A batch of commands that was put on the link and is not wholly answered.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) client: ClientKey,
    pub(super) batch: BatchId,
    /// Replies still to come.
    pub(super) left: u32,
    /// Replies that came.
    pub(super) done: u32,
    /// Bytes of its requests.
    pub(super) bytes: usize,
    pub(super) kind: Kind,
    /// What is done to its reply; only batches of one have anything done to it.
    pub(super) edit: Edit,
    pub(super) race: Race,
    pub(super) at: Instant,
    /// Those of its commands that count as writes once they are acknowledged.
    pub(super) writes: Writes,
}

impl Sent {
    /// A request of the ambassador's own, or one whose reply no client is owed as it is. `Edit::Whole`: the reply
    /// is looked at whole.
    pub(super) fn own(client: ClientKey, request: &[u8], kind: Kind, edit: Edit, at: Instant) -> Self {
        Sent {
            client,
            batch: 0,
            left: 1,
            done: 0,
            bytes: request.len(),
            kind,
            edit,
            race: Race::None,
            at,
            writes: Writes::default(),
        }
    }

    /// Its replies are dropped when they come. Returns what it was.
    pub(super) fn lose(&mut self) -> Sent {
        let loser = Sent {
            kind: Kind::Loser,
            edit: Edit::None,
            race: Race::Decided,
            writes: Writes::default(),
            ..*self
        };
        std::mem::replace(self, loser)
    }
}

/// A batch taken back from a dead link that waits for a node.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) client: ClientKey,
    pub(super) batch: BatchId,
    pub(super) left: u32,
    pub(super) kind: Kind,
    pub(super) edit: Edit,
    pub(super) requests: Vec<u8>,
    pub(super) since: Instant,
    /// It waits because a node refused it.
    pub(super) refused: Option<Refusal>,
    /// The error that it got, which may be its own: it waits for its node to say more.
    pub(super) unproven: Option<Box<[u8]>>,
}

/// A node said that it takes no such command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// Which node.
    pub(super) by: NodeId,
    /// The topology at that time.
    pub(super) version: u64,
    pub(super) at: Instant,
}
