//! Clients and links by small keys that do not outlive what they stand for.

use std::fmt;
use std::marker::PhantomData;

use slab::Slab;

/// What a client's key is a key of.
pub(super) enum ClientMark {}

/// What a link's key is a key of.
pub(super) enum LinkMark {}

/// Names a client.
pub(super) type ClientKey = Key<ClientMark>;

/// Names a link.
pub(super) type LinkKey = Key<LinkMark>;

/// A key of one thing of a kind; never valid again once that thing was removed.
pub(super) struct Key<K> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> K>,
}

impl<T> Key<T> {
    /// The place in the slab: small, and used again after a removal.
    pub(super) fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A slab whose keys carry a generation.
#[derive(Debug)]
pub(super) struct Slots<K, T> {
    slab: Slab<(u32, T)>,
    generation: u32,
    keys: PhantomData<fn() -> K>,
}

impl<K, T> Slots<K, T> {
    pub(super) fn new() -> Self {
        Slots {
            slab: Slab::new(),
            generation: 0,
            keys: PhantomData,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Key<K> {
        self.generation = self.generation.wrapping_add(1);
        let index = self.slab.insert((self.generation, value)) as u32;
        Key {
            index,
            generation: self.generation,
            of: PhantomData,
        }
    }

    pub(super) fn get(&self, key: Key<K>) -> Option<&T> {
        match self.slab.get(key.index()) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        match self.slab.get_mut(key.index()) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key<K>) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.index()).1)
    }

    /// The key of what is at that place now.
    pub(super) fn key_at(&self, index: usize) -> Option<Key<K>> {
        let (generation, _) = self.slab.get(index)?;
        Some(Key {
            index: index as u32,
            generation: *generation,
            of: PhantomData,
        })
    }

    /// All keys, so that each can be visited with everything else at hand.
    pub(super) fn keys(&self) -> Vec<Key<K>> {
        let key = |(index, (generation, _)): (usize, &(u32, T))| Key {
            index: index as u32,
            generation: *generation,
            of: PhantomData,
        };
        self.slab.iter().map(key).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slab.iter().map(|(_, (_, value))| value)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientMark, Slots};

    #[test]
    fn a_key_does_not_reach_its_successor() {
        let mut slots: Slots<ClientMark, char> = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!((slots.get(first), slots.get(second)), (None, Some(&'b')));
        assert_eq!(slots.key_at(second.index()), Some(second));
    }
}
