//! Scripts in a tunnel: what the master may lack it is told before the command that needs it.

use std::collections::HashSet;

use super::client::{Mode, Stall};
use super::script_store::{Sha, sha_of};
use super::scripts::is_flush;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::Handling;
use crate::resp::Arguments;

impl Worker {
    /// A request about scripts. True: the master has to be told the script first, and the client waits.
    pub(super) fn script_in_tunnel(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        handling: Handling,
        bytes: &[u8],
    ) -> bool {
        let second = Arguments::of(bytes).nth(1);
        match (handling, second) {
            (Handling::ScriptFlush, _) if is_flush(Arguments::of(bytes).take(4).count(), bytes) => {
                self.scripts.store.flush();
                self.tell_others(key, bytes);
            }
            (Handling::EvalSha, Some(name)) => {
                return self
                    .tell_in_tunnel(key, link, sha_of(name).into_iter().collect())
                    .is_some();
            }
            (Handling::ScriptKnown, _) => {
                let shas: HashSet<Sha> = Arguments::of(bytes).skip(2).filter_map(sha_of).collect();
                return self
                    .tell_in_tunnel(key, link, shas.into_iter().collect())
                    .is_some();
            }
            _ => {}
        }
        false
    }

    /// Tells the master those scripts over a shared link, as a connection in a transaction would queue it.
    fn tell_in_tunnel(&mut self, key: ClientKey, link: LinkKey, mut shas: Vec<Sha>) -> Option<()> {
        let node = self.links.get(link)?.node;
        let Mode::Tunnel(tunnel) = &mut self.clients.get_mut(key)?.mode else {
            return None;
        };
        // Once for a request; if that was refused, the master's own answer decides.
        if std::mem::take(&mut tunnel.told) {
            return None;
        }
        shas.retain(|sha| self.scripts.reads(sha).is_some() && !self.scripts.is_on(sha, node));
        let last = *shas.last()?;
        let shared = self.shared_link(node, self.plain)?;
        let mut loading = false;
        for sha in &shas {
            loading = self.load(key, shared, sha);
        }
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return None;
        };
        tunnel.told = loading;
        if loading {
            self.stall(key, Stall::Script(last, shared));
        }
        loading.then_some(())
    }
}
