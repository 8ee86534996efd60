//! What there is to see of each server at one moment: its process, and what the probes know of it.

use tracing::warn;

use super::group::{Group, describe};
use super::live::Sight;
use crate::control::Report;
use crate::topology::Role;

/// What was seen of a group so far.
#[derive(Debug)]
pub(super) struct Watch {
    /// For each server how its process ended, if it did.
    ended: Vec<Option<String>>,
    guarded: bool,
}

impl Watch {
    /// Watches every server of the group.
    pub(super) fn new(group: &Group) -> Self {
        Watch {
            ended: vec![None; group.servers().len()],
            guarded: true,
        }
    }

    /// Every server as it is now, in the group's order. What ended since the last look is logged.
    pub(super) fn look(&mut self, group: &mut Group, report: &Report) -> Vec<Sight> {
        self.look_at_processes(group);
        let servers = group.servers().iter().zip(&self.ended);
        servers
            .map(|(server, ended)| {
                let address = server.address.to_string();
                let node = report.nodes.iter().find(|node| node.name == address);
                let trouble = match (ended, node) {
                    (Some(how), _) => Some(how.clone()),
                    (None, Some(node)) if !node.usable => Some(format!("not usable: {}", node.reason)),
                    (None, Some(_)) => None,
                    (None, None) => Some("not part of the group".to_owned()),
                };
                Sight {
                    name: server.name.clone(),
                    role: match node.map(|node| node.role) {
                        Some(Role::Master) => "master",
                        Some(Role::Replica) => "replica",
                        Some(Role::Unknown) | None => "-",
                    },
                    address,
                    id: node.map(|node| node.id),
                    lag: node
                        .filter(|node| node.role == Role::Replica)
                        .and_then(|node| node.lag),
                    trouble,
                }
            })
            .collect()
    }

    fn look_at_processes(&mut self, group: &mut Group) {
        for (server, known) in group.servers_mut().iter_mut().zip(&mut self.ended) {
            if known.is_none()
                && let Some(status) = server.ended()
            {
                let how = describe(status);
                warn!(server = server.name, address = %server.address, log = %server.log().display(), "server {how}");
                *known = Some(how);
            }
        }
        if self.guarded && !group.is_guarded() {
            warn!("the guard process has ended: if this process is killed by SIGKILL now, the servers stay");
            self.guarded = false;
        }
    }
}
