//! Gives every `host:port` a number for the life of the process.

use crate::topology::{MAX_NODES, NodeId};

/// The names, by number. Never shrinks: statistics are kept by number.
#[derive(Debug, Default)]
pub(super) struct Registry {
    names: Vec<String>,
}

impl Registry {
    /// The number of that name, a new one if it has none; `None` when all [`MAX_NODES`] are given away.
    pub(super) fn id(&mut self, name: &str) -> Option<NodeId> {
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None if self.names.len() < MAX_NODES => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
            None => return None,
        };
        u16::try_from(index).ok().map(NodeId)
    }

    /// Every name ever given a number, in the order of the numbers.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_numbers_end() {
        let mut registry = Registry::default();
        for port in 0..MAX_NODES as u16 {
            assert_eq!(registry.id(&format!("h:{port}")), Some(NodeId(port)));
        }
        assert_eq!(registry.id("h:3"), Some(NodeId(3)));
        assert_eq!(registry.id("one too many:1"), None);
        assert_eq!(registry.names().len(), MAX_NODES);
    }
}
