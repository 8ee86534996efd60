//! A map from names to values that looks up without regard to the case of letters, and without allocating.
//!
//! Made for the request path: a few hundred short names, written once and read for every command. Names are only
//! put in from tables of ours and of the servers, so a cheap hash does not need to withstand an attacker.

/// Names longer than this are no command of any server; they are never found.
pub(super) const MAX_NAME: usize = 64;

/// A key says every byte of a name of up to this many; what is longer is compared as a whole too.
const WHOLE: usize = 16;

/// The map.
#[derive(Debug, Clone)]
pub(super) struct Names<T> {
    entries: Vec<(Box<[u8]>, T)>,
    /// A power of two, at most half full, linear probing.
    buckets: Vec<Bucket>,
}

/// What a lookup compares stands in the bucket itself, so that it reads one place of memory.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    key: Key,
    /// Position in `entries` plus one; 0: the bucket is empty.
    entry: u32,
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
        self.entries.push((name.as_bytes().into(), value));
        if self.entries.len() * 2 > self.buckets.len() {
            self.buckets = vec![Bucket::default(); (self.entries.len() * 4).next_power_of_two()];
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
        let key = Key::of(name);
        let mask = self.buckets.len() - 1;
        let mut at = key.hash() & mask;
        // Ends: at least half of the buckets are empty.
        loop {
            let bucket = &self.buckets[at];
            let position = (bucket.entry as usize).checked_sub(1)?;
            let whole = name.len() <= WHOLE || self.entries[position].0.eq_ignore_ascii_case(name);
            if bucket.key == key && whole {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    fn link(&mut self, position: usize) {
        let key = Key::of(&self.entries[position].0);
        let mask = self.buckets.len() - 1;
        let mut at = key.hash() & mask;
        while self.buckets[at].entry != 0 {
            at = (at + 1) & mask;
        }
        self.buckets[at] = Bucket {
            key,
            entry: position as u32 + 1,
        };
    }
}

/// A name's length, its first and its last eight bytes in lower case: all there is of a name of up to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Key {
    length: u32,
    first: u64,
    last: u64,
}

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Key {
        let length = name.len() as u32;
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            return Key {
                length,
                first: lower(first),
                last: lower(last),
            };
        }
        // Pieces that overlap where they must: with the length they still say every byte.
        let first = match (name.first_chunk(), name.last_chunk(), name) {
            (Some(first), Some(last), _) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            (_, _, [first, .., last]) => {
                u64::from(*first) << 16 | u64::from(name[name.len() / 2]) << 8 | u64::from(*last)
            }
            (_, _, [only]) => u64::from(*only),
            (_, _, []) => 0,
        };
        Key {
            length,
            first: lower(first),
            last: 0,
        }
    }

    #[inline]
    fn hash(self) -> usize {
        const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
        let mixed = self.first.wrapping_mul(FACTORS[0]) ^ self.last.wrapping_mul(FACTORS[1]).rotate_left(32);
        ((mixed ^ u64::from(self.length)).wrapping_mul(FACTORS[0]) >> 32) as usize
    }
}

/// Eight bytes at once: sets the bit that tells upper from lower case in those that are `A` to `Z`, and in no other.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let low_bits = word & !TOP;
    // The top bit of each byte: whether the byte's other bits are at least `A`, and more than `Z`.
    let from_a = low_bits + (0x80 - u64::from(b'A')) * EACH;
    let beyond_z = low_bits + (0x7f - u64::from(b'Z')) * EACH;
    let upper = from_a & !beyond_z & !word & TOP;
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// Bytes that a careless fold would mix up: the neighbours of letters, and letters with other bits set.
    fn odd_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"aAzZ@`[{|\x00 \xc1\xe1\xff".to_vec());
        prop::collection::vec(byte, 0..20)
    }

    proptest! {
        #[test]
        fn two_names_are_one_exactly_when_only_case_differs(
            one in odd_bytes(),
            other in odd_bytes(),
            flips in prop::collection::vec(any::<bool>(), 20),
        ) {
            let same = |one: &[u8], other: &[u8]| {
                let keys = Key::of(one) == Key::of(other);
                keys && (one.len() <= WHOLE || one.eq_ignore_ascii_case(other))
            };
            prop_assert_eq!(same(&one, &other), one.eq_ignore_ascii_case(&other));
            let flip = |(byte, flip): (&u8, &bool)| {
                if *flip { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
            };
            let flipped: Vec<u8> = one.iter().zip(&flips).map(flip).collect();
            prop_assert!(same(&one, &flipped));
            let mut cut = one.clone();
            prop_assert!(cut.pop().is_none() || !same(&one, &cut));
            for position in 0..one.len() {
                let mut changed = one.clone();
                changed[position] ^= 0x11;
                prop_assert_eq!(same(&one, &changed), one.eq_ignore_ascii_case(&changed));
            }
        }
    }
}
