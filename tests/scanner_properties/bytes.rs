//! Byte strings as the properties make, cut and show them.

use std::fmt;
use std::ops::Deref;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes that a failure shows as text with escapes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Any byte, but often one that means something in RESP.
pub(crate) fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => any::<u8>(),
        5 => proptest::sample::select(&b"\r\n$*+-:_,#(!=%~>|;.?H0123456789tfx \0"[..]),
        2 => proptest::sample::select(&b"\r\n"[..]),
    ]
}

/// The content of a bulk: binary, with line ends in it.
pub(crate) fn blob() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => vec(byte(), 0..24), 1 => vec(byte(), 90..300), 1 => Just(b"\r\n\r\n".to_vec())]
        .prop_map(Bytes)
}

/// Where a stream is cut; the same place may come twice.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop_oneof![1 => vec(any::<Index>(), 0..12), 1 => vec(any::<Index>(), 200..300)]
}

/// The pieces of `bytes` between the cuts.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let starts = std::iter::once(0).chain(places.iter().copied());
    let ends = places.iter().copied().chain(std::iter::once(bytes.len()));
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}
