//! Damage to a valid stream: what a broken or hostile peer sends.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::bytes::byte;

/// One piece of damage.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Flip(Index, u8),
    Replace(Index, u8),
    Insert(Index, u8),
    Delete(Index),
    Cut(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
}

/// A little damage.
pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let place = any::<Index>;
    let one = prop_oneof![
        2 => (place(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        4 => (place(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        4 => (place(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        3 => place().prop_map(Mutation::Delete),
        1 => (place(), 1..20usize).prop_map(|(at, len)| Mutation::Cut(at, len)),
        1 => (place(), 1..20usize).prop_map(|(at, len)| Mutation::Repeat(at, len)),
        1 => place().prop_map(Mutation::Truncate),
    ];
    vec(one, 1..4)
}

/// The stream with the damage done.
pub(crate) fn damaged(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match mutation {
            Mutation::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Mutation::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Mutation::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            Mutation::Delete(at) => drop(bytes.remove(at.index(len))),
            Mutation::Cut(at, many) => {
                let start = at.index(len);
                bytes.drain(start..len.min(start + many));
            }
            Mutation::Repeat(at, many) => {
                let start = at.index(len);
                let end = len.min(start + many);
                let again = bytes[start..end].to_vec();
                bytes.splice(end..end, again);
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}
