//! Properties of cached values, for the fuzz targets: they hold for all bytes that another program
//! may write to Redis.

use crate::{
    lookup::{
        cached::Cached,
        confirmation::Confirmation,
        queries::View,
        redis::{Codec, HEAD_BYTES},
    },
    order::content_hash::ContentHash,
};

/// Reads the id of an order from the first line, and checks the rest as a value of Redis, as such a
/// value with a right checksum, and as the JSON of an order in both levels of the cache.
pub(crate) fn assert_cached(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let id = lines.next().and_then(|line| str::from_utf8(line).ok());
    let Some(order_uid) = id.and_then(|id| id.parse().ok()) else { return };
    let value = lines.next().unwrap_or_default();
    let codec = Codec::new("fuzz", Some("secret"));

    if let Some(view) = codec.decode(&order_uid, value) {
        assert!(value.ends_with(&view.json));
        let (head, _) = value.split_at(HEAD_BYTES);
        let checksum = codec.checksum(&order_uid, head, &view.json);
        assert_eq!(value, [head, checksum.as_bytes(), &view.json].concat());
    }
    if let Some((head, json)) = value.split_at_checked(HEAD_BYTES) {
        let checksum = codec.checksum(&order_uid, head, json);
        let value = [head, checksum.as_bytes(), json].concat();
        if let Some(view) = codec.decode(&order_uid, &value) {
            assert_eq!((view.json.as_slice(), view.hash), (json, ContentHash::of(json)));
        }
    }
    let version = value.iter().fold(1, |sum: i32, byte| sum.wrapping_mul(31) ^ i32::from(*byte));
    let (json, hash) = (value.to_vec(), ContentHash::of(value));
    assert_written(&codec, &View { order_uid, version: version.max(1), hash, json });
}

/// Asserts that a view comes out of both levels as it was put in, and that a value with another
/// byte or less bytes is not trusted.
fn assert_written(codec: &Codec, view: &View) {
    let took = u64::from(view.version.unsigned_abs());
    let value = codec.encode(view, took);
    assert_eq!(codec.decode(&view.order_uid, &value).as_ref(), Some(view));
    for at in [0, HEAD_BYTES, value.len() / 2, value.len() - 1] {
        let mut damaged = value.clone();
        damaged[at] ^= 1 << (took % 8);
        assert_eq!(codec.decode(&view.order_uid, &damaged), None, "byte {at}");
        assert_eq!(codec.decode(&view.order_uid, &value[..at]), None, "the first {at} bytes");
    }

    let confirmation = Confirmation { sent: took, answered: took + 1 };
    let cached = Cached::new(view, confirmation);
    for one in [&cached, &cached.expired()] {
        assert_eq!((one.version(), one.hash()), (view.version, view.hash));
        assert_eq!((one.json().as_ref(), one.as_ref()), (&*view.json, &*view.json));
    }
    assert_eq!(cached.confirmation(), confirmation);
}
