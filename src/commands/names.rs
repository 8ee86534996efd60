//! A map from names to values that looks up without regard to the case of letters, and without allocating.
//!
//! Made for the request path: a few hundred short names, written once and read for every command. Names are only
//! put in from tables of ours and of the servers, so a cheap hash does not need to withstand an attacker.

/// Names longer than this are no command of any server; they are never found.
pub(super) const MAX_NAME: usize = 64;

/// The map.
#[derive(Debug, Clone)]
pub(super) struct Names<T> {
    entries: Vec<(Box<[u8]>, T)>,
    /// Position in `entries` plus one, 0 where nothing is; a power of two, at most half full, linear probing.
    buckets: Vec<u32>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names {
            entries: Vec::new(),
            buckets: Vec::new(),
        }
    }
}

impl<T> Names<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<&T> {
        self.position(name).map(|position| &self.entries[position].1)
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        self.position(name).map(|position| &mut self.entries[position].1)
    }

    /// Puts a value in, replacing what was there under that name.
    pub(super) fn insert(&mut self, name: &str, value: T) {
        if let Some(present) = self.get_mut(name.as_bytes()) {
            *present = value;
            return;
        }
        self.entries
            .push((name.to_ascii_lowercase().into_bytes().into(), value));
        if self.entries.len() * 2 > self.buckets.len() {
            self.buckets = vec![0; (self.entries.len() * 4).next_power_of_two()];
            (0..self.entries.len()).for_each(|position| self.link(position));
        } else {
            self.link(self.entries.len() - 1);
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    #[inline]
    fn position(&self, name: &[u8]) -> Option<usize> {
        if name.len() > MAX_NAME || self.buckets.is_empty() {
            return None;
        }
        let mask = self.buckets.len() - 1;
        let mut bucket = hash(name) & mask;
        // Ends: at least half of the buckets are empty.
        loop {
            let position = (self.buckets[bucket] as usize).checked_sub(1)?;
            if self.entries[position].0.eq_ignore_ascii_case(name) {
                return Some(position);
            }
            bucket = (bucket + 1) & mask;
        }
    }

    fn link(&mut self, position: usize) {
        let mask = self.buckets.len() - 1;
        let mut bucket = hash(&self.entries[position].0) & mask;
        while self.buckets[bucket] != 0 {
            bucket = (bucket + 1) & mask;
        }
        self.buckets[bucket] = position as u32 + 1;
    }
}

/// Eight letters at a time, with the bit that tells upper from lower case set; what that joins beside letters
/// (`@` and the grave accent) is told apart by the comparison.
#[inline]
fn hash(name: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = name.len() as u64;
    for part in name.chunks(8) {
        let word = part
            .iter()
            .fold(0u64, |word, byte| word << 8 | u64::from(byte | 0x20));
        state = (state.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
    (state >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_name_in_any_case_and_no_other() {
        let mut names = Names::default();
        let all: Vec<String> = (0..500)
            .map(|number| format!("name{number}.of-{}", number * 7))
            .collect();
        for (number, name) in all.iter().enumerate() {
            names.insert(name, number);
        }
        for (number, name) in all.iter().enumerate() {
            assert_eq!(names.get(name.as_bytes()), Some(&number), "{name}");
            assert_eq!(names.get(name.to_uppercase().as_bytes()), Some(&number), "{name}");
            assert_eq!(names.get(&name.as_bytes()[1..]), None, "{name}");
        }
        assert_eq!(names.values().count(), 500);
    }

    #[test]
    fn does_not_take_other_bytes_for_letters() {
        let mut names = Names::default();
        names.insert("a`b", 1);
        assert_eq!(names.get(b"A`B"), Some(&1));
        assert_eq!(names.get(b"a@b"), None);
        assert_eq!(names.get(b""), None);
        assert_eq!(names.get(&[b'a'; MAX_NAME + 1]), None);
    }

    #[test]
    fn replaces_under_the_same_name() {
        let mut names = Names::default();
        names.insert("get", 1);
        names.insert("GET", 2);
        assert_eq!(names.get(b"Get"), Some(&2));
        assert_eq!(names.values().count(), 1);
    }
}
