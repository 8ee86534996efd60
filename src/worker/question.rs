//! What workers ask each other about their clients, and what is open of it. State only.

use std::time::Instant;

use super::client_filter::Filter;
use super::client_line::Seen;
use super::owed::BatchId;
use super::slots::ClientKey;

/// Asked of every worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Show those clients.
    List(Filter),
    /// Close those clients.
    Kill(Filter),
    /// End the blocked command of the client with that id.
    Unblock {
        /// CLIENT ID.
        id: u64,
        /// With an error rather than as if its time were over.
        error: bool,
    },
}

/// A question on its way to another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub(super) number: u32,
    /// The worker that asks.
    pub(super) from: usize,
    /// CLIENT ID of the client that asks.
    pub(super) asker: u64,
    pub(super) question: Question,
}

/// What one worker says to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub(super) number: u32,
    pub(super) seen: Vec<Seen>,
    /// Clients closed or unblocked.
    pub(super) count: u64,
}

/// What the master is asked on the ambassador's own account, with a look at the reply.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) number: u32,
    /// The reply as far as it came; kept whole only if it is short.
    pub(super) reply: Vec<u8>,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// Whether a client's request is right.
    Judge(Roll),
    /// What the master says of the clients' own connections.
    Lines(Roll),
    /// To unblock a client; the outcome answers that question of that worker (`None`: this one).
    Unblock { question: u32, from: Option<usize> },
}

/// A client's question and the answers so far.
#[derive(Debug)]
pub(super) struct Roll {
    pub(super) number: u32,
    pub(super) client: ClientKey,
    pub(super) batch: BatchId,
    /// `None`: an option that is not known here.
    pub(super) question: Option<Question>,
    /// The master was asked about the clients' own connections.
    pub(super) looked_up: bool,
    /// `CLIENT KILL addr:port`.
    pub(super) old_form: bool,
    /// The client speaks RESP3, as the master's own answer shows.
    pub(super) resp3: bool,
    /// Workers that have not answered.
    pub(super) left: usize,
    pub(super) answer: Answer,
    /// Without an answer until then a worker is taken for gone.
    pub(super) until: Instant,
}
