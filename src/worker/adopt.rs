//! What the worker is told from above is taken over: a configuration, a picture of the group.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::profile::{Login, Profile};
use super::turn::Worker;
use crate::resp::Bounds;
use crate::settings::Settings;
use crate::topology::Topology;

impl Worker {
    /// Takes over a configuration; what it says of workers and listeners is not ours to change.
    pub(super) fn configure(&mut self, settings: Arc<Settings>) {
        self.bounds = Bounds {
            arguments: settings.limits.arguments,
            bulk: settings.limits.bulk,
        };
        self.own_login = settings.upstream.password.as_ref().map(|password| {
            let user = settings
                .upstream
                .username
                .as_ref()
                .map(|user| user.as_bytes().to_vec());
            Rc::new(Login {
                user,
                password: password.as_bytes().to_vec(),
            })
        });
        self.plain = self.profiles.intern(&Profile {
            login: self.own_login.clone(),
            ..Profile::default()
        });
        self.late.configure(&settings.reads);
        let keys = settings.log.lost_keys.div_ceil(settings.workers.max(1));
        self.last_keys.keep(keys);
        self.settings = settings;
        self.choose_route();
    }

    /// Takes over a new picture of the group.
    pub(super) fn adopt(&mut self, topology: Arc<Topology>) {
        let former = self.route.master;
        let before = std::mem::replace(&mut self.topology, topology);
        self.choose_route();
        for node in self.topology.nodes.iter().filter(|node| node.usable) {
            if before.node(node.id).is_none_or(|before| !before.usable) {
                self.outliers.let_in(node.id, self.now);
            }
        }
        if let Some(master) = self.route.master.filter(|master| former != Some(*master)) {
            // A sentinel cuts the connections of the node that it promotes; that this one answers is known.
            self.shut[master.index()] = None;
            self.outliers.forget();
            self.denied = None;
            // The first one that this worker hears of may have been it for long.
            let hold = self
                .gathers_until
                .map_or(Duration::ZERO, |_| self.settings.limits.hold);
            self.gathers_until = Some(self.now + hold);
        }
        self.acknowledge_former();
        self.suspect_former_master();
        self.retire_moved_links();
        self.leave_lost_nodes();
        self.leave_deposed();
        self.unpark();
        self.wake_waiting();
    }
}
