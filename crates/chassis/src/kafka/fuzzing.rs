//! Headers that do not come from a broker, for the fuzz targets.

use rdkafka::message::{Header, OwnedHeaders};

use super::record::Headers;

/// Passes headers to `read` in the form in which the client has those of a record. A name contains
/// no NUL.
pub(crate) fn with_headers<R>(
    headers: &[(&str, Option<&[u8]>)],
    read: impl FnOnce(Headers<'_>) -> R,
) -> R {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    let owned = headers
        .iter()
        .fold(empty, |owned, (key, value)| owned.insert(Header { key, value: *value }));
    read(Headers::of(owned.as_borrowed()))
}
