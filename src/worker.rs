//! The data plane: threads that share nothing while they serve.
//!
//! A worker owns its clients and its links to every node. It sleeps in the kernel until sockets are ready and
//! then takes a turn: read what came, find the requests, put them on links, hand replies to clients, and at
//! the end write each socket once. From top to bottom: the turn; requests (what clients sent) and replies
//! (what nodes sent), leases and failures on either side; links and clients; and pure state below them.

mod aborted;
mod acknowledged;
mod adopt;
mod adrift;
mod again;
mod ask_again;
mod client;
mod client_commands;
mod client_filter;
mod client_line;
mod client_seen;
mod clients;
mod cursor;
mod denied;
mod deposed;
mod dispatch;
mod edit;
mod events;
mod failure;
mod fan_out;
mod flush;
mod gather;
mod handshake;
mod hedge;
mod held;
mod iterate;
mod judged;
mod last_keys;
mod late;
mod learn;
mod lease;
mod link;
mod links;
mod look_up;
mod lost_keys;
mod mailbox;
mod mend;
mod no_master;
mod noted;
mod outliers;
mod owed;
mod pace;
mod parked;
mod pause;
mod profile;
mod proof;
mod quantile;
mod question;
mod read_form;
mod readers;
mod redirect;
mod refused;
mod reissue;
mod replies;
mod requests;
mod resubscribe;
mod roll_call;
mod route;
mod script_store;
mod scripts;
mod sent;
mod session;
mod silent;
#[cfg(test)]
mod simulation;
mod slots;
mod socket;
mod special;
mod subscriptions;
mod sweep;
mod targets;
mod texts;
mod transcript;
mod tunnel;
mod tunnel_answers;
mod tunnel_requests;
mod tunnel_scripts;
mod turn;
mod unproven;
mod upload;
mod waiting;
#[cfg(test)]
mod wire;
mod writes;

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use mio::{Poll, Waker};

pub use client_filter::Filter;
pub use client_line::Seen;
pub use clients::next_client_id;
pub use mailbox::{Hint, Inbox, Mail, Peer, WorkerHandle};
pub use question::{Answer, Call, Question};
pub use script_store::ScriptStore;

use crate::attempts::Attempts;
use crate::settings::Settings;
use crate::stats::WorkerStats;

/// Starts a worker thread; it serves until it is told to drain or its handle is gone.
pub fn spawn(
    index: usize,
    settings: Arc<Settings>,
    hints: tokio::sync::mpsc::Sender<Hint>,
    scripts: Arc<ScriptStore>,
    attempts: Arc<Attempts>,
) -> io::Result<(WorkerHandle, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), events::WAKE)?);
    targets::enroll(&waker);
    let stats = Arc::new(WorkerStats::default());
    let (sender, mail) = mpsc::channel();
    let inbox = Inbox { mail, hints };
    let worker_stats = Arc::clone(&stats);
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || turn::Worker::new(poll, inbox, worker_stats, settings, scripts, attempts).run())?;
    Ok((WorkerHandle::new(stats, sender, waker), thread))
}
