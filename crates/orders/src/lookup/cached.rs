//! A cached order in one allocation.
//!
//! An allocator rounds every size up. Next to a JSON of 1 KB the other fields usually fit into the
//! bytes that the rounding adds, so one allocation is smaller than two. [`memory`](crate::lookup::memory)
//! decides which orders are kept, and for how long.

use std::{iter, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    lookup::{confirmation::Confirmation, queries::View},
    order::content_hash::ContentHash,
};

/// A cached order: its last confirmation, its version, its hash and its JSON.
#[derive(Clone)]
pub(crate) struct Cached(Arc<[u8]>);

const SENT: Range<usize> = 0..8;
const ANSWERED: Range<usize> = 8..16;
const VERSION: Range<usize> = 16..20;
const HASH: Range<usize> = 20..36;
const JSON: usize = 36;

impl Cached {
    /// `confirmation` is in microseconds after the cache's epoch.
    pub(super) fn new(view: &View, confirmation: Confirmation<u64>) -> Self {
        // Written in place: an `Arc` that is made from a vector copies it once more.
        let mut piece: Arc<[u8]> = iter::repeat_n(0, JSON + view.json.len()).collect();
        let bytes = Arc::get_mut(&mut piece).expect("no clone exists yet");
        bytes[SENT].copy_from_slice(&confirmation.sent.to_le_bytes());
        bytes[ANSWERED].copy_from_slice(&confirmation.answered.to_le_bytes());
        bytes[VERSION].copy_from_slice(&view.version.to_le_bytes());
        bytes[HASH].copy_from_slice(view.hash.as_bytes());
        bytes[JSON..].copy_from_slice(&view.json);
        Self(piece)
    }

    pub(super) fn confirmation(&self) -> Confirmation<u64> {
        Confirmation {
            sent: u64::from_le_bytes(self.part(SENT)),
            answered: u64::from_le_bytes(self.part(ANSWERED)),
        }
    }

    /// Returns a copy that is as old as the cache's epoch, so that it is stale.
    pub(super) fn expired(&self) -> Self {
        let mut piece: Arc<[u8]> = Arc::from(&*self.0);
        let bytes = Arc::get_mut(&mut piece).expect("no clone exists yet");
        bytes[SENT].fill(0);
        Self(piece)
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

        let confirmation = Confirmation { sent: 5, answered: 9 };
        let cached = Cached::new(&view, confirmation);
        let expired = cached.expired();

        assert_eq!(cached.confirmation(), confirmation);
        assert_eq!(expired.confirmation(), Confirmation { sent: 0, answered: 9 });
        for cached in [cached, expired] {
            assert_eq!((cached.version(), cached.hash()), (7, view.hash));
            assert_eq!(cached.json(), view.json);
        }
    }
}
