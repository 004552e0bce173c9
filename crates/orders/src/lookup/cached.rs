//! A cached order in one allocation.
//!
//! An allocator rounds every size up. Next to a JSON of 1 KB the other fields usually fit into the
//! bytes that the rounding adds, so one allocation is smaller than two. Which order is kept and for
//! how long is decided in [`memory`](crate::lookup::memory).

use std::{iter, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{lookup::queries::View, order::content_hash::ContentHash};

/// A cached order: the time of its last confirmation, its version, its hash and its JSON.
#[derive(Clone)]
pub(crate) struct Cached(Arc<[u8]>);

const CONFIRMED: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..12;
const HASH: Range<usize> = 12..28;
const JSON: usize = 28;

impl Cached {
    /// `confirmed` is in microseconds after the cache's epoch.
    pub(super) fn new(view: &View, confirmed: u64) -> Self {
        // Written in place: an `Arc` that is made from a vector copies it once more.
        let mut piece: Arc<[u8]> = iter::repeat_n(0, JSON + view.json.len()).collect();
        let bytes = Arc::get_mut(&mut piece).expect("no clone exists yet");
        bytes[CONFIRMED].copy_from_slice(&confirmed.to_le_bytes());
        bytes[VERSION].copy_from_slice(&view.version.to_le_bytes());
        bytes[HASH].copy_from_slice(view.hash.as_bytes());
        bytes[JSON..].copy_from_slice(&view.json);
        Self(piece)
    }

    pub(super) fn confirmed(&self) -> u64 {
        u64::from_le_bytes(self.part(CONFIRMED))
    }

    pub(crate) fn version(&self) -> i32 {
        i32::from_le_bytes(self.part(VERSION))
    }

    /// Returns the hash of the JSON.
    pub(crate) fn hash(&self) -> ContentHash {
        self.part(HASH).into()
    }

    /// Returns the canonical order without a copy. The bytes keep the allocation alive, also if the
    /// cache evicts the order while they are sent.
    pub(crate) fn json(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Returns the size of the allocation without the counters of `Arc`.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    fn part<const N: usize>(&self, range: Range<usize>) -> [u8; N] {
        self.0[range].try_into().expect("each part has its own length")
    }
}

/// Borrows the canonical order.
impl AsRef<[u8]> for Cached {
    fn as_ref(&self) -> &[u8] {
        &self.0[JSON..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_out_as_it_went_in() {
        let json = vec![b'x'; 1_000];
        let hash = ContentHash::of(&json);
        let view = View { order_uid: "a".parse().unwrap(), version: 7, hash, json };

        let cached = Cached::new(&view, 0);

        assert_eq!((cached.version(), cached.hash()), (7, view.hash));
        assert_eq!(cached.json(), view.json);
    }
}
