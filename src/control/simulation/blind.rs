//! Groups that do not see everything: the test of the test.

use super::super::info::Facts;

/// A sense that the group is without: the test of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blind {
    /// It sees everything.
    No,
    /// Nobody says which history he goes on from.
    Lineage,
    /// All histories look like one.
    Histories,
    /// Whatever sentinels say looks newer than what others said.
    Epochs,
    /// What one sentinel says all seem to say.
    Votes,
    /// Nobody says that he is loading.
    Loading,
    /// Links look as if they had always been up.
    Links,
    /// Nobody says how far he is.
    Offsets,
    /// Nobody lists his replicas.
    Replicas,
}

/// What is left of the facts.
pub(super) fn blinded(mut facts: Facts, blind: Blind) -> Facts {
    match blind {
        Blind::No | Blind::Epochs | Blind::Votes => {}
        Blind::Lineage => facts.line.before = None,
        Blind::Histories => "one".clone_into(&mut facts.line.replid),
        Blind::Loading => facts.loading = false,
        Blind::Links => {
            if let Some(link) = &mut facts.link {
                (link.up, link.down_for, link.syncing) = (true, None, false);
            }
        }
        Blind::Offsets => facts.line.offset = 0,
        Blind::Replicas => facts.replicas.clear(),
    }
    facts
}
