//! The rows of the table `orders`, in little memory: of the content of a row, only the hash of its
//! columns is kept. It is compared with the hash of the record, so a row that was changed without
//! its column `content_hash` is found, too.

use std::collections::HashMap;

use chassis::kafka::record::{Position, milliseconds};
use events::OrderUid;
use futures_util::TryStreamExt as _;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use sqlx::PgConnection;

use crate::{
    lookup::queries::{AuditedRow, audited, undated},
    order::{Item, content_hash::ContentHash},
};

/// The number of keys of an item.
const ITEM_KEYS: usize = 11;

/// The rows of the table `orders`.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) by_uid: HashMap<OrderUid, StoredOrder>,
    /// The ids of the rows that have no valid id.
    pub(super) without_uid: Vec<String>,
}

/// A row.
pub(super) struct StoredOrder {
    pub(super) position: Position,
    /// The time at which the order was first stored, by the clock of the database.
    pub(super) ingested_ms: i64,
    pub(super) version: i32,
    /// The greatest version in an `updated` event of this service; 0 if there is none.
    pub(super) updated_version: i32,
    /// The hash of the columns.
    pub(super) hash: ContentHash,
    pub(super) flaw: Option<Flaw>,
    /// True if its record was found on the orders topic.
    pub(super) is_seen: bool,
    /// True if its `created` event was found on the status topic.
    pub(super) is_created: bool,
}

/// A contradiction within a row, which the service never writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The row could not be read at all, so its position is not known.
    Date,
    /// The items could not be read, or have other keys than those of the model.
    Items,
    /// The column is not the hash of the content.
    ContentHash,
    /// The column does not contain the warnings of the content.
    Warnings,
}

impl Flaw {
    /// Returns the pointer of the field, or the name of a column that is not a field of the order.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Date => "/date_created",
            Self::Items => "/items",
            Self::ContentHash => "content_hash",
            Self::Warnings => "warnings",
        }
    }
}

/// Reads all rows.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Orders, sqlx::Error> {
    let mut orders = Orders::default();
    let mut rows = audited(connection, None);
    while let Some(row) = rows.try_next().await? {
        orders.add(row);
    }
    drop(rows);
    // After the other rows: an order that is stored in between is in neither result, and is not
    // expected.
    for uid in undated(connection).await? {
        let position = Position { timestamp_ms: 0, partition: 0, offset: 0 };
        let undated = StoredOrder::flawed(position, Flaw::Date);
        match uid.parse() {
            Ok(uid) => {
                orders.by_uid.insert(uid, undated);
            }
            Err(_) => orders.without_uid.push(uid),
        }
    }
    Ok(orders)
}

/// Returns the position of the record of a row.
pub(super) fn position(row: &AuditedRow) -> Position {
    Position {
        timestamp_ms: milliseconds(row.source_timestamp),
        partition: row.source_partition,
        offset: row.source_offset,
    }
}

/// Returns the canonical order of a row with its warnings; `None` if it cannot be read.
pub(super) fn canonical(mut row: AuditedRow) -> Option<(OrderUid, Vec<u8>, Vec<&'static str>)> {
    let items = std::mem::take(&mut row.items);
    let has_all_keys = |item: &KeyCount| item.0 == ITEM_KEYS;
    let counts: Vec<KeyCount> = serde_json::from_str(&items).ok()?;
    let items: Vec<Item<'_>> = serde_json::from_str(&items).ok()?;
    let uid: OrderUid = row.order_uid.parse().ok()?;
    let order = row.into_order(uid.clone(), items);
    counts.iter().all(has_all_keys).then(|| (uid, order.to_json(1_536), order.warnings()))
}

impl Orders {
    fn add(&mut self, row: AuditedRow) {
        let Ok(uid) = row.order_uid.parse::<OrderUid>() else {
            self.without_uid.push(row.order_uid);
            return;
        };
        self.by_uid.insert(uid, StoredOrder::of(row));
    }
}

impl StoredOrder {
    fn of(mut row: AuditedRow) -> Self {
        let (position, version) = (position(&row), row.version);
        let ingested_ms = milliseconds(row.ingested_at);
        let stored_hash = std::mem::take(&mut row.content_hash);
        let stored_warnings = std::mem::take(&mut row.warnings);
        let stored = match canonical(row) {
            None => Self::flawed(position, Flaw::Items),
            Some((_, json, warnings)) => {
                let hash = ContentHash::of(&json);
                // A row that an earlier version stored has a hash of another algorithm.
                let is_hash = stored_hash == hash.as_bytes()
                    || stored_hash == blake3::hash(&json).as_bytes()[..16];
                let flaw = if !is_hash {
                    Some(Flaw::ContentHash)
                } else if stored_warnings != warnings {
                    Some(Flaw::Warnings)
                } else {
                    None
                };
                Self { hash, flaw, ..Self::flawed(position, Flaw::Items) }
            }
        };
        Self { ingested_ms, version, ..stored }
    }

    fn flawed(position: Position, flaw: Flaw) -> Self {
        Self {
            position,
            ingested_ms: i64::MAX,
            version: 1,
            updated_version: 0,
            hash: ContentHash::from([0; 16]),
            flaw: Some(flaw),
            is_seen: false,
            is_created: false,
        }
    }
}

/// The number of keys of a JSON object: an item that was changed manually may have more than those
/// of the model.
struct KeyCount(usize);

impl<'de> Deserialize<'de> for KeyCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = KeyCount;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyCount, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(KeyCount(count))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use testkit::order_json::SAMPLE;

    use super::*;
    use crate::order::parse::parse;

    #[test]
    fn an_item_has_as_many_keys_as_the_model() {
        let order = parse(Some(SAMPLE.as_bytes())).unwrap();
        let order: serde_json::Value = serde_json::from_slice(&order.json).unwrap();
        let items: Vec<KeyCount> = serde_json::from_value(order["items"].clone()).unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].0, ITEM_KEYS);
    }

    #[test]
    fn a_row_takes_about_a_hundred_bytes() {
        assert!(size_of::<(OrderUid, StoredOrder)>() <= 96);
    }
}
