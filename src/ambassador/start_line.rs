//! What a person reads at start: one line when it runs, or why there is no master and what to check.

use tracing::info;

use super::Running;
use crate::control::{Failure, FailureKind, Report};
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

/// What keeps the configured master from being one, if it has been asked at all.
pub(super) fn master_trouble(report: &Report) -> Option<Failure> {
    let master = report.nodes.first()?;
    if let Some(failure) = &master.failure {
        return Some(failure.clone());
    }
    (master.heard() && !master.usable).then(|| Failure {
        kind: FailureKind::Role,
        message: master.reason.clone(),
    })
}

/// The sentence for the person who started it.
pub(super) fn explain(settings: &Settings, trouble: Option<&Failure>) -> String {
    let whom = match (&settings.upstream.master, &settings.upstream.sentinels) {
        (_, Some(sentinels)) => format!("{} (--sentinel-master)", sentinels.master),
        (Some(master), None) => format!("{master} (--master)"),
        // The configuration does not allow it.
        (None, None) => "nobody".to_owned(),
    };
    let Some(trouble) = trouble else {
        return format!("no usable master: {whom} has not answered; check the address and the network");
    };
    let check = match trouble.kind {
        FailureKind::Resolve => "check the host name in --master and the machine's DNS",
        FailureKind::Connect => {
            "check that a Redis or Valkey server runs there and that --master names its address"
        }
        FailureKind::Auth => "check upstream.username and upstream.password",
        FailureKind::Timeout => {
            "check that the server is not overloaded and that no firewall drops packets to it"
        }
        FailureKind::Protocol => {
            "check that a Redis or Valkey server, and nothing else, listens at that address"
        }
        FailureKind::Role => {
            "point --master at the group's master, or name its other nodes with --replica so that the master is found among them"
        }
    };
    format!("no usable master: {whom}: {}; {check}", trouble.message)
}
