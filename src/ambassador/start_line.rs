//! What a person reads at start: one line when it runs, or why there is no master and what to check.

use tracing::info;

use super::Running;
use crate::control::{Failure, FailureKind, NodeReport, Report};
use crate::settings::{Listen, Settings};
use crate::topology::Role;

/// The one line that says what listens where, who is master, which replicas.
pub(super) fn log(running: &Running) {
    let report = running.report().borrow().clone();
    let topology = running.topology().borrow().clone();
    let master = topology.master.and_then(|id| topology.node(id));
    let replicas: Vec<String> = report
        .nodes
        .iter()
        .filter(|node| Some(node.id) != topology.master && node.role != Role::Master)
        .map(|node| {
            if node.usable {
                node.name.clone()
            } else {
                format!("{} (not usable: {})", node.name, node.reason)
            }
        })
        .collect();
    info!(
        listen = running
            .listening()
            .iter()
            .map(Listen::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        admin = running
            .admin()
            .map_or("off".to_owned(), |address| address.to_string()),
        master = master.map_or("none", |node| node.name.as_str()),
        replicas = if replicas.is_empty() {
            "none".to_owned()
        } else {
            replicas.join(", ")
        },
        workers = running.settings().workers,
        reads = running.settings().reads.policy.name(),
        "ready"
    );
}

/// What keeps the group from having a master, if anybody has been asked at all.
pub(super) fn master_trouble(report: &Report) -> Option<Trouble> {
    let Some(node) = report.nodes.first() else {
        // As long as one of them may still tell of nodes, there is none.
        let failures: Option<Vec<_>> = report.sentinels.iter().map(|one| one.failure.clone()).collect();
        return failures?.into_iter().next().map(Trouble::OfSentinel);
    };
    if let Some(failure) = &node.failure {
        return Some(Trouble::OfNode(failure.clone()));
    }
    // As long as one of them has said nothing, nobody may have been adopted because of that.
    if !report.nodes.iter().all(NodeReport::heard) {
        return None;
    }
    let message = match of_replica(report, node) {
        Some(message) => message,
        None if node.usable => return None,
        None => node.reason.clone(),
    };
    Some(Trouble::OfNode(Failure {
        kind: FailureKind::Role,
        message,
    }))
}

/// Why a replica does not lead to a master, along the chain of those that it follows; `None`: it is none.
fn of_replica(report: &Report, node: &NodeReport) -> Option<String> {
    let (mut last, mut message) = (node, String::new());
    for hop in 0..report.nodes.len() {
        let Some(follows) = &last.follows else { break };
        message += if hop == 0 {
            "it is a replica of "
        } else {
            ", itself a replica of "
        };
        message += follows;
        let master = last
            .master
            .and_then(|id| report.nodes.iter().find(|other| other.id == id));
        match master {
            None => return Some(message + ", which is not among the named nodes"),
            Some(NodeReport {
                failure: Some(failure),
                ..
            }) => {
                return Some(format!("{message}, which does not answer: {failure}"));
            }
            Some(master) => last = master,
        }
    }
    node.follows.as_ref()?;
    Some(if last.role == Role::Master {
        format!("{message}, which is not usable: {}", last.reason)
    } else {
        message + " and so on, and nobody is master"
    })
}

/// Whose trouble it is.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The node's that should lead to the master.
    OfNode(Failure),
    /// A sentinel's.
    OfSentinel(Failure),
}

impl Trouble {
    /// What went wrong.
    pub(super) fn failure(&self) -> &Failure {
        match self {
            Trouble::OfNode(failure) | Trouble::OfSentinel(failure) => failure,
        }
    }
}

/// The sentence for the person who started it.
pub(super) fn explain(settings: &Settings, trouble: Option<&Trouble>) -> String {
    let sentinels = settings.upstream.sentinels.as_ref();
    let master = settings.upstream.master.as_ref();
    let whom = match (master, sentinels) {
        (Some(master), None) => format!("{master} (--master)"),
        (_, Some(sentinels)) => format!("{} (--sentinel-master)", sentinels.master),
        // The configuration does not allow it.
        (None, None) => "nobody".to_owned(),
    };
    let Some(trouble) = trouble else {
        return format!("no usable master: {whom} has not answered; check the address and the network");
    };
    let (of_sentinel, failure) = match trouble {
        Trouble::OfNode(failure) => (false, failure),
        Trouble::OfSentinel(failure) => (true, failure),
    };
    let flag = if of_sentinel { "--sentinel" } else { "--master" };
    let check = match failure.kind {
        FailureKind::Resolve => format!("check the host name in {flag} and the machine's DNS"),
        FailureKind::Connect if of_sentinel => {
            "check that a sentinel runs there and that --sentinel names its address".to_owned()
        }
        FailureKind::Connect => {
            "check that a Redis or Valkey server runs there and that --master names its address".to_owned()
        }
        FailureKind::Auth if of_sentinel => "check sentinel.username and sentinel.password".to_owned(),
        FailureKind::Auth => "check upstream.username and upstream.password".to_owned(),
        FailureKind::Timeout => {
            "check that the server is not overloaded and that no firewall drops packets to it".to_owned()
        }
        FailureKind::Protocol if of_sentinel => {
            "check that a sentinel listens at that address, and the name in --sentinel-master".to_owned()
        }
        FailureKind::Protocol => {
            "check that a Redis or Valkey server, and nothing else, listens at that address".to_owned()
        }
        FailureKind::Role => {
            "point --master at the group's master, or name its other nodes with --replica so that \
             the master is found among them"
                .to_owned()
        }
    };
    let whose = if of_sentinel { "a sentinel: " } else { "" };
    format!("no usable master: {whom}: {whose}{}; {check}", failure.message)
}
